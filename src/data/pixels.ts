/**
 * Pixels to a model's input. Normalisation is y = (x·scale − mean_c) / std_c, computed in float64 and rounded once to
 * float32. Resizing is separable with a triangle filter on half-pixel centres, widened when it shrinks (antialiased).
 */
import { PareError } from '../base/errors.ts'
import type { Layout, Preprocess } from './preprocess.ts'

export type Normal = Pick<Preprocess, 'scale' | 'mean' | 'std'>

/** Bytes of rows of `channels` interleaved values. */
export interface Raster {
  readonly width: number
  readonly height: number
  readonly channels: number
  readonly data: Uint8Array
}

/** Mean and std of every one of `channels`; throws `E_OPTION` when the preprocessing has another number of them. */
export function perChannel(
  p: Normal,
  channels: number
): { readonly mean: readonly number[]; readonly std: readonly number[] } {
  const spread = (values: readonly number[], name: string): readonly number[] => {
    if (values.length === channels) return values
    if (values.length === 1) return Array.from({ length: channels }, () => values[0] as number)
    throw new PareError('E_OPTION', `${values.length} values of ${name} for ${channels} channels`, {
      where: '--preprocess'
    })
  }
  return { mean: spread(p.mean, 'mean'), std: spread(p.std, 'std') }
}

/** Interleaved bytes [n, pixels, channels] to normalised floats, planar for `nchw`. */
export function normalisePixels(
  data: Uint8Array,
  n: number,
  channels: number,
  p: Normal,
  layout: Layout
): Float32Array {
  const out = new Float32Array(data.length)
  const pixels = n * channels === 0 ? 0 : data.length / (n * channels)
  const [byPixel, byChannel] = layout === 'nchw' ? [1, pixels] : [channels, 1]
  const { mean, std } = perChannel(p, channels)
  for (let c = 0; c < channels; c++) {
    const table = Float32Array.from({ length: 256 }, (_, x) => (x * p.scale - (mean[c] as number)) / (std[c] as number))
    for (let i = 0; i < n; i++) {
      let to = i * pixels * channels + c * byChannel
      let from = i * pixels * channels + c
      for (let k = 0; k < pixels; k++) {
        out[to] = table[data[from] as number] as number
        to += byPixel
        from += channels
      }
    }
  }
  return out
}

/** Numbers laid out as [outer, channels, inner] normalised to floats in the same order. */
export function normaliseNumbers(values: ArrayLike<number>, channels: number, inner: number, p: Normal): Float32Array {
  const out = new Float32Array(values.length)
  const { mean, std } = perChannel(p, channels)
  for (let i = 0; i < out.length; i++) {
    const c = Math.floor(i / inner) % channels
    out[i] = ((values[i] as number) * p.scale - (mean[c] as number)) / (std[c] as number)
  }
  return out
}

/** The same bytes with planes instead of interleaved channels, or back: [n, a, b] to [n, b, a]. */
export function swapAxes(data: Uint8Array, n: number, a: number, b: number): Uint8Array {
  const out = new Uint8Array(data.length)
  for (let i = 0; i < n; i++)
    for (let x = 0; x < a; x++)
      for (let y = 0; y < b; y++) out[i * a * b + y * a + x] = data[i * a * b + x * b + y] as number
  return out
}

/** Cuts the centre; odd margins leave the extra row or column at the end. */
export function cropCentre(r: Raster, height: number, width: number): Raster {
  if (height === r.height && width === r.width) return r
  const top = (r.height - height) >> 1
  const left = (r.width - width) >> 1
  const row = width * r.channels
  const data = new Uint8Array(height * row)
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * r.width + left) * r.channels
    data.set(r.data.subarray(from, from + row), y * row)
  }
  return { width, height, channels: r.channels, data }
}

/** Resizes; the very same raster when it has that size. */
export function resizeRaster(r: Raster, height: number, width: number): Raster {
  if (height === r.height && width === r.width) return r
  const across = taps(r.width, width)
  const down = taps(r.height, height)
  const c = r.channels
  const narrow = new Float32Array(r.height * width * c)
  for (let y = 0; y < r.height; y++)
    for (let x = 0; x < width; x++) {
      const { first, weights } = across[x] as Taps
      for (let k = 0; k < c; k++) {
        let sum = 0
        for (let i = 0; i < weights.length; i++)
          sum += (weights[i] as number) * (r.data[(y * r.width + first + i) * c + k] as number)
        narrow[(y * width + x) * c + k] = sum
      }
    }
  const data = new Uint8Array(height * width * c)
  for (let y = 0; y < height; y++) {
    const { first, weights } = down[y] as Taps
    for (let x = 0; x < width * c; x++) {
      let sum = 0
      for (let i = 0; i < weights.length; i++)
        sum += (weights[i] as number) * (narrow[(first + i) * width * c + x] as number)
      data[y * width * c + x] = Math.min(255, Math.max(0, Math.round(sum)))
    }
  }
  return { width, height, channels: c, data }
}

interface Taps {
  readonly first: number
  readonly weights: readonly number[]
}

function taps(from: number, to: number): readonly Taps[] {
  const ratio = from / to
  const reach = Math.max(1, ratio)
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * ratio
    const first = Math.max(0, Math.floor(centre - reach + 0.5))
    const end = Math.min(from, Math.floor(centre + reach + 0.5))
    const raw = Array.from({ length: end - first }, (_, k) =>
      Math.max(0, 1 - Math.abs(first + k + 0.5 - centre) / reach)
    )
    const total = raw.reduce((n, w) => n + w, 0)
    return { first, weights: raw.map((w) => w / total) }
  })
}
