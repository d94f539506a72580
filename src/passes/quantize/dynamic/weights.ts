/** The integer weights of a dynamic plan, and what their rounding adds to the mean of each output channel. */

import { toArray } from '../../../base/bytes.ts'
import { assert } from '../../../base/errors.ts'
import { takenIds } from '../../../ir/edit.ts'
import { allGraphs, constant, graphView } from '../../../ir/graph.ts'
import { elementCount } from '../../../ir/tensor.ts'
import { calibrate } from '../../../observe/calibrate.ts'
import { linearOf } from '../../../ops/ask.ts'
import { opFor } from '../../../ops/index.ts'
import type { Dataset, Model, Node, Tensor } from '../../../types.ts'
import type { Context } from '../../types.ts'
import { meanShift, type NeededMean, neededMean } from '../bias/numbers.ts'
import { channelsOf, encodeWeight, peaksOf, refineScales, scalesOf } from '../common/codes.ts'
import type { DynamicPlan, DynamicWeight } from './plan.ts'

/** A weight as integers, with the ids that its parts get. */
export interface Encoded extends DynamicWeight {
  readonly codes: Tensor
  readonly scales: Float64Array
  /** The type that the scales are stored in. */
  readonly scaleType: 'float32' | 'float16'
  readonly codesId: string
  readonly scaleId: string
  readonly zeroId: string
}

const levels = 127
/**
 * Of channels with more weights the scale holds the largest: a smaller one lessens their squared error by a few percent,
 * but what it clips is off in one direction, which adds up over the positions of a mean.
 */
const fewToClip = 64

/** Codes and scales of every weight of a plan, by id. Throws `E_MODEL` where one is not finite. */
export function encodeWeights(model: Model, plan: DynamicPlan): ReadonlyMap<string, Encoded> {
  const taken = takenIds(model)
  return new Map(plan.weights.map((w) => [w.id, encoded(model, w, taken)]))
}

function encoded(model: Model, w: DynamicWeight, taken: Set<string>): Encoded {
  const data = weightData(model, w.id)
  const channels = channelsOf(data.shape, w.axis)
  const peaks = peaksOf(data, channels, w.id)
  const scaleType = w.isTable && w.axis === 0 && peaks.every(isFineAsHalf) ? ('float16' as const) : ('float32' as const)
  const holding = scalesOf(peaks, levels, scaleType)
  const isFew = elementCount(data.shape) <= fewToClip * channels.count
  const scales = isFew && scaleType === 'float32' ? refineScales(data, channels, holding, levels) : holding
  const signed = encodeWeight(data, channels, scales, levels)
  const id = (what: string): string => {
    let at = `${w.id}_${what}`
    for (let i = 1; taken.has(at); i++) at = `${w.id}_${what}_${i}`
    taken.add(at)
    return at
  }
  const codes = w.type === 'int8' ? signed : flipped(signed, 'uint8')
  return { ...w, codes, scales, scaleType, codesId: id('q'), scaleId: id('s'), zeroId: id('z') }
}

/** Scales that float16 holds with all its bits: a table has one for each of its many rows, of half the bytes then. */
const isFineAsHalf = (peak: number): boolean =>
  peak === 0 || (peak / levels >= smallestHalf && peak / levels <= largestHalf)
const smallestHalf = 2 ** -14
const largestHalf = 65504

/** int8 codes as uint8 ones with zero point 128, or back. */
const flipped = (codes: Tensor, dtype: 'int8' | 'uint8'): Tensor => ({
  ...codes,
  dtype,
  bytes: toArray(codes.bytes).map((c) => c ^ 0x80)
})

function weightData(model: Model, id: string): Tensor {
  const data = allGraphs(model).flatMap((g) => constant(g, id) ?? [])[0]
  assert(data, `${id} is no constant`)
  return data
}

interface Wanted {
  readonly node: Node
  readonly weight: Encoded
  readonly axis: number
  readonly mean: NeededMean
}

/**
 * How much rounding moves the mean of each output channel, by a node's first output, measured on the data; for nodes of
 * the outermost graph that read their weight as it is stored. The model's types must have been inferred.
 */
export async function meanShifts(
  model: Model,
  plan: DynamicPlan,
  weights: ReadonlyMap<string, Encoded>,
  dataset: Dataset,
  ctx: Pick<Context, 'engine' | 'signal' | 'progress'>
): Promise<ReadonlyMap<string, Float64Array>> {
  const planned = new Set(plan.nodes.map((n) => n.output))
  const wanted = model.graph.nodes.flatMap((node) => {
    const found = planned.has(node.outputs[0] ?? '') ? wantedMean(model, node, weights) : undefined
    return found ? [found] : []
  })
  const means = [...new Map(wanted.map((w) => [w.mean.id, w.mean])).values()]
  const seen = await calibrate(model, dataset, { taps: [], bins: 0, means }, ctx)
  return new Map(
    wanted.flatMap(({ node, weight: w, axis, mean }) => {
      const found = seen.means.get(mean.id)
      if (!found) return []
      const data = weightData(model, w.id)
      const codes = w.type === 'int8' ? w.codes : flipped(w.codes, 'int8')
      const rounded = { weight: data, axis, codes, channels: channelsOf(data.shape, w.axis), scales: w.scales }
      return [[node.outputs[0] as string, meanShift(node, rounded, found, mean.seen)] as const]
    })
  )
}

function wantedMean(model: Model, node: Node, weights: ReadonlyMap<string, Encoded>): Wanted | undefined {
  const rule = opFor(node)?.quant
  const weight = rule?.weights ? weights.get(node.inputs[rule.weights.input] ?? '') : undefined
  if (!rule?.weights || !weight || !linearOf(graphView(model.graph), node)) return undefined
  const at = rule.weights.axis(node)
  // Every dynamic product can take a bias: it is added in float.
  const mean = neededMean(model, node, { ...rule, bias: rule.bias ?? 2 }, weightData(model, weight.id))
  return mean && { node, weight, axis: at < 0 ? at + weight.codes.shape.length : at, mean }
}
