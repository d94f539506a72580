/** What devices have in common that are given an ONNX file and compile it themselves. */
import type { DType } from '../types.ts'
import { integerRows, onnxRuntime } from './onnxruntime.ts'
import type { IntegerRow, Target } from './types.ts'

/** Of such a target; its `integer`, `channelMultiple` and `device` are its own. */
export const compiled = {
  ...onnxRuntime,
  fusesLike: ['onnxruntime-node'],
  opset: { min: 7, max: 21 },
  dynamic: [],
  takesOver: [],
  forms: ['plain', 'qdq', 'nbits'],
  saturates: false,
  assumesDotProducts: false
} as const satisfies Partial<Target>

/** Operators between DequantizeLinear and QuantizeLinear, with activations of one type and symmetric int8 weights. */
export const integersOf = (
  values: DType,
  { symmetric = false }: { readonly symmetric?: boolean } = {}
): readonly IntegerRow[] =>
  integerRows.map(({ onCodes: _, fusesWith, ...row }) => ({
    ...row,
    // Saturation does not clamp at 0 where that is the code in the middle.
    ...(fusesWith && !symmetric ? { fusesWith } : {}),
    types: [row.types[0]?.weights === undefined ? { values } : { values, weights: 'int8' }],
    ...(symmetric ? { symmetric: true } : {})
  }))
