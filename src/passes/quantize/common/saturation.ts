/**
 * x86 without VNNI multiplies u8 activations by s8 weights and adds neighbours in int16 (vpmaddubsw): the sum saturates
 * when 255·(w_k + w_{k+1}) leaves int16, that is when |w_k + w_{k+1}| > 128 for weights that are neighbours in the order
 * the kernel reads them: kernel position first, input channel last. The bound is exact over all activations.
 */
import { allGraphs, constant, consumers, graphView, opName, producer } from '../../../ir/graph.ts'
import { rowsOf } from '../../../ir/rows.ts'
import { typedValues } from '../../../ir/tensor.ts'
import { linearOf } from '../../../ops/ask.ts'
import { inferShapes } from '../../../ops/infer.ts'
import { isDepthwise } from '../../../ops/linear.ts'
import { dequantizedConstant, dequantizer, isQuantize } from '../../../ops/quantized.ts'
import { moveOf } from '../../../ops/reorder.ts'
import type { Linear } from '../../../ops/types.ts'
import type { Target } from '../../../targets/types.ts'
import type { Graph, Model, Node, Tensor } from '../../../types.ts'

/** Codes up to this cannot saturate: 255 · (64 + 64) = 32640. */
export const safeLevels = 64

const largestPair = 128

/**
 * For each output channel of a layer with int8 codes, over all groups: can a pair sum saturate? Depthwise layers have kernels
 * without pair sums.
 */
export function saturatingChannels(codes: Tensor, l: Linear): boolean[] {
  const { groups, outputs, strides } = l
  if (isDepthwise(l)) return new Array<boolean>(groups).fill(false)
  const offsets = offsetsOf(l)
  const values = typedValues(codes)
  return Array.from({ length: groups * outputs }, (_, c) => {
    const base = Math.floor(c / outputs) * strides.group + (c % outputs) * strides.out
    for (let k = 1; k < offsets.length; k++) {
      const sum = Number(values[base + (offsets[k - 1] as number)]) + Number(values[base + (offsets[k] as number)])
      if (sum > largestPair || sum < -largestPair) return true
    }
    return false
  })
}

/** Where the weights of one output lie, in the order that kernels read them. */
function offsetsOf({ inputs, kernel, strides }: Linear): Int32Array {
  const out = new Int32Array(kernel * inputs)
  for (let k = 0; k < kernel; k++)
    for (let i = 0; i < inputs; i++) out[k * inputs + i] = k * strides.kernel + i * strides.in
  return out
}

type Rows = Pick<Target, 'integer'>

/** Names of the convolutions and products of matrices that a target runs on int8 weights whose pair sums can saturate. */
export const saturatingNodes = (model: Model, target: Rows): string[] =>
  allGraphs(inferShapes(model)).flatMap((graph) =>
    graph.nodes.filter((node) => isSaturating(graph, node, target)).map((node) => node.name)
  )

function isSaturating(graph: Graph, node: Node, target: Rows): boolean {
  const linear = linearOf(graphView(graph), node)
  const found = linear && codesOf(graph, node, linear, target)
  return found?.codes.dtype === 'int8' && saturatingChannels(found.codes, found.layer).includes(true)
}

/** The codes of a weight that meets quantized activations; `undefined` where a node does not compute on integers. */
function codesOf(graph: Graph, node: Node, layer: Linear, target: Rows): { codes: Tensor; layer: Linear } | undefined {
  const id = node.inputs[layer.weight]
  const given = constant(graph, id)
  if (given) return { codes: given, layer }
  const maker = id == null ? undefined : producer(graph, id)
  const moved = maker && !layer.patch ? constant(graph, maker.inputs[0]) : undefined
  // The codes of a matrix lie transposed in the constant.
  if (moved && maker && moveOf(maker, moved.shape, (at) => constant(graph, at))?.back(0) === 1)
    return { codes: moved, layer: turnedLayer(layer) }
  if (!isFused(graph, node, target) || !dequantizer(graph, node.inputs[layer.data])) return undefined
  const made = dequantizedConstant(graph, id)
  return made && { codes: made.codes, layer }
}

function turnedLayer(l: Linear): Linear {
  const isByRow = l.strides.in === 1
  return { ...l, strides: { ...l.strides, out: isByRow ? 1 : l.inputs, in: isByRow ? l.outputs : 1 } }
}

/** Is there a kernel for it that gives floats, or one whose output is quantized, perhaps behind a clamp that it fuses with? */
function isFused(graph: Graph, node: Node, target: Rows): boolean {
  const row = rowsOf(target, node).find((r) => r.scales)
  if (!row || row.floatOutput) return row !== undefined
  return consumers(graph, node.outputs[0] as string).some((next) => {
    const isClamp = row.fusesWith?.includes(opName(next))
    return isQuantize(isClamp ? consumers(graph, next.outputs[0] as string)[0] : next)
  })
}
