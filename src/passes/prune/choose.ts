/**
 * Which channels go, step by step. A step takes as many of the least important channels of one group as keep its width a
 * multiple of `align`; the steps of a group follow each other, and those of different groups are merged: by what they cost
 * in importance (`global`), or so that all groups lose about the same share (`layer`). What a bound asks for is a number of
 * steps from the front.
 */
import { constant } from '../../ir/graph.ts'
import { elementCount } from '../../ir/tensor.ts'
import type { ModelCost } from '../../ops/cost.ts'
import type { Model, Node } from '../../types.ts'
import type { ChannelGroup, Slice } from './groups.ts'
import type { Kept } from './remove.ts'

/** A group that may lose channels, the least important first. */
export interface Candidate {
  readonly group: ChannelGroup
  readonly scores: Float64Array
  /** Channels of a step. */
  readonly block: number
  /** Channels that stay in any case. */
  readonly least: number
}

export interface Step {
  readonly group: ChannelGroup
  readonly channels: readonly number[]
}

/** Elements of a channel along the axis that the group is named after: head size, or 1. */
export const widthOf = ({ slices }: ChannelGroup): number => slices.find((s) => !s.isConstant)?.indices[0]?.length ?? 1

/** Channels of a step, so that widths are multiples of `align`. */
export function blockOf(group: ChannelGroup, align: number): number {
  const width = widthOf(group)
  return align / greatestCommonDivisor(align, width)
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}

/** The steps of one group: the first makes its width a multiple, the last leaves at least `least` channels. */
function stepsOf({ group, scores, block, least }: Candidate): Step[] {
  const order = Array.from(scores.keys()).sort((a, b) => (scores[a] as number) - (scores[b] as number) || a - b)
  const steps: Step[] = []
  let gone = 0
  let size = group.channels % block || block
  while (group.channels - gone - size >= least) {
    steps.push({ group, channels: order.slice(gone, gone + size) })
    gone += size
    size = block
  }
  return steps
}

/** What a step is worth taking for; higher prices come later. `left`: channels of each group before it. */
type Price = (step: Step, left: ReadonlyMap<ChannelGroup, number>) => number

/** The steps of all groups in the order in which they are taken. */
export function ordered(candidates: readonly Candidate[], price: Price): readonly Step[] {
  const queues = new Map(candidates.map((c) => [c.group, stepsOf(c)]))
  const left = new Map(candidates.map(({ group }) => [group, group.channels]))
  const out: Step[] = []
  for (;;) {
    let best: { step: Step; at: number } | undefined
    for (const [step] of queues.values()) {
      if (!step) continue
      const at = price(step, left)
      if (!best || at < best.at) best = { step, at }
    }
    if (!best) return out
    const { group, channels } = best.step
    out.push(best.step)
    queues.get(group)?.shift()
    left.set(group, (left.get(group) as number) - channels.length)
  }
}

/** All groups lose about the same share: the price is the share that is gone in the middle of the step. */
export const byShare: Price = ({ group, channels }, left) =>
  1 - ((left.get(group) as number) - channels.length / 2) / group.channels

/** Importance of what goes, for each unit of what it saves. */
export function byImportance(candidates: readonly Candidate[], saving: Price): Price {
  const scores = new Map(candidates.map((c) => [c.group, c.scores]))
  return (step, left) => {
    const own = scores.get(step.group) as Float64Array
    const lost = step.channels.reduce((sum, c) => sum + (own[c] as number), 0)
    return lost / Math.max(saving(step, left), Number.MIN_VALUE)
  }
}

export const channelsSaved: Price = ({ channels }) => channels.length

// ---------------------------------------------------------------- what a step saves

/** Something whose size is a product of the lengths of axes. */
interface Load {
  readonly size: number
  readonly slices: readonly { readonly slice: Slice; readonly group: ChannelGroup; readonly length: number }[]
}

