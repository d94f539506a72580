/**
 * Racing on samples: a trial is measured on rungs of ever more samples, and dropped at a rung where it is not among the best
 * third of those that came so far and, on the very same samples, worse than the best of all by a paired one-sided t test with
 * p below 0.1 / rungs.
 */

import { least } from '../../base/extremes.ts'

/** Losses of a trial on the samples so far. */
export interface Raced {
  readonly losses: Float32Array
}

const share = 1 / 3
const p = 0.1

/** Is a trial out after `losses`? `others`: finished trials, which have losses for at least these samples where they were not dropped before. */
export function isOut(losses: Float32Array, others: readonly Raced[], rungs: number): boolean {
  const n = losses.length
  const rivals = others.filter((o) => o.losses.length >= n)
  if (rivals.length === 0) return false
  const own = meanOf(losses, n)
  const means = rivals.map((r) => meanOf(r.losses, n))
  const better = means.filter((m) => m < own).length
  if (better < Math.ceil((rivals.length + 1) * share)) return false
  const best = rivals[means.indexOf(least(means))] as Raced
  return differenceOverError(losses, best.losses) > quantile(p / rungs)
}

/** Is the mean of the losses so far surely above a bound, by a one-sided t test with p below 0.1 / rungs? */
export const isAbove = (losses: Float32Array, bound: number, rungs: number): boolean =>
  differenceOverError(losses, new Float32Array(losses.length).fill(bound)) > quantile(p / rungs)

/** A finished trial with what the additive guess says of its point. */
export interface Guessed {
  readonly guess: number
  readonly harm: number
}

/** Guesses within this factor are alike; so many measured ones tell; and harm above this multiple of the best is hopeless. */
const [alike, leastAlike, hopeless] = [1.5, 8, 2]

/** The least harm of measured points whose guess is like this one's, where all of them are far behind the best and behind what is allowed; else `undefined`. */
export function hopelessHarm(guess: number, measured: readonly Guessed[], allowed: number): number | undefined {
  const near = measured.filter((m) => m.guess <= guess * alike && m.guess >= guess / alike)
  if (near.length < leastAlike) return undefined
  const floor = least(near.map((m) => m.harm))
  return floor > hopeless * Math.max(allowed, least(measured.map((m) => m.harm))) ? floor : undefined
}

/** Mean of the first n; float64 sum. */
export function meanOf(losses: Float32Array, n = losses.length): number {
  let sum = 0
  for (let i = 0; i < n; i++) sum += losses[i] as number
  return sum / n
}

/** t of the paired differences a − b over the samples of a. */
export function differenceOverError(a: Float32Array, b: Float32Array): number {
  const n = a.length
  let [sum, squares] = [0, 0]
  for (let i = 0; i < n; i++) {
    const d = (a[i] as number) - (b[i] as number)
    sum += d
    squares += d * d
  }
  const mean = sum / n
  const variance = Math.max(0, squares / n - mean * mean)
  if (variance === 0) return mean > 0 ? Number.POSITIVE_INFINITY : 0
  return mean / Math.sqrt(variance / Math.max(1, n - 1))
}

/** The z above which a standard normal lies with probability p (Abramowitz and Stegun 26.2.23, error below 4.5e-4). */
export function quantile(p: number): number {
  const t = Math.sqrt(-2 * Math.log(p))
  return t - (2.515517 + 0.802853 * t + 0.010328 * t * t) / (1 + 1.432788 * t + 0.189269 * t * t + 0.001308 * t ** 3)
}
