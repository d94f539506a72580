/**
 * The best point by the additive guess: least Σ harm under every budget. Costs are products of choices, so this is no plain
 * knapsack. From the model as it is, the unit goes down whose harm grows least for what it takes off the costs that are
 * still too high; then single moves and exchanges of two units are made while they lower the harm.
 */
import { PareError } from '../../base/errors.ts'
import { rng } from '../../base/random.ts'
import { type Budgets, costing, costNames, harmOf, type Point, type Space, whole } from './space.ts'

/** The point of least guessed harm within budgets. Throws `E_CONSTRAINT` where none is. */
export function solvedWithin(space: Space, budgets: Budgets): Point {
  const names = costNames.filter((n) => budgets[n] !== undefined)
  const { of } = costing(space, names)
  const most = names.map((n) => budgets[n] as number)
  const excess = (p: ArrayLike<number>): number => {
    const all = of(p)
    let sum = 0
    for (let c = 0; c < most.length; c++) sum += Math.max(0, (all[c] as number) / (most[c] as number) - 1)
    return sum
  }
  const fits = (p: ArrayLike<number>): boolean => excess(p) <= tiny
  let best = improved(space, descended(space, Int32Array.from(whole(space)), excess), fits)
  // From the best with a few units lowered, again: what exchanges of two cannot reach.
  const random = rng('solve')
  for (let kick = 0; kick < Math.min(mostKicks, Math.ceil(kickWork / space.units.length)); kick++) {
    const from = Int32Array.from(best)
    for (let i = 0; i < 3; i++) {
      const u = random.below(from.length)
      from[u] = random.below((from[u] as number) + 1)
    }
    const other = improved(space, from, fits)
    if (harmOf(space, other) < harmOf(space, best) - tiny) best = other
  }
  return best
}

/** Attempts to leave a point that no exchange improves: fewer where there are many units. */
const [mostKicks, kickWork] = [32, 400]

const tiny = 1e-12

/** Down to where nothing is in excess. */
function descended(space: Space, point: Int32Array, excess: (p: ArrayLike<number>) => number): Int32Array {
  while (excess(point) > tiny) {
    const step = cheapest(space, point, excess)
    if (!step) throw new PareError('E_CONSTRAINT', 'even the cheapest choices do not meet the budgets')
    point[step.unit] = step.choice
  }
  return point
}

interface Step {
  readonly unit: number
  readonly choice: number
}

/** The step down with the least harm for what it takes off; choices between may be skipped. */
function cheapest(space: Space, point: Int32Array, priceOf: (p: ArrayLike<number>) => number): Step | undefined {
  const before = priceOf(point)
  let best: (Step & { readonly rate: number }) | undefined
  for (const [unit, u] of space.units.entries()) {
    const now = point[unit] as number
    for (let choice = now - 1; choice >= 0; choice--) {
      const more = (u.harm[choice] as number) - (u.harm[now] as number)
      point[unit] = choice
      const saved = before - priceOf(point)
      const rate = Math.max(more, tiny) / saved
      if (saved > tiny && (!best || rate < best.rate)) best = { unit, choice, rate }
    }
    point[unit] = now
  }
  return best
}

/** Moves of one unit and exchanges of two, until none lowers the harm. */
function improved(space: Space, point: Int32Array, fits: (p: ArrayLike<number>) => boolean): Point {
  for (let isBetter = true; isBetter; ) {
    isBetter = false
    for (const [i, u] of space.units.entries())
      for (let up = u.choices.length - 1; up > (point[i] as number); up--)
        if (raised(space, point, { unit: i, choice: up }, fits)) isBetter = true
  }
  return Array.from(point)
}

/** Raises a unit, and lowers another where it has to; `false` where that gains nothing. */
function raised(
  { units }: Space,
  point: Int32Array,
  { unit, choice }: Step,
  fits: (p: ArrayLike<number>) => boolean
): boolean {
  const was = point[unit] as number
  const harms = units[unit]?.harm as readonly number[]
  const gain = (harms[was] as number) - (harms[choice] as number)
  if (gain <= tiny) return false
  point[unit] = choice
  if (fits(point)) return true
  let best: (Step & { readonly loss: number }) | undefined
  for (const [j, u] of units.entries()) {
    if (j === unit) continue
    const now = point[j] as number
    for (let down = now - 1; down >= 0; down--) {
      const loss = (u.harm[down] as number) - (u.harm[now] as number)
      if (loss >= Math.min(gain - tiny, best?.loss ?? Number.POSITIVE_INFINITY)) continue
      point[j] = down
      if (fits(point)) best = { unit: j, choice: down, loss }
    }
    point[j] = now
  }
  if (best) point[best.unit] = best.choice
  else point[unit] = was
  return best !== undefined
}
