/**
 * Chooses the range that the codes of a tensor cover, from its histogram. s = (high − low) / (levels − 1); 0 is inside.
 *
 * percentile: cuts (100 − p)/2 % of the values on each side. entropy: the clipping whose distribution P (outliers folded
 * into the edges) is nearest, by KL divergence, to Q, which is what 128 groups of its bins can tell (Migacz, GTC 2017;
 * "corrected": Q is 0 where P is, fractions kept, all bins grouped). mse: the clipping with the least expected
 * (x − dequantized)², bins standing for their middle. best: the least such error of all of these.
 */
import { assert } from '../base/errors.ts'
import type { Histogram } from './histogram.ts'

export interface Range {
  readonly low: number
  readonly high: number
}

export const methods = ['minmax', 'percentile', 'entropy', 'mse', 'best'] as const
export type Method = (typeof methods)[number]

export interface RangeOptions {
  readonly method: Method
  /** Share of values inside, in percent; for `percentile`. */
  readonly percentile: number
  /** Number of codes. */
  readonly levels: number
}

/** A range, and the method it came from (for `best`: which one won). */
export interface Chosen extends Range {
  readonly method: Exclude<Method, 'best'>
}

/** The range by a method. Low ≤ 0 ≤ high. */
export function chooseRange(h: Histogram, o: RangeOptions): Chosen {
  const { method } = o
  if (method !== 'best') return { ...withZero(byMethod(h, method, o)), method }
  const all = (['minmax', 'percentile', 'entropy', 'mse'] as const).map(
    (m): Chosen => chooseRange(h, { ...o, method: m })
  )
  let best = all[0] as Chosen
  let least = Number.POSITIVE_INFINITY
  for (const r of all) {
    const e = quantizationError(h, r, o.levels)
    if (e < least) {
      best = r
      least = e
    }
  }
  return best
}

function byMethod(h: Histogram, method: Exclude<Method, 'best'>, o: RangeOptions): Range {
  if (method === 'minmax' || h.high <= h.low) return h
  assert(h.counts.length > 0, `${method} needs a histogram`)
  if (method === 'percentile') return percentileRange(h, o.percentile)
  return method === 'entropy' ? entropyRange(h) : mseRange(h, o.levels)
}

const withZero = (r: Range): Range => ({ low: Math.min(r.low, 0), high: Math.max(r.high, 0) })

/** Edges of the bins that hold the quantiles (1 − p)/2 and (1 + p)/2. */
export function percentileRange(h: Histogram, percentile: number): Range {
  const { counts } = h
  const total = counts.reduce((a, b) => a + b, 0)
  const cut = (total * (100 - percentile)) / 200
  let first = 0
  for (let sum = counts[0] as number; sum <= cut && first < counts.length - 1; ) sum += counts[++first] as number
  let last = counts.length - 1
  for (let sum = counts[last] as number; sum <= cut && last > first; ) sum += counts[--last] as number
  return window(h, first, last + 1)
}

/** The range of bins `from … to`. */
function window(h: Histogram, from: number, to: number): Range {
  return {
    low: from === 0 ? h.low : h.from + from * h.width,
    high: to === h.counts.length ? h.high : h.from + to * h.width
  }
}

/** The range clipped to ±t. */
const clipped = (r: Range, t: number): Range => ({ low: Math.max(r.low, -t), high: Math.min(r.high, t) })

// ---------------------------------------------------------------- entropy

const groups = 128

/** The window ±t, from 128 bins to all, with the least divergence. */
function entropyRange(h: Histogram): Range {
  const counts = withoutSpikes(h)
  const bins = counts.length
  // Fewer values than bins show no distribution that a clipping could keep.
  if (counts.reduce((a, b) => a + b, 0) < bins) return h
  const whole = Math.max(-h.low, h.high)
  const steps = Math.max(1, Math.floor(bins / 16))
  let best: Range = h
  let least = Number.POSITIVE_INFINITY
  for (let step = 1; step <= steps; step++) {
    const r = clipped(h, (whole * step) / steps)
    // An end that nothing cuts holds its whole bin: values that a Clip gathers at a bound lie on the edge of the last one.
    const from = r.low === h.low ? 0 : Math.max(0, Math.round((r.low - h.from) / h.width))
    const to = r.high === h.high ? bins : Math.min(bins, Math.round((r.high - h.from) / h.width))
    if (to - from < groups) continue
    const d = divergence(counts, h.counts, from, to)
    if (d < least) {
      least = d
      best = window(h, from, to)
    }
  }
  return best
}

/**
 * Codes hold the spike of exact zeros (behind Relu) and those at the ends (behind Clip) exactly, so that inside of a window
 * they must not count: their bins get what their neighbours hold.
 */
function withoutSpikes(h: Histogram): Float64Array {
  const { counts } = h
  const last = counts.length - 1
  const out = counts.slice()
  const flatten = (at: number): void => {
    const beside = [counts[at - 1], counts[at + 1]].filter((n): n is number => n !== undefined)
    out[at] = beside.reduce((a, b) => a + b, 0) / Math.max(1, beside.length)
  }
  if (h.low <= 0 && h.high >= 0) flatten(Math.min(last, Math.floor(-h.from / h.width)))
  for (const at of [0, last]) if ((out[at] as number) > spike * ((at ? counts[last - 1] : counts[1]) ?? 0)) flatten(at)
  return out
}

/** A bin at an end that holds so many times what its neighbour does is a spike. */
const spike = 4

