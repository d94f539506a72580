/**
 * What channels are worth, by one of these criteria (higher: more):
 * - l1, l2: Σ|w|, Σw² of the weights that read the channel (Li et al., 2017); of all its weights where none reads it.
 * - bn-scale: |γ| of the normalizations behind the channel (Liu et al., Network Slimming, 2017).
 * - fpgm: Σ_j ‖F_c − F_j‖ over the other filters that make channels of the group (He et al., FPGM, 2019).
 * - activation: ‖w_c‖²·E[x_c²] on samples, as a share of that of all channels that the layer reads, summed over the layers
 *   that read the channel; around the mean where a repair gives the mean back.
 * - taylor: E[(Σ w·∂L/∂w)²] over the weights that read the channel: the squared first-order change of the loss without
 *   it (Molchanov et al., 2019), mean over batches.
 * - random: drawn by the seed.
 * l1, l2, bn-scale, fpgm and random are divided by their mean over the group, so that groups can be compared.
 */
import { PareError } from '../../base/errors.ts'
import { constant, consumers, graphView } from '../../ir/graph.ts'
import { isFloat, toFloats } from '../../ir/tensor.ts'
import { observeChannels } from '../../observe/channels.ts'
import { linearOf } from '../../ops/ask.ts'
import { opFor } from '../../ops/index.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Dataset, Model, Tensor } from '../../types.ts'
import type { Context } from '../types.ts'
import type { ChannelGroup, Slice } from './groups.ts'

export const criteria = ['l1', 'l2', 'bn-scale', 'fpgm', 'activation', 'taylor', 'random'] as const
export type Criterion = (typeof criteria)[number]

/** One number a channel; groups that a criterion says nothing of are absent. */
export type Scores = ReadonlyMap<ChannelGroup, Float64Array>

/** A weight of a group, of two axes and more. */
export interface GroupWeight {
  readonly slice: Slice
  readonly data: Tensor
}

/** The weights that read a group, or all its weights where none does. */
export function readingWeights(model: Model, group: ChannelGroup): readonly GroupWeight[] {
  const readers = weightsOf(
    model,
    group.slices.filter((s) => s.isSummed)
  )
  return readers.length > 0 ? readers : weightsOf(model, group.slices)
}

const weightsOf = (model: Model, slices: readonly Slice[]): readonly GroupWeight[] =>
  slices.flatMap((slice) => {
    const data = model.graph.values.get(slice.value)?.data
    return data && isFloat(data.dtype) && data.shape.length > 1 ? [{ slice, data }] : []
  })

/** Sums f(element, offset) over all elements at each index along an axis. */
export function sumsAlong(data: Tensor, axis: number, f: (value: number, offset: number) => number): Float64Array {
  const values = toFloats(data)
  const run = data.shape.slice(axis + 1).reduce((a, b) => a * b, 1)
  const size = data.shape[axis] as number
  const along = new Float64Array(size)
  for (let k = 0; k < values.length; k++) {
    const i = Math.floor(k / run) % size
    along[i] = (along[i] as number) + f(values[k] as number, k)
  }
  return along
}

/** Numbers by index along the axis of a slice, summed by channel. */
export const byChannel = (along: ArrayLike<number>, { indices }: Slice): Float64Array =>
  Float64Array.from(indices, (own) => own.reduce((sum, i) => sum + (along[i] as number), 0))

/** Divided by their mean; all 0 where that is 0. */
export function relative(scores: Float64Array): Float64Array {
  const mean = scores.reduce((a, b) => a + b, 0) / scores.length
  return scores.map((s) => (mean > 0 ? s / mean : 0))
}

function sumOf(all: readonly Float64Array[], channels: number): Float64Array {
  const out = new Float64Array(channels)
  for (const scores of all) for (const [c, s] of scores.entries()) out[c] = (out[c] as number) + s
  return out
}

const meanOf = (all: readonly Float64Array[], channels: number): Float64Array =>
  sumOf(all, channels).map((s) => s / all.length)

/** Scores by weights alone, or drawn. */
export function weightScores(
  model: Model,
  groups: readonly ChannelGroup[],
  by: Exclude<Criterion, 'activation' | 'taylor'>,
  ctx: Pick<Context, 'rng'>
): Scores {
  const one = scorer(model, by, ctx)
  return new Map(
    groups.flatMap((g) => {
      const scores = one(g)
      return scores ? [[g, scores] as const] : []
    })
  )
}

type Scorer = (group: ChannelGroup) => Float64Array | undefined

function scorer(model: Model, by: Exclude<Criterion, 'activation' | 'taylor'>, ctx: Pick<Context, 'rng'>): Scorer {
  switch (by) {
    case 'l1':
      return (g) => normScores(model, g, Math.abs)
    case 'l2':
      return (g) => normScores(model, g, (w) => w * w)
    case 'bn-scale':
      return scaleScorer(model)
    case 'fpgm':
      return (g) => distanceScores(model, g)
    case 'random': {
      const random = ctx.rng.fork('channels')
      return (g) => relative(Float64Array.from({ length: g.channels }, () => random.next()))
    }
  }
}

