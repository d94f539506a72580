/** A proposal whose passes a search finds: channels and types of the least of a cost at a drop that is allowed, in the time that is left. */
import { PareError } from '../base/errors.ts'
import { applyRecipe, type Surroundings } from '../passes/recipe.ts'
import type { Context, Recipe } from '../passes/types.ts'
import type { CompressInput } from './input.ts'
import { bestTried } from './space/outcome.ts'
import { passesOf } from './space/recipe.ts'
import { findEdge, prepareSpace, searchSpace, spaceDefaults } from './space/search.ts'
import { explorers } from './space/strategies/index.ts'
import type { Proposal } from './trial.ts'

/** Shares of the time that is left which single choices and trials may take; making and scoring the best takes the rest. */
const shares = { choices: 0.25, trials: 0.5 }
const trials = 200
/** Samples of the selection part below which harms are not told. */
const fewest = 100

/** The recipe of a proposal: its own, or with the passes that a search found. Throws `E_CONSTRAINT` where there is no time or nothing is allowed, `E_DATA` for too few samples. */
export async function foundBy(
  input: CompressInput,
  { recipe, search }: Proposal,
  given: Surroundings
): Promise<{ readonly recipe: Recipe; readonly notes: readonly string[] }> {
  if (!search) return { recipe, notes: [] }
  const { data, original, threads, signal, engine, measured } = input
  const { behind, least, maxDrop } = search
  if (data.selection.size < fewest)
    throw new PareError('E_DATA', `a search takes ${fewest} samples to choose by: there are ${data.selection.size}`)
  const [began, left] = [performance.now(), input.timeLeft?.() ?? Number.POSITIVE_INFINITY]
  const ctx: Context = { ...given, refuse: () => {}, note: () => {}, plan: () => {} }
  const { model } = await applyRecipe(input.model, recipe.slice(0, behind), given)
  const p = await prepareSpace(
    {
      ...{ original: input.model, model, selection: data.selection, metric: input.metrics[0], threads, ctx },
      ...{ runner: measured ?? engine, options: spaceDefaults, mostMs: shares.choices * left },
      sizes: {
        original: original.bytes,
        bytesOf: (m) => input.fileBytes?.(m),
        ...(input.shapes ? { shapes: input.shapes } : {})
      }
    },
    undefined
  )
  const workers = await p.open()
  try {
    const edge = await findEdge(p, workers, { cost: least, maxDrop }, signal)
    const { goal, runs } = await searchSpace(
      p,
      workers,
      { strategies: [explorers[0].name], seeds: 1, seed: 0, trials, ahead: 1, budgets: {}, edge },
      {
        ...{ journal: { open: async () => [], append: async () => {} }, lines: [], ctx },
        mayGoOn: () => performance.now() - began < (shares.choices + shares.trials) * left
      }
    )
    const tried = runs[0]?.tried ?? []
    const best = bestTried(tried)
    if (!best) throw new PareError('E_CONSTRAINT', 'no point of the search gave a model that runs')
    const passes = passesOf(p.material, goal.part(best.point), spaceDefaults)
    const note = `a search of ${tried.length} trials by ${explorers[0].name} found ${best.score.toPrecision(3)} of the ${least}; the sum of single choices alone ${edge.share.toPrecision(3)}`
    return { recipe: [...recipe.slice(0, behind), ...passes, ...recipe.slice(behind)], notes: [note] }
  } finally {
    await workers.close()
  }
}
