/** What the operator files share: reading a node's surroundings and the shape rules that many operators have in common. */

import { sameDim, unknownDim } from '../base/dim.ts'
import { PareError } from '../base/errors.ts'
import { greatest } from '../base/extremes.ts'
import { attrInts } from '../ir/attrs.ts'
import { elementCount, ints, isInteger, toNumbers } from '../ir/tensor.ts'
import type { Dim, DType, Node } from '../types.ts'
import type { Cost, Grad, Known, NodeFacts, NodeView, Op, Start } from './types.ts'

/** Of operators that keep float32 in a model that computes in float16. */
export const single = { precision: 'single' } as const

/** Contents longer than this are not followed. */
export const maxContent = 64

/** A tensor type as far as it is known. */
export function tensorType(
  dtype: DType | undefined,
  shape: readonly Dim[] | undefined,
  content?: readonly Dim[]
): Known {
  return {
    type: 'tensor',
    ...(dtype === undefined ? {} : { dtype }),
    ...(shape === undefined ? {} : { shape }),
    ...(content === undefined ? {} : { content })
  }
}

export const dtypeOf = (n: NodeFacts, input: number): DType | undefined => n.inputs[input]?.dtype
export const shapeOf = (n: NodeFacts, input: number): readonly Dim[] | undefined => n.inputs[input]?.shape
/** Is an input given at all (known or not)? */
export const isGiven = (n: NodeFacts, input: number): boolean => (n.node.inputs[input] ?? null) !== null

/** Elements of a small integer input: of a constant, or followed symbolically from shapes. */
export function contentOf(n: NodeView, input: number): readonly Dim[] | undefined {
  const known = n.inputs[input]
  if (known?.content) return known.content
  const data = known?.data
  return data && isInteger(data.dtype) && elementCount(data.shape) <= maxContent ? ints(data) : undefined
}

/** Like `contentOf`, for bool and float inputs as well; floats are known only as numbers. */
export function elementsOf(n: NodeView, input: number): readonly Dim[] | undefined {
  const known = n.inputs[input]
  const data = known?.data
  if (known?.content || !data || data.strings || data.dtype.startsWith('complex')) return known?.content
  if (isInteger(data.dtype)) return contentOf(n, input)
  return elementCount(data.shape) <= maxContent ? Array.from(toNumbers(data)) : undefined
}

/** The same where every element is a number. */
export function numbersOf(n: NodeView, input: number): readonly number[] | undefined {
  const content = contentOf(n, input)
  return content?.every((d): d is number => typeof d === 'number') ? content : undefined
}

/** An axis counted from the front. Throws `E_SHAPE` when it is outside the rank. */
export function axisOf(n: NodeView, axis: number, rank: number): number {
  const at = axis < 0 ? axis + rank : axis
  if (!Number.isInteger(at) || at < 0 || at >= rank) fail(n, `axis ${axis} of a tensor of rank ${rank}`)
  return at
}

/** Distinct axes counted from the front, sorted. Throws `E_SHAPE` when one is outside the rank or given twice. */
export function axesOf(n: NodeView, axes: readonly number[], rank: number): readonly number[] {
  const all = [...new Set(axes.map((a) => axisOf(n, a, rank)))].sort((a, b) => a - b)
  if (all.length !== axes.length) fail(n, `axes ${axes.join(',')} name an axis twice`)
  return all
}

/** Axes given as an input, or in older forms as an attribute. `'none'`: not given; `undefined`: given, but unknown. */
export function givenAxes(n: NodeView, input: number, attribute = 'axes'): readonly number[] | 'none' | undefined {
  if (isGiven(n, input)) return numbersOf(n, input)
  return attrInts(n.node, attribute) ?? 'none'
}

/** As many unknown dimensions. */
export const unknownDims = (rank: number): readonly Dim[] => Array.from({ length: rank }, () => unknownDim)

/** No multiply-accumulates: data movement, and element-wise arithmetic, which is not counted. */
export const free = (): Cost => ({ macs: 0 })

/** Output 0 has the type of input 0. */
export const sameType = (n: NodeView): readonly (Known | undefined)[] => [typeOnly(n.inputs[0])]

/** The type without the value. */
export function typeOnly(known: Known | undefined): Known | undefined {
  if (!known) return undefined
  const { data: _data, content: _content, ...type } = known
  return type
}

/** A factor of input 0 passes. */
export const alone: readonly (readonly number[])[] = [[0]]

