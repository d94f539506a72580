/** Pairs of linear layers between which channels can be scaled: one feeds only the other, through operators that let a positive factor pass. */

import { attrInt } from '../../../ir/attrs.ts'
import type { Draft } from '../../../ir/edit.ts'
import { consumers, isOutput, opName, soleConsumer } from '../../../ir/graph.ts'
import { opFor } from '../../../ops/index.ts'
import { viewOf } from '../../../ops/infer.ts'
import type { Model, Node } from '../../../types.ts'
import { type Linear, linearOf, linearOps } from '../../fuse/linear.ts'
import { siteOf } from './linear-change.ts'

/** f(a·x) = a·f(x) for a > 0, for each channel by itself. */
const passing: ReadonlySet<string> = new Set([
  'Relu',
  'LeakyRelu',
  'PRelu',
  'Identity',
  'MaxPool',
  'AveragePool',
  'GlobalAveragePool',
  'GlobalMaxPool',
  'ReduceMean'
])

/** A Clip(x, 0, high) on the way: scales pass it where its bound never holds, or is scaled with the channel. */
export interface Bound {
  readonly node: Node
  readonly high: number
}

/** Two layers with the channels between them. */
export interface Edge {
  readonly from: Linear
  readonly to: Linear
  readonly between: readonly Node[]
  readonly bound?: Bound
  readonly channels: number
}

/** Every edge of a model whose types are inferred; where a layer has none, `refuse` tells why. */
export function edgesOf(model: Model, d: Draft, refuse: (node: Node, reason: string) => void): Edge[] {
  const site = siteOf(d)
  return model.graph.nodes.flatMap((node) => {
    if (!isLinear(node)) return []
    const from = linearOf(node, site)
    const found =
      from === undefined || typeof from === 'string' ? (from ?? 'its weight is not a constant') : follow(from)
    if (typeof found !== 'string') return [found]
    refuse(node, found)
    return []
  })

  function follow(from: Linear): Edge | string {
    if (d.consumers(from.weight.id).length > 1) return 'its weight is shared'
    const between: Node[] = []
    let bound: Bound | undefined
    for (let id = from.node.outputs[0] as string; ; ) {
      const next = soleConsumer(model.graph, id)
      if (!next) return whyNot(model, id)
      if (isLinear(next)) return joined(from, next, id, between, bound)
      const clip = next.op === 'Clip' ? boundOf(model, next) : undefined
      if (clip && bound) return 'two Clips follow'
      if (!clip && !(passing.has(opName(next)) && next.inputs[0] === id && keepsChannels(model, from, next)))
        return `${opName(next)} follows, which a factor does not pass`
      bound ??= clip
      between.push(next)
      id = next.outputs[0] as string
    }
  }

  function joined(
    from: Linear,
    next: Node,
    id: string,
    between: readonly Node[],
    bound: Bound | undefined
  ): Edge | string {
    const to = linearOf(next, site)
    if (to === undefined || typeof to === 'string') return `the weight of ${next.name} is not a constant of known form`
    if (attrInt(next, 'transA', 0) !== 0) return `${next.name} transposes it`
    if (next.inputs[0] !== id) return `${next.name} reads it as something else than its data`
    if (d.consumers(to.weight.id).length > 1) return `the weight of ${next.name} is shared`
    if (from.axis !== to.axis || from.outChannels !== to.inChannels) return `${next.name} has other channels`
    return { from, to, between, channels: from.outChannels, ...(bound ? { bound } : {}) }
  }
}

const isLinear = (node: Node): boolean =>
  node.domain === undefined && (linearOps as readonly string[]).includes(node.op) && node.inputs[0] !== undefined

function whyNot(model: Model, id: string): string {
  if (isOutput(model.graph, id)) return 'its output is an output of the graph'
  const n = consumers(model.graph, id).length
  return n === 0 ? 'nothing reads its output' : `${n} nodes read its output`
}

function boundOf(model: Model, node: Node): Bound | undefined {
  const clamp = opFor(node)?.quant?.clamp?.(viewOf(model, model.graph, node))
  return clamp?.low === 0 && clamp.high > 0 ? { node, high: clamp.high } : undefined
}

/** A reduction must leave the channel axis and the rank alone. */
function keepsChannels(model: Model, from: Linear, node: Node): boolean {
  if (node.op !== 'ReduceMean') return true
  const [before, after] = [node.inputs[0], node.outputs[0]].map((id) => model.graph.values.get(id ?? '')?.shape)
  return before?.length === after?.length && after?.at(from.axis) === from.outChannels && from.outChannels !== 1
}
