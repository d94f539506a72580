/**
 * Constant folding. What to fold is decided here, from inferred types; the numbers come from the Runner. A group of
 * nodes that hang together is folded only if its results take no more bytes than the constants that go with it, save for
 * a little: never longer than what the nodes themselves took in the file. So weights stored small and expanded by nodes
 * (Cast, Expand, Tile, a palette's Gather) stay as they are. DequantizeLinear and QuantizeLinear always do.
 */

import { PareError } from '../../base/errors.ts'
import { subgraphs } from '../../ir/attrs.ts'
import { editGraph, mapSubgraphs } from '../../ir/edit.ts'
import { allGraphs, constant, consumers, isOutput, producer } from '../../ir/graph.ts'
import { byteLength, elementCount, tensorBytes } from '../../ir/tensor.ts'
import { opFor } from '../../ops/index.ts'
import { viewOf } from '../../ops/infer.ts'
import { isRounding } from '../../ops/quantized.ts'
import type { Graph, Model, Node, Tensor, Value } from '../../types.ts'
import type { Context } from '../types.ts'

/** Nodes to fold together, and those of their results that others read. */
export interface Group {
  readonly nodes: readonly Node[]
  readonly results: readonly string[]
}

/** Bytes that a node takes in a file at least, and the most that folding a group may add. */
const nodeBytes = 128
const maxGrowthBytes = 1024
const maxMacs = 1e9

/**
 * Folds what can be folded in all graphs of a model with inferred types. No result above `maxBytes`, nor all of a graph
 * above four times that. `failed` holds nodes that the runtime could not compute; they are refused once, then left out.
 */
export async function foldConstants(
  model: Model,
  maxBytes: number,
  failed: Set<string>,
  ctx: Pick<Context, 'engine' | 'refuse'>
): Promise<Model> {
  const folded = new Map<Graph, ReadonlyMap<string, Tensor>>()
  const visit = async (graph: Graph, around: readonly Graph[]): Promise<void> => {
    const groups = planFold(model, graph, around, maxBytes, failed)
    if (groups.length > 0) folded.set(graph, await compute(model, [...around, graph], groups, failed, ctx))
    for (const node of graph.nodes) for (const [, sub] of subgraphs(node)) await visit(sub, [...around, graph])
  }
  await visit(model.graph, [])
  if ([...folded.values()].every((results) => results.size === 0)) return model
  const apply = (graph: Graph): Graph => {
    const nodes = graph.nodes.map((n) => mapSubgraphs(n, apply))
    const inner = nodes.every((n, i) => n === graph.nodes[i]) ? graph : { ...graph, nodes }
    return replaceByConstants(inner, folded.get(graph) ?? new Map())
  }
  return { ...model, graph: apply(model.graph) }
}

function replaceByConstants(graph: Graph, results: ReadonlyMap<string, Tensor>): Graph {
  if (results.size === 0) return graph
  const makers = new Set([...results.keys()].flatMap((id) => producer(graph, id) ?? []))
  return editGraph(
    graph,
    (draft) => {
      for (const node of makers) draft.remove(node)
      for (const [id, data] of results) draft.set({ id, type: 'tensor', dtype: data.dtype, shape: data.shape, data })
      draft.sweep()
    },
    new Set()
  )
}

// ---------------------------------------------------------------- what to fold

/** Groups of one graph that are worth folding; the graph's types must be inferred. */
export function planFold(
  model: Model,
  graph: Graph,
  around: readonly Graph[],
  maxBytes: number,
  failed: ReadonlySet<string>
): Group[] {
  const graphs = [...around, graph]
  const foldable = new Set<Node>()
  let budget = 4 * maxBytes
  for (const node of graph.nodes) {
    const bytes = failed.has(node.name) ? undefined : outputBytes(node, graph)
    if (bytes === undefined || bytes > maxBytes || bytes > budget || !isFixed(node, graphs, foldable)) continue
    if (!isCheap(model, graph, node)) continue
    foldable.add(node)
    budget -= bytes
  }
  const isWorthIt = worthOf(model, graph, graphs)
  return connected(graph, foldable).flatMap((nodes) => {
    const group = groupOf(nodes, graph)
    if (isWorthIt(group)) return [group]
    return nodes
      .filter((n) => n.inputs.every((id) => id === null || !foldable.has(producer(graph, id) as Node)))
      .map((n) => groupOf([n], graph))
      .filter(isWorthIt)
  })
}