function normScores(model: Model, group: ChannelGroup, f: (w: number) => number): Float64Array | undefined {
  const all = readingWeights(model, group).map(({ slice, data }) =>
    relative(byChannel(sumsAlong(data, slice.axis, f), slice))
  )
  return all.length > 0 ? meanOf(all, group.channels) : undefined
}

/** Only of groups with a normalization. */
function scaleScorer(model: Model): Scorer {
  const { graph } = model
  const scales = new Set(
    graph.nodes.flatMap((n) => {
      const at = opFor(n)?.normalizes?.scale
      const id = at === undefined ? undefined : n.inputs[at]
      return id != null && constant(graph, id) ? [id] : []
    })
  )
  return (group) => {
    const own = group.slices.filter((s) => s.isConstant && scales.has(s.value))
    const all = own.map((s) => relative(byChannel(toFloats(constant(graph, s.value) as Tensor).map(Math.abs), s)))
    return all.length > 0 ? meanOf(all, group.channels) : undefined
  }
}

/** Distances between the filters that make the channels. */
function distanceScores(model: Model, group: ChannelGroup): Float64Array | undefined {
  const makers = weightsOf(
    model,
    group.slices.filter((s) => !s.isSummed)
  )
  const all = makers.map((maker) => {
    const filters = filtersOf(maker)
    return relative(Float64Array.from(filters, (f) => filters.reduce((sum, other) => sum + distance(f, other), 0)))
  })
  return all.length > 0 ? meanOf(all, group.channels) : undefined
}

/** The part of a weight that each channel has, as a vector. */
function filtersOf({ slice, data }: GroupWeight): readonly Float64Array[] {
  const owner = new Int32Array(data.shape[slice.axis] as number).fill(-1)
  for (const [c, own] of slice.indices.entries()) for (const i of own) owner[i] = c
  const parts: number[][] = slice.indices.map(() => [])
  const values = toFloats(data)
  const run = data.shape.slice(slice.axis + 1).reduce((a, b) => a * b, 1)
  for (let k = 0; k < values.length; k++)
    parts[owner[Math.floor(k / run) % owner.length] as number]?.push(values[k] as number)
  return parts.map((p) => Float64Array.from(p))
}

function distance(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += ((a[i] as number) - (b[i] as number)) ** 2
  return Math.sqrt(sum)
}

/** A layer of a constant weight that reads a group, with the value and the axis that it reads the channels from. */
interface Reading extends GroupWeight {
  readonly x: string
  readonly xAxis: number
}

/** Scores by the power of the channels on samples. `centred`: by their variance. */
export async function activationScores(
  model: Model,
  groups: readonly ChannelGroup[],
  data: Dataset,
  { centred }: { readonly centred: boolean },
  ctx: Context
): Promise<Scores> {
  const typed = inferShapes(model)
  const readings = new Map(groups.map((g) => [g, readingsOf(typed, g)]))
  const all = [...readings.values()].flat()
  const points = new Map(all.map(({ x, xAxis }) => [x, { id: x, axis: xAxis }]))
  if (points.size === 0) throw noReaders()
  const seen = await observeChannels(model, [...points.values()], ['mean', 'power'], data, ctx)
  const out = new Map<ChannelGroup, Float64Array>()
  for (const [group, own] of readings) {
    const shares = own.flatMap(({ x, slice, data: w }) => {
      const stats = seen.get(x)
      const size = w.shape[slice.axis] as number
      if (!stats || stats.power.length !== size) return []
      const energy = sumsAlong(w, slice.axis, (v) => v * v)
      const power = energy.map((e, i) => {
        const [p, m] = [stats.power[i] as number, stats.mean[i] as number]
        return e * Math.max(0, centred ? p - m * m : p)
      })
      const total = power.reduce((a, b) => a + b, 0)
      return [byChannel(power, slice).map((p) => (total > 0 ? p / total : 0))]
    })
    if (shares.length > 0) out.set(group, sumOf(shares, group.channels))
  }
  return out
}

const noReaders = (): PareError =>
  new PareError('E_UNSUPPORTED', 'no layer with a constant weight reads channels that could go', {
    where: 'criterion',
    hint: 'take l2, or fpgm'
  })

function readingsOf(typed: Model, group: ChannelGroup): readonly Reading[] {
  const { graph } = typed
  const view = graphView(graph)
  return weightsOf(
    typed,
    group.slices.filter((s) => s.isSummed)
  ).flatMap(({ slice, data }) =>
    consumers(graph, slice.value).flatMap((node) => {
      const linear = linearOf(view, node)
      const x = linear && node.inputs[linear.weight] === slice.value ? node.inputs[linear.data] : undefined
      const rank = x == null ? undefined : graph.values.get(x)?.shape?.length
      if (!linear || x == null || rank === undefined || linear.groups !== 1) return []
      return [{ slice, data, x, xAxis: rank + linear.axes.in }]
    })
  )
}
