/** Corrects float biases for weights that were rounded; the algebra is in ../bias/numbers.ts. */

import { attrInt } from '../../../ir/attrs.ts'
import { edit } from '../../../ir/edit.ts'
import { constant, producer } from '../../../ir/graph.ts'
import { calibrate } from '../../../observe/calibrate.ts'
import { opFor } from '../../../ops/index.ts'
import { inferShapes } from '../../../ops/infer.ts'
import { dequantizer } from '../../../ops/quantized.ts'
import type { QuantRule } from '../../../ops/types.ts'
import type { Dataset, Model, Node, Tensor } from '../../../types.ts'
import { type BiasPlace, biasPlace, shiftBias } from '../../biases.ts'
import type { Context } from '../../types.ts'
import { meanShift, type NeededMean, neededMean } from '../bias/numbers.ts'
import { channelsOf } from '../common/codes.ts'
import { expanded } from './apply.ts'

interface Correction {
  readonly node: Node
  readonly rule: QuantRule
  readonly weight: string
  readonly needed: NeededMean
  readonly place: BiasPlace
}

/**
 * The model `made` from `model` by storing weights as integers, with the biases of its outermost graph corrected for the
 * means of the data. Weights that are read through other nodes, and operators without a bias, are left as they are.
 */
export async function correctBiases(
  model: Model,
  made: Model,
  data: Dataset,
  ctx: Pick<Context, 'engine' | 'signal' | 'progress'>
): Promise<Model> {
  const typed = inferShapes(model)
  const todo = typed.graph.nodes.flatMap((node) => correction(typed, made, node) ?? [])
  if (todo.length === 0) return made
  const means = [...new Map(todo.map((c) => [c.needed.id, c.needed])).values()]
  const seen = await calibrate(typed, data, { taps: [], bins: 0, means }, ctx)
  return edit(made, (d) => {
    for (const c of todo) {
      const found = seen.means.get(c.needed.id)
      const node = d.producer(c.node.outputs[0] as string)
      if (found && node) shiftBias(d, made.graph, node, c.place, shiftOf(model, made, c, found))
    }
  })
}

function correction(typed: Model, made: Model, node: Node): Correction | undefined {
  const rule = opFor(node)?.quant
  const weight = rule?.weights ? node.inputs[rule.weights.input] : undefined
  const data = constant(typed.graph, weight)
  if (!rule || !weight || !data || !isRounded(made, weight, data)) return undefined
  const place = biasPlace(typed.graph, node)
  const needed = neededMean(typed, node, rule, data)
  return needed && typeof place !== 'string' && place.linear.alpha === 1
    ? { node, rule, weight, needed, place }
    : undefined
}

function axisOf(rule: QuantRule, node: Node, weight: Tensor): number {
  const axis = rule.weights?.axis(node) ?? 0
  return axis < 0 ? axis + weight.shape.length : axis
}

const isRounded = (made: Model, weight: string, before: Tensor): boolean =>
  dequantizer(made.graph, weight) !== undefined || (constant(made.graph, weight) ?? before) !== before

function shiftOf(model: Model, made: Model, c: Correction, means: Float64Array): Float64Array {
  const weight = constant(model.graph, c.weight) as Tensor
  const rounded = roundedOf(made, c.weight, weight)
  const channels = channelsOf(weight.shape, undefined)
  return meanShift(
    c.node,
    { weight, axis: axisOf(c.rule, c.node, weight), codes: rounded, channels, scales: [1] },
    means,
    c.needed.seen
  )
}

/** A stored weight as floats. */
function roundedOf(made: Model, id: string, like: Tensor): Tensor {
  const node = producer(made.graph, id)
  if (!node) return constant(made.graph, id) as Tensor
  const [codes, scales, zeros] = node.inputs.map((input) => constant(made.graph, input))
  const block = attrInt(node, 'block_size', 0)
  const at = attrInt(node, 'axis', 1)
  const axis = at < 0 ? at + like.shape.length : at
  const division = scales?.shape.length ? { axis, ...(block > 0 ? { block } : {}) } : {}
  return expanded({ codes: codes as Tensor, scales: scales as Tensor, ...(zeros ? { zeros } : {}) }, like, division)
}
