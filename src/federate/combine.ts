/** What the updates of a round come to, where it is not their weighted mean in whole numbers. */
import type { FederationRecipe } from './recipe.ts'
import { boundedUpdate, boundOf, normOf, ruleFor } from './robust.ts'
import type { Taken } from './server.ts'

/** What the updates of a round come to; `previous`: what those of the last round came to. */
export type Combine = (updates: readonly Taken[], previous: Float32Array | undefined) => Float32Array

/** The rule of a recipe; `undefined`: the weighted mean, which needs no update but the one that is added. */
export function combineFor({ aggregate: { rule, share, norm } }: FederationRecipe): Combine | undefined {
  if (rule === 'mean' && norm === undefined) return undefined
  const chosen = ruleFor(rule)
  return (updates, previous) => {
    const values = updates.map((u) => u.values)
    const most = norm === 'median' ? boundOf(values.map(normOf)) : norm
    return chosen.combine(most === undefined ? values : values.map((v) => boundedUpdate(v, most)), {
      share,
      weights: updates.map((u) => u.weight),
      ...(previous ? { previous } : {})
    })
  }
}
