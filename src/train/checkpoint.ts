/**
 * A training run after an epoch, as bytes: `PARE-CP1`, the length of a JSON header (uint32, little-endian), the header,
 * then tensors one after another. The header names each tensor with type, shape and place, and ends with a hash of them.
 */
import { concat, toArray } from '../base/bytes.ts'
import { PareError } from '../base/errors.ts'
import { seal, unseal } from '../base/sealed.ts'
import { byteLength, elementCount, tensorOf } from '../ir/tensor.ts'
import type { DType, Tensor } from '../types.ts'
import type { Best, Epoch } from './loop.ts'
import type { TrainState } from './state.ts'

/** All that a run needs to go on as if it had never stopped. */
export interface Checkpoint {
  /** What was run, on which data: only the same may go on. */
  readonly key: string
  readonly epoch: number
  readonly history: readonly Epoch[]
  readonly state: TrainState
  readonly best?: Best
}

interface Entry {
  readonly at: 'feeds' | 'running' | 'averages'
  readonly of: 'state' | 'best'
  readonly id: string
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly offset: number
}

interface Header {
  readonly key: string
  readonly epoch: number
  readonly history: readonly Epoch[]
  readonly step: number
  readonly best?: { readonly epoch: number; readonly score: number; readonly step: number }
  readonly tensors: readonly Entry[]
}

const kind = 'PARE-CP1'

/** Writes a checkpoint. Tensors that the best state shares with the last are written once. */
export function encodeCheckpoint(c: Checkpoint): Uint8Array {
  const parts: Uint8Array[] = []
  const tensors: Entry[] = []
  const placed = new Map<Tensor, number>()
  let offset = 0
  const put = (of: Entry['of'], at: Entry['at'], id: string, t: Tensor): void => {
    const known = placed.get(t)
    tensors.push({ at, of, id, dtype: t.dtype, shape: t.shape, offset: known ?? offset })
    if (known !== undefined) return
    const bytes = toArray(t.bytes)
    placed.set(t, offset)
    parts.push(bytes)
    offset += bytes.length
  }
  const putState = (of: Entry['of'], s: TrainState): void => {
    for (const [id, t] of Object.entries(s.feeds)) put(of, 'feeds', id, t)
    for (const [id, t] of s.running) put(of, 'running', id, t)
    for (const [id, t] of Object.entries(s.averages ?? {})) put(of, 'averages', id, t)
  }
  putState('state', c.state)
  if (c.best) putState('best', c.best.state)
  const body = concat(parts)
  const header: Header = {
    ...{ key: c.key, epoch: c.epoch, history: c.history, step: c.state.step },
    ...(c.best ? { best: { epoch: c.best.epoch, score: c.best.score, step: c.best.state.step } } : {}),
    ...{ tensors }
  }
  return seal(kind, header, body)
}

/** Reads a checkpoint. Throws `E_FORMAT` for anything that `encodeCheckpoint` did not write. */
export function decodeCheckpoint(bytes: Uint8Array): Checkpoint {
  const { header, body } = unseal<Header>(kind, bytes, broken)
  const stateOf = (of: Entry['of'], step: number): TrainState => {
    const feeds: Record<string, Tensor> = {}
    const averages: Record<string, Tensor> = {}
    const running = new Map<string, Tensor>()
    for (const e of header.tensors) {
      if (e.of !== of) continue
      const end = e.offset + byteLength(e.dtype, elementCount(e.shape))
      if (!(e.offset >= 0 && end <= body.length)) throw broken('a tensor lies outside the file')
      const t = tensorOf(e.dtype, e.shape, body.slice(e.offset, end))
      if (e.at === 'feeds') feeds[e.id] = t
      else if (e.at === 'averages') averages[e.id] = t
      else running.set(e.id, t)
    }
    return { step, feeds, running, ...(Object.keys(averages).length > 0 ? { averages } : {}) }
  }
  const { key, epoch, history, best } = header
  return {
    ...{ key, epoch, history, state: stateOf('state', header.step) },
    ...(best ? { best: { epoch: best.epoch, score: best.score, state: stateOf('best', best.step) } } : {})
  }
}

const broken = (why: string, cause?: unknown): PareError =>
  new PareError('E_FORMAT', `this is no whole checkpoint of a training run: ${why}`, {
    hint: 'train again without --resume',
    ...(cause === undefined ? {} : { cause })
  })
