/**
 * Types and shapes through a whole model. Every node is asked once, in order, with what is known of its inputs; what a
 * file declares fills in what inference leaves open, and gives way where the two contradict. A graph inside a node is
 * inferred by that node's operator (`NodeView.inferGraph`), at most `maxCalls` times; beyond that it stays unknown.
 */
import { productDims, unknownDim } from '../base/dim.ts'
import { PareError } from '../base/errors.ts'
import { subgraphs } from '../ir/attrs.ts'
import { mapSubgraphs } from '../ir/edit.ts'
import { constant, isInput, opsetOf, producer } from '../ir/graph.ts'
import { tensor } from '../ir/tensor.ts'
import type { Dim, Graph, Model, Node, Tensor, Value, ValueType } from '../types.ts'
import { opFor } from './index.ts'
import { fail, maxContent } from './op.ts'
import type { Known, NodeView } from './types.ts'

const maxCalls = 16

type Facts = ReadonlyMap<string, Known>
type Lookup = (id: string) => Known | undefined

/** One walk through a model. `facts`: what was found last for each graph. `trust`: are declared types used at all? */
interface Run {
  readonly model: Model
  readonly trust: boolean
  readonly calls: Map<Graph, number>
  readonly facts: Map<Graph, Facts>
  /** Subgraphs that contradict themselves at the sizes around them, as they came and as they were filled. */
  readonly broken: Set<Graph>
}

/**
 * Fills the types in every graph's value table. The very same model when nothing new was found. Unknown operators make
 * unknown values. Throws `E_SHAPE` when operators contradict each other without the help of declared types.
 */
export function inferShapes(model: Model): Model {
  return inferNoted(model).model
}

/** The same, with the subgraphs of the result that contradict themselves: branches that cannot be taken at these sizes. */
export function inferNoted(model: Model): { readonly model: Model; readonly broken: ReadonlySet<Graph> } {
  const run = tryInfer(model, true) ?? (tryInfer(model, false) as Run)
  const graph = fill(run, model.graph)
  return { model: graph === model.graph ? model : { ...model, graph }, broken: run.broken }
}

/**
 * The same, where values that sizes determine are constants, and the nodes that compute only such are gone. Only of the outermost
 * graph. The very same model when there are none.
 */
export function settleShapes(model: Model): Model {
  const run = tryInfer(model, true) ?? (tryInfer(model, false) as Run)
  const graph = fill(run, model.graph)
  const facts = run.facts.get(model.graph)
  const values = new Map(graph.values)
  const settled = new Set<string>()
  for (const node of graph.nodes)
    for (const id of node.outputs) {
      const { dtype, shape, content } = facts?.get(id) ?? {}
      if (!dtype || !shape?.every(isSize) || !content?.every(isSize) || graph.outputs.includes(id)) continue
      values.set(id, { type: 'tensor', id, dtype, shape, data: tensor(dtype, shape, content) })
      settled.add(id)
    }
  if (settled.size === 0) return graph === model.graph ? model : { ...model, graph }
  const nodes = graph.nodes.filter((n) => !n.outputs.every((id) => id === '' || settled.has(id)))
  return { ...model, graph: { ...graph, values, nodes } }
}

const isSize = (d: Dim): d is number => typeof d === 'number'

/** A wrong declared type must not make a sound model fail: `undefined` where it may have. */
function tryInfer(model: Model, trust: boolean): Run | undefined {
  const run: Run = { model, trust, calls: new Map(), facts: new Map(), broken: new Set() }
  try {
    inferGraph(run, model.graph, undefined, () => undefined)
    return run
  } catch (e) {
    if (trust && e instanceof PareError && e.code === 'E_SHAPE') return undefined
    throw e
  }
}

function inferGraph(
  run: Run,
  graph: Graph,
  inputs: readonly (Known | undefined)[] | undefined,
  around: Lookup
): readonly (Known | undefined)[] {
  try {
    const outputs = inferNodes(run, graph, inputs, around)
    run.broken.delete(graph)
    return outputs
  } catch (e) {
    run.broken.add(graph)
    throw e
  }
}

function inferNodes(
  run: Run,
  graph: Graph,
  inputs: readonly (Known | undefined)[] | undefined,
  around: Lookup
): readonly (Known | undefined)[] {
  const calls = (run.calls.get(graph) ?? 0) + 1
  run.calls.set(graph, calls)
  if (calls > maxCalls) {
    run.facts.delete(graph)
    return graph.outputs.map(() => undefined)
  }
  const facts = new Map<string, Known>()
  const lookup: Lookup = (id) => facts.get(id) ?? around(id)
  for (const v of graph.values.values()) if (v.data && !isInput(graph, v.id)) facts.set(v.id, constantType(v, v.data))
  for (const [i, id] of graph.inputs.entries()) {
    const declared = graph.values.get(id)
    const known = merge(inputs?.[i], declared && typeOf(declared))
    if (known) facts.set(id, known)
  }
  for (const node of graph.nodes) {
    const view = viewWith(run, node, lookup)
    const found = opFor(node)?.infer(view) ?? []
    for (const k of found) checkSizes(view, k?.shape)
    for (const [i, id] of node.outputs.entries()) {
      if (!id) continue
      const declared = run.trust ? graph.values.get(id) : undefined
      const known = merge(found[i], declared && typeOf(declared))
      if (known) facts.set(id, bounded(known))
    }
  }
  run.facts.set(graph, facts)
  return graph.outputs.map(lookup)
}

/** Sizes that come out of arithmetic on a file's numbers must be sizes. */
function checkSizes(view: NodeView, shape: readonly Dim[] | undefined): void {
  if (shape?.some((d) => typeof d !== 'string' && !(Number.isSafeInteger(d) && d >= 0)))
    fail(view, `an output of shape [${shape.join(',')}]`)
}

