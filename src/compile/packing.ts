/**
 * Weights as kernels read them, and how they are kept: as floats, or in fewer bytes that are expanded once at the start: codes of
 * one byte, or float16 where every number is one.
 */
import { fromFloat16, toFloat16 } from '../base/float.ts'
import {
  add,
  asFloat,
  asWhole,
  at,
  bits,
  type Expr,
  f32,
  float,
  i32,
  load,
  loop,
  mul,
  type Place,
  type Stmt,
  store
} from '../ir/loops.ts'

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
  /** One byte a factor, which is a code, or two, which are a float16. */
  readonly width: 1 | 2
  readonly bytes: Uint8Array
  /** For each block its starts and, of codes, the scales of its channels. */
  readonly floats: Float32Array
  /** Floats of the expanded blocks. */
  readonly count: number
  readonly runs: readonly Run[]
}

/** The same in fewer bytes, with the same numbers; `undefined` where there is no such form. */
export function compacted(
  blocks: readonly Block[],
  start: (channel: number) => number,
  weights: Weights
): Compact | undefined {
  const { codes } = weights
  if (!codes && !areHalves(blocks, weights)) return undefined
  const width = codes ? 1 : 2
  const bytes = new DataView(new ArrayBuffer(width * blocks.reduce((n, b) => n + b.channels.length * b.terms, 0)))
  const numbers: number[] = []
  const runs: (Run & { count: number })[] = []
  let [code, to] = [0, 0]
  for (const b of blocks) {
    const last = runs.at(-1)
    if (last && sameShape(last.shape, b)) last.count++
    else runs.push({ count: 1, shape: b, code, float: numbers.length, to })
    numbers.push(...b.starts.map(start), ...(codes ? b.channels.map((c) => (c < 0 ? 0 : codes.scale(c))) : []))
    for (let j = 0; j < b.terms; j++)
      for (const c of b.channels) {
        if (c >= 0 && codes) bytes.setInt8(code, codes.code(c, j))
        else if (c >= 0) bytes.setUint16(code, toFloat16(weights.value(c, j)), true)
        code += width
      }
    to += floatsOf(b)
  }
  return { width, bytes: new Uint8Array(bytes.buffer), floats: Float32Array.from(numbers), count: to, runs }
}

/** Of fewer factors than this the code that expands them takes more bytes than they save. */
const fewestHalves = 256

/** Are there enough factors, and is each a float16, and finite? */
const areHalves = (blocks: readonly Block[], { value }: Weights): boolean =>
  blocks.reduce((n, b) => n + b.channels.length * b.terms, 0) >= fewestHalves &&
  blocks.every(({ channels, terms }) =>
    channels.every((c) => {
      for (let j = 0; c >= 0 && j < terms; j++) {
        const x = value(c, j)
        if (!Number.isFinite(x) || fromFloat16(toFloat16(x)) !== x) return false
      }
      return true
    })
  )

const sameShape = (a: Block, b: Block): boolean =>
  a.starts.length === b.starts.length && a.channels.length === b.channels.length && a.terms === b.terms

/** Code that expands them to floats. */
export function expanding({ runs, width }: Compact, codes: Place, floats: Place, to: Place): Stmt[] {
  return runs.flatMap(({ count, shape, code, float: first, to: begin }) => {
    const [starts, wide, { terms }] = [shape.starts.length, shape.channels.length, shape]
    const scales = width === 1 ? wide : 0
    return loop(0, count, 1, (b) => {
      const numbers = (n: Expr): Place => at(floats, mul(add(mul(b, starts + scales), n), 4), first * 4)
      const expanded = (n: Expr): Place => at(to, mul(add(mul(b, floatsOf(shape)), n), 4), begin * 4)
      return [
        ...loop(0, starts, 1, (q) => [store(expanded(q), load(numbers(q)))]),
        ...loop(0, terms, 1, (j) =>
          loop(0, wide, 1, (q) => {
            const n = add(mul(j, wide), q)
            const from = at(codes, mul(add(mul(b, wide * terms), n), width), code)
            if (width === 2) return [store(expanded(add(n, starts)), bitsOfHalf(from), 'i32')]
            const scale = load(numbers(add(q, i32(starts))))
            return [store(expanded(add(n, starts)), mul(float(load(from, 'i8')), scale))]
          })
        )
      ]
    })
  })
}

/**
 * The bits of a float32 from a finite float16 in two bytes: its exponent and fraction, moved to their places, are the number
 * divided by 2^112, denormal ones too.
 */
function bitsOfHalf(from: Place): Expr {
  const half = bits('or', load(from, 'u8'), bits('shl', load(at(from, undefined, 1), 'u8'), 8))
  const magnitude = mul(asFloat(bits('shl', bits('and', half, 0x7fff), 13)), f32(2 ** 112))
  return bits('or', asWhole(magnitude), bits('shl', bits('and', half, 0x8000), 16))
}
