/**
 * Heads on a frozen trunk: a value inside, pooled to a small grid by mean and maximum, through two convolutions to the classes, or
 * where there is no grid through a hidden layer. The trunk is run once over the samples; heads are trained on what they
 * will read. Features are standardized by channel while training, which the first layer takes over afterwards:
 * W' = W / σ, b' = b − Σ W'·μ. Scores are divided by the temperature that makes the probabilities of samples that no weight was
 * fitted to most likely, so that one threshold means the same at all exits.
 */
import { greatest, least } from '../../base/extremes.ts'
import { argmax } from '../../data/argmax.ts'
import { arrayDataset } from '../../data/arrays.ts'
import { metricFor } from '../../data/metrics.ts'
import { builder } from '../../ir/build.ts'
import { type Draft, edit } from '../../ir/edit.ts'
import { elementCount, tensor, toFloats } from '../../ir/tensor.ts'
import { inferShapes } from '../../ops/infer.ts'
import { initialise } from '../../train/index.ts'
import type { Dataset, Model, Tensor } from '../../types.ts'
import { learn } from '../train/learn.ts'
import type { TrainingOptions } from '../train/options.ts'
import type { Context } from '../types.ts'
import type { CutPoint } from './cuts.ts'

/** Most numbers that a head reads of a sample. */
const mostFeatures = 4096
const mostSide = 8

/** Adds what a head reads to a graph; gives its id. Pictures are pooled to a grid, series over their steps, vectors are taken as they are. */
export function addPooled(d: Draft, { value, shape }: CutPoint): string {
  const [, channels, ...sides] = shape.map(Number)
  if (shape.length === 2) return value
  if (shape.length === 3) {
    const axes = d.addConstant(tensor('int64', [1], [1n]), `${value}/steps`)
    const parts = ['ReduceMean', 'ReduceMax'].map((op) => d.add(op, [value, axes], { attrs: { keepdims: 0 } }))
    return d.add('Concat', parts, { attrs: { axis: 1 } })
  }
  const kernel = kernelOf(channels as number, sides)
  if (isOne(kernel)) return value
  const attrs = { kernel_shape: kernel, strides: kernel }
  const parts = ['AveragePool', 'MaxPool'].map((op) => d.add(op, [value], { attrs }))
  return d.add('Concat', parts, { attrs: { axis: 1 } })
}

/** A mean of one is the value itself, and so is a maximum. */
const isOne = (kernel: readonly number[]): boolean => kernel.every((k) => k === 1)

/** The kernel for the largest grid that is not too much to read; what is left over at its far edges is not looked at. */
function kernelOf(channels: number, sides: readonly number[]): readonly number[] {
  for (let side = mostSide; side > 1; side--) {
    const kernel = sides.map((s) => Math.ceil(s / side))
    const places = elementCount(sides.map((s, i) => Math.floor(s / (kernel[i] as number))))
    if (channels * places * (isOne(kernel) ? 1 : 2) <= mostFeatures) return kernel
  }
  return sides
}

/** The trunk with what heads at these places read, and the ids of that. */
export function pooledModel(
  model: Model,
  points: readonly CutPoint[]
): { readonly model: Model; readonly pooled: readonly string[] } {
  const pooled: string[] = []
  const made = edit(model, (d) => {
    for (const p of points) pooled.push(addPooled(d, p))
  })
  return { model: inferShapes(made), pooled }
}

/** What a head is trained on, a sample a row. */
export interface HeadData {
  readonly n: number
  readonly features: Float32Array
  /** Of a sample's features: a vector, or channels and sides of a grid. */
  readonly shape: readonly number[]
  /** What the last stage says. */
  readonly scores: Float32Array
  readonly classes: number
  /** Labels, or the classes of the last stage. */
  readonly labels: Int32Array
}

/** A trained head. */
export interface Head {
  /** From `features` to `scores`, which are logits. */
  readonly model: Model
  /** What it says of the samples that chose the epoch, in their order. */
  readonly held: Float32Array
  /** Share of right answers on these. */
  readonly accuracy: number
}

/** How heads are trained. */
export interface HeadOptions {
  readonly hidden: number
  /** Share of the last stage's scores in the loss; the rest is of the labels. */
  readonly alpha: number
  readonly temperature: number
  readonly training: TrainingOptions
}

