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
  elements: 'all',
  integer: [],
  dynamic: [],
  takesOver: [],
  cannotMove: [],
  forms: [],
  saturates: false,
  channelMultiple: 4,
  assumesDotProducts: false
}
