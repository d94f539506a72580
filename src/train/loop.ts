/**
 * The training loop: seeded shuffling, one run of the training graph per step, the learning rate by schedule, a look at
 * the validation data after every epoch. All randomness is drawn from the seed and the number of the epoch or step, so
 * that a run continued from a state gives the bits of an uninterrupted one.
 */
import { PareError } from '../base/errors.ts'
import { rng } from '../base/random.ts'
import { bytesOf, elementCount, scalar, tensor, tensorOf, toFloats } from '../ir/tensor.ts'
import { batching, runOn, runs } from '../runtime/batches.ts'
import type { Runner, Session } from '../runtime/types.ts'
import type { Batch, Dataset, Metric, Model, Progress, Tensor } from '../types.ts'
import type { Training } from './differentiate.ts'
import { correctionsAt } from './optimizers.ts'
import { paceOf, type Remaining, type Tally } from './pace.ts'
import { type Schedule, scheduled } from './schedule.ts'
import { averaged, firstState, nextState, type TrainState, trainedValues, withAverages, withValues } from './state.ts'

export type Feeds = Readonly<Record<string, Tensor>>

export interface LoopOptions {
  readonly epochs: number
  /** Base learning rate. */
  readonly rate: number
  /** Default cosine. */
  readonly schedule?: Schedule
  readonly seed?: number | string
  /** Epochs without a better validation score after which training stops; by default none. */
  readonly patience?: number
  /** Epochs from one look at the validation data to the next, default 1; the last epoch is looked at in any case. */
  readonly validateEvery?: number
  /** The epoch that becomes the model: the best by the validation data (default), or the last unless it diverged. */
  readonly keep?: 'best' | 'last'
  /** Share of the old in a moving average of the weights, which then is the model; by default there is none. */
  readonly ema?: number
  /**
   * Batches over which normalization statistics are estimated anew before each validation and at the end, at most one pass
   * through the data; 0: none.
   */
  readonly reestimate?: number
  /** Where to continue: the state after `epoch` epochs. */
  readonly from?: { readonly epoch: number; readonly state: TrainState; readonly best?: Best }
}

export interface LoopEnvironment {
  readonly engine: Runner
  readonly data: Dataset
  /** Never the test part: the best epoch and early stopping are chosen by it. */
  readonly validation?: Validation & {
    /** What a look at it took before training, for the time left. */
    readonly ms?: number
  }
  readonly signal?: AbortSignal
  readonly progress?: Progress
  readonly threads?: number
  /** Changes a batch (augmentation) and gives feeds beside it (a teacher's targets, by input of the training graph). */
  prepare?(batch: Batch, at: StepPlace): Prepared | Promise<Prepared>
  /** Told after every epoch; awaited. */
  onEpoch?(epoch: Epoch, state: TrainState, best: Best | undefined): void | Promise<void>
}

/** Labelled samples, and how they are scored. */
export interface Validation {
  readonly data: Dataset
  readonly metric: Metric
}

export interface StepPlace {
  readonly epoch: number
  readonly step: number
  /** Sample numbers in the data. */
  readonly indices: readonly number[]
}

export interface Prepared {
  readonly batch: Batch
  readonly feeds?: Feeds
}

export interface Epoch {
  /** From 1. */
  readonly epoch: number
  /** Mean over the steps. */
  readonly loss: number
  readonly rate: number
  /** Mean validation score. */
  readonly score?: number
  readonly ms: number
}

export interface Best {
  readonly epoch: number
  readonly score: number
  readonly state: TrainState
}

export interface LoopResult {
  /** With the values of the epoch that is kept. */
  readonly model: Model
  /** The best epoch, or without validation the last; 0: before the first. */
  readonly kept: number
  readonly state: TrainState
  readonly epochs: readonly Epoch[]
  readonly best?: Best
  readonly ended: 'done' | 'early' | 'diverged'
  /** What to try after a divergence. */
  readonly advice?: string
}

/**
 * Trains. Throws `E_DATA` where the data is smaller than a batch, `E_LABELS` where a loss needs labels that are not
 * there, `E_OPTION` for early stopping without validation data; a divergence is no error but ends the run with what was best.
 */
