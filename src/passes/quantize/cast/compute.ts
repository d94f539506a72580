/**
 * A model that computes in float16. Every float32 value is float16 inside, but for nodes that keep float32: those read
 * and make float32, with one Cast per value where the two meet. Inputs and outputs of the model keep their type.
 *
 * float16: 11 significant bits, largest 65504, least 2⁻²⁴. Small constants outside are bounds and guards (−3.4e38 of a
 * mask, 1e-12 under a root): they become ±65504 and ±2⁻²³. Weights, factors, divisors and statistics outside keep the nodes
 * that read them in float32.
 */

import { attrInt, subgraphs, tensorAttr } from '../../../ir/attrs.ts'
import { codeOfDtype } from '../../../ir/dtype-code.ts'
import { type Draft, editGraph, mapGraphs, takenIds } from '../../../ir/edit.ts'
import { allGraphs, constant, consumers, isInput, opName, producer } from '../../../ir/graph.ts'
import { elementCount, tensor, toFloats } from '../../../ir/tensor.ts'
import { precisionOf } from '../../../ops/ask.ts'
import { viewOf } from '../../../ops/infer.ts'
import type { Known } from '../../../ops/types.ts'
import type { Graph, Model, Node, Tensor, Value } from '../../../types.ts'
import { once } from '../common/once.ts'
import { reasonNotFactor } from './factors.ts'
import { keptForJoins } from './joins.ts'
import { largestHalf, leastNormal, reasonBeyond, reasonNotNarrow } from './narrow.ts'

const leastGuard = 2 ** -23

export interface ComputeOptions {
  readonly minElements: number
  readonly isExcluded: (node: Node) => boolean
  /** Values that go beyond float16 on the data, or stay below its normal numbers, with their largest magnitude. */
  readonly overflow: ReadonlyMap<string, number>
}

/** Why nodes keep float32; without a reason where a part of float16 begins or ends, which is how it should be. */
export type Kept = ReadonlyMap<Node, string | undefined>

/** Nodes that keep float32, with the reason. The model's types must have been inferred. */
export function keptNodes(model: Model, o: ComputeOptions): Kept {
  const out = new Map<Node, string | undefined>()
  for (const graph of allGraphs(model))
    for (const node of graph.nodes) {
      if (subgraphs(node).length > 0) continue
      const reason = reasonToKeep(model, graph, node, o)
      if (reason !== undefined || isBorder(model, graph, node)) out.set(node, reason)
    }
  for (const [node, reason] of keptForJoins(model, out)) out.set(node, reason)
  return out
}

/** A Cast between float32 and a narrower float. */
function isBorder(model: Model, graph: Graph, node: Node): boolean {
  if (!isCast(node) || node.domain !== undefined) return false
  const view = viewOf(model, graph, node)
  const types = [view.inputs[0]?.dtype, view.outputs[0]?.dtype]
  return types.includes('float32') && types.some((t) => t === 'float16' || t === 'bfloat16')
}

function reasonToKeep(model: Model, graph: Graph, node: Node, o: ComputeOptions): string | undefined {
  const view = viewOf(model, graph, node)
  const name = opName(node)
  const values = [...node.inputs, ...node.outputs]
  const known = [...view.inputs, ...view.outputs]
  if (!known.some((v) => isSingle(v)) && known.every((v, i) => !values[i] || v?.dtype !== undefined)) return undefined
  if (o.isExcluded(node)) return 'it is excluded'
  const precision = precisionOf(node)
  if (precision === 'single' || (node.domain !== undefined && precision !== 'half')) return `${name} keeps float32`
  if (values.some((id, i) => id && (known[i]?.type !== 'tensor' || known[i]?.dtype === undefined)))
    return 'types around it are not known'
  if (node.op === 'LayerNormalization' && node.outputs.some((id, i) => i > 0 && id))
    return 'its mean or deviation is read'
  const beyond = values.find((id) => id && o.overflow.has(id))
  if (beyond) {
    const peak = o.overflow.get(beyond) ?? 0
    const [only, why] =
      peak < leastNormal ? ['only ', 'too small for float16'] : ['', `beyond float16 (${largestHalf})`]
    return `${beyond} reaches ${only}${peak.toPrecision(3)} on the data, ${why}`
  }
  for (const [i, v] of view.inputs.entries()) {
    const lost = v?.data && isSingle(v) ? reasonNotHalf(node, i, v.data, o) : undefined
    if (lost) return lost
  }
  return undefined
}

const isSingle = (v: Known | undefined): boolean => v?.type === 'tensor' && v.dtype === 'float32'
/** Single numbers are bounds and guards, never weights. */
const isWeight = (t: Tensor, o: Pick<ComputeOptions, 'minElements'>): boolean =>
  elementCount(t.shape) >= Math.max(2, o.minElements)

