/** Losses over class scores `[batch, classes, …]` with targets `[batch, …]`. */
import { attrString } from '../ir/attrs.ts'
import type { Dim } from '../types.ts'
import { dtypeOf, freeOp, shapeOf, tensorType, typeOnly } from './op.ts'
import type { NodeView, Op } from './types.ts'

/** One number, or one per target without reduction. */
const lossShape = (n: NodeView): readonly Dim[] | undefined =>
  attrString(n.node, 'reduction', 'mean') === 'none' ? shapeOf(n, 1) : []

/** Losses. */
export const lossOps: readonly Op[] = [
  freeOp('NegativeLogLikelihoodLoss', { infer: (n) => [tensorType(dtypeOf(n, 0), lossShape(n))] }),
  freeOp('SoftmaxCrossEntropyLoss', {
    infer: (n) => [tensorType(dtypeOf(n, 0), lossShape(n)), typeOnly(n.inputs[0])].slice(0, n.node.outputs.length)
  })
]
