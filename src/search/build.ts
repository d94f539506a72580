/** Models made from recipes: each anew from the original, or on from a prefix of the recipe that was made before. */
import { allGraphs } from '../ir/graph.ts'
import { isRounded } from '../ops/quantized.ts'
import { type Applied, applyRecipe, checkRecipe, joined, type Surroundings } from '../passes/recipe.ts'
import type { Recipe } from '../passes/types.ts'
import type { Bytes, Model } from '../types.ts'
import { canonical } from './trial.ts'

/** Makes the model of a recipe. */
export interface Builder {
  build(recipe: Recipe): Promise<Applied>
  /** Lets go of all models. */
  clear(): void
}

/** Weights in memory that models kept for later may hold beside the original's. */
const keptBytes = 256 * 1024 * 1024

/**
 * Keeps what every pass of a recipe left in float: there recipes part, as models rounded to codes are rarely built upon. What
 * was used longest ago goes first when all of it holds more than `limit` bytes of weights. The original costs nothing.
 */
export function modelBuilder(model: Model, ctx: Surroundings, limit = keptBytes): Builder {
  const original: Applied = { model, steps: [], refusals: [], notes: [], recipe: [] }
  const owned = weightsOf(model)
  const kept = new Map<string, Applied>()
  const use = (key: string, applied: Applied): void => {
    kept.delete(key)
    kept.set(key, applied)
    for (const oldest of kept.keys()) {
      if (newBytes(kept.values(), owned) <= limit) return
      kept.delete(oldest)
    }
  }
  return {
    clear: () => kept.clear(),
    async build(recipe) {
      checkRecipe(recipe, ctx.data)
      let done = recipe.length
      while (done > 0 && !kept.has(keyOf(recipe, done))) done--
      let now = kept.get(keyOf(recipe, done)) ?? original
      if (done > 0) use(keyOf(recipe, done), now)
      let reference = isRounded(now.model) ? ctx.reference : now.model
      for (; done < recipe.length; done++) {
        const one = recipe.slice(done, done + 1)
        now = joined(now, await applyRecipe(now.model, one, { ...ctx, ...(reference ? { reference } : {}) }))
        if (isRounded(now.model)) continue
        reference = now.model
        use(keyOf(recipe, done + 1), now)
      }
      return now
    }
  }
}

const keyOf = (recipe: Recipe, passes: number): string => canonical(recipe.slice(0, passes))

/** Weights in memory; those that a file is asked for cost nothing. */
function weightsOf(model: Model): ReadonlySet<Bytes> {
  const all = new Set<Bytes>()
  for (const graph of allGraphs(model))
    for (const { data } of graph.values.values()) if (data?.bytes instanceof Uint8Array) all.add(data.bytes)
  return all
}

function newBytes(all: Iterable<Applied>, owned: ReadonlySet<Bytes>): number {
  const seen = new Set(owned)
  let sum = 0
  for (const { model } of all)
    for (const bytes of weightsOf(model)) {
      if (!seen.has(bytes)) sum += bytes.length
      seen.add(bytes)
    }
  return sum
}
