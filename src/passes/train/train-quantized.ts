/**
 * Quantization-aware training: the model is trained as its codes will compute it, and ends as quantize-static or
 * quantize-weights would have written it, with the weights and steps that training came to.
 */
import { z } from 'zod'
import { PareError } from '../../base/errors.ts'
import { subset } from '../../data/split.ts'
import { producer } from '../../ir/graph.ts'
import { elementCount, toFloats } from '../../ir/tensor.ts'
import { opFor } from '../../ops/index.ts'
import { viewOf } from '../../ops/infer.ts'
import { withValues } from '../../train/index.ts'
import type { Model, Tensor } from '../../types.ts'
import { definePass } from '../pass.ts'
import { encodeWith } from '../quantize/common/cells.ts'
import { channelsOf, peaksOf, refineScales, scalesOf, storedScale } from '../quantize/common/codes.ts'
import { safeLevels } from '../quantize/common/saturation.ts'
import { applyStatic } from '../quantize/static/apply.ts'
import { type StaticPlan, scaledWeight, type ValuePlan, weightKey } from '../quantize/static/plan.ts'
import { planStatic } from '../quantize/static/quantize-static.ts'
import { applyWeights, storeAlone } from '../quantize/weights/apply.ts'
import { planWeights, type WeightPlan } from '../quantize/weights/plan.ts'
import { withTypes } from '../typed.ts'
import type { Context } from '../types.ts'
import { type FakeQuantized, fakeQuantized, tapOf, trainedSteps, type WeightSteps } from './fake-quantize.ts'
import { type Fitted, learn } from './learn.ts'
import { inputTargets, neededTask, refuseRounded, taskLoss } from './loss.ts'
import { trainingFields } from './options.ts'
import { clamped, rounded } from './rounded.ts'
import { samplesFor } from './task.ts'

const { patience: _, ...fields } = trainingFields

const options = {
  ...fields,
  bits: z
    .union([8, 4, 3, 2].map((n) => z.literal(n as 8 | 4 | 3 | 2)))
    .default(8)
    .describe('bits of weights'),
  quantization: z
    .strictObject({
      activations: z
        .enum(['uint8', 'float'])
        .default('uint8')
        .describe('uint8: computes on integers; float: only the weights are stored in few bits'),
      ranges: z
        .enum(['learned', 'calibrated'])
        .default('learned')
        .describe('learned: the steps between codes train too'),
      keepEnds: z.boolean().default(true).describe('the first and the last layer keep 8 bits')
    })
    .prefault({})
} as const

type Options = z.output<z.ZodObject<typeof options>>

/** Trains with rounded weights and activations, and quantizes. */
export const trainQuantized = definePass({
  name: 'train-quantized',
  summary: 'train with weights and activations rounded as they will be, then quantize: for 4 bits and fewer',
  group: 'training',
  needs: ['train'],
  uses: ['calibration', 'selection'],
  after: ['simplify', 'fuse'],
  options,
  run: (given, o, ctx) =>
    withTypes(given, async (model) => {
      refuseRounded(model, 'train-quantized')
      return o.quantization.activations === 'float' ? storedInFewBits(model, o, ctx) : onIntegers(model, o, ctx)
    })
})

// ---------------------------------------------------------------- integers

