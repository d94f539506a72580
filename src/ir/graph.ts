/** Queries on graphs. Indexes are made once per graph and remembered with it. */
import { PareError } from '../base/errors.ts'
import type { Known, NodeFacts } from '../ops/types.ts'
import type { Graph, Model, Node, Tensor, Value } from '../types.ts'
import { subgraphs } from './attrs.ts'

interface Index {
  readonly producer: ReadonlyMap<string, Node>
  readonly consumers: ReadonlyMap<string, readonly Node[]>
}

const indexes = new WeakMap<Graph, Index>()

function indexOf(graph: Graph): Index {
  const known = indexes.get(graph)
  if (known) return known
  const producer = new Map<string, Node>()
  const consumers = new Map<string, Node[]>()
  for (const node of graph.nodes) {
    for (const id of node.outputs) if (id) producer.set(id, node)
    for (const id of new Set(reads(node))) {
      const list = consumers.get(id)
      if (list) list.push(node)
      else consumers.set(id, [node])
    }
  }
  const made = { producer, consumers }
  indexes.set(graph, made)
  return made
}

/** Every value a node reads: its inputs and what its subgraphs capture. */
export function reads(node: Node): string[] {
  const out = node.inputs.filter((id): id is string => id !== null)
  for (const [, g] of subgraphs(node)) for (const id of captures(g)) out.push(id)
  return out
}

const captured = new WeakMap<Graph, readonly string[]>()

/** Values of the graphs around it that a subgraph reads. */
export function captures(graph: Graph): readonly string[] {
  const known = captured.get(graph)
  if (known) return known
  const own = new Set<string>(graph.inputs)
  for (const v of graph.values.values()) if (v.data) own.add(v.id)
  for (const n of graph.nodes) for (const id of n.outputs) own.add(id)
  const out = new Set<string>()
  for (const n of graph.nodes) for (const id of reads(n)) if (!own.has(id)) out.add(id)
  for (const id of graph.outputs) if (!own.has(id)) out.add(id)
  const made = [...out]
  captured.set(graph, made)
  return made
}

/** The node that makes a value; `undefined` for graph inputs, constants and captured values. */
export const producer = (graph: Graph, id: string): Node | undefined => indexOf(graph).producer.get(id)

/** Nodes that read a value, also from inside their subgraphs; in order, each once. Graph outputs are not among them. */
export const consumers = (graph: Graph, id: string): readonly Node[] => indexOf(graph).consumers.get(id) ?? []

export const isOutput = (graph: Graph, id: string): boolean => graph.outputs.includes(id)
export const isInput = (graph: Graph, id: string): boolean => graph.inputs.includes(id)

/** The only node that reads a value, if there is exactly one and it is not a graph output. */
export function soleConsumer(graph: Graph, id: string): Node | undefined {
  const all = consumers(graph, id)
  return all.length === 1 && !isOutput(graph, id) ? all[0] : undefined
}

/** The content of a constant; `undefined` for anything that may change, overridable defaults included. */
export function constant(graph: Graph, id: string | null | undefined): Tensor | undefined {
  if (id === null || id === undefined) return undefined
  const data = graph.values.get(id)?.data
  return data && !isInput(graph, id) ? data : undefined
}

/** Constants of the graph (not of its subgraphs) in table order. */
export function constants(graph: Graph): (Value & { readonly data: Tensor })[] {
  return [...graph.values.values()].filter(
    (v): v is Value & { readonly data: Tensor } => v.data !== undefined && !isInput(graph, v.id)
  )
}

/** All graphs of a model, the outermost first. */
export function allGraphs(model: Model): Graph[] {
  const out: Graph[] = []
  const walk = (g: Graph): void => {
    out.push(g)
    for (const n of g.nodes) for (const [, sub] of subgraphs(n)) walk(sub)
  }
  walk(model.graph)
  return out
}

/** Version of a node's domain in a model; 1 where the model does not say. */
export function opsetOf(model: Model, node: Pick<Node, 'domain'>): number {
  return node.domain === undefined ? model.opset : (model.domains[node.domain] ?? 1)
}

/** `Name`, or `domain:Name` outside the default domain. */
export const opName = (node: Pick<Node, 'op' | 'domain'>): string =>
  node.domain === undefined ? node.op : `${node.domain}:${node.op}`

/** The same name of an operator's record. */
export const recordName = ({ name, domain }: { readonly name: string; readonly domain?: string }): string =>
  opName({ op: name, ...(domain === undefined ? {} : { domain }) })

/** Nodes in dependency order, keeping the given order where it is free. Throws `E_MODEL` on a cycle. */
export function sortNodes(nodes: readonly Node[], name: string): readonly Node[] {
  const made = new Map<string, number>()
  for (const [i, n] of nodes.entries()) for (const id of n.outputs) if (id) made.set(id, i)
  const needs = nodes.map((n) => new Set(reads(n).flatMap((id) => made.get(id) ?? [])))
  if (needs.every((set, i) => [...set].every((j) => j < i))) return nodes
  const state = new Uint8Array(nodes.length)
  const out: Node[] = []
  for (let root = 0; root < nodes.length; root++) {
    const stack = [root]
    while (stack.length > 0) {
      const i = stack.at(-1) as number
      if (state[i] === 0) {
        state[i] = 1
        for (const j of [...(needs[i] as Set<number>)].sort((a, b) => b - a)) {
          if (state[j] === 1)
            throw new PareError('E_MODEL', `graph ${name} has a cycle`, { where: nodes[j]?.name ?? '' })
          if (state[j] === 0) stack.push(j)
        }
      } else {
        stack.pop()
        if (state[i] === 1) out.push(nodes[i] as Node)
        state[i] = 2
      }
    }
  }
  return out
}

/** What can be asked of a graph, finished or under change: a `Draft` is one. */
export interface GraphView {
  value(id: string): Value | undefined
  /** The content of a constant; `undefined` for anything that may change, overridable defaults included. */
  constant(id: string | null | undefined): Tensor | undefined
  producer(id: string): Node | undefined
  consumers(id: string): readonly Node[]
  /** The only node that reads a value that is no graph output. */
  soleConsumer(id: string): Node | undefined
  isOutput(id: string): boolean
}

/** A finished graph to ask. */
export const graphView = (graph: Graph): GraphView => ({
  value: (id) => graph.values.get(id),
  constant: (id) => constant(graph, id),
  producer: (id) => producer(graph, id),
  consumers: (id) => consumers(graph, id),
  soleConsumer: (id) => soleConsumer(graph, id),
  isOutput: (id) => isOutput(graph, id)
})

/** A node with what the graph's own table says of its inputs and outputs. */
export function factsOf(g: GraphView, node: Node): NodeFacts {
  const known = (id: string | null): Known | undefined => {
    const value = id ? g.value(id) : undefined
    if (!value?.data || g.constant(id)) return value
    const { data: _, ...type } = value
    return type
  }
  return { node, inputs: node.inputs.map(known), outputs: node.outputs.map(known) }
}
