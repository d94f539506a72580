/**
 * What operators do with data whose axes stand in another order: the rules behind the facet `permute`. Each gives the node
 * that computes the same on permuted data, with its axes and the constants that name axes following along.
 */
import { attrInt, attrInts, attrString } from '../ir/attrs.ts'
import { pickAlong, without } from '../ir/order.ts'
import { elementCount, ints, tensor } from '../ir/tensor.ts'
import type { AttrInput, Tensor } from '../types.ts'
import type { End, Known, NodeFacts, Order, Permuted } from './types.ts'

type Rule = (n: NodeFacts, order: Order, at: End) => Permuted | undefined

/** An order of the last axes as one of `rank` axes. */
const widened = (order: Order, rank: number): Order => {
  const before = Math.max(0, rank - order.length)
  return [...Array.from({ length: before }, (_, i) => i), ...order.map((a) => a + before)]
}

/** The order for a tensor of fewer axes, which broadcast from the end; all of it where an axis moves across its first. */
function narrowed(order: Order, rank: number): Order {
  const before = order.length - rank
  return before > 0 && order.every((a, i) => (i < before ? a === i : a >= before))
    ? order.slice(before).map((a) => a - before)
    : order
}

const isSingle = (k: Known): boolean => k.shape?.every((d) => d === 1) ?? false

/** The data at some inputs, by default all, and all outputs in one order, with numpy broadcasting. */
export const together =
  (carries?: readonly number[]): Rule =>
  (n, order) => {
    const rank = n.outputs[0]?.shape?.length
    if (rank === undefined || rank === 0) return undefined
    const full = widened(order, rank)
    const inputs: (Order | undefined)[] = []
    for (const [i, id] of n.node.inputs.entries()) {
      const k = n.inputs[i]
      if (id === null || (carries && !carries.includes(i))) inputs.push(undefined)
      else if (!k?.shape) return undefined
      else inputs.push(isSingle(k) && (k.data || k.shape.length < rank) ? undefined : narrowed(full, k.shape.length))
    }
    return {
      inputs,
      outputs: n.node.outputs.map((id, i) => (id ? narrowed(full, n.outputs[i]?.shape?.length ?? rank) : undefined))
    }
  }

/** The same where the first input and the outputs have the same rank, with the whole order. */
function whole(n: NodeFacts, order: Order, carries: readonly number[] | undefined = [0]): Permuted | undefined {
  const rank = n.inputs[0]?.shape?.length
  return rank !== undefined && rank === order.length ? together(carries)(n, order, { of: 'input', at: 0 }) : undefined
}

const positive = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis)

/** Along the axis that an attribute names. */
export const alongAxis =
  (fallback: number, carries?: readonly number[]): Rule =>
  (n, order) => {
    const found = whole(n, order, carries)
    const axis = positive(attrInt(n.node, 'axis', fallback), order.length)
    return found && { ...found, attrs: { axis: order.indexOf(axis) } }
  }

/** Several along one axis. */
export const alongAxisOfAll =
  (fallback: number): Rule =>
  (n, order) => {
    const found = alongAxis(fallback)(n, order, { of: 'input', at: 0 })
    return found && { ...found, inputs: n.node.inputs.map(() => order) }
  }

const int64 = (values: readonly number[]): Tensor => tensor('int64', [values.length], values)

/** Integers of a constant input, or of an attribute in older forms; `'none'`: not given. */
function given(n: NodeFacts, input: number, attribute: string): readonly number[] | 'none' | undefined {
  if ((n.node.inputs[input] ?? null) === null) return attrInts(n.node, attribute) ?? 'none'
  const data = n.inputs[input]?.data
  return data && ints(data)
}

/** Axes in their new places, where they were given. */
function placed(
  n: NodeFacts,
  input: number,
  attribute: string,
  axes: readonly number[]
): Pick<Permuted, 'attrs' | 'constants'> {
  return (n.node.inputs[input] ?? null) === null
    ? { attrs: { [attribute]: axes } as Readonly<Record<string, AttrInput>> }
    : { constants: { [input]: int64(axes) } }
}

/** A reduction over axes given as an input or an attribute. */
export const reducesAxes: Rule = (n, order, at) => {
  const rank = n.inputs[0]?.shape?.length
  const axes = given(n, 1, 'axes')
  const keeps = attrInt(n.node, 'keepdims', 1) !== 0
  if (rank === undefined || !axes || (at.of === 'output' && !keeps)) return undefined
  if (axes === 'none' || axes.length === 0) {
    const isIdle = attrInt(n.node, 'noop_with_empty_axes', 0) !== 0
    return keeps || isIdle ? whole(n, order) : { inputs: [order], outputs: [undefined] }
  }
  if (order.length !== rank) return undefined
  const from = axes.map((a) => positive(a, rank))
  const to = from.map((a) => order.indexOf(a)).sort((a, b) => a - b)
  return { inputs: [order], outputs: [keeps ? order : without(order, from)], ...placed(n, 1, 'axes', to) }
}

/** The largest or smallest along one axis. */
export const reducesAxis: Rule = (n, order, at) => {
  const rank = n.inputs[0]?.shape?.length
  const keeps = attrInt(n.node, 'keepdims', 1) !== 0
  if (rank !== order.length || (at.of === 'output' && !keeps)) return undefined
  const axis = positive(attrInt(n.node, 'axis', 0), rank)
  return { inputs: [order], outputs: [keeps ? order : without(order, [axis])], attrs: { axis: order.indexOf(axis) } }
}

