/**
 * Numbers for a layout: ranges of values from calibration, scales of weights.
 *
 * The codes of a bias are b / (s_x · s_w), with the product of the scales rounded to float32 as the runtime computes it.
 * Where a code would need more than 30 bits, s_w is enlarged until |b| ≤ s_x · s_w · 2³⁰.
 */

import { assert, PareError } from '../../../base/errors.ts'
import { greatest, least } from '../../../base/extremes.ts'
import { constant, graphView, producer } from '../../../ir/graph.ts'
import type { CodeType } from '../../../ir/rows.ts'
import { elementCount, tensor, toFloats } from '../../../ir/tensor.ts'
import type { Observed } from '../../../observe/calibrate.ts'
import type { Histogram } from '../../../observe/histogram.ts'
import {
  type Chosen,
  chooseRange,
  fixedParameters,
  type Method,
  type Parameters,
  parametersOf,
  type Range,
  type RangeOptions,
  symmetricParameters
} from '../../../observe/ranges.ts'
import { finalScores } from '../../../observe/scores.ts'
import { linearOf } from '../../../ops/ask.ts'
import { stackOf } from '../../../ops/linear.ts'
import type { Linear } from '../../../ops/types.ts'
import type { DType, Model, Node, Tensor } from '../../../types.ts'
import { type BiasPlace, biasNumbers, biasPlace } from '../../biases.ts'
import { meanShift, neededMean } from '../bias/numbers.ts'
import { channelsOf, encodeWeight, peaksOf, refineScales, storedScale } from '../common/codes.ts'
import { safeLevels, saturatingChannels } from '../common/saturation.ts'
import type { Group, IntegerNode } from './groups.ts'
import type { Layout } from './layout.ts'

/** Values that share parameters. */
export interface ValuePlan extends Parameters {
  readonly ids: readonly string[]
  readonly low: number
  readonly high: number
  /** How the range was found; `fixed`: it is the operator's own, as the target's kernel demands. */
  readonly method: Chosen['method'] | 'fixed'
}

export interface NodePlan {
  readonly node: string
  readonly op: string
  /** The id of its first output; names of nodes need not be unique. */
  readonly output: string
  readonly data: readonly number[]
  readonly constants: readonly number[]
  readonly weight?: { readonly input: number; readonly id: string; readonly axis?: number }
  readonly bias?: BiasPlan
  readonly givesFloat: boolean
  /** The zero points of the weight are spelled out, though all are 0. */
  readonly needsZeroPoint?: true
  /** It is written on codes, without DequantizeLinear and QuantizeLinear around it; `fill`: see QuantRule. */
  readonly onCodes?: { readonly fill?: number }
  /** The constants that it reads have the scale of its output. */
  readonly sharesScale?: true
  /** Input positions of data that gets a second set of codes, under the scale of the output. */
  readonly requantized?: readonly number[]
}

/**
 * An int32 bias: the constant of the model, if any, less the shift that rounding the weight gave to the mean of the
 * output.
 */
export interface BiasPlan {
  readonly input: number
  readonly id?: string
  readonly shift?: readonly number[]
}

export interface WeightNumbers {
  readonly id: string
  readonly axis?: number
  readonly scales: readonly number[]
  /** Largest code of each channel; absent where it is 127 for all. */
  readonly levels?: readonly number[]
  /** Bits that the file holds of a code; absent: 8. */
  readonly bits?: number
}

/** All that was decided, as plain data. */
export interface StaticPlan {
  readonly values: readonly ValuePlan[]
  readonly nodes: readonly NodePlan[]
  readonly weights: readonly WeightNumbers[]
  /** Outputs of the Relus and Clips that saturation replaces, in order. */
  readonly clamps: readonly string[]
  /** Zero points of activations are all 0. */
  readonly symmetric: boolean
  /** Operators that stay float only where something keeps the runtime from making them integer by itself. */
  readonly takesOver: readonly string[]
  /** Types of codes that the runtime must not move behind float data movement. */
  readonly cannotMove: readonly DType[]
}

export interface NumberOptions extends RangeOptions {
  readonly activations: CodeType
  readonly perChannel: boolean
  /** Bits that the file holds of the codes of a node's weight, where that takes fewer bytes. */
  readonly bits: (node: Node) => number
  /** Weights of 7 bits: where pair sums can saturate, everywhere, nowhere. */
  readonly narrow: 'saturating' | 'all' | 'none'
  readonly correctBias: boolean
  /** Zero points of activations are all 0. */
  readonly symmetric: boolean
  readonly takesOver: readonly string[]
  readonly cannotMove: readonly DType[]
}

