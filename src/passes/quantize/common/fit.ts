/**
 * Scale, and maybe zero point, of one cell of weights: w ≈ (q − z)·s, q in low … high. Scales start from the extremes of
 * the cell; the least squared error is sought over narrower ranges, then by turns over codes and scale:
 * s = Σ w(q − z) / Σ (q − z)², which never makes it worse.
 */
import type { DType } from '../../../types.ts'
import { storedScale } from './codes.ts'

/** Range of codes. With `hasZero` a cell has a zero point of its own; otherwise it is 0. */
export interface Codes {
  readonly dtype: DType
  readonly low: number
  readonly high: number
  readonly hasZero: boolean
}

/** The codes of a number of bits: all of them with a zero point or below 8 bits, −127 … 127 otherwise. */
export function codesOf(bits: 2 | 4 | 8, isSymmetric: boolean): Codes {
  const half = 2 ** (bits - 1)
  if (!isSymmetric) return { dtype: `uint${bits}`, low: 0, high: 2 * half - 1, hasZero: true }
  return { dtype: `int${bits}`, low: bits === 8 ? -127 : -half, high: half - 1, hasZero: false }
}

/** The codes that a codebook of integers picks from. */
export const bookCodes: Codes = { dtype: 'int8', low: -127, high: 127, hasZero: false }

/** Scale and zero point of every cell. */
export interface Scales {
  readonly scales: Float64Array
  readonly zeros: Float64Array
}

/** Finds scale and zero point of a cell's values and puts them at `c`. */
export type Fit = (values: Float32Array, codes: Codes, dtype: ScaleType, into: Scales, c: number) => void

export type ScaleType = 'float32' | 'float16'

/** Adding and taking away 1.5·2^52 rounds half to even. */
export const rounder = 6755399441055744

/** Scale (and zero point) that just hold all values. */
export const extremes: Fit = (values, codes, dtype, into, c) => {
  const [min, max] = rangeOf(values)
  const [s, z] = min === 0 && max === 0 ? [1, 0] : (candidates(min, max, codes, dtype)[0] as readonly [number, number])
  into.scales[c] = s
  into.zeros[c] = z
}

/** Least and greatest value, or 0. */
function rangeOf(values: Float32Array): readonly [number, number] {
  let [min, max] = [0, 0]
  for (let i = 0; i < values.length; i++) {
    const x = values[i] as number
    if (x < min) min = x
    if (x > max) max = x
  }
  return [min, max]
}

/** Where the best range is looked for, as shares of the whole range of a cell. */
const shares = (bits: number): readonly number[] => {
  const from = bits >= 8 ? 0.75 : 0.4
  const n = 26
  return Array.from({ length: n }, (_, i) => from + ((1.05 - from) * i) / (n - 1))
}
const sharesOf8 = shares(8)
const sharesOf4 = shares(4)

/** Scale (and zero point) of least squared error. */
export const leastSquares: Fit = (values, codes, dtype, into, c) => {
  const [min, max] = rangeOf(values)
  const best = { s: 1, z: codes.hasZero ? middle(codes) : 0, error: Number.POSITIVE_INFINITY }
  if (min !== 0 || max !== 0) {
    for (const share of codes.high > 15 ? sharesOf8 : sharesOf4)
      for (const [s, z] of candidates(min * share, max * share, codes, dtype)) consider(values, codes, s, z, best)
    for (let turn = 0; turn < 3; turn++) {
      const s = refitted(values, codes, best.s, best.z)
      if (!consider(values, codes, stored(s, dtype), best.z, best)) break
    }
  }
  into.scales[c] = best.s
  into.zeros[c] = best.z
}

const middle = ({ low, high }: Codes): number => Math.ceil((low + high) / 2)

/** A scale as stored, of either sign. */
export const stored = (s: number, dtype: ScaleType): number => (s < 0 ? -storedScale(-s, dtype) : storedScale(s, dtype))

/** Scales, with their zero points, that a range suggests. Without a zero point the larger side may be either. */
function candidates(
  min: number,
  max: number,
  { low, high, hasZero }: Codes,
  dtype: ScaleType
): (readonly [number, number])[] {
  if (hasZero) {
    const s = stored((max - min) / (high - low), dtype)
    const z = Math.min(high, Math.max(low, Math.round(low - min / s)))
    return [[s, z]]
  }
  const peak = Math.max(-min, max)
  if (low === -high) return [[stored(peak / high, dtype), 0]]
  const s = stored(peak / (high + 0.5), dtype)
  return [
    [s, 0],
    [-s, 0]
  ]
}

interface Best {
  s: number
  z: number
  error: number
}

function consider(values: Float32Array, codes: Codes, s: number, z: number, best: Best): boolean {
  const error = squaredError(values, codes, s, z, best.error)
  if (error >= best.error) return false
  best.s = s
  best.z = z
  best.error = error
  return true
}

/** Stops early, with a sum above `limit`. */
function squaredError(values: Float32Array, { low, high }: Codes, s: number, z: number, limit: number): number {
  const [bottom, top] = [low - z, high - z]
  const inverse = 1 / s
  let sum = 0
  for (let from = 0; from < values.length && sum < limit; from += 256) {
    const to = Math.min(values.length, from + 256)
    for (let i = from; i < to; i++) {
      const x = values[i] as number
      const q = x * inverse + rounder - rounder
      const e = x - Math.min(top, Math.max(bottom, q)) * s
      sum += e * e
    }
  }
  return sum
}

/** The best scale for the codes that `s` gives. */
function refitted(values: Float32Array, { low, high }: Codes, s: number, z: number): number {
  let [up, down] = [0, 0]
  for (let i = 0; i < values.length; i++) {
    const x = values[i] as number
    const q = Math.min(high - z, Math.max(low - z, x / s + rounder - rounder))
    up += x * q
    down += q * q
  }
  return down > 0 && up !== 0 ? up / down : s
}