export async function train(
  model: Model,
  training: Training,
  o: LoopOptions,
  env: LoopEnvironment
): Promise<LoopResult> {
  const perEpoch = Math.floor(env.data.size / training.batch)
  if (perEpoch === 0)
    throw new PareError('E_DATA', `${env.data.size} samples do not fill a batch of ${training.batch}`, {
      hint: 'use a smaller batch'
    })
  if (o.patience !== undefined && !env.validation)
    throw new PareError('E_OPTION', 'nothing is held out, so there is no score to stop early by', {
      where: 'patience',
      hint: 'leave patience away, or hold samples out'
    })
  const session = await openTraining(training, env)
  const { ms } = env.validation ?? {}
  const tally: Tally = { steps: 0, stepMs: 0, looks: ms === undefined ? 0 : 1, lookMs: ms ?? 0 }
  try {
    return await epochs({ model, training, o, env, session, perEpoch, tally })
  } finally {
    await session.close()
  }
}

interface Run {
  readonly model: Model
  readonly training: Training
  readonly o: LoopOptions
  readonly env: LoopEnvironment
  readonly session: Session
  readonly perEpoch: number
  readonly tally: Tally
}

/** The session of a training graph: fake quantization must stay as it is, and idle threads must not spin. */
export function openTraining(training: Training, env: Pick<LoopEnvironment, 'engine' | 'threads'>): Promise<Session> {
  const threads = env.threads ?? 1
  return env.engine.open(training.model, {
    threads,
    quantization: 'asFloat',
    ...(threads > 1 ? { idleThreads: 'sleep' as const } : {})
  })
}

async function epochs(run: Run): Promise<LoopResult> {
  const { model, training, o, env } = run
  let state = o.from?.state ?? firstState(training, model)
  let best = o.from?.best
  let reached = o.from?.epoch ?? 0
  const history: Epoch[] = []
  const finish = async (ended: LoopResult['ended'], advice?: string): Promise<LoopResult> => {
    const chosen = o.keep === 'last' && ended !== 'diverged' ? undefined : best
    const final = chosen?.state ?? (await reestimated(run, averaged(state)))
    return {
      model: withValues(model, trainedValues(training, final)),
      kept: chosen?.epoch ?? reached,
      state: final,
      epochs: history,
      ...(best ? { best } : {}),
      ended,
      ...(advice === undefined ? {} : { advice })
    }
  }
  for (let epoch = (o.from?.epoch ?? 0) + 1; epoch <= o.epochs; epoch++) {
    const start = performance.now()
    const made = await oneEpoch(run, epoch, state)
    if (!made.state) return await finish('diverged', adviceFor(made.loss, o.rate))
    state = made.state
    reached = epoch
    const validation = isLook(o, epoch) ? env.validation : undefined
    const looked = validation ? await reestimated(run, averaged(state)) : state
    const score = validation && (await validate(run, validation, looked))
    const entry: Epoch = {
      epoch,
      loss: made.loss,
      rate: made.rate,
      ...(score === undefined ? {} : { score }),
      ms: performance.now() - start
    }
    history.push(entry)
    if (score !== undefined && isBetter(env, score, best)) best = { epoch, score, state: looked }
    await env.onEpoch?.(entry, state, best)
    if (isOver(o.patience, entry, best)) return await finish('early')
  }
  return await finish('done')
}

const isBetter = (env: LoopEnvironment, score: number, best: Best | undefined): boolean =>
  !best || (env.validation?.metric.better === 'lower' ? score < best.score : score > best.score)

const isLook = ({ epochs, validateEvery = 1 }: LoopOptions, epoch: number): boolean =>
  epoch % validateEvery === 0 || epoch === epochs

/** Does training stop early after this epoch? Only where it was looked at. */
export const isOver = (patience: number | undefined, last: Epoch, best: Best | undefined): boolean =>
  patience !== undefined && last.score !== undefined && best !== undefined && last.epoch - best.epoch >= patience

const adviceFor = (loss: number, rate: number): string =>
  `the loss became ${Number.isNaN(loss) ? 'NaN' : loss.toPrecision(3)}: try a learning rate of ${(rate / 10).toPrecision(1)}, a warm-up, or clipping of gradients`

