/**
 * A narrower model with the most important channels of each group. The importance of a channel is a sum over
 * the weights that read the group: ‖the channel's part of the weight‖² / its mean over the channels. Where no constant
 * weight reads the group, the sum goes over all weights of the group. Weights that make a channel count only then:
 * before a normalization their size says little.
 */
import { isFloat, toFloats } from '../../ir/tensor.ts'
import type { Model, Tensor } from '../../types.ts'
import { type Blocker, type ChannelGroup, type Channels, channelGroups, type Slice } from './groups.ts'
import { type Kept, withoutChannels } from './remove.ts'

/** What became of a group. */
export interface Narrowed {
  readonly name: string
  readonly channels: number
  readonly kept: number
}

/** Groups that can lose channels. */
export const freeGroups = ({ groups }: Channels): readonly ChannelGroup[] =>
  groups.filter((g) => g.blockers.length === 0 && g.channels > 1)

export interface Narrow {
  readonly model: Model
  readonly kept: Kept
  readonly groups: readonly Narrowed[]
  /** What holds the channels of the other groups. */
  readonly blockers: readonly Blocker[]
}

/** A share of the channels of every free group, at least one; the very same model where none goes. */
export function narrow(model: Model, width: number): Narrow {
  const found = channelGroups(model)
  const kept = new Map(
    freeGroups(found).map((g) => [g, mostImportant(model, g, Math.max(1, Math.round(width * g.channels)))])
  )
  return {
    model: withoutChannels(found, kept),
    kept,
    groups: [...kept].map(([{ name, channels }, left]) => ({ name, channels, kept: left.length })),
    blockers: [...new Set(found.groups.flatMap(whyWhole))]
  }
}

/** Why a group keeps all its channels, where it has any to lose. */
export function whyWhole({ name, channels, slices, blockers }: ChannelGroup): readonly Blocker[] {
  if (channels > 1 || blockers.length > 0) return channels > 1 ? blockers : []
  const isTied = slices.some(({ indices }) => (indices[0]?.length ?? 0) > 1)
  return isTied ? [{ value: name, reason: 'has channels that can only go all together' }] : []
}

/** Channels of a group in ascending order. */
function mostImportant(model: Model, group: ChannelGroup, count: number): readonly number[] {
  const scores = importance(model, group)
  const order = Array.from(scores.keys()).sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b)
  return order.slice(0, count).sort((a, b) => a - b)
}

/** One number a channel; 1 on average over channels and weights. */
export function importance(model: Model, group: ChannelGroup): Float64Array {
  const scores = new Float64Array(group.channels)
  const readers = group.slices.filter((slice) => slice.isSummed)
  const weights = (readers.length > 0 ? readers : group.slices).flatMap((slice) => {
    const data = model.graph.values.get(slice.value)?.data
    return data && isFloat(data.dtype) && data.shape.length > 1 ? [{ slice, data }] : []
  })
  for (const { slice, data } of weights) {
    const energy = energies(data, slice)
    const mean = energy.reduce((a, b) => a + b, 0) / energy.length
    for (const [c, e] of energy.entries())
      scores[c] = (scores[c] as number) + (mean > 0 ? e / mean / weights.length : 0)
  }
  return scores
}

/** ‖·‖² of the part of a weight that each channel has. */
function energies(data: Tensor, { axis, indices }: Slice): Float64Array {
  const values = toFloats(data)
  const run = data.shape.slice(axis + 1).reduce((a, b) => a * b, 1)
  const size = data.shape[axis] as number
  const along = new Float64Array(size)
  for (let k = 0; k < values.length; k++) {
    const i = Math.floor(k / run) % size
    along[i] = (along[i] as number) + (values[k] as number) ** 2
  }
  return Float64Array.from(indices, (own) => own.reduce((sum, i) => sum + (along[i] as number), 0))
}