/** Trains one head; the samples of `held` choose the epoch and the temperature. */
export async function trainHead(
  data: HeadData,
  held: { readonly fit: readonly number[]; readonly choose: readonly number[] },
  o: HeadOptions,
  ctx: Context
): Promise<Head> {
  const scale = standardOf(data, held.fit)
  const start = initialise(headModel(data.shape, o.hidden, data.classes), String(ctx.rng.fork('head').next())).model
  const fit = datasetOf(data, held.fit, scale)
  const choose = datasetOf(data, held.choose, scale)
  const { alpha, temperature } = o
  const kl = { kind: 'kl' as const, output: 'scores', temperature, weight: alpha }
  const { model } = await learn(
    {
      ...{
        pass: 'early-exit',
        model: start,
        options: o.training,
        identity: [o.hidden, alpha, temperature, data.shape]
      },
      samples: { train: fit, validation: { data: choose, metric: metricFor('top1') } },
      loss: [
        ...(alpha > 0 ? [kl] : []),
        ...(alpha < 1 ? [{ kind: 'cross-entropy' as const, output: 'scores', weight: 1 - alpha }] : [])
      ],
      targets: (training, _, at) =>
        Object.fromEntries(
          training.targets.flatMap(({ kind, input, shape }) => {
            if (kind !== 'teacher') return []
            const rows = at.indices.map((i) => held.fit[i] as number)
            return [[input, { ...rowsOf(data.scores, [data.classes], rows), shape }]]
          })
        )
    },
    ctx
  )
  return measured(model, { data, rows: held.choose, dataset: choose, scale }, ctx)
}

/** Two convolutions where there is a grid to move over, the second with steps of two; else a hidden layer. */
function headModel(shape: readonly number[], hidden: number, classes: number): Model {
  const g = builder()
  const [channels = 1, ...sides] = shape
  g.input('features', 'float32', ['N', ...shape])
  const zeros = (s: readonly number[]): Tensor => tensor('float32', s, new Float32Array(elementCount(s)))
  const layer = (op: 'Conv' | 'Gemm', from: string, name: string, s: readonly number[], attrs = {}): string =>
    g.op(
      op,
      [from, g.constant(zeros(s), name), g.constant(zeros([s[op === 'Conv' ? 0 : 1] as number]), `${name}Bias`)],
      attrs,
      name === 'last' ? { outputs: ['scores'] } : {}
    )
  if (sides.length === 0 || least(sides) < leastSide) {
    const flat = shape.length > 1 ? g.op('Flatten', ['features'], { axis: 1 }) : 'features'
    const h = g.op('Relu', [layer('Gemm', flat, 'first', [elementCount(shape), hidden])])
    return inferShapes(g.model([layer('Gemm', h, 'last', [hidden, classes])]))
  }
  const width = Math.ceil(hidden / 2)
  const a = g.op('Relu', [layer('Conv', 'features', 'first', [width, channels, 3, 3])])
  const b = layer('Conv', a, 'second', [hidden, width, 3, 3], { strides: [2, 2], pads: [1, 1, 1, 1] })
  const flat = g.op('Flatten', [g.op('Relu', [b])], { axis: 1 })
  const places = sides.map((n) => Math.ceil((n - 2) / 2))
  return inferShapes(g.model([layer('Gemm', flat, 'last', [elementCount([hidden, ...places]), classes])]))
}

/** Smaller grids are taken as vectors. */
const leastSide = 4

/** Of each channel. */
interface Standard {
  readonly mean: Float64Array
  readonly deviation: Float64Array
}

function standardOf({ features, shape }: HeadData, rows: readonly number[]): Standard {
  const [channels = 1, ...sides] = shape
  const [width, each] = [elementCount(shape), elementCount(sides)]
  const [mean, square] = [new Float64Array(channels), new Float64Array(channels)]
  const n = rows.length * each
  for (const r of rows)
    for (let k = 0; k < width; k++) {
      const [v, c] = [features[r * width + k] as number, Math.floor(k / each)]
      mean[c] = (mean[c] as number) + v / n
      square[c] = (square[c] as number) + (v * v) / n
    }
  // Features that never change tell nothing, and are not made large.
  const deviation = square.map((s, c) => Math.sqrt(Math.max(0, s - (mean[c] as number) ** 2)) || 1)
  return { mean, deviation }
}

function datasetOf(data: HeadData, rows: readonly number[], { mean, deviation }: Standard): Dataset {
  const features = rowsOf(data.features, data.shape, rows)
  const [width, each] = [elementCount(data.shape), elementCount(data.shape.slice(1))]
  const x = toFloats(features)
  for (let i = 0; i < x.length; i++) {
    const c = Math.floor((i % width) / each)
    x[i] = ((x[i] as number) - (mean[c] as number)) / (deviation[c] as number)
  }
  return arrayDataset({
    inputs: { features: tensor('float32', features.shape, x) },
    labels: rows.map((r) => data.labels[r] as number)
  })
}

