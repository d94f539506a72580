/** The model files that transformers.js asks for, one per `dtype`, and the recipe that makes each. */
import { PareError } from '../base/errors.ts'
import { nearest } from '../base/suggest.ts'
import { allGraphs, opName } from '../ir/graph.ts'
import type { Recipe } from '../passes/types.ts'
import type { Model } from '../types.ts'

/** Values of the option `dtype` of transformers.js that Pare makes files for. */
export const dtypes = ['fp16', 'q8', 'int8', 'uint8', 'q4', 'q4f16', 'bnb4'] as const
/** One of them. */
export type PresetDtype = (typeof dtypes)[number]

/** What follows the model's name in its file's. */
export const suffixes: Readonly<Record<PresetDtype, string>> = {
  fp16: '_fp16',
  q8: '_quantized',
  int8: '_int8',
  uint8: '_uint8',
  q4: '_q4',
  q4f16: '_q4f16',
  bnb4: '_bnb4'
}

/** The dtypes of names, each once and in the order of the list. Throws `E_USAGE` for a name that is none. */
export function dtypesFor(names: readonly string[]): readonly PresetDtype[] {
  for (const name of names) {
    if (dtypes.some((d) => d === name)) continue
    const close = nearest(name, dtypes)
    throw new PareError('E_USAGE', `transformers.js has no dtype ${name} that Pare makes`, {
      facts: { dtypes: dtypes.join(', ') },
      ...(close === undefined ? {} : { hint: `--only ${close}` })
    })
  }
  return dtypes.filter((d) => names.includes(d))
}

/** Files that are made from others, by their suffix: `q2` and `q1` are made elsewhere. */
const made = [...Object.values(suffixes), '_q2', '_q1', '_q2f16', '_q1f16']

/** Is this a model's own file, not one of its family? `names`: all models of the folder, without `.onnx`. */
export const isOriginal = (name: string, names: readonly string[]): boolean =>
  !made.some((s) => name.endsWith(s) && names.includes(name.slice(0, -s.length)))

/** Operators whose signed weights onnxruntime-web does not load or multiplies wrongly: the whole model goes unsigned. */
const unsignedOps: ReadonlySet<string> = new Set([
  'Conv',
  'com.microsoft:GroupQueryAttention',
  'com.microsoft:MultiHeadAttention'
])

const opsOf = (model: Model): ReadonlySet<string> => new Set(allGraphs(model).flatMap((g) => g.nodes.map(opName)))

/** Signed weights of Conv do not load in onnxruntime-web: the pass leaves them in float, and says so. */
function dynamic(type: 'int8' | 'uint8', ops: ReadonlySet<string>, correctBias: boolean): Recipe[number] {
  const possible = ['MatMul', 'Gemm', 'Gather', 'Conv']
  return ['quantize-dynamic', { include: possible.filter((op) => ops.has(op)), type, correctBias }]
}

const half: Recipe[number] = ['cast-float', { type: 'float16', compute: true }]
const blocks = (correctBias: boolean): Recipe[number] => [
  'quantize-weights',
  { form: 'nbits', bits: 4, blockSize: 32, symmetric: true, include: ['MatMul'], correctBias }
]

/** Types whose values float16 must hold. */
export const isHalf = (dtype: PresetDtype): boolean => dtype === 'fp16' || dtype === 'q4f16'

/** What makes a dtype's file of a model. `hasData`: the calibration data is the user's, so biases can be corrected by it. */
export function recipeFor(dtype: PresetDtype, model: Model, hasData: boolean): Recipe {
  const simplify: Recipe[number] = ['simplify', {}]
  const ops = opsOf(model)
  switch (dtype) {
    case 'fp16':
      return [simplify, half]
    case 'q8':
      return [simplify, dynamic([...unsignedOps].some((op) => ops.has(op)) ? 'uint8' : 'int8', ops, hasData)]
    case 'int8':
    case 'uint8':
      return [simplify, dynamic(dtype, ops, hasData)]
    case 'q4':
      return [simplify, blocks(hasData)]
    case 'q4f16':
      // Codes of float16 weights have float16 scales; the other way round a Cast would stand before every product.
      return [simplify, half, blocks(hasData)]
    case 'bnb4':
      return [simplify, ['quantize-nf4', { blockSize: 64 }]]
  }
}
