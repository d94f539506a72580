/** What channel rules share: spans and links of axes, and the rules that many operators have in common. */
import { assert } from '../base/errors.ts'
import { recordName } from '../ir/graph.ts'
import type { Dim } from '../types.ts'
import { shapeOf } from './op.ts'
import type { Count, Link, NodeView, Op, Span } from './types.ts'

export type ChannelRule = (n: NodeView) => readonly Link[]

type Cut = Pick<Span, 'offset' | 'outer' | 'inner'>

export const into = (at: number, axis: number, cut: Cut = {}): Span => ({ of: 'input', at, axis, ...cut })
export const out = (at: number, axis: number, cut: Cut = {}): Span => ({ of: 'output', at, axis, ...cut })

/** A link over so many channels; none over a size that is no number. */
export function link(channels: Dim | undefined, spans: readonly Span[], rest: Partial<Link> = {}): readonly Link[] {
  return typeof channels === 'number' && channels > 0 && spans.length > 0 ? [{ channels, spans, ...rest }] : []
}

/** Pairs of an axis of input 0 and the same one of output 0. */
export function sameAxes(n: NodeView, axes: readonly number[]): readonly Link[] {
  return axes.flatMap((a) => link(shapeOf(n, 0)?.[a], [into(0, a), out(0, a)]))
}

/** Axes of input 0, counted from the front. */
export const axesOfData = (n: NodeView): readonly number[] => (shapeOf(n, 0) ?? []).map((_, i) => i)

/** Element by element, with numpy broadcasting: equal axes of all inputs and outputs. */
export function everyAxis(n: NodeView): readonly Link[] {
  const y = n.outputs[0]?.shape ?? []
  return y.flatMap((size, axis) => {
    const fromEnd = y.length - axis
    const spans = n.inputs.flatMap((k, at) => {
      const a = (k?.shape?.length ?? 0) - fromEnd
      return a >= 0 && k?.shape?.[a] === size ? [into(at, a)] : []
    })
    return link(size, [...spans, ...outputsWith(n, axis, size)])
  })
}

const outputsWith = (n: NodeView, axis: number, size: Dim): readonly Span[] =>
  n.outputs.flatMap((k, at) => (k?.shape?.[axis] === size ? [out(at, axis)] : []))

/** All axes of the data but some, unchanged. */
export const otherAxes = (n: NodeView, axes: readonly number[]): readonly Link[] =>
  sameAxes(
    n,
    axesOfData(n).filter((a) => !axes.includes(a))
  )

/** Batch and channels of an image whose spatial axes are mixed. */
export const batchAndChannels: ChannelRule = (n) => sameAxes(n, [0, 1])

/** The element of a constant input that says how long an axis is; `undefined` where it is computed. */
export function sizeAt(n: NodeView, input: number, element: number): readonly Count[] | undefined {
  return n.inputs[input]?.data ? [{ in: input, element, each: 1 }] : undefined
}

/** The records with their channel rules, which are keyed by `opName`: `domain:Name` outside the default domain. */
export function withChannels(rules: Readonly<Record<string, ChannelRule>>, ops: readonly Op[]): readonly Op[] {
  const names = ops.map((op) => recordName(op))
  const unmet = Object.keys(rules).filter((name) => !names.includes(name))
  assert(unmet.length === 0, `channel rules of operators without a record here: ${unmet.join(', ')}`)
  return ops.map((op, i) => {
    const channels = rules[names[i] as string]
    return channels ? { ...op, channels } : op
  })
}