// ---------------------------------------------------------------- steps

/** A loss this many times the least smoothed one so far counts as an explosion. */
const explosion = 100

interface EpochMade {
  /** Absent: the loss diverged. */
  readonly state?: TrainState
  readonly loss: number
  readonly rate: number
}

async function oneEpoch(run: Run, epoch: number, from: TrainState): Promise<EpochMade> {
  const { training, o, env, perEpoch } = run
  const total = perEpoch * o.epochs
  const order = rng(o.seed ?? 0)
    .fork(`epoch ${epoch}`)
    .permutation(env.data.size)
    .slice(0, perEpoch * training.batch)
  let state = from
  let [sum, done, smoothed, least, rate] = [0, 0, Number.NaN, Number.POSITIVE_INFINITY, o.rate]
  let mark = performance.now()
  for await (const { batch } of wholeRuns(run, order)) {
    const indices = order.slice(done * training.batch, (done + 1) * training.batch)
    rate = o.rate * scheduled(o.schedule ?? { kind: 'cosine' }, state.step, total)
    const made = await stepOnce(run, state, batch, { epoch, step: state.step, indices }, rate)
    const loss = toFloats(made[training.outputs.loss] as Tensor)[0] as number
    smoothed = Number.isNaN(smoothed) ? loss : 0.9 * smoothed + 0.1 * loss
    least = Math.min(least, smoothed)
    if (!Number.isFinite(loss) || smoothed > explosion * Math.max(least, 1e-3)) return { loss, rate }
    state = withAverages(training, nextState(training, state, made), o.ema)
    sum += loss
    done++
    mark = counted(run.tally, mark)
    const pace = paceOf(run.tally, remaining(run, epoch, total - state.step))
    env.progress?.(`epoch ${epoch} of ${o.epochs}, loss ${smoothed.toPrecision(3)}`, state.step, total, pace)
  }
  return { state, loss: sum / done, rate }
}

/** Counts a step that began at `mark`; the mark of the next. */
function counted(tally: Tally, mark: number): number {
  const now = performance.now()
  tally.steps++
  tally.stepMs += now - mark
  return now
}

/** What is left while an epoch runs; statistics are estimated by steps of their own. */
function remaining(run: Run, epoch: number, steps: number): Remaining {
  const { o, env } = run
  const { epochs, validateEvery: every = 1 } = o
  const looksBefore = Math.floor((epoch - 1) / every)
  const looks = env.validation ? Math.ceil(epochs / every) - looksBefore : 0
  const estimates = looks + (env.validation && o.keep !== 'last' ? 0 : 1)
  return { steps: steps + estimates * statisticsBatches(run), looks }
}

/** Batches of exactly the size that the training graph was made for. */
const wholeRuns = ({ training, env }: Run, indices: readonly number[]): ReturnType<typeof runs> =>
  runs(env.data, { size: training.batch, isFixed: true }, { rest: 'leave', indices, signal: env.signal })

async function stepOnce(
  run: Run,
  state: TrainState,
  read: Batch,
  place: StepPlace,
  rate: number
): Promise<Record<string, Tensor>> {
  const { training, env, o, session } = run
  const { batch, feeds = {} } = (await env.prepare?.(read, place)) ?? { batch: read }
  return session.run(stepFeeds(training, session, { batch, feeds, state, rate, seed: o.seed ?? 0 }))
}

/** What a session of the training graph is fed for one step. Throws `E_DATA` and `E_LABELS` for what the batch lacks. */
export function stepFeeds(
  training: Training,
  session: Pick<Session, 'inputs'>,
  o: {
    readonly batch: Batch
    readonly state: TrainState
    readonly rate: number
    readonly seed: number | string
    readonly feeds?: Feeds
  }
): Feeds {
  const { batch, state, rate, seed, feeds = {} } = o
  const all: Record<string, Tensor | undefined> = {
    ...batch.inputs,
    ...state.feeds,
    ...targetFeeds(training, batch),
    ...rateFeeds(training, rate, state.step + 1),
    ...noiseFeeds(training, seed, state.step),
    ...feeds
  }
  return Object.fromEntries(session.inputs.map(({ name }) => [name, given(name, all[name])]))
}

