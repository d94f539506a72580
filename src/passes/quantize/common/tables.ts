/** Tables that are too small to be worth codes. */
import { allGraphs, constants } from '../../../ir/graph.ts'
import { elementCount } from '../../../ir/tensor.ts'
import { opFor } from '../../../ops/index.ts'
import type { Model } from '../../../types.ts'
import { type UsedWeight, weightUses } from './uses.ts'

/** A table below this share of all elements of the model's constants saves nothing worth its rounding. */
const leastShare = 1 / 1000

/** Why a small table keeps its type. */
export const smallTable =
  'a table of less than 0.1 % of the weights: stays in float, as every position that reads a row is moved by the same rounding'

/**
 * Tables of segments, kinds or distances, by id: constants of which nodes only look up rows, and which hold next to nothing
 * of the model. A row of theirs is read at many positions, so that its rounding does not average out.
 */
export function smallTables(
  model: Model,
  uses: ReadonlyMap<string, UsedWeight> = weightUses(model)
): ReadonlySet<string> {
  const all = allGraphs(model).flatMap((g) => constants(g))
  const total = all.reduce((n, { data }) => n + elementCount(data.shape), 0)
  const isSmall = ([, { data, uses: used }]: [string, UsedWeight]): boolean =>
    used.every(({ node }) => opFor(node)?.quant?.output === 'same') && elementCount(data.shape) < total * leastShare
  return new Set([...uses].filter(isSmall).map(([id]) => id))
}
