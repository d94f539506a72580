/** A graph with some operators of a region in the region's order, and Transposes where the two orders meet. */

import { attrs as makeAttrs } from '../ir/attrs.ts'
import { type Draft, editGraph } from '../ir/edit.ts'
import { graphView } from '../ir/graph.ts'
import { followedBy, inverse, isIdentity, permuteTensor, sameOrder } from '../ir/order.ts'
import type { Attrs, Dim, Graph, Node, Value } from '../types.ts'
import { orderOf, type Region, reachedOrder } from './layout-region.ts'
import { absorbing } from './layout-rows.ts'
import type { Order, Permuted } from './types.ts'

/** `moved`: the operators of the region that compute in its order. `taken`: ids that new ones avoid. */
export const turn = (graph: Graph, region: Region, moved: ReadonlySet<Node>, taken: Set<string>): Graph =>
  editGraph(graph, (draft) => new Turn(graph, draft, region, moved).run(), taken)

class Turn {
  private readonly g
  private readonly turned = new Map<string, string>()
  /** Outputs of Transposes that are gone, and what is read in their place. */
  private readonly gone: (readonly [from: string, to: string])[] = []

  constructor(
    private readonly graph: Graph,
    private readonly draft: Draft,
    private readonly region: Region,
    private readonly moved: ReadonlySet<Node>
  ) {
    this.g = graphView(graph)
  }

  run(): void {
    for (const node of this.graph.nodes) {
      const permuted = this.moved.has(node) ? this.region.nodes.get(node) : undefined
      if (permuted) this.move(node, permuted)
      else this.read(node)
    }
    const renamed = new Map<string, string>()
    for (const [from, to] of this.gone) {
      const now = renamed.get(to) ?? to
      const isNamed = this.draft.isOutput(from) && !this.draft.isOutput(now) && this.draft.producer(now) !== undefined
      this.draft.rewire(from, now)
      if (isNamed) renamed.set(to, from)
    }
    this.draft.sweep()
  }

  /** The node in the region's order. */
  private move(node: Node, permuted: Permuted): void {
    const inputs = node.inputs.map((id, i) => {
      if (id === null) return null
      const order = permuted.inputs[i]
      const constant = this.g.constant(id)
      const given = permuted.constants?.[i] ?? (constant && order && permuteTensor(constant, order))
      if (given) return this.constant(id, given)
      return order ? this.inOrder(id) : id
    })
    const more = Object.entries(permuted.constants ?? {}).filter(([i]) => node.inputs[Number(i)] == null)
    for (const [i, data] of more) {
      while (inputs.length <= Number(i)) inputs.push(null)
      inputs[Number(i)] = this.draft.addConstant(data, `${node.name}_${i}`)
    }
    const outputs = node.outputs.map((id, i) => (permuted.outputs[i] ? this.outputInOrder(id) : id))
    const attrs: Attrs = { ...node.attrs, ...makeAttrs(permuted.attrs ?? {}) }
    this.draft.replace(node, { ...node, inputs, outputs, attrs })
  }

  /** A constant in place of another, under its name where no other node reads that. */
  private constant(id: string, data: NonNullable<Value['data']>): string {
    const old = this.graph.values.get(id) as Value
    if (this.g.consumers(id).length > 1 || this.g.isOutput(id)) {
      return this.draft.addConstant(data, id, old.form === undefined ? {} : { form: old.form })
    }
    this.draft.set({ ...old, shape: data.shape, data })
    return id
  }

  /** A value of the region in the region's order. */
  private inOrder(id: string): string {
    const known = this.turned.get(id)
    if (known !== undefined) return known
    const order = this.region.orders.get(id) as Order
    const maker = this.g.producer(id)
    const natural = reachedOrder(this.g, this.region, id)
    const there = this.g.consumers(id).find((c) => sameOrder(orderOf(c, this.g), order))
    const made =
      maker && natural
        ? this.transposed(maker.inputs[0] as string, followedBy(natural, order), id)
        : (there?.outputs[0] ?? this.transposed(id, order, id))
    this.turned.set(id, made)
    return made
  }

  /** A value in another order: itself where that is none. */
  private transposed(id: string, perm: Order, hint: string): string {
    if (isIdentity(perm)) return id
    const made = this.draft.add('Transpose', [id], { attrs: { perm }, name: `${hint}_transposed` })
    this.retype(made, id, perm)
    return made
  }

  /** What a moved node makes in place of a value; a Transpose makes the value itself where it is still wanted. */
  private outputInOrder(id: string): string {
    const order = this.region.orders.get(id) as Order
    if (!this.isWantedAsWas(id, order)) {
      this.retype(id, id, order)
      this.turned.set(id, id)
      return id
    }
    const made = this.draft.fresh(`${id}_turned`)
    this.draft.add('Transpose', [made], { attrs: { perm: inverse(order) }, outputs: [id], name: `${id}_transposed` })
    this.retype(made, id, order)
    this.turned.set(id, made)
    return made
  }

  private isWantedAsWas(id: string, order: Order): boolean {
    if (this.g.isOutput(id)) return true
    return this.g.consumers(id).some((c) => {
      if (orderOf(c, this.g)) return false
      if (!this.moved.has(c)) return !absorbing(this.g, c, id, order)
      return !c.inputs.every((input, i) => input !== id || this.region.nodes.get(c)?.inputs[i])
    })
  }

  /** A node that stays as it is, and may read what a moved node makes. */
  private read(node: Node): void {
    const [x] = node.inputs
    const maker = x == null ? undefined : this.g.producer(x)
    const order = x == null ? undefined : this.region.orders.get(x)
    const own = orderOf(node, this.g)
    if (x == null || !order) return
    if (maker && this.moved.has(maker)) {
      if (own) this.compose(node, this.inOrder(x), followedBy(inverse(order), own))
      else absorbing(this.g, node, x, order)?.(this.draft, this.inOrder(x))
    } else if (reachedOrder(this.g, this.region, x)) {
      const natural = reachedOrder(this.g, this.region, x) as Order
      if (own) this.compose(node, maker?.inputs[0] as string, followedBy(natural, own))
      else if (isIdentity(followedBy(natural, order))) absorbing(this.g, node, x, order)?.(this.draft, this.inOrder(x))
    }
  }

  private compose(node: Node, x: string, perm: Order): void {
    if (isIdentity(perm)) {
      this.draft.remove(node)
      this.gone.push([node.outputs[0] as string, x])
    } else this.draft.replace(node, { ...node, inputs: [x], attrs: makeAttrs({ perm }) })
  }

  private retype(id: string, from: string, order: Order): void {
    const old = this.graph.values.get(from)
    if (!old) return
    const shape = old.shape && [...Array<Dim>(Math.max(0, order.length - old.shape.length)).fill(1), ...old.shape]
    this.draft.set({ ...old, id, ...(shape ? { shape: order.map((a) => shape[a] as Dim) } : {}) })
  }
}
