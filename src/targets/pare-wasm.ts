import type { IntegerRow, Target } from './types.ts'

const values: IntegerRow['types'] = [{ values: 'uint8' }, { values: 'int8' }]

/** Kernels with constant weights. */
const weighted = {
  types: [
    { values: 'uint8', weights: 'int8' },
    { values: 'int8', weights: 'int8' }
  ],
  scales: ['channel', 'tensor'],
  bias: 'int32',
  floatOutput: true,
  fusesWith: ['Relu', 'Clip']
} as const

const computes = (op: string, rest: Partial<IntegerRow> = {}): IntegerRow => ({ op, types: values, ...rest })
/** Operators that keep the codes as they are. */
const moves = (op: string, rest: Partial<IntegerRow> = {}): IntegerRow => ({ op, types: values, ...rest })

const integer: readonly IntegerRow[] = [
  { op: 'Conv', ...weighted },
  { op: 'Gemm', ...weighted },
  { op: 'MatMul', ...weighted },
  computes('Add', { fusesWith: ['Relu', 'Clip'] }),
  computes('AveragePool', { fusesWith: ['Relu', 'Clip'] }),
  computes('GlobalAveragePool', { fusesWith: ['Relu', 'Clip'] }),
  computes('Mul', { fusesWith: ['Relu', 'Clip'] }),
  // By a table of 256 codes.
  computes('Sigmoid'),
  computes('LeakyRelu'),
  moves('Concat', { sameScale: true }),
  moves('Flatten'),
  moves('Identity'),
  moves('MaxPool', { when: [['outputs', '==', 1]] }),
  moves('Pad'),
  moves('Reshape'),
  moves('Slice'),
  moves('Squeeze'),
  moves('Transpose'),
  moves('Unsqueeze')
]

/** A WebAssembly module that runs on its own, made by `pare compile`. */
export const pareWasm: Target = {
  name: 'pare-wasm',
  aliases: ['wasm'],
  summary: 'a WebAssembly module that needs no runtime (browsers, Node, workers)',
  format: 'wasm',
  runtime: 'pare-wasm',
  fusesLike: [],
  endings: ['.wasm'],
  opset: { min: 13, max: 25 },
  // The compiler itself names what it has no loops for.
  operators: 'all',
  elements: ['float32', 'float16', 'int64', 'int32', 'bool', 'uint8', 'int8', 'int4', 'uint4', 'int2', 'uint2'],
  integer,
  dynamic: [],
  takesOver: [],
  cannotMove: [],
  // Codes of constants lie in the module as bytes, however they are spelled, and are expanded when it starts.
  forms: ['foldable', 'palette', 'gap', 'bitmap', 'blocks', 'qdq', 'auto'],
  // Relaxed SIMD may hold two products of bytes in 16 bits: weights of 7 bits where pairs could leave them stay exact.
  saturates: true,
  channelMultiple: 4,
  assumesDotProducts: false
}
