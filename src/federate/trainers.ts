/** Virtual clients that are trained in this thread, one after another. */

import type { LabelledDataset } from '../data/arrays.ts'
import { subset } from '../data/split.ts'
import type { Runner } from '../runtime/types.ts'
import type { Model } from '../types.ts'
import { type Turned, takeTurn } from './client.ts'
import { localFor } from './local.ts'
import type { FederationRecipe } from './recipe.ts'
import type { Trainers } from './simulate.ts'

/** Opens the model for training. `clients`: the sample numbers of each. */
export async function trainersHere(
  model: Model,
  recipe: FederationRecipe,
  o: { readonly data: LabelledDataset; readonly clients: readonly (readonly number[])[]; readonly engine: Runner }
): Promise<Trainers> {
  const local = await localFor(model, recipe, o.engine)
  return {
    manifest: local.manifest,
    initial: local.initial,
    close: () => local.close(),
    run: async (turns, signal) => {
      const out: Turned[] = []
      for (const { client, ...turn } of turns)
        out.push(await takeTurn({ ...turn, local, recipe, signal, data: subset(o.data, o.clients[client] ?? []) }))
      return out
    }
  }
}
