/** Gradients of reductions: dy, repeated along the reduced axes, times the derivative by each element. */
import { PareError } from '../base/errors.ts'
import { attrInt } from '../ir/attrs.ts'
import {
  type Algebra,
  algebra,
  constantLike,
  expand,
  indicator,
  inputOf,
  outputOf,
  range,
  reduce,
  reshape,
  rule,
  sumOver
} from './grad.ts'
import { givenAxes } from './op.ts'
import { toExtremes } from './pool.grad.ts'
import type { Grad, GradBuilder, NodeView, Ref } from './types.ts'

interface Reduced {
  readonly a: Algebra
  readonly x: Ref
  /** Output and its gradient with 1 for the reduced axes. */
  readonly y: Ref
  readonly dy: Ref
  readonly axes: readonly number[]
  /** Elements in one reduction. */
  readonly count: number
}

const reduceGrad = (f: (r: Reduced, g: GradBuilder) => Ref): Grad =>
  rule((g, n, dy) => {
    const x = inputOf(g, n, 0)
    const axes = axesOfNode(n, x)
    const kept = x.shape.map((d, i) => (axes.includes(i) ? 1 : d))
    const count = axes.reduce((c, i) => c * (x.shape[i] as number), 1)
    const r = { a: algebra(g), x, y: reshape(g, outputOf(g, n), kept), dy: reshape(g, dy, kept), axes, count }
    return [expand(g, f(r, g), x.shape), ...n.node.inputs.slice(1).map(() => null)]
  })

function axesOfNode(n: NodeView, x: Ref): readonly number[] {
  const given = givenAxes(n, 1)
  if (given === undefined)
    throw new PareError('E_UNSUPPORTED', `no gradient of ${n.node.op} over computed axes`, { where: n.node.name })
  if (given !== 'none' && given.length > 0) return given.map((i) => (i < 0 ? i + x.shape.length : i))
  return attrInt(n.node, 'noop_with_empty_axes', 0) === 0 ? range(x.shape.length) : []
}

/** The product of the others, also where elements are 0. */
function product({ a, x, dy, axes }: Reduced, g: GradBuilder): Ref {
  const isZero = a.equal(x, 0)
  const filled = g.op('Where', [isZero, constantLike(g, x, 1), x])
  const rest = reduce(g, 'ReduceProd', filled, axes, true)
  const zeros = sumOver(g, indicator(g, isZero, x.dtype), axes, true)
  const only = (count: number): Ref => a.mul(rest, indicator(g, a.equal(zeros, count), x.dtype))
  return a.mul(dy, g.op('Where', [isZero, only(1), a.div(only(0), filled)]))
}

/** x / ‖x‖, and 0 where that is 0. */
function norm({ a, x, y, dy }: Reduced, g: GradBuilder): Ref {
  const safe = g.op('Where', [a.equal(y, 0), constantLike(g, y, 1), y])
  return a.mul(x, a.div(dy, safe))
}

const extreme = ({ x, y, dy, axes }: Reduced, g: GradBuilder): Ref => toExtremes(g, x, y, dy, axes)

/** The sum from the other end. */
const cumSum: Grad = rule((g, n, dy) => {
  const reverse = attrInt(n.node, 'reverse', 0) === 0
  const attrs = { exclusive: attrInt(n.node, 'exclusive', 0) || undefined, reverse: reverse ? 1 : undefined }
  return [g.op('CumSum', [dy, inputOf(g, n, 1)], attrs), null]
})

export const reduceGrads: Readonly<Record<string, Grad>> = {
  ReduceSum: reduceGrad(({ dy }) => dy),
  ReduceMean: reduceGrad(({ a, dy, count }) => a.mul(dy, 1 / count)),
  ReduceMax: reduceGrad(extreme),
  ReduceMin: reduceGrad(extreme),
  ReduceProd: reduceGrad(product),
  ReduceL1: reduceGrad(({ a, x, dy }) => a.mul(dy, a.sign(x))),
  ReduceL2: reduceGrad(norm),
  ReduceLogSum: reduceGrad(({ a, y, dy }) => a.mul(dy, a.exp(a.neg(y)))),
  ReduceLogSumExp: reduceGrad(({ a, x, y, dy }) => a.mul(dy, a.exp(a.sub(x, y)))),
  ReduceSumSquare: reduceGrad(({ a, x, dy }) => a.mul(x, a.mul(dy, 2))),
  CumSum: cumSum
}
