/**
 * The com.microsoft operators that belong to no other family: element-wise arithmetic on integers with scales (every
 * tensor is followed by its scale and zero point), fused activations, blocked layouts.
 */
import { addDims, mulDims, sameDim, unknownDim } from '../base/dim.ts'
import { attrInt, attrInts } from '../ir/attrs.ts'
import type { Dim } from '../types.ts'
import { contribGrads } from './activation.grad.ts'
import { axesOf, axisOf, broadcast, dtypeOf, fail, freeOp, shapeOf, tensorType, withGrads } from './op.ts'
import { together } from './permute.ts'
import type { Known, NodeView, Op } from './types.ts'

/** Data at inputs 0 and 3. */
function inferBinary(n: NodeView): readonly (Known | undefined)[] {
  return [tensorType(dtypeOf(n, 0), broadcast(n, [shapeOf(n, 0), shapeOf(n, 3)]))]
}

/** Condition at input 0, data at 1 and 4. */
function inferWhere(n: NodeView): readonly (Known | undefined)[] {
  return [tensorType(dtypeOf(n, 1), broadcast(n, [shapeOf(n, 0), shapeOf(n, 1), shapeOf(n, 4)]))]
}

/** Scale and zero point of the output first, then three inputs per tensor. */
function inferConcat(n: NodeView): readonly (Known | undefined)[] {
  const shapes = n.node.inputs.flatMap((_, i) => (i % 3 === 2 ? [shapeOf(n, i)] : []))
  const first = shapes.find((s) => s !== undefined)
  if (!first) return [tensorType(dtypeOf(n, 2), undefined)]
  const axis = axisOf(n, attrInt(n.node, 'axis', 0), first.length)
  if (shapes.some((s) => s && s.length !== first.length)) fail(n, 'tensors of different rank')
  const y = first.map((_, i) => {
    const dims = shapes.map((s) => s?.[i] ?? unknownDim)
    return i === axis ? dims.reduce(addDims) : dims.reduce((a, b) => (typeof a === 'number' || sameDim(a, b) ? a : b))
  })
  return [tensorType(dtypeOf(n, 2), y)]
}

function inferReduce(n: NodeView): readonly (Known | undefined)[] {
  const x = shapeOf(n, 0)
  if (!x) return [tensorType(dtypeOf(n, 0), undefined)]
  const axes = axesOf(n, attrInts(n.node, 'axes') ?? x.map((_, i) => i), x.length)
  const kept = attrInt(n.node, 'keepdims', 1) !== 0
  const y = x.flatMap((d, i): Dim[] => (axes.includes(i) ? (kept ? [1] : []) : [d]))
  return [tensorType(dtypeOf(n, 0), y)]
}

/** Data, indices, scales; bytes of several packed codes unfold along the last axis. */
function inferGatherBlocks(n: NodeView): readonly (Known | undefined)[] {
  const [x, indices] = [shapeOf(n, 0), shapeOf(n, 1)]
  if (!x || !indices) return [tensorType(dtypeOf(n, 2), undefined)]
  const perByte = dtypeOf(n, 0) === 'uint8' ? 8 / attrInt(n.node, 'bits', 4) : 1
  const unpacked = x.map((d, i) => (i === x.length - 1 ? mulDims(d, perByte) : d))
  const axis = axisOf(n, attrInt(n.node, 'gather_axis', 0), x.length)
  return [tensorType(dtypeOf(n, 2), [...unpacked.slice(0, axis), ...indices, ...unpacked.slice(axis + 1)])]
}

/** Into blocks of 8 or 16 channels, which fills channels up: to how many depends on the machine. */
function inferReorderInput(n: NodeView): readonly (Known | undefined)[] {
  const x = shapeOf(n, 0)
  if (!x) return [tensorType(dtypeOf(n, 0), undefined)]
  const last = attrInt(n.node, 'channels_last', 0) !== 0
  const channels = (last ? x.at(-1) : x[1]) ?? unknownDim
  const filled = typeof channels === 'number' && channels % 16 === 0 ? channels : unknownDim
  return [tensorType(dtypeOf(n, 0), [x[0] ?? unknownDim, filled, ...(last ? x.slice(1, -1) : x.slice(2))])]
}

function inferReorderOutput(n: NodeView): readonly (Known | undefined)[] {
  const x = shapeOf(n, 0)
  const channels = attrInt(n.node, 'channels', 0)
  const last = attrInt(n.node, 'channels_last', 0) !== 0
  if (!x) return [tensorType(dtypeOf(n, 0), undefined)]
  const [batch, spatial] = [x[0] ?? unknownDim, x.slice(2)]
  return [tensorType(dtypeOf(n, 0), last ? [batch, ...spatial, channels] : [batch, channels, ...spatial])]
}

const domain = 'com.microsoft'
const blocked = 'com.microsoft.nchwc'

/** Operators of com.microsoft that keep the type and shape of input 0. */
const keeping = ['FastGelu', 'BiasGelu', 'BiasAdd', 'Trilu', 'Inverse']

/** com.microsoft's own. */
export const contribOps: readonly Op[] = withGrads(contribGrads, [
  ...keeping.map((name) => freeOp(name, { domain })),
  ...['Gelu', 'QuickGelu'].map((name) => freeOp(name, { domain, permute: together() })),
  ...['QLinearLeakyRelu', 'QLinearSigmoid', 'QLinearSoftmax'].map((name) => freeOp(name, { domain, codes: 'values' })),
  freeOp('QLinearAdd', { domain, infer: inferBinary, codes: 'values' }),
  freeOp('QLinearMul', { domain, infer: inferBinary, codes: 'values' }),
  freeOp('QLinearWhere', { domain, infer: inferWhere, codes: 'values' }),
  freeOp('QLinearConcat', { domain, infer: inferConcat, codes: 'values' }),
  freeOp('QLinearReduceMean', { domain, infer: inferReduce, codes: 'values' }),
  freeOp('GatherBlockQuantized', { domain, infer: inferGatherBlocks, codes: 'weights', precision: 'half' }),
  freeOp('ReorderInput', { domain: blocked, infer: inferReorderInput }),
  freeOp('ReorderOutput', { domain: blocked, infer: inferReorderOutput })
])
