/**
 * Transposes moved through the operators between them until they meet and cancel, as in graphs that put one on either side of
 * every convolution. From a Transpose, the values are gathered that its order reaches through operators with the facet
 * `permute`; which of these operators compute in that order and which in their own is the labelling with the fewest
 * Transposes left, and with the fewest elements in them: a minimum cut. Nothing is changed that does not leave fewer.
 */
import { cheapestSides, type Link, type Side } from '../base/min-cut.ts'
import { mapGraphs, takenIds } from '../ir/edit.ts'
import { type GraphView, graphView } from '../ir/graph.ts'
import { followedBy, inverse, isIdentity, sameOrder } from '../ir/order.ts'
import type { Graph, Model, Node, Value } from '../types.ts'
import { inferShapes } from './infer.ts'
import { turn } from './layout-apply.ts'
import { grow, orderOf, type Region, reachedOrder } from './layout-region.ts'
import { absorbing } from './layout-rows.ts'
import type { Order } from './types.ts'

/** The very same model where no Transpose can be saved. What is left has its types inferred. */
export function moveTransposes(model: Model): Model {
  if (!model.graph.nodes.some((n) => n.op === 'Transpose')) return model
  const typed = inferShapes(model)
  const taken = takenIds(typed)
  const moved = mapGraphs(typed, (graph) => movedIn(graph, taken))
  return moved === typed ? model : moved
}

function movedIn(graph: Graph, taken: Set<string>): Graph {
  let now = graph
  for (let before: Graph | undefined; before !== now; ) {
    before = now
    for (const t of now.nodes) {
      const order = orderOf(t, graphView(now))
      const [x] = t.inputs
      if (!order || x == null || !now.nodes.includes(t)) continue
      now = tried(now, t.outputs[0] as string, inverse(order), taken)
      if (now.nodes.includes(t)) now = tried(now, x, order, taken)
    }
  }
  return now
}

/** The graph with the operators around a value in a new order, where that leaves less to transpose. */
function tried(graph: Graph, seed: string, order: Order, taken: Set<string>): Graph {
  const g = graphView(graph)
  const region = grow(g, seed, order)
  const moved = cheapest(g, region)
  if (moved.size === 0 && !orderOf(g.producer(seed), g)) return graph
  const made = turn(graph, region, moved, taken)
  const [was, is] = [work(graph), work(made)]
  return is.count < was.count || (is.count === was.count && is.elements < was.elements) ? made : graph
}

/** Transposes of a graph, and the elements that they move. */
function work(graph: Graph): { readonly count: number; readonly elements: number } {
  let [count, elements] = [0, 0]
  for (const n of graph.nodes) {
    if (n.op !== 'Transpose') continue
    count++
    elements += elementsOf(graph.values.get(n.outputs[0] as string))
  }
  return { count, elements }
}

/** Elements as far as sizes are numbers. */
const elementsOf = (v: Value | undefined): number =>
  (v?.shape ?? []).reduce<number>((n, d) => n * (typeof d === 'number' ? d : 1), 1)

/** Dearer than any number of Transposes. */
const never = 1e9
/** The nodes of the cut that stand for what is in its own order in any case, and for what is in the new one. */
const [old, made] = [0, 1]

/** The operators of a region that are cheapest in the new order. */
function cheapest(g: GraphView, region: Region): ReadonlySet<Node> {
  const nodes = [...region.nodes.keys()]
  const index = new Map(nodes.map((n, i) => [n, i + 2]))
  const sides: Side[] = [
    { first: 0, second: never },
    { first: never, second: 0 },
    ...nodes.map(() => ({ first: 0, second: 0 }))
  ]
  const links: Link[] = []
  const all = [...region.orders.keys()].reduce((n, id) => n + elementsOf(g.value(id)), 1)
  const fresh = (): number => sides.push({ first: 0, second: 0 }) - 1
  /** Pays once when `from` is on the first side and any of `to` on the second. */
  const paysForward = (from: number, to: readonly number[], cost: number): void => {
    const any = fresh()
    links.push({ a: from, b: any, cost, back: 0 })
    for (const b of to) links.push({ a: any, b, cost: never, back: 0 })
  }
  /** Pays once when any of `from` is on the first side and `to` on the second. */
  const paysBack = (from: readonly number[], to: number, cost: number): void => {
    const any = fresh()
    links.push({ a: any, b: to, cost, back: 0 })
    for (const a of from) links.push({ a, b: any, cost: never, back: 0 })
  }
  for (const [id, order] of region.orders) {
    const cost = 1 + elementsOf(g.value(id)) / all / 2
    const wants = wantsOf(g, region, id, order, index)
    const maker = g.producer(id)
    const natural = reachedOrder(g, region, id)
    const isTurned = natural && isIdentity(followedBy(natural, order))
    const from = isTurned ? made : ((maker && index.get(maker)) ?? old)
    paysForward(natural && !isTurned ? old : from, wants, cost)
    paysBack(wants, natural && !isTurned ? made : from, cost)
  }
  const found = cheapestSides(sides, links)
  return new Set(nodes.filter((n) => found[index.get(n) as number]))
}

/** In which order the readers of a value want it, as nodes of the cut; readers that take either want nothing. */
function wantsOf(
  g: GraphView,
  region: Region,
  id: string,
  order: Order,
  index: ReadonlyMap<Node, number>
): readonly number[] {
  const wants = g.consumers(id).flatMap((c) => {
    const own = orderOf(c, g)
    if (own) return sameOrder(own, order) ? [made] : []
    const p = region.nodes.get(c)
    if (p && c.inputs.every((input, i) => input !== id || p.inputs[i])) return [index.get(c) as number]
    return absorbing(g, c, id, order) ? [] : [old]
  })
  return g.isOutput(id) ? [...wants, old] : wants
}
