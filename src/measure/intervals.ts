/**
 * 95 % intervals, z = 1.96:
 *   proportion        Wilson (1927): (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n)
 *   paired proportion Bonett & Price (2012): with b, c the samples lost and won, b' = (b+1)/(n+2), c' = (c+1)/(n+2):
 *                     b' − c' ± z·√((b' + c' − (b' − c')²)/(n+2)); holds its level for few or no flips
 *   mean              normal: m ± z·s/√n
 *   median            the values of rank n/2 − z·√n/2 and 1 + n/2 + z·√n/2, rounded (Campbell & Gardner 1988)
 */
import { assert, PareError } from '../base/errors.ts'
import type { Interval, Metric, Ratio } from '../types.ts'

const z = 1.959963984540054

/** A proportion of `n` independent samples. */
export function wilson(successes: number, n: number): Interval {
  assert(n > 0 && successes >= 0 && successes <= n, `${successes} of ${n} is no proportion`)
  const p = successes / n
  const scale = 1 + (z * z) / n
  const centre = (p + (z * z) / (2 * n)) / scale
  const half = (z / scale) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n))
  return { value: p, low: successes === 0 ? 0 : centre - half, high: successes === n ? 1 : centre + half, n }
}

/** The mean of one score per sample. With a single sample no spread can be told, and the interval is the value alone. */
export function meanInterval(scores: ArrayLike<number>): Interval {
  const n = scores.length
  assert(n > 0, 'no scores')
  let sum = 0
  for (let i = 0; i < n; i++) sum += scores[i] as number
  const value = sum / n
  let squares = 0
  for (let i = 0; i < n; i++) squares += ((scores[i] as number) - value) ** 2
  const half = n > 1 ? z * Math.sqrt(squares / (n - 1) / n) : 0
  return { value, low: value - half, high: value + half, n }
}

/** The mean of a metric's scores with its interval. Throws `E_DATA` when binary scores are not 0 or 1. */
export function metricInterval(scores: ArrayLike<number>, metric: Pick<Metric, 'name' | 'scale'>): Interval {
  if (metric.scale === 'real') return meanInterval(scores)
  checkBinary(scores, metric.name)
  let hits = 0
  for (let i = 0; i < scores.length; i++) hits += scores[i] as number
  return wilson(hits, scores.length)
}

/** How much worse `after` is than `before` on the same samples; positive is worse. Both have one score per sample. */
export function pairedDrop(
  before: ArrayLike<number>,
  after: ArrayLike<number>,
  metric: Pick<Metric, 'name' | 'scale' | 'better'>
): Interval {
  const n = before.length
  assert(n > 0 && after.length === n, `${n} scores before, ${after.length} after`)
  const sign = metric.better === 'higher' ? 1 : -1
  if (metric.scale === 'real')
    return meanInterval(Float64Array.from(before, (x, i) => sign * (x - (after[i] as number))))
  checkBinary(before, metric.name)
  checkBinary(after, metric.name)
  let [lost, won] = [0, 0]
  for (let i = 0; i < n; i++) {
    const d = sign * ((before[i] as number) - (after[i] as number))
    if (d > 0) lost++
    if (d < 0) won++
  }
  return pairedProportions(lost, won, n)
}

/** (lost − won) / n for samples of which `lost` got worse and `won` better. */
export function pairedProportions(lost: number, won: number, n: number): Interval {
  const b = (lost + 1) / (n + 2)
  const c = (won + 1) / (n + 2)
  const half = z * Math.sqrt((b + c - (b - c) ** 2) / (n + 2))
  return { value: (lost - won) / n, low: Math.max(-1, b - c - half), high: Math.min(1, b - c + half), n }
}

/** The median with its interval; below 6 values the interval is all of them and covers less than 95 %. */
export function medianInterval(values: ArrayLike<number>): Ratio {
  const sorted = Float64Array.from(values).sort()
  const n = sorted.length
  assert(n > 0, 'no values')
  const half = (z * Math.sqrt(n)) / 2
  const low = Math.max(0, Math.round(n / 2 - half) - 1)
  const high = Math.min(n - 1, Math.round(n / 2 + half))
  return { median: quantile(sorted, 0.5), low: sorted[low] as number, high: sorted[high] as number }
}

/** A quantile of sorted values, interpolated between neighbours. */
export function quantile(sorted: ArrayLike<number>, q: number): number {
  const at = (sorted.length - 1) * q
  const below = Math.floor(at)
  const a = sorted[below] as number
  const b = sorted[Math.min(below + 1, sorted.length - 1)] as number
  return a + (at - below) * (b - a)
}

function checkBinary(scores: ArrayLike<number>, name: string): void {
  for (let i = 0; i < scores.length; i++)
    if (scores[i] !== 0 && scores[i] !== 1)
      throw new PareError('E_DATA', `metric ${name} is binary, but scored sample ${i} ${scores[i]}`)
}
