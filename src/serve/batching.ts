/**
 * Which requests run together, and how many samples a run takes.
 *
 * With T(b) the time of a run of b samples, s(b) = b·T(1)/T(b) says how much faster b samples are together. The size of a
 * batch is the smallest b within 90 % of the best s, or 1 where the best gains less than 15 %: a run blocks whoever comes next.
 * A free worker takes what is queued at once; waiting for more costs every waiting sample more than a run's fixed part.
 */
import { assert, PareError } from '../base/errors.ts'
import { greatest } from '../base/extremes.ts'
import { byteLength, elementCount, isFloat, tensor, toNumbers } from '../ir/tensor.ts'
import type { Tensor } from '../types.ts'

/** T(b) in ms, by b. */
export type Times = ReadonlyMap<number, number>

/** What was chosen of measured times, and why. */
export interface BatchChoice {
  readonly size: number
  readonly gain: number
  readonly why: string
}

const [leastGain, near] = [1.15, 0.9]

/** `mostMs`: a run may take no longer, as when answers are due by then. */
export function chooseBatch(times: Times, mostMs = Number.POSITIVE_INFINITY): BatchChoice {
  const one = times.get(1)
  assert(one !== undefined, 'T(1) was not measured')
  const gains = [...times]
    .filter(([b, ms]) => b === 1 || ms <= mostMs)
    .map(([b, ms]) => ({ b, gain: (b * one) / ms }))
    .toSorted((x, y) => x.b - y.b)
  const best = greatest(gains.map((g) => g.gain))
  if (best < leastGain) return { size: 1, gain: 1, why: `together, samples are at most ${best.toFixed(2)} × as fast` }
  const { b, gain } = gains.find((g) => g.gain >= near * best) as (typeof gains)[number]
  return { size: b, gain, why: `${b} samples together are ${gain.toFixed(2)} × as fast as alone` }
}

/** Expected ms of a run of `n` samples: between measured sizes along a line, beyond the largest in proportion. */
export function expectedMs(times: Times, n: number): number {
  const known = [...times].toSorted(([a], [b]) => a - b)
  const above = known.find(([b]) => b >= n)
  const below = known.findLast(([b]) => b <= n)
  if (!above || !below) {
    const [b, ms] = (above ?? below ?? [1, 0]) as readonly [number, number]
    return (ms * n) / b
  }
  if (above[0] === below[0]) return above[1]
  return below[1] + ((above[1] - below[1]) * (n - below[0])) / (above[0] - below[0])
}

/** A request of more samples is cut where a run of so many takes about `pieceMs`, so that others come between and workers share it. */
export function pieceSize(times: Times, size: number): number {
  const long = [...times].toSorted(([a], [b]) => a - b).find(([b, ms]) => b >= size && ms >= pieceMs)
  return Math.max(size, long?.[0] ?? greatest(times.keys()))
}

const pieceMs = 5

/** Inputs of one run, by name. */
export type Inputs = ReadonlyMap<string, Tensor>

/** Samples of inputs that all begin with them. Throws `E_REQUEST` where they disagree, or for none. */
export function samplesOf(inputs: Inputs): number {
  const sizes = new Set([...inputs.values()].map((t) => t.shape[0]))
  const [n] = sizes
  if (sizes.size !== 1 || n === undefined)
    throw new PareError('E_REQUEST', `inputs of ${[...sizes].join(' and ')} samples do not go together`)
  if (n === 0) throw new PareError('E_REQUEST', 'there are no samples')
  return n
}

/** Inputs with one key can run together: all but the number of samples is alike. */
export const shapeKey = (inputs: Inputs): string =>
  [...inputs]
    .map(([name, t]) => `${name}:${t.shape.slice(1).join('x')}`)
    .toSorted()
    .join(' ')

/** `[from, to)` of the samples of a tensor; shares its bytes. */
export function rowsOf(t: Tensor, from: number, to: number): Tensor {
  const [n = 1, ...rest] = t.shape
  if (from === 0 && to === n) return t
  const each = elementCount(rest)
  const shape = [to - from, ...rest]
  if (t.strings) return tensor('string', shape, t.strings.slice(from * each, to * each))
  const size = byteLength(t.dtype, each)
  return { dtype: t.dtype, shape, bytes: (t.bytes as Uint8Array).subarray(from * size, to * size) }
}

/** The same of all tensors of a run. */
export const rowsOfAll = (all: Inputs, from: number, to: number): Inputs =>
  new Map([...all].map(([name, t]) => [name, rowsOf(t, from, to)]))

/** Tensors one behind the other along the first axis, in memory that `room` gives. */
export function joined(parts: readonly Inputs[], room: (bytes: number) => Uint8Array): Inputs {
  const [first] = parts
  assert(first, 'nothing to join')
  return new Map(
    [...first].map(([name, { dtype, shape, strings }]) => {
      const all = parts.map((p) => p.get(name) as Tensor)
      const whole = [all.reduce((n, t) => n + (t.shape[0] ?? 1), 0), ...shape.slice(1)]
      const of = shape.length === 0 ? shape : whole
      if (strings)
        return [
          name,
          tensor(
            'string',
            of,
            all.flatMap((t) => t.strings ?? [])
          )
        ]
      const bytes = room(all.reduce((n, t) => n + t.bytes.length, 0))
      let at = 0
      for (const t of all) {
        bytes.set(t.bytes as Uint8Array, at)
        at += t.bytes.length
      }
      return [name, { dtype, shape: of, bytes }]
    })
  )
}

/** Two runs may differ by so much of the largest value: kernels for other sizes add up in another order. */
export const sameWithin = 1e-5

/**
 * Are the outputs of a sample the same alone and in company? The largest difference as a share of the largest value; infinite
 * where shapes differ, or integers or texts at all.
 */
export function difference(alone: Inputs, together: Inputs): number {
  let worst = 0
  for (const [name, a] of alone) {
    const b = together.get(name)
    if (!b || a.shape.join() !== b.shape.join()) return Number.POSITIVE_INFINITY
    worst = Math.max(worst, differenceOf(a, b))
  }
  return worst
}

function differenceOf(a: Tensor, b: Tensor): number {
  if (a.strings) return a.strings.every((s, i) => s === b.strings?.[i]) ? 0 : Number.POSITIVE_INFINITY
  const [x, y] = [toNumbers(a), toNumbers(b)]
  let [most, largest] = [0, 0]
  for (let i = 0; i < x.length; i++) {
    const [v, w] = [x[i] as number, y[i] as number]
    if (Object.is(v, w) || v === w || (Number.isNaN(v) && Number.isNaN(w))) {
      if (Number.isFinite(v)) largest = Math.max(largest, Math.abs(v))
      continue
    }
    if (!isFloat(a.dtype) || !Number.isFinite(v) || !Number.isFinite(w)) return Number.POSITIVE_INFINITY
    most = Math.max(most, Math.abs(v - w))
    largest = Math.max(largest, Math.abs(v))
  }
  return most === 0 ? 0 : most / (largest || 1)
}
