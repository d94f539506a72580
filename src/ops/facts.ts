/**
 * Nodes of a model as facts that targets have conditions on: what a format's own operators are where its files are the
 * Model's words. Between DequantizeLinear and QuantizeLinear an operator has the type of the codes; the two are listed only
 * where they stand at the ends of the graph or beside floats.
 */
import { greatest } from '../base/extremes.ts'
import { attrInt, attrInts, attrString, hasAttr } from '../ir/attrs.ts'
import { constant, graphView, isOutput, opName, producer, soleConsumer } from '../ir/graph.ts'
import { byteLength, elementCount, toNumbers } from '../ir/tensor.ts'
import type { Fact, Feature, FileOperator } from '../targets/types.ts'
import type { DType, Graph, Model, Node, Tensor } from '../types.ts'
import { linearOf } from './ask.ts'
import { costOf, inferredAt, type Shapes } from './cost.ts'
import { dequantizer, isDequantize, isQuantize } from './quantized.ts'
import type { Linear } from './types.ts'

/** The nodes of the outermost graph at given sizes of inputs, one sample where the batch is free. */
export function operatorsOfModel(model: Model, shapes: Shapes = {}): readonly FileOperator[] {
  const { byNode } = costOf(model, shapes)
  const sized = inferredAt(model, shapes).model
  const { graph } = sized
  const listed = graph.nodes.filter((n) => isListed(graph, n))
  const places = new Map(listed.map((n, i) => [n, i]))
  const originals = new Map(graph.nodes.map((n, i) => [n, model.graph.nodes[i] as Node]))
  return listed.map((node) => {
    const macs = byNode.get(originals.get(node) as Node)
    const view = operandsOf(graph, node)
    return {
      name: node.name,
      op: opName(node),
      facts: (feature) => readers[feature]?.(view),
      reads: [...new Set(node.inputs.flatMap((id) => makerOf(graph, places, id)))],
      values: [...node.inputs, ...node.outputs].flatMap((id) => {
        const dtype = id && !constant(graph, id) ? graph.values.get(id)?.dtype : undefined
        return id && dtype ? [{ name: id, dtype }] : []
      }),
      ...(macs === undefined ? {} : { macs }),
      ...bytesOf(graph, node)
    }
  })
}

/** Bytes by what they are, of codes where numbers are held as some; nothing where a size is not known. */
function bytesOf(graph: Graph, node: Node): Pick<FileOperator, 'bytes'> {
  const sizes = { weights: 0, reads: 0, gives: 0 }
  const add = (id: string | null, kind: 'reads' | 'gives'): boolean => {
    const held = kind === 'reads' ? (dequantizer(graph, id)?.inputs[0] ?? id) : codesOf(graph, id)
    const v = held ? graph.values.get(held) : undefined
    if (id === null || id === '') return true
    if (!v?.dtype || v.dtype === 'string' || !v.shape?.every((d) => typeof d === 'number')) return false
    sizes[constant(graph, held) ? 'weights' : kind] += byteLength(v.dtype, elementCount(v.shape as readonly number[]))
    return true
  }
  return node.inputs.every((id) => add(id, 'reads')) && node.outputs.every((id) => add(id, 'gives'))
    ? { bytes: sizes }
    : {}
}

/** The codes that a value is held as, where only a QuantizeLinear reads it. */
function codesOf(graph: Graph, id: string | null): string | null {
  const reader = id ? soleConsumer(graph, id) : undefined
  return isQuantize(reader) ? (reader?.outputs[0] ?? id) : id
}

/** Constants are made before, and roundings belong to the operators beside them. */
function isListed(graph: Graph, node: Node): boolean {
  if (node.inputs.every((id) => id === null || constant(graph, id))) return false
  if (isDequantize(node)) return node.outputs.some((id) => isOutput(graph, id))
  if (!isQuantize(node)) return true
  const made = node.inputs[0] ? producer(graph, node.inputs[0]) : undefined
  return !made?.inputs.some((id) => dequantizer(graph, id))
}

/** Places of the listed operators that make a value, through roundings. */
function makerOf(graph: Graph, places: ReadonlyMap<Node, number>, id: string | null): number[] {
  const made = id ? producer(graph, id) : undefined
  if (!made) return []
  const place = places.get(made)
  return place === undefined ? made.inputs.slice(0, 1).flatMap((i) => makerOf(graph, places, i)) : [place]
}

/** A node with its operands by what they are for. */
interface Operands {
  readonly graph: Graph
  readonly node: Node
  readonly linear: Linear | undefined
  readonly data: string | undefined
  readonly weight: string | undefined
  readonly bias: string | undefined
}

