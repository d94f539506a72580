/**
 * Weights as 16-bit floats, and what that loses. float16 holds magnitudes from 2⁻²⁴ to 65504, those below 2⁻¹⁴ with fewer
 * than its 11 significant bits; bfloat16 has the range of float32. Rounding to float16 within the range costs about 77 dB.
 */
import { elementCount, tensor, toFloats } from '../../../ir/tensor.ts'
import type { Tensor } from '../../../types.ts'

export type Narrow = 'float16' | 'bfloat16'

/** Largest finite float16. */
export const largestHalf = 65504
/** Least float16 of 11 significant bits. */
export const leastNormal = 2 ** -14

/** Numbers from here down stand for minus infinity: 1 − mask, times one of them, takes what is masked out of a Softmax. */
export const leastMask = -1e9
/** Numbers from here up stand for infinity. */
const mostBound = 1e30

/** ‖w − ŵ‖² / ‖w‖² above which a weight keeps float32: 50 dB. bfloat16 itself is at about 53 dB. */
const most = 1e-5

/** Why a weight cannot be held in the type; `undefined` where it can. */
export function reasonNotNarrow(t: Tensor, type: Narrow): string | undefined {
  if (type === 'bfloat16') return undefined
  const values = toFloats(t)
  const rounded = toFloats(tensor(type, t.shape, values))
  let [all, lost, beyond] = [0, 0, false]
  for (let i = 0; i < values.length; i++) {
    const x = values[i] as number
    if (!Number.isFinite(x)) continue
    const y = rounded[i] as number
    if (!Number.isFinite(y)) beyond = true
    all += x * x
    lost += (x - y) ** 2
  }
  if (beyond) return `has values beyond ${type} (${largestHalf})`
  if (lost <= most * all) return undefined
  return `has values too small for ${type}: ${decibels(all / lost)} dB would be left of it`
}

/** Why a few numbers cannot be moved into the range of float16: amounts lie beyond it. Ends of a range and minus infinity of a mask may be. */
export function reasonBeyond(t: Tensor): string | undefined {
  const isBound = (x: number): boolean => x <= leastMask || x >= mostBound || !Number.isFinite(x)
  return toFloats(t).some((x) => Math.abs(x) > largestHalf && !isBound(x))
    ? `has values beyond float16 (${largestHalf})`
    : undefined
}

const decibels = (ratio: number): string => (10 * Math.log10(ratio)).toFixed(1)

/** Channels along the first or the last axis, or single numbers, whose every value becomes 0 though not every one is. */
export function vanishing(t: Tensor, type: Narrow): { readonly axis: number; readonly channels: number } | undefined {
  const values = toFloats(t)
  const rounded = toFloats(tensor(type, t.shape, values))
  const { length: rank } = t.shape
  const found = [0, rank - 1].map((axis) => ({ axis, channels: vanishingAlong(t.shape, axis, values, rounded) }))
  return found.find((f) => f.channels > 0)
}

function vanishingAlong(shape: readonly number[], axis: number, values: Float32Array, rounded: Float32Array): number {
  const channels = shape[axis] ?? 1
  const inner = elementCount(shape.slice(axis + 1))
  const was = new Uint8Array(channels)
  const is = new Uint8Array(channels)
  for (let i = 0; i < values.length; i++) {
    const c = Math.floor(i / inner) % channels
    if (values[i] !== 0) was[c] = 1
    if (rounded[i] !== 0) is[c] = 1
  }
  return was.reduce((n, w, c) => n + (w && !is[c] ? 1 : 0), 0)
}
