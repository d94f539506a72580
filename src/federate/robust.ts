/**
 * Rules that make one update of many of which some may be hostile. An update is a vector x_1 … x_m of d numbers.
 *
 * - mean: Σ w_i x_i / Σ w_i.
 * - trimmed-mean: of every coordinate the mean without the ⌊β m⌋ least and greatest (Yin 2018, arXiv 1803.01498).
 * - median: of every coordinate (the same paper).
 * - krum: the update with the least sum of squared distances to its m − f − 2 nearest; m ≥ 2f + 3 (Blanchard 2017).
 * - centred-clipping: v ← v + mean (x_i − v) min(1, τ / ‖x_i − v‖), from the last round's update (Karimireddy 2021).
 *
 * In front of all of them stand a check for numbers that are not finite and a bound of the norm: x min(1, S / ‖x‖).
 * Only the mean weighs updates; the others count clients, as a weight is what a hostile client would lie about.
 */

import { PareError } from '../base/errors.ts'
import { least } from '../base/extremes.ts'

export interface RuleOptions {
  /** Share of the clients that may be hostile, default 0.2. */
  readonly share?: number
  /** Of the mean, one an update; by default all are alike. */
  readonly weights?: readonly number[]
  /** The last round's update, from which centred clipping goes on; by default zeros. */
  readonly previous?: Float32Array
}

/** One rule. `holds`: what it needs in memory at once, a sum or every update of the round. */
export interface RobustRule {
  readonly name: string
  readonly summary: string
  readonly holds: 'sum' | 'updates'
  /** One vector of the updates' length. Throws `E_DATA` for fewer updates than the rule can work with. */
  combine(updates: readonly Float32Array[], o?: RuleOptions): Float32Array
}

const defaultShare = 0.2

export const robustRules: readonly RobustRule[] = [
  {
    name: 'mean',
    summary: 'the weighted mean; hostile clients are held by the bound of the norm alone',
    holds: 'sum',
    combine: (updates, o) => mean(updates, o?.weights)
  },
  {
    name: 'trimmed-mean',
    summary: 'of every coordinate the mean without the least and the greatest values',
    holds: 'updates',
    combine: (updates, o) => {
      const cut = Math.floor((o?.share ?? defaultShare) * updates.length)
      if (updates.length <= 2 * cut) throw tooFew('trimmed-mean', updates.length, 2 * cut + 1)
      return byCoordinate(updates, (sorted) => meanOf(sorted.subarray(cut, sorted.length - cut)))
    }
  },
  {
    name: 'median',
    summary: 'of every coordinate the median',
    holds: 'updates',
    combine: (updates) =>
      byCoordinate(updates, (sorted) => {
        const half = sorted.length >> 1
        return sorted.length % 2 === 1 ? at(sorted, half) : (at(sorted, half - 1) + at(sorted, half)) / 2
      })
  },
  {
    name: 'krum',
    summary: 'the one update that is nearest to most others',
    holds: 'updates',
    combine: (updates, o) => Float32Array.from(at(updates, krum(updates, o?.share ?? defaultShare)))
  },
  {
    name: 'centred-clipping',
    summary: 'the mean of what differs from the last round, each difference clipped',
    holds: 'updates',
    combine: (updates, o) => centredClipping(updates, o?.previous)
  }
]

/** The rule of a name. Throws `E_OPTION`. */
export function ruleFor(name: string): RobustRule {
  const found = robustRules.find((r) => r.name === name)
  if (found) return found
  throw new PareError('E_OPTION', `there is no rule ${name}`, {
    facts: { rules: robustRules.map((r) => r.name).join(', ') }
  })
}

/** ‖x‖, which is NaN or infinite where a coordinate is. */
export function normOf(x: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += (x[i] as number) ** 2
  return Math.sqrt(sum)
}

/** The update scaled so that its norm is at most `bound`; the same object where it is. Throws `E_DATA` for NaN and infinity. */
export function boundedUpdate(update: Float32Array, bound: number): Float32Array {
  const norm = normOf(update)
  if (!Number.isFinite(norm)) throw new PareError('E_DATA', 'the update holds numbers that are not finite')
  return norm <= bound ? update : update.map((x) => (x * bound) / norm)
}

