/** What element-wise operators compute, as loops: each element of the output from those of the inputs. */
import { attrFloat, attrInt, attrString } from '../ir/attrs.ts'
import {
  abs,
  add,
  bits,
  ceil,
  compare,
  div,
  type Expr,
  f32,
  float,
  floor,
  i32,
  max,
  min,
  mul,
  nearest,
  neg,
  type Relation,
  select,
  sqrt,
  sub,
  whole
} from '../ir/loops.ts'
import { toNumbers } from '../ir/tensor.ts'
import { erf, exp, expm1, log, sigmoid, tanh } from './math.loops.ts'
import type { Loops, NodeView } from './types.ts'

type Lane = (x: readonly Expr[]) => Expr
type Rule = (n: NodeView) => Loops | undefined

const lanes = (value: Lane): Loops => ({ is: 'lanes', value })
/** Of one input, whatever the attributes. */
const one =
  (f: (x: Expr) => Expr): Rule =>
  () =>
    lanes(([x]) => f(x as Expr))
const two =
  (f: (a: Expr, b: Expr) => Expr): Rule =>
  () =>
    lanes(([a, b]) => f(a as Expr, b as Expr))
/** All inputs joined from left to right. */
const folded =
  (f: (a: Expr, b: Expr) => Expr): Rule =>
  () =>
    lanes((all) => all.reduce((a, b) => f(a, b)))
/** Scalars alone, for want of a vector form. */
const onScalars =
  (f: (x: Expr) => Expr): Rule =>
  (n) =>
    n.inputs[0]?.dtype === 'float32' ? { is: 'lanes', value: ([x]) => f(x as Expr), scalar: true } : undefined

const clamp = (x: Expr, low: number, high: number): Expr => min(max(x, low), high)
const isFloats = (n: NodeView): boolean => n.inputs[0]?.dtype === 'float32'
const relation =
  (op: Relation): Rule =>
  () =>
    lanes(([a, b]) => compare(op, a as Expr, b as Expr))
const hardSigmoid = (x: Expr, alpha: number, beta: number): Expr => clamp(add(mul(x, alpha), beta), 0, 1)
const softplus = (x: Expr): Expr => add(max(x, 0), log(add(exp(neg(abs(x))), 1)))

function clip(n: NodeView): Loops | undefined {
  const bound = (i: number): number | undefined => {
    const data = n.inputs[i]?.data
    return data && toNumbers(data)[0]
  }
  if ([1, 2].some((i) => (n.node.inputs[i] ?? null) !== null && bound(i) === undefined)) return undefined
  const [low, high] = [bound(1), bound(2)]
  return lanes(([x]) => {
    const lower = low === undefined ? (x as Expr) : max(x as Expr, low)
    return high === undefined ? lower : min(lower, high)
  })
}

function gelu(n: NodeView): Loops {
  const isTanh = attrString(n.node, 'approximate', 'none') === 'tanh'
  return lanes(([x]) => {
    const v = x as Expr
    const inner = isTanh ? tanh(mul(mul(v, add(mul(mul(v, v), 0.044715), 1)), 0.7978845608)) : erf(mul(v, Math.SQRT1_2))
    return mul(mul(v, 0.5), add(inner, 1))
  })
}

function pow(n: NodeView): Loops | undefined {
  const data = n.inputs[1]?.data
  const y = data?.shape.every((d) => d === 1) ? toNumbers(data)[0] : undefined
  if (!isFloats(n) || y === undefined) return undefined
  if (y === 2) return lanes(([x]) => mul(x as Expr, x as Expr))
  if (y === 0.5) return lanes(([x]) => sqrt(x as Expr))
  if (y === 3) return lanes(([x]) => mul(mul(x as Expr, x as Expr), x as Expr))
  return { is: 'lanes', scalar: true, value: ([x]) => exp(mul(log(x as Expr), y)) }
}

/** Between float32, whole numbers and truth values; what lies in memory as which cell is the compiler's matter. */
function cast(n: NodeView): Loops | undefined {
  const [from, to] = [n.inputs[0]?.dtype, n.outputs[0]?.dtype]
  if (from === to) return lanes(([x]) => x as Expr)
  if (to === 'bool') return lanes(([x]) => compare('ne', x as Expr, from === 'float32' ? f32(0) : i32(0)))
  if (from === 'float32') return lanes(([x]) => whole(x as Expr))
  return lanes(([x]) => (to === 'float32' ? float(x as Expr) : (x as Expr)))
}

/** (x − mean) / sqrt(variance + epsilon) · scale + bias, in the order that keeps each number one per channel. */
function batchNormalization(n: NodeView): Loops | undefined {
  if (attrInt(n.node, 'training_mode', 0)) return undefined
  const epsilon = attrFloat(n.node, 'epsilon', 1e-5)
  return {
    is: 'lanes',
    channels: [1, 2, 3, 4],
    value: ([x, scale, bias, mean, variance]) =>
      add(mul(sub(x as Expr, mean as Expr), div(scale as Expr, sqrt(add(variance as Expr, epsilon)))), bias as Expr)
  }
}

