/**
 * The projection onto hard budgets that every strategy shares, so that strategies differ only in what they propose.
 *
 * A raw point u ∈ [0, 1]^L becomes choices round((u_i + λ)·(n_i − 1)) with one shift λ for all units, the largest that
 * meets every budget (bisection; every cost rises with every choice). What is left by rounding is used up: the unit that
 * is furthest below its own u takes its next choice, while one still fits. So a projected point projects onto itself.
 */
import { PareError } from '../../base/errors.ts'
import type { CostName } from '../../report/types.ts'
import { type Budgets, costing, costNames, type Point, type Space } from './space.ts'

/** Raw point → choices. */
export type Project = (raw: ArrayLike<number>) => Point

const steps = 30
/** Shares that differ by less are the same. */
const tiny = 1e-12

/** The projection onto shares of costs. Throws `E_CONSTRAINT` where even the cheapest choices cost more. */
export function projection(space: Space, budgets: Budgets): Project {
  const names = costNames.filter((n) => budgets[n] !== undefined)
  for (const n of names) if (space.original[n] === undefined) throw notKnown(n)
  const { of } = costing(space, names)
  const most = Float64Array.from(names, (n) => budgets[n] as number)
  const fits = (p: ArrayLike<number>): boolean => {
    const all = of(p)
    for (let c = 0; c < most.length; c++) if ((all[c] as number) > (most[c] as number) + tiny) return false
    return true
  }
  const least = Array.from(of(new Int32Array(space.units.length)))
  for (const [c, n] of names.entries())
    if ((least[c] as number) > (most[c] as number) + tiny) throw outOfReach(n, most[c] as number, least[c] as number)
  return (raw) => settle(space, raw, fits)
}

/** `fits` holds at λ = −1. */
function settle({ units }: Space, raw: ArrayLike<number>, fits: (p: ArrayLike<number>) => boolean): Point {
  const last = Int32Array.from(units, (u) => u.choices.length - 1)
  const shifted = (shift: number): Int32Array =>
    last.map((n, i) => Math.round(Math.min(1, Math.max(0, (raw[i] as number) + shift)) * n))
  let [inside, outside] = [-1, 1]
  if (fits(shifted(outside))) inside = outside
  else
    for (let k = 0; k < steps; k++) {
      const middle = (inside + outside) / 2
      if (fits(shifted(middle))) inside = middle
      else outside = middle
    }
  const point = shifted(inside)
  fill(point, last, raw, fits)
  return Array.from(point)
}

/** Raises single units while the point still fits, the one first that is furthest below its raw number. */
function fill(
  point: Int32Array,
  last: Int32Array,
  raw: ArrayLike<number>,
  fits: (p: ArrayLike<number>) => boolean
): void {
  const isOpen = last.map((n) => Number(n > 0))
  for (;;) {
    let [best, by] = [-1, Number.NEGATIVE_INFINITY]
    for (let i = 0; i < point.length; i++) {
      const now = point[i] as number
      if (isOpen[i] === 0 || now >= (last[i] as number)) continue
      const behind = (raw[i] as number) - now / (last[i] as number)
      if (behind > by + tiny) [best, by] = [i, behind]
    }
    if (best < 0) return
    point[best] = (point[best] as number) + 1
    if (fits(point)) continue
    // Others only rise: what does not fit now never will.
    point[best] = (point[best] as number) - 1
    isOpen[best] = 0
  }
}

/** For a cost that a model does not tell. */
export const notKnown = (name: CostName): PareError =>
  new PareError('E_UNSUPPORTED', `the ${name} of this model are not known, so that they cannot be bounded`, {
    where: name,
    hint: 'bound another cost, such as bytes'
  })

const outOfReach = (name: CostName, most: number, least: number): PareError =>
  new PareError('E_CONSTRAINT', `a share of ${most} of the ${name} cannot be reached`, {
    where: `budget.${name}`,
    facts: { 'least that can be left': least.toPrecision(3) },
    hint: 'ask for less, or allow more: more --types, fewer --exclude'
  })
