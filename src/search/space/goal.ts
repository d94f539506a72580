/**
 * What a search is for, in one shape for drivers and strategies: the least harm within budgets, or the least of one cost while
 * the harm is at most what a bound on the drop allows. In the second, what strategies choose has one unit more, the budget:
 * shares of the cost around the least at which a solution of the additive guess keeps the bound. A point is projected onto its
 * own budget as in the first, so that strategies look for the least budget at which the harm is still allowed.
 */
import type { SearchEdge } from '../../report/types.ts'
import { type Project, projection } from './project.ts'
import { isAbove, isOut, type Raced } from './race.ts'
import { solvedWithin } from './solve.ts'
import { type Budgets, costing, encoded, harmOf, type Kind, type Point, type Space, type Unit } from './space.ts'

/** Numbers that the harms of each kind of unit are multiplied by; 1 where none is given. */
export type Weights = Readonly<Partial<Record<Kind, number>>>

export interface Goal {
  /** What strategies choose from. */
  readonly space: Space
  readonly project: Project
  /** Where all strategies begin: the uniform ratio, and the solution of the additive guess. */
  readonly starts: readonly (readonly number[])[]
  /** The best point by the additive guess, of weighted harms; where the budget is chosen, under the next below that of a point. */
  solved(weights: Weights, under?: Point): Point
  /** The part of a point that a model is made of. */
  part(point: Point): Point
  /** What is minimised, of a point and its harm. */
  score(point: Point, harm: number): number
  /** Harm that is no worse than less; 0 where less is always better. */
  readonly allowed: number
  /** The additive guess of a point's harm. */
  guess(point: Point): number
  /** Can a trial be dropped after so many losses? */
  isOut(losses: Float32Array, rivals: readonly Raced[], rungs: number): boolean
}

/** The least harm within budgets. */
export function withinBudgets(space: Space, budgets: Budgets): Goal {
  const solved = (weights: Weights): Point => solvedWithin(weighted(space, weights), budgets)
  return {
    space,
    project: projection(space, budgets),
    starts: [space.units.map(() => 0.5), encoded(space, solved({}))],
    solved,
    part: (point) => point,
    score: (_, harm) => harm,
    allowed: 0,
    guess: (point) => harmOf(space, point),
    isOut
  }
}

/** Budgets as shares of the edge's: a factor between two, how many lie below it, and how many above. */
const [step, below, above] = [0.985, 30, 2]

/** The least of a cost at a harm of at most the edge's. */
export function leastCost(space: Space, { cost, share, harm }: SearchEdge): Goal {
  const { of } = costing(space, [cost])
  const least = of(space.units.map(() => 0))[0] as number
  const all = Array.from({ length: below + above + 1 }, (_, i) => share * step ** (below - i))
  const shares = all.filter((s) => s >= least && s <= Math.max(1, share))
  const first = Math.max(0, shares.lastIndexOf(share))
  const top = shares.length - 1
  const unit: Unit = {
    id: `budget ${cost}`,
    kind: 'budget',
    choices: shares.map((s) => s.toPrecision(3)),
    harm: shares.map(() => 0)
  }
  const wide = { ...space, units: [...space.units, unit] }
  const projects = shares.map((s) => projection(space, { [cost]: s }))
  const solved = (weights: Weights, under?: Point): Point => {
    const level = under ? Math.max(0, (under.at(-1) as number) - 1) : first
    return [...solvedWithin(weighted(space, weights), { [cost]: shares[level] as number }), level]
  }
  return {
    space: wide,
    project: (raw) => {
      const level = Math.round(Math.min(1, Math.max(0, raw[space.units.length] as number)) * top)
      return [...(projects[level] as Project)(raw), level]
    },
    starts: [[...space.units.map(() => 0.5), top > 0 ? first / top : 1], encoded(wide, solved({}))],
    solved,
    part: (point) => point.slice(0, -1),
    // Whatever is allowed comes before whatever is not: shares are at most 1, or little more where the file grows.
    score: (point, mean) => (mean <= harm ? (of(point)[0] as number) : notAllowed + mean / harm),
    allowed: harm,
    guess: (point) => harmOf(space, point.slice(0, -1)),
    isOut: (losses, _, rungs) => isAbove(losses, harm, rungs)
  }
}

const notAllowed = 10

const weighted = (space: Space, weights: Weights): Space => ({
  ...space,
  units: space.units.map((u) => ({ ...u, harm: u.harm.map((h) => h * (weights[u.kind] ?? 1)) }))
})