function viewWith(run: Run, node: Node, lookup: Lookup): NodeView {
  return {
    node,
    opset: opsetOf(run.model, node),
    inputs: node.inputs.map((id) => (id === null ? undefined : lookup(id))),
    outputs: [],
    inferGraph: (graph, inputs) => inferGraph(run, graph, inputs, lookup)
  }
}

const constantType = (v: ValueType, data: Tensor): Known => ({
  type: v.type,
  dtype: data.dtype,
  shape: data.shape,
  data
})

/** The type alone of an entry of the value table; `undefined` where it says nothing. */
function typeOf(v: Value): Known | undefined {
  const { type, dtype, shape, of, raw } = v
  if (type === 'tensor' && dtype === undefined && shape === undefined) return undefined
  return {
    type,
    ...(dtype === undefined ? {} : { dtype }),
    ...(shape === undefined ? {} : { shape }),
    ...(of === undefined ? {} : { of }),
    ...(raw === undefined ? {} : { raw })
  }
}

/** Long contents are dropped, and those that do not fit the shape. */
function bounded(known: Known): Known {
  const { content, ...rest } = known
  if (!content) return known
  const fits = known.shape && productDims(known.shape) === content.length
  return fits && content.length <= maxContent ? known : rest
}

/** What was inferred, completed by what was declared. A contradiction drops what was declared. */
function merge(inferred: Known | undefined, declared: Known | undefined): Known | undefined {
  if (!inferred || declared?.type === 'opaque') return declared
  if (!declared || inferred.type !== declared.type) return inferred
  const dtype = inferred.dtype ?? declared.dtype
  const shape = mergeShape(inferred.shape, declared.shape)
  const of = merge(inferred.of, declared.of)
  if (dtype === inferred.dtype && shape === inferred.shape && of === inferred.of) return inferred
  return {
    ...inferred,
    ...(dtype === undefined ? {} : { dtype }),
    ...(shape === undefined ? {} : { shape }),
    ...(of === undefined ? {} : { of })
  }
}

function mergeShape(a: readonly Dim[] | undefined, b: readonly Dim[] | undefined): readonly Dim[] | undefined {
  if (!a || !b || a.length !== b.length) return a ?? b
  const shape = a.map((d, i) => better(d, b[i] as Dim))
  return shape.every((d, i) => d === a[i]) ? a : shape
}

function better(inferred: Dim, declared: Dim): Dim {
  if (typeof inferred === 'number') return inferred
  return typeof declared === 'number' || inferred === unknownDim ? declared : inferred
}

// ---------------------------------------------------------------- writing what was found

function fill(run: Run, graph: Graph): Graph {
  const facts = run.facts.get(graph)
  let nodes: Node[] | undefined
  for (const [i, n] of graph.nodes.entries()) {
    const made = mapSubgraphs(n, (g) => fill(run, g))
    if (made === n) continue
    nodes ??= [...graph.nodes]
    nodes[i] = made
  }
  const values = facts && fillValues(graph, facts)
  if (!nodes && !values) return graph
  const filled = { ...graph, ...(nodes ? { nodes } : {}), ...(values ? { values } : {}) }
  if (run.broken.has(graph)) run.broken.add(filled)
  return filled
}

function fillValues(graph: Graph, facts: Facts): Map<string, Value> | undefined {
  let values: Map<string, Value> | undefined
  for (const [id, known] of facts) {
    const old = graph.values.get(id)
    if (old?.data || (old && sameType(old, known))) continue
    values ??= new Map(graph.values)
    values.set(id, { ...(old?.form ? { form: old.form } : {}), ...bareType(known), id })
  }
  return values
}

function bareType(known: Known): ValueType {
  const { data: _data, content: _content, ...type } = known
  return type
}

function sameType(a: ValueType | undefined, b: ValueType | undefined): boolean {
  if (!a || !b) return a === b
  if (a.type !== b.type || a.dtype !== b.dtype || a.shape?.length !== b.shape?.length) return false
  return (a.shape ?? []).every((d, i) => d === b.shape?.[i]) && sameType(a.of, b.of)
}

// ---------------------------------------------------------------- views of a finished model

/** A node of `graph` with the types of the value table and the content of constants: what `cost` and `quant` are given. */
export function viewOf(model: Model, graph: Graph, node: Node): NodeView {
  const run: Run = { model, trust: true, calls: new Map(), facts: new Map(), broken: new Set() }
  const lookup: Lookup = (id) => {
    for (let g: Graph | undefined = graph; g; g = parents(model).get(g)) {
      const v = g.values.get(id)
      if (v) return knownOf(run, g, v)
    }
    return undefined
  }
  return { ...viewWith(run, node, lookup), outputs: node.outputs.map((id) => (id ? lookup(id) : undefined)) }
}

function knownOf(run: Run, graph: Graph, v: Value): Known | undefined {
  const data = constant(graph, v.id)
  if (data) return constantType(v, data)
  const maker = producer(graph, v.id)
  const made = maker?.op === 'Constant' ? opFor(maker)?.infer(viewWith(run, maker, () => undefined))[0] : undefined
  return merge(made, typeOf(v))
}

const parentsOf = new WeakMap<Model, ReadonlyMap<Graph, Graph>>()

/** The graph around each subgraph. */
function parents(model: Model): ReadonlyMap<Graph, Graph> {
  const known = parentsOf.get(model)
  if (known) return known
  const made = new Map<Graph, Graph>()
  const walk = (g: Graph): void => {
    for (const n of g.nodes)
      for (const [, sub] of subgraphs(n)) {
        made.set(sub, g)
        walk(sub)
      }
  }
  walk(model.graph)
  parentsOf.set(model, made)
  return made
}
