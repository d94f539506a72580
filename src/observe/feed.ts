/** Feeding samples to a model for what it gives on them: one pass over the data, a run at a time in memory. */
import { evaluateDim } from '../base/dim.ts'
import { PareError } from '../base/errors.ts'
import { greatest } from '../base/extremes.ts'
import { statePairs } from '../ir/states.ts'
import type { Context } from '../passes/types.ts'
import { batching, fedOf, runs, stepwise } from '../runtime/batches.ts'
import type { OpenOptions, Session } from '../runtime/types.ts'
import type { Dataset, Model, Tensor, Value } from '../types.ts'

export type Surroundings = Pick<Context, 'engine' | 'signal' | 'progress'>

/** Samples to run. */
export interface Feed {
  readonly dataset: Dataset
  /** Samples of a run where the model leaves it open. */
  readonly batch: number
  /** What is told while they run. */
  readonly stage: string
}

/** What a run gave. */
export interface Given {
  readonly outputs: Readonly<Record<string, Tensor>>
  /** Samples in the run, or the one of which it is a step. */
  readonly n: number
}

/**
 * What a model gives on the data, run by run. Where the model prescribes its batch, the last samples that do not fill a
 * batch are left out: filled up with copies, a reduction inside the engine would count these samples twice. Throws
 * `E_DATA` when nothing ran.
 */
export async function* outputsOn(
  session: Session,
  { dataset, batch, stage }: Feed,
  ctx: Pick<Surroundings, 'signal' | 'progress'>
): AsyncGenerator<Given> {
  const how = batching([session], batch)
  let done = 0
  for await (const run of runs(dataset, how, { rest: 'leave', signal: ctx.signal })) {
    const n = run.batch.stepped ? 1 : run.batch.n
    for await (const outputs of stepwise(session, run)) yield { outputs, n }
    done += run.batch.n
    ctx.progress(stage, done, dataset.size)
  }
  if (done === 0)
    throw new PareError('E_DATA', 'there are no samples to run the model on', {
      facts: { samples: String(dataset.size), batch: String(how.size) },
      ...(how.isFixed ? { hint: 'the model prescribes its batch: give at least as many samples' } : {})
    })
}

/** Outputs of a model of which only some are watched: with those that hold states, which are fed back over sequences. */
export function watchedOutputs({ graph }: Model, taps: readonly string[]): readonly string[] {
  const ports = (ids: readonly string[]) => ids.map((id) => ({ name: id, ...typeOf(graph.values.get(id)) }))
  const states = statePairs({ inputs: ports(graph.inputs), outputs: ports(graph.outputs) }).map((p) => p.output)
  return [...new Set([...taps, ...states])]
}

const typeOf = (v: Value | undefined): Pick<Value, 'dtype' | 'shape'> => ({
  ...(v?.dtype ? { dtype: v.dtype } : {}),
  ...(v?.shape ? { shape: v.shape } : {})
})

/** Opens a model, runs the data through it and closes it again. */
export async function watch(
  model: Model,
  opening: OpenOptions,
  feed: Feed,
  ctx: Surroundings,
  take: (outputs: Readonly<Record<string, Tensor>>, n: number) => void
): Promise<void> {
  const session = await ctx.engine.open(model, { plansMemory: false, ...opening })
  try {
    for await (const { outputs, n } of outputsOn(session, feed, ctx)) take(outputs, n)
  } finally {
    await session.close()
  }
}

/**
 * Quantized values are watched as the float numbers that they stand for. Otherwise the engine would make integer kernels
 * of the products and sums that reductions add, whose results do not fit 32 bits.
 */
export const asFloat = { quantization: 'asFloat' } as const

/** Samples of a run: what a model prescribes, or else `wanted`. */
export const samplesPerRun = (model: Model, wanted: number): number => batching([fedOf(model)], wanted).size

/** Bytes of the largest value that is no constant, for one sample, as float32; symbols count as 1. */
export const largestSampleBytes = (model: Model): number =>
  greatest([...model.graph.values.values()].map((v) => (v.data ? 0 : sampleBytes(model, v.id))))

/** Bytes of a value for one sample, as float32; symbols count as 1. */
export function sampleBytes(model: Model, id: string): number {
  const shape = model.graph.values.get(id)?.shape ?? []
  return shape.reduce<number>((n, d) => n * (evaluateDim(d, {}) ?? 1), 4)
}
