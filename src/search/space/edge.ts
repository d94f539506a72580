/**
 * A bound on the drop as one on the harm, which samples tell well: drop ≈ k·e². Models are measured along the solutions of the
 * additive guess, from the least share of a cost that can be reached to the whole, by halving.
 */

import { PareError } from '../../base/errors.ts'
import { greatest } from '../../base/extremes.ts'
import { isSafe, type Loss, safeError } from '../../passes/quantize/mix/walk.ts'
import type { CostName, SearchEdge } from '../../report/types.ts'
import { notKnown } from './project.ts'
import { solvedWithin } from './solve.ts'
import { costing, type Point, type Space, whole } from './space.ts'

/** Models that are measured, at most. */
const looks = 9
/** A share that is less than this factor above another is the same. */
const near = 1.01

/** Finds the edge. Throws `E_CONSTRAINT` where no model that was measured keeps the bound. */
export async function edgeOf(
  space: Space,
  cost: CostName,
  maxDrop: number,
  measure: (point: Point) => Promise<Loss>
): Promise<SearchEdge> {
  if (space.original[cost] === undefined) throw notKnown(cost)
  const { of } = costing(space, [cost])
  const shareOf = (p: Point): number => of(p)[0] as number
  const seen: { readonly share: number; readonly loss: Loss }[] = []
  const look = async (point: Point): Promise<void> => {
    seen.push({ share: shareOf(point), loss: await measure(point) })
  }
  const losses = (): readonly Loss[] => seen.map((s) => s.loss)
  const best = (): (typeof seen)[number] | undefined =>
    seen.filter((s) => isSafe(s.loss, losses(), maxDrop)).toSorted((a, b) => a.share - b.share)[0]
  const cheapest = space.units.map(() => 0)
  await look(cheapest)
  while (seen.length < looks) {
    const high = best()?.share ?? shareOf(whole(space))
    const low = greatest(
      seen.flatMap((s) => (s.share < high ? s.share : [])),
      shareOf(cheapest)
    )
    if (high <= low * near) break
    await look(solvedWithin(space, { [cost]: Math.sqrt(low * high) }))
  }
  const found = best()
  if (found) return { cost, share: found.share, harm: safeError(found.loss, losses(), maxDrop) }
  throw new PareError('E_CONSTRAINT', `no model of fewer ${cost} was found that loses at most ${maxDrop}`, {
    where: 'max-drop',
    facts: { 'models measured': String(seen.length) },
    hint: 'allow a larger drop, or more --types'
  })
}