function rowsOf(values: Float32Array, shape: readonly number[], rows: readonly number[]): Tensor {
  const width = elementCount(shape)
  const out = new Float32Array(rows.length * width)
  for (const [i, r] of rows.entries()) out.set(values.subarray(r * width, (r + 1) * width), i * width)
  return tensor('float32', [rows.length, ...shape], out)
}

interface Held {
  readonly data: HeadData
  readonly rows: readonly number[]
  readonly dataset: Dataset
  readonly scale: Standard
}

/** What a trained head says of samples that it was not fitted to, and the head as it stands behind the trunk. */
async function measured(model: Model, { data, rows, dataset, scale }: Held, ctx: Context): Promise<Head> {
  const { classes } = data
  const logits = new Float32Array(rows.length * classes)
  const session = await ctx.engine.open(model)
  let at = 0
  try {
    for await (const { inputs } of dataset.batches({ batch: 256 })) {
      const { scores } = await session.run(inputs)
      logits.set(toFloats(scores as Tensor), at)
      at += elementCount((scores as Tensor).shape)
    }
  } finally {
    await session.close()
  }
  const labels = rows.map((r) => data.labels[r] as number)
  const t = temperatureOf(logits, labels, classes)
  const right = labels.filter((label, i) => argmax(logits, i * classes, classes) === label).length
  return { model: onFeatures(model, scale, t), held: logits.map((v) => v / t), accuracy: right / labels.length }
}

/** The temperature, of 41 between 1/4 and 8, of the greatest likelihood: that of the least mean of ln Σ exp(z/T) − z_label/T. */
export function temperatureOf(logits: Float32Array, labels: readonly number[], classes: number): number {
  let [best, lowest] = [1, Number.POSITIVE_INFINITY]
  for (let i = -16; i <= 24; i++) {
    const t = 2 ** (i / 8)
    const loss = labels.reduce((sum, label, r) => {
      const row = logits.subarray(r * classes, (r + 1) * classes)
      const top = greatest(row)
      const all = row.reduce((s, z) => s + Math.exp((z - top) / t), 0)
      return sum + Math.log(all) - ((row[label] as number) - top) / t
    }, 0)
    if (loss < lowest) [best, lowest] = [t, loss]
  }
  return best
}

/** The head on features as they are: the first layer takes over the standardization, the last one the temperature. */
function onFeatures(model: Model, { mean, deviation }: Standard, temperature: number): Model {
  return edit(model, (d) => {
    const change = (id: string, make: (values: Float32Array, shape: readonly number[]) => Float32Array): void => {
      const v = d.value(id)
      if (v?.data) d.set({ ...v, data: tensor('float32', v.data.shape, make(toFloats(v.data).slice(), v.data.shape)) })
    }
    const shifts: number[] = []
    change('first', (w, shape) => {
      // [outputs, channels, 3, 3] of a convolution, [features, outputs] of a matrix.
      const isConv = shape.length === 4
      const outputs = shape[isConv ? 0 : 1] as number
      const inputs = w.length / outputs
      const each = inputs / mean.length
      for (let j = 0; j < outputs; j++) {
        let shift = 0
        for (let k = 0; k < inputs; k++) {
          const [at, c] = [isConv ? j * inputs + k : k * outputs + j, Math.floor(k / each)]
          const scaled = (w[at] as number) / (deviation[c] as number)
          w[at] = scaled
          shift += scaled * (mean[c] as number)
        }
        shifts.push(shift)
      }
      return w
    })
    change('firstBias', (b) => b.map((v, j) => v - (shifts[j] as number)))
    for (const id of ['last', 'lastBias']) change(id, (w) => w.map((v) => v / temperature))
  })
}

/** Adds a trained head behind what it reads; gives the id of its scores, logits of shape [N, classes]. */
export function addHead(d: Draft, pooled: string, { model: { graph } }: Head): string {
  const names = new Map([['features', pooled]])
  for (const { id, data } of graph.values.values()) if (data) names.set(id, d.addConstant(data, `${pooled}/${id}`))
  for (const n of graph.nodes)
    names.set(
      n.outputs[0] as string,
      d.add(
        n.op,
        n.inputs.map((id) => (id === null ? null : (names.get(id) as string))),
        { attrs: n.attrs }
      )
    )
  return names.get('scores') as string
}
