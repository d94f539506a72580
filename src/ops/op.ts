/** What the operator files share: reading a node's surroundings and the shape rules that many operators have in common. */
import { sameDim, unknownDim } from '../base/dim.ts'
import { PareError } from '../base/errors.ts'
import { elementCount, ints, isInteger } from '../ir/tensor.ts'
import type { Dim, DType, Known, NodeView } from '../types.ts'

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

export const dtypeOf = (n: NodeView, input: number): DType | undefined => n.inputs[input]?.dtype
export const shapeOf = (n: NodeView, input: number): readonly Dim[] | undefined => n.inputs[input]?.shape
/** Is an input given at all (known or not)? */
export const isGiven = (n: NodeView, input: number): boolean => (n.node.inputs[input] ?? null) !== null

/** Elements of a small integer input: of a constant, or followed symbolically from shapes. */
export function contentOf(n: NodeView, input: number): readonly Dim[] | undefined {
  const known = n.inputs[input]
  if (known?.content) return known.content
  const data = known?.data
  return data && isInteger(data.dtype) && elementCount(data.shape) <= 64 ? ints(data) : undefined
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

/** Numpy broadcasting; `undefined` where any rank is unknown. Throws `E_SHAPE` when two fixed sizes differ and neither is 1. */
export function broadcast(n: NodeView, shapes: readonly (readonly Dim[] | undefined)[]): readonly Dim[] | undefined {
  if (shapes.some((s) => s === undefined)) return undefined
  const rank = Math.max(0, ...shapes.map((s) => s?.length ?? 0))
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
export function fail(n: NodeView, what: string): never {
  const shapes = n.inputs.map((k) => (k?.shape ? `[${k.shape.join(',')}]` : '?')).join(', ')
  throw new PareError('E_SHAPE', `${n.node.op}: ${what}`, { where: n.node.name, facts: { inputs: shapes } })
}
