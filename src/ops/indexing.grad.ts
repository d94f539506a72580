/** Gradients of picking and placing by index: picked elements are added back in place, placed ones picked again. */
import { PareError } from '../base/errors.ts'
import { attrInt, attrString } from '../ir/attrs.ts'
import { inputOf, outputOf, range, reshape, rule, transpose, wants, zeros } from './grad.ts'
import type { Grad, GradBuilder, NodeView, Ref } from './types.ts'

const zerosLike = (g: GradBuilder, x: Ref): Ref => zeros(g, x.dtype, x.shape)

const gather: Grad = rule((g, n, dy) => {
  if (!wants(g, n, 0)) return [null, null]
  const [x, indices] = [inputOf(g, n, 0), inputOf(g, n, 1)]
  const axis = attrInt(n.node, 'axis', 0)
  const at = axis < 0 ? axis + x.shape.length : axis
  const count = indices.shape.length
  const rank = x.shape.length
  // The picked axes first: dy [before, …indices, after] → [indices, before, after].
  const front = transpose(g, dy, [...range(count, at), ...range(at), ...range(rank - at - 1, at + count)])
  const order = [at, ...range(at), ...range(rank - at - 1, at + 1)]
  const base = zeros(
    g,
    x.dtype,
    order.map((i) => x.shape[i] as number)
  )
  const placed = g.op('ScatterND', [base, reshape(g, indices, [...indices.shape, 1]), front], { reduction: 'add' })
  return [
    transpose(
      g,
      placed,
      range(rank).map((i) => order.indexOf(i))
    ),
    null
  ]
})

const gatherElements: Grad = rule((g, n, dy) => [
  g.op('ScatterElements', [zerosLike(g, inputOf(g, n, 0)), inputOf(g, n, 1), dy], {
    axis: attrInt(n.node, 'axis', 0),
    reduction: 'add'
  }),
  null
])

const gatherND: Grad = rule((g, n, dy) => {
  if (attrInt(n.node, 'batch_dims', 0) !== 0)
    throw new PareError('E_UNSUPPORTED', 'no gradient of GatherND with batch_dims', { where: n.node.name })
  return [g.op('ScatterND', [zerosLike(g, inputOf(g, n, 0)), inputOf(g, n, 1), dy], { reduction: 'add' }), null]
})

/** Rules of the two scatters, which differ in the operators that place and pick. */
const scatter = (place: string, pick: string, attrs: (n: NodeView) => Record<string, number>): Grad =>
  rule((g, n, dy) => {
    const [indices, updates] = [inputOf(g, n, 1), inputOf(g, n, 2)]
    const reduction = attrString(n.node, 'reduction', 'none')
    if (reduction !== 'none' && reduction !== 'add')
      throw new PareError('E_UNSUPPORTED', `no gradient of ${n.node.op} with reduction ${reduction}`, {
        where: n.node.name
      })
    const around = (): Ref => g.op(place, [dy, indices, zerosLike(g, updates)], attrs(n))
    return [
      wants(g, n, 0) ? (reduction === 'add' ? dy : around()) : null,
      null,
      wants(g, n, 2) ? g.op(pick, [dy, indices], attrs(n)) : null
    ]
  })

const topK: Grad = rule((g, n, dy) => {
  const x = inputOf(g, n, 0)
  const indices = outputOf(g, n, 1)
  return [g.op('ScatterElements', [zerosLike(g, x), indices, dy], { axis: attrInt(n.node, 'axis', -1) }), null]
})

export const indexingGrads: Readonly<Record<string, Grad>> = {
  Gather: gather,
  GatherElements: gatherElements,
  GatherND: gatherND,
  ScatterElements: scatter('ScatterElements', 'GatherElements', (n) => ({ axis: attrInt(n.node, 'axis', 0) })),
  ScatterND: scatter('ScatterND', 'GatherND', () => ({})),
  TopK: topK
}
