/**
 * Heads on a frozen trunk: a value inside, pooled to a small grid by mean and maximum, through one hidden layer to the classes.
 * The trunk is run once over the samples; heads are trained on what they will read. Features are standardized while training,
 * which the first layer takes over afterwards: W' = W / σ, b' = b − W'·μ.
 */
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
const mostFeatures = 2048
const grids = [8, 4, 2, 1] as const

/** Adds what a head reads to a graph; gives its id. Pictures are pooled on a grid, series over their steps, vectors are taken as they are. */
export function addPooled(d: Draft, { value, shape }: CutPoint): string {
  const [, channels, ...sides] = shape.map(Number)
  if (shape.length === 2) return value
  if (shape.length === 3) {
    const axes = d.addConstant(tensor('int64', [1], [1n]), `${value}/steps`)
    const parts = ['ReduceMean', 'ReduceMax'].map((op) => d.add(op, [value, axes], { attrs: { keepdims: 0 } }))
    return d.add('Concat', parts, { attrs: { axis: 1 } })
  }
  const grid =
    grids.find((g) => sides.every((s) => s % g === 0) && 2 * (channels as number) * g * g <= mostFeatures) ?? 1
  const kernel = sides.map((s) => s / grid)
  const attrs = { kernel_shape: kernel, strides: kernel }
  const parts = ['AveragePool', 'MaxPool'].map((op) => d.add(op, [value], { attrs }))
  return d.add('Flatten', [d.add('Concat', parts, { attrs: { axis: 1 } })], { attrs: { axis: 1 } })
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
  readonly width: number
  /** What the last stage says. */
  readonly scores: Float32Array
  readonly classes: number
  /** Labels, or the classes of the last stage. */
  readonly labels: Int32Array
}

/** A trained head. */
export interface Head {
  readonly first: Tensor
  readonly firstBias: Tensor
  readonly second: Tensor
  readonly secondBias: Tensor
  /** Share of right answers on the samples that chose the epoch. */
  readonly accuracy: number | undefined
}

/** How heads are trained. */
export interface HeadOptions {
  readonly hidden: number
  /** Share of the last stage's scores in the loss; the rest is of the labels. */
  readonly alpha: number
  readonly temperature: number
  readonly training: TrainingOptions
}

/** Trains one head; the samples of `held` choose the epoch. */
export async function trainHead(
  data: HeadData,
  held: { readonly fit: readonly number[]; readonly choose: readonly number[] },
  o: HeadOptions,
  ctx: Context
): Promise<Head> {
  const scale = standardOf(data, held.fit)
  const start = initialise(headModel(data.width, o.hidden, data.classes), String(ctx.rng.fork('head').next())).model
  const fit = datasetOf(data, held.fit, scale)
  const { alpha, temperature } = o
  const kl = { kind: 'kl' as const, output: 'scores', temperature, weight: alpha }
  const { model, score } = await learn(
    {
      ...{
        pass: 'early-exit',
        model: start,
        options: o.training,
        identity: [o.hidden, alpha, temperature, data.width]
      },
      samples: { train: fit, validation: { data: datasetOf(data, held.choose, scale), metric: metricFor('top1') } },
      loss: [
        ...(alpha > 0 ? [kl] : []),
        ...(alpha < 1 ? [{ kind: 'cross-entropy' as const, output: 'scores', weight: 1 - alpha }] : [])
      ],
      targets: (training, _, at) =>
        Object.fromEntries(
          training.targets.flatMap(({ kind, input, shape }) => {
            if (kind !== 'teacher') return []
            const rows = at.indices.map((i) => held.fit[i] as number)
            return [[input, { ...rowsOf(data.scores, data.classes, rows), shape }]]
          })
        )
    },
    ctx
  )
  const of = (id: string): Tensor => model.graph.values.get(id)?.data as Tensor
  return {
    ...unscaled(of('first'), of('firstBias'), scale),
    second: of('second'),
    secondBias: of('secondBias'),
    accuracy: score?.after
  }
}

function headModel(width: number, hidden: number, classes: number): Model {
  const g = builder()
  g.input('features', 'float32', ['N', width])
  const zeros = (shape: readonly number[]): Tensor => tensor('float32', shape, new Float32Array(elementCount(shape)))
  const layer = (from: string, name: string, inputs: number, outputs: number, out: string): string =>
    g.op(
      'Gemm',
      [from, g.constant(zeros([inputs, outputs]), name), g.constant(zeros([outputs]), `${name}Bias`)],
      {},
      { outputs: [out] }
    )
  const h = g.op('Relu', [layer('features', 'first', width, hidden, 'hidden')])
  return inferShapes(g.model([layer(h, 'second', hidden, classes, 'scores')]))
}

interface Standard {
  readonly mean: Float64Array
  readonly deviation: Float64Array
}

function standardOf({ features, width }: HeadData, rows: readonly number[]): Standard {
  const [mean, square] = [new Float64Array(width), new Float64Array(width)]
  for (const r of rows)
    for (let k = 0; k < width; k++) {
      const v = features[r * width + k] as number
      mean[k] = (mean[k] as number) + v / rows.length
      square[k] = (square[k] as number) + (v * v) / rows.length
    }
  // Features that never change tell nothing, and are not made large.
  const deviation = square.map((s, k) => Math.sqrt(Math.max(0, s - (mean[k] as number) ** 2)) || 1)
  return { mean, deviation }
}

function datasetOf(data: HeadData, rows: readonly number[], { mean, deviation }: Standard): Dataset {
  const { width } = data
  const x = toFloats(rowsOf(data.features, width, rows))
  for (let i = 0; i < x.length; i++)
    x[i] = ((x[i] as number) - (mean[i % width] as number)) / (deviation[i % width] as number)
  return arrayDataset({
    inputs: { features: tensor('float32', [rows.length, width], x) },
    labels: rows.map((r) => data.labels[r] as number)
  })
}

function rowsOf(values: Float32Array, width: number, rows: readonly number[]): Tensor {
  const out = new Float32Array(rows.length * width)
  for (const [i, r] of rows.entries()) out.set(values.subarray(r * width, (r + 1) * width), i * width)
  return tensor('float32', [rows.length, width], out)
}

/** The first layer on features as they are. */
function unscaled(w: Tensor, b: Tensor, { mean, deviation }: Standard): Pick<Head, 'first' | 'firstBias'> {
  const [width, hidden] = w.shape as readonly [number, number]
  const [weights, bias] = [Float32Array.from(toFloats(w)), Float64Array.from(toFloats(b))]
  for (let k = 0; k < width; k++)
    for (let j = 0; j < hidden; j++) {
      const scaled = (weights[k * hidden + j] as number) / (deviation[k] as number)
      weights[k * hidden + j] = scaled
      bias[j] = (bias[j] as number) - scaled * (mean[k] as number)
    }
  return { first: tensor('float32', w.shape, weights), firstBias: tensor('float32', b.shape, Float32Array.from(bias)) }
}

/** Adds a trained head behind what it reads; gives the id of its scores, logits of shape [N, classes]. */
export function addHead(d: Draft, pooled: string, head: Head): string {
  const constant = (t: Tensor, name: string): string => d.addConstant(t, `${pooled}/${name}`)
  const layer = (from: string, w: Tensor, b: Tensor, name: string): string =>
    d.add('Gemm', [from, constant(w, name), constant(b, `${name}_bias`)])
  const hidden = d.add('Relu', [layer(pooled, head.first, head.firstBias, 'hidden')])
  return layer(hidden, head.second, head.secondBias, 'classes')
}
