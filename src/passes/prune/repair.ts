/**
 * The layers of a narrowed model sum fewer terms, so that their outputs drift away from the wide model's, more so in deeper
 * layers. Here the weight and bias of each layer are changed so that every output channel has the mean and deviation again
 * that it had in the wide model over some samples: y' = (y − μ)·σ_wide/σ + μ_wide (REPAIR, Jordan et al., ICLR 2023). One
 * run over the samples is enough: added nodes correct each layer's output before the next layer reads it.
 */
import { greatest } from '../../base/extremes.ts'
import { type Draft, edit } from '../../ir/edit.ts'
import { constant, consumers } from '../../ir/graph.ts'
import { elementCount, scalar, tensor, toFloats } from '../../ir/tensor.ts'
import { type Surroundings, sampleBytes, watch } from '../../observe/feed.ts'
import { heldSamples } from '../../observe/held.ts'
import { momentsOf } from '../../observe/reductions.ts'
import { linearOf } from '../../ops/ask.ts'
import { inferShapes } from '../../ops/infer.ts'
import { channelAt } from '../../ops/linear.ts'
import { fedOf, prescribed } from '../../runtime/batches.ts'
import type { Dataset, Model, Node, Tensor } from '../../types.ts'
import { biasPlace } from '../biases.ts'
import type { Context } from '../types.ts'
import { type Gone, goneOf, type Kept } from './remove.ts'

/** Samples of a run, at most and at least; and bytes of its largest value. */
const [mostSamples, leastSamples, mostBytes] = [256, 16, 64 * 2 ** 20]
/** Deviations are not raised by more than this: a dead channel stays dead. */
const mostGain = 100

/** A layer whose weight and bias no other node reads. `rank` and `axis`: of its output, and of the channels in it. */
interface Layer {
  readonly output: string
  readonly rank: number
  readonly axis: number
  readonly weight: string
  readonly bias: string
}

/** Mean and deviation of each output channel. */
interface Spread {
  readonly mean: Float32Array
  readonly deviation: Float32Array
}

/** Means and deviations of a model's layers, and the samples that they are of. */
export interface Spreads {
  readonly wide: Model
  readonly held: Dataset
  readonly layers: ReadonlyMap<Layer, Spread>
}

/**
 * The model with the means and deviations of the one that it was made from, of the layers that it still has; the very same
 * model where samples are too few. `kept`: channels that stayed, of groups that lost some.
 */
export async function repaired(narrow: Model, wide: Model, kept: Kept, data: Dataset, ctx: Context): Promise<Model> {
  const before = await spreadsOf(wide, data, ctx)
  return before ? repairedBy(before, narrow, kept, ctx) : narrow
}

/** What `repairedBy` needs of the wide model, for any number of narrow ones; `undefined` where samples are too few. */
export async function spreadsOf(
  wide: Model,
  data: Dataset,
  ctx: Surroundings,
  most = mostSamples
): Promise<Spreads | undefined> {
  const typed = inferShapes(wide)
  const layers = layersOf(typed)
  const made = typed.graph.nodes.flatMap((n) => n.outputs)
  const largest = greatest(
    made.map((id) => sampleBytes(typed, id)),
    1
  )
  const samples = Math.min(most, data.size, Math.floor(mostBytes / largest))
  if (layers.length === 0 || samples < leastSamples || prescribed(fedOf(wide)) !== undefined) return undefined
  const held = await heldSamples(data, samples)
  return {
    wide,
    held,
    layers: await spreads(wide, layers, (d, { output, ...at }) => momentsOf(d, output, at), held, ctx)
  }
}

/** The narrow model with the means and deviations that the wide one has. */
export async function repairedBy(before: Spreads, narrow: Model, kept: Kept, ctx: Surroundings): Promise<Model> {
  const gone = goneOf(kept)
  const layers = [...before.layers.keys()].filter(({ weight }) => narrow.graph.values.has(weight))
  const wanted = new Map(layers.map((layer) => [layer, leftOf(before.layers.get(layer) as Spread, layer, gone)]))
  const add: Added = (d, layer) => correct(d, layer, wanted.get(layer) as Spread)
  const found = await spreads(narrow, layers, add, before.held, ctx)
  return edit(narrow, (d) => {
    for (const [layer, s] of found) write(d, layer, s, wanted.get(layer) as Spread)
  })
}

/** Linear layers with a float weight and bias that no other node reads. */
const layersOf = (typed: Model): Layer[] => typed.graph.nodes.flatMap((node) => layerOf(typed, node) ?? [])

