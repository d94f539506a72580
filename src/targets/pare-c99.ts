import { pareWasm } from './pare-wasm.ts'
import type { Target } from './types.ts'

/** C99 for whatever has a compiler, microcontrollers among them: no runtime, no allocation. Nothing here runs it. */
export const pareC99: Target = {
  ...pareWasm,
  name: 'pare-c99',
  aliases: ['c99'],
  summary: 'C99 source that needs no runtime and allocates nothing (pare compile -o model.c)',
  format: 'c99',
  runtime: 'a C compiler',
  // Its sums have 32 bits.
  saturates: false,
  endings: []
}
