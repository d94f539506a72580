/**
 * Watching values while calibration samples run, in one pass over the data: a histogram per tensor, or its extremes alone,
 * reduced inside the engine; and means per channel. Memory is tensors × bins plus one batch, whatever the number of
 * samples; and what comes out does not depend on how samples are batched.
 */
import { evaluateDim } from '../base/dim.ts'
import { assert, PareError } from '../base/errors.ts'
import { type Draft, edit } from '../ir/edit.ts'
import { tensor, toFloats } from '../ir/tensor.ts'
import type { Context, Dataset, Model, Session, Tensor } from '../types.ts'
import { counter, extremesOnly, type Histogram } from './histogram.ts'

export interface CalibrationOptions {
  /** Values to watch: float tensors of the main graph. */
  readonly taps: readonly string[]
  /** 0: the extremes only. */
  readonly bins: number
  /** Values whose mean per channel is wanted. */
  readonly means?: readonly ChannelMean[]
  /** Samples per run where the model leaves it open. */
  readonly batch?: number
}

/** A value and its channel axis. The value's rank must be known. */
export interface ChannelMean {
  readonly id: string
  readonly axis: number
}

export interface Observed {
  /** By tap. */
  readonly values: ReadonlyMap<string, Histogram>
  /** By id, one mean per channel over samples and positions. */
  readonly means: ReadonlyMap<string, Float64Array>
}

type Surroundings = Pick<Context, 'engine' | 'signal' | 'progress'>

/** Values of one batch; and of one sample, where a sample has more: with those above, the data runs again. */
const memoryBytes = 12 * 1024 * 1024
const largestBytes = 128 * 1024 * 1024

/** What each tapped value was on the data. Throws `E_DATA` when there is none, or where a value is not finite. */
export async function calibrate(
  model: Model,
  dataset: Dataset,
  o: CalibrationOptions,
  ctx: Surroundings
): Promise<Observed> {
  const means = o.means ?? []
  if (o.taps.length + means.length === 0) return { values: new Map(), means: new Map() }
  const perSample = [...o.taps, ...means.map((m) => m.id)].reduce((n, id) => n + sampleBytes(model, id), 0)
  const batch = fixedBatch(model) ?? o.batch ?? Math.max(1, Math.min(32, Math.floor(memoryBytes / perSample)))
  const feed = { dataset, batch, isFixed: fixedBatch(model) !== undefined, ctx }
  const groups = o.bins === 0 || o.taps.length === 0 ? [o.taps] : tapGroups(model, o.taps, batch)
  const watchers = groups.map((taps, i) => watching(model, { ...o, taps, means: i === 0 ? means : [] }))
  for (const { outputs, model: watched, take } of watchers)
    await withSession(watched, outputs, feed, (session) => eachBatch(session, feed, 'watching values', take))
  return {
    values: new Map(watchers.flatMap((w) => [...w.values()])),
    means: new Map(watchers.flatMap((w) => [...w.means()]))
  }
}

/** Samples to run and how. */
export interface Feed {
  readonly dataset: Dataset
  readonly batch: number
  readonly isFixed: boolean
  readonly ctx: Surroundings
}

/** Runs every sample; a model of fixed batch leaves out what does not fill one. Throws `E_DATA` when nothing ran. */
export async function eachBatch(
  session: Session,
  feed: Feed,
  stage: string,
  take: (outputs: Record<string, Tensor>, n: number) => void
): Promise<void> {
  const { dataset, batch, isFixed, ctx } = feed
  let done = 0
  for await (const b of dataset.batches({ batch })) {
    if (ctx.signal.aborted) throw new PareError('E_ABORTED', `stopped while ${stage}`)
    if (isFixed && b.n !== batch) continue
    take(await session.run(b.inputs), b.n)
    done += b.n
    ctx.progress(stage, done, dataset.size)
  }
  if (done === 0)
    throw new PareError('E_DATA', 'there are no calibration samples to run', {
      facts: { samples: String(dataset.size), batch: String(batch) }
    })
}

async function withSession<T>(
  model: Model,
  outputs: readonly string[],
  feed: Feed,
  use: (s: Session) => Promise<T>
): Promise<T> {
  const session = await feed.ctx.engine.open(model, { outputs })
  try {
    return await use(session)
  } finally {
    await session.close()
  }
}

// ---------------------------------------------------------------- what is watched

/** A model that gives what is watched, and what takes it in, batch by batch. */
interface Watcher {
  readonly model: Model
  readonly outputs: readonly string[]
  take(outputs: Readonly<Record<string, Tensor>>, n: number): void
  values(): ReadonlyMap<string, Histogram>
  means(): ReadonlyMap<string, Float64Array>
}

