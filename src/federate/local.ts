/** Training on a client: the model of a round goes in, the difference that its samples made comes out. */
import { assert, PareError } from '../base/errors.ts'
import { rng } from '../base/random.ts'
import { elementCount, toFloats } from '../ir/tensor.ts'
import { neededTask, refuseRounded, taskLoss } from '../passes/train/loss.ts'
import { computingOnGrid } from '../passes/train/peak-steps.ts'
import { runs } from '../runtime/batches.ts'
import type { Runner, Session } from '../runtime/types.ts'
import {
  differentiate,
  firstState,
  nextState,
  openTraining,
  stepFeeds,
  type Training,
  type TrainState,
  withMasks
} from '../train/index.ts'
import { packChunk } from '../train/packing.ts'
import type { Dataset, Model, Tensor, Value } from '../types.ts'
import { fromVector, manifestOf, toVector, vectorOf } from './manifest.ts'
import type { FederationRecipe } from './recipe.ts'
import type { LocalOptions, Manifest } from './types.ts'

/** A client's task in one round. */
export interface LocalTask {
  /** The model as it came down. */
  readonly base: Float32Array
  /** 1 where the model may differ from zero. */
  readonly support?: Uint8Array | undefined
  /** Train with weights rounded to their grid? The setup must have `bits`. */
  readonly isRounded?: boolean
  readonly data: Dataset
  /** What the order of the samples is drawn by. */
  readonly seed: number | string
  readonly signal?: AbortSignal | undefined
}

export interface LocalResult {
  /** Trained minus base. */
  readonly delta: Float32Array
  readonly samples: number
  readonly steps: number
  /** Mean over the steps. */
  readonly loss: number
}

/** A model that is ready to be trained: its session serves any number of rounds and clients. */
export interface Local {
  readonly manifest: Manifest
  /** What the model was given with. */
  readonly initial: Float32Array
  /** Trains. Throws `E_DATA` where the loss is no number. */
  round(task: LocalTask): Promise<LocalResult>
  close(): Promise<void>
}

/** How the training graph is made. */
export interface LocalSetup {
  readonly options: LocalOptions
  readonly engine: Runner
  /** May weights be masked? */
  readonly isPruned?: boolean
  /** Of weights, in rounds that train with them rounded. */
  readonly bits?: number
  /** Which constants are trained; by default all of more than one element. */
  readonly parameters?: (constant: Value) => boolean
}

/** Opens a model for training as a recipe asks. Throws as `openLocal`. */
export const localFor = (model: Model, { local, prune, quantize }: FederationRecipe, engine: Runner): Promise<Local> =>
  openLocal(model, {
    ...{ options: local, engine },
    ...(prune ? { isPruned: true } : {}),
    ...(quantize ? { bits: quantize.bits } : {})
  })

/** Opens a model for training. Throws what `differentiate` throws, and `E_UNSUPPORTED` for a model without a loss. */
export async function openLocal(model: Model, setup: LocalSetup): Promise<Local> {
  refuseRounded(model, 'federate')
  const source = setup.isPruned ? maskable(model) : model
  const plain = await opened(source, setup)
  const onGrid = setup.bits === undefined ? undefined : await opened(computingOnGrid(source, setup.bits), setup)
  const { manifest } = plain
  return {
    manifest,
    initial: vectorOf(manifest, model),
    round: (t) => {
      const open = t.isRounded ? onGrid : plain
      assert(open, 'rounded training was not set up')
      return roundOn(open, t)
    },
    close: async () => {
      await plain.session.close()
      await onGrid?.session.close()
    }
  }
}

async function opened(source: Model, { options, engine, parameters }: LocalSetup): Promise<Open> {
  const task = neededTask(source, 'federate', undefined)
  if (task.kind !== 'classes')
    throw new PareError('E_UNSUPPORTED', 'federations train models of class scores', { where: task.output })
  const training = differentiate(source, {
    loss: [taskLoss(task, 0)],
    batch: options.batch,
    optimizer: { kind: 'sgd', momentum: options.momentum, weightDecay: options.decay },
    ...(options.clip === undefined ? {} : { clip: options.clip }),
    ...(parameters ? { parameters } : {})
  })
  const session = await openTraining(training, { engine })
  return { training, manifest: manifestOf(training, source), session, options, start: firstState(training, source) }
}

