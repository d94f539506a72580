/**
 * Finds the cheapest point of a predicted front whose model really keeps a bound on the drop.
 *
 * A drop on few samples is measured poorly, and a search among many models finds those that were lucky on these samples.
 * The change of the output, e², is measured well. A trained network is near an optimum, where the loss grows with the square
 * of a disturbance (the second-order argument of HAWQ, Dong et al. 2019): drop ≈ k·e². For a model m, k is the sum of drops
 * over the sum of e² of measured models: those whose e² is at least m's and at most `reach` times m's, or at most that of the
 * next model where this is larger. All models are measured on the same samples, so their errors do not average out: the
 * standard error of k is that of the single model that tells k best. A model keeps the bound when both its measured drop and
 * (k + error)·e² are within it.
 */
import { least as smallest } from '../../../base/extremes.ts'
import type { Comparison } from '../../types.ts'
import type { Point } from './knapsack.ts'

/** What a bound is checked by. */
export type Loss = Pick<Comparison, 'drop' | 'error'>

/** A point of the front with what its model measured. */
export interface Measured extends Comparison {
  readonly point: Point
}

const reach = 16
/** Up to so many times the disturbance is the same one, measured again: it tells nothing more of k. */
const same = 2
/** A 95 % interval is so many standard errors wide. */
const widthOf95 = 3.92

/** The drop that a measured model's e² makes likely, with its standard error on top. */
function likelyDrop(m: Loss, all: readonly Loss[]): number {
  const above = all.filter((x) => x.error >= m.error)
  const next = smallest(above.flatMap((x) => (x.error > same * m.error ? x.error : [])))
  const most = Math.max(next, reach * m.error)
  let [drops, errors, least] = [0, 0, Number.POSITIVE_INFINITY]
  for (const { drop, error } of above) {
    if (error > most) continue
    drops += drop.value
    errors += error
    least = Math.min(least, (drop.high - drop.low) / widthOf95 / error)
  }
  return errors === 0 ? 0 : (drops / errors + least) * m.error
}

/** Does a measured model keep the bound, by its own drop and by what all models tell of its e²? */
export const isSafe = (m: Loss, all: readonly Loss[], maxDrop: number): boolean =>
  m.drop.value <= maxDrop && likelyDrop(m, all) <= maxDrop

/** The e² up to which the bound is kept, by what the drop of `m`, which keeps it, makes likely; below that of all that do not. */
export function safeError(m: Loss, all: readonly Loss[], maxDrop: number): number {
  const likely = likelyDrop(m, all)
  const unsafe = smallest(all.flatMap((x) => (x.error > m.error && !isSafe(x, all, maxDrop) ? x.error : [])))
  return Math.max(m.error, Math.min(unsafe, likely > 0 ? (m.error * maxDrop) / likely : m.error))
}

/**
 * The point of the front, among those that cost at least as much as `from`, with the least cost · (1 + drop / maxDrop).
 * A drop of `maxDrop` therefore counts like twice the bytes. A point's drop is not measured: it is the likely drop of
 * `from`, multiplied by the ratio of the point's harm to the harm of `from`.
 */
export function kneeOf(front: readonly Point[], from: Measured, all: readonly Loss[], maxDrop: number): Point {
  const { cost, harm } = from.point
  const drop = likelyDrop(from, all)
  if (!(drop > 0 && harm > 0)) return from.point
  const price = (p: Point): number => p.cost * (1 + (drop * p.harm) / harm / maxDrop)
  return front.filter((p) => p.cost >= cost).reduce((best, p) => (price(p) < price(best) ? p : best), from.point)
}

export interface WalkOptions {
  readonly maxDrop: number
  /** Where to begin, as an index into the front. */
  readonly start: number
  /** What else was measured, for what it tells of k. */
  readonly prior?: readonly Loss[]
  /** Harm is multiplied by this until the bound is passed. */
  readonly stride: number
  /** Models to measure, at most. */
  readonly most: number
  /** Costs closer than this share are the same. */
  readonly near: number
}

export interface Walked {
  /** The cheapest that keeps the bound; absent when none does. */
  readonly best?: Measured
  /** All that were measured, by cost. */
  readonly seen: readonly Measured[]
}

/**
 * Looks for the bound on a front (rising cost, falling harm) by measuring: from the start by factors of the harm until it
 * lies between two points, then halfway between by harm. What is measured changes k, and so what was thought of the points
 * before: where at the end none keeps the bound, more precise ones are tried, as many again and then the last.
 */
export async function walk(
  front: readonly Point[],
  measure: (p: Point) => Promise<Comparison>,
  o: WalkOptions
): Promise<Walked> {
  const seen = new Map<number, Measured>()
  const isKept = (m: Loss): boolean => isSafe(m, [...(o.prior ?? []), ...seen.values()], o.maxDrop)
  for (let at: number | undefined = o.start; at !== undefined; ) {
    const point = front[at] as Point
    seen.set(at, { ...(await measure(point)), point })
    at = nextLook(
      front,
      [...seen.keys()].sort((a, b) => a - b),
      (i) => isKept(seen.get(i) as Measured),
      o
    )
  }
  const all = [...seen.values()].sort((a, b) => a.point.cost - b.point.cost)
  const best = all.find(isKept)
  return { ...(best ? { best } : {}), seen: all }
}

/** The point to measure next; `undefined` where the bound is found or will not be. */
function nextLook(
  front: readonly Point[],
  seen: readonly number[],
  isKept: (i: number) => boolean,
  o: WalkOptions
): number | undefined {
  const high = seen.find(isKept)
  const low = seen.findLast((i) => i < (high ?? front.length))
  const harmOf = (i: number): number => (front[i] as Point).harm
  if (high === undefined) {
    const last = front.length - 1
    if (low === undefined || low >= last) return undefined
    if (seen.length >= 2 * o.most) return last
    return Math.max(low + 1, nearest(front, harmOf(low) / o.stride))
  }
  if (seen.length >= o.most || high === 0) return undefined
  if (low === undefined) return Math.min(high - 1, nearest(front, harmOf(high) * o.stride))
  const [a, b] = [front[low] as Point, front[high] as Point]
  if (high - low <= 1 || b.cost <= a.cost * (1 + o.near)) return undefined
  const middle = nearest(front, Math.sqrt(a.harm * Math.max(b.harm, a.harm / 64)))
  return Math.min(high - 1, Math.max(low + 1, middle))
}

/** Index in a front of the cheapest point of at most this harm; the last where there is none. */
export function nearest(front: readonly Point[], harm: number): number {
  const found = front.findIndex((p) => p.harm <= harm)
  return found < 0 ? front.length - 1 : found
}