/** Fills a layout with numbers. Throws `E_MODEL` where a weight is not finite. */
export function planNumbers(model: Model, made: Layout, seen: Observed, o: NumberOptions): StaticPlan {
  const scores = finalScores(model)
  const methodOf = (g: Group): Method => (g.ids.some((id) => scores.has(id)) ? 'minmax' : o.method)
  const values = made.groups.map((g) => planValue(model, g, seen.values, { ...o, method: methodOf(g) }))
  const byId = new Map(values.flatMap((v) => v.ids.map((id) => [id, v] as const)))
  const weights = planWeightNumbers(model, made.nodes, byId, o)
  const byKey = new Map(weights.map((w) => [weightKey(w), w]))
  return {
    values,
    nodes: made.nodes.map((n) => planNode(model, n, byKey, seen, o)),
    weights,
    clamps: made.clamps.map((n) => n.outputs[0] as string),
    symmetric: o.symmetric,
    takesOver: o.takesOver,
    cannotMove: o.cannotMove
  }
}

function planValue(model: Model, g: Group, seen: ReadonlyMap<string, Histogram>, o: NumberOptions): ValuePlan {
  const { ids, low, high } = g
  if (g.isFixed && !o.symmetric) return { ids, low, high, method: 'fixed', ...fixedParameters(g, o.activations) }
  const found = g.taps.map((id) => {
    const h = seen.get(id)
    assert(h, `no range of ${id}`)
    return chooseRange(h, o)
  })
  const all: readonly Range[] = [...found, ...g.constants.map((id) => rangeOf(constant(model.graph, id) as Tensor))]
  const range = {
    low: Math.max(least(all.map((r) => r.low)), low),
    high: Math.min(greatest(all.map((r) => r.high)), high)
  }
  const method = found[0]?.method ?? 'minmax'
  const parameters = o.symmetric ? symmetricParameters(range) : parametersOf(range, o.activations, high)
  return { ids, ...range, method, ...parameters }
}

/** The range of a constant, extended to hold 0. */
export function rangeOf(data: Tensor): Range {
  let [low, high] = [0, 0]
  for (const x of toFloats(data)) {
    low = Math.min(low, x)
    high = Math.max(high, x)
  }
  return { low, high }
}

function planNode(
  model: Model,
  n: IntegerNode,
  weights: ReadonlyMap<string, WeightNumbers>,
  seen: Observed,
  o: NumberOptions
): NodePlan {
  const weight = n.weight ? weightOf(n, n.weight, o.perChannel) : undefined
  const numbers = weight ? weights.get(weightKey(weight)) : undefined
  const bias = numbers ? planBias(model, n, numbers, seen, o) : undefined
  return {
    node: n.node.name,
    op: n.node.op,
    output: n.node.outputs[0] as string,
    data: n.data,
    constants: n.constants,
    ...(weight ? { weight } : {}),
    ...(bias ? { bias } : {}),
    givesFloat: n.givesFloat,
    ...(weight && n.row.needsZeroPoint ? { needsZeroPoint: true } : {}),
    ...(n.row.onCodes ? { onCodes: n.rule.fill === undefined ? {} : { fill: n.rule.fill } } : {}),
    ...(n.row.sameScale || n.rule.output === 'same' ? { sharesScale: true } : {}),
    ...(n.requantized.length > 0 ? { requantized: n.requantized } : {})
  }
}

function planBias(
  model: Model,
  n: IntegerNode,
  w: WeightNumbers,
  seen: Observed,
  o: NumberOptions
): BiasPlan | undefined {
  const { tensor: weight } = scaledWeight(model, w.id, n.node)
  const needed = o.correctBias ? neededMean(model, n.node, n.rule, weight) : undefined
  const means = needed ? seen.means.get(needed.id) : undefined
  const axis = n.weight?.axis
  if (!means || axis === undefined || n.rule.bias === undefined || n.row.bias !== 'int32') return n.bias
  const channels = channelsOf(weight.shape, w.axis)
  const codes = encodeWeight(weight, channels, Float64Array.from(w.scales), w.levels ?? fullLevels)
  const shift = meanShift(n.node, { weight, axis, codes, channels, scales: w.scales }, means, needed?.seen)
  return { ...(n.bias ?? { input: n.rule.bias }), shift: Array.from(shift) }
}

type WeightOf = NonNullable<IntegerNode['weight']>

/** Does the weight get one scale per channel? Yes where the kernel has only those, or has them and they were asked for. */
function weightOf(
  { row }: IntegerNode,
  { axis, ...rest }: WeightOf,
  perChannel: boolean
): NonNullable<NodePlan['weight']> {
  const scales = row.scales ?? []
  const isPerChannel = scales.includes('channel') && (perChannel || !scales.includes('tensor'))
  return axis === undefined || !isPerChannel ? rest : { ...rest, axis }
}

// ---------------------------------------------------------------- weights

/** A weight is one constant under one axis; nodes that share it share its scales. */
export const weightKey = (w: { readonly id: string; readonly axis?: number | undefined }): string =>
  `${w.axis ?? ''}:${w.id}`

function planWeightNumbers(
  model: Model,
  nodes: readonly IntegerNode[],
  values: ReadonlyMap<string, Parameters>,
  o: NumberOptions
): WeightNumbers[] {
  const users = new Map<string, IntegerNode[]>()
  for (const n of nodes) {
    if (!n.weight) continue
    const key = weightKey(weightOf(n, n.weight, o.perChannel))
    users.set(key, [...(users.get(key) ?? []), n])
  }
  return [...users.values()].map((all) => planWeight(model, all, values, o))
}