function operandsOf(graph: Graph, node: Node): Operands {
  const linear = linearOf(graphView(graph), node)
  const at = (i: number | undefined): string | undefined =>
    i === undefined ? undefined : (node.inputs[i] ?? undefined)
  return { graph, node, linear, data: at(linear?.data ?? 0), weight: at(linear?.weight), bias: at(linear?.bias?.input) }
}

// ---------------------------------------------------------------- values

type Shape = readonly number[]

/** `undefined` where a size is not a number. */
function shapeOf({ graph }: Operands, id: string | undefined): Shape | undefined {
  const shape = id === undefined ? undefined : graph.values.get(id)?.shape
  return shape?.every((d) => typeof d === 'number') ? (shape as Shape) : undefined
}
const product = (all: Shape): number => all.reduce((n, d) => n * d, 1)
const numbers = (t: Tensor | undefined): readonly number[] | undefined => t && Array.from(toNumbers(t))

/** The type that a value is computed in: that of its codes where it comes out of some. */
function typeOf({ graph }: Operands, id: string | undefined): DType | undefined {
  const from = dequantizer(graph, id)?.inputs[0] ?? id
  return from == null ? undefined : graph.values.get(from)?.dtype
}

const isOf = ({ graph }: Operands, id: string | null | undefined): Fact =>
  id == null
    ? 'none'
    : constant(graph, id) || constant(graph, dequantizer(graph, id)?.inputs[0])
      ? 'constant'
      : 'computed'

/** Zero points of codes; 0 where there are none. */
function zeroOf(o: Operands, id: string | undefined): Fact | undefined {
  const from = dequantizer(o.graph, id)
  if (!from) return 0
  const zero = from.inputs[2] ?? undefined
  return zero === undefined ? 0 : numbers(constant(o.graph, zero))
}

/** An input as whole numbers, or the attribute that held them in older versions. */
const listAt = ({ graph, node }: Operands, input: number, attribute: string): readonly number[] | undefined =>
  attrInts(node, attribute) ?? numbers(constant(graph, node.inputs[input] ?? undefined))

const dataShape = (o: Operands): Shape | undefined => shapeOf(o, o.data)
const outShape = (o: Operands): Shape | undefined => shapeOf(o, o.node.outputs[0] ?? undefined)
const spatialOf = (o: Operands): Shape | undefined => {
  const shape = dataShape(o)
  return shape && shape.length > 2 ? shape.slice(2) : undefined
}

// ---------------------------------------------------------------- windows

/** A kernel's sides: those of a convolution, or the attribute of a pool. */
const kernelOf = ({ linear, node }: Operands): readonly number[] | undefined =>
  linear?.patch?.axes.map((a) => a.kernel) ?? attrInts(node, 'kernel_shape')

const perAxis =
  (name: 'stride' | 'dilation', attribute: string) =>
  (o: Operands): readonly number[] | undefined => {
    const kernel = kernelOf(o)
    if (!kernel) return undefined
    return o.linear?.patch?.axes.map((a) => a[name]) ?? attrInts(o.node, attribute) ?? kernel.map(() => 1)
  }

const stride = perAxis('stride', 'strides')
const dilation = perAxis('dilation', 'dilations')

/** Axes by attribute or operand, counted from the front. */
function axesOf(o: Operands): readonly number[] | undefined {
  const rank = dataShape(o)?.length
  const own = hasAttr(o.node, 'axis') ? [attrInt(o.node, 'axis', 0)] : listAt(o, 1, 'axes')
  return own && rank !== undefined ? own.map((a) => (a < 0 ? a + rank : a)) : undefined
}

/** Of Softmax and its like: the last axis where none is named. */
const axisOf = (o: Operands): Fact | undefined => axesOf(o) ?? (dataShape(o)?.length ?? 0) - 1

function scale(o: Operands): Fact | undefined {
  const [from, to] = [spatialOf(o), outShape(o)?.slice(2)]
  return from && to && from.length === to.length ? to.map((d, i) => d / (from[i] as number)) : undefined
}

/** Sizes of a picture, or of what is laid out as one: N, C, H, W. */
const sizeAt = (o: Operands, axis: number): number | undefined => {
  const shape = dataShape(o)
  return shape?.length === 4 ? shape[axis] : undefined
}
const times = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined ? undefined : a * b

// ---------------------------------------------------------------- facts

