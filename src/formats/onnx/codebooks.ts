/** Distinct elements of runs, found in one pass, and a code for every element. */
import { bitsOf } from '../../ir/tensor.ts'
import type { DType } from '../../types.ts'
import { type Bits, likewise } from './elements.ts'

/** Slots of the hash table, several times the most distinct elements of a run. */
const slots = 1024
const mostDistinct = 256

/** The elements `from`, `from + step` … of a tensor. */
interface Run {
  readonly from: number
  readonly to: number
  readonly step: number
}

/** Codes runs of elements by their distinct ones, ascending as numbers. */
export class Coder {
  readonly codes: Uint8Array
  private readonly bits: Bits
  private readonly dtype: DType
  private readonly keys = new Uint32Array(slots)
  private readonly known = new Uint16Array(slots)
  /** Which run a slot was filled for, so that it need not be emptied. */
  private readonly filledFor = new Int32Array(slots)
  private run = 0
  constructor(bits: Bits, dtype: DType) {
    this.bits = bits
    this.dtype = dtype
    this.codes = new Uint8Array(bits.length)
  }

  /** The distinct elements of a run, whose codes are then set; `undefined` where there are more than `most` (≤ 256). */
  code({ from, to, step }: Run, most: number): number[] | undefined {
    const { bits, codes, keys, known, filledFor } = this
    const found: number[] = []
    this.run++
    for (let i = from; i < to; i += step) {
      const x = bits[i] as number
      let slot = Math.imul(x, 0x9e3779b1) >>> 22
      while (filledFor[slot] === this.run && keys[slot] !== x) slot = (slot + 1) % slots
      if (filledFor[slot] !== this.run) {
        if (found.length === Math.min(most, mostDistinct)) return undefined
        filledFor[slot] = this.run
        keys[slot] = x
        known[slot] = found.length
        found.push(x)
      }
      codes[i] = known[slot] as number
    }
    const sorted = ascending(found, this.dtype)
    const places = Uint8Array.from(found, (x) => sorted.indexOf(x))
    for (let i = from; i < to; i += step) codes[i] = places[codes[i] as number] as number
    return sorted
  }
}

/** Bits in ascending order of the numbers they stand for. */
function ascending(all: readonly number[], dtype: DType): number[] {
  const top = 2 ** (bitsOf(dtype) - 1)
  const key = (x: number): number => {
    if (x < top || dtype.startsWith('u')) return x
    return dtype.startsWith('int') ? x - 2 * top : top - 1 - x
  }
  return [...all].sort((a, b) => key(a) - key(b))
}

/** Codebooks per index of an axis. */
export interface Books {
  readonly axis: number
  /** Values of one codebook, all filled up to the largest with its last value. */
  readonly size: number
  /** In the order of the tensor the expansion gathers from: [channels, size] or [size, channels]. */
  readonly books: Bits
  readonly codes: Uint8Array
}

/** Codebooks of at most `most` values per index of the first or last axis; `undefined` where one needs more. */
export function codebooksOf(
  shape: readonly number[],
  dtype: DType,
  bits: Bits,
  axis: number,
  most: number
): Books | undefined {
  const channels = shape[axis] as number
  const inner = bits.length / channels
  const coder = new Coder(bits, dtype)
  const found: number[][] = []
  let size = 0
  for (let c = 0; c < channels; c++) {
    const run =
      axis === 0 ? { from: c * inner, to: (c + 1) * inner, step: 1 } : { from: c, to: bits.length, step: channels }
    const book = coder.code(run, most)
    if (!book) return undefined
    found.push(book)
    size = Math.max(size, book.length)
  }
  const books = likewise(bits, channels * size)
  for (const [c, book] of found.entries())
    for (let k = 0; k < size; k++)
      books[axis === 0 ? c * size + k : k * channels + c] = book[Math.min(k, book.length - 1)] as number
  return { axis, size, books, codes: coder.codes }
}
