/** Weights moved to multiples of the steps of their channels. */
import { tensor, toFloats } from '../../ir/tensor.ts'
import type { Tensor } from '../../types.ts'
import { channelsOf } from '../quantize/common/codes.ts'

/** Every number within ±level steps of zero. */
export const clamped = (t: Tensor, axis: number | undefined, steps: Float64Array, level: number): Tensor =>
  perElement(t, axis, (x, c) => Math.min(level, Math.max(-level, x / (steps[c] as number))) * (steps[c] as number))

/** Every number at the nearest multiple of its step. */
export const rounded = (t: Tensor, axis: number | undefined, steps: Float64Array): Tensor =>
  perElement(t, axis, (x, c) => Math.round(x / (steps[c] as number)) * (steps[c] as number))

function perElement(t: Tensor, axis: number | undefined, change: (x: number, channel: number) => number): Tensor {
  const { count, inner } = channelsOf(t.shape, axis)
  return tensor(
    'float32',
    t.shape,
    toFloats(t).map((x, i) => change(x, Math.floor(i / inner) % count))
  )
}
