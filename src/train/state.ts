/** What a training run carries from step to step, and how trained weights come back into a model. */

import { edit } from '../ir/edit.ts'
import { bytesOf, tensorOf, toFloats } from '../ir/tensor.ts'
import type { Model, Tensor } from '../types.ts'
import type { Training } from './differentiate.ts'
import { packChunk, unpackChunk } from './packing.ts'

/** All that changes while training; plain tensors, so that it can be written down and read again. */
export interface TrainState {
  /** Steps done. */
  readonly step: number
  /** Chunks, optimizer states and masks, by input of the training graph. */
  readonly feeds: Readonly<Record<string, Tensor>>
  /** Running statistics, by constant of the model. */
  readonly running: ReadonlyMap<string, Tensor>
  /** Moving averages of the chunks, by input of the training graph; where asked for. */
  readonly averages?: Readonly<Record<string, Tensor>>
}

/** The state before the first step. `model`: where running statistics begin. */
export function firstState(training: Training, model: Model): TrainState {
  const running = new Map<string, Tensor>()
  for (const { id } of training.statistics) {
    const data = model.graph.values.get(id)?.data
    if (data) running.set(id, data)
  }
  const feeds = { ...training.initial }
  // Zeros that are meant stay zeros from the first step on.
  for (const chunk of training.chunks)
    if (chunk.mask) feeds[chunk.input] = product(feeds[chunk.input] as Tensor, feeds[chunk.mask] as Tensor)
  return { step: 0, feeds, running }
}

/** The state with other masks, 1 where a parameter is kept and 0 where it is to be zero; by id of the parameter. */
export function withMasks(training: Training, state: TrainState, masks: ReadonlyMap<string, Tensor>): TrainState {
  const feeds = { ...state.feeds }
  for (const chunk of training.chunks) {
    if (!chunk.mask) continue
    const mask = packChunk(chunk, (id) => masks.get(id))
    feeds[chunk.mask] = mask
    for (const input of [chunk.input, ...chunk.states]) feeds[input] = product(feeds[input] as Tensor, mask)
  }
  return { ...state, feeds }
}

function product(a: Tensor, b: Tensor): Tensor {
  const [x, y] = [toFloats(a), toFloats(b)]
  const out = new Float32Array(x.length)
  for (let i = 0; i < out.length; i++) out[i] = (x[i] as number) * (y[i] as number)
  return tensorOf('float32', a.shape, bytesOf(out))
}

/** The state after a step, from what the training graph returned. */
export function nextState(training: Training, state: TrainState, made: Readonly<Record<string, Tensor>>): TrainState {
  const feeds = { ...state.feeds }
  for (const chunk of training.chunks)
    for (const [i, input] of [chunk.input, ...chunk.states].entries())
      feeds[input] = made[chunk.outputs[i] as string] as Tensor
  const statistics = training.outputs.statistics ? made[training.outputs.statistics] : undefined
  return {
    ...state,
    step: state.step + 1,
    feeds,
    running: statistics ? moved(training, state.running, statistics) : state.running
  }
}

/**
 * a ← d·a + (1 − d)·w with d = min(decay, (1 + t) / (10 + t)) at step t, so that the beginning is soon forgotten. Without
 * a decay the state itself.
 */
export function withAverages(training: Training, state: TrainState, decay: number | undefined): TrainState {
  if (decay === undefined) return state
  const d = Math.min(decay, (1 + state.step) / (10 + state.step))
  const averages: Record<string, Tensor> = {}
  for (const { input } of training.chunks) {
    const now = state.feeds[input] as Tensor
    const old = state.averages?.[input]
    averages[input] = old ? mean(old, now, d) : now
  }
  return { ...state, averages }
}

function mean(a: Tensor, b: Tensor, share: number): Tensor {
  const [x, y] = [toFloats(a), toFloats(b)]
  const out = new Float32Array(x.length)
  for (let i = 0; i < out.length; i++) out[i] = share * (x[i] as number) + (1 - share) * (y[i] as number)
  return tensorOf('float32', a.shape, bytesOf(out))
}

/** The state with the averages as its weights; the state itself where there are none. */
export function averaged(state: TrainState): TrainState {
  if (!state.averages) return state
  const { averages, ...rest } = state
  return { ...rest, feeds: { ...state.feeds, ...averages } }
}

/** running ← momentum·running + (1 − momentum)·batch */
function moved(
  training: Training,
  running: ReadonlyMap<string, Tensor>,
  statistics: Tensor
): ReadonlyMap<string, Tensor> {
  const batch = toFloats(statistics)
  const out = new Map(running)
  for (const { id, offset, size, momentum } of training.statistics) {
    const old = out.get(id)
    const from = old && toFloats(old)
    const values = new Float32Array(size)
    for (let i = 0; i < size; i++) {
      const b = batch[offset + i] as number
      values[i] = from ? momentum * (from[i] as number) + (1 - momentum) * b : b
    }
    out.set(id, tensorOf('float32', old?.shape ?? [size], bytesOf(values)))
  }
  return out
}

/** The trained values of the model's constants: parameters and running statistics. */
export function trainedValues(training: Training, state: TrainState): Map<string, Tensor> {
  const out = new Map<string, Tensor>(state.running)
  for (const chunk of training.chunks)
    for (const [id, t] of unpackChunk(chunk, state.feeds[chunk.input] as Tensor)) out.set(id, t)
  return out
}

/** The model with other values of its constants; those that it does not have are left out. Form and zeros' meaning stay. */
export function withValues(model: Model, values: ReadonlyMap<string, Tensor>): Model {
  return edit(model, (draft) => {
    for (const [id, data] of values) {
      const maker = draft.producer(id)
      const old = draft.value(id)
      if (!old || (!old.data && (!maker || maker.inputs.length > 0))) continue
      // A Constant node becomes a constant of the graph.
      if (maker) draft.remove(maker)
      draft.set({ ...old, dtype: data.dtype, shape: data.shape, data })
    }
  })
}
