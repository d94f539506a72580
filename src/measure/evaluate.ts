/** Metrics of one or several models on the same samples, streaming: only the scores are kept. */

import { part } from '../base/bytes.ts'
import { PareError, stopIfAborted } from '../base/errors.ts'
import { byteLength, elementCount, tensor } from '../ir/tensor.ts'
import type { Batch, Dataset, Interval, Metric, Progress, Session, Tensor } from '../types.ts'
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
}

/**
 * Runs every batch through every session; the first is the reference of metrics that compare. Inputs are matched by
 * name. Where a model fixes its batch, the last batch is padded with its last sample and the results are cut back.
 * Throws `E_DATA_SHAPE` when data and models do not fit, and, when a score is not finite, `E_DATA` for the first
 * session and `E_RUN` for the others.
 */
export async function evaluate(sessions: readonly Session[], o: EvaluateOptions): Promise<readonly Scores[]> {
  const total = o.indices?.length ?? o.dataset.size
  if (total === 0) throw new PareError('E_DATA', 'there are no samples to evaluate on')
  const { batch, fixed } = batchSize(sessions, o.batch ?? 32)
  const scores = sessions.map(() =>
    Object.fromEntries(o.metrics.map((m) => [m.name, new Float64Array(total)] as const))
  )
  let done = 0
  for await (const samples of o.dataset.batches({ batch, ...(o.indices ? { indices: o.indices } : {}) })) {
    let reference: Readonly<Record<string, Tensor>> | undefined
    for (const [i, session] of sessions.entries()) {
      stopIfAborted(o.signal)
      const outputs = await runBatch(session, samples, fixed ? batch : samples.n)
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

/** Samples per run: what the models fix, or else `wanted`. Throws `E_DATA_SHAPE` when they fix different numbers. */
export function batchSize(
  sessions: readonly Pick<Session, 'inputs'>[],
  wanted: number
): { readonly batch: number; readonly fixed: boolean } {
  const sizes = new Set<number>()
  for (const s of sessions)
    for (const input of s.inputs) if (typeof input.shape?.[0] === 'number') sizes.add(input.shape[0])
  if (sizes.size > 1)
    throw new PareError('E_DATA_SHAPE', `the models fix different batch sizes: ${[...sizes].join(', ')}`)
  const [only] = sizes
  return only === undefined ? { batch: wanted, fixed: false } : { batch: only, fixed: true }
}

/** Runs one batch, padded to `size` samples; results have `batch.n`. Throws `E_DATA_SHAPE` for missing inputs. */
export async function runBatch(session: Session, batch: Batch, size: number): Promise<Record<string, Tensor>> {
  const outputs = await session.run(feedsOf(session, batch, size))
  if (batch.n >= size) return outputs
  return Object.fromEntries(Object.entries(outputs).map(([name, t]) => [name, resize(t, size, batch.n)]))
}

/** A batch as a session's inputs, by name, padded to `size` samples. Throws `E_DATA_SHAPE` for missing inputs. */
export function feedsOf(
  session: Pick<Session, 'inputs'>,
  batch: Batch,
  size = batch.n
): Readonly<Record<string, Tensor>> {
  const feeds: Record<string, Tensor> = {}
  for (const { name } of session.inputs) {
    const given = Object.hasOwn(batch.inputs, name) ? batch.inputs[name] : undefined
    if (!given)
      throw new PareError('E_DATA_SHAPE', `the data has nothing for the model's input ${name}`, {
        facts: { data: Object.keys(batch.inputs).join(', ') }
      })
    feeds[name] = batch.n < size ? resize(given, batch.n, size) : given
  }
  return feeds
}

/** A tensor of `from` samples made one of `to`: cut, or padded with the last sample. Others are left alone. */
function resize(t: Tensor, from: number, to: number): Tensor {
  const first = t.shape[0]
  if (first === undefined || first === 0 || first % from !== 0) return t
  const rows = first / from
  const shape = [to * rows, ...t.shape.slice(1)]
  const perSample = elementCount(t.shape) / from
  if (t.strings) {
    const strings = Array.from({ length: to * perSample }, (_, i) => {
      const sample = Math.min(Math.floor(i / perSample), from - 1)
      return t.strings?.[sample * perSample + (i % perSample)] ?? ''
    })
    return tensor('string', shape, strings)
  }
  const size = byteLength(t.dtype, perSample)
  if (to <= from) return { dtype: t.dtype, shape, bytes: part(t.bytes, 0, to * size) }
  const bytes = new Uint8Array(to * size)
  bytes.set(t.bytes.slice(0, from * size))
  const last = t.bytes.slice((from - 1) * size, from * size)
  for (let i = from; i < to; i++) bytes.set(last, i * size)
  return { dtype: t.dtype, shape, bytes }
}

/** Mean and interval of every metric. */
export function metricIntervals(scores: Scores, metrics: readonly Metric[]): Record<string, Interval> {
  return Object.fromEntries(metrics.map((m) => [m.name, metricInterval(scores[m.name] ?? [], m)]))
}

/** How much worse every metric got, paired by sample; positive is worse. */
export function metricDrops(before: Scores, after: Scores, metrics: readonly Metric[]): Record<string, Interval> {
  return Object.fromEntries(metrics.map((m) => [m.name, pairedDrop(before[m.name] ?? [], after[m.name] ?? [], m)]))
}
