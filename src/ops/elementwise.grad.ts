/** Gradients of element-wise arithmetic: dx = dy · f′(x), summed over the axes along which an operand was repeated. */
import { attrInt } from '../ir/attrs.ts'
import { isFloat } from '../ir/tensor.ts'
import {
  type Algebra,
  algebra,
  cast,
  flat,
  indicator,
  inputOf,
  outputOf,
  rule,
  sumTo,
  wants,
  where,
  zeros
} from './grad.ts'
import type { Grad, GradBuilder, NodeView, Ref } from './types.ts'

interface Unary {
  readonly a: Algebra
  readonly x: Ref
  readonly y: Ref
  readonly dy: Ref
}

/** A rule of a function of one tensor. */
export const unaryGrad = (f: (u: Unary, g: GradBuilder, n: NodeView) => Ref): Grad =>
  rule((g, n, dy) => [f({ a: algebra(g), x: inputOf(g, n, 0), y: outputOf(g, n), dy }, g, n)])

type Operand = (c: { a: Algebra; x: Ref; y: Ref; z: Ref; dy: Ref }) => Ref

/** A rule of z = f(x, y) from its two partial products. */
const binaryGrad = (left: Operand, right: Operand): Grad =>
  rule((g, n, dy) => {
    const [x, y] = [inputOf(g, n, 0), inputOf(g, n, 1)]
    const c = { a: algebra(g), x, y, z: outputOf(g, n), dy }
    return [wants(g, n, 0) ? sumTo(g, left(c), x.shape) : null, wants(g, n, 1) ? sumTo(g, right(c), y.shape) : null]
  })

/** x^y: y·x^(y−1), and z·ln x, which is 0 where x is. */
const power: Grad = rule((g, n, dy) => {
  const [x, y] = [inputOf(g, n, 0), inputOf(g, n, 1)]
  const a = algebra(g)
  const exponent = cast(g, y, x.dtype)
  const left = (): Ref => a.mul(dy, a.mul(exponent, a.pow(x, a.sub(exponent, 1))))
  const right = (): Ref => {
    const positive = a.greater(x, 0)
    const log = a.log(g.op('Where', [positive, x, a.add(a.mul(x, 0), 1)]))
    return cast(g, a.mul(dy, a.mul(outputOf(g, n), log)), y.dtype)
  }
  return [
    wants(g, n, 0) ? sumTo(g, left(), x.shape) : null,
    wants(g, n, 1) && isFloat(y.dtype) ? sumTo(g, right(), y.shape) : null
  ]
})

/** Operands that all get the same share of dy. */
const sharing = (share: (count: number) => number): Grad =>
  rule((g, n, dy) => {
    const s = share(n.node.inputs.length)
    const part = s === 1 ? dy : algebra(g).mul(dy, s)
    return n.node.inputs.map((_, i) => (wants(g, n, i) ? sumTo(g, part, inputOf(g, n, i).shape) : null))
  })

/** To the operands that give the extreme, in equal parts. */
const extreme: Grad = rule((g, n, dy) => {
  const a = algebra(g)
  const y = outputOf(g, n)
  if (n.node.inputs.length === 1) return [dy]
  const hits = n.node.inputs.map((_, i) => indicator(g, a.equal(inputOf(g, n, i), y), dy.dtype))
  const share = a.div(dy, hits.reduce(a.add))
  return hits.map((hit, i) => (wants(g, n, i) ? sumTo(g, a.mul(share, hit), inputOf(g, n, i).shape) : null))
})

const select: Grad = rule((g, n, dy) => {
  const condition = inputOf(g, n, 0)
  const none = zeros(g, dy.dtype, [])
  const part = (i: number): Ref =>
    sumTo(g, g.op('Where', i === 1 ? [condition, dy, none] : [condition, none, dy]), inputOf(g, n, i).shape)
  return [null, wants(g, n, 1) ? part(1) : null, wants(g, n, 2) ? part(2) : null]
})

