/**
 * Weights rounded with data, layer after layer: each looks at its inputs as the layers before it, already rounded, make
 * them, and answers them as the original layer answered its own. What a bias can take up (a shift of the mean) is left to
 * the bias: then moments are taken around the mean.
 */
import { edit } from '../../../ir/edit.ts'
import { constant, consumers } from '../../../ir/graph.ts'
import { toFloats } from '../../../ir/tensor.ts'
import { type Gram, grams, type LayerInput, layerInput } from '../../../observe/gram.ts'
import { inferShapes } from '../../../ops/infer.ts'
import type { Dataset, Model, Tensor } from '../../../types.ts'
import { biasPlace, shiftBiases } from '../../biases.ts'
import type { Context } from '../../types.ts'
import { expanded, type Stored } from './apply.ts'
import type { WeightPlan } from './plan.ts'

/** Stores a layer's weight by moments of its inputs; these are around the means where a bias takes up the rest. */
export type LayerStore = (w: WeightPlan, data: Tensor, layer: LayerInput, gram: Gram) => Stored

export interface LayerwiseOptions {
  readonly correctBias: boolean
  /** Stores what no moments can be had for. */
  readonly alone: (w: WeightPlan, data: Tensor) => Stored
  readonly store: LayerStore
}

export interface Layerwise {
  readonly stored: ReadonlyMap<string, Stored>
  /** What is taken off the bias of each output channel, by the first output of the node. */
  readonly shifts: ReadonlyMap<string, Float64Array>
}

/** Rounds of running the data: layers beyond share one with their neighbours. */
const maxStages = 24

/** Stores the planned weights in order; those of subgraphs are left out. Notes which are rounded without data, and why. */
export async function storeLayerwise(
  model: Model,
  plan: readonly WeightPlan[],
  data: Dataset,
  o: LayerwiseOptions,
  ctx: Pick<Context, 'engine' | 'signal' | 'progress' | 'note'>
): Promise<Layerwise> {
  const typed = inferShapes(model)
  const stored = new Map<string, Stored>()
  const shifts = new Map<string, Float64Array>()
  const layers: { w: WeightPlan; layer: LayerInput }[] = []
  for (const w of plan) {
    const layer = soleLayer(typed, w)
    if (typeof layer !== 'string') layers.push({ w, layer })
    else {
      ctx.note(`quantize-weights: weight ${w.id} was rounded without data: ${layer}`)
      const own = constant(typed.graph, w.id)
      if (own) stored.set(w.id, o.alone(w, own))
    }
  }
  const order = new Map(typed.graph.nodes.map((n, i) => [n, i]))
  layers.sort((a, b) => (order.get(a.layer.node) as number) - (order.get(b.layer.node) as number))
  const byWeight = new Map(plan.map((w) => [w.id, w]))
  let current = withStored(typed, stored, byWeight, shifts)
  let thin = 0
  const perStage = Math.ceil(layers.length / maxStages)
  for (let from = 0; from < layers.length; from += perStage) {
    const stage = new Map(layers.slice(from, from + perStage).map(({ w, layer }) => [layer, w]))
    const reference = current === typed ? undefined : typed
    const made = new Map<string, Stored>()
    const moved = new Map<string, Float64Array>()
    for await (const [layer, gram] of grams(current, [...stage.keys()], data, ctx, reference)) {
      const w = stage.get(layer) as WeightPlan
      const own = constant(typed.graph, w.id) as Tensor
      const hasBias = o.correctBias && canShift(typed, layer)
      if (gram.rows < gram.k) thin++
      const result = o.store(w, own, layer, hasBias ? centred(gram) : gram)
      made.set(w.id, result)
      if (hasBias) moved.set(layer.node.outputs[0] as string, shiftOf(layer, own, expanded(result, own, w), gram))
      ctx.progress('rounding weights', made.size + from, layers.length)
    }
    for (const [id, s] of made) stored.set(id, s)
    for (const [id, s] of moved) shifts.set(id, s)
    current = withStored(current, made, byWeight, moved)
  }
  if (thin > 0)
    ctx.note(
      `quantize-weights: ${thin} of ${layers.length} layers saw fewer rows than they have inputs; give more calibration samples`
    )
  return { stored, shifts }
}

/** The layer that a weight belongs to; a reason where it is not exactly one. */
export function soleLayer(typed: Model, w: WeightPlan): LayerInput | string {
  const readers = consumers(typed.graph, w.id)
  const [only] = readers
  if (!only || readers.length !== 1 || w.nodes.length !== 1) return 'it is read by several nodes, or in a subgraph'
  const layer = layerInput(typed, only)
  return typeof layer === 'string' || layer.weight === w.id ? layer : 'it is not the weight of the node'
}

function withStored(
  model: Model,
  made: ReadonlyMap<string, Stored>,
  plan: ReadonlyMap<string, WeightPlan>,
  shifts: ReadonlyMap<string, Float64Array>
): Model {
  if (made.size === 0) return model
  return edit(model, (d) => {
    for (const [id, s] of made) {
      const v = d.value(id)
      if (v?.data) d.set({ ...v, data: expanded(s, v.data, plan.get(id) as WeightPlan) })
    }
    shiftBiases(d, model.graph, shifts)
  })
}

// ---------------------------------------------------------------- biases

/** Has a layer, or can it be given, a float bias of one number per output? */
export function canShift(typed: Model, { node, linear }: LayerInput): boolean {
  const place = biasPlace(typed.graph, node)
  return typeof place !== 'string' && place.kind !== 'codes' && linear.alpha === 1
}

/** Ŵ·E[x̂] − W·E[x] − E[s − ŝ]: what rounding adds to the mean of every output, with what is added to it where that is known. */
export function shiftOf(layer: LayerInput, own: Tensor, made: Tensor, gram: Gram): Float64Array {
  const { outputs, groups, k, outStride, inStride } = layer
  const [w, q] = [toFloats(own), toFloats(made)]
  return Float64Array.from({ length: outputs }, (_, o) => {
    const from = Math.floor((o * groups) / outputs) * k
    let sum = 0
    for (let i = 0; i < k; i++) {
      const at = o * outStride + i * inStride
      const mean = gram.mean[from + i] as number
      const exact = mean + (gram.off ? (gram.off.mean[from + i] as number) : 0)
      sum += (w[at] as number) * exact - (q[at] as number) * mean
    }
    return -sum - (gram.joined?.mean[o] ?? 0)
  })
}

/** Moments around the means. */
export function centred({ groups, k, rows, h, mean, off, joined }: Gram): Gram {
  const around = (m: Float64Array, a: Float64Array): Float64Array =>
    m.map((x, at) => {
      const row = Math.floor(at / k)
      return x - (a[row] as number) * (mean[Math.floor(row / k) * k + (at % k)] as number)
    })
  return {
    groups,
    k,
    rows,
    mean,
    h: around(h, mean),
    ...(off ? { off: { h: around(off.h, off.mean), mean: off.mean } } : {}),
    ...(joined ? { joined: { h: around(joined.h, joined.mean), mean: joined.mean } } : {})
  }
}
