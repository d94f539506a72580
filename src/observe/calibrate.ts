/**
 * Watching values while calibration samples run, in one pass over the data: a histogram per tensor, or its extremes alone,
 * reduced inside the engine; and means per channel. Memory is tensors × bins plus one batch, whatever the number of
 * samples; and what comes out does not depend on how samples are batched.
 */
import { PareError } from '../base/errors.ts'
import { edit } from '../ir/edit.ts'
import { toFloats } from '../ir/tensor.ts'
import { samplesWithin } from '../runtime/batches.ts'
import type { Dataset, Model, Tensor } from '../types.ts'
import { type Surroundings, sampleBytes, samplesPerRun, watch } from './feed.ts'
import { counter, extremesOnly, type Histogram } from './histogram.ts'
import { type ChannelMean, type Joined, joining, reduceAll, reduceChannels } from './reductions.ts'

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

export interface Observed {
  /** By tap. */
  readonly values: ReadonlyMap<string, Histogram>
  /** By id, one mean per channel over samples and positions. */
  readonly means: ReadonlyMap<string, Float64Array>
}

/**
 * Bytes of the values that one run over the data watches: of one batch (`memoryBytes`), or of a single sample where that
 * alone has more (`largestBytes`). Further values are watched in further runs over the data.
 */
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
  const batch = samplesPerRun(model, o.batch ?? samplesWithin(memoryBytes, perSample, 32))
  const groups = o.bins === 0 || o.taps.length === 0 ? [o.taps] : tapGroups(model, o.taps, batch)
  const watchers = groups.map((taps, i) => watching(model, { ...o, taps, means: i === 0 ? means : [] }))
  const feed = { dataset, batch, stage: 'watching values' }
  for (const w of watchers) await watch(w.model, { outputs: w.outputs }, feed, ctx, w.take)
  return {
    values: new Map(watchers.flatMap((w) => [...w.values()])),
    means: new Map(watchers.flatMap((w) => [...w.means()]))
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
  const means = new Map<string, { readonly vector: string; readonly joined: Joined }>()
  /** Three scalars: least, greatest, and a sum that is NaN where any element is (extremes may pass over NaN). */
  const extremes = new Map<string, readonly [string, string, string]>()
  const watched = edit(model, (d) => {
    for (const m of o.means) means.set(m.id, { vector: reduceChannels(d, m, 'mean'), joined: joining('mean') })
    if (o.bins === 0)
      for (const id of o.taps)
        extremes.set(id, [reduceAll(d, id, 'least'), reduceAll(d, id, 'greatest'), reduceAll(d, id, 'sum')])
  })
  const counted = o.bins === 0 ? countingExtremes(extremes) : countingValues(o.taps, o.bins)
  return {
    model: watched,
    outputs: [...[...means.values()].map((m) => m.vector), ...(o.bins === 0 ? [...extremes.values()].flat() : o.taps)],
    take: (outputs, n) => {
      counted.take(outputs)
      for (const { vector, joined } of means.values()) joined.take(outputs[vector] as Tensor, n)
    },
    values: counted.values,
    means: () => new Map([...means].map(([id, m]) => [id, m.joined.numbers()]))
  }
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
