/**
 * Second moments of the inputs of layers, for roundings that look at a layer's output: with rows x ∈ ℝᴷ (one per output
 * position; for Conv the patch under the kernel, im2col) it gathers H = E[x xᵀ] and E[x]. The error of weights Ŵ is then
 * E‖(Ŵ − W)x‖² = Σ_rows e H eᵀ, without any data at hand. With a reference model, whose inputs are x where the changed
 * model's are x̂: H = E[x̂ x̂ᵀ] and D = E[(x − x̂) x̂ᵀ]. Each batch is reduced inside the engine (float32 products), batches
 * are summed in float64. Memory is a few K × K matrices and one batch, whatever the number of samples.
 *
 *     const layer = layerInput(inferShapes(model), node)      // or a reason why not
 *     for await (const [layer, gram] of grams(model, [layer], data, ctx)) …
 */
import { greatest } from '../base/extremes.ts'
import { type Draft, edit, renameReads } from '../ir/edit.ts'
import { type GraphView, graphView, reads } from '../ir/graph.ts'
import { isFloat, tensor, toFloats, toNumbers } from '../ir/tensor.ts'
import { linearOf } from '../ops/ask.ts'
import { opFor } from '../ops/index.ts'
import type { Linear, Patch } from '../ops/types.ts'
import { samplesWithin } from '../runtime/batches.ts'
import type { Dataset, Graph, Model, Node, Tensor, Value } from '../types.ts'
import {
  asFloat,
  type Feed,
  largestSampleBytes,
  type Surroundings,
  sampleBytes,
  watch,
  watchedOutputs
} from './feed.ts'

/** One spatial axis of a convolution's kernel. */
interface Window {
  readonly kernel: number
  readonly stride: number
  readonly dilation: number
  readonly begin: number
  readonly end: number
}

/**
 * A layer as a matrix: output o of group g is Σ_k W[o, k]·x[g, k]; element (o, k) of the weight tensor lies at
 * `o·outStride + k·inStride`, with o counted over all groups.
 */
export interface LayerInput {
  readonly node: Node
  readonly linear: Linear
  /** The constant weight, read directly by the node. */
  readonly weight: string
  /** The value that the rows come from. */
  readonly x: string
  readonly groups: number
  /** Outputs of all groups together. */
  readonly outputs: number
  /** Length K of a row. */
  readonly k: number
  readonly outStride: number
  readonly inStride: number
  /** Elements of a row that share an input channel, one after the other: kernel positions; 1 for matrices. */
  readonly perChannel: number
  readonly dtype: Tensor['dtype']
  readonly windows?: readonly Window[]
  /** A value of the shape of the layer's output that is added to it, where what it is off by is gathered too; of one group only. */
  readonly joins?: string
}

/** Moments of a layer's input, averaged over `rows` rows. */
export interface Gram {
  readonly groups: number
  readonly k: number
  readonly rows: number
  /** E[x̂ x̂ᵀ], `groups` matrices K × K, row-major. */
  readonly h: Float64Array
  /** E[x̂], `groups` vectors. */
  readonly mean: Float64Array
  /** E[(x − x̂) x̂ᵀ] and E[x − x̂], where a reference was given. */
  readonly off?: { readonly h: Float64Array; readonly mean: Float64Array }
  /** E[(s − ŝ) x̂ᵀ], outputs × K, and E[s − ŝ] of the value s that is added to the output, where the layer joins one. */
  readonly joined?: { readonly h: Float64Array; readonly mean: Float64Array }
}

// ---------------------------------------------------------------- layers

/** The layer of a node of the main graph (types inferred), or the reason why its input cannot be gathered. */
export function layerInput(typed: Model, node: Node): LayerInput | string {
  const g = graphView(typed.graph)
  const linear = linearOf(g, node)
  if (!linear) return whyNone(g, node)
  const [x, weight] = [node.inputs[linear.data], node.inputs[linear.weight]]
  const data = g.constant(weight)
  if (!weight || !data || !x) return 'its weight is not a constant that it reads directly'
  if (!isFloat(data.dtype)) return `its weight is ${data.dtype}`
  const { patch, inputs, kernel, strides } = linear
  const windows = patch && windowsOf(patch)
  if (typeof windows === 'string') return windows
  if (!patch && linear.axes.in !== -1) return 'it transposes its input'
  if (patch && linear.axes.in === -1) return 'its channels come last'
  return {
    ...{ node, weight, x, linear },
    ...{ groups: linear.groups, outputs: linear.groups * linear.outputs, k: inputs * kernel },
    ...{ outStride: strides.out, inStride: kernel > 1 ? strides.kernel : strides.in },
    perChannel: kernel,
    dtype: data.dtype,
    ...(windows ? { windows } : {})
  }
}

