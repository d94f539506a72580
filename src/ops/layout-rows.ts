/**
 * Nodes that only look at elements in a row, and so can take them in another order: a Reshape or Flatten where axes of size 1
 * alone have moved, or one in front of a matrix product with a constant weight, whose rows then move instead.
 */
import { sameDim } from '../base/dim.ts'
import { attrInt } from '../ir/attrs.ts'
import type { Draft } from '../ir/edit.ts'
import { factsOf, type GraphView } from '../ir/graph.ts'
import { movesOnlyOnes, permuteTensor, pickAlong } from '../ir/order.ts'
import { elementCount, ints, tensor } from '../ir/tensor.ts'
import type { Dim, Node, Value } from '../types.ts'
import { opFor } from './index.ts'
import type { Order } from './types.ts'

/** Makes the node read `x`, the value in the other order. */
type Absorb = (draft: Draft, x: string) => void

/** How a node reads a value in another order without a Transpose; `undefined` where it cannot. */
export function absorbing(g: GraphView, node: Node, id: string, order: Order): Absorb | undefined {
  const shape = g.value(id)?.shape
  const out = g.value(node.outputs[0] ?? '')?.shape
  const record = opFor(node)
  // Operators that tell how they permute, such as Unsqueeze, do not make the same shape of another one.
  if (record?.elements !== 'inOrder' || record.permute || node.inputs[0] !== id) return undefined
  if (!shape || !out || shape.length !== order.length) return undefined
  const to = order.map((a) => shape[a] as Dim)
  if (!looksAlike(g, node, shape, to)) return undefined
  if (movesOnlyOnes(order, shape)) return (draft, x) => reads(draft, node, x)
  const kept = out.length - 1
  const isMerged = kept > 0 && out.slice(0, -1).every((d, i) => order[i] === i && sameDim(d, shape[i] as Dim))
  const rest = shape.slice(kept)
  if (!isMerged || !rest.every((d): d is number => typeof d === 'number')) return undefined
  const weight = weightBehind(g, node.outputs[0] as string, elementCount(rest))
  if (!weight) return undefined
  return (draft, x) => {
    const count = elementCount(rest)
    const rows = tensor(
      'int32',
      rest,
      Array.from({ length: count }, (_, i) => i)
    )
    const places = ints(
      permuteTensor(
        rows,
        order.slice(kept).map((a) => a - kept)
      )
    )
    const data = pickAlong(weight.value.data, weight.axis, places)
    draft.set({ ...weight.value, data })
    reads(draft, node, x)
  }
}

const reads = (draft: Draft, node: Node, x: string): void => {
  draft.replace(node, { ...node, inputs: [x, ...node.inputs.slice(1)] })
}

/** Does a Reshape or Flatten make the same shape of `to` as of `from`? */
function looksAlike(g: GraphView, node: Node, from: readonly Dim[], to: readonly Dim[]): boolean {
  const target = g.constant(node.inputs[1])
  if (target) {
    if (attrInt(node, 'allowzero', 0) !== 0) return true
    return ints(target).every((d, i) => d !== 0 || sameDim(from[i] as Dim, to[i] as Dim))
  }
  // Flatten, which cuts the axes in two.
  const axis = attrInt(node, 'axis', 1)
  return node.inputs.length === 1 && axis >= 0 && from.slice(0, axis).every((d, i) => sameDim(d, to[i] as Dim))
}

interface Weight {
  readonly value: Value & { readonly data: NonNullable<Value['data']> }
  /** Its axis of inputs. */
  readonly axis: number
}

/** The constant weight of the matrix product that alone reads a value, behind operators that treat all elements alike. */
function weightBehind(g: GraphView, id: string, inputs: number): Weight | undefined {
  for (let at = id, node = g.soleConsumer(at); node; at = node.outputs[0] as string, node = g.soleConsumer(at)) {
    const facts = factsOf(g, node)
    const linear = opFor(node)?.linear?.(facts)
    if (linear) {
      if (linear.patch || node.inputs[linear.data] !== at || linear.axes.in !== -1 || linear.inputs !== inputs)
        return undefined
      return weightOf(g, node.inputs[linear.weight], linear.strides.in, inputs)
    }
    if (!treatsAlike(g, node, at)) return undefined
  }
  return undefined
}

/** Does a node do the same to every element of a value, wherever that stands? */
function treatsAlike(g: GraphView, node: Node, id: string): boolean {
  const facts = factsOf(g, node)
  const rank = facts.inputs[0]?.shape?.length ?? 0
  const around = Array.from({ length: rank }, (_, i) => rank - 1 - i)
  const turned = node.inputs[0] === id && opFor(node)?.permute?.(facts, around, { of: 'input', at: 0 })
  if (!turned || turned.attrs || turned.constants || node.outputs.length !== 1) return false
  return node.inputs
    .slice(1)
    .every((x, i) => x === null || (facts.inputs[i + 1]?.shape?.every((d) => d === 1) ?? false))
}

/** A constant, or the codes of one with a scale for each output or for all, that one node reads. */
function weightOf(g: GraphView, id: string | null | undefined, stride: number, inputs: number): Weight | undefined {
  const value = id == null ? undefined : g.value(id)
  const maker = id == null ? undefined : g.producer(id)
  if (!value || g.consumers(value.id).length !== 1 || g.isOutput(value.id)) return undefined
  const shape = value.shape ?? []
  const axis = shape.findIndex((d, i) => d === inputs && elementCount(shape.slice(i + 1) as number[]) === stride)
  if (axis < 0) return undefined
  if (g.constant(value.id)) return { value: value as Weight['value'], axis }
  // Codes: their scales must not follow the inputs.
  const codes = maker && opFor(maker)?.codes === 'weights' ? g.value(maker.inputs[0] ?? '') : undefined
  if (!maker || !codes?.data || g.consumers(codes.id).length !== 1 || !g.constant(codes.id)) return undefined
  const scale = g.value(maker.inputs[1] ?? '')?.shape
  const isSingle = scale?.every((d) => d === 1)
  const scaled = (attrInt(maker, 'axis', 1) + shape.length) % shape.length
  const isForOutputs = scale?.length === 1 && scaled !== axis && attrInt(maker, 'block_size', 0) === 0
  return isSingle || isForOutputs ? { value: codes as Weight['value'], axis } : undefined
}
