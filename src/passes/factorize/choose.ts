/** Which split every layer gets under a bound on cost or on error. */
import type { Split } from './splits.ts'

/** What layers are asked for: a share of their parameters or multiply-adds that may be left, or the largest error of each. */
export type Bound =
  | { readonly kind: 'parameters' | 'macs'; readonly share: number; readonly scope: 'global' | 'layer' }
  | { readonly kind: 'error'; readonly most: number }

type Choice = Pick<Split, 'cost' | 'error'>

/** A layer as the choice sees it. `size`: what it costs as it is, in the unit of the bound. */
export interface Splittable<S extends Choice = Split> {
  readonly splits: readonly S[]
  readonly size: number
}

/**
 * The split of each layer; `undefined` where it stays. Bounds of error: the cheapest within it. Of cost, by layer: the least
 * error within it; global: the least sum of errors over all layers whose cost together is within it, as far as a convex
 * hull tells (minimum of error + λ·cost for one λ). `undefined` where the bound cannot be reached.
 */
export function chosen<S extends Choice>(
  all: readonly Splittable<S>[],
  bound: Bound
): readonly (S | undefined)[] | undefined {
  if (bound.kind === 'error')
    return all.map(({ splits }) =>
      least(
        splits.filter((s) => s.error <= bound.most),
        cheapest
      )
    )
  const { kind, share, scope } = bound
  if (scope === 'layer')
    return all.map(({ splits }) =>
      least(
        splits.filter((s) => s.cost[kind] <= share),
        (s) => s.error
      )
    )
  const total = all.reduce((n, l) => n + l.size, 0)
  const at = (lambda: number): readonly (S | undefined)[] =>
    all.map(({ splits, size }) => {
      const price = (s: S | undefined): number => (s?.error ?? 0) + (lambda * size * (s?.cost[kind] ?? 1)) / total
      return least([undefined, ...splits], price)
    })
  const costOf = (picks: readonly (S | undefined)[]): number =>
    picks.reduce((n, s, i) => n + ((all[i] as Splittable<S>).size * (s?.cost[kind] ?? 1)) / total, 0)
  let [low, high] = [1e-9, 1e9]
  if (costOf(at(high)) > share) return undefined
  for (let i = 0; i < 100; i++) {
    const middle = Math.sqrt(low * high)
    if (costOf(at(middle)) > share) low = middle
    else high = middle
  }
  return at(high)
}

/** Multiply-adds first: they are what takes time. */
const cheapest = ({ cost }: Choice): number => cost.macs + 1e-6 * cost.parameters

function least<T>(all: readonly T[], by: (one: T) => number): T | undefined {
  let best: T | undefined
  let lowest = Number.POSITIVE_INFINITY
  for (const one of all) {
    const value = by(one)
    if (value < lowest) {
      lowest = value
      best = one
    }
  }
  return best
}