/** Why float16 cannot hold a constant that the node reads; `undefined` where it can, or where the constant may be moved into its range. */
function reasonNotHalf(
  node: Node,
  input: number,
  t: Tensor,
  o: Pick<ComputeOptions, 'minElements'>
): string | undefined {
  const lost = isWeight(t, o) ? reasonNotNarrow(t, 'float16') : undefined
  if (lost) return `weight ${node.inputs[input]} ${lost}`
  const factor = reasonNotFactor(node, input, t)
  if (factor) return factor
  const beyond = elementCount(t.shape) > 1 ? reasonBeyond(t) : undefined
  return beyond && `${node.inputs[input]} ${beyond}`
}

/** A small constant as float16 has it: finite values stay finite, and a single number that is not 0 does not become 0. */
function guarded(t: Tensor): Float32Array {
  const least = elementCount(t.shape) === 1 ? leastGuard : 0
  return toFloats(t).map((x) => {
    if (!Number.isFinite(x) || x === 0) return x
    return Math.sign(x) * Math.min(largestHalf, Math.max(least, Math.abs(x)))
  })
}

// ---------------------------------------------------------------- rewriting

type Side = 'half' | 'single'
const typeOf = { half: 'float16', single: 'float32' } as const

interface State {
  readonly kept: Kept
  readonly o: ComputeOptions
  /** Sides from which the nodes of all graphs read a constant. */
  readonly readBy: ReadonlyMap<Value, ReadonlySet<Side>>
  /** The float16 ids of constants that are read from both sides, and of the model's outputs. */
  readonly halves: ReadonlyMap<Value, string>
}

/** The model in float16; its types must have been inferred. The very same model where nothing is float32. */
export function computeInHalf(model: Model, kept: Kept, o: ComputeOptions): Model {
  const taken = takenIds(model)
  const readBy = constantReaders(model, kept)
  const halves = halfIds(model, kept, readBy, taken)
  return mapGraphs(model, (graph, around) =>
    editGraph(graph, (d) => rewrite({ kept, o, readBy, halves, d, graph, around, casts: new Map() }), taken)
  )
}

function halfIds(
  model: Model,
  kept: Kept,
  readBy: ReadonlyMap<Value, ReadonlySet<Side>>,
  taken: Set<string>
): ReadonlyMap<Value, string> {
  const out = new Map<Value, string>()
  const fresh = (id: string): string => {
    let made = halfName(id)
    for (let i = 1; taken.has(made); i++) made = `${halfName(id)}_${i}`
    taken.add(made)
    return made
  }
  for (const [v, sides] of readBy) if (sides.size > 1) out.set(v, fresh(v.id))
  for (const id of model.graph.outputs) {
    const v = model.graph.values.get(id)
    const maker = producer(model.graph, id)
    if (v && isSingle(v) && maker && !kept.has(maker)) out.set(v, fresh(id))
  }
  return out
}

const halfName = (id: string): string => `${id}_f16`

interface Here extends State {
  readonly d: Draft
  readonly graph: Graph
  readonly around: readonly Graph[]
  /** Values on their other side, made in this graph. */
  readonly casts: Map<string, string>
}

function rewrite(h: Here): void {
  const { d, graph } = h
  const isMain = h.around.length === 0
  for (const v of [...graph.values.values()]) {
    if (!isSingle(v)) continue
    if (constant(graph, v.id)) storeConstant(h, v)
    else if (sideOf(h, v.id) === 'half') makeHalf(h, v)
  }
  for (const node of graph.nodes) {
    const side = h.kept.has(node) ? 'single' : 'half'
    const inputs = node.inputs.map((id) => (id !== null && isSingle(find(h, id)?.value) ? on(h, id, side) : id))
    const outputs = node.outputs.map((id) => halfOf(h, id) ?? id)
    const made = side === 'half' ? inHalf(h, node) : node
    const isSame = [...inputs, ...outputs].every((id, i) => id === [...node.inputs, ...node.outputs][i])
    if (made !== node || !isSame) d.replace(node, { ...made, inputs, outputs })
  }
  if (!isMain) d.setOutputs(graph.outputs.map((id) => (isSingle(find(h, id)?.value) ? on(h, id, 'half') : id)))
}

/** The float16 id of an output of the model. */
function halfOf(h: Here, id: string): string | undefined {
  const v = h.graph.values.get(id)
  return v && !v.data ? h.halves.get(v) : undefined
}

/** The value's entry; an output of the model keeps name and type, and is cast from its float16 form. */
function makeHalf(h: Here, v: Value): void {
  const id = h.halves.get(v)
  h.d.set({ ...v, dtype: 'float16', id: id ?? v.id })
  if (id !== undefined) h.d.add('Cast', [id], { attrs: { to: codeOfDtype('float32') }, outputs: [v.id] })
}

/** Attributes that name or hold a float type. */
function inHalf(h: Here, node: Node): Node {
  if (!node.outputs.some((id) => id && isSingle(h.graph.values.get(id)))) return node
  if (isCast(node) && attrInt(node, 'to', 0) === codeOfDtype('float32'))
    return { ...node, attrs: { ...node.attrs, to: { kind: 'int', value: codeOfDtype('float16') } } }
  if (node.op !== 'ConstantOfShape') return node
  const value = node.attrs.value?.kind === 'tensor' ? node.attrs.value.value : tensor('float32', [1], [0])
  return { ...node, attrs: { ...node.attrs, value: tensorAttr(tensor('float16', [1], guarded(value))) } }
}

