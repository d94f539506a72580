/** Element-wise functions of one tensor with a shape of their own: neural activations, and Softmax and its kin. */
import { attrInt } from '../ir/attrs.ts'
import type { NodeView, Op, QuantRule } from '../types.ts'
import { activationGrads } from './activation.grad.ts'
import { axisOf, freeOp, sameType, withGrads } from './op.ts'

const own: QuantRule = { inputs: [0], output: 'own' }

/** Along one axis; the axis must exist. */
function alongAxis(n: NodeView): ReturnType<typeof sameType> {
  const rank = n.inputs[0]?.shape?.length
  if (rank) axisOf(n, attrInt(n.node, 'axis', -1), rank)
  return sameType(n)
}

export const activationOps: readonly Op[] = withGrads(activationGrads, [
  freeOp('Relu', { quant: { ...own, clamp: () => ({ low: 0, high: Number.POSITIVE_INFINITY }) } }),
  freeOp('Sigmoid', { quant: own }),
  freeOp('LeakyRelu', { quant: own }),
  freeOp('Softmax', { infer: alongAxis, quant: own }),
  freeOp('LogSoftmax', { infer: alongAxis }),
  freeOp('Hardmax', { infer: alongAxis }),
  ...['Celu', 'Elu', 'Gelu', 'HardSigmoid', 'HardSwish', 'Mish', 'PRelu', 'Selu', 'Shrink'].map((name) => freeOp(name)),
  ...['Softplus', 'Softsign', 'Swish', 'Tanh', 'ThresholdedRelu'].map((name) => freeOp(name))
])
