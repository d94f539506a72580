/** Gradients of activations; s is the logistic function σ(x), y the output. */
import { attrFloat, attrInt, attrString } from '../ir/attrs.ts'
import { unaryGrad } from './elementwise.grad.ts'
import {
  type Algebra,
  algebra,
  constantLike,
  inputOf,
  outputOf,
  rule,
  sumOver,
  sumTo,
  type Term,
  wants,
  where
} from './grad.ts'
import type { Grad, GradBuilder, Ref } from './types.ts'

/** dy · (slope below 0, 1 above). */
function leaky(g: GradBuilder, a: Algebra, x: Ref, dy: Ref, below: Term): Ref {
  return g.op('Where', [a.greater(x, 0), dy, a.mul(dy, below)])
}

const rootHalf = Math.SQRT1_2
const rootTwoOverPi = Math.sqrt(2 / Math.PI)

/** Φ(x) + x·φ(x). */
function geluExact(a: Algebra, x: Ref, dy: Ref): Ref {
  const cdf = a.mul(a.add(a.erf(a.mul(x, rootHalf)), 1), 0.5)
  const pdf = a.mul(a.exp(a.mul(a.mul(x, x), -0.5)), 1 / Math.sqrt(2 * Math.PI))
  return a.mul(dy, a.add(cdf, a.mul(x, pdf)))
}

/** y = x/2·(1 + t), t = tanh(√(2/π)·(x + 0.044715·x³)). */
function geluTanh(a: Algebra, x: Ref, dy: Ref): Ref {
  const square = a.mul(x, x)
  const t = a.tanh(a.mul(x, a.add(a.mul(square, rootTwoOverPi * 0.044715), rootTwoOverPi)))
  const inner = a.add(a.mul(square, rootTwoOverPi * 0.134145), rootTwoOverPi)
  const slope = a.add(a.add(t, 1), a.mul(a.mul(x, a.sub(1, a.mul(t, t))), inner))
  return a.mul(dy, a.mul(slope, 0.5))
}

/** y = x·σ(αx): σ + αy·(1 − σ). */
function swish(a: Algebra, x: Ref, y: Ref, dy: Ref, alpha: number): Ref {
  const s = a.sigmoid(alpha === 1 ? x : a.mul(x, alpha))
  const rest = a.mul(y, a.sub(1, s))
  return a.mul(dy, a.add(s, alpha === 1 ? rest : a.mul(rest, alpha)))
}

/** dx = y·(dy − Σ dy·y), sums along the axis. */
const softmax: Grad = rule((g, n, dy) => {
  const a = algebra(g)
  const y = outputOf(g, n)
  const axis = axisFrom(attrInt(n.node, 'axis', -1), y)
  const weighted = a.mul(dy, y)
  return [a.sub(weighted, a.mul(y, sumOver(g, weighted, [axis], true)))]
})

/** dx = dy − softmax·Σ dy. */
const logSoftmax: Grad = rule((g, n, dy) => {
  const a = algebra(g)
  const y = outputOf(g, n)
  const axis = axisFrom(attrInt(n.node, 'axis', -1), y)
  return [a.sub(dy, a.mul(a.exp(y), sumOver(g, dy, [axis], true)))]
})

const axisFrom = (axis: number, x: Ref): number => (axis < 0 ? axis + x.shape.length : axis)

const parametric: Grad = rule((g, n, dy) => {
  const a = algebra(g)
  const [x, slope] = [inputOf(g, n, 0), inputOf(g, n, 1)]
  return [
    wants(g, n, 0) ? leaky(g, a, x, dy, slope) : null,
    wants(g, n, 1) ? sumTo(g, a.mul(dy, a.min(x, 0)), slope.shape) : null
  ]
})

const strictlyBetween = (a: Algebra, x: Ref, low: number, high: number): Ref =>
  a.and(a.greater(x, low), a.less(x, high))

/** com.microsoft: Gelu of x plus a bias of the last axis. */
const biased = (f: (a: Algebra, x: Ref, dy: Ref) => Ref): Grad =>
  rule((g, n, dy) => {
    const a = algebra(g)
    const isBiased = n.node.inputs[1] != null
    const sum = isBiased ? a.add(inputOf(g, n, 0), inputOf(g, n, 1)) : inputOf(g, n, 0)
    const dx = f(a, sum, dy)
    return isBiased ? [dx, wants(g, n, 1) ? sumTo(g, dx, inputOf(g, n, 1).shape) : null] : [dx]
  })