/** Strictly between the bounds; a bound gets what it cuts off. */
const clip: Grad = rule((g, n, dy) => {
  const a = algebra(g)
  const x = inputOf(g, n, 0)
  const [low, high] = [1, 2].map((i) => (n.node.inputs[i] == null ? undefined : inputOf(g, n, i)))
  const above = low && a.greater(x, low)
  const below = high && a.less(x, high)
  const inside = above && below ? a.and(above, below) : (above ?? below)
  return [
    inside ? where(g, inside, dy) : dy,
    low && wants(g, n, 1) ? sumTo(g, where(g, a.less(x, low), dy), low.shape) : null,
    high && wants(g, n, 2) ? sumTo(g, where(g, a.greater(x, high), dy), high.shape) : null
  ].slice(0, n.node.inputs.length)
})

/** Between floating types only. */
const casting: Grad = rule((g, n, dy) => {
  const x = inputOf(g, n, 0)
  return n.node.inputs.map((_, i) => (i === 0 && isFloat(x.dtype) ? cast(g, dy, x.dtype) : null))
})

/** x − y·trunc(x / y). */
const modulo: Grad = (g, n, dy) => {
  if (attrInt(n.node, 'fmod', 0) === 0) return flat(g, n, dy)
  return binaryGrad(
    ({ dy }) => dy,
    ({ a, x, y, z, dy }) => a.mul(dy, a.div(a.sub(z, x), y))
  )(g, n, dy)
}

const twoOverRootPi = 2 / Math.sqrt(Math.PI)

export const elementwiseGrads: Readonly<Record<string, Grad>> = {
  Abs: unaryGrad(({ a, x, dy }) => a.mul(dy, a.sign(x))),
  Acos: unaryGrad(({ a, x, dy }) => a.neg(a.div(dy, a.sqrt(a.sub(1, a.mul(x, x)))))),
  Acosh: unaryGrad(({ a, x, dy }) => a.div(dy, a.sqrt(a.sub(a.mul(x, x), 1)))),
  Asin: unaryGrad(({ a, x, dy }) => a.div(dy, a.sqrt(a.sub(1, a.mul(x, x))))),
  Asinh: unaryGrad(({ a, x, dy }) => a.div(dy, a.sqrt(a.add(a.mul(x, x), 1)))),
  Atan: unaryGrad(({ a, x, dy }) => a.div(dy, a.add(a.mul(x, x), 1))),
  Atanh: unaryGrad(({ a, x, dy }) => a.div(dy, a.sub(1, a.mul(x, x)))),
  Cos: unaryGrad(({ a, x, dy }) => a.neg(a.mul(dy, a.sin(x)))),
  Cosh: unaryGrad(({ a, x, dy }, g) => a.mul(dy, g.op('Sinh', [x]))),
  Erf: unaryGrad(({ a, x, dy }) => a.mul(dy, a.mul(a.exp(a.neg(a.mul(x, x))), twoOverRootPi))),
  Exp: unaryGrad(({ a, y, dy }) => a.mul(dy, y)),
  Log: unaryGrad(({ a, x, dy }) => a.div(dy, x)),
  Neg: unaryGrad(({ a, dy }) => a.neg(dy)),
  Reciprocal: unaryGrad(({ a, y, dy }) => a.neg(a.mul(dy, a.mul(y, y)))),
  Sin: unaryGrad(({ a, x, dy }) => a.mul(dy, a.cos(x))),
  Sinh: unaryGrad(({ a, x, dy }, g) => a.mul(dy, g.op('Cosh', [x]))),
  Sqrt: unaryGrad(({ a, y, dy }) => a.div(dy, a.mul(y, 2))),
  Tan: unaryGrad(({ a, y, dy }) => a.mul(dy, a.add(a.mul(y, y), 1))),
  Ceil: flat,
  Floor: flat,
  Round: flat,
  Sign: flat,
  Add: binaryGrad(
    ({ dy }) => dy,
    ({ dy }) => dy
  ),
  Sub: binaryGrad(
    ({ dy }) => dy,
    ({ a, dy }) => a.neg(dy)
  ),
  Mul: binaryGrad(
    ({ a, y, dy }) => a.mul(dy, y),
    ({ a, x, dy }) => a.mul(dy, x)
  ),
  Div: binaryGrad(
    ({ a, y, dy }) => a.div(dy, y),
    ({ a, y, z, dy }) => a.neg(a.mul(dy, a.div(z, y)))
  ),
  Mod: modulo,
  Pow: power,
  Sum: sharing(() => 1),
  Mean: sharing((count) => 1 / count),
  Max: extreme,
  Min: extreme,
  Where: select,
  Clip: clip,
  Cast: casting,
  CastLike: casting
}
