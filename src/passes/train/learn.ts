/** One training run of a pass: the graph, the loop, checkpoints, curves, and what is said of how it went. */
import { quickHash, toArray } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import { elementCount, isFloat } from '../../ir/tensor.ts'
import type { Report } from '../../report/types.ts'
import { fedOf, wholeInputs } from '../../runtime/batches.ts'
import { type Checkpoint, decodeCheckpoint, encodeCheckpoint } from '../../train/checkpoint.ts'
import {
  type Best,
  type DifferentiateOptions,
  differentiate,
  type Epoch,
  firstState,
  isOver,
  type LoopResult,
  type LossTerm,
  meanScore,
  type StepPlace,
  type Training,
  train
} from '../../train/index.ts'
import type { Batch, Metric, Model, Tensor } from '../../types.ts'
import type { Context } from '../types.ts'
import { augmentOf, optimizerOf, rateOf, scheduleOf, type TrainingOptions } from './options.ts'
import type { Samples } from './task.ts'

/** What a pass wants trained. */
export interface Fit {
  /** Name of the pass, for what is said. */
  readonly pass: string
  readonly model: Model
  readonly loss: readonly LossTerm[]
  readonly parameters?: DifferentiateOptions['parameters']
  readonly samples: Samples
  readonly options: TrainingOptions
  /** What else tells this run from others. */
  readonly identity?: unknown
  /** Targets beside the labels, for the batch as it is trained on. */
  targets?(training: Training, batch: Batch, at: StepPlace): FeedsSoon
}

type Feeds = Readonly<Record<string, Tensor>>
type FeedsSoon = Feeds | Promise<Feeds>

/** A trained model, and what the report is told. */
export interface Fitted {
  /** The very same model where no epoch was better than the start. */
  readonly model: Model
  readonly curves: Report['curves']
  readonly ended: LoopResult['ended']
  readonly epochs: number
  /** Mean score on the samples that choose, before and of the epoch that was kept. */
  readonly score?: { readonly metric: string; readonly before: number; readonly after: number; readonly epoch: number }
}

/** Statistics of smaller batches are too noisy: those of the model stay. */
const leastForStatistics = 16
/**
 * Batches over which statistics are estimated anew before each look at the validation samples: 2,560 samples, or 20 batches.
 * Of n samples a channel's mean is off by σ/√n and its σ by a share of 1/√(2n): 2 and 1.4 % of 2,560; more is not seen. The
 * loop never goes through the data twice: after one pass the statistics are those of the data themselves.
 */
export const estimateBatches = (batch: number): number => Math.min(20, Math.ceil(2560 / batch))
const defaultClip = 1

interface Prepared {
  readonly f: Fit
  readonly training: Training
  readonly seed: string
  readonly key: string
  readonly rate: number
}

/** Trains as asked. Throws what `differentiate` and `train` throw; a divergence is a note, and the best so far is kept. */
export async function learn(f: Fit, ctx: Context): Promise<Fitted> {
  refuseWhole(f)
  const made = prepare(f, ctx)
  const from = await startOf(made, ctx)
  const { training, seed, rate } = made
  const { options, samples } = f
  const history: Epoch[] = [...from.history]
  const { patience, keep, validateEvery } = options
  const last = history.at(-1)
  const hasEnded = last !== undefined && isOver(patience, last, from.best)
  const augment = augmentOf(options, seed)
  const steps = Math.floor(samples.train.size / training.batch) * options.epochs
  const told = teller(f, training.batch, ctx, history)
  const result = await train(
    f.model,
    training,
    {
      epochs: hasEnded ? from.epoch : options.epochs,
      rate,
      schedule: scheduleOf(options, steps),
      seed,
      ...(patience === undefined ? {} : { patience }),
      ...(options.ema === undefined ? {} : { ema: options.ema }),
      ...{ keep, validateEvery },
      reestimate: estimateBatches(training.batch),
      from
    },
    {
      engine: ctx.engine,
      data: samples.train,
      ...(samples.validation ? { validation: { ...samples.validation, ms: from.scoreMs } } : {}),
      signal: ctx.signal,
      progress: told,
      prepare: async (read, at) => {
        const batch = augment ? augment(read, at) : read
        return { batch, feeds: (await f.targets?.(training, batch, at)) ?? {} }
      },
      onEpoch: async (entry, state, best) => {
        history.push(entry)
        const { epoch } = entry
        const c: Checkpoint = { key: made.key, epoch, history, state, ...(best ? { best } : {}) }
        await ctx.checkpoints?.write(made.key, encodeCheckpoint(c))
      }
    }
  )
  return conclude(f, ctx, result, history, from.first)
}