/** Bytes of all outputs; `undefined` where one is unknown, no tensor of numbers, or leaves the graph. */
function outputBytes(node: Node, graph: Graph): number | undefined {
  let sum = 0
  for (const id of node.outputs) {
    if (id === '') continue
    const v = graph.values.get(id)
    if (v?.type !== 'tensor' || !v.dtype || v.dtype === 'string' || isOutput(graph, id)) return undefined
    if (!v.shape?.every((d): d is number => typeof d === 'number')) return undefined
    sum += byteLength(v.dtype, elementCount(v.shape))
  }
  return sum
}

/** Does the node always compute the same? */
function isFixed(node: Node, graphs: readonly Graph[], foldable: ReadonlySet<Node>): boolean {
  const op = opFor(node)
  if (!op || op.impure || isRounding(node) || subgraphs(node).length > 0) return false
  return node.inputs.every((id) => {
    if (id === null) return true
    const graph = holder(graphs, id)
    if (!graph) return false
    const maker = producer(graph, id)
    if (maker) return foldable.has(maker)
    const v = graph.values.get(id)
    const isPlain = v?.sparse === undefined && (v?.form === undefined || v.form === 'plain')
    return isPlain && constant(graph, id) !== undefined && v?.dtype !== 'string'
  })
}

/** The innermost graph that has a value. */
const holder = (graphs: readonly Graph[], id: string): Graph | undefined => graphs.findLast((g) => g.values.has(id))

function isCheap(model: Model, graph: Graph, node: Node): boolean {
  const cost = opFor(node)?.cost
  return cost === undefined || (cost(viewOf(model, graph, node)).macs ?? Number.POSITIVE_INFINITY) <= maxMacs
}

/** Parts of the foldable nodes that share no computed value. */
function connected(graph: Graph, foldable: ReadonlySet<Node>): Node[][] {
  const part = new Map<Node, Node[]>()
  for (const node of foldable) {
    let mine: Node[] = [node]
    for (const id of node.inputs) {
      const maker = id === null ? undefined : producer(graph, id)
      const other = maker && part.get(maker)
      if (!other || other === mine) continue
      for (const n of mine) {
        part.set(n, other)
        other.push(n)
      }
      mine = other
    }
    part.set(node, mine)
  }
  return [...new Set(part.values())]
}

function groupOf(nodes: readonly Node[], graph: Graph): Group {
  const inside = new Set(nodes)
  const isRead = (id: string): boolean => id !== '' && consumers(graph, id).some((n) => !inside.has(n))
  return { nodes, results: nodes.flatMap((n) => n.outputs.filter(isRead)) }
}

/** Do a group's results take no more than what goes with it, constants of the graphs around included? */
function worthOf(model: Model, graph: Graph, graphs: readonly Graph[]): (group: Group) => boolean {
  const readers = readersOf(model)
  const sizeOf = (v: Value | undefined): number =>
    v?.dtype && v.shape ? byteLength(v.dtype, elementCount(v.shape as readonly number[])) : 0
  return (group) => {
    const inside = new Set(group.nodes)
    let growth = 0
    for (const id of group.results) growth += sizeOf(graph.values.get(id))
    for (const id of new Set(group.nodes.flatMap((n) => n.inputs))) {
      const own = id === null ? undefined : holder(graphs, id)
      const data = own && constant(own, id)
      if (id !== null && data && readers.get(id)?.every((n) => n && inside.has(n))) growth -= tensorBytes(data)
    }
    return group.results.length > 0 && growth <= Math.min(maxGrowthBytes, nodeBytes * group.nodes.length)
  }
}

