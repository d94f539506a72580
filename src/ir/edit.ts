/** Changing a model: one draft, opened and closed once. What is not touched is shared with the old model. */
import { assert } from '../base/errors.ts'
import type { Attr, AttrInput, Attrs, Form, Graph, Model, Node, Tensor, Value, ValueType } from '../types.ts'
import { attrs as makeAttrs } from './attrs.ts'
import { allGraphs, captures, type GraphView, reads, sortNodes } from './graph.ts'

export interface AddOptions {
  readonly attrs?: Readonly<Record<string, AttrInput | undefined>>
  readonly domain?: string
  /** Ids of the outputs; by default one fresh id made from the node's name. */
  readonly outputs?: readonly string[]
  readonly name?: string
  /** Type of the first output, if known. */
  readonly type?: ValueType
}

/** A graph under change. Queries see the changes made so far; nodes keep their identity until replaced. */
export interface Draft extends GraphView {
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  nodes(): readonly Node[]
  /** An id that no graph of the model uses. */
  fresh(hint: string): string
  /** Adds a node; returns the id of its first output. Order does not matter. */
  add(op: string, inputs: readonly (string | null)[], o?: AddOptions): string
  addNode(node: Node): Node
  addConstant(data: Tensor, hint: string, o?: { readonly form?: Form }): string
  replace(old: Node, made: Node): Node
  remove(node: Node): void
  /** Changes or adds an entry of the value table. */
  set(value: Value): void
  /**
   * Everything that read `from` reads `to`. Where `from` is a graph output the name is kept: `to`'s producer makes
   * `from` instead, or an Identity is added when it cannot. Whatever made `from` must have been removed before.
   */
  rewire(from: string, to: string): void
  setInputs(ids: readonly string[]): void
  setOutputs(ids: readonly string[]): void
  /** Removes nodes whose outputs nothing reads. `keep`: nodes with an effect of their own. */
  sweep(keep?: (node: Node) => boolean): void
}

/** Edits the outermost graph. Returns the very same model when nothing changed. */
export function edit(model: Model, change: (draft: Draft) => void): Model {
  const graph = editGraph(model.graph, change, takenIds(model))
  return graph === model.graph ? model : { ...model, graph }
}

/** Every id in use in a model's graphs; what `fresh` avoids. */
export function takenIds(model: Model): Set<string> {
  const taken = new Set<string>()
  for (const g of allGraphs(model)) {
    for (const id of g.values.keys()) taken.add(id)
    for (const id of g.inputs) taken.add(id)
    for (const n of g.nodes) {
      taken.add(n.name)
      for (const id of n.outputs) taken.add(id)
    }
  }
  return taken
}

/**
 * Rewrites every graph of a model, innermost first. `change` gets a graph whose subgraphs are rewritten already and
 * those around it, outermost first. Returns the very same model when every call returned its graph.
 */
export function mapGraphs(model: Model, change: (graph: Graph, around: readonly Graph[]) => Graph): Model {
  const walk = (graph: Graph, around: readonly Graph[]): Graph => {
    let nodes: Node[] | undefined
    for (const [i, n] of graph.nodes.entries()) {
      const made = mapSubgraphs(n, (g) => walk(g, [...around, graph]))
      if (made !== n) {
        nodes ??= [...graph.nodes]
        nodes[i] = made
      }
    }
    return change(nodes ? { ...graph, nodes } : graph, around)
  }
  const graph = walk(model.graph, [])
  return graph === model.graph ? model : { ...model, graph }
}

/** A node with its subgraphs rewritten; the very same node when none changed. */
export function mapSubgraphs(node: Node, change: (graph: Graph) => Graph): Node {
  let made: Record<string, Attr> | undefined
  for (const [name, a] of Object.entries(node.attrs)) {
    if (a.kind === 'graph') {
      const g = change(a.value)
      if (g !== a.value) made = { ...(made ?? node.attrs), [name]: { kind: 'graph', value: g } }
    } else if (a.kind === 'graphs') {
      const all = a.value.map(change)
      if (all.some((g, i) => g !== a.value[i]))
        made = { ...(made ?? node.attrs), [name]: { kind: 'graphs', value: all } }
    }
  }
  return made ? { ...node, attrs: made } : node
}

