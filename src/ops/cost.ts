/**
 * Multiply-accumulates of a model for one sample. Matrix products, convolutions and what is made of them count; data
 * movement and element-wise arithmetic count as none. What cannot be known makes the total unknown, never smaller.
 */
import { unknownDim } from '../base/dim.ts'
import { subgraphs } from '../ir/attrs.ts'
import { bind } from '../ir/bind.ts'
import type { Graph, Model, Node, Value } from '../types.ts'
import { opFor } from './index.ts'
import { inferShapes, viewOf } from './infer.ts'

export interface ModelCost {
  readonly total: number | undefined
  /** Also of the nodes inside subgraphs. */
  readonly byNode: ReadonlyMap<Node, number | undefined>
}

/**
 * MACs with the first axis of every input fixed to one where it is open; a batch that the file fixes counts whole. A node with subgraphs costs nothing where
 * nothing in them does, and is unknown otherwise: how often they run is not. `undefined`: unknown.
 */
export function costOf(model: Model): ModelCost {
  const single = inferShapes(oneSample(model))
  const byNode = new Map<Node, number | undefined>()
  const total = graphCost(single, single.graph, model.graph, byNode)
  return { total, byNode }
}

/** `graph` holds the fixed shapes; `given` is the same graph as the caller knows it. */
function graphCost(
  model: Model,
  graph: Graph,
  given: Graph,
  byNode: Map<Node, number | undefined>
): number | undefined {
  let total: number | undefined = 0
  for (const [i, node] of graph.nodes.entries()) {
    const original = given.nodes[i] as Node
    const macs = nodeCost(model, graph, node, original, byNode)
    byNode.set(original, macs)
    total = total === undefined || macs === undefined ? undefined : total + macs
  }
  return total
}

function nodeCost(
  model: Model,
  graph: Graph,
  node: Node,
  given: Node,
  byNode: Map<Node, number | undefined>
): number | undefined {
  const inside = subgraphs(given)
  const bodies = subgraphs(node).map(([, g], i) => graphCost(model, g, inside[i]?.[1] as Graph, byNode))
  const cost = opFor(node)?.cost
  if (cost) return cost(viewOf(model, graph, node)).macs
  return bodies.length > 0 && bodies.every((macs) => macs === 0) ? 0 : undefined
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