const readers: Readonly<Partial<Record<Feature, (o: Operands) => Fact | undefined>>> = {
  autoPad: ({ node }) => attrString(node, 'auto_pad', 'NOTSET'),
  axes: (o) =>
    axesOf(o)
      ?.toSorted((a, b) => a - b)
      .join(' '),
  axis: axisOf,
  batch: (o) => (dataShape(o)?.length === 4 ? dataShape(o)?.[0] : 1),
  bias: (o) => isOf(o, o.bias),
  ceilMode: ({ node }) => attrInt(node, 'ceil_mode', 0),
  channels: (o) => (o.linear ? o.linear.inputs * o.linear.groups : dataShape(o)?.[1]),
  channelsHeight: (o) => times(sizeAt(o, 1), sizeAt(o, 2)),
  channelsWidth: (o) => times(sizeAt(o, 1), sizeAt(o, 3)),
  coordinates: ({ node }) => attrString(node, 'coordinate_transformation_mode', 'half_pixel'),
  dataZeroPoint: (o) => zeroOf(o, o.data),
  depthwise: ({ linear }) => linear && (linear.groups > 1 && linear.inputs === 1 ? 'yes' : 'no'),
  dilation,
  dtype: (o) => typeOf(o, o.data),
  elements: (o) => {
    const shape = dataShape(o)
    return shape && product(shape)
  },
  exponent: ({ graph, node }) => numbers(constant(graph, node.inputs[1] ?? undefined)),
  groups: ({ linear, node }) => linear?.groups ?? attrInt(node, 'group', 1),
  height: (o) => sizeAt(o, 2) ?? spatialOf(o)?.[0],
  hidden: ({ node }) => (hasAttr(node, 'hidden_size') ? attrInt(node, 'hidden_size', 0) : undefined),
  indices: (o) => typeOf(o, o.node.inputs[1] ?? undefined),
  indicesRank: (o) => shapeOf(o, o.node.inputs[1] ?? undefined)?.length,
  inner: (o) => dataShape(o)?.at(-1),
  inputs: ({ node }) => node.inputs.filter((id) => id !== null).length,
  kernel: kernelOf,
  kernelArea: (o) => {
    const kernel = kernelOf(o)
    return kernel && product(kernel)
  },
  kernelHeight: (o) => kernelOf(o)?.at(-2) ?? 1,
  kernelWidth: (o) => kernelOf(o)?.at(-1),
  longest: (o) => {
    const shape = dataShape(o)
    return shape && greatest(shape)
  },
  mode: ({ node }) => (hasAttr(node, 'mode') ? attrString(node, 'mode', '') : undefined),
  norm: ({ node }) => attrInt(node, 'p', 2),
  openAxes: ({ graph, node }) =>
    [...node.inputs, ...node.outputs].reduce(
      (n, id) => n + (id ? (graph.values.get(id)?.shape?.filter((d) => typeof d !== 'number').length ?? 0) : 0),
      0
    ),
  outputs: ({ node }) => node.outputs.filter((id) => id !== '').length,
  outputChannels: (o) => (o.linear ? o.linear.outputs * o.linear.groups : outShape(o)?.[1]),
  pads: (o) =>
    o.linear?.patch
      ? o.linear.patch.axes.every((a) => a.pads)
        ? o.linear.patch.axes.flatMap(({ pads }) => (pads ? [pads.before, pads.behind] : []))
        : undefined
      : (attrInts(o.node, 'pads') ?? [0]),
  permutation: ({ node }) => attrInts(node, 'perm')?.join(' '),
  plane: (o) => times(sizeAt(o, 2), sizeAt(o, 3)),
  rank: (o) => dataShape(o)?.length,
  runtimeInputs: (o) => o.node.inputs.filter((id) => id !== null && isOf(o, id) === 'computed').length,
  scale,
  sequence: (o) => dataShape(o)?.[0],
  spatial: (o) => kernelOf(o)?.length ?? spatialOf(o)?.length,
  starts: (o) => isOf(o, o.node.inputs[1]),
  steps: (o) => (o.node.inputs[4] == null ? 1 : numbers(constant(o.graph, o.node.inputs[4]))),
  stride,
  weight: (o) => isOf(o, o.weight),
  weightScales: (o) => {
    const scales = dequantizer(o.graph, o.weight)?.inputs[1]
    const shape = scales == null ? undefined : constant(o.graph, scales)?.shape
    if (shape === undefined) return 'none'
    return elementCount(shape) === 1 ? 'one' : shape.length > 1 ? 'blocks' : 'one for each channel'
  },
  weightType: (o) => (o.weight === undefined ? 'none' : typeOf(o, o.weight)),
  weightZeroPoint: (o) => zeroOf(o, o.weight),
  width: (o) => sizeAt(o, 3)
}
