/**
 * Multiply-accumulates of a model for one sample. Matrix products, convolutions and what is made of them count; data
 * movement and element-wise arithmetic count as none. What cannot be known makes the total unknown, never smaller.
 */
import { unknownDim } from '../base/dim.ts'
import { PareError } from '../base/errors.ts'
import { subgraphs } from '../ir/attrs.ts'
import { bind } from '../ir/bind.ts'
import type { Graph, Model, Node, Value } from '../types.ts'
import { opFor } from './index.ts'
import { inferNoted, viewOf } from './infer.ts'

export interface ModelCost {
  readonly total: number | undefined
  /** Also of the nodes inside subgraphs; 0 for those of branches that do not count, so that the sum is the total. */
  readonly byNode: ReadonlyMap<Node, number | undefined>
}

/** Shapes of inputs, by name. */
export type Shapes = Readonly<Record<string, readonly number[]>>

/**
 * MACs at the given shapes of inputs; of others with the first axis fixed to one where it is open; a batch that the file fixes counts whole. Of branches the heaviest
 * counts; one that contradicts itself at these shapes cannot be taken. Any other node with subgraphs costs nothing where
 * nothing in them does, and is unknown otherwise: how often they run is not. `undefined`: unknown.
 */
export function costOf(model: Model, shapes: Shapes = {}): ModelCost {
  const { model: single, broken } = inferredAt(model, shapes)
  const byNode = new Map<Node, number | undefined>()
  const total = graphCost({ model: single, broken, byNode }, single.graph, model.graph)
  return { total, byNode }
}

interface Counting {
  readonly model: Model
  /** Branches that cannot be taken. */
  readonly broken: ReadonlySet<Graph>
  readonly byNode: Map<Node, number | undefined>
}

/** `graph` holds the fixed shapes; `given` is the same graph as the caller knows it. */
function graphCost(c: Counting, graph: Graph, given: Graph): number | undefined {
  let total: number | undefined = 0
  for (const [i, node] of graph.nodes.entries()) {
    const original = given.nodes[i] as Node
    const macs = nodeCost(c, graph, node, original)
    // The work of branches is that of the nodes in them.
    c.byNode.set(original, opFor(node)?.branch && macs !== undefined ? 0 : macs)
    total = total === undefined || macs === undefined ? undefined : total + macs
  }
  return total
}

function nodeCost(c: Counting, graph: Graph, node: Node, given: Node): number | undefined {
  const inside = subgraphs(given)
  const graphs = subgraphs(node).map(([, g]) => g)
  const bodies = graphs.map((g, i) => graphCost(c, g, inside[i]?.[1] as Graph))
  const cost = opFor(node)?.cost
  if (cost) return cost(viewOf(c.model, graph, node)).macs
  const possible = bodies.filter((_, i) => !c.broken.has(graphs[i] as Graph))
  if (opFor(node)?.branch && possible.every((macs) => macs !== undefined)) {
    const most = Math.max(0, ...(possible as number[]))
    const taken = graphs.findIndex((g, i) => bodies[i] === most && !c.broken.has(g))
    for (const [i, [, g]] of inside.entries()) if (i !== taken) for (const n of nodesIn(g)) c.byNode.set(n, 0)
    return most
  }
  return bodies.length > 0 && bodies.every((macs) => macs === 0) ? 0 : undefined
}

const nodesIn = (graph: Graph): Node[] =>
  graph.nodes.flatMap((n) => [n, ...subgraphs(n).flatMap(([, g]) => nodesIn(g))])

/** With shapes where they do not contradict the graph. */
export function inferredAt(model: Model, shapes: Shapes): ReturnType<typeof inferNoted> {
  if (Object.keys(shapes).length > 0)
    try {
      return inferNoted(oneSample(sized(model, shapes)))
    } catch (e) {
      if (!(e instanceof PareError) || e.code !== 'E_SHAPE') throw e
    }
  return inferNoted(oneSample(model))
}

/** Inputs of the given shapes, and their symbols bound everywhere. */
function sized(model: Model, shapes: Shapes): Model {
  const symbols: Record<string, number> = {}
  const values = new Map(model.graph.values)
  for (const id of model.graph.inputs) {
    const [v, shape] = [values.get(id), shapes[id]]
    if (!v || !shape || (v.shape && v.shape.length !== shape.length)) continue
    for (const [i, d] of (v.shape ?? []).entries())
      if (typeof d === 'string' && d !== unknownDim) symbols[d] = shape[i] as number
    values.set(id, { ...v, shape })
  }
  return bind({ ...model, graph: { ...model.graph, values } }, symbols)
}

/** The first axis of every input fixed to one where it is a symbol, everywhere that symbol occurs, or unknown. */
function oneSample(model: Model): Model {
  const symbols: Record<string, number> = {}
  let values: Map<string, Value> | undefined
  for (const id of model.graph.inputs) {
    const v = model.graph.values.get(id)
    const [first, ...rest] = v?.shape ?? []
    if (!v || typeof first !== 'string') continue
    if (first !== unknownDim) symbols[first] = 1
    else {
      values ??= new Map(model.graph.values)
      values.set(id, { ...v, shape: [1, ...rest] })
    }
  }
  return bind(values ? { ...model, graph: { ...model.graph, values } } : model, symbols)
}