function planWeight(
  model: Model,
  users: readonly IntegerNode[],
  values: ReadonlyMap<string, Parameters>,
  o: NumberOptions
): WeightNumbers {
  const first = users[0] as IntegerNode
  const w = weightOf(first, first.weight as WeightOf, o.perChannel)
  const { tensor: data, alpha } = scaledWeight(model, w.id, first.node)
  const channels = channelsOf(data.shape, w.axis)
  const peaks = peaksOf(data, channels, w.id)
  const least = new Float64Array(channels.count)
  for (const n of users) {
    if (scaledWeight(model, w.id, n.node).alpha !== alpha)
      throw new PareError('E_UNSUPPORTED', `weight ${w.id} is shared by Gemms of different alpha`, {
        where: n.node.name
      })
    raiseForBias(model, n, values, least)
  }
  const scalesAt = (levels: ArrayLike<number>): Float64Array => {
    const holding = peaks.map((p, c) => {
      const s = Math.max(p / (levels[c] as number), least[c] as number)
      return s === 0 ? 1 : storedScale(s, 'float32')
    })
    return refineScales(data, channels, holding, levels, least)
  }
  const asked = greatest(users.map((n) => o.bits(n.node)))
  const bits = elementCount(data.shape) * (8 - asked) > 8 * expansionBytes ? asked : 8
  const most = 2 ** (bits - 1) - 1
  const levels = new Int8Array(channels.count).fill(o.narrow === 'all' ? Math.min(safeLevels, most) : most)
  let scales = scalesAt(levels)
  if (o.narrow === 'saturating' && most > safeLevels) {
    const codes = encodeWeight(data, channels, scales, fullLevels)
    const risky = anyOf(users.map((n) => saturatingChannels(codes, weightLayer(model, n.node, data.shape))))
    for (const [c, is] of (w.axis === undefined ? [risky.some(Boolean)] : risky).entries())
      if (is) levels[c] = safeLevels
    scales = scalesAt(levels)
  }
  return {
    id: w.id,
    ...(w.axis === undefined ? {} : { axis: w.axis }),
    scales: Array.from(scales),
    ...(levels.some((l) => l !== fullLevels) ? { levels: Array.from(levels) } : {}),
    ...(bits === 8 ? {} : { bits })
  }
}

export const fullLevels = 127
/** About what the nodes take that expand packed codes. */
const expansionBytes = 400
const largestBias = 2 ** 30

/** A node's layer; a stack of matrices counts as groups of one. */
const weightLayer = (model: Model, node: Node, shape: readonly number[]): Linear =>
  linearOf(graphView(model.graph), node) ?? stackOf(shape)

/** Element by element: is any of the lists true? */
const anyOf = (lists: readonly (readonly boolean[])[]): boolean[] =>
  (lists[0] ?? []).map((_, c) => lists.some((is) => is[c]))

function raiseForBias(
  model: Model,
  n: IntegerNode,
  values: ReadonlyMap<string, Parameters>,
  least: Float64Array
): void {
  if (!n.bias) return
  const x = values.get(n.node.inputs[n.data[0] as number] as string)
  assert(x, `no parameters of the input of ${n.node.name}`)
  const bias = biasConstant(model, n.bias.id, n.node)
  for (let i = 0; i < bias.length; i++) {
    const c = least.length === 1 ? 0 : i
    least[c] = Math.max(least[c] as number, Math.abs(bias[i] as number) / (x.scale * largestBias))
  }
}

/** The weight multiplied by the node's alpha. */
export function scaledWeight(
  model: Model,
  id: string,
  node: Node
): { readonly tensor: Tensor; readonly alpha: number } {
  const data = constant(model.graph, id)
  assert(data, `weight ${id} is no constant`)
  const alpha = linearOf(graphView(model.graph), node)?.alpha ?? 1
  if (alpha === 1) return { tensor: data, alpha: 1 }
  return {
    tensor: tensor(
      'float32',
      data.shape,
      toFloats(data).map((x) => x * alpha)
    ),
    alpha
  }
}

/** The bias multiplied by the node's beta. Throws `E_MODEL` where it is not finite. */
function biasConstant(model: Model, id: string, node: Node): Float64Array {
  const data = constant(model.graph, id)
  assert(data, `bias ${id} is no constant`)
  peaksOf(data, channelsOf(data.shape, undefined), id)
  return biasNumbers(model.graph, node, placeOf(model, node))
}

function placeOf(model: Model, node: Node): BiasPlace {
  const place = biasPlace(model.graph, node)
  assert(typeof place !== 'string', `${node.name}: ${String(place)}`)
  return place
}

/** The values of a planned bias, with the shift taken off. */
export function biasValues(model: Model, bias: BiasPlan, node: Node): Float64Array {
  return biasNumbers(model.graph, node, placeOf(model, node), bias.shift)
}

/** The node of a plan in its model. */
export function planned(model: Model, n: NodePlan): Node {
  const node = producer(model.graph, n.output)
  assert(node, `the plan is of another model: nothing makes ${n.output}`)
  return node
}
