import type { Target } from '../types.ts'

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
  elements: ['float32', 'int64', 'int32', 'bool', 'uint8', 'int8', 'int4', 'uint4', 'int2', 'uint2'],
  integer: [],
  dynamic: [],
  takesOver: [],
  cannotMove: [],
  // Codes of constants lie in the module as bytes, however they are spelled, and are expanded when it starts.
  forms: ['foldable', 'qdq'],
  saturates: false,
  channelMultiple: 4,
  assumesDotProducts: false
}
