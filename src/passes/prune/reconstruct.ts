/**
 * Least-squares repair (He et al., Channel Pruning, 2017, for all layers in order): the weights W' of every layer behind a
 * change answer the changed inputs x̂ as W answered the original's inputs x: min E‖Wx − W'x̂‖² + λ‖W' − W‖² over the columns K
 * that stay. With H = E[x̂x̂ᵀ] and D = E[(x − x̂)x̂ᵀ]: W'_K = W_K + (W·D + W_P·H_P)_K·(H_KK + λ)⁻¹, P the columns that go.
 * Means are taken out and put into the bias where there can be one. λ is a share of the mean of H's diagonal. Where a value s
 * is added to the output, which is ŝ now, the layer may make up for that as well: with E[(s − ŝ)x̂ᵀ] beside W·D.
 *
 * All shapes stay: what goes is zero in the weights that read it, so that both models have their values side by side.
 */
import { edit } from '../../ir/edit.ts'
import { consumers, producer, soleConsumer } from '../../ir/graph.ts'
import { tensor, toFloats } from '../../ir/tensor.ts'
import { type Gram, grams, type LayerInput, layerInput } from '../../observe/gram.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Dataset, Model, Tensor } from '../../types.ts'
import { biasPlace, shiftBiases } from '../biases.ts'
import { inverseRoot } from '../quantize/weights/gptq.ts'
import { canShift, centred, shiftOf } from '../quantize/weights/layerwise.ts'
import type { Context } from '../types.ts'
import type { Kept } from './remove.ts'

/** Layers are repaired in at most so many stages; those of one stage see the same changed model. */
const maxStages = 24
/** λ, as a share of the mean of H's diagonal. */
const damp = 0.01

/** Indices along an axis of constants that read channels which go. */
type Silent = ReadonlyMap<string, { readonly axis: number; readonly indices: ReadonlySet<number> }>

/** Zeros in what reads the channels that go. */
export function silenced(model: Model, kept: Kept): Model {
  const silent = silentOf(kept)
  return edit(model, (d) => {
    for (const [id, { axis, indices }] of silent) {
      const v = d.value(id)
      if (v?.data) d.set({ ...v, data: zeroed(v.data, axis, indices) })
    }
  })
}

function silentOf(kept: Kept): Silent {
  const out = new Map<string, { axis: number; indices: Set<number> }>()
  for (const [group, left] of kept) {
    const stays = new Set(left)
    for (const { value, axis, isSummed, indices } of group.slices) {
      if (!isSummed) continue
      const own = out.get(value) ?? { axis, indices: new Set<number>() }
      for (const [c, at] of indices.entries()) if (!stays.has(c)) for (const i of at) own.indices.add(i)
      out.set(value, own)
    }
  }
  return out
}

function zeroed(t: Tensor, axis: number, gone: ReadonlySet<number>): Tensor {
  const run = t.shape.slice(axis + 1).reduce((a, b) => a * b, 1)
  const size = t.shape[axis] as number
  return tensor(
    t.dtype,
    t.shape,
    toFloats(t).map((x, k) => (gone.has(Math.floor(k / run) % size) ? 0 : x))
  )
}

/** The model without some channels, which still have their place, and with weights that make up for them. */
export async function reconstructed(model: Model, kept: Kept, data: Dataset, ctx: Context): Promise<Model> {
  const typed = inferShapes(model)
  const silent = silentOf(kept)
  const change = { values: new Set(silent.keys()), columns: (l: LayerInput) => columnsGone(l, silent) }
  return answered(typed, silenced(typed, kept), change, data, ctx)
}

/** What a model was deprived of. */
interface Change {
  /** Values and constants that differ from the original's, or are missing; what follows from them is found. */
  readonly values: ReadonlySet<string>
  /** Columns of a layer's matrix that go; absent: none of any. */
  columns?(layer: LayerInput): readonly boolean[]
  /** What is added to the results of residual branches, by these: their last layers make up for what it is off by. */
  readonly joins?: ReadonlyMap<string, string>
}

/** A changed model, under the names of the original, with weights that answer as the original's did. */
export async function answered(
  typed: Model,
  changed: Model,
  { values, columns, joins }: Change,
  data: Dataset,
  ctx: Context
): Promise<Model> {
  const found = changedLayers(typed, changed, values)
  const layers = joins ? found.map((l) => joining(typed, l, joins)) : found
  let now = changed
  let done = 0
  for (const stage of stagesOf(layers)) {
    const made = new Map<string, Tensor>()
    const shifts = new Map<string, Float64Array>()
    for await (const [layer, gram] of grams(now, stage, data, { ...ctx, progress: () => {} }, typed)) {
      const own = typed.graph.values.get(layer.weight)?.data as Tensor
      const hasBias = canShift(typed, layer)
      const moments = hasBias ? centred(gram) : gram
      const data = answering(layer, own, moments, columns?.(layer) ?? [])
      made.set(layer.weight, data)
      if (hasBias) shifts.set(layer.node.outputs[0] as string, shiftOf(layer, own, data, gram))
    }
    now = edit(now, (d) => {
      for (const [id, data] of made) {
        const v = d.value(id)
        if (v) d.set({ ...v, data })
      }
      shiftBiases(d, typed.graph, shifts)
    })
    done += stage.length
    ctx.progress('repairing layers', done, layers.length)
  }
  return now
}

