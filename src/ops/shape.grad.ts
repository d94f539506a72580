/** Gradients of operators that only see an array otherwise: the view back; what was repeated is summed. */
import { attrInts } from '../ir/attrs.ts'
import { toNumbers } from '../ir/tensor.ts'
import { algebra, indicator, inputOf, outputOf, range, reshape, rule, sumOver, sumTo, transpose } from './grad.ts'
import type { Grad, GradBuilder, NodeView, TrainForm } from './types.ts'

/** Back to the shape of the data; shapes and axes get nothing. */
const view: Grad = rule((g, n, dy) => [
  reshape(g, dy, inputOf(g, n, 0).shape),
  ...n.node.inputs.slice(1).map(() => null)
])

const permuted: Grad = rule((g, n, dy) => {
  const rank = dy.shape.length
  const perm = attrInts(n.node, 'perm') ?? range(rank).reverse()
  const back = range(rank).map((axis) => perm.findIndex((p) => (p < 0 ? p + rank : p) === axis))
  return [transpose(g, dy, back)]
})

const expanded: Grad = rule((g, n, dy) => [sumTo(g, dy, inputOf(g, n, 0).shape), null])

const tiled: Grad = rule((g, n, dy) => {
  const x = inputOf(g, n, 0)
  const apart = x.shape.flatMap((d, i) => [d === 0 ? 1 : (dy.shape[i] as number) / d, d])
  return [
    sumOver(
      g,
      reshape(g, dy, apart),
      x.shape.map((_, i) => 2 * i)
    ),
    null
  ]
})

/** Identity in inference; in training mode the mask that the node itself drew. */
const dropout: Grad = rule((g, n, dy) => {
  const rest = n.node.inputs.slice(1).map(() => null)
  if (!isTraining(n)) return [dy, ...rest]
  const a = algebra(g)
  return [a.mul(a.mul(dy, indicator(g, outputOf(g, n, 1), dy.dtype)), 1 / (1 - ratioOf(n))), ...rest]
})

const isTraining = (n: NodeView): boolean => {
  const data = n.inputs[2]?.data
  return data !== undefined && toNumbers(data)[0] === 1
}

function ratioOf(n: NodeView): number {
  const data = n.inputs[1]?.data
  return data ? (toNumbers(data)[0] as number) : 0.5
}

/** Keeps an element where the noise of the step is at least the ratio, scaled up by what is lost. */
export function dropoutTrain(g: GradBuilder, n: NodeView): TrainForm | undefined {
  const a = algebra(g)
  const x = inputOf(g, n, 0)
  const ratio = ratioOf(n)
  if (ratio === 0 || (n.node.outputs[1] ?? '') !== '') return undefined
  const dropped = indicator(g, a.less(g.noise(x.shape), ratio), x.dtype)
  const factor = a.mul(a.sub(1, dropped), 1 / (1 - ratio))
  return {
    outputs: [a.mul(x, factor)],
    grad: ([dy]) => [dy ? a.mul(dy, factor) : null, ...n.node.inputs.slice(1).map(() => null)]
  }
}

export const shapeGrads: Readonly<Record<string, Grad>> = {
  Reshape: view,
  Flatten: view,
  Squeeze: view,
  Unsqueeze: view,
  Identity: view,
  Transpose: permuted,
  Expand: expanded,
  Tile: tiled,
  Dropout: dropout
}
