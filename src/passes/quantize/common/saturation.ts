/**
 * x86 without VNNI multiplies u8 activations by s8 weights and adds neighbours in int16 (vpmaddubsw): the sum saturates
 * when 255·(w_k + w_{k+1}) leaves int16, that is when |w_k + w_{k+1}| > 128 for weights that are neighbours in the order
 * the kernel reads them: kernel position first, input channel last. The bound is exact over all activations.
 */
import { attrInt } from '../../../ir/attrs.ts'
import { allGraphs, constant, consumers, producer } from '../../../ir/graph.ts'
import { elementCount, typedValues } from '../../../ir/tensor.ts'
import type { Graph, Model, Node, Tensor } from '../../../types.ts'
import { dequantizedConstant } from './twins.ts'

/** Codes up to this cannot saturate: 255 · (64 + 64) = 32640. */
export const safeLevels = 64

const largestPair = 128

/**
 * For each channel of int8 codes, of a filter in so many groups or of a matrix: can a pair sum saturate? Depthwise filters,
 * one input and one output to a group, have kernels without pair sums.
 */
export function saturatingChannels(codes: Tensor, axis: number, groups = 1): boolean[] {
  const { shape } = codes
  const count = shape[axis] as number
  const isFilter = shape.length > 2
  if (isFilter && shape[1] === 1 && shape[0] === groups) return new Array<boolean>(count).fill(false)
  const strides = shape.map((_, i) => shape.slice(i + 1).reduce((n, d) => n * d, 1))
  const axes = shape.map((_, i) => i).filter((i) => i !== axis)
  const order = isFilter ? [...axes.filter((i) => i !== 1), 1] : axes
  const offsets = offsetsOf(
    order.map((i) => shape[i] as number),
    order.map((i) => strides[i] as number)
  )
  const values = typedValues(codes)
  return Array.from({ length: count }, (_, c) => {
    const base = c * (strides[axis] as number)
    for (let k = 1; k < offsets.length; k++) {
      const sum = Number(values[base + (offsets[k - 1] as number)]) + Number(values[base + (offsets[k] as number)])
      if (sum > largestPair || sum < -largestPair) return true
    }
    return false
  })
}

/** Where each element of a nested walk lies, the last axis fastest. */
function offsetsOf(sizes: readonly number[], strides: readonly number[]): Int32Array {
  const total = sizes.reduce((n, d) => n * d, 1)
  const out = new Int32Array(total)
  for (let i = 0; i < total; i++) {
    let rest = i
    let at = 0
    for (let a = sizes.length - 1; a >= 0; a--) {
      const size = sizes[a] as number
      at += (rest % size) * (strides[a] as number)
      rest = Math.floor(rest / size)
    }
    out[i] = at
  }
  return out
}

/** The weight of operators that take codes themselves, by the place of the input. */
const codedInput: Readonly<Record<string, number>> = {
  QLinearConv: 3,
  QLinearMatMul: 3,
  ConvInteger: 1,
  MatMulInteger: 1,
  MatMulIntegerToFloat: 1,
  DynamicQuantizeMatMul: 1
}

/** Names of the convolutions and products of matrices that run on int8 weights whose pair sums can saturate. */
export const saturatingNodes = (model: Model): string[] =>
  allGraphs(model).flatMap((graph) =>
    graph.nodes.filter((node) => isSaturating(node, weightOf(graph, node))).map((node) => node.name)
  )

interface Codes {
  readonly codes: Tensor
  /** A Transpose of two axes lies between codes and node. */
  readonly isTurned: boolean
}

function isSaturating(node: Node, weight: Codes | undefined): boolean {
  if (weight?.codes.dtype !== 'int8' || weight.codes.shape.length < 2) return false
  const { codes, isTurned } = weight
  if (node.op === 'Conv' || node.op === 'QLinearConv')
    return saturatingChannels(codes, 0, attrInt(node, 'group', 1)).includes(true)
  const isByRow = node.op === 'ConvInteger' || (attrInt(node, 'transB', 0) === 1) !== isTurned
  const width = (isByRow ? codes.shape[0] : codes.shape.at(-1)) as number
  const rest = elementCount(codes.shape) / width
  return saturatingChannels({ ...codes, shape: isByRow ? [width, rest] : [rest, width] }, isByRow ? 0 : 1).includes(
    true
  )
}

/** The codes of a weight that meets quantized activations; `undefined` where a node does not compute on integers. */
function weightOf(graph: Graph, node: Node): Codes | undefined {
  const at = codedInput[node.op]
  if (at !== undefined) return codesOf(graph, node.inputs[at])
  const [x, w] = node.inputs
  if (!isFused(graph, node) || x == null || producer(graph, x)?.op !== 'DequantizeLinear') return undefined
  const made = dequantizedConstant(graph, w)
  return made && { codes: made.codes, isTurned: false }
}

function codesOf(graph: Graph, id: string | null | undefined): Codes | undefined {
  const turn = id == null ? undefined : producer(graph, id)
  const isTurned = turn?.op === 'Transpose'
  const codes = constant(graph, isTurned ? turn.inputs[0] : id)
  return codes && (!isTurned || codes.shape.length === 2) ? { codes, isTurned } : undefined
}

/** Products may return floats; a Conv computes on integers only where its output is quantized, perhaps behind a Relu. */
function isFused(graph: Graph, node: Node): boolean {
  if (node.op === 'MatMul' || node.op === 'Gemm') return true
  if (node.op !== 'Conv') return false
  return consumers(graph, node.outputs[0] as string).some((next) => {
    const last = next.op === 'Relu' || next.op === 'Clip' ? consumers(graph, next.outputs[0] as string)[0] : next
    return last?.op === 'QuantizeLinear'
  })
}