function whyNone(g: GraphView, node: Node): string {
  const op = opFor(node)
  const [place] = op?.linear ? (op.weights ?? []) : []
  const shape = place && g.constant(node.inputs[place.input])?.shape
  return shape ? `its weight has ${shape.length} axes, not 2` : `${node.op} is no linear layer of a constant weight`
}

function windowsOf(patch: Patch): Window[] | string {
  if (patch.transposed) return 'it is a transposed convolution'
  const out = patch.axes.flatMap(({ kernel, stride, dilation, pads }) =>
    pads ? [{ kernel, stride, dilation, begin: pads.before, end: pads.behind }] : []
  )
  return out.length === patch.axes.length ? out : 'its padding depends on sizes that are not known'
}

/** Layers with the same rows have the same key. */
const keyOf = (l: LayerInput): string => JSON.stringify([l.x, l.groups, l.k, l.perChannel, l.windows, l.joins])

// ---------------------------------------------------------------- gathering

/** Bytes, at most: of the matrices that are gathered in one run over the data; of the rows of one layer in one batch. */
const memoryBytes = 64 * 1024 * 1024
/** Bytes, at most, of the values that lead to the layers in one run: of each model about so many at once, of the largest size. */
const pathBytes = 32 * 1024 * 1024
const valuesAtOnce = 4

/**
 * Moments of the inputs of layers. Layers are taken in parts whose matrices fit into memory, and the data runs once for
 * each part. `model` and `reference` may have other constants than the model that the layers were found in. Throws
 * `E_DATA` where no sample ran.
 */
export async function* grams(
  model: Model,
  layers: readonly LayerInput[],
  data: Dataset,
  ctx: Surroundings,
  reference?: Model
): AsyncGenerator<readonly [LayerInput, Gram]> {
  const byKey = new Map<string, LayerInput[]>()
  for (const l of layers) byKey.set(keyOf(l), [...(byKey.get(keyOf(l)) ?? []), l])
  const most = samplesWithin(pathBytes, (reference ? 2 : 1) * valuesAtOnce * largestSampleBytes(model), 32)
  for (const part of inParts([...byKey.values()])) {
    const batch = samplesWithin(memoryBytes, greatest(part.map(([l]) => rowBytes(model, l as LayerInput))), most)
    for (const few of inRooms(part, ([l]) => batch * rowBytes(model, l as LayerInput))) {
      const found = await gather(
        model,
        few.map((same) => same[0] as LayerInput),
        { dataset: data, batch, stage: 'gathering moments' },
        ctx,
        reference
      )
      for (const [i, same] of few.entries()) for (const l of same) yield [l, found[i] as Gram]
    }
  }
}

/** What the rows of one sample take while they are made, in bytes: the rows with the copies on the way to them. */
const rowBytes = (model: Model, l: LayerInput): number => 4 * l.perChannel * sampleBytes(model, l.x)

/** Layers whose matrices fit into memory together. */
const inParts = (all: readonly LayerInput[][]): readonly LayerInput[][][] =>
  inRooms(all, ([l]) => 8 * (l as LayerInput).groups * (l as LayerInput).k ** 2)

/** Runs of layers that take at most `memoryBytes` together; one that takes more is alone. */
function inRooms(
  all: readonly LayerInput[][],
  bytesOf: (same: readonly LayerInput[]) => number
): readonly LayerInput[][][] {
  const out: LayerInput[][][] = []
  let held = Number.POSITIVE_INFINITY
  for (const same of all) {
    const size = bytesOf(same)
    if (held + size > memoryBytes) {
      out.push([])
      held = 0
    }
    ;(out.at(-1) as LayerInput[][]).push(same)
    held += size
  }
  return out
}