/** The nodes that read a value, in whatever graph, by id; `undefined` stands for a graph whose output it is. */
function readersOf(model: Model): ReadonlyMap<string, readonly (Node | undefined)[]> {
  const readers = new Map<string, (Node | undefined)[]>()
  const add = (id: string, node: Node | undefined): void => {
    const known = readers.get(id)
    if (known) known.push(node)
    else readers.set(id, [node])
  }
  for (const graph of allGraphs(model)) {
    for (const node of graph.nodes) for (const id of node.inputs) if (id !== null) add(id, node)
    for (const id of graph.outputs) add(id, undefined)
  }
  return readers
}

// ---------------------------------------------------------------- computing

/** Results of all groups in one run; where that fails, group by group. `graphs`: those around, then the graph itself. */
async function compute(
  model: Model,
  graphs: readonly Graph[],
  groups: readonly Group[],
  failed: Set<string>,
  ctx: Pick<Context, 'engine' | 'refuse'>
): Promise<ReadonlyMap<string, Tensor>> {
  const together = await attempt(model, graphs, groups, ctx)
  if (!(together instanceof PareError)) return together
  const out = new Map<string, Tensor>()
  for (const group of groups) {
    const results = groups.length === 1 ? together : await attempt(model, graphs, [group], ctx)
    if (results instanceof PareError) {
      for (const node of group.nodes) failed.add(node.name)
      ctx.refuse(group.nodes[0] as Node, `folding failed: ${results.message}`)
    } else for (const [id, data] of results) out.set(id, data)
  }
  return out
}

async function attempt(
  model: Model,
  graphs: readonly Graph[],
  groups: readonly Group[],
  ctx: Pick<Context, 'engine'>
): Promise<ReadonlyMap<string, Tensor> | PareError> {
  const cut = cutOut(model, graphs, groups)
  try {
    const session = await ctx.engine.open(cut, { optimization: 'disabled' })
    try {
      const results = await session.run({})
      return checked(cut.graph, results)
    } finally {
      await session.close()
    }
  } catch (error) {
    if (error instanceof PareError && error.code !== 'E_INTERNAL') return error
    throw error
  }
}

/** A model of the groups alone, without inputs. */
function cutOut(model: Model, graphs: readonly Graph[], groups: readonly Group[]): Model {
  const nodes = groups.flatMap((g) => g.nodes)
  const values = new Map<string, Value>()
  for (const id of nodes.flatMap((n) => [...n.inputs, ...n.outputs])) {
    const v = id ? holder(graphs, id)?.values.get(id) : undefined
    if (v) values.set(v.id, v)
  }
  const own = graphs.at(-1) as Graph
  const order = new Map(own.nodes.map((n, i) => [n, i]))
  const sorted = [...nodes].sort((a, b) => (order.get(a) ?? 0) - (order.get(b) ?? 0))
  const outputs = groups.flatMap((g) => g.results)
  return { ...model, graph: { name: 'constants', inputs: [], outputs, nodes: sorted, values }, meta: {} }
}

/** Results of the type that was inferred; anything else is not folded. */
function checked(graph: Graph, results: Readonly<Record<string, Tensor>>): ReadonlyMap<string, Tensor> | PareError {
  const out = new Map<string, Tensor>()
  for (const id of graph.outputs) {
    const [t, v] = [results[id], graph.values.get(id)]
    if (!t) return new PareError('E_RUN', `the runtime returned no ${id}`)
    if (t.dtype !== v?.dtype || t.shape.length !== v.shape?.length || t.shape.some((d, i) => d !== v.shape?.[i]))
      return new PareError('E_RUN', `${id} came as ${t.dtype}[${t.shape}], not as inferred`)
    out.set(id, t)
  }
  return out
}