export const squeezes: Rule = (n, order, at) => {
  const shape = n.inputs[0]?.shape
  const axes = given(n, 1, 'axes')
  if (!shape || !axes || at.of === 'output' || order.length !== shape.length) return undefined
  if (axes === 'none') return undefined
  const from = axes.map((a) => positive(a, shape.length))
  const to = from.map((a) => order.indexOf(a)).sort((a, b) => a - b)
  return { inputs: [order], outputs: [without(order, from)], ...placed(n, 1, 'axes', to) }
}

export const unsqueezes: Rule = (n, order, at) => {
  const rank = n.outputs[0]?.shape?.length
  const axes = given(n, 1, 'axes')
  if (rank !== order.length || !axes || axes === 'none' || at.of === 'input') return undefined
  const from = axes.map((a) => positive(a, rank))
  const to = from.map((a) => order.indexOf(a)).sort((a, b) => a - b)
  return { inputs: [without(order, from)], outputs: [order], ...placed(n, 1, 'axes', to) }
}

/** Constants with one number, or block of numbers, for each axis, unless further ones name the axes. */
const perAxis =
  (lists: readonly number[], axesAt: number): Rule =>
  (n, order) => {
    const found = whole(n, order)
    const axes = given(n, axesAt, '')
    if (!found || !axes) return undefined
    if (axes !== 'none') {
      const to = axes.map((a) => order.indexOf(positive(a, order.length)))
      return { ...found, constants: { [axesAt]: int64(to) } }
    }
    const constants: Record<number, Tensor> = {}
    for (const i of lists) {
      const data = n.inputs[i]?.data
      if ((n.node.inputs[i] ?? null) === null) continue
      const parts = data && data.shape.length === 1 ? (data.shape[0] as number) / order.length : 0
      if (!data || !Number.isInteger(parts) || parts === 0) return undefined
      const places = Array.from({ length: parts }, (_, p) => order.map((a) => p * order.length + a)).flat()
      constants[i] = pickAlong(data, 0, places)
    }
    return { ...found, constants }
  }

/** Pads before all axes, then behind. */
export const pads: Rule = (n, order, at) => perAxis([1], 3)(n, order, at)
/** Repeats of every axis. */
export const tiles: Rule = (n, order, at) => perAxis([1], Number.POSITIVE_INFINITY)(n, order, at)

/** To a shape of the rank that the data has. */
export const expands: Rule = (n, order, at) =>
  n.outputs[0]?.shape?.length === n.inputs[0]?.shape?.length
    ? perAxis([1], Number.POSITIVE_INFINITY)(n, order, at)
    : undefined

export const slices: Rule = (n, order) => {
  const found = whole(n, order)
  const starts = n.inputs[1]?.data
  const axes = given(n, 3, 'axes')
  if (!found || !starts || !axes) return undefined
  const from = axes === 'none' ? Array.from({ length: elementCount(starts.shape) }, (_, i) => i) : axes
  return { ...found, constants: { 3: int64(from.map((a) => order.indexOf(positive(a, order.length)))) } }
}

/** Picks along an axis; one index alone takes the axis away. */
export const gathers: Rule = (n, order, at) => {
  const [rank, picks] = [n.inputs[0]?.shape?.length, n.inputs[1]?.shape?.length]
  if (rank !== order.length || (picks !== 0 && picks !== 1)) return undefined
  const axis = positive(attrInt(n.node, 'axis', 0), rank)
  if (picks === 0 && at.of === 'output') return undefined
  const outputs = [picks === 0 ? without(order, [axis]) : order]
  return at.of === 'input' && at.at !== 0
    ? undefined
    : { inputs: [order, undefined], outputs, attrs: { axis: order.indexOf(axis) } }
}

/** Scale and zero point of all elements, or of each position along one axis. */
export const rounds: Rule = (n, order) => {
  const [x, scale] = [n.inputs[0]?.shape, n.inputs[1]?.shape]
  if (!x || !scale || attrInt(n.node, 'block_size', 0) !== 0) return undefined
  const found = { inputs: n.node.inputs.map((_, i) => (i === 0 ? order : undefined)), outputs: [order] }
  if (scale.length === 0 || scale[0] === 1) return found
  const axis = positive(attrInt(n.node, 'axis', 1), x.length) + order.length - x.length
  return { ...found, attrs: { axis: order.indexOf(axis) } }
}

/** Nearest neighbours only: ONNX Runtime interpolates along the last axes alone. */
export const resizes: Rule = (n, order) => {
  const found = whole(n, order)
  if (!found || attrString(n.node, 'mode', 'nearest') !== 'nearest' || n.node.inputs[1] != null) return undefined
  const axes = attrInts(n.node, 'axes')
  if (axes) return { ...found, attrs: { axes: axes.map((a) => order.indexOf(positive(a, order.length))) } }
  const at = n.node.inputs[3] == null ? 2 : 3
  const data = n.inputs[at]?.data
  if (data?.shape[0] !== order.length) return undefined
  return { ...found, constants: { [at]: pickAlong(data, 0, order) } }
}
