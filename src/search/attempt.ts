/** From a proposal to a trial: the candidate is made, written as it would be saved, scored and timed beside the original. */
import { PareError } from '../base/errors.ts'
import { metricFor } from '../data/metrics.ts'
import { choosingParts, measurer, measuringParts } from '../measure/beside.ts'
import {
  evaluate,
  type HeldOutputs,
  holdOutputs,
  metricDrops,
  metricIntervals,
  type Scores
} from '../measure/evaluate.ts'
import { interleave } from '../measure/latency.ts'
import { costsVary, runsTimed, timedOver } from '../measure/timed.ts'
import { costOf } from '../ops/cost.ts'
import { inferShapes } from '../ops/infer.ts'
import type { Applied, Surroundings } from '../passes/recipe.ts'
import type { Recipe } from '../passes/types.ts'
import { batching } from '../runtime/batches.ts'
import type { Session } from '../runtime/types.ts'
import { refuseMisfits } from '../targets/index.ts'
import type { Dataset, Metric } from '../types.ts'
import { modelBuilder } from './build.ts'
import { foundBy } from './found.ts'
import type { CompressInput, Staged } from './input.ts'
import type { Measured, Proposal, Timing, Trial } from './trial.ts'

/** What a recipe made. */
export interface Made extends Applied {
  readonly name: string
  readonly staged: Staged
}

/** Where candidates are made and measured. The original is open and run once: its outputs are held. */
export interface Bench {
  /** A trial, and what it was measured of where it came to figures; that is the caller's to discard. */
  attempt(proposal: Proposal, key: string): Promise<{ readonly trial: Trial; readonly made?: Made }>
  /** Makes a candidate again, without measuring it. */
  make(name: string, recipe: Recipe): Promise<Made>
  discard(made: Made): Promise<void>
  /** What did not fit into memory. */
  notes(): readonly string[]
  /** Lets go of models and outputs. */
  clear(): void
}

/** Seconds that a candidate is timed for while choosing. */
const trialSeconds = 1

/** Outputs of the original that are kept for comparing. */
const heldBytes = 256 * 1024 * 1024

/** How faithful outputs are, whatever the metric of the promise is. */
const faithfulness = metricFor('relativeError')

/** A bench beside the open original. */
export function benchFor(input: CompressInput, original: Session): Bench {
  const given = surroundings(input)
  const builder = modelBuilder(input.model, given)
  const parts = choosingParts(input.data)
  const room = { bytes: heldBytes }
  let held: readonly HeldOutputs[] | undefined
  const make = async (name: string, recipe: Recipe, said: readonly string[] = []): Promise<Made> => {
    const built = await builder.build(recipe)
    const applied = { ...built, notes: [...built.notes, ...said] }
    refuseMisfits(applied.model, input.target)
    return { ...applied, name, staged: await input.stage(applied.model, input.signal) }
  }
  const discard = async (made: Made): Promise<void> => input.discard?.(made.staged)
  return {
    make,
    discard,
    async attempt(proposal, key) {
      // What is wrong with the original or the data is no failure of a candidate.
      if (!held) {
        held = parts.map(() => holdOutputs(room))
        await scoreOn(staged(input, 'scoring the original'), [original], parts, input.metrics, held)
      }
      const outputs = held
      let made: Made | undefined
      try {
        const found = await foundBy(input, proposal, given)
        made = await make(proposal.name, found.recipe, found.notes)
        const scored = await score(input, original, made, parts, outputs)
        const timing = await time(input, original, made, trialSeconds)
        return { trial: { key, proposal, ...factsOf(made, input), ...scored, ...(timing ? { timing } : {}) }, made }
      } catch (e) {
        if (made) await discard(made)
        return { trial: { key, proposal, failed: failureOf(e, input) } }
      }
    },
    notes: () =>
      (held ?? []).every((h) => h.isWhole())
        ? []
        : ['the outputs of the original do not fit into 256 MB: what did not was run again for every candidate'],
    clear: () => {
      builder.clear()
      held = undefined
    }
  }
}

/**
 * Why a candidate failed; the others go on. Throws again what would stop them too: a request to stop, a full disk. A recipe
 * that the user gave has no others: there only what the runtime cannot run and what cannot be met is a result.
 */