function watching(model: Model, o: CalibrationOptions & { readonly means: readonly ChannelMean[] }): Watcher {
  const vectors = new Map<string, string>()
  const extremes = new Map<string, readonly [string, string, string]>()
  const watched = edit(model, (d) => {
    for (const m of o.means) vectors.set(m.id, meanOf(d, m))
    if (o.bins === 0) for (const id of o.taps) extremes.set(id, extremesOf(d, id))
  })
  const counted = o.bins === 0 ? countingExtremes(extremes) : countingValues(o.taps, o.bins)
  const sums = new Map<string, Float64Array>()
  let samples = 0
  return {
    model: watched,
    outputs: [...vectors.values(), ...(o.bins === 0 ? [...extremes.values()].flat() : o.taps)],
    take: (outputs, n) => {
      counted.take(outputs)
      for (const [id, vector] of vectors) {
        const mean = toFloats(outputs[vector] as Tensor)
        const sum = sums.get(id) ?? new Float64Array(mean.length)
        for (let c = 0; c < mean.length; c++) sum[c] = (sum[c] as number) + n * (mean[c] as number)
        sums.set(id, sum)
      }
      samples += n
    },
    values: counted.values,
    means: () => new Map([...sums].map(([id, sum]) => [id, sum.map((x) => x / samples)]))
  }
}

/** The mean per channel. */
function meanOf(d: Draft, { id, axis }: ChannelMean): string {
  const rank = d.value(id)?.shape?.length
  assert(rank !== undefined, `the rank of ${id} is not known`)
  const axes = Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis)
  const constant = d.addConstant(tensor('int64', [axes.length], axes), 'axes')
  return d.add('ReduceMean', [id, constant], { attrs: { keepdims: 0 } })
}

/** Three scalars: least, greatest, and a sum that is NaN where any element is (extremes may pass over NaN). */
const extremesOf = (d: Draft, id: string): readonly [string, string, string] => {
  const reduced = (op: string): string => d.add(op, [id], { attrs: { keepdims: 0 } })
  return [reduced('ReduceMin'), reduced('ReduceMax'), reduced('ReduceSum')]
}

type Counting = Pick<Watcher, 'values'> & { take(outputs: Readonly<Record<string, Tensor>>): void }

function countingExtremes(extremes: ReadonlyMap<string, readonly string[]>): Counting {
  const found = new Map<string, Histogram>()
  return {
    take: (outputs) => {
      for (const [id, scalars] of extremes) {
        const [low, high, sum] = scalars.map((s) => toFloats(outputs[s] as Tensor)[0] as number) as [
          number,
          number,
          number
        ]
        if (!Number.isFinite(low) || !Number.isFinite(high) || Number.isNaN(sum)) throw notFinite(id)
        const seen = found.get(id)
        found.set(id, extremesOnly(Math.min(low, seen?.low ?? low), Math.max(high, seen?.high ?? high)))
      }
    },
    values: () => found
  }
}

function countingValues(taps: readonly string[], bins: number): Counting {
  const counters = new Map(taps.map((id) => [id, counter(bins)]))
  return {
    take: (outputs) => {
      for (const [id, c] of counters) if (!c.add(toFloats(outputs[id] as Tensor))) throw notFinite(id)
    },
    values: () => new Map([...counters].map(([id, c]) => [id, c.histogram()]))
  }
}

function notFinite(id: string): PareError {
  return new PareError('E_DATA', `value ${id} is not finite (NaN or infinity) on the calibration data`, {
    where: id,
    hint: 'look for broken samples, or for preprocessing that does not fit the model'
  })
}

// ---------------------------------------------------------------- what fits into memory

/** Groups of taps whose values of one batch fit into memory together. */
function tapGroups(model: Model, taps: readonly string[], batch: number): string[][] {
  const out: string[][] = []
  let bytes = Number.POSITIVE_INFINITY
  for (const id of taps) {
    const size = sampleBytes(model, id) * batch
    if (bytes + size > largestBytes) {
      out.push([])
      bytes = 0
    }
    ;(out.at(-1) as string[]).push(id)
    bytes += size
  }
  return out
}

/** Bytes of a value for one sample; symbols count as 1. */
export function sampleBytes(model: Model, id: string): number {
  const shape = model.graph.values.get(id)?.shape ?? []
  return shape.reduce<number>((n, d) => n * (evaluateDim(d, {}) ?? 1), 4)
}

/** The batch that a model prescribes: a number as the first axis of its inputs. */
export function fixedBatch(model: Model): number | undefined {
  for (const id of model.graph.inputs) {
    const v = model.graph.values.get(id)
    const first = v?.data ? undefined : v?.shape?.[0]
    if (typeof first === 'number') return first
  }
  return undefined
}