/** Gradients of com.microsoft's activations. */
export const contribGrads: Readonly<Record<string, Grad>> = {
  'com.microsoft:Gelu': biased(geluExact),
  'com.microsoft:BiasGelu': biased(geluExact),
  'com.microsoft:FastGelu': biased(geluTanh),
  'com.microsoft:QuickGelu': unaryGrad(({ a, x, y, dy }, _, n) => swish(a, x, y, dy, attrFloat(n.node, 'alpha', 1.702)))
}

export const activationGrads: Readonly<Record<string, Grad>> = {
  // Strict: a pruned unit at exactly 0 must stay dead.
  Relu: unaryGrad(({ a, y, dy }, g) => where(g, a.greater(y, 0), dy)),
  Sigmoid: unaryGrad(({ a, y, dy }) => a.mul(dy, a.mul(y, a.sub(1, y)))),
  Tanh: unaryGrad(({ a, y, dy }) => a.mul(dy, a.sub(1, a.mul(y, y)))),
  LeakyRelu: unaryGrad(({ a, x, dy }, g, n) => leaky(g, a, x, dy, attrFloat(n.node, 'alpha', 0.01))),
  PRelu: parametric,
  Elu: unaryGrad(({ a, x, y, dy }, g, n) => leaky(g, a, x, dy, a.add(y, attrFloat(n.node, 'alpha', 1)))),
  Celu: unaryGrad(({ a, x, y, dy }, g, n) => leaky(g, a, x, dy, a.add(a.div(y, attrFloat(n.node, 'alpha', 1)), 1))),
  Selu: unaryGrad(({ a, x, y, dy }, g, n) => {
    const [alpha, gamma] = [
      attrFloat(n.node, 'alpha', 1.6732631921768188),
      attrFloat(n.node, 'gamma', 1.0507010221481323)
    ]
    return g.op('Where', [a.greater(x, 0), a.mul(dy, gamma), a.mul(dy, a.add(y, alpha * gamma))])
  }),
  Gelu: unaryGrad(({ a, x, dy }, _, n) =>
    attrString(n.node, 'approximate', 'none') === 'tanh' ? geluTanh(a, x, dy) : geluExact(a, x, dy)
  ),
  Swish: unaryGrad(({ a, x, y, dy }, _, n) => swish(a, x, y, dy, attrFloat(n.node, 'alpha', 1))),
  HardSigmoid: unaryGrad(({ a, y, dy }, g, n) =>
    where(g, strictlyBetween(a, y, 0, 1), a.mul(dy, attrFloat(n.node, 'alpha', 0.2)))
  ),
  // x·clip(x/6 + 1/2, 0, 1): x/3 + 1/2 between −3 and 3, 1 above.
  HardSwish: unaryGrad(({ a, x, dy }, g) => {
    const inside = g.op('Where', [a.less(x, 3), a.add(a.mul(x, 1 / 3), 0.5), constantLike(g, x, 1)])
    return where(g, a.greater(x, -3), a.mul(dy, inside))
  }),
  Softplus: unaryGrad(({ a, x, dy }) => a.mul(dy, a.sigmoid(x))),
  Softsign: unaryGrad(({ a, x, dy }) => {
    const d = a.add(a.abs(x), 1)
    return a.div(dy, a.mul(d, d))
  }),
  // t = tanh(softplus(x)): t + x·σ(x)·(1 − t²).
  Mish: unaryGrad(({ a, x, dy }, g) => {
    const t = a.tanh(g.op('Softplus', [x]))
    return a.mul(dy, a.add(t, a.mul(a.mul(x, a.sigmoid(x)), a.sub(1, a.mul(t, t)))))
  }),
  ThresholdedRelu: unaryGrad(({ a, x, dy }, g, n) => where(g, a.greater(x, attrFloat(n.node, 'alpha', 1)), dy)),
  Shrink: unaryGrad(({ a, x, dy }, g, n) => where(g, a.greater(a.abs(x), attrFloat(n.node, 'lambd', 0.5)), dy)),
  Softmax: softmax,
  LogSoftmax: logSoftmax
}
