/** What is done to a model before another format takes it. */
import type { Applied } from '../../passes/recipe.ts'
import type { JobHooks } from '../job.ts'
import { formatOf } from '../places.ts'
import type { Opened } from './open.ts'

/** A model of another format after the passes that its new one asks for. Passes are loaded here, as `inspect` starts without them. */
export async function prepared(
  o: Opened,
  { signal, progress }: Pick<JobHooks, 'signal' | 'progress'>
): Promise<Applied> {
  const { applyRecipe } = await import('../../passes/recipe.ts')
  const format = formatOf(o.target, o.catalog)
  const passes = o.model.origin?.format === format.name ? [] : (format.after ?? [])
  const { engine, target, rng } = o
  return applyRecipe(
    o.model,
    passes.map((name) => [name, {}] as const),
    { engine, target, rng, signal, progress, data: {} }
  )
}
