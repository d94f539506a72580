/** One candidate: a recipe, the model it makes, and what was measured of it beside the original. */
import { PareError } from '../base/errors.ts'
import { metricFor } from '../data/metrics.ts'
import { choosingParts, measurer, measuringParts } from '../measure/beside.ts'
import { evaluate, metricDrops, type Scores } from '../measure/evaluate.ts'
import { interleave } from '../measure/latency.ts'
import { applyRecipe, type Surroundings } from '../passes/recipe.ts'
import type { Step } from '../report/types.ts'
import { batching, firstRun, runOn } from '../runtime/batches.ts'
import type { Dataset, Interval, Latency, Metric, Model, Ratio, Recipe, Refusal, Session } from '../types.ts'
import type { CompressInput, Staged } from './input.ts'

/** What a recipe made. */
export interface Made {
  readonly name: string
  readonly recipe: Recipe
  readonly model: Model
  readonly staged: Staged
  readonly steps: readonly Step[]
  readonly refusals: readonly Refusal[]
  readonly notes: readonly string[]
}

export interface Timing {
  readonly before: Latency
  readonly after: Latency
  readonly ratio: Ratio
}

/** A candidate as measured on the parts that choose. */
export interface Trial extends Made {
  /** Of the original and of the candidate, on the same samples. */
  readonly scores: readonly [Scores, Scores]
  readonly drop: Readonly<Record<string, Interval>>
  /** ‖y−r‖/‖r‖ of the outputs against the original's, mean over samples. */
  readonly error: number
  readonly timing?: Timing
}

/** A candidate that could not be made, loaded or run, and why. */
export interface Failed {
  readonly name: string
  readonly recipe: Recipe
  readonly reason: string
}

/** How faithful outputs are, whatever the metric of the promise is. */
export const faithfulness = metricFor('relativeError')

/** What passes are given. */
export function surroundings(input: CompressInput): Surroundings {
  const { engine, measured, target, rng, signal, progress, data, synthetic, threads, train, load } = input
  const metric = input.metrics[0]
  const runners = { engine, ...(measured ? { measured } : {}) }
  const measure = measurer({
    ...runners,
    ...{ rng: rng.fork('measure'), threads, signal, metric, parts: measuringParts(data) }
  })
  return {
    ...runners,
    target,
    rng,
    signal,
    progress,
    ...(load ? { load } : {}),
    ...(synthetic
      ? { data: {} }
      : {
          data: { calibration: data.calibration, selection: data.selection, ...(train ? { train } : {}) },
          measure
        })
  }
}

/** Applies `tail` to a model that `prefix` has made already, and writes the result as it would be saved. */
export async function make(
  input: CompressInput,
  from: Omit<Made, 'name' | 'staged'>,
  name: string,
  tail: Recipe
): Promise<Made> {
  const applied = await applyRecipe(from.model, tail, surroundings(input))
  return {
    name,
    recipe: [...from.recipe, ...applied.recipe],
    model: applied.model,
    staged: await input.stage(applied.model),
    steps: [...from.steps, ...applied.steps],
    refusals: [...from.refusals, ...applied.refusals],
    notes: [...from.notes, ...applied.notes]
  }
}

/** Opens what is to be scored, and timed where the target's runtime is there. */
export const open = ({ engine, measured, threads }: CompressInput, { source }: Staged): Promise<Session> =>
  (measured ?? engine).open(source, { threads })

/** Scores a candidate on the parts that choose. */
export async function score(input: CompressInput, original: Session, made: Made): Promise<Trial> {
  const session = await open(input, made.staged)
  try {
    const scores = await scoreOn(
      staged(input, `scoring ${made.name}`),
      [original, session],
      choosingParts(input.data),
      input.metrics
    )
    const errors = scores[1][faithfulness.name] ?? new Float64Array(0)
    return {
      ...made,
      scores,
      drop: metricDrops(scores[0], scores[1], input.metrics),
      error: errors.reduce((a, b) => a + b, 0) / errors.length
    }
  } finally {
    await session.close()
  }
}

/** The same surroundings, with progress told under a name of its own. */
export function staged<T extends Pick<CompressInput, 'progress'>>(input: T, stage: string): T {
  return { ...input, progress: (_, done, total) => input.progress(stage, done, total) }
}

/** Scores of both sessions over several datasets, one after the other; faithfulness is always among the metrics. */
export async function scoreOn(
  input: Pick<CompressInput, 'signal' | 'progress'>,
  sessions: readonly [Session, Session],
  parts: readonly Dataset[],
  metrics: readonly Metric[]
): Promise<readonly [Scores, Scores]> {
  const all = [...metrics.filter((m) => m.name !== faithfulness.name), faithfulness]
  const perPart: (readonly Scores[])[] = []
  for (const dataset of parts)
    perPart.push(await evaluate(sessions, { dataset, metrics: all, signal: input.signal, progress: input.progress }))
  const joined = (i: number): Scores =>
    Object.fromEntries(all.map((m) => [m.name, join(perPart.map((p) => p[i]?.[m.name] ?? new Float64Array(0)))]))
  return [joined(0), joined(1)]
}

function join(parts: readonly Float64Array[]): Float64Array {
  const out = new Float64Array(parts.reduce((n, p) => n + p.length, 0))
  let at = 0
  for (const p of parts) {
    out.set(p, at)
    at += p.length
  }
  return out
}

/** Times a candidate against the original on one sample, interleaved; not without the target's runtime. */
export async function time(
  input: CompressInput,
  original: Session,
  made: Made,
  minSeconds: number
): Promise<Timing | undefined> {
  if (!input.measured) return undefined
  const session = await open(input, made.staged)
  try {
    const run = await firstRun(input.data.selection, batching([original, session], 1))
    const [before, after] = await interleave(
      [
        { name: 'original', run: () => runOn(original, run) },
        { name: made.name, run: () => runOn(session, run) }
      ],
      input.rng.fork(`time/${made.name}`),
      { minSeconds, signal: input.signal }
    )
    if (!before || !after?.ratio) throw new PareError('E_INTERNAL', 'nothing was timed')
    return { before: before.latency, after: after.latency, ratio: after.ratio }
  } finally {
    await session.close()
  }
}