/** Edits one graph; `taken` are the ids that fresh ones must avoid, and grows by them. */
export function editGraph(graph: Graph, change: (draft: Draft) => void, taken: Set<string>): Graph {
  const state = new State(graph, taken)
  change(state)
  return state.close()
}

class State implements Draft {
  inputs: readonly string[]
  outputs: readonly string[]
  private readonly before: Graph
  private readonly taken: Set<string>
  private readonly values: Map<string, Value>
  private readonly all: Set<Node>
  /** Where a replaced node stood, so that order is kept where it is free. */
  private readonly place = new Map<Node, number>()
  private readonly made = new Map<string, Node>()
  private readonly readers = new Map<string, Set<Node>>()
  private changed = false

  constructor(graph: Graph, taken: Set<string>) {
    this.before = graph
    this.taken = taken
    this.inputs = graph.inputs
    this.outputs = graph.outputs
    this.values = new Map(graph.values)
    this.all = new Set(graph.nodes)
    for (const [i, n] of graph.nodes.entries()) {
      this.place.set(n, i)
      this.link(n)
    }
  }

  nodes = (): readonly Node[] => [...this.all]
  value = (id: string): Value | undefined => this.values.get(id)
  producer = (id: string): Node | undefined => this.made.get(id)
  consumers = (id: string): readonly Node[] => [...(this.readers.get(id) ?? [])]
  isOutput = (id: string): boolean => this.outputs.includes(id)

  constant(id: string | null | undefined): Tensor | undefined {
    return id == null || this.inputs.includes(id) ? undefined : this.values.get(id)?.data
  }

  soleConsumer(id: string): Node | undefined {
    const all = this.readers.get(id)
    return all?.size === 1 && !this.isOutput(id) ? [...all][0] : undefined
  }

  fresh(hint: string): string {
    let id = hint
    for (let i = 1; this.taken.has(id) || id === ''; i++) id = `${hint}_${i}`
    this.taken.add(id)
    return id
  }

  add(op: string, inputs: readonly (string | null)[], o: AddOptions = {}): string {
    const name = this.fresh(o.name ?? `${op}_${o.outputs?.[0] ?? inputs[0] ?? ''}`)
    const outputs = o.outputs ?? [this.fresh(`${name}_out`)]
    const attrs: Attrs = makeAttrs(o.attrs ?? {})
    this.addNode({ name, op, ...(o.domain === undefined ? {} : { domain: o.domain }), inputs, outputs, attrs })
    const first = outputs[0] as string
    if (o.type) this.set({ ...o.type, id: first })
    return first
  }

  addNode(node: Node): Node {
    this.changed = true
    this.all.add(node)
    this.place.set(node, this.place.get(node) ?? this.latest(node))
    this.link(node)
    for (const id of node.outputs) {
      this.taken.add(id)
      if (id && !this.values.has(id)) this.values.set(id, { id, type: 'tensor' })
    }
    return node
  }

  addConstant(data: Tensor, hint: string, o: { readonly form?: Form } = {}): string {
    const id = this.fresh(hint)
    this.set({ id, type: 'tensor', dtype: data.dtype, shape: data.shape, data, ...o })
    return id
  }

  replace(old: Node, made: Node): Node {
    if (old === made) return made
    assert(this.all.has(old), `replacing ${old.name}, which is not in the graph`)
    this.place.set(made, this.place.get(old) ?? 0)
    this.remove(old)
    return this.addNode(made)
  }

  remove(node: Node): void {
    if (!this.all.delete(node)) return
    this.changed = true
    for (const id of node.outputs) if (this.made.get(id) === node) this.made.delete(id)
    for (const id of reads(node)) this.readers.get(id)?.delete(node)
  }

  set(value: Value): void {
    this.changed = true
    this.taken.add(value.id)
    this.values.set(value.id, value)
  }