/** By name; see `withLoops`. */
export const laneLoops: Readonly<Record<string, Rule>> = {
  Relu: one((x) => max(x, 0)),
  LeakyRelu: (n) => {
    const alpha = attrFloat(n.node, 'alpha', 0.01)
    return lanes(([x]) => select(compare('lt', x as Expr, 0), mul(x as Expr, alpha), x as Expr))
  },
  PRelu: two((x, slope) => select(compare('lt', x, 0), mul(x, slope), x)),
  ThresholdedRelu: (n) => {
    const alpha = attrFloat(n.node, 'alpha', 1)
    return lanes(([x]) => select(compare('gt', x as Expr, alpha), x as Expr, 0))
  },
  Elu: (n) => {
    const alpha = attrFloat(n.node, 'alpha', 1)
    return lanes(([x]) => select(compare('lt', x as Expr, 0), mul(expm1(min(x as Expr, 0)), alpha), x as Expr))
  },
  Celu: (n) => {
    const alpha = attrFloat(n.node, 'alpha', 1)
    return lanes(([x]) => add(max(x as Expr, 0), mul(expm1(div(min(x as Expr, 0), alpha)), alpha)))
  },
  Selu: (n) => {
    const [alpha, gamma] = [
      attrFloat(n.node, 'alpha', 1.6732632423543772),
      attrFloat(n.node, 'gamma', 1.0507009873554805)
    ]
    return lanes(([x]) =>
      mul(select(compare('lt', x as Expr, 0), mul(expm1(min(x as Expr, 0)), alpha), x as Expr), gamma)
    )
  },
  Sigmoid: one(sigmoid),
  Tanh: one(tanh),
  HardSigmoid: (n) => {
    const [alpha, beta] = [attrFloat(n.node, 'alpha', 0.2), attrFloat(n.node, 'beta', 0.5)]
    return lanes(([x]) => hardSigmoid(x as Expr, alpha, beta))
  },
  HardSwish: one((x) => mul(x, hardSigmoid(x, 1 / 6, 0.5))),
  Softsign: one((x) => div(x, add(abs(x), 1))),
  Softplus: onScalars(softplus),
  Mish: onScalars((x) => mul(x, tanh(softplus(x)))),
  Swish: (n) => {
    const alpha = attrFloat(n.node, 'alpha', 1)
    return lanes(([x]) => mul(x as Expr, sigmoid(mul(x as Expr, alpha))))
  },
  Shrink: (n) => {
    const [bias, lambda] = [attrFloat(n.node, 'bias', 0), attrFloat(n.node, 'lambd', 0.5)]
    return lanes(([x]) => {
      const v = x as Expr
      return select(compare('lt', v, -lambda), add(v, bias), select(compare('gt', v, lambda), sub(v, bias), 0))
    })
  },
  Gelu: gelu,
  Erf: one(erf),
  Exp: one(exp),
  Log: onScalars(log),
  Sqrt: one(sqrt),
  Reciprocal: one((x) => div(1, x)),
  Abs: one(abs),
  Neg: one(neg),
  Floor: one(floor),
  Ceil: one(ceil),
  Round: one(nearest),
  Sign: one((x) => select(compare('gt', x, 0), 1, select(compare('lt', x, 0), -1, 0))),
  Clip: clip,
  Pow: pow,
  Add: two(add),
  Sub: two(sub),
  Mul: two(mul),
  Div: two(div),
  Max: folded(max),
  Min: folded(min),
  Sum: folded(add),
  Mean: (n) =>
    lanes((all) =>
      mul(
        all.reduce((a, b) => add(a, b)),
        1 / n.inputs.length
      )
    ),
  Mod: (n) =>
    attrInt(n.node, 'fmod', 0) === 0 && !isFloats(n)
      ? lanes(([a, b]) => {
          const r = bits('rem', a as Expr, b as Expr)
          const isOther = compare('lt', bits('xor', r, b as Expr), 0)
          return select(bits('and', isOther, compare('ne', r, 0)), add(r, b as Expr), r)
        })
      : undefined,
  Equal: relation('eq'),
  Greater: relation('gt'),
  GreaterOrEqual: relation('ge'),
  Less: relation('lt'),
  LessOrEqual: relation('le'),
  And: two((a, b) => bits('and', a, b)),
  Or: two((a, b) => bits('or', a, b)),
  Xor: two((a, b) => bits('xor', a, b)),
  Not: one((x) => bits('xor', x, 1)),
  Where: () => lanes(([c, a, b]) => select(compare('ne', c as Expr, i32(0)), a as Expr, b as Expr)),
  IsNaN: one((x) => compare('ne', x, x)),
  Cast: cast,
  BatchNormalization: batchNormalization
}
