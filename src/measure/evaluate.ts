/** Metrics of one or several models on the same samples, streaming: only the scores are kept. */

import { PareError, stopIfAborted } from '../base/errors.ts'
import { batching, runOn, runs } from '../runtime/batches.ts'
import type { Session } from '../runtime/types.ts'
import type { Dataset, Interval, Metric, Progress, Tensor } from '../types.ts'
import { metricInterval, pairedDrop } from './intervals.ts'

/** One score per sample, by the metric's name, in the order of the samples. */
export type Scores = Readonly<Record<string, Float64Array>>

export interface EvaluateOptions {
  readonly dataset: Dataset
  readonly metrics: readonly Metric[]
  /** Samples to use, in this order; all by default. */
  readonly indices?: readonly number[]
  /** Samples per run where the models leave it open; 32 by default. */
  readonly batch?: number
  readonly signal?: AbortSignal
  readonly progress?: Progress
  /** What the first session gave for these very samples before: it is run only for what is not held. */
  readonly held?: HeldOutputs
}

export type Outputs = Readonly<Record<string, Tensor>>

/** Outputs of one session on one dataset, kept from one evaluation to the next. */
export interface HeldOutputs {
  /** Of a batch by its number; `size`: samples per run. */
  get(size: number, at: number): Outputs | undefined
  keep(size: number, at: number, outputs: Outputs): void
  /** Was there room for all? */
  isWhole(): boolean
}

/** Keeps outputs while they fit into `room` bytes, which several may share. */
export function holdOutputs(room: { bytes: number }): HeldOutputs {
  const held = new Map<string, Outputs>()
  let isWhole = true
  return {
    get: (size, at) => held.get(`${size}/${at}`),
    keep: (size, at, outputs) => {
      const bytes = Object.values(outputs).reduce((n, t) => n + t.bytes.length, 0)
      if (bytes > room.bytes) {
        isWhole = false
        return
      }
      room.bytes -= bytes
      held.set(`${size}/${at}`, outputs)
    },
    isWhole: () => isWhole
  }
}

/**
 * Runs every batch through every session; the first is the reference of metrics that compare. Inputs are matched by
 * name. Where a model fixes its batch, the last batch is filled up with its last sample and the results are cut back.
 * Throws `E_DATA_SHAPE` when data and models do not fit, and, when a score is not finite, `E_DATA` for the first
 * session and `E_RUN` for the others.
 */
export async function evaluate(sessions: readonly Session[], o: EvaluateOptions): Promise<readonly Scores[]> {
  const total = o.indices?.length ?? o.dataset.size
  if (total === 0) throw new PareError('E_DATA', 'there are no samples to evaluate on')
  const how = batching(sessions, o.batch ?? 32)
  const scores = sessions.map(() =>
    Object.fromEntries(o.metrics.map((m) => [m.name, new Float64Array(total)] as const))
  )
  let done = 0
  let at = 0
  o.progress?.('evaluate', 0, total)
  for await (const run of runs(o.dataset, how, { rest: 'fill', ...(o.indices ? { indices: o.indices } : {}) })) {
    const samples = run.batch
    let reference: Outputs | undefined
    for (const [i, session] of sessions.entries()) {
      stopIfAborted(o.signal)
      const known = i === 0 ? o.held?.get(how.size, at) : undefined
      const outputs = known ?? (await runOn(session, run))
      if (i === 0 && !known) o.held?.keep(how.size, at, outputs)
      reference ??= outputs
      for (const m of o.metrics) {
        const scored = m.scores(outputs, samples, reference)
        if (scored.length !== samples.n)
          throw new PareError('E_DATA', `metric ${m.name} gave ${scored.length} scores for ${samples.n} samples`)
        for (const [k, s] of scored.entries())
          if (!Number.isFinite(s)) throw notFinite(i === 0 ? 'E_DATA' : 'E_RUN', m, s, done + k)
        scores[i]?.[m.name]?.set(scored, done)
      }
    }
    done += samples.n
    at++
    o.progress?.('evaluate', done, total)
  }
  if (done !== total) throw new PareError('E_DATA', `the data has ${done} samples where ${total} were announced`)
  return scores
}

function notFinite(code: 'E_DATA' | 'E_RUN', metric: Metric, score: number, sample: number): PareError {
  const whose = code === 'E_DATA' ? 'the original cannot be judged: ' : ''
  return new PareError(code, `${whose}metric ${metric.name} is ${score} for sample ${sample}`, {
    hint: 'look for infinity or NaN in the data and the weights, or for values beyond the range of the number format'
  })
}

/** Mean and interval of every metric. */
export function metricIntervals(scores: Scores, metrics: readonly Metric[]): Record<string, Interval> {
  return Object.fromEntries(metrics.map((m) => [m.name, metricInterval(scores[m.name] ?? [], m)]))
}

/** How much worse every metric got, paired by sample; positive is worse. */
export function metricDrops(before: Scores, after: Scores, metrics: readonly Metric[]): Record<string, Interval> {
  return Object.fromEntries(metrics.map((m) => [m.name, pairedDrop(before[m.name] ?? [], after[m.name] ?? [], m)]))
}