function prepare(f: Fit, ctx: Context): Prepared {
  const { options, samples, model } = f
  const batch = Math.min(options.batch, samples.train.size)
  const build = (clip: number | undefined): Training =>
    differentiate(model, {
      loss: f.loss,
      batch,
      optimizer: optimizerOf(options),
      normalization: batch >= leastForStatistics ? 'batch' : 'frozen',
      ...(f.parameters ? { parameters: f.parameters } : {}),
      ...(clip === undefined ? {} : { clip })
    })
  const plain = build(options.optimizer.clip)
  const isNormalized = model.graph.nodes.some((n) => /Normalization$/.test(n.op))
  const isAuto = !isNormalized && options.optimizer.clip === undefined
  const training = isAuto ? build(defaultClip) : plain
  const rate = rateOf(options)
  if (isAuto)
    ctx.note(
      `${f.pass}: the model has no normalization layers (they may have been folded away), so gradients are clipped to ${defaultClip}`
    )
  const seed = String(ctx.rng.fork(f.pass).next())
  return { f, training, seed, rate, key: keyOf(f, training, seed) }
}

/** Tells runs apart by all that their results depend on. */
function keyOf({ pass, options, samples, identity }: Fit, training: Training, seed: string): string {
  const { train: data, validation } = samples
  const start = Object.entries(training.initial).map(([id, t]) => [id, quickHash(toArray(t.bytes))])
  const nodes = training.model.graph.nodes.map((n) => [n.op, n.inputs, n.outputs])
  const parts = [options, identity, data.size, data.sha256, validation?.data.size, seed, start, nodes]
  return `${pass}-${quickHash(new TextEncoder().encode(JSON.stringify(parts))).replace(':', '-')}`
}

interface Start {
  readonly epoch: number
  readonly state: Checkpoint['state']
  readonly best?: Best
  readonly history: readonly Epoch[]
  /** Score before training. */
  readonly first?: number
  /** What finding it took. */
  readonly scoreMs: number
}

/** Where a stopped run was, or the beginning, whose score the epochs have to beat. */
async function startOf({ f, training, key }: Prepared, ctx: Context): Promise<Start> {
  const kept = await ctx.checkpoints?.read(key)
  const state = firstState(training, f.model)
  const start = performance.now()
  const first = await scoreOf(f, ctx)
  const known = { scoreMs: performance.now() - start, ...(first === undefined ? {} : { first }) }
  if (!kept)
    return {
      epoch: 0,
      state,
      history: [],
      ...known,
      ...(first === undefined ? {} : { best: { epoch: 0, score: first, state } })
    }
  const c = decodeCheckpoint(kept)
  if (c.key !== key)
    throw new PareError('E_FORMAT', 'this checkpoint is of another training run', {
      where: f.pass,
      hint: 'resume with the same model, data and options, or train again without --resume'
    })
  ctx.note(`${f.pass} went on after epoch ${c.epoch}`)
  const { epoch, history, best } = c
  return { epoch, state: c.state, history, ...known, ...(best ? { best } : {}) }
}

/** Mean score of the model before training. */
async function scoreOf({ samples: { validation }, model }: Fit, ctx: Context): Promise<number | undefined> {
  return validation && (await meanScore(model, validation, ctx))
}

// ---------------------------------------------------------------- what is said

const spell = (metric: Metric, score: number): string =>
  metric.scale === 'binary' ? `${(100 * score).toFixed(2)} %` : score.toPrecision(4)

