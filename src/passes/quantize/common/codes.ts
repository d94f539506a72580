/**
 * Symmetric integer codes of weights: s_c = max|w_c| / L per channel, code = round_half_even(w / s_c) in −L … L, L = 127
 * for 8 bits (63 for 7). Scales are rounded to their stored type first, so that codes fit what the runtime multiplies.
 * Tensors are read in parts of 16 MB, whatever their size.
 */
import { part, toArray } from '../../../base/bytes.ts'
import { assert, PareError } from '../../../base/errors.ts'
import { greatest } from '../../../base/extremes.ts'
import { fromFloat16, toFloat16 } from '../../../base/float.ts'
import { bitsOf, elementCount, tensor, toFloats } from '../../../ir/tensor.ts'
import type { Model, Tensor } from '../../../types.ts'

/** Throws `E_OPSET` for a model whose DequantizeLinear has one scale only. Models that Pare reads are of opset 21 or newer. */
export function needScalesPerChannel(model: Model): void {
  if (model.opset < 13)
    throw new PareError('E_OPSET', `scales per channel need opset 13, the model has ${model.opset}`, {
      hint: 'read the model with readModel, which raises it, or export it again at opset 13 or newer'
    })
}

/** How a tensor divides into channels: element `i` is of channel `⌊i / inner⌋ mod count`. */
export interface Channels {
  readonly count: number
  readonly inner: number
}

/** Channels along an axis; one channel where the axis is undefined. */
export function channelsOf(shape: readonly number[], axis: number | undefined): Channels {
  if (axis === undefined) return { count: 1, inner: Math.max(1, elementCount(shape)) }
  assert(axis >= 0 && axis < shape.length, `axis ${axis} of shape [${shape}]`)
  return { count: shape[axis] as number, inner: elementCount(shape.slice(axis + 1)) }
}

const partElements = 4 * 1024 * 1024

/**
 * Calls `visit` for runs of elements that lie in memory: `values[from … to)`, starting at element `at` of the tensor. The
 * channel of the first is `channel`, and grows by `step` (0 or 1) per element.
 */
function eachRun(
  t: Tensor,
  { count, inner }: Channels,
  visit: (values: Float32Array, from: number, to: number, channel: number, step: number, at: number) => void
): void {
  const n = elementCount(t.shape)
  const size = bitsOf(t.dtype) / 8
  const step = inner === 1 ? 1 : 0
  const unit = step ? count : inner
  for (let start = 0; start < n; start += partElements) {
    const end = Math.min(n, start + partElements)
    const bytes = toArray(part(t.bytes, start * size, end * size))
    const values = toFloats({ dtype: t.dtype, shape: [end - start], bytes })
    for (let i = start; i < end; ) {
      const run = Math.floor(i / unit)
      const stop = Math.min(end, (run + 1) * unit)
      visit(values, i - start, stop - start, step ? i % count : run % count, step, i)
      i = stop
    }
  }
}

/** Largest magnitude per channel. Throws `E_MODEL` that names the tensor where a value is not finite. */
export function peaksOf(t: Tensor, channels: Channels, name: string): Float64Array {
  const peaks = new Float64Array(channels.count)
  let isBad = false
  eachRun(t, channels, (values, from, to, channel, step) => {
    for (let i = from, c = channel; i < to; i++, c += step) {
      const a = Math.abs(values[i] as number)
      if (a > (peaks[c] as number)) peaks[c] = a
      else if (Number.isNaN(a)) isBad = true
    }
  })
  if (isBad || peaks.includes(Number.POSITIVE_INFINITY))
    throw new PareError('E_MODEL', `weight ${name} has values that are not finite (NaN or infinity)`, {
      where: name,
      hint: 'the model is broken: export it again'
    })
  return peaks
}

/** Scales as they are stored; a channel of zeros gets 1. */
export function scalesOf(
  peaks: Float64Array,
  levels: number | ArrayLike<number>,
  dtype: 'float32' | 'float16'
): Float64Array {
  return peaks.map((peak, c) =>
    peak === 0 ? 1 : storedScale(peak / (typeof levels === 'number' ? levels : (levels[c] as number)), dtype)
  )
}