interface Open {
  readonly training: Training
  readonly manifest: Manifest
  readonly session: Session
  readonly options: LocalOptions
  readonly start: TrainState
}

/** The model with weights of which any may become zero for good. */
function maskable(model: Model): Model {
  const values = new Map(model.graph.values)
  for (const [id, v] of values)
    if (v.data?.dtype === 'float32' && isMatrix(v.data.shape)) values.set(id, { ...v, sparse: v.sparse ?? 'any' })
  return { ...model, graph: { ...model.graph, values } }
}

/** Matrices and kernels are pruned, biases and scales are not. */
export const isMatrix = (shape: readonly number[]): boolean =>
  shape.filter((d) => d > 1).length > 1 && elementCount(shape) > 64

async function roundOn(open: Open, task: LocalTask): Promise<LocalResult> {
  const { training, manifest, session, options } = open
  let state = beginning(open, task)
  const anchors = options.proximal > 0 ? state.feeds : undefined
  const order = stream(task.data.size, options, task.seed)
  const how = { size: training.batch, isFixed: true }
  let [sum, steps] = [0, 0]
  for await (const { batch } of runs(task.data, how, { rest: 'leave', indices: order, signal: task.signal })) {
    const made = await session.run(stepFeeds(training, session, { batch, state, rate: options.rate, seed: task.seed }))
    state = nextState(training, state, made)
    if (anchors) state = pulled(training, state, anchors, options.rate * options.proximal)
    sum += toFloats(made[training.outputs.loss] as Tensor)[0] as number
    steps++
    if (!Number.isFinite(sum))
      throw new PareError('E_DATA', 'training on a client diverged: its loss is no number', {
        hint: 'a lower --local-rate, or --clip 1'
      })
  }
  const trained = vectorAt(training, manifest, state)
  return {
    delta: trained.map((x, i) => x - (task.base[i] as number)),
    samples: task.data.size,
    steps,
    loss: sum / steps
  }
}

/** The state before the first step: the model of the round, no momentum. */
function beginning({ training, manifest, start }: Open, { base, support }: LocalTask): TrainState {
  const tensors = fromVector(manifest, base)
  const feeds = { ...start.feeds }
  for (const c of training.chunks) feeds[c.input] = packChunk(c, (id) => tensors.get(id))
  const running = new Map(training.statistics.map(({ id }) => [id, tensors.get(id) as Tensor]))
  const state: TrainState = { step: 0, feeds, running }
  if (!support) return state
  return withMasks(training, state, fromVector(manifest, Float32Array.from(support)))
}

/** w ← w − ημ·(w − w₀): the gradient of FedProx's term, beside the momentum. */
function pulled(training: Training, state: TrainState, anchors: TrainState['feeds'], share: number): TrainState {
  const feeds = { ...state.feeds }
  for (const { input } of training.chunks) {
    const [now, anchor] = [toFloats(feeds[input] as Tensor), toFloats(anchors[input] as Tensor)]
    const bytes = now.map((w, i) => w - share * (w - (anchor[i] as number)))
    feeds[input] = { ...(feeds[input] as Tensor), bytes: new Uint8Array(bytes.buffer) }
  }
  return { ...state, feeds }
}

/**
 * The samples of all epochs in one row, a new order in each, cut into whole batches: ⌈epochs · samples / batch⌉ of them,
 * the last of which is filled with the beginning of one more order.
 */
function stream(samples: number, { epochs, batch }: LocalOptions, seed: number | string): number[] {
  const steps = Math.max(1, Math.ceil((epochs * samples) / batch))
  const out: number[] = []
  for (let epoch = 0; out.length < steps * batch; epoch++)
    for (const i of rng(seed).fork(`epoch ${epoch}`).permutation(samples)) out.push(i)
  return out.slice(0, steps * batch)
}

function vectorAt(training: Training, manifest: Manifest, state: TrainState): Float32Array {
  const tensors = new Map<string, Tensor>(state.running)
  for (const c of training.chunks) {
    const values = toFloats(state.feeds[c.input] as Tensor)
    for (const { id, shape, offset } of c.parts) {
      const part = values.slice(offset, offset + elementCount(shape))
      tensors.set(id, { dtype: 'float32', shape, bytes: new Uint8Array(part.buffer) })
    }
  }
  return toVector(manifest, tensors)
}
