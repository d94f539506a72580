/**
 * Watching values while calibration samples run. Two passes over the data: the extremes of every tensor (and means per
 * channel), reduced inside the engine; then one histogram per tensor over exactly that range. Memory is tensors × bins
 * plus one batch, whatever the number of samples; and what comes out does not depend on how samples are batched.
 */
import { evaluateDim } from '../../base/dim.ts'
import { assert, PareError } from '../../base/errors.ts'
import { edit } from '../../ir/edit.ts'
import { tensor, toFloats } from '../../ir/tensor.ts'
import type { Context, Dataset, Model, Session, Tensor } from '../../types.ts'
import type { Histogram } from './ranges.ts'

export interface CalibrationOptions {
  /** Values to watch: float tensors of the main graph. */
  readonly taps: readonly string[]
  /** 0: the extremes only, in one pass. */
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

type Surroundings = Pick<Context, 'runner' | 'signal' | 'progress'>

/** Values of one batch that are kept at a time. */
const memoryBytes = 12 * 1024 * 1024

/** What each tapped value was on the data. Throws `E_DATA` when there is none, or where a value is not finite. */
export async function calibrate(
  model: Model,
  dataset: Dataset,
  o: CalibrationOptions,
  ctx: Surroundings
): Promise<Observed> {
  const wanted = o.means ?? []
  if (o.taps.length + wanted.length === 0) return { values: new Map(), means: new Map() }
  const perSample = [...o.taps, ...wanted.map((m) => m.id)].reduce((n, id) => n + sampleBytes(model, id), 0)
  const batch = fixedBatch(model) ?? o.batch ?? Math.max(1, Math.min(32, Math.floor(memoryBytes / perSample)))
  const feed = { dataset, batch, isFixed: fixedBatch(model) !== undefined, ctx }
  const { extremes, means } = await reduce(model, o.taps, wanted, feed)
  if (o.bins === 0) return { values: extremes, means }
  const values = new Map([...extremes].map(([id, r]) => [id, { ...r, counts: new Float64Array(o.bins) }]))
  for (const group of tapGroups(model, o.taps, batch)) await count(model, group, values, feed)
  return { values, means }
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
  const session = await feed.ctx.runner.open(model, { outputs })
  try {
    return await use(session)
  } finally {
    await session.close()
  }
}

// ---------------------------------------------------------------- extremes and means

async function reduce(
  model: Model,
  taps: readonly string[],
  wanted: readonly ChannelMean[],
  feed: Feed
): Promise<{ extremes: Map<string, Histogram>; means: Map<string, Float64Array> }> {
  const { reduced, scalars, vectors } = withReductions(model, taps, wanted)
  const found = new Map(taps.map((id) => [id, { low: Number.POSITIVE_INFINITY, high: Number.NEGATIVE_INFINITY }]))
  const sums = new Map<string, Float64Array>()
  let samples = 0
  await withSession(reduced, [...scalars.flat(), ...vectors], feed, (session) =>
    eachBatch(session, feed, 'finding ranges', (outputs, n) => {
      for (const [i, id] of taps.entries()) {
        const [low, high, sum] = (scalars[i] as readonly string[]).map((r) => scalarOf(outputs[r]))
        const seen = found.get(id) as { low: number; high: number }
        if (!Number.isFinite(low) || !Number.isFinite(high) || Number.isNaN(sum)) throw notFinite(id)
        seen.low = Math.min(seen.low, low as number)
        seen.high = Math.max(seen.high, high as number)
      }
      for (const [i, { id }] of wanted.entries()) {
        const mean = toFloats(outputs[vectors[i] as string] as Tensor)
        const sum = sums.get(id) ?? new Float64Array(mean.length)
        for (let c = 0; c < mean.length; c++) sum[c] = (sum[c] as number) + n * (mean[c] as number)
        sums.set(id, sum)
      }
      samples += n
    })
  )
  return {
    extremes: new Map([...found].map(([id, r]) => [id, { ...r, counts: new Float64Array(0) }])),
    means: new Map([...sums].map(([id, sum]) => [id, sum.map((x) => x / samples)]))
  }
}

const scalarOf = (t: Tensor | undefined): number => (t ? (toFloats(t)[0] as number) : Number.NaN)

function notFinite(id: string): PareError {
  return new PareError('E_DATA', `value ${id} is not finite (NaN or infinity) on the calibration data`, {
    where: id,
    hint: 'look for broken samples, or for preprocessing that does not fit the model'
  })
}

/**
 * Three scalars per tap: least, greatest, and a sum that is NaN where any element is (extremes may pass over NaN); and
 * one vector per wanted mean.
 */
function withReductions(
  model: Model,
  taps: readonly string[],
  wanted: readonly ChannelMean[]
): { reduced: Model; scalars: string[][]; vectors: string[] } {
  const scalars: string[][] = []
  const vectors: string[] = []
  const reduced = edit(model, (d) => {
    for (const id of taps)
      scalars.push(['ReduceMin', 'ReduceMax', 'ReduceSum'].map((op) => d.add(op, [id], { attrs: { keepdims: 0 } })))
    for (const { id, axis } of wanted) {
      const rank = d.value(id)?.shape?.length
      assert(rank !== undefined, `the rank of ${id} is not known`)
      const axes = Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis)
      const constant = d.addConstant(tensor('int64', [axes.length], axes), 'axes')
      vectors.push(d.add('ReduceMean', [id, constant], { attrs: { keepdims: 0 } }))
    }
  })
  return { reduced, scalars, vectors }
}