function failureOf(e: unknown, input: CompressInput): string {
  const code = e instanceof PareError ? e.code : 'E_INTERNAL'
  const isResult = code === 'E_RUN' || code === 'E_CONSTRAINT'
  if (!isResult && (input.recipe || input.signal.aborted || code === 'E_ABORTED' || code === 'E_FILE')) throw e
  const message = e instanceof Error ? e.message : String(e)
  return code === 'E_INTERNAL'
    ? `failed by a bug in Pare: ${message}`
    : `${code === 'E_RUN' ? 'does not run' : 'failed'}: ${message}`
}

function factsOf(
  made: Made,
  input: CompressInput
): Omit<Measured, 'key' | 'proposal' | 'metrics' | 'drop' | 'error' | 'timing'> {
  const { recipe, steps, refusals, notes, staged, model } = made
  return {
    recipe,
    bytes: staged.bytes,
    ...(staged.sha256 === undefined ? {} : { sha256: staged.sha256 }),
    macs: costOf(inferShapes(model), input.shapes).total ?? '?',
    ...{ steps, refusals, notes }
  }
}

/** What passes are given. */
function surroundings(input: CompressInput): Surroundings {
  const { engine, measured, target, rng, signal, progress, data, synthetic, threads, train, load, checkpoints } = input
  const { fileBytes } = input
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
    ...(fileBytes ? { fileBytes } : {}),
    ...(checkpoints ? { checkpoints } : {}),
    ...(synthetic
      ? { data: {} }
      : {
          data: { calibration: data.calibration, selection: data.selection, ...(train ? { train } : {}) },
          measure
        })
  }
}

/** Opens what is to be scored, and timed where the target's runtime is there. */
export const open = ({ engine, measured, threads }: CompressInput, { source }: Staged): Promise<Session> =>
  (measured ?? engine).open(source, { threads })

/** Scores a candidate on the parts that choose. */
async function score(
  input: CompressInput,
  original: Session,
  made: Made,
  parts: readonly Dataset[],
  held: readonly HeldOutputs[]
): Promise<Pick<Measured, 'metrics' | 'drop' | 'error'>> {
  const session = await open(input, made.staged)
  try {
    const told = staged(input, `scoring ${made.name}`)
    const [was = {}, is = {}] = await scoreOn(told, [original, session], parts, input.metrics, held)
    const errors = is[faithfulness.name] ?? new Float64Array(0)
    return {
      metrics: metricIntervals(is, input.metrics),
      drop: metricDrops(was, is, input.metrics),
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

/** Scores of all sessions over several datasets, one after the other; faithfulness to the first is always among the metrics. */
export async function scoreOn(
  input: Pick<CompressInput, 'signal' | 'progress'>,
  sessions: readonly Session[],
  parts: readonly Dataset[],
  metrics: readonly Metric[],
  held?: readonly HeldOutputs[]
): Promise<readonly Scores[]> {
  const { signal, progress } = input
  const all = [...metrics.filter((m) => m.name !== faithfulness.name), faithfulness]
  const perPart: (readonly Scores[])[] = []
  for (const [i, dataset] of parts.entries()) {
    const known = held?.[i]
    perPart.push(
      await evaluate(sessions, { dataset, metrics: all, signal, progress, ...(known ? { held: known } : {}) })
    )
  }
  return sessions.map((_, i) =>
    Object.fromEntries(all.map((m) => [m.name, join(perPart.map((p) => p[i]?.[m.name] ?? new Float64Array(0)))]))
  )
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

/** Part of the time that is left that timing may take. */
const timingShare = 0.2

/** Times a candidate against the original on one sample, or several where they cost differently; not without the target's runtime. */
export async function time(
  input: CompressInput,
  original: Session,
  made: Made,
  minSeconds: number
): Promise<Timing | undefined> {
  if (!input.measured) return undefined
  const session = await open(input, made.staged)
  try {
    const varies = costsVary([input.model, made.model])
    const runs = await runsTimed(input.data.selection, batching([original, session], 1), varies)
    const [before, after] = await interleave(
      [timedOver('original', original, runs), timedOver(made.name, session, runs)],
      input.rng.fork(`time/${made.name}`),
      {
        ...{ minSeconds, signal: input.signal },
        ...(input.timeLeft ? { maxSeconds: Math.max(0, input.timeLeft() / 1000) * timingShare } : {}),
        progress: (_, done, total) => input.progress(`timing ${made.name}`, done, total)
      }
    )
    if (!before || !after?.ratio) throw new PareError('E_INTERNAL', 'nothing was timed')
    return { before: before.latency, after: after.latency, ratio: after.ratio }
  } finally {
    await session.close()
  }
}