/** KL(P ‖ Q) of a window over counts without spikes; what lies outside counts as it is. Infinite where it is empty. */
function divergence(counts: Float64Array, all: Float64Array, from: number, to: number): number {
  const n = to - from
  const p = counts.slice(from, to)
  for (let i = 0; i < from; i++) p[0] = (p[0] as number) + (all[i] as number)
  for (let i = to; i < counts.length; i++) p[n - 1] = (p[n - 1] as number) + (all[i] as number)
  const q = new Float64Array(n)
  for (let g = 0; g < groups; g++) {
    const start = Math.floor((g * n) / groups)
    const end = Math.floor(((g + 1) * n) / groups)
    let sum = 0
    let filled = 0
    for (let i = start; i < end; i++) {
      sum += counts[from + i] as number
      if ((p[i] as number) > 0) filled++
    }
    for (let i = start; i < end; i++) if ((p[i] as number) > 0) q[i] = sum / filled
  }
  return kl(p, q)
}

/** KL(P ‖ Q) after both were divided by their sums. Where Q is 0 and P is not, Q counts as 10⁻⁴. */
function kl(p: Float64Array, q: Float64Array): number {
  let totalP = 0
  let totalQ = 0
  for (let i = 0; i < p.length; i++) {
    totalP += p[i] as number
    if ((p[i] as number) > 0 && q[i] === 0) q[i] = 1e-4
    totalQ += q[i] as number
  }
  if (totalP === 0) return Number.POSITIVE_INFINITY
  let d = 0
  for (let i = 0; i < p.length; i++) {
    const a = (p[i] as number) / totalP
    if (a > 0) d += a * Math.log((a * totalQ) / (q[i] as number))
  }
  return d
}

// ---------------------------------------------------------------- least squares

const refinements = 2

/** The range of least error: first both ends move together, low = −t and high = t, then each end alone. */
function mseRange(h: Histogram, levels: number): Range {
  const whole = Math.max(-h.low, h.high)
  let best = leastError(h, levels, h, (share) => clipped(h, whole * share))
  if (h.low >= 0 || h.high <= 0) return best
  for (let round = 0; round < refinements; round++) {
    const { low, high } = best
    best = leastError(h, levels, best, (share) => ({ low: h.low * share, high }))
    const found = best.low
    best = leastError(h, levels, best, (share) => ({ low: found, high: h.high * share }))
    if (best.low === low && best.high === high) break
  }
  return best
}

/** The best of the ranges for shares of 5 … 100 %: every twentieth, then every hundredth around the best of those. */
function leastError(h: Histogram, levels: number, start: Range, rangeOf: (share: number) => Range): Range {
  let best = start
  let least = quantizationError(h, start, levels)
  let at = 100
  const tryShare = (percent: number): void => {
    const r = rangeOf(percent / 100)
    const e = quantizationError(h, r, levels)
    if (e >= least) return
    least = e
    best = r
    at = percent
  }
  for (let percent = 5; percent <= 100; percent += 5) tryShare(percent)
  const middle = at
  for (let percent = Math.max(1, middle - 4); percent <= Math.min(100, middle + 4); percent++) tryShare(percent)
  return best
}

/** Sum over all values of (x − dequantized)², up to what a bin's width hides. */
export function quantizationError(h: Histogram, range: Range, levels: number): number {
  const { low, high } = withZero(range)
  const s = (high - low) / (levels - 1)
  if (!(s > 0)) return Number.POSITIVE_INFINITY
  const zero = Math.round(-low / s)
  const { from, width } = h
  let sum = 0
  for (let i = 0; i < h.counts.length; i++) {
    const n = h.counts[i] as number
    if (n === 0) continue
    const x = from + (i + 0.5) * width
    let code = Math.round(x / s) + zero
    if (code < 0) code = 0
    else if (code > levels - 1) code = levels - 1
    const e = x - (code - zero) * s
    sum += n * e * e
  }
  return sum
}

// ---------------------------------------------------------------- parameters

/** Scale (a float32) and zero point of a tensor; real = (code − zeroPoint) · scale. */
export interface Parameters {
  readonly scale: number
  readonly zeroPoint: number
  readonly dtype: 'uint8' | 'int8'
}

/** Parameters whose codes divide a range into as many steps as there are codes: its upper end is one step above the highest. */
export function fixedParameters({ low, high }: Range, dtype: 'uint8' | 'int8'): Parameters {
  const lowest = dtype === 'uint8' ? 0 : -128
  const scale = Math.fround((high - low) / 256)
  return { scale, zeroPoint: Math.min(lowest + 255, lowest + Math.round(-low / scale)), dtype }
}

/** Parameters with zero point 0 that cover a range and its mirror image, for kernels that know no other. */
export function symmetricParameters({ low, high }: Range): Parameters {
  const scale = Math.fround(Math.max(-low, high) / 127)
  return { scale: scale >= 2 ** -120 ? scale : 1, zeroPoint: 0, dtype: 'int8' }
}

/**
 * Parameters that cover a range. The highest code stands for at most `limit` (where a clamp is left to saturation), the
 * lowest for exactly 0 when the range starts there.
 */
export function parametersOf(range: Range, dtype: 'uint8' | 'int8', limit = Number.POSITIVE_INFINITY): Parameters {
  const { low, high } = withZero(range)
  const lowest = dtype === 'uint8' ? 0 : -128
  let scale = Math.fround((high - low) / 255)
  if (!(scale >= 2 ** -120)) return { scale: 1, zeroPoint: lowest, dtype }
  const steps = Math.min(255, Math.max(0, Math.round(-low / scale)))
  while ((255 - steps) * scale > limit) scale = Math.fround(scale * (1 - 2 ** -24))
  return { scale, zeroPoint: lowest + steps, dtype }
}
