/** Between real numbers and integers: q = saturate(round(x / scale) + zero point), per tensor, per axis or in blocks. */
import { attrInt } from '../ir/attrs.ts'
import { dtypeOfCode } from '../ir/dtype-code.ts'
import { everyAxis, into, link, otherAxes, out } from './channels.ts'
import { axisOf, dtypeOf, freeOp, isGiven, shapeOf, single, tensorType, withGrads } from './op.ts'
import { rounds } from './permute.ts'
import { quantGrads } from './quant.grad.ts'
import type { Known, Link, NodeView, Op } from './types.ts'

/** The zero point's type, else the one the attribute names, else uint8. */
function inferQuantize(n: NodeView): readonly (Known | undefined)[] {
  const named = dtypeOfCode(attrInt(n.node, 'output_dtype', 0)) ?? 'uint8'
  return [tensorType(isGiven(n, 2) ? dtypeOf(n, 2) : named, shapeOf(n, 0))]
}

function inferDequantize(n: NodeView): readonly (Known | undefined)[] {
  return [tensorType(dtypeOfCode(attrInt(n.node, 'output_dtype', 0)) ?? dtypeOf(n, 1), shapeOf(n, 0))]
}

function inferDynamic(n: NodeView): readonly (Known | undefined)[] {
  return [tensorType('uint8', shapeOf(n, 0)), tensorType('float32', []), tensorType('uint8', [])]
}

/** Scale and zero point of one number an axis go with it; those of blocks hold it together. */
function roundedChannels(n: NodeView): readonly Link[] {
  const [x, scale] = [shapeOf(n, 0), shapeOf(n, 1)]
  if (!x || !scale || attrInt(n.node, 'block_size', 0) !== 0) return []
  if (scale.length === 0 || scale[0] === 1) return everyAxis(n)
  const axis = axisOf(n, attrInt(n.node, 'axis', 1), x.length)
  const zero = isGiven(n, 2) ? [into(2, 0)] : []
  return [...link(x[axis], [into(0, axis), into(1, 0), ...zero, out(0, axis)]), ...otherAxes(n, [axis])]
}

const microsoft = 'com.microsoft'

/** Quantizing and back. */
export const quantOps: readonly Op[] = withGrads(quantGrads, [
  freeOp('QuantizeLinear', {
    permute: rounds,
    infer: inferQuantize,
    channels: roundedChannels,
    codes: 'values',
    ...single
  }),
  freeOp('DequantizeLinear', {
    permute: rounds,
    infer: inferDequantize,
    channels: roundedChannels,
    codes: 'weights',
    ...single
  }),
  freeOp('DynamicQuantizeLinear', { infer: inferDynamic, codes: 'values', ...single }),
  freeOp('QuantizeLinear', { domain: microsoft, infer: inferQuantize, codes: 'values' }),
  freeOp('DequantizeLinear', { domain: microsoft, infer: inferDequantize, codes: 'weights' })
])