async function onIntegers(model: Model, o: Options, ctx: Context): Promise<Model> {
  const found = await planStatic(
    model,
    {
      ...{ calibrator: 'mse', percentile: 99.99, include: [], exclude: [] },
      ...{ reduceRange: 'never', activations: 'auto', perChannel: true, correctBias: false }
    },
    withCalibration(ctx)
  )
  if (!found) return model
  const { plan } = found
  const layers = plan.nodes.flatMap((n) => (n.weight ? [n.weight] : []))
  const keys = layers.map(weightKey)
  const ends = new Set(o.quantization.keepEnds ? [keys[0], keys.at(-1)] : [])
  const alphas = alphasOf(model, plan)
  const bitsAt = (w: StaticPlan['weights'][number]): number => (ends.has(weightKey(w)) ? 8 : o.bits)
  const weights = plan.weights.map((w): WeightSteps => {
    const bits = bitsAt(w)
    const level = bits === 8 && ctx.target.saturates ? safeLevels : 2 ** (bits - 1) - 1
    return firstSteps(model, w.id, w.axis, level)
  })
  const fake = fakeQuantized(model, weights, stepRule(o), plan)
  const { fitted, trained } = await trainFake(model, fake, o, ctx)
  const made: StaticPlan = {
    ...plan,
    values: plan.values.map((v) => withStep(model, plan, v, trainedSteps(fake, fitted.model, v.ids[0] as string)[0])),
    weights: plan.weights.map((w, i) => {
      const { level } = weights[i] as WeightSteps
      const alpha = alphas.get(weightKey(w)) ?? 1
      const scales = Array.from(trainedSteps(fake, fitted.model, weightKey(w)), (s) =>
        storedScale(s * alpha, 'float32')
      )
      const bits = bitsAt(w)
      return { ...w, scales, levels: scales.map(() => level), ...(bits === 8 ? {} : { bits }) }
    })
  }
  tell(o, fitted, { bits: bitsOf(weights) }, ctx)
  return applyStatic(trained, made)
}

const mostCalibrated = 512

/** Ranges begin with the calibration data, or else with some of the training data. */
function withCalibration(ctx: Context): Context {
  const { train, calibration } = ctx.data
  if (calibration || !train) return ctx
  const some = ctx.rng.fork('calibration').permutation(train.size).slice(0, mostCalibrated)
  return { ...ctx, data: { ...ctx.data, calibration: subset(train, some) } }
}

/** Factors that Gemms have beside their weights. */
function alphasOf(model: Model, plan: StaticPlan): ReadonlyMap<string, number> {
  const out = new Map<string, number>()
  for (const n of plan.nodes) {
    const node = n.weight && producer(model.graph, n.output)
    if (n.weight && node) out.set(weightKey(n.weight), scaledWeight(model, n.weight.id, node).alpha)
  }
  return out
}

/** A value with another step. Where a clamp is left to saturation, the highest code stays within it. */
function withStep(model: Model, plan: StaticPlan, v: ValuePlan, step: number | undefined): ValuePlan {
  const lowest = v.dtype === 'uint8' ? 0 : -128
  const above = lowest + 255 - v.zeroPoint
  const clamp = producer(model.graph, tapOf(plan, v))
  const isAbsorbed = clamp !== undefined && plan.clamps.includes(clamp.outputs[0] as string)
  const bounds = isAbsorbed ? opFor(clamp)?.quant?.clamp?.(viewOf(model, model.graph, clamp)) : undefined
  const limit = bounds?.high ?? Number.POSITIVE_INFINITY
  let scale = Math.fround(step ?? v.scale)
  while (above * scale > limit) scale = Math.fround(Math.min(scale * (1 - 2 ** -24), limit / above))
  return { ...v, scale, low: (lowest - v.zeroPoint) * scale, high: above * scale }
}

// ---------------------------------------------------------------- weights alone

async function storedInFewBits(model: Model, o: Options, ctx: Context): Promise<Model> {
  const plan = weightPlan(model, o, ctx)
  if (plan.length === 0) return model
  const weights = plan.map((w) => firstSteps(model, w.id, w.axis, 2 ** (w.bits - 1) - 1))
  const fake = fakeQuantized(model, weights, stepRule(o))
  const { fitted, trained } = await trainFake(model, fake, o, ctx)
  tell(o, fitted, { bits: bitsOf(weights) }, ctx)
  return applyWeights(trained, plan, (w, data) => {
    const { axis, codes } = w
    const { level } = weights.find((x) => x.id === w.id) as WeightSteps
    const scales = trainedSteps(fake, fitted.model, weightKey(w)).map((s) => storedScale(s, 'float32'))
    const inside = clamped(data, axis, scales, level)
    if (!codes) return storeAlone(w, rounded(inside, axis, scales), { hqq: false, isSparse: true })
    return encodeWith(
      inside,
      axis === undefined ? {} : { axis },
      codes,
      { scales, zeros: new Float64Array(scales.length) },
      w.id
    )
  })
}

