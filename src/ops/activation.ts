/** Element-wise functions of one tensor with a shape of their own: neural activations, and Softmax and its kin. */
import { attrInt } from '../ir/attrs.ts'
import { activationGrads } from './activation.grad.ts'
import { everyAxis, otherAxes } from './channels.ts'
import { alone, axisOf, freeOp, sameType, single, withGrads } from './op.ts'
import { alongAxis as alongAnAxis, together } from './permute.ts'
import type { Link, NodeView, Op, QuantRule } from './types.ts'

const own: QuantRule = { inputs: [0], output: 'own' }
const probability: QuantRule = { inputs: [0], output: { low: 0, high: 1 } }

/** Along one axis; the axis must exist. */
function alongAxis(n: NodeView): ReturnType<typeof sameType> {
  const rank = n.inputs[0]?.shape?.length
  if (rank) axisOf(n, attrInt(n.node, 'axis', -1), rank)
  return sameType(n)
}

const otherThanAxis = (n: NodeView): readonly Link[] => {
  const rank = n.inputs[0]?.shape?.length
  return rank ? otherAxes(n, [axisOf(n, attrInt(n.node, 'axis', -1), rank)]) : []
}

const alike = (name: string, o: Partial<Op> = {}): Op =>
  freeOp(name, { channels: everyAxis, permute: together(), ...o })
const along = (name: string, o: Partial<Op> = {}): Op =>
  freeOp(name, { infer: alongAxis, channels: otherThanAxis, permute: alongAnAxis(-1), ...o })

export const activationOps: readonly Op[] = withGrads(activationGrads, [
  alike('Relu', { quant: { ...own, clamp: () => ({ low: 0, high: Number.POSITIVE_INFINITY }) }, homogeneous: alone }),
  alike('Sigmoid', { quant: { ...probability, thresholds: true }, meaning: 'scores' }),
  alike('LeakyRelu', { quant: own, homogeneous: alone }),
  along('Softmax', { quant: probability, meaning: 'scores', ranks: true }),
  along('LogSoftmax', { meaning: 'scores', ranks: true }),
  along('Hardmax', { meaning: 'scores' }),
  alike('Celu', single),
  ...['Elu', 'Gelu', 'HardSigmoid', 'HardSwish', 'Mish', 'Selu', 'Shrink'].map((name) => alike(name)),
  alike('PRelu', { starts: [undefined, 0.25], homogeneous: alone }),
  ...['Softplus', 'Softsign', 'Swish', 'Tanh', 'ThresholdedRelu'].map((name) => alike(name))
])
