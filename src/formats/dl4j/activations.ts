/** Activation functions (`org.nd4j.linalg.activations.impl`), each as the nodes that compute it. */
import { float } from '../../ir/attrs.ts'
import { type Conf, confOf, num } from './conf.ts'
import { field } from './json.ts'
import type { Net, NodeAttrs, Signal } from './net.ts'

type Rule = (net: Net, x: string, c: Conf) => string

const plain =
  (op: string, attrs?: NodeAttrs): Rule =>
  (net, x) =>
    net.op(op, [x], attrs)
const named =
  (op: string, attribute: string, name: string, fallback: number): Rule =>
  (net, x, c) =>
    net.op(op, [x], { [attribute]: float(num(c, name, fallback)) })

const scalar = (net: Net, hint: string, value: number): string => net.constant(hint, 'float32', [], [value])
const clip =
  (low: number, high: number): Rule =>
  (net, x) =>
    net.op('Clip', [x, scalar(net, 'min', low), scalar(net, 'max', high)])
const times = (net: Net, x: string, factor: number): string => net.op('Mul', [x, scalar(net, 'factor', factor)])
const plus = (net: Net, x: string, term: number): string => net.op('Add', [x, scalar(net, 'term', term)])

/** x·σ(k·x). */
const gated =
  (k: number): Rule =>
  (net, x) =>
    net.op('Mul', [x, net.op('Sigmoid', [k === 1 ? x : times(net, x, k)])])

/** The cube in `precise` includes the constant: 0.5x(1 + tanh(√(2/π)(x + (0.044715x)³))). */
const gelu: Rule = (net, x, c) => {
  if (field(c.fields, 'precise') !== true) return gated(1.702)(net, x, c)
  const cube = net.op('Pow', [times(net, x, 0.044715), scalar(net, 'three', 3)])
  const inner = times(net, net.op('Add', [x, cube]), Math.sqrt(2 / Math.PI))
  return net.op('Mul', [times(net, x, 0.5), plus(net, net.op('Tanh', [inner]), 1)])
}

/** Below the threshold a line through it, slope 0 by default; above it the value; then at most `max`. */
const relu: Rule = (net, x, c) => {
  const [threshold, slope] = [num(c, 'threshold', 0), num(c, 'negativeSlope', 0)]
  const max = field(c.fields, 'max') == null ? undefined : num(c, 'max', 0)
  if (threshold === 0 && slope === 0)
    return max === undefined ? net.op('Relu', [x]) : net.op('Clip', [x, scalar(net, 'min', 0), scalar(net, 'max', max)])
  let y: string
  if (threshold === 0) y = net.op('LeakyRelu', [x], { alpha: float(slope) })
  else {
    const isAbove = net.op('GreaterOrEqual', [x, scalar(net, 'threshold', threshold)])
    y = net.op('Where', [isAbove, x, times(net, plus(net, x, -threshold), slope)])
  }
  return max === undefined ? y : net.op('Min', [y, scalar(net, 'max', max)])
}

/** y = 2x/3, 1.7159·sgn(y)·(1 − 1/(1 + |y| + y² + 1.41645y⁴)). */
const rationalTanh: Rule = (net, x) => {
  const y = times(net, x, 2 / 3)
  const square = net.op('Mul', [y, y])
  const sum = net.op('Add', [
    net.op('Abs', [y]),
    net.op('Add', [square, times(net, net.op('Mul', [square, square]), 1.41645)])
  ])
  const rest = net.op('Sub', [scalar(net, 'one', 1), net.op('Reciprocal', [plus(net, sum, 1)])])
  return times(net, net.op('Mul', [net.op('Sign', [y]), rest]), 1.7159)
}

/** While a network runs, a random slope is none: the greater of the value and the mean of both bounds. */
const rrelu: Rule = (net, x, c) =>
  net.op('Max', [x, scalar(net, 'mean', (num(c, 'l', 1 / 8) + num(c, 'u', 1 / 3)) / 2)])

const rules: Readonly<Record<string, Rule>> = {
  identity: (_, x) => x,
  relu,
  relu6: clip(0, 6),
  lrelu: named('LeakyRelu', 'alpha', 'alpha', 0.01),
  elu: named('Elu', 'alpha', 'alpha', 1),
  selu: plain('Selu'),
  sigmoid: plain('Sigmoid'),
  tanh: plain('Tanh'),
  softplus: plain('Softplus'),
  softsign: plain('Softsign'),
  swish: gated(1),
  mish: plain('Mish'),
  gelu,
  cube: (net, x) => net.op('Mul', [net.op('Mul', [x, x]), x]),
  hardtanh: clip(-1, 1),
  hardsigmoid: plain('HardSigmoid', { alpha: float(0.2), beta: float(0.5) }),
  thresholdedrelu: named('ThresholdedRelu', 'alpha', 'theta', 1),
  rectifiedtanh: (net, x) => net.op('Relu', [net.op('Tanh', [x])]),
  rationaltanh: rationalTanh,
  rrelu
}

/** The activation of a layer: an object with its class, or the name that layers of the SameDiff kind have. */
export function activationOf(c: Conf, name = 'activationFn'): Conf {
  const given = field(c.fields, name)
  const made = typeof given === 'string' ? { kind: given, fields: {}, where: c.where } : confOf(given, c.where, name)
  const kind = made.kind.replace(/^Activation/, '').toLowerCase()
  return { ...made, kind: kind === 'leakyrelu' ? 'lrelu' : kind }
}

/** Applies an activation. `over`: the axis that softmax goes over, by default the last one of DL4J's order. */
export function activate(net: Net, x: Signal, c: Conf, over = x.axes.at(-1) ?? 'C'): Signal {
  if (c.kind === 'softmax') return { ...x, id: net.op('Softmax', [x.id], { axis: x.held.indexOf(over) }) }
  const rule = Object.hasOwn(rules, c.kind) ? rules[c.kind] : undefined
  if (!rule) throw net.fail(`the activation ${c.kind} is not known`, 'E_UNSUPPORTED')
  return { ...x, id: rule(net, x.id, c) }
}

/** ONNX's name of an activation inside a recurrent layer, with its alpha and beta. */
export function recurrentActivation(net: Net, c: Conf): { name: string; alpha?: number; beta?: number } {
  switch (c.kind) {
    case 'tanh':
      return { name: 'Tanh' }
    case 'sigmoid':
      return { name: 'Sigmoid' }
    case 'softsign':
      return { name: 'Softsign' }
    case 'softplus':
      return { name: 'Softplus' }
    case 'identity':
      return { name: 'Affine', alpha: 1, beta: 0 }
    case 'hardsigmoid':
      return { name: 'HardSigmoid', alpha: 0.2, beta: 0.5 }
    case 'lrelu':
      return { name: 'LeakyRelu', alpha: num(c, 'alpha', 0.01) }
    case 'elu':
      return { name: 'Elu', alpha: num(c, 'alpha', 1) }
    case 'thresholdedrelu':
      return { name: 'ThresholdedRelu', alpha: num(c, 'theta', 1) }
    case 'relu':
      if (['threshold', 'negativeSlope', 'max'].every((name) => !field(c.fields, name))) return { name: 'Relu' }
  }
  throw net.fail(`the activation ${c.kind} inside a recurrent layer has no operator in ONNX`, 'E_UNSUPPORTED')
}
