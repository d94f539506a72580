/**
 * Updates as whole numbers whose sums cannot wrap.
 *
 *   code = round((clip(x, ±C) + C) (2^q − 1) / (2 C)), rounded up with the chance of its fraction
 *   word = weight · code mod 2^b;  n W (2^q − 1) < 2^b for n clients of weights up to W
 *   mean = Σ words / Σ weights · 2 C / (2^q − 1) − C
 *
 * The sum of weights is one more word behind the others.
 */
import { PareError } from '../../base/errors.ts'
import type { RandomWords } from '../privacy/gaussian.ts'

/** How numbers become words; all clients of a round have the same. */
export interface FixedPoint {
  /** C: greater values are clipped. */
  readonly clip: number
  /** q: bits of a code, 1 … 24. */
  readonly bits: number
  /** W: the greatest weight of a client. */
  readonly maxWeight: number
}

/** b: the fewest bits in which the sum over `clients` cannot wrap. Throws `E_LIMIT` above 32. */
export function modulusBits({ bits, maxWeight, clip }: FixedPoint, clients: number): number {
  if (!(clip > 0 && Number.isFinite(clip) && bits >= 1 && bits <= 24 && maxWeight >= 1))
    throw new PareError(
      'E_OPTION',
      `a fixed point of ${bits} bits, clip ${clip} and weights up to ${maxWeight} is none`
    )
  const b = Math.floor(Math.log2(clients * maxWeight * (2 ** bits - 1))) + 1
  if (b <= 32) return Math.max(b, 8)
  throw new PareError(
    'E_LIMIT',
    `sums of ${clients} clients with ${bits} bits and weights up to ${maxWeight} take ${b} bits; 32 are the most`,
    {
      hint: 'use fewer bits or smaller weights'
    }
  )
}

/** Words of a client's update, the weight last. Throws `E_DATA` for numbers that are not finite, `E_OPTION` for a weight that is too large. */
export function toWords(update: Float32Array, weight: number, f: FixedPoint, words: RandomWords): Uint32Array {
  if (!Number.isInteger(weight) || weight < 1 || weight > f.maxWeight)
    throw new PareError(
      'E_OPTION',
      `the weight of a client is ${weight}; it is a whole number from 1 to ${f.maxWeight}`
    )
  const top = 2 ** f.bits - 1
  const out = new Uint32Array(update.length + 1)
  for (let i = 0; i < update.length; i++) {
    const x = update[i] as number
    if (!Number.isFinite(x)) throw new PareError('E_DATA', 'the update holds numbers that are not finite')
    const place = ((Math.min(f.clip, Math.max(-f.clip, x)) + f.clip) * top) / (2 * f.clip)
    const low = Math.floor(place)
    out[i] = weight * Math.min(top, low + (words() / 4294967296 < place - low ? 1 : 0))
  }
  out[update.length] = weight
  return out
}

/** The weighted mean, and the sum of weights. Throws `E_DATA` where the words cannot be such a sum. */
export function meanOfWords(sum: Uint32Array, f: FixedPoint): { readonly mean: Float32Array; readonly weight: number } {
  const top = 2 ** f.bits - 1
  const d = sum.length - 1
  const weight = sum[d] ?? 0
  const mean = new Float32Array(Math.max(0, d))
  for (let i = 0; i < d; i++) {
    const word = sum[i] as number
    if (word > weight * top)
      throw new PareError('E_DATA', 'the sum is larger than its weights allow: a client did not follow the protocol')
    mean[i] = (word / weight) * ((2 * f.clip) / top) - f.clip
  }
  return { mean, weight }
}

/** Exact as floats: at most 32 bits of a word and 7 that are held before it. */
const powers = Float64Array.from({ length: 40 }, (_, i) => 2 ** i)

/** Words of `bits` bits each, one behind the other, lowest bits first. */
export function packWords(words: Uint32Array, bits: number): Uint8Array {
  const out = new Uint8Array(Math.ceil((words.length * bits) / 8))
  let [held, count, at] = [0, 0, 0]
  for (let i = 0; i < words.length; i++) {
    held += (words[i] as number) * (powers[count] as number)
    count += bits
    for (; count >= 8; count -= 8) {
      out[at++] = held % 256
      held = Math.floor(held / 256)
    }
  }
  if (count > 0) out[at] = held
  return out
}

/** The words again. Throws `E_MESSAGE` where there are not exactly as many bytes, or bits are left over that are not 0. */
export function unpackWords(bytes: Uint8Array, bits: number, count: number): Uint32Array {
  const needed = Math.ceil((count * bits) / 8)
  if (bytes.length !== needed)
    throw new PareError('E_MESSAGE', `${count} words of ${bits} bits take ${needed} bytes; there are ${bytes.length}`)
  const out = new Uint32Array(count)
  const unit = powers[bits] as number
  let [held, have, at] = [0, 0, 0]
  for (let i = 0; i < count; i++) {
    for (; have < bits; have += 8) held += (bytes[at++] as number) * (powers[have] as number)
    const rest = Math.floor(held / unit)
    out[i] = held - rest * unit
    held = rest
    have -= bits
  }
  if (held !== 0) throw new PareError('E_MESSAGE', 'bits behind the last word are not 0')
  return out
}
