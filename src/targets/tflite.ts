/**
 * What runtimes of TensorFlow Lite files have in common: the int8 specification. Activations are asymmetric, of one scale;
 * weights are symmetric, −127 to 127; the scale of a bias is the product of those of data and weight.
 * Source: https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec
 */
import type { DeviceOperators, IntegerRow, Target } from './types.ts'

const values: IntegerRow['types'] = [{ values: 'int8' }]

/** Relu and Clip become the fused activation of these, or are left to saturation. */
const fusesWith = ['Relu', 'Clip'] as const

const weighted = (op: string, scales: IntegerRow['scales'], rest: Partial<IntegerRow> = {}): IntegerRow => ({
  ...{ op, bias: 'int32', fusesWith },
  ...(scales ? { scales } : {}),
  types: [{ values: 'int8', weights: 'int8' }],
  ...rest
})

const computes = (op: string): IntegerRow => ({ op, types: values, fusesWith })
/** All that it reads and gives is under one scale. */
const same = (op: string, rest: Partial<IntegerRow> = {}): IntegerRow => ({
  op,
  types: values,
  sameScale: true,
  ...rest
})
/** Its result is under the scale that the specification gives it. */
const fixed = (op: string): IntegerRow => ({ op, types: values, fixedOutput: true })

/** Operators with int8 kernels. `scales`: of the weight of a product of matrices; convolutions have one for each channel. */
export const int8Rows = (scales: IntegerRow['scales']): readonly IntegerRow[] => [
  weighted('Conv', ['channel', 'tensor']),
  weighted('Gemm', scales),
  weighted('MatMul', scales),
  computes('Add'),
  computes('Mul'),
  computes('LeakyRelu'),
  same('AveragePool', { when: [['dilation', '==', 1]], fusesWith }),
  same('GlobalAveragePool'),
  same('MaxPool', {
    when: [
      ['outputs', '==', 1],
      ['dilation', '==', 1]
    ]
  }),
  same('Concat'),
  same('Pad'),
  same('Reshape'),
  same('Flatten'),
  same('Squeeze'),
  same('Unsqueeze'),
  same('Transpose'),
  same('Slice'),
  same('Split'),
  same('Identity'),
  same('DepthToSpace'),
  same('SpaceToDepth'),
  same('Resize', { when: [['mode', 'in', ['nearest', 'linear']]] }),
  fixed('Sigmoid'),
  fixed('Softmax')
]

/** What its targets share. */
export const tfLite = {
  format: 'tflite',
  opset: { min: 3, max: 3 },
  operators: 'all',
  elements: 'all',
  integer: int8Rows(['channel', 'tensor']),
  dynamic: [],
  takesOver: [],
  cannotMove: [],
  // Codes with DequantizeLinear behind them are what the format itself has.
  forms: ['plain', 'foldable', 'qdq'],
  fusesLike: [],
  saturates: false,
  assumesDotProducts: false
} as const satisfies Partial<Target>

/** Names of operators that are taken whatever their facts are. */
export const plainly = (names: string): DeviceOperators['take'] =>
  Object.fromEntries(
    names
      .trim()
      .split(/\s+/)
      .map((name) => [name, true])
  )