/** A bound that follows the updates themselves: `factor` times the median of their norms. */
export function boundOf(norms: readonly number[], factor = 2): number {
  const sorted = [...norms].sort((a, b) => a - b)
  return factor * (sorted[sorted.length >> 1] ?? 0)
}

/**
 * Updates that each are the mean of a random pair, in the order given by `order` (bucketing): what is honest but rare
 * is rejected less. An odd one stays alone.
 */
export function bucketed(updates: readonly Float32Array[], order: readonly number[], size = 2): Float32Array[] {
  const out: Float32Array[] = []
  for (let i = 0; i < order.length; i += size) out.push(mean(order.slice(i, i + size).map((j) => at(updates, j))))
  return out
}

// ---------------------------------------------------------------- the rules

function at<T>(list: { readonly [i: number]: T }, i: number): T {
  return list[i] as T
}

const tooFew = (rule: string, given: number, least: number): PareError =>
  new PareError('E_DATA', `${rule} needs ${least} updates or more; there are ${given}`, {
    hint: 'ask more clients in a round, or expect a smaller share of hostile ones'
  })

function meanOf(values: Float64Array): number {
  let sum = 0
  for (const v of values) sum += v
  return sum / values.length
}

function mean(updates: readonly Float32Array[], weights?: readonly number[]): Float32Array {
  if (updates.length === 0) throw tooFew('mean', 0, 1)
  const sum = new Float64Array(at(updates, 0).length)
  let total = 0
  for (const [k, update] of updates.entries()) {
    const weight = weights?.[k] ?? 1
    total += weight
    for (let i = 0; i < sum.length; i++) sum[i] = at(sum, i) + weight * at(update, i)
  }
  return Float32Array.from(sum, (s) => s / total)
}

/** What `of` makes of the sorted values of every coordinate. */
function byCoordinate(updates: readonly Float32Array[], of: (sorted: Float64Array) => number): Float32Array {
  if (updates.length === 0) throw tooFew('a rule by coordinates', 0, 1)
  const out = new Float32Array(at(updates, 0).length)
  const column = new Float64Array(updates.length)
  for (let i = 0; i < out.length; i++) {
    for (let k = 0; k < updates.length; k++) column[k] = at(at(updates, k), i)
    out[i] = of(column.sort())
  }
  return out
}

/** Number of the update that Krum chooses. */
function krum(updates: readonly Float32Array[], share: number): number {
  const m = updates.length
  const hostile = Math.floor(share * m)
  if (m < 2 * hostile + 3) throw tooFew('krum', m, 2 * hostile + 3)
  const distances = updates.map((a, i) => updates.map((b, j) => (i === j ? 0 : squaredDistance(a, b))))
  const scores = distances.map((row, i) => {
    const others = Float64Array.from(row.filter((_, j) => j !== i)).sort()
    return others.subarray(0, m - hostile - 2).reduce((sum, x) => sum + x, 0)
  })
  return scores.indexOf(least(scores))
}

function squaredDistance(a: Float32Array, b: Float32Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (at(a, i) - at(b, i)) ** 2
  return sum
}

/** Iterations of centred clipping. */
const iterations = 3

/** τ is the median of the distances from v, so that it needs no tuning: at least half of the clients are taken whole. */
function centredClipping(updates: readonly Float32Array[], previous?: Float32Array): Float32Array {
  if (updates.length === 0) throw tooFew('centred-clipping', 0, 1)
  let v = previous ?? new Float32Array(at(updates, 0).length)
  for (let k = 0; k < iterations; k++) {
    const distances = updates.map((x) => Math.sqrt(squaredDistance(x, v)))
    const radius = boundOf(distances, 1)
    const next = Float64Array.from(v)
    for (const [j, x] of updates.entries()) {
      const scale = Math.min(1, radius / Math.max(at(distances, j), Number.MIN_VALUE)) / updates.length
      for (let i = 0; i < next.length; i++) next[i] = at(next, i) + scale * (at(x, i) - at(v, i))
    }
    v = Float32Array.from(next)
  }
  return v
}