const smallestFloat = 2 ** -126
const smallestHalf = 2 ** -14

/** A scale in its stored type. Below the normal float16 range it is rounded up to a multiple of 2⁻²⁴, so that codes still fit. */
export function storedScale(s: number, dtype: 'float32' | 'float16'): number {
  if (dtype === 'float32') return Math.max(Math.fround(s), smallestFloat)
  return s < smallestHalf ? Math.ceil(s * 2 ** 24) / 2 ** 24 : fromFloat16(toFloat16(s))
}

/** Where the best scale is looked for, as shares of the one that just holds the largest weight. */
const searchFrom = (levels: number): number => (levels > fewLevels ? 0.75 : 0.4)
/** Codes of 6 bits and fewer: there clipping pays also in channels of many weights. */
const fewLevels = 31
const searchTo = 1.03
const searchSteps = 57
/** Beyond this many weights in 8 bits, no scale suits all of a channel much better than the largest one does. */
const searchElements = 1024

/**
 * Scales of least squared error near the given ones, none below `least`. With few weights to a channel, such as a 3×3
 * depthwise filter, this halves the error. Tensors of more than 4 million elements keep the scales they have.
 */
export function refineScales(
  t: Tensor,
  channels: Channels,
  scales: Float64Array,
  levels: number | ArrayLike<number>,
  least: ArrayLike<number> = []
): Float64Array {
  const n = elementCount(t.shape)
  const most = typeof levels === 'number' ? levels : greatest(Array.from(levels))
  if (n > partElements || (most > fewLevels && n > searchElements * channels.count)) return scales
  const values = toFloats(t)
  const { count, inner } = channels
  const members = new Float32Array(n / count)
  return scales.map((scale, c) => {
    let filled = 0
    for (let at = c * inner; at < n; at += count * inner)
      for (let i = at; i < at + inner; i++) members[filled++] = values[i] as number
    return bestScale(
      members,
      scale,
      typeof levels === 'number' ? levels : (levels[c] as number),
      least[c] ?? 0,
      t.dtype
    )
  })
}

function bestScale(values: Float32Array, scale: number, top: number, least: number, dtype: Tensor['dtype']): number {
  let best = scale
  let lowest = squaredError(values, scale, top)
  const from = searchFrom(top)
  for (let i = 0; i < searchSteps; i++) {
    const share = from + ((searchTo - from) * i) / (searchSteps - 1)
    const s = storedScale(scale * share, dtype === 'float16' ? 'float16' : 'float32')
    if (s < least) continue
    const e = squaredError(values, s, top)
    if (e < lowest) {
      lowest = e
      best = s
    }
  }
  return best
}

function squaredError(values: Float32Array, s: number, top: number): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) {
    const x = values[i] as number
    const q = x / s + 6755399441055744 - 6755399441055744
    const e = x - Math.min(top, Math.max(-top, q)) * s
    sum += e * e
  }
  return sum
}

/** The int8 codes of a tensor under given scales, within ±`levels`. */
export function encodeWeight(
  t: Tensor,
  channels: Channels,
  scales: Float64Array,
  levels: number | ArrayLike<number>
): Tensor {
  const codes = new Int8Array(elementCount(t.shape))
  eachRun(t, channels, (values, from, to, channel, step, at) => {
    const shift = at - from
    for (let i = from, c = channel; i < to; i++, c += step) {
      const top = typeof levels === 'number' ? levels : (levels[c] as number)
      // Adding and taking away 1.5·2^52 rounds half to even.
      const q = (values[i] as number) / (scales[c] as number) + 6755399441055744 - 6755399441055744
      codes[i + shift] = Math.min(top, Math.max(-top, q))
    }
  })
  return tensor8(codes, t.shape)
}

const tensor8 = (codes: Int8Array, shape: readonly number[]): Tensor => ({
  dtype: 'int8',
  shape,
  bytes: new Uint8Array(codes.buffer)
})

/** Scales as a constant: a vector per channel, a scalar per tensor. */
export function scaleTensor(scales: Float64Array, isPerChannel: boolean, dtype: 'float32' | 'float16'): Tensor {
  return tensor(dtype, isPerChannel ? [scales.length] : [], scales)
}
