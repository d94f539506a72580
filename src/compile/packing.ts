/**
 * Weights as kernels read them, and how they are kept: as floats, or as codes of one byte that are expanded once at the start.
 */
import { add, at, type Expr, float, i32, load, loop, mul, type Place, type Stmt, store } from '../ir/loops.ts'

/** The factors of a linear layer. `channel` counts outputs over all groups; `term` the factors that are summed. */
export interface Weights {
  value(channel: number, term: number): number
  /** Where they are codes times a scale for each channel. */
  readonly codes?: { code(channel: number, term: number): number; scale(channel: number): number }
}

/** A run of memory: the starts of some channels, then for every term the factors of all channels; −1: nothing, 0. */
export interface Block {
  readonly starts: readonly number[]
  readonly channels: readonly number[]
  readonly terms: number
}

/** All blocks on end. */
export function packed(blocks: readonly Block[], start: (channel: number) => number, weights: Weights): Float32Array {
  const out = new Float32Array(blocks.reduce((n, b) => n + floatsOf(b), 0))
  let to = 0
  for (const { starts, channels, terms } of blocks) {
    for (const c of starts) out[to++] = start(c)
    for (let j = 0; j < terms; j++) for (const c of channels) out[to++] = c < 0 ? 0 : weights.value(c, j)
  }
  return out
}

const floatsOf = (b: Block): number => b.starts.length + b.channels.length * b.terms

/** Blocks of the same shape on end. */
interface Run {
  readonly count: number
  readonly shape: Block
  /** Where the first block's codes, floats and expanded weights begin: a byte, and two numbers of floats. */
  readonly code: number
  readonly float: number
  readonly to: number
}

export interface Compact {
  readonly codes: Int8Array
  /** For each block its starts and the scales of its channels. */
  readonly floats: Float32Array
  /** Floats of the expanded blocks. */
  readonly count: number
  readonly runs: readonly Run[]
}

/** The same in codes; `undefined` where the weights are none. */
export function compacted(
  blocks: readonly Block[],
  start: (channel: number) => number,
  { codes }: Weights
): Compact | undefined {
  if (!codes) return undefined
  const bytes = new Int8Array(blocks.reduce((n, b) => n + b.channels.length * b.terms, 0))
  const numbers: number[] = []
  const runs: (Run & { count: number })[] = []
  let [code, to] = [0, 0]
  for (const b of blocks) {
    const last = runs.at(-1)
    if (last && sameShape(last.shape, b)) last.count++
    else runs.push({ count: 1, shape: b, code, float: numbers.length, to })
    numbers.push(...b.starts.map(start), ...b.channels.map((c) => (c < 0 ? 0 : codes.scale(c))))
    for (let j = 0; j < b.terms; j++) for (const c of b.channels) bytes[code++] = c < 0 ? 0 : codes.code(c, j)
    to += floatsOf(b)
  }
  return { codes: bytes, floats: Float32Array.from(numbers), count: to, runs }
}

const sameShape = (a: Block, b: Block): boolean =>
  a.starts.length === b.starts.length && a.channels.length === b.channels.length && a.terms === b.terms

/** Code that expands codes to floats. */
export function expanding({ runs }: Compact, codes: Place, floats: Place, to: Place): Stmt[] {
  return runs.flatMap(({ count, shape, code, float: first, to: begin }) => {
    const [starts, wide, { terms }] = [shape.starts.length, shape.channels.length, shape]
    return loop(0, count, 1, (b) => {
      const numbers = (n: Expr): Place => at(floats, mul(add(mul(b, starts + wide), n), 4), first * 4)
      const expanded = (n: Expr): Place => at(to, mul(add(mul(b, floatsOf(shape)), n), 4), begin * 4)
      return [
        ...loop(0, starts, 1, (q) => [store(expanded(q), load(numbers(q)))]),
        ...loop(0, terms, 1, (j) =>
          loop(0, wide, 1, (q) => {
            const n = add(mul(j, wide), q)
            const value = float(load(at(codes, add(mul(b, wide * terms), n), code), 'i8'))
            return [store(expanded(add(n, starts)), mul(value, load(numbers(add(q, i32(starts))))))]
          })
        )
      ]
    })
  })
}
