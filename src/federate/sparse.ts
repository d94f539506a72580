/**
 * The largest numbers of a tensor, with their positions. Gaps between positions are Rice codes: for positions taken at
 * random with probability p, the best parameter is b* = 1 + ⌊log₂(ln(φ − 1) / ln(1 − p))⌋ with φ = (√5 + 1) / 2, and a position
 * takes b* + 1 / (1 − (1 − p)^(2^b*)) bits. Real positions come in clusters: the encoder takes the best b of those near b*.
 */
import { type BitReader, type BitWriter, damaged } from './bits.ts'

/** Positions of the k largest magnitudes, ascending; of equal ones the first. */
export function largest(values: Float32Array, k: number): Uint32Array {
  if (k >= values.length) return Uint32Array.from(values, (_, i) => i)
  const sorted = values.map(Math.abs).sort()
  const limit = sorted[values.length - k] as number
  const out = new Uint32Array(k)
  let above = 0
  for (const x of values) if (Math.abs(x) > limit) above++
  let [found, equal] = [0, k - above]
  for (let i = 0; i < values.length && found < k; i++) {
    const size = Math.abs(values[i] as number)
    if (size > limit || (size === limit && equal-- > 0)) out[found++] = i
  }
  return out
}

/** How many numbers a share is: at least one. */
export const countOf = (share: number, size: number): number => Math.min(size, Math.max(1, Math.ceil(share * size)))

/** Bits that positions take with parameter b, signs and values apart. */
function costOf(at: Uint32Array, b: number): number {
  let [bits, before] = [0, -1]
  for (const i of at) {
    bits += ((i - before - 1) >>> b) + 1 + b
    before = i
  }
  return bits
}

/** The largest Rice parameter of the format. */
export const mostRice = 20

/** The parameter, of those of the format, that takes the fewest bits. */
export function riceFor(at: Uint32Array, size: number): number {
  const p = Math.min(0.999, at.length / size)
  const guess = p < 0.38 ? 1 + Math.floor(Math.log2(Math.log((Math.sqrt(5) - 1) / 2) / Math.log(1 - p))) : 0
  let best = Math.min(mostRice, Math.max(0, guess))
  for (let b = Math.max(0, guess - 2); b <= Math.min(mostRice, guess + 2); b++)
    if (costOf(at, b) < costOf(at, best)) best = b
  return best
}

/** Writes gaps, each followed by what `beside` writes for the n-th. */
export function writePositions(out: BitWriter, at: Uint32Array, b: number, beside: (n: number) => void): void {
  let before = -1
  for (const [n, i] of at.entries()) {
    out.rice(i - before - 1, b)
    beside(n)
    before = i
  }
}

/** Reads `count` ascending positions below `size`. Throws `E_FORMAT` for one that is not. */
export function readPositions(
  bits: BitReader,
  o: { readonly count: number; readonly size: number; readonly b: number },
  beside: (position: number) => void
): void {
  let before = -1
  for (let n = 0; n < o.count; n++) {
    // What is still to come needs a place each.
    const most = o.size - 1 - (before + 1) - (o.count - 1 - n)
    if (most < 0) throw damaged('more positions than the tensor has')
    before += 1 + bits.rice(o.b, most)
    beside(before)
  }
}
