/** Pairs of linear layers between which channels can be scaled: one feeds only the other, through operators that let a positive factor pass. */

import { consumers, type GraphView, graphView, isOutput, opName, soleConsumer } from '../../../ir/graph.ts'
import { isFloat } from '../../../ir/tensor.ts'
import { clampOf, linearOf, passesFactor } from '../../../ops/ask.ts'
import { opFor } from '../../../ops/index.ts'
import { viewOf } from '../../../ops/infer.ts'
import type { Model, Node } from '../../../types.ts'
import { type LinearLayer, linearLayer, unscalable } from '../../fuse/linear.ts'
import { isShared } from './smooth-groups.ts'

/** A Clip(x, 0, high) on the way: scales pass it where its bound never holds, or is scaled with the channel. */
export interface Bound {
  readonly node: Node
  readonly high: number
}

/** Two layers with the channels between them. */
export interface Edge {
  readonly from: LinearLayer
  readonly to: LinearLayer
  readonly between: readonly Node[]
  readonly bound?: Bound
  readonly channels: number
}

/** Every edge of a model whose types are inferred; where a layer has none, `refuse` tells why. */
export function edgesOf(model: Model, refuse: (node: Node, reason: string) => void): Edge[] {
  const g = graphView(model.graph)
  return model.graph.nodes.flatMap((node) => {
    if (!isLinear(g, node)) return []
    const from = linearLayer(node, g)
    const found =
      from === undefined || typeof from === 'string' ? (from ?? 'its weight is not a constant') : follow(from)
    if (typeof found !== 'string') return [found]
    refuse(node, found)
    return []
  })

  function follow(from: LinearLayer): Edge | string {
    if (isShared(g, from)) return 'its weight is shared'
    const kept = unscalable(from)
    if (kept !== undefined) return kept
    const between: Node[] = []
    let bound: Bound | undefined
    for (let id = from.node.outputs[0] as string; ; ) {
      const next = soleConsumer(model.graph, id)
      if (!next) return whyNot(model, id)
      if (isLinear(g, next)) return joined(from, next, id, between, bound)
      const clip = boundOf(g, next)
      if (clip && bound) return 'two Clips follow'
      if (!clip && !(passesFactor(next) && next.inputs[0] === id && keepsChannels(model, from, next)))
        return `${opName(next)} follows, which a factor does not pass`
      bound ??= clip
      between.push(next)
      id = next.outputs[0] as string
    }
  }

  function joined(
    from: LinearLayer,
    next: Node,
    id: string,
    between: readonly Node[],
    bound: Bound | undefined
  ): Edge | string {
    const to = linearLayer(next, g)
    if (to === undefined || typeof to === 'string') return `the weight of ${next.name} is not a constant of known form`
    if (to.isTurned) return `${next.name} transposes it`
    if (next.inputs[0] !== id) return `${next.name} reads it as something else than its data`
    if (isShared(g, to)) return `the weight of ${next.name} is shared`
    if (unscalable(to) !== undefined) return `${next.name} follows, and ${unscalable(to)}`
    if (from.axis !== to.axis || from.outChannels !== to.inChannels) return `${next.name} has other channels`
    return { from, to, between, channels: from.outChannels, ...(bound ? { bound } : {}) }
  }
}

/** A linear layer of floats. */
function isLinear(g: GraphView, node: Node): boolean {
  const weight = linearOf(g, node)?.weight
  const dtype = weight === undefined ? undefined : g.value(node.inputs[weight] ?? '')?.dtype
  return dtype !== undefined && isFloat(dtype)
}

function whyNot(model: Model, id: string): string {
  if (isOutput(model.graph, id)) return 'its output is an output of the graph'
  const n = consumers(model.graph, id).length
  return n === 0 ? 'nothing reads its output' : `${n} nodes read its output`
}

/** A clamp to [0, high]; without an upper bound a factor passes it as it is. */
function boundOf(g: GraphView, node: Node): Bound | undefined {
  const clamp = clampOf(g, node)
  const isBounded = clamp?.low === 0 && clamp.high > 0 && !passesFactor(node)
  return isBounded ? { node, high: clamp.high } : undefined
}

/** Does the axis of the layer's channels go through by itself? */
function keepsChannels(model: Model, from: LinearLayer, node: Node): boolean {
  const view = viewOf(model, model.graph, node)
  const [before, after] = [view.inputs[0]?.shape, view.outputs[0]?.shape]
  if (!before || before.length !== after?.length) return false
  const axis = before.length + from.axis
  const links = opFor(node)?.channels?.(view) ?? []
  return links.some(({ spans }) =>
    ['input', 'output'].every((of) => spans.some((s) => s.of === of && s.at === 0 && s.axis === axis))
  )
}