/** Progress in words that change once an epoch, the last one's loss and score; counted in samples. */
function teller(f: Fit, batch: number, ctx: Context, history: readonly Epoch[]): Context['progress'] {
  const { metric } = f.samples.validation ?? {}
  let said = { epochs: -1, words: '' }
  return (_, done, total, pace) => {
    if (said.epochs !== history.length) {
      const { loss } = history.at(-1) ?? {}
      const score = history.findLast((e) => e.score !== undefined)?.score
      const parts = [
        `epoch ${history.length + 1}/${f.options.epochs}`,
        ...(loss === undefined ? [] : [`loss ${loss.toPrecision(3)}`]),
        ...(metric && score !== undefined ? [spell(metric, score)] : [])
      ]
      said = { epochs: history.length, words: parts.join(', ') }
    }
    const samples = pace && { ...pace, perSecond: pace.perSecond * batch }
    ctx.progress(said.words, done * batch, total === undefined ? undefined : total * batch, samples)
  }
}

function conclude(
  f: Fit,
  ctx: Context,
  result: LoopResult,
  history: readonly Epoch[],
  first: number | undefined
): Fitted {
  const { pass, samples } = f
  const { best, ended, advice, kept } = result
  const after = kept === best?.epoch ? best.score : history.at(-1)?.score
  if (ended === 'diverged')
    ctx.note(`${pass} stopped, for ${advice}; ${kept === 0 ? 'the model is as before' : `epoch ${kept} was kept`}`)
  if (ended === 'early')
    ctx.note(`${pass} stopped after epoch ${history.length}: ${f.options.patience} without a better score`)
  if (!best && ended !== 'diverged')
    ctx.note(`${pass}: there were no samples to choose an epoch by, so the last was kept`)
  const metric = samples.validation?.metric
  if (metric && after !== undefined && first !== undefined) {
    const scores = `${samples.train.size} samples to train on; ${metric.name} on ${samples.validation?.data.size} that choose: ${spell(metric, first)} before, ${spell(metric, after)} after`
    ctx.note(`${pass}: ${scores}${kept === 0 ? '; no epoch was better than the start' : ` epoch ${kept}`}`)
  }
  return {
    model: kept === 0 ? f.model : result.model,
    curves: curvesOf(pass, metric, history),
    ended,
    epochs: history.length,
    ...(metric && after !== undefined && first !== undefined
      ? { score: { metric: metric.name, before: first, after, epoch: kept } }
      : {})
  }
}

function curvesOf(pass: string, metric: Metric | undefined, history: readonly Epoch[]): Report['curves'] {
  const curve = (of: (e: Epoch) => number | undefined): (readonly [number, number])[] =>
    history.flatMap((e) => {
      const y = of(e)
      return y === undefined ? [] : [[e.epoch, y] as const]
    })
  return {
    [`${pass} loss`]: curve((e) => e.loss),
    ...(metric ? { [`${pass} ${metric.name}`]: curve((e) => e.score) } : {})
  }
}

/** Numbers of a tensor as another shape of the same size: what a target of the training graph is fed. */
export const shapedLike = (t: Tensor, shape: readonly number[]): Tensor => ({ ...t, shape })

/** Elements of a model's float constants, but scalars. */
export function parameterCount(model: Model): number {
  let n = 0
  for (const v of model.graph.values.values())
    if (v.data && isFloat(v.data.dtype) && v.data.shape.length > 0) n += elementCount(v.data.shape)
  return n
}

/** A step takes a batch of samples at once. Throws `E_UNSUPPORTED` for inputs that take one sample as it is. */
function refuseWhole({ pass, model }: Fit): void {
  const [whole] = wholeInputs(fedOf(model))
  if (whole === undefined) return
  throw new PareError(
    'E_UNSUPPORTED',
    `${pass} feeds batches of samples, and the input ${whole} takes one sample as it is`,
    {
      where: whole,
      hint: 'export the model with the batch along the first axis of every input'
    }
  )
}
