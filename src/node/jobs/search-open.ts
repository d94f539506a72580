/** What a search and its workers begin with: the model, simplified, the samples by purpose, and the space. */
import type { Catalog } from '../../formats/types.ts'
import { measurer, measuringParts } from '../../measure/beside.ts'
import { predict } from '../../measure/cost-model.ts'
import type { MixType } from '../../passes/quantize/mix/types.ts'
import { applyRecipe } from '../../passes/recipe.ts'
import type { Context } from '../../passes/types.ts'
import { baseRecipe } from '../../search/space/recipe.ts'
import { type Prepared, prepareSpace, type SpaceOptions, spaceDefaults } from '../../search/space/search.ts'
import type { Metric, Model } from '../../types.ts'
import { bytesCounter } from '../files.ts'
import type { Job, JobHooks, SearchJob } from '../job.ts'
import { formatOf } from '../places.ts'
import { judgingFor, type Opened, openJob } from './open.ts'
import { type JobParts, partsOf } from './parts.ts'
import { shapesOn } from './synthetic.ts'

/** What is measured once for a whole search: a journal keeps it, and threads of trials are given it. */
export interface SearchFacts {
  /** e² of single choices, by unit. */
  readonly harms: readonly (readonly number[])[]
  /** Times of the layers in ms, by name, where latency is bounded. */
  readonly kernels?: readonly (readonly [string, number])[]
}

/** A search that is ready to begin. */
export interface OpenedSearch {
  readonly o: Opened
  readonly parts: JobParts
  readonly metrics: readonly [Metric, ...Metric[]]
  readonly said: readonly string[]
  readonly ctx: Context
  readonly prepared: Prepared
  readonly facts: SearchFacts
  readonly notes: readonly string[]
}

/** Options of the space that a job asks for. */
export const spaceOptions = (s: SearchJob | undefined): SpaceOptions => ({
  ...spaceDefaults,
  ...(s?.types ? { types: s.types as readonly MixType[] } : {}),
  ...(s?.sparsity ? { sparsity: s.sparsity } : {}),
  ...(s?.ranks ? { ranks: s.ranks } : {}),
  ...(s?.channels === undefined ? {} : { channels: s.channels }),
  ...(s?.leastKept === undefined ? {} : { leastKept: s.leastKept }),
  ...(s?.exclude ? { exclude: s.exclude } : {})
})

/** Opens a job's model and data, and makes the space. `facts`: where they were measured before. */
export async function openSearch(
  job: Job,
  hooks: JobHooks,
  catalog: Catalog,
  facts: SearchFacts | undefined,
  opened?: { readonly o: Opened; readonly parts: JobParts }
): Promise<OpenedSearch> {
  const o = opened?.o ?? (await openJob(job, catalog))
  const parts = opened?.parts ?? (await partsOf(job, o))
  const { metrics, notes: said } = await judgingFor(job, o, parts.all)
  const notes: string[] = []
  const runner = o.measured ?? o.engine
  const measure = measurer({
    ...{ engine: o.engine, parts: measuringParts(parts), metric: metrics[0], rng: o.rng.fork('measure') },
    ...{ threads: o.threads, signal: hooks.signal },
    ...(o.measured ? { measured: o.measured } : {})
  })
  const ctx: Context = {
    ...{ engine: o.engine, target: o.target, rng: o.rng, signal: hooks.signal, progress: hooks.progress, measure },
    ...(o.measured ? { measured: o.measured } : {}),
    data: parts.synthetic ? {} : { calibration: parts.calibration, selection: parts.selection },
    refuse: () => {},
    note: (fact) => notes.push(fact),
    plan: () => {}
  }
  const { model } = await applyRecipe(o.model, baseRecipe, ctx)
  const shapes = await shapesOn(o, parts.all)
  const options = spaceOptions(job.search)
  const bytesOf = bytesCounter(formatOf(o.target, o.catalog))
  const times = async (): Promise<SearchFacts['kernels']> =>
    o.cost
      ? predict(model, o.cost, shapes).perNode.map(({ node, ms }) => [node, ms])
      : [...((await measure(model, { beside: model, samples: 1, kernels: true })).kernels ?? [])]
  const isTimed = job.search?.budget.latency !== undefined || job.search?.least === 'latency'
  const { cost } = o
  const timesOf = cost && ((m: Model) => new Map(predict(m, cost, shapes).perNode.map(({ node, ms }) => [node, ms])))
  const kernels = isTimed ? (facts?.kernels ?? (await times())) : undefined
  const { harms, ...prepared } = await prepareSpace(
    {
      ...{ original: o.model, model, selection: parts.selection, metric: metrics[0], runner, threads: o.threads, ctx },
      sizes: {
        original: o.bytes,
        bytesOf,
        shapes,
        ...(kernels ? { kernels: new Map(kernels) } : {}),
        ...(timesOf ? { timesOf } : {})
      },
      options
    },
    facts?.harms
  )
  return { o, parts, metrics, said, ctx, prepared, facts: { harms, ...(kernels ? { kernels } : {}) }, notes }
}
