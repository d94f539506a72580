/**
 * Watching values while calibration samples run, in one pass over the data: a histogram per tensor, or its extremes alone,
 * reduced inside the engine; and means per channel. Memory is tensors × bins plus one batch, whatever the number of
 * samples; and what comes out does not depend on how samples are batched.
 */
import { PareError } from '../base/errors.ts'
import { edit } from '../ir/edit.ts'
import { constants } from '../ir/graph.ts'
import { isFloat, toFloats } from '../ir/tensor.ts'
import { samplesWithin } from '../runtime/batches.ts'
import type { Dataset, Graph, Model, Node, Tensor } from '../types.ts'
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
  /** Taps that were infinite, as constants of the graph allow; they have no histogram. */
  readonly infinite: ReadonlySet<string>
  /** By id, one mean per channel over samples and positions. */
  readonly means: ReadonlyMap<string, Float64Array>
}

/**
 * Bytes of the values that one run over the data watches: of one batch (`memoryBytes`), or of a single sample where that
 * alone has more (`largestBytes`). Further values are watched in further runs over the data.
 */
const memoryBytes = 12 * 1024 * 1024
const largestBytes = 128 * 1024 * 1024

/** What each tapped value was on the data. Throws `E_DATA` when there is none, or where a value is not finite for the data. */
export async function calibrate(
  model: Model,
  dataset: Dataset,
  o: CalibrationOptions,
  ctx: Surroundings
): Promise<Observed> {
  const means = o.means ?? []
  if (o.taps.length + means.length === 0) return { values: new Map(), infinite: new Set(), means: new Map() }
  const perSample = [...o.taps, ...means.map((m) => m.id)].reduce((n, id) => n + sampleBytes(model, id), 0)
  const batch = samplesPerRun(model, o.batch ?? samplesWithin(memoryBytes, perSample, 32))
  const groups = o.bins === 0 || o.taps.length === 0 ? [o.taps] : tapGroups(model, o.taps, batch)
  const watchers = groups.map((taps, i) => watching(model, { ...o, taps, means: i === 0 ? means : [] }))
  const feed = { dataset, batch, stage: 'watching values' }
  for (const w of watchers) await watch(w.model, { outputs: w.outputs }, feed, ctx, w.take)
  return {
    values: new Map(watchers.flatMap((w) => [...w.values()])),
    infinite: new Set(watchers.flatMap((w) => [...w.infinite])),
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
  readonly infinite: ReadonlySet<string>
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
  const mayBe = infiniteByConstants(model)
  const counted = o.bins === 0 ? countingExtremes(extremes, mayBe) : countingValues(o.taps, o.bins, mayBe)
  return {
    model: watched,
    outputs: [...[...means.values()].map((m) => m.vector), ...(o.bins === 0 ? [...extremes.values()].flat() : o.taps)],
    take: (outputs, n) => {
      counted.take(outputs)
      for (const { vector, joined } of means.values()) joined.take(outputs[vector] as Tensor, n)
    },
    values: counted.values,
    infinite: counted.infinite,
    means: () => new Map([...means].map(([id, m]) => [id, m.joined.numbers()]))
  }
}

type Counting = Pick<Watcher, 'values' | 'infinite'> & { take(outputs: Readonly<Record<string, Tensor>>): void }

function countingExtremes(extremes: ReadonlyMap<string, readonly string[]>, mayBe: ReadonlySet<string>): Counting {
  const found = new Map<string, Histogram>()
  const infinite = new Set<string>()
  return {
    take: (outputs) => {
      for (const [id, scalars] of extremes) {
        const [low, high, sum] = scalars.map((s) => toFloats(outputs[s] as Tensor)[0] as number) as [
          number,
          number,
          number
        ]
        if (!Number.isFinite(low) || !Number.isFinite(high) || Number.isNaN(sum)) {
          // −∞ and ∞ add up to NaN.
          const isInfinite = low === Number.NEGATIVE_INFINITY || high === Number.POSITIVE_INFINITY
          if (!mayBe.has(id) || !isInfinite || (Number.isNaN(sum) && high - low !== Number.POSITIVE_INFINITY))
            throw notFinite(id)
          infinite.add(id)
          continue
        }
        const seen = found.get(id)
        found.set(id, extremesOnly(Math.min(low, seen?.low ?? low), Math.max(high, seen?.high ?? high)))
      }
    },
    values: () => new Map([...found].filter(([id]) => !infinite.has(id))),
    infinite
  }
}

function countingValues(taps: readonly string[], bins: number, mayBe: ReadonlySet<string>): Counting {
  const counters = new Map(taps.map((id) => [id, counter(bins)]))
  const infinite = new Set<string>()
  return {
    take: (outputs) => {
      for (const [id, c] of counters) {
        const values = toFloats(outputs[id] as Tensor)
        if (c.add(values)) continue
        if (!mayBe.has(id) || values.some(Number.isNaN)) throw notFinite(id)
        infinite.add(id)
      }
    },
    values: () => new Map([...counters].flatMap(([id, c]) => (infinite.has(id) ? [] : [[id, c.histogram()] as const]))),
    infinite
  }
}

function notFinite(id: string): PareError {
  return new PareError('E_DATA', `value ${id} is not finite (NaN or infinity) on the calibration data`, {
    where: id,
    hint: 'look for broken samples, or for preprocessing that does not fit the model'
  })
}

/** Values that constants of the graph which are not finite reach, or what nodes make of constants alone. */
function infiniteByConstants({ graph }: Model): ReadonlySet<string> {
  const out = new Set<string>()
  const constants = new Map(allConstants(graph))
  const fixed = new Set(constants.keys())
  for (const [id, data] of constants) if (isFloat(data.dtype) && hasInfinite(data)) out.add(id)
  for (const node of graph.nodes) {
    const inputs = node.inputs.filter((id) => id !== null)
    const isFixed = inputs.every((id) => fixed.has(id))
    const isReached = isFixed || inputs.some((id) => out.has(id)) || fillsInfinite(node)
    for (const id of isReached ? node.outputs : []) out.add(id)
    for (const id of isFixed ? node.outputs : []) fixed.add(id)
  }
  return out
}

const allConstants = (graph: Graph): (readonly [string, Tensor])[] => constants(graph).map((v) => [v.id, v.data])

const hasInfinite = (t: Tensor): boolean => toFloats(t).some((x) => !Number.isFinite(x))

/** Does a node fill a tensor with a number of its attributes that is not finite? */
const fillsInfinite = (node: Node): boolean =>
  Object.values(node.attrs).some((a) => a.kind === 'tensor' && isFloat(a.value.dtype) && hasInfinite(a.value))

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