async function gather(
  model: Model,
  layers: readonly LayerInput[],
  feed: Feed,
  ctx: Surroundings,
  reference: Model | undefined
): Promise<Gram[]> {
  const { reduced, taps } = withMoments(model, layers, reference)
  const sums = layers.map((l) => emptySums(l, reference !== undefined))
  await watch(reduced, asFloat, feed, ctx, (outputs) => {
    for (const [i, tap] of taps.entries()) addTo(sums[i] as Sums, tap, outputs)
  })
  return sums.map((s, i) => averaged(s, layers[i] as LayerInput))
}

interface Sums {
  rows: number
  readonly h: Float64Array
  readonly mean: Float64Array
  readonly off: { readonly h: Float64Array; readonly mean: Float64Array } | undefined
  readonly joined: { readonly h: Float64Array; readonly mean: Float64Array } | undefined
}

function emptySums({ groups, k, outputs, joins }: LayerInput, withOff: boolean): Sums {
  const make = (h: number, mean: number): { h: Float64Array; mean: Float64Array } => ({
    h: new Float64Array(h),
    mean: new Float64Array(mean)
  })
  const own = (): { h: Float64Array; mean: Float64Array } => make(groups * k * k, groups * k)
  return {
    rows: 0,
    ...own(),
    off: withOff ? own() : undefined,
    joined: withOff && joins !== undefined ? make(outputs * k, outputs) : undefined
  }
}

function addTo(sums: Sums, tap: Tap, outputs: Readonly<Record<string, Tensor>>): void {
  const add = (to: Float64Array, id: string): void => {
    const from = toFloats(outputs[id] as Tensor)
    for (let i = 0; i < to.length; i++) to[i] = (to[i] as number) + (from[i] as number)
  }
  sums.rows += (toNumbers(outputs[tap.size] as Tensor)[0] as number) / sums.mean.length
  add(sums.h, tap.h)
  add(sums.mean, tap.sum)
  if (sums.off && tap.off) {
    add(sums.off.h, tap.off.h)
    add(sums.off.mean, tap.off.sum)
  }
  if (sums.joined && tap.joined) {
    add(sums.joined.h, tap.joined.h)
    add(sums.joined.mean, tap.joined.sum)
  }
}

/** In place of the sums. */
function averaged(s: Sums, l: LayerInput): Gram {
  const divided = (m: { h: Float64Array; mean: Float64Array }): { h: Float64Array; mean: Float64Array } => {
    for (const all of [m.h, m.mean]) for (let i = 0; i < all.length; i++) all[i] = (all[i] as number) / s.rows
    return { h: m.h, mean: m.mean }
  }
  return {
    ...{ groups: l.groups, k: l.k, rows: s.rows },
    ...divided(s),
    ...(s.off ? { off: divided(s.off) } : {}),
    ...(s.joined ? { joined: divided(s.joined) } : {})
  }
}

// ---------------------------------------------------------------- the reducing model

/** Outputs of the reducing model for one layer: sums over the rows of a batch, and how many numbers the rows hold. */
interface Tap {
  readonly h: string
  readonly sum: string
  readonly size: string
  readonly off: { readonly h: string; readonly sum: string } | undefined
  readonly joined: { readonly h: string; readonly sum: string } | undefined
}

function withMoments(
  model: Model,
  layers: readonly LayerInput[],
  reference: Model | undefined
): { reduced: Model; taps: Tap[] } {
  const taps: Tap[] = []
  const reduced = edit(model, (d) => {
    const twin = reference ? addTwin(d, model.graph, reference.graph) : undefined
    for (const l of layers) {
      const rows = addRows(d, l, l.x)
      const turned = d.add('Transpose', [rows], { attrs: { perm: [0, 2, 1] } })
      const axes = constantInts(d, [2])
      const moments = (of: string): { h: string; sum: string } => ({
        h: d.add('MatMul', [of, turned]),
        sum: d.add('ReduceSum', [of, axes], { attrs: { keepdims: 0 } })
      })
      const off = twin ? d.add('Sub', [addRows(d, l, twin(l.x)), rows]) : undefined
      const joined = twin && l.joins !== undefined ? addOutputRows(d, l, twin(l.joins), l.joins) : undefined
      taps.push({
        ...moments(rows),
        size: d.add('Size', [rows]),
        off: off === undefined ? undefined : moments(off),
        joined: joined === undefined ? undefined : moments(joined)
      })
    }
    const all = taps.flatMap((t) => [t.h, t.sum, t.size, ...[t.off, t.joined].flatMap((m) => (m ? [m.h, m.sum] : []))])
    d.setOutputs(watchedOutputs(model, all))
    d.sweep()
  })
  return { reduced, taps }
}