function layerOf(typed: Model, node: Node): Layer | undefined {
  const { graph } = typed
  const place = biasPlace(graph, node)
  if (typeof place === 'string' || place.kind !== 'float' || place.linear.bias?.beta !== 1) return undefined
  const { linear, channels } = place
  const [output = ''] = node.outputs
  const weight = node.inputs[linear.weight] ?? ''
  const bias = node.inputs[linear.bias?.input ?? -1] ?? ''
  const [w, b] = [constant(graph, weight), constant(graph, bias)]
  const rank = graph.values.get(output)?.shape?.length
  const isOwn = [weight, bias].every((value) => consumers(graph, value).length === 1)
  if (!w || !b || rank === undefined || !isOwn || elementCount(b.shape) !== channels) return undefined
  if (w.dtype !== 'float32' || b.dtype !== 'float32') return undefined
  return { output, rank, axis: rank + linear.axes.out, weight, bias }
}

/** Adds the mean and the deviation of a layer's output to the graph that tells them. */
type Added = (d: Draft, layer: Layer) => ReturnType<typeof momentsOf>

async function spreads(
  model: Model,
  layers: readonly Layer[],
  add: Added,
  dataset: Dataset,
  ctx: Surroundings
): Promise<ReadonlyMap<Layer, Spread>> {
  const ids = new Map<Layer, ReturnType<Added>>()
  const watched = edit(model, (d) => {
    for (const layer of layers) ids.set(layer, add(d, layer))
  })
  const outputs = [...ids.values()].flatMap(({ mean, deviation }) => [mean, deviation])
  const feed = { dataset, batch: dataset.size, stage: 'watching layers' }
  const out = new Map<Layer, Spread>()
  await watch(watched, { outputs }, feed, { ...ctx, progress: () => {} }, (given) => {
    for (const [layer, { mean, deviation }] of ids)
      out.set(layer, { mean: toFloats(given[mean] as Tensor), deviation: toFloats(given[deviation] as Tensor) })
  })
  return out
}

/** Puts the output right before anyone reads it. */
function correct(d: Draft, layer: Layer, wanted: Spread): ReturnType<Added> {
  const { output, rank, axis } = layer
  const maker = d.producer(output)
  const raw = d.fresh(`${output}_raw`)
  if (maker) d.replace(maker, { ...maker, outputs: maker.outputs.with(0, raw) })
  const found = momentsOf(d, raw, { rank, axis })
  const shape = Array.from({ length: rank }, (_, i) => (i === axis ? wanted.mean.length : 1))
  const [mean, deviation] = [wanted.mean, wanted.deviation].map((v) =>
    d.addConstant(tensor('float32', shape, v), 'repair')
  )
  const least = d.add('Mul', [deviation as string, d.addConstant(scalar('float32', 1 / mostGain), 'repair')])
  const floor = d.add('Add', [least, d.addConstant(scalar('float32', tiny), 'repair')])
  const gain = d.add('Div', [deviation as string, d.add('Max', [found.deviation, floor])])
  const scaled = d.add('Mul', [d.add('Sub', [raw, found.mean]), gain])
  d.add('Add', [scaled, mean as string], { outputs: [output] })
  return found
}

/** Keeps 0 / 0 away. */
const tiny = 1e-20

/** Of the channels that stayed. */
function leftOf({ mean, deviation }: Spread, { output, axis }: Layer, gone: Gone): Spread {
  const out = gone.get(output)?.get(axis)
  const pick = (v: Float32Array): Float32Array => v.filter((_, i) => !out?.has(i))
  return { mean: pick(mean), deviation: pick(deviation) }
}

/** w' = w·g and b' = (b − μ)·g + μ_wide, g = σ_wide / σ. */
function write(d: Draft, { output, weight, bias }: Layer, found: Spread, wanted: Spread): void {
  const [w, b, node] = [d.value(weight), d.value(bias), d.producer(output)]
  const linear = node && linearOf(d, node)
  if (!w?.data || !b?.data || !linear) return
  const gains = wanted.deviation.map((s, c) => s / Math.max(found.deviation[c] as number, s / mostGain + tiny))
  const channel = channelAt(linear, 'out')
  const values = toFloats(w.data).map((x, k) => x * (gains[channel(k)] as number))
  const shifted = toFloats(b.data).map(
    (x, c) => (x - (found.mean[c] as number)) * (gains[c] as number) + (wanted.mean[c] as number)
  )
  d.set({ ...w, data: tensor('float32', w.data.shape, values) })
  d.set({ ...b, data: tensor('float32', b.data.shape, shifted) })
}
