/** Between real numbers and integers: q = saturate(round(x / scale) + zero point), per tensor, per axis or in blocks. */
import { attrInt } from '../ir/attrs.ts'
import { dtypeOfCode } from '../ir/dtype-code.ts'
import type { Known, NodeView, Op } from '../types.ts'
import { dtypeOf, freeOp, isGiven, shapeOf, tensorType, withGrads } from './op.ts'
import { quantGrads } from './quant.grad.ts'

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

const microsoft = 'com.microsoft'

/** Quantizing and back. */
export const quantOps: readonly Op[] = withGrads(quantGrads, [
  freeOp('QuantizeLinear', { infer: inferQuantize }),
  freeOp('DequantizeLinear', { infer: inferDequantize }),
  freeOp('DynamicQuantizeLinear', { infer: inferDynamic }),
  freeOp('QuantizeLinear', { domain: microsoft, infer: inferQuantize }),
  freeOp('DequantizeLinear', { domain: microsoft, infer: inferDequantize })
])