function given(name: string, t: Tensor | undefined): Tensor {
  if (t) return t
  throw new PareError('E_DATA', `the training graph needs ${name}, which the data does not give`, { where: name })
}

function targetFeeds(training: Training, batch: Batch): Feeds {
  const out: Record<string, Tensor> = {}
  for (const t of training.targets) {
    if (t.kind !== 'labels') continue
    if (!batch.labels) throw new PareError('E_LABELS', `the loss on ${t.of} needs labelled data`)
    out[t.input] = tensor('int64', [batch.labels.length], batch.labels)
  }
  return out
}

/** The learning rate, and what Adam needs at step `t`, counted from 1. */
export function rateFeeds(training: Training, rate: number, t: number): Feeds {
  if (!training.optimizer) return {}
  const values = [scalar('float32', rate), ...correctionsAt(training.optimizer, t)]
  return Object.fromEntries(training.rates.map((id, i) => [id, values[i] as Tensor]))
}

function noiseFeeds(training: Training, seed: number | string, step: number): Feeds {
  const out: Record<string, Tensor> = {}
  if (training.noises.length === 0) return out
  const random = rng(seed).fork(`noise ${step}`)
  for (const { input, shape } of training.noises) {
    const values = new Float32Array(elementCount(shape))
    for (let i = 0; i < values.length; i++) values[i] = random.next()
    out[input] = tensorOf('float32', shape, bytesOf(values))
  }
  return out
}

// ---------------------------------------------------------------- between epochs

/** Running statistics as the mean over some batches, with weights as they are: a rate of 0 changes nothing else. */
async function reestimated(run: Run, state: TrainState): Promise<TrainState> {
  const { training, o, env } = run
  const batches = statisticsBatches(run)
  const output = training.outputs.statistics
  if (batches === 0 || !output) return state
  const order = rng(o.seed ?? 0)
    .fork('statistics')
    .permutation(env.data.size)
    .slice(0, batches * training.batch)
  let sums: Float64Array | undefined
  let done = 0
  for await (const { batch } of wholeRuns(run, order)) {
    const indices = order.slice(done * training.batch, (done + 1) * training.batch)
    const made = await stepOnce(run, state, batch, { epoch: 0, step: state.step, indices }, 0)
    const values = toFloats(made[output] as Tensor)
    sums ??= new Float64Array(values.length)
    for (let i = 0; i < values.length; i++) sums[i] = (sums[i] as number) + (values[i] as number)
    done++
  }
  const running = new Map(state.running)
  for (const { id, offset, size } of training.statistics) {
    const mean = Float32Array.from({ length: size }, (_, i) => (sums?.[offset + i] as number) / done)
    running.set(id, tensorOf('float32', running.get(id)?.shape ?? [size], bytesOf(mean)))
  }
  return { ...state, running }
}

const statisticsBatches = ({ training, o, perEpoch }: Run): number =>
  training.outputs.statistics ? Math.min(o.reestimate ?? 0, perEpoch) : 0

async function validate({ model, training, env, tally }: Run, v: Validation, state: TrainState): Promise<number> {
  const start = performance.now()
  const score = await meanScore(withValues(model, trainedValues(training, state)), v, env)
  tally.looks++
  tally.lookMs += performance.now() - start
  return score
}

const validationBatch = 256

/** Mean score on validation data, in a session of the model as it would be deployed. Throws `E_DATA` where no batch is whole. */
export async function meanScore(
  model: Model,
  { data, metric }: Validation,
  env: Pick<LoopEnvironment, 'engine' | 'threads' | 'signal'>
): Promise<number> {
  const session = await env.engine.open(model, { threads: env.threads ?? 1 })
  try {
    let [sum, count] = [0, 0]
    const how = batching([session], validationBatch)
    for await (const run of runs(data, how, { rest: 'leave', signal: env.signal })) {
      const scores = metric.scores(await runOn(session, run), run.batch)
      for (const s of scores) sum += s
      count += scores.length
    }
    if (count > 0) return sum / count
    throw new PareError('E_DATA', `${data.size} samples to choose by do not fill the model’s batch of ${how.size}`, {
      hint: 'hold out more, or nothing: --holdout 0'
    })
  } finally {
    await session.close()
  }
}