const constantInts = (d: Draft, values: readonly number[]): string =>
  d.addConstant(tensor('int64', [values.length], values), 'ints')

/** Rows of a layer's input as float32 [groups, K, rows]. */
function addRows(d: Draft, l: LayerInput, x: string): string {
  const from = l.dtype === 'float32' ? x : d.add('Cast', [x], { attrs: { to: 1 } })
  const reshape = (of: string, shape: readonly number[]): string => d.add('Reshape', [of, constantInts(d, shape)])
  if (!l.windows)
    return reshape(d.add('Transpose', [reshape(from, [-1, l.k])], { attrs: { perm: [1, 0] } }), [1, l.k, -1])
  const { windows } = l
  const channels = l.k / l.perChannel
  const whole = padded(d, from, windows)
  const patches = positions(windows).map((p) => reshape(slice(d, whole, windows, p), [0, l.groups, channels, 1, -1]))
  const joined = patches.length === 1 ? (patches[0] as string) : d.add('Concat', patches, { attrs: { axis: 3 } })
  return reshape(d.add('Transpose', [joined], { attrs: { perm: [1, 2, 3, 0, 4] } }), [l.groups, l.k, -1])
}

/** What a value of the shape of the layer's output is off by, as float32 [1, outputs, rows]. */
function addOutputRows(d: Draft, l: LayerInput, reference: string, own: string): string {
  const off = d.add('Sub', [reference, own])
  const from = l.dtype === 'float32' ? off : d.add('Cast', [off], { attrs: { to: 1 } })
  const reshape = (of: string, shape: readonly number[]): string => d.add('Reshape', [of, constantInts(d, shape)])
  const turned = l.windows
    ? d.add('Transpose', [reshape(from, [0, l.outputs, -1])], { attrs: { perm: [1, 0, 2] } })
    : d.add('Transpose', [reshape(from, [-1, l.outputs])], { attrs: { perm: [1, 0] } })
  return reshape(turned, [1, l.outputs, -1])
}

/** Every position in the kernel, in the order of the weight's elements. */
function positions(windows: readonly Window[]): number[][] {
  return windows.reduce<number[][]>(
    (out, w) => out.flatMap((p) => Array.from({ length: w.kernel }, (_, i) => [...p, i])),
    [[]]
  )
}

function padded(d: Draft, x: string, windows: readonly Window[]): string {
  if (windows.every((w) => w.begin === 0 && w.end === 0)) return x
  const pads = [0, 0, ...windows.map((w) => w.begin), 0, 0, ...windows.map((w) => w.end)]
  return d.add('Pad', [x, constantInts(d, pads)])
}

/** What lies under one kernel position at every output position. */
function slice(d: Draft, x: string, windows: readonly Window[], position: readonly number[]): string {
  if (windows.every((w) => w.kernel === 1 && w.stride === 1)) return x
  const toEnd = 2 ** 31 - 1
  const starts = windows.map((w, i) => (position[i] as number) * w.dilation)
  const ends = windows.map((w, i) => -(w.kernel - 1 - (position[i] as number)) * w.dilation || toEnd)
  const axes = windows.map((_, i) => i + 2)
  const steps = windows.map((w) => w.stride)
  return d.add('Slice', [x, ...[starts, ends, axes, steps].map((v) => constantInts(d, v))])
}

/** Adds the reference's nodes under new names, except those that are the same in both. Returns the new name of each value. */
function addTwin(d: Draft, own: Graph, reference: Graph): (id: string) => string {
  const names = new Map<string, string>()
  for (const n of reference.nodes) for (const id of n.outputs) if (id) names.set(id, d.fresh(`${id}_reference`))
  for (const v of reference.values.values())
    if (v.data && own.values.get(v.id)?.data !== v.data) {
      names.set(v.id, d.fresh(`${v.id}_reference`))
      d.set({ ...v, id: names.get(v.id) as string } satisfies Value)
    }
  for (const n of reference.nodes) {
    const outputs = n.outputs.map((id) => names.get(id) ?? id)
    const renamed = reads(n).reduce((made, id) => renameReads(made, id, names.get(id) ?? id), n)
    d.addNode({ ...renamed, name: d.fresh(n.name), outputs })
  }
  return (id) => names.get(id) ?? id
}