// ---------------------------------------------------------------- histograms

async function count(
  model: Model,
  taps: readonly string[],
  into: ReadonlyMap<string, Histogram>,
  feed: Feed
): Promise<void> {
  await withSession(model, taps, feed, (session) =>
    eachBatch(session, feed, 'counting values', (outputs) => {
      for (const id of taps) addTo(into.get(id) as Histogram, toFloats(outputs[id] as Tensor))
    })
  )
}

/** Counts values into bins; the greatest belongs to the last. */
export function addTo(h: Histogram, values: Float32Array): void {
  const { low, counts } = h
  const bins = counts.length
  const last = bins - 1
  const perUnit = h.high > low ? bins / (h.high - low) : 0
  // Four tables take turns: in one, equal values in a row (zeros, behind Relu) wait for each other. Whole numbers of 32
  // bits count faster; a batch has fewer values than they hold. Written out: a closure takes four times as long.
  const found = new Uint32Array(4 * bins)
  const whole = values.length - (values.length % 4)
  for (let i = 0; i < whole; i += 4) {
    let bin = (((values[i] as number) - low) * perUnit) | 0
    ;(found[Math.min(bin, last)] as number)++
    bin = (((values[i + 1] as number) - low) * perUnit) | 0
    ;(found[bins + Math.min(bin, last)] as number)++
    bin = (((values[i + 2] as number) - low) * perUnit) | 0
    ;(found[2 * bins + Math.min(bin, last)] as number)++
    bin = (((values[i + 3] as number) - low) * perUnit) | 0
    ;(found[3 * bins + Math.min(bin, last)] as number)++
  }
  for (let i = whole; i < values.length; i++) {
    const bin = (((values[i] as number) - low) * perUnit) | 0
    ;(found[Math.min(bin, last)] as number)++
  }
  for (let table = 0; table < 4; table++)
    for (let i = 0; i < bins; i++) counts[i] = (counts[i] as number) + (found[table * bins + i] as number)
}

/** Groups of taps whose values of one batch fit into memory together. */
function tapGroups(model: Model, taps: readonly string[], batch: number): string[][] {
  const out: string[][] = []
  let bytes = Number.POSITIVE_INFINITY
  for (const id of taps) {
    const size = sampleBytes(model, id) * batch
    if (bytes + size > 4 * memoryBytes) {
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
