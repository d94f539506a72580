/**
 * A search over a model's space: what single choices do alone is measured once; then every strategy, under every seed, spends
 * the same number of trials on the same samples. The best of each run is measured again on samples that no trial saw.
 */
import { quickHash } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import { nearest } from '../../base/suggest.ts'
import { spreadsOf } from '../../passes/prune/repair.ts'
import type { MixType } from '../../passes/quantize/mix/types.ts'
import type { Context } from '../../passes/types.ts'
import type { CostName, SearchEdge } from '../../report/types.ts'
import type { Runner } from '../../runtime/types.ts'
import type { Dataset, Metric, Model } from '../../types.ts'
import { canonical, type Identity } from '../trial.ts'
import { drive, type Known, type Tried } from './drive.ts'
import { edgeOf } from './edge.ts'
import type { Task } from './explorer.ts'
import { type Goal, leastCost, withinBudgets } from './goal.ts'
import { harmsOf } from './harms.ts'
import { localTrials } from './local-trials.ts'
import { choicesOf, type Material, materialOf, undominated } from './material.ts'
import { type Sizes, sizeAlone, spaceOf } from './model-space.ts'
import { bestTried, type RunOf } from './outcome.ts'
import { meanOf } from './race.ts'
import type { SearchJournal, SearchLine } from './records.ts'
import { type Budgets, type Costing, costing, costNames, type Point, type Space } from './space.ts'
import { explorers } from './strategies/index.ts'
import { type TrialJob, type Trials, unpacked } from './trial.ts'
import { type HeldWeights, type Maker, weightMaker } from './weights.ts'

/** What is searched in. */
export interface SpaceInput {
  /** As the user gave it, and simplified: points are made of that. */
  readonly original: Model
  readonly model: Model
  readonly sizes: Sizes
  /** Samples that choose, in order: the first seven tenths for trials, the rest to measure their best on. */
  readonly selection: Dataset
  readonly metric: Metric
  /** What scores. */
  readonly runner: Runner
  readonly threads: number
  readonly options: SpaceOptions
  /** Time that single choices may take; absent: as long as it takes. */
  readonly mostMs?: number
  readonly ctx: Context
}

/** What may be chosen, and how. */
export interface SpaceOptions {
  readonly types: readonly MixType[]
  readonly channels: boolean
  readonly leastKept: number
  readonly exclude: readonly string[]
  /** Samples that moments are taken of, and that single choices are measured on. */
  readonly samples: number
  readonly probes: number
  /** As in `MaterialOptions`; absent: none. */
  readonly sparsity?: readonly number[]
  readonly ranks?: readonly number[]
}

/** Defaults of `SpaceOptions`. */
export const spaceDefaults: SpaceOptions = {
  types: ['int8', 'int6', 'int5', 'int4', 'palette3'],
  channels: true,
  leastKept: 0.2,
  exclude: [],
  samples: 128,
  probes: 64
}

/** Samples that means and deviations are put right on in every trial. */
const repairSamples = 64
/** Share of the samples that choose which trials see. */
const raced = 0.7

/** A space that is ready to be searched. */
export interface Prepared {
  readonly space: Space
  readonly material: Material
  readonly maker: Maker
  /** Tells this problem from all others. */
  readonly problem: string
  /** Samples of trials; those from there on are fresh. */
  readonly samples: number
  readonly freshN: number
  /** Trials in this process. */
  open(): Promise<Trials>
}

/** Measures single choices, or takes what was measured before, and makes the space of them. Throws `E_UNSUPPORTED` where nothing has a choice. */
export async function prepareSpace(
  input: SpaceInput,
  known: readonly (readonly number[])[] | undefined
): Promise<Prepared & { readonly harms: readonly (readonly number[])[] }> {
  const { options: o, ctx } = input
  const first = await materialOf(input.model, o, ctx, input.sizes.bytesOf)
  if (choicesOf(first).length === 0)
    throw new PareError('E_UNSUPPORTED', 'nothing of this model has a choice', {
      hint: 'inspect --groups says what holds channels; weights of float32 have types'
    })
  const held: HeldWeights = new Map()
  const measured = known ?? (await harmsOf(first, weightMaker(first, held), o.probes, ctx, input.mostMs))
  const { material, harms } = undominated(first, measured, (unit, choice, share) =>
    sizeAlone(first, unit, choice, share)
  )
  const space = spaceOf(material, harms, input.sizes)
  const samples = Math.max(1, Math.round(raced * input.selection.size))
  const problem = quickHash(new TextEncoder().encode(canonical([space, samples, o]))).replace(':', '-')
  const maker = weightMaker(material, held)
  return {
    ...{ space, material, maker, problem, samples, freshN: input.selection.size - samples, harms: measured },
    open: async () => {
      const spreads = material.samples && (await spreadsOf(material.model, material.samples, ctx, repairSamples))
      return localTrials({
        ...{ problem, original: input.original, material, maker, spreads, data: input.selection },
        ...{ metric: input.metric, runner: input.runner, threads: input.threads, ctx }
      })
    }
  }
}

// ---------------------------------------------------------------- runs

export interface SearchOptions {
  readonly strategies: readonly string[]
  /** Every strategy is run under so many seeds, from `seed` on. */
  readonly seeds: number
  readonly seed: number
  readonly trials: number
  readonly ahead: number
  readonly budgets: Budgets
  /** Where there are no budgets: the cost that is to be least, and what it was found to be bounded by. */
  readonly edge?: SearchEdge
}

