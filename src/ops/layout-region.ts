/** The part of a graph that an order of axes reaches from one value. */
import { attrInts } from '../ir/attrs.ts'
import { factsOf, type GraphView } from '../ir/graph.ts'
import { isIdentity, sameOrder } from '../ir/order.ts'
import type { Node } from '../types.ts'
import { opFor } from './index.ts'
import type { End, Order, Permuted } from './types.ts'

/** Values with the order that they would have, and the operators between them in that order. */
export interface Region {
  readonly orders: ReadonlyMap<string, Order>
  readonly nodes: ReadonlyMap<Node, Permuted>
}

/** The order of a Transpose of known rank; `undefined` for any other node. */
export function orderOf(node: Node | undefined, g: GraphView): Order | undefined {
  if (node?.op !== 'Transpose' || node.domain !== undefined) return undefined
  const rank = g.value(node.inputs[0] ?? '')?.shape?.length
  return (
    attrInts(node, 'perm') ?? (rank === undefined ? undefined : Array.from({ length: rank }, (_, i) => rank - 1 - i))
  )
}

/** The order in which a Transpose gives a value of the region, where it reads none of the region. */
export function reachedOrder(g: GraphView, region: Region, id: string): Order | undefined {
  const maker = g.producer(id)
  return maker && region.orders.has(maker.inputs[0] ?? '') ? undefined : orderOf(maker, g)
}

/** All that `order` for the value `seed` reaches through operators that can follow it. */
export function grow(g: GraphView, seed: string, order: Order): Region {
  const orders = new Map<string, Order>([[seed, order]])
  const nodes = new Map<Node, Permuted>()
  const tied = new Set<Node>()
  const queue = [seed]
  for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
    for (const [node, end] of endsAt(g, id)) {
      if (nodes.has(node) || tied.has(node)) continue
      const found = opFor(node)?.permute?.(factsOf(g, node), orders.get(id) as Order, end)
      const permuted = found && withoutIdle(found)
      const reached = permuted && reachedBy(g, node, permuted, orders)
      if (!reached) {
        tied.add(node)
        continue
      }
      nodes.set(node, permuted)
      for (const [value, o] of reached) {
        if (!orders.has(value)) queue.push(value)
        orders.set(value, o)
      }
    }
  }
  return { orders, nodes }
}

/** An order that leaves all axes where they are is none. */
function withoutIdle(p: Permuted): Permuted {
  const real = (order: Order | undefined): Order | undefined => (order && isIdentity(order) ? undefined : order)
  return { ...p, inputs: p.inputs.map(real), outputs: p.outputs.map(real) }
}

/** The node that makes a value, and those that read it. */
function endsAt(g: GraphView, id: string): readonly (readonly [Node, End])[] {
  const maker = g.producer(id)
  const made = maker ? [[maker, { of: 'output', at: maker.outputs.indexOf(id) }] as const] : []
  const read = g.consumers(id).flatMap((c) => {
    const at = c.inputs.indexOf(id)
    return at < 0 ? [] : [[c, { of: 'input', at }] as const]
  })
  return [...made, ...read]
}

/** Values of a node with their orders; `undefined` where one contradicts what is reached already, or has too few axes. */
function reachedBy(
  g: GraphView,
  node: Node,
  permuted: Permuted,
  orders: ReadonlyMap<string, Order>
): ReadonlyMap<string, Order> | undefined {
  const found = new Map<string, Order>()
  const add = (id: string, order: Order): boolean => {
    const known = orders.get(id) ?? found.get(id)
    found.set(id, order)
    return (known === undefined || sameOrder(known, order)) && hasAxes(g, node, id, order)
  }
  for (const [i, id] of node.inputs.entries()) {
    const order = permuted.inputs[i]
    if (id === null || g.constant(id) || permuted.constants?.[i]) continue
    if (order && !add(id, order)) return undefined
  }
  for (const [i, id] of node.outputs.entries()) {
    const order = permuted.outputs[i]
    if (!id) continue
    if (order ? !add(id, order) : orders.has(id)) return undefined
  }
  return found
}

/** Has a value all the axes of an order, or is it made of constants, and for this node alone, so that it can get them? */
function hasAxes(g: GraphView, node: Node, id: string, order: Order): boolean {
  const rank = g.value(id)?.shape?.length
  if (rank === undefined || rank >= order.length) return rank === order.length
  const maker = g.producer(id)
  if (maker === node) return node.inputs.every((x) => x === null || g.constant(x))
  return (
    maker !== undefined &&
    g.soleConsumer(id) === node &&
    maker.inputs.every((x) => x === null || g.constant(x)) &&
    opFor(maker)?.permute?.(factsOf(g, maker), order, { of: 'output', at: 0 }) !== undefined
  )
}