interface Found {
  readonly value: Value
  readonly graph: Graph
}

function find(h: Pick<Here, 'graph' | 'around'>, id: string): Found | undefined {
  for (const graph of [h.graph, ...[...h.around].reverse()]) {
    const value = graph.values.get(id)
    if (value) return { value, graph }
  }
  return undefined
}

/** On which side a value that is no constant is made; inputs of subgraphs are float16. */
function sideOf(h: Here, id: string): Side {
  const found = find(h, id) as Found
  const maker = producer(found.graph, id)
  if (maker) return h.kept.has(maker) ? 'single' : 'half'
  return found.graph === (h.around[0] ?? h.graph) ? 'single' : 'half'
}

/** The id of a float32 value of the original on a side, cast there if need be. */
function on(h: Here, id: string, side: Side): string {
  const found = find(h, id) as Found
  const half = h.halves.get(found.value)
  if (half !== undefined || constant(found.graph, id)) return side === 'half' ? (half ?? id) : id
  if (sideOf(h, id) === side) return id
  return once(h.casts, `${id} ${side}`, () => {
    const { data: _, ...type } = found.value
    const output = h.d.fresh(side === 'half' ? halfName(id) : `${id}_f32`)
    const attrs = { to: codeOfDtype(typeOf[side]) }
    return h.d.add('Cast', [id], { attrs, outputs: [output], type: { ...type, dtype: typeOf[side] } })
  })
}

// ---------------------------------------------------------------- constants

function constantReaders(model: Model, kept: Kept): ReadonlyMap<Value, ReadonlySet<Side>> {
  const out = new Map<Value, Set<Side>>()
  const note = (h: Pick<Here, 'graph' | 'around'>, id: string | null, side: Side): void => {
    const found = id === null ? undefined : find(h, id)
    if (!found || !isSingle(found.value) || !constant(found.graph, found.value.id)) return
    const sides = out.get(found.value)
    if (sides) sides.add(side)
    else out.set(found.value, new Set([side]))
  }
  const walk = (graph: Graph, around: readonly Graph[]): void => {
    for (const node of graph.nodes) {
      for (const id of node.inputs) note({ graph, around }, id, kept.has(node) ? 'single' : 'half')
      for (const [, sub] of subgraphs(node)) walk(sub, [...around, graph])
    }
    for (const id of graph.outputs) note({ graph, around }, id, around.length === 0 ? 'single' : 'half')
  }
  walk(model.graph, [])
  return out
}

/**
 * A constant that only float16 nodes read is stored in float16. Of one that float32 nodes read too, a large constant is stored
 * in float16 and cast to float32, and a small one is stored in both types.
 */
function storeConstant(h: Here, v: Value): void {
  const { d, o } = h
  const data = v.data as Tensor
  const sides = h.readBy.get(v)
  const isLarge = isWeight(data, o)
  if (sides?.has('half')) {
    const half = tensor('float16', data.shape, isLarge ? toFloats(data) : guarded(data))
    const id = h.halves.get(v) ?? v.id
    d.set({ ...v, id, dtype: 'float16', data: half })
    if (id !== v.id && isLarge) castBack(h, v, id)
    return
  }
  const readers = d.consumers(v.id)
  const isExact = readers.some((n) => precisionOf(n) === 'single' || o.isExcluded(n)) || d.isOutput(v.id)
  if (!isLarge || isExact || !readers.length || reasonNotNarrow(data, 'float16')) return
  const id = d.addConstant(tensor('float16', data.shape, toFloats(data)), halfName(v.id))
  castBack(h, v, id)
}

function castBack({ d }: Here, v: Value, from: string): void {
  const { data: _, ...type } = v
  d.set(type)
  d.add('Cast', [from], { attrs: { to: codeOfDtype('float32') }, outputs: [v.id] })
}

/** Small constants that float16 changes by more than rounding, with their values; without factors that keep float32. */
export function guardedConstants(model: Model, o: Pick<ComputeOptions, 'minElements'>): ReadonlyMap<string, Tensor> {
  const out = new Map<string, Tensor>()
  for (const g of allGraphs(model))
    for (const v of g.values.values()) {
      if (!v.data || v.dtype !== 'float32' || isInput(g, v.id) || isWeight(v.data, o)) continue
      const { id, data } = v
      const isKept = (n: Node): boolean =>
        n.inputs.some((x, i) => x === id && reasonNotHalf(n, i, data, o) !== undefined)
      if (consumers(g, id).some(isKept)) continue
      const [before, after] = [toFloats(v.data), guarded(v.data)]
      if (after.some((x, i) => x !== before[i])) out.set(v.id, tensor('float32', v.data.shape, after))
    }
  return out
}

export function isCast(node: Node): boolean {
  return node.op === 'Cast'
}