  rewire(from: string, to: string): void {
    assert(!this.made.has(from), `rewiring ${from} while it is still made`)
    if (!this.isOutput(from)) {
      this.substitute(from, to)
      return
    }
    this.changed = true
    const maker = this.made.get(to)
    if (!maker || this.isOutput(to)) {
      this.substitute(from, to)
      this.add('Identity', [to], { outputs: [from], name: `Identity_${from}` })
      return
    }
    const type = this.values.get(to)
    this.replace(maker, { ...maker, outputs: maker.outputs.map((id) => (id === to ? from : id)) })
    this.substitute(to, from)
    if (type?.shape && !this.values.get(from)?.shape) this.set({ ...type, id: from })
  }

  setInputs(ids: readonly string[]): void {
    this.changed = true
    this.inputs = ids
  }

  setOutputs(ids: readonly string[]): void {
    this.changed = true
    this.outputs = ids
  }

  sweep(keep: (node: Node) => boolean = () => false): void {
    const queue = [...this.all]
    for (let n = queue.pop(); n; n = queue.pop()) {
      if (!this.all.has(n) || keep(n)) continue
      if (n.outputs.some((id) => id && (this.isOutput(id) || (this.readers.get(id)?.size ?? 0) > 0))) continue
      const from = reads(n).flatMap((id) => this.made.get(id) ?? [])
      this.remove(n)
      for (const maker of from) queue.push(maker)
    }
  }

  close(): Graph {
    if (!this.changed) return this.before
    const ordered = [...this.all].sort((a, b) => (this.place.get(a) ?? 0) - (this.place.get(b) ?? 0))
    const nodes = sortNodes(this.remarked(ordered), this.before.name)
    const used = new Set<string>([...this.inputs, ...this.outputs])
    for (const n of nodes) {
      for (const id of reads(n)) used.add(id)
      for (const id of n.outputs) used.add(id)
    }
    for (const id of [...this.values.keys()]) if (!used.has(id)) this.values.delete(id)
    return { ...this.before, inputs: this.inputs, outputs: this.outputs, nodes, values: this.values }
  }

  /** What makes a value in place of a node that is gone takes over its remarks. */
  private remarked(nodes: readonly Node[]): readonly Node[] {
    const kept = new Set(nodes.map((n) => n.remarks))
    const lost = this.before.nodes.filter((n) => n.remarks && !kept.has(n.remarks))
    if (lost.length === 0) return nodes
    const byOutput = new Map(lost.flatMap((n) => n.outputs.map((id) => [id, n.remarks] as const)))
    return nodes.map((n) => {
      const remarks = n.remarks ?? n.outputs.map((id) => byOutput.get(id)).find(Boolean)
      return remarks === n.remarks || remarks === undefined ? n : { ...n, remarks }
    })
  }

  private substitute(from: string, to: string): void {
    for (const n of this.consumers(from)) this.replace(n, renameReads(n, from, to))
  }

  private link(node: Node): void {
    for (const id of node.outputs) if (id) this.made.set(id, node)
    for (const id of reads(node)) {
      const set = this.readers.get(id)
      if (set) set.add(node)
      else this.readers.set(id, new Set([node]))
    }
  }

  /** A new node goes right behind what it reads. */
  private latest(node: Node): number {
    let at = -1
    for (const id of reads(node)) {
      const n = this.made.get(id)
      if (n) at = Math.max(at, this.place.get(n) ?? 0)
    }
    return at + 0.5
  }
}

/** The node reading `to` wherever it read `from`, captured reads included. */
export function renameReads(node: Node, from: string, to: string): Node {
  const inputs = node.inputs.map((id) => (id === from ? to : id))
  return mapSubgraphs({ ...node, inputs }, (g) => {
    if (!captures(g).includes(from)) return g
    return {
      ...g,
      outputs: g.outputs.map((id) => (id === from ? to : id)),
      nodes: g.nodes.map((n) => renameReads(n, from, to))
    }
  })
}