/** What a step takes off the sum of all loads, other groups being as narrow as they are. */
function savingOf(loads: readonly Load[]): Price {
  const byGroup = new Map<ChannelGroup, Load[]>()
  for (const load of loads)
    for (const group of new Set(load.slices.map((s) => s.group))) {
      const own = byGroup.get(group)
      if (own) own.push(load)
      else byGroup.set(group, [load])
    }
  return ({ group, channels }, left) => {
    const sizeAt = (load: Load, less: number): number => {
      const axes = new Map<string, number>()
      for (const { slice, group: other, length } of load.slices) {
        const now = (left.get(other) ?? other.channels) - (other === group ? less : 0)
        const gone = (other.channels - now) * (slice.indices[0]?.length ?? 0)
        const key = `${slice.value} ${slice.axis}`
        axes.set(key, (axes.get(key) ?? 1) - gone / length)
      }
      return [...axes.values()].reduce((size, share) => size * share, load.size)
    }
    const own = byGroup.get(group) ?? []
    return own.reduce((sum, load) => sum + sizeAt(load, 0) - sizeAt(load, channels.length), 0)
  }
}

/** Elements of constants. */
export function parametersSaved(model: Model, groups: readonly ChannelGroup[]): Price {
  const byValue = slicesByValue(groups)
  return savingOf(
    [...byValue].flatMap(([id, slices]) => {
      const shape = constant(model.graph, id)?.shape
      return shape ? [{ size: elementCount(shape), slices: withLengths(slices, shape) }] : []
    })
  )
}

/** Multiply-adds: of nodes with a constant weight by its axes, of others by those of what they make and what they sum over. */
export function macsSaved(model: Model, groups: readonly ChannelGroup[], { byNode }: ModelCost): Price {
  const byValue = slicesByValue(groups)
  const loadOf = (node: Node): Load[] => {
    const size = byNode.get(node)
    if (!size) return []
    const weight = node.inputs.find((id) => (constant(model.graph, id)?.shape.length ?? 0) > 1)
    const from = weight == null ? [node.inputs[0], node.outputs[0]] : [weight]
    const slices = from.flatMap((id) => (id == null ? [] : withLengths(byValue.get(id) ?? [], shapeOf(model, id))))
    return slices.length > 0 ? [{ size, slices }] : []
  }
  return savingOf(model.graph.nodes.flatMap(loadOf))
}

type Owned = { readonly slice: Slice; readonly group: ChannelGroup }

function slicesByValue(groups: readonly ChannelGroup[]): ReadonlyMap<string, readonly Owned[]> {
  const out = new Map<string, Owned[]>()
  for (const group of groups)
    for (const slice of group.slices) {
      const own = out.get(slice.value)
      if (own) own.push({ slice, group })
      else out.set(slice.value, [{ slice, group }])
    }
  return out
}

const shapeOf = (model: Model, id: string): readonly (number | string)[] => {
  const v = model.graph.values.get(id)
  return v?.data?.shape ?? v?.shape ?? []
}

const withLengths = (slices: readonly Owned[], shape: readonly (number | string)[]): Load['slices'] =>
  slices.flatMap((s) => {
    const length = shape[s.slice.axis]
    return typeof length === 'number' ? [{ ...s, length }] : []
  })

// ---------------------------------------------------------------- the number of steps

/** The channels that stay after some steps. */
export function keptAfter(candidates: readonly Candidate[], steps: readonly Step[]): Kept {
  const gone = new Map<ChannelGroup, Set<number>>()
  for (const { group, channels } of steps) {
    const own = gone.get(group) ?? new Set<number>()
    for (const c of channels) own.add(c)
    gone.set(group, own)
  }
  return new Map(
    candidates.flatMap(({ group }) => {
      const out = gone.get(group)
      const all = Array.from({ length: group.channels }, (_, c) => c)
      return out ? [[group, all.filter((c) => !out.has(c))] as const] : []
    })
  )
}

/** The least number of 0 … `most` that a test, which holds from some number on, holds for; `undefined` where it never does. */
export async function leastThat(
  most: number,
  holds: (n: number) => boolean | Promise<boolean>
): Promise<number | undefined> {
  if (!(await holds(most))) return undefined
  let [low, high] = [0, most]
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if (await holds(middle)) high = middle
    else low = middle + 1
  }
  return low
}