function weightPlan(model: Model, o: Options, ctx: Context): WeightPlan[] {
  const at = (bits: Options['bits']): WeightPlan[] =>
    planWeights(
      model,
      {
        ...{ bits, form: bits === 3 ? 'palette' : 'foldable', method: 'rtn', blockSize: 0, perChannel: true },
        ...{ symmetric: true, include: [], exclude: [], minElements: 128 }
      },
      ctx
    ).filter((w) => model.graph.values.get(w.id)?.data?.dtype === 'float32')
  const plan = at(o.bits)
  if (o.bits === 8 || !o.quantization.keepEnds) return plan
  const whole = new Map(at(8).map((w) => [w.id, w]))
  return plan.map((w, i) => (i === 0 || i === plan.length - 1 ? (whole.get(w.id) ?? w) : w))
}

// ---------------------------------------------------------------- both

/** Steps to begin with: least squares from 4 bits on; below, 2·E|w|/√level, where most weights are near zero. */
function firstSteps(model: Model, id: string, axis: number | undefined, level: number): WeightSteps {
  const data = model.graph.values.get(id)?.data
  if (!data) throw new PareError('E_MODEL', `weight ${id} is no constant`, { where: id })
  const channels = channelsOf(data.shape, axis)
  const holding = scalesOf(peaksOf(data, channels, id), level, 'float32')
  const scales = level > 3 ? refineScales(data, channels, holding, level) : meanSteps(data, axis, holding, level)
  return { id, ...(axis === undefined ? {} : { axis }), scales: Array.from(scales), level }
}

function meanSteps(data: Tensor, axis: number | undefined, holding: Float64Array, level: number): Float64Array {
  const { count, inner } = channelsOf(data.shape, axis)
  const sums = new Float64Array(count)
  for (const [i, x] of toFloats(data).entries()) {
    const c = Math.floor(i / inner) % count
    sums[c] = (sums[c] as number) + Math.abs(x)
  }
  const each = elementCount(data.shape) / count
  return holding.map((most, c) => {
    const sum = sums[c] as number
    return sum === 0 ? most : storedScale(Math.min(most, (2 * sum) / each / Math.sqrt(level)), 'float32')
  })
}

const stepRule = (o: Options): { readonly learned: boolean; readonly adaptive: boolean } => ({
  learned: o.quantization.ranges === 'learned',
  adaptive: o.optimizer.name !== 'sgd'
})

const bitsOf = (weights: readonly WeightSteps[]): Record<string, number> =>
  Object.fromEntries(weights.map((w) => [w.id, Math.ceil(Math.log2(w.level + 1)) + 1]))

/** Weights of 4 bits and more begin near where they end; fewer bits have far to go. */
function withRate(o: Options): Options {
  const { name, rate } = o.optimizer
  return rate === undefined && name === 'sgd' && o.bits >= 4 ? { ...o, optimizer: { ...o.optimizer, rate: 0.002 } } : o
}

/** Trains the model that computes as if quantized. `trained`: the float model with the weights that came out. */
async function trainFake(
  model: Model,
  fake: FakeQuantized,
  o: Options,
  ctx: Context
): Promise<{ readonly fitted: Fitted; readonly trained: Model }> {
  const task = neededTask(model, 'train-quantized', ctx.data.train)
  const samples = await samplesFor('train-quantized', task, ctx, o)
  const moving = new Set([...fake.steps.values()].map((s) => s.parameter))
  const fitted = await learn(
    {
      ...{ pass: 'train-quantized', model: fake.model, samples, options: withRate(o) },
      loss: [taskLoss(task, 0)],
      parameters: (v) => moving.has(v.id) || (!fake.fixed.has(v.id) && elementCount(v.data?.shape ?? []) > 1),
      targets: (training, batch) => inputTargets(training, task, batch)
    },
    ctx
  )
  const values = new Map<string, Tensor>()
  for (const v of model.graph.values.values()) {
    const data = v.data && fitted.model.graph.values.get(v.id)?.data
    if (data && data !== v.data) values.set(v.id, data)
  }
  return { fitted, trained: withValues(model, values) }
}

function tell(o: Options, fitted: Fitted, what: object, ctx: Context): void {
  const { model: _model, ...told } = fitted
  ctx.plan({ ranges: o.quantization.ranges, ...what, ...told })
}