/** Runs of layers that are repaired at once; one that makes up for a join is the last of its run, for the next sees what it did. */
function stagesOf(layers: readonly LayerInput[]): readonly (readonly LayerInput[])[] {
  const most = Math.ceil(layers.length / maxStages)
  const out: LayerInput[][] = [[]]
  for (const l of layers) {
    const last = out.at(-1) as LayerInput[]
    const isFull = last.length === most || last.at(-1)?.joins !== undefined
    if (isFull) out.push([l])
    else last.push(l)
  }
  return out
}

/** The layer with what its output is added to, behind a bias of its own or not. */
function joining({ graph }: Model, layer: LayerInput, joins: ReadonlyMap<string, string>): LayerInput {
  if (layer.groups > 1) return layer
  const place = biasPlace(graph, layer.node, { behind: true })
  const [output = ''] = layer.node.outputs
  const isBehind = typeof place !== 'string' && place.kind === 'behind'
  const skip = joins.get(isBehind ? (soleConsumer(graph, output)?.outputs[0] ?? '') : output)
  return skip === undefined ? layer : { ...layer, joins: skip }
}

/** Linear layers whose inputs change, that are still there, with a weight of their own. */
function changedLayers(typed: Model, now: Model, values: ReadonlySet<string>): LayerInput[] {
  const { graph } = typed
  const changed = new Set(values)
  return graph.nodes.flatMap((node) => {
    const isChanged = node.inputs.some((id) => id != null && changed.has(id))
    if (!isChanged) return []
    for (const id of node.outputs) changed.add(id)
    if (!node.outputs.some((id) => producer(now.graph, id)?.op === node.op)) return []
    const layer = layerInput(typed, node)
    if (typeof layer === 'string' || layer.dtype !== 'float32') return []
    return consumers(graph, layer.weight).length === 1 && layer.linear.alpha === 1 ? [layer] : []
  })
}

/** Columns of a layer's matrix that go. */
function columnsGone({ weight, k, perChannel }: LayerInput, silent: Silent): readonly boolean[] {
  const gone = silent.get(weight)?.indices
  return Array.from({ length: k }, (_, i) => gone?.has(Math.floor(i / perChannel)) ?? false)
}

/** The weight that answers the changed inputs, of moments around the mean where a bias takes up the rest; the weight itself, without the columns that go, where moments are useless. */
export function answering(layer: LayerInput, own: Tensor, gram: Gram, isGone: readonly boolean[]): Tensor {
  const { groups, outputs, k, outStride, inStride } = layer
  const w = toFloats(own)
  const out = Float32Array.from(w)
  const left = Array.from({ length: k }, (_, i) => i).filter((i) => !isGone[i])
  const perGroup = outputs / groups
  for (let o = 0; o < outputs; o++) for (let i = 0; i < k; i++) if (isGone[i]) out[o * outStride + i * inStride] = 0
  for (let g = 0; g < groups; g++) {
    const solve = solver(gram, g, left)
    if (!solve) continue
    const row = new Float64Array(k)
    for (let o = g * perGroup; o < (g + 1) * perGroup; o++) {
      for (let i = 0; i < k; i++) row[i] = w[o * outStride + i * inStride] as number
      const change = solve(row, isGone, gram.joined?.h.subarray(o * k, (o + 1) * k))
      for (let j = 0; j < left.length; j++) {
        const i = left[j] as number
        out[o * outStride + i * inStride] = (row[i] as number) + (change[j] as number)
      }
    }
  }
  return tensor('float32', own.shape, out)
}

/** Gives the change of the columns that stay; `undefined` where no input of the group is ever other than 0. */
function solver(
  { h, off, k }: Gram,
  group: number,
  left: readonly number[]
): ((row: Float64Array, isGone: readonly boolean[], joined: Float64Array | undefined) => Float64Array) | undefined {
  const at = group * k * k
  const n = left.length
  const columns = Int32Array.from(left)
  const inner = new Float64Array(n * n)
  for (let a = 0; a < n; a++) {
    const from = at + (columns[a] as number) * k
    for (let b = 0; b < n; b++) inner[a * n + b] = h[from + (columns[b] as number)] as number
  }
  if (!left.some((_, a) => (inner[a * n + a] as number) > 0)) return undefined
  const u = inverseRoot(
    inner,
    n,
    Int32Array.from(left, (_, a) => a),
    damp
  )
  return (row, isGone, joined) => {
    const rest = Float64Array.from(left, (i) => joined?.[i] ?? 0)
    for (let i = 0; i < k; i++) {
      const x = row[i] as number
      const gone = isGone[i] === true
      // Of a column that stays nothing is missing, unless its input has changed.
      if (x === 0 || (!gone && !off)) continue
      const from = at + i * k
      for (let b = 0; b < n; b++) {
        const j = from + (columns[b] as number)
        const missing = ((off?.h[j] as number) ?? 0) + (gone ? (h[j] as number) : 0)
        rest[b] = (rest[b] as number) + x * missing
      }
    }
    return timesInverse(rest, u, n)
  }
}

/** r·UᵀU for an upper triangular U. */
function timesInverse(r: Float64Array, u: Float64Array, n: number): Float64Array {
  const out = new Float64Array(n)
  for (let i = 0; i < n; i++) {
    let sum = 0
    for (let j = i; j < n; j++) sum += (u[i * n + j] as number) * (r[j] as number)
    for (let j = i; j < n; j++) out[j] = (out[j] as number) + sum * (u[i * n + j] as number)
  }
  return out
}