/** What a search came to. */
export interface Searched {
  readonly goal: Goal
  readonly runs: readonly RunOf[]
  readonly costs: Costing
  /** Harm on fresh samples by point; of the best of every run. */
  costsOf(t: { readonly point: readonly number[] }): Readonly<Record<string, number>>
}

/** Facts that all lines of a journal are of. */
export const searchIdentity = (base: Identity, p: Pick<Prepared, 'problem'>, o: SearchOptions): Identity => ({
  ...base,
  problem: p.problem,
  seed: o.seed,
  ahead: o.ahead,
  budgets: canonical(o.budgets)
})

/** Runs all strategies under all seeds, one after the other. */
export async function searchSpace(
  p: Prepared,
  workers: Trials,
  o: SearchOptions,
  at: {
    readonly journal: SearchJournal
    readonly lines: readonly SearchLine[]
    readonly ctx: Pick<Context, 'engine' | 'signal' | 'progress'>
    mayGoOn?(): boolean
  }
): Promise<Searched> {
  const costs = costing(
    p.space,
    costNames.filter((n) => p.space.original[n] !== undefined && p.space.loads.some((l) => l.cost === n))
  )
  const known: Known = new Map()
  const goal = o.edge ? leastCost(p.space, o.edge) : withinBudgets(p.space, o.budgets)
  const task: Task = { ...goal, trials: o.trials, objectives: 1, engine: at.ctx.engine }
  const runs: RunOf[] = []
  const total = o.strategies.length * o.seeds * o.trials
  let done = 0
  for (let seed = o.seed; seed < o.seed + o.seeds; seed++)
    for (const strategy of o.strategies) {
      const run = `${strategy}/${seed}`
      const explorer = explorerFor(strategy).make(task)
      try {
        const tried = await drive({
          ...{ run, seed, explorer, goal, trials: o.trials, ahead: o.ahead, problem: p.problem, samples: p.samples },
          ...{ workers, known, journal: at.journal, signal: at.ctx.signal },
          lines: at.lines.filter((l) => l.kind !== 'fact' && l.run === run),
          ...(at.mayGoOn ? { mayGoOn: at.mayGoOn } : {}),
          finished: (_, all) => at.ctx.progress(`${run}: ${bestText(all)}`, done + all.length, total)
        })
        const best = bestTried(tried)
        const fresh = best && (await measuredFresh(p, workers, goal.part(best.point), at.ctx.signal))
        runs.push({ strategy, seed, tried, ...(fresh ? { fresh } : {}) })
      } finally {
        await explorer.close?.()
      }
      done += o.trials
    }
  return {
    goal,
    runs,
    costs,
    costsOf: ({ point }) => Object.fromEntries(costs.names.map((n, i) => [n, costs.of(point)[i] as number]))
  }
}

const bestText = (all: readonly Tried[]): string => {
  const best = bestTried(all)
  return best ? `best ${best.score.toPrecision(3)}` : 'no model ran'
}

/** Throws `E_USAGE` for a strategy that does not exist. */
export function explorerFor(name: string): (typeof explorers)[number] {
  const record = explorers.find((e) => e.name === name)
  if (record) return record
  const names = explorers.map((e) => e.name)
  const close = nearest(name, names)
  throw new PareError('E_USAGE', `there is no strategy ${name}`, {
    facts: { strategies: names.join(', ') },
    ...(close === undefined ? {} : { hint: `did you mean ${close}?` })
  })
}

/** A point on the samples that no trial saw. */
async function measuredFresh(p: Prepared, workers: Trials, point: Point, signal: AbortSignal): Promise<RunOf['fresh']> {
  if (p.freshN === 0) return undefined
  return measuredOn(p, workers, point, [p.samples, p.samples + p.freshN], signal)
}

async function measuredOn(
  { problem }: Prepared,
  workers: Trials,
  point: Point,
  [from, to]: readonly [number, number],
  signal: AbortSignal
): Promise<NonNullable<RunOf['fresh']>> {
  const job: TrialJob = { problem, k: 0, point, rung: -1, from, to }
  const made = await workers.run(job, signal)
  const losses = unpacked(made.losses)
  if (!losses) throw new PareError('E_DATA', 'a trial gave no losses')
  return { harm: meanOf(losses), ...dropOf(made.drop, to - from) }
}

/** Finds what a bound on the drop means for a cost, on all samples of trials. */
export const findEdge = (
  p: Prepared,
  workers: Trials,
  wanted: { readonly cost: CostName; readonly maxDrop: number },
  signal: AbortSignal
): Promise<SearchEdge> =>
  edgeOf(p.space, wanted.cost, wanted.maxDrop, async (point) => {
    const { harm, drop, dropError, n } = await measuredOn(p, workers, point, [0, p.samples], signal)
    const half = 1.96 * dropError
    return {
      error: Number.isFinite(harm) ? harm : Number.MAX_VALUE,
      drop: { value: drop, low: drop - half, high: drop + half, n }
    }
  })

/** Mean and standard error of how much worse the metric became. */
export function dropOf(
  { sum, squares }: { readonly sum: number; readonly squares: number },
  n: number
): { readonly drop: number; readonly dropError: number; readonly n: number } {
  const drop = sum / n
  return { drop, dropError: Math.sqrt(Math.max(0, squares / n - drop * drop) / Math.max(1, n - 1)), n }
}
