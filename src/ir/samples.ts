/** Samples in tensors: one cut out, several put together, and moved to the first axis. */
import { part, toArray } from '../base/bytes.ts'
import { PareError } from '../base/errors.ts'
import type { Batch, Tensor } from '../types.ts'
import { byteLength, elementCount, tensor } from './tensor.ts'

/** Where an output has its samples: `each` positions of an axis belong to one. */
export interface Place {
  readonly axis: number
  readonly each: number
}

export const mapAll = (
  all: Readonly<Record<string, Tensor>>,
  f: (t: Tensor, name: string) => Tensor
): Record<string, Tensor> => Object.fromEntries(Object.entries(all).map(([name, t]) => [name, f(t, name)]))

/** One sample of a batch. */
export const sampleOf = (batch: Batch, i: number): Batch => ({
  n: 1,
  inputs: mapAll(batch.inputs, (t) => rowOf(t, batch.n, i)),
  ...(batch.labels ? { labels: batch.labels.slice(i, i + 1) } : {}),
  ...(batch.stepped ? { stepped: batch.stepped } : {})
})

function rowOf(t: Tensor, n: number, i: number): Tensor {
  const [rows = 0, ...rest] = t.shape
  if (rows === 0 || rows % n !== 0) return t
  const shape = [rows / n, ...rest]
  const perSample = elementCount(shape)
  if (t.strings) return tensor('string', shape, t.strings.slice(i * perSample, (i + 1) * perSample))
  const size = byteLength(t.dtype, perSample)
  return { dtype: t.dtype, shape, bytes: part(t.bytes, i * size, (i + 1) * size) }
}

/** The first sample of data for an input that takes a sample as it is. */
export function firstSample(t: Tensor): Tensor {
  const { shape, ...rest } = rowOf(t, t.shape[0] ?? 1, 0)
  return { ...rest, shape: shape.slice(1) }
}

/** A tensor of `from` samples made one of `to`: cut, or filled up with the last sample. Others are left alone. */
export function resize(t: Tensor, from: number, to: number): Tensor {
  const first = t.shape[0]
  if (first === undefined || first === 0 || first % from !== 0) return t
  const rows = first / from
  const shape = [to * rows, ...t.shape.slice(1)]
  const perSample = elementCount(t.shape) / from
  if (t.strings) {
    const strings = Array.from({ length: to * perSample }, (_, i) => {
      const sample = Math.min(Math.floor(i / perSample), from - 1)
      return t.strings?.[sample * perSample + (i % perSample)] ?? ''
    })
    return tensor('string', shape, strings)
  }
  const size = byteLength(t.dtype, perSample)
  if (to <= from) return { dtype: t.dtype, shape, bytes: part(t.bytes, 0, to * size) }
  const bytes = new Uint8Array(to * size)
  bytes.set(t.bytes.slice(0, from * size))
  const last = t.bytes.slice((from - 1) * size, from * size)
  for (let i = from; i < to; i++) bytes.set(last, i * size)
  return { dtype: t.dtype, shape, bytes }
}

/** [before…, size·each, after…] as [size, before…, each, after…]; axes of one position per sample are left out. */
export function samplesFirst(t: Tensor, { axis, each }: Place, size: number): Tensor {
  if (axis === 0 && each === 1) return t
  const before = t.shape.slice(0, axis)
  const after = t.shape.slice(axis + 1)
  const shape = [size, ...before, ...(each === 1 ? [] : [each]), ...after]
  if (axis === 0) return { ...t, shape }
  const [outer, inner] = [elementCount(before), each * elementCount(after)]
  if (t.strings) {
    const { strings } = t
    const at = (i: number): number => {
      const [sample, rest] = [Math.floor(i / (outer * inner)), i % (outer * inner)]
      return (Math.floor(rest / inner) * size + sample) * inner + (rest % inner)
    }
    return tensor(
      'string',
      shape,
      strings.map((_, i) => strings[at(i)] ?? '')
    )
  }
  const row = byteLength(t.dtype, inner)
  const from = toArray(t.bytes)
  const bytes = new Uint8Array(from.length)
  for (let n = 0; n < size; n++)
    for (let o = 0; o < outer; o++) {
      const at = (o * size + n) * row
      bytes.set(from.subarray(at, at + row), (n * outer + o) * row)
    }
  return { dtype: t.dtype, shape, bytes }
}

/** One sample each, along the first axis. Throws `E_DATA_SHAPE` where sizes differ. */
export function stacked(rows: readonly Tensor[], name: string): Tensor {
  const [{ dtype, shape, strings }] = rows as readonly [Tensor]
  const odd = rows.find((r) => r.shape.join() !== shape.join())
  if (odd)
    throw new PareError('E_DATA_SHAPE', `output ${name} is of different sizes for different samples`, {
      facts: { one: `[${shape.join(', ')}]`, another: `[${odd.shape.join(', ')}]` }
    })
  const all = [rows.length, ...shape.slice(1)]
  if (strings)
    return tensor(
      'string',
      all,
      rows.flatMap((r) => r.strings ?? [])
    )
  const size = rows[0]?.bytes.length ?? 0
  const bytes = new Uint8Array(size * rows.length)
  for (const [i, r] of rows.entries()) bytes.set(toArray(r.bytes), i * size)
  return { dtype, shape: all, bytes }
}
