/** Samples that part ways behind a stage: those that it is sure of have their answer, the rest goes on to the next. */
import { assert } from '../base/errors.ts'
import { byteLength, elementCount, toFloats } from '../ir/tensor.ts'
import type { Tensor } from '../types.ts'
import { type Inputs, rowsOf } from './batching.ts'

/** Places of samples whose confidence is not at least the threshold; NaN never is. */
export const unsure = (confidence: Tensor, threshold: number): readonly number[] =>
  [...toFloats(confidence)].flatMap((c, i) => (c >= threshold ? [] : [i]))

/** Rows of all tensors, by their places. */
export const pickedRows = (all: Inputs, places: readonly number[]): Inputs =>
  new Map([...all].map(([name, t]) => [name, picked(t, places)]))

function picked(t: Tensor, places: readonly number[]): Tensor {
  if (t.shape[0] === places.length) return t
  const all = roomFor(places.length, t)
  if (t.strings) return { ...all, strings: places.flatMap((i) => rowsOf(t, i, i + 1).strings ?? []) }
  for (const [to, from] of places.entries()) placeRow(all, to, t, from)
  return all
}

/** Writes row `from` of a tensor as row `to` of another of the same rows. */
export function placeRow(all: Tensor, to: number, t: Tensor, from: number): void {
  const row = rowsOf(t, from, from + 1).bytes as Uint8Array
  assert(all.dtype === t.dtype, 'stages give one type')
  ;(all.bytes as Uint8Array).set(row, to * row.length)
}

/** A tensor of `rows` rows like those of another, all zero. */
export function roomFor(rows: number, like: Tensor): Tensor {
  const shape = [rows, ...like.shape.slice(1)]
  const bytes = like.strings ? 0 : byteLength(like.dtype, elementCount(shape))
  return { dtype: like.dtype, shape, bytes: new Uint8Array(bytes) }
}

/** The share of samples that go on after `count` more of which `on` did: older ones count ever less, about the last hundred make it up. */
export const followed = (share: number, on: number, count: number): number =>
  share + (1 - 0.99 ** count) * (on / count - share)
