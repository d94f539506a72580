/**
 * Groups of linear layers that read the same value, and the nodes whose constants can divide that value by a factor per
 * channel.
 */
import { type GraphView, graphView } from '../../../ir/graph.ts'
import { elementCount } from '../../../ir/tensor.ts'
import { factorSets } from '../../../ops/ask.ts'
import { opFor } from '../../../ops/index.ts'
import type { Graph, Node } from '../../../types.ts'
import { type LinearLayer, linearLayer, unscalable } from '../../fuse/linear.ts'

/** Linear layers that read one value. */
export interface SmoothGroup {
  readonly x: string
  /** The channel axis, from the end. */
  readonly axis: number
  readonly rank: number
  readonly channels: number
  readonly readers: readonly LinearLayer[]
  /**
   * Outputs of the nodes whose constants take the factors, so that x comes out divided, in the order of the graph. Empty:
   * a Mul is inserted.
   */
  readonly fold: readonly string[]
}

/** All groups, in the order of the graph. Calls `refuse` for every layer that cannot be in one. */
export function smoothGroups(
  graph: Graph,
  isWanted: (node: Node) => boolean,
  refuse: (node: Node, reason: string) => void
): SmoothGroup[] {
  const g = graphView(graph)
  const byInput = new Map<string, LinearLayer[]>()
  for (const node of graph.nodes) {
    if (!opFor(node)?.linear || !isWanted(node)) continue
    const linear = readerOf(g, node)
    if (typeof linear === 'string') {
      refuse(node, linear)
      continue
    }
    const x = node.inputs[linear.linear.data]
    if (x != null) byInput.set(x, [...(byInput.get(x) ?? []), linear])
  }
  return [...byInput].flatMap(([x, readers]) => {
    const { inChannels: channels, axis } = readers[0] as LinearLayer
    const rank = g.value(x)?.shape?.length
    if (rank === undefined || readers.some((l) => l.axis !== axis || l.inChannels !== channels)) {
      for (const l of readers) refuse(l.node, 'the channels of its input are not known for sure')
      return []
    }
    return [{ x, axis, rank, channels, readers, fold: foldOf(g, x, readers, { axis, channels }) }]
  })
}

function readerOf(g: GraphView, node: Node): LinearLayer | string {
  const linear = linearLayer(node, g)
  if (linear === undefined) return 'its weight is not a constant matrix'
  if (typeof linear === 'string') return linear
  if (linear.isTurned) return 'it transposes its input'
  return unscalable(linear) ?? (isShared(g, linear) ? 'its weight is shared' : linear)
}

/** Does more than its layer have to do with the weight? */
export const isShared = (g: GraphView, { weight }: LinearLayer): boolean =>
  g.consumers(weight.id).length > 1 || g.isOutput(weight.id)

/** Channels of a value: their axis, counted from the end, and their number. */
interface Channels {
  readonly axis: number
  readonly channels: number
}

/**
 * The nodes whose constants can take the factors of x; empty where there are none, or where other nodes than `readers`
 * read x.
 */
function foldOf(g: GraphView, x: string, readers: readonly LinearLayer[], c: Channels): readonly string[] {
  if (g.isOutput(x) || g.consumers(x).length !== readers.length) return []
  return folds(g, x, c) ?? []
}

/**
 * The nodes whose constants, multiplied per channel, multiply the value `id`; the earlier nodes first. Either the linear
 * layer that makes the value, or a node with a set of inputs that carry a factor to its output (`homogeneous`): in that set,
 * constants with one number per channel are multiplied, and at most one other value, for which the same is asked.
 */
function folds(g: GraphView, id: string, c: Channels): readonly string[] | undefined {
  const node = g.producer(id)
  if (!node || node.outputs[0] !== id) return undefined
  const layer = linearLayer(node, g)
  if (layer && typeof layer !== 'string') {
    const fits = layer.outChannels === c.channels && layer.axis === c.axis && unscalable(layer) === undefined
    return fits && !isShared(g, layer) ? [id] : undefined
  }
  for (const set of factorSets(g, node)) {
    const given = set.filter((input) => node.inputs[input] != null)
    const vectors = given.filter((input) => isVector(g, node.inputs[input] as string, c))
    const [open, ...more] = given
      .filter((input) => !vectors.includes(input))
      .map((input) => node.inputs[input] as string)
    if (more.length > 0) continue
    if (open === undefined) return vectors.length > 0 && keeps(g, node, c) ? [id] : undefined
    const before = g.soleConsumer(open) && keeps(g, node, c, open) ? folds(g, open, c) : undefined
    if (before) return vectors.length > 0 ? [...before, id] : before
  }
  return undefined
}

/** Do the node's output and the value `from` both have these channels along this axis? */
const keeps = (g: GraphView, node: Node, { axis, channels }: Channels, from?: string): boolean =>
  [from, node.outputs[0]].every((id) => id === undefined || g.value(id)?.shape?.at(axis) === channels)

/** A constant with one number per channel of the last axis. */
function isVector(g: GraphView, id: string, { axis, channels }: Channels): boolean {
  const shape = g.constant(id)?.shape
  return axis === -1 && shape !== undefined && shape.at(-1) === channels && elementCount(shape) === channels
}

/** Input positions of the constants that are multiplied in a node that takes factors: those with one number per channel. */
export function vectorPlaces(g: GraphView, node: Node, channels: number): readonly number[] {
  const set = factorSets(g, node).find((all) =>
    all.some((i) => isVector(g, node.inputs[i] ?? '', { axis: -1, channels }))
  )
  return (set ?? []).filter((i) => isVector(g, node.inputs[i] ?? '', { axis: -1, channels }))
}
