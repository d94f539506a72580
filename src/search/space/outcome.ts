/** What a search came to, as plain data for the report: its runs, how they compare, and what was looked at. */

import type { CostName, CostShares, SearchReport, SearchRun } from '../../report/types.ts'
import type { Tried } from './drive.ts'
import { crowding, frontOf } from './front.ts'
import { meanOf } from './race.ts'

/** A run that is finished. */
export interface RunOf {
  readonly strategy: string
  readonly seed: number
  readonly tried: readonly Tried[]
  /** Of its best point on samples that no rung used. */
  readonly fresh?: { readonly harm: number; readonly drop: number; readonly dropError: number; readonly n: number }
}

/** The best of a run: measured on all samples, of the lowest score. */
export const bestTried = (tried: readonly Tried[]): Tried | undefined =>
  tried.reduce<Tried | undefined>((best, t) => {
    if (t.failed !== undefined) return best
    if (!best || t.isWhole !== best.isWhole) return !best || t.isWhole ? t : best
    return t.score < best.score ? t : best
  }, undefined)

/** A run as the report tells it. `least`: the cost that is minimised, where it is not the harm. */
export function runReport(
  { strategy, seed, tried, fresh }: RunOf,
  costs: (t: Tried) => CostShares,
  least?: CostName
): SearchRun {
  const best = bestTried(tried)
  let score = Number.POSITIVE_INFINITY
  const curve = tried.flatMap((t, i): (readonly [number, number])[] => {
    if (!t.isWhole || t.score >= score) return []
    score = t.score
    return [[i + 1, (least && costs(t)[least]) ?? meanOf(t.losses)]]
  })
  const mean = tried.reduce((n, t) => n + t.ms, 0) / Math.max(1, tried.length)
  return {
    ...{ strategy, seed, trials: tried.length },
    whole: tried.filter((t) => t.isWhole).length,
    known: tried.filter((t) => t.isKnown).length,
    guessed: tried.filter((t) => t.isGuessed).length,
    failed: tried.filter((t) => t.failed !== undefined).length,
    msPerTrial: mean,
    starts: tried.slice(0, 2).map((t) => meanOf(t.losses)),
    ...(best ? { best: best.k, harm: meanOf(best.losses), costs: costs(best) } : {}),
    ...(fresh ? { fresh } : {}),
    curve
  }
}

// ---------------------------------------------------------------- comparisons

/** Two-sided 95 % quantiles of Student's t, by degrees of freedom. */
const t95 = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262]

/**
 * What is minimised, of each strategy over random's of the same seed: the geometric mean of the ratios with its 95 % interval
 * over seeds. One seed has no interval. Harm on fresh samples where it is known.
 */
export function comparisons(
  runs: readonly SearchRun[],
  what: 'harm' | CostName = 'harm',
  yardstick = 'random'
): SearchReport['comparisons'] {
  const figureOf = (r: SearchRun | undefined): number | undefined =>
    what === 'harm' ? (r?.fresh?.harm ?? r?.harm) : r?.costs?.[what]
  const names = [...new Set(runs.map((r) => r.strategy))].filter((n) => n !== yardstick)
  return names.map((strategy) => {
    const logs = runs.flatMap((r) => {
      const [own, other] = [figureOf(r), figureOf(runs.find((x) => x.strategy === yardstick && x.seed === r.seed))]
      return r.strategy === strategy && own && other ? [Math.log(own / other)] : []
    })
    if (logs.length === 0) return { strategy, what, seeds: 0, verdict: 'unknown' as const }
    const mean = logs.reduce((a, b) => a + b, 0) / logs.length
    const ratio = Math.exp(mean)
    const wins = logs.filter((l) => l < 0).length
    if (logs.length === 1) return { strategy, what, seeds: 1, ratio, wins, verdict: 'unknown' as const }
    const variance = logs.reduce((sum, l) => sum + (l - mean) ** 2, 0) / (logs.length - 1)
    const half = (t95[logs.length - 2] ?? 1.96) * Math.sqrt(variance / logs.length)
    const [low, high] = [Math.exp(mean - half), Math.exp(mean + half)]
    const verdict = high < 1 ? ('better' as const) : low > 1 ? ('worse' as const) : ('same' as const)
    return { strategy, what, seeds: logs.length, ratio, low, high, wins, verdict }
  })
}

/** Trials for pictures: all of the front, then those that lie apart most, up to a number. */
export function shown<T extends { readonly values: readonly number[] }>(all: readonly T[], most: number): readonly T[] {
  const front = frontOf(all, (t) => t.values)
  const rest = all.filter((t) => !front.includes(t))
  const far = crowding(rest.map((t) => t.values))
  const order = [...rest.keys()].sort((a, b) => (far[b] as number) - (far[a] as number) || a - b)
  return [...front, ...order.slice(0, Math.max(0, most - front.length)).map((i) => rest[i] as T)]
}

// ---------------------------------------------------------------- importance

/**
 * How much each unit matters for being among the best (PED-ANOVA, Watanabe et al., 2023, on choices in order): the Pearson
 * divergence Σ p·(q/p − 1)² of the choices of the best share from those of all, both smoothed by one count spread over
 * all choices; divided by the sum over units. Empty where fewer than five trials are among the best.
 */
export function importanceOf(
  sizes: readonly number[],
  trials: readonly { readonly point: readonly number[]; readonly score: number }[],
  share = 0.1
): readonly number[] {
  const order = trials.toSorted((a, b) => a.score - b.score)
  const top = order.slice(0, Math.ceil(share * order.length))
  if (top.length < leastTop) return []
  const divergences = sizes.map((size, i) => {
    const [all, best] = [order, top].map((some) => {
      const counts = new Float64Array(size).fill(1 / size)
      for (const t of some) counts[t.point[i] as number] = (counts[t.point[i] as number] as number) + 1
      return counts.map((c) => c / (some.length + 1))
    }) as [Float64Array, Float64Array]
    return all.reduce((sum, p, c) => sum + p * ((best[c] as number) / p - 1) ** 2, 0)
  })
  const total = divergences.reduce((a, b) => a + b, 0)
  return total > 0 ? divergences.map((d) => d / total) : divergences
}

const leastTop = 5