/** An operator that costs no multiply-accumulates and, unless said otherwise, keeps the type of its input. */
export const freeOp = (name: string, o: Partial<Op> = {}): Op => ({ name, infer: sameType, cost: free, ...o })

/** Normal weights that keep the size of what Relu lets through (He et al. 2015): variance 2 / inputs of a unit. */
export const normalFor = (inputs: (shape: readonly number[], node: Node) => number): Start => ({
  deviation: (shape, node) => Math.sqrt(2 / Math.max(1, inputs(shape, node)))
})

/** The records with their gradients, which are keyed by name (`domain:Name` outside the default domain). Throws `E_OPTION` for unknown keys. */
export function withGrads(grads: Readonly<Record<string, Grad>>, ops: readonly Op[]): readonly Op[] {
  return withFacet('grad', grads, ops)
}

/** The records with their loops, keyed in the same way. */
export function withLoops(
  loops: Readonly<Record<string, NonNullable<Op['loops']>>>,
  ops: readonly Op[]
): readonly Op[] {
  return withFacet('loops', loops, ops)
}

/** The records with one more facet each. Throws `E_OPTION` that names the keys to which no record belongs. */
function withFacet<K extends 'grad' | 'loops'>(
  facet: K,
  own: Readonly<Record<string, NonNullable<Op[K]>>>,
  ops: readonly Op[]
): readonly Op[] {
  const keyOf = (op: Op) => (op.domain === undefined ? op.name : `${op.domain}:${op.name}`)
  const names = new Set(ops.map(keyOf))
  const unknown = Object.keys(own).filter((key) => !names.has(key))
  if (unknown.length > 0)
    throw new PareError('E_OPTION', `${facet} of operators that are not in the list: ${unknown.join(', ')}`, {
      hint: 'keys are the names of records, domain:Name outside the default domain'
    })
  return ops.map((op) => {
    const key = keyOf(op)
    return Object.hasOwn(own, key) ? { ...op, [facet]: own[key] } : op
  })
}

/** Numpy broadcasting; `undefined` where any rank is unknown. Throws `E_SHAPE` when two fixed sizes differ and neither is 1. */
export function broadcast(n: NodeView, shapes: readonly (readonly Dim[] | undefined)[]): readonly Dim[] | undefined {
  if (shapes.some((s) => s === undefined)) return undefined
  const rank = greatest(
    shapes.map((s) => s?.length ?? 0),
    0
  )
  return Array.from({ length: rank }, (_, i) => {
    const dims = shapes.flatMap((s) => s?.[(s?.length ?? 0) - rank + i] ?? [])
    return dims.reduce((a, b) => broadcastDim(n, a, b), 1)
  })
}

function broadcastDim(n: NodeView, a: Dim, b: Dim): Dim {
  if (a === 1) return b
  if (b === 1 || sameDim(a, b)) return a
  if (typeof a === 'number' && typeof b === 'number') fail(n, `sizes ${a} and ${b} do not broadcast`)
  if (typeof a === 'number') return a
  return typeof b === 'number' ? b : unknownDim
}

/** Throws `E_SHAPE` for this node. */
export function fail(n: NodeFacts, what: string): never {
  const shapes = n.inputs.map((k) => (k?.shape ? `[${k.shape.join(',')}]` : '?')).join(', ')
  throw new PareError('E_SHAPE', `${n.node.op}: ${what}`, { where: n.node.name, facts: { inputs: shapes } })
}

/** What holds for both: the type of a value that may be either. */
export function joinTypes(a: Known | undefined, b: Known | undefined): Known | undefined {
  if (!a || !b || a.type !== b.type || a.type === 'opaque') return undefined
  const of = a.of && b.of ? joinTypes(a.of, b.of) : undefined
  const dtype = a.dtype === b.dtype ? a.dtype : undefined
  if (a.type !== 'tensor') return { type: a.type, ...(of ? { of } : {}) }
  const content = a.content && a.content.length === b.content?.length ? joinDims(a.content, b.content) : undefined
  return tensorType(dtype, a.shape && b.shape && joinDims(a.shape, b.shape), content)
}

function joinDims(a: readonly Dim[], b: readonly Dim[]): readonly Dim[] | undefined {
  return a.length === b.length ? a.map((d, i) => (sameDim(d, b[i] as Dim) ? d : unknownDim)) : undefined
}
