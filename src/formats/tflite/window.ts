/** Padding of windows that slide over places, as TensorFlow counts it. */
import type { AttrsGiven } from './emit.ts'

export interface Window {
  /** `SAME`: as many windows as strides fit into the data; `VALID`: only whole ones. */
  readonly padding: string
  readonly kernel: readonly number[]
  readonly strides: readonly number[]
  readonly dilations?: readonly number[]
}

/** Attributes of Conv and of pooling. `places`: sizes of the data along the window's axes, -1 where free. */
export function windowAttrs({ padding, kernel, strides, dilations }: Window, places: readonly number[]): AttrsGiven {
  const spread = dilations?.some((d) => d !== 1) ? { dilations } : {}
  const attrs = { kernel_shape: kernel, strides, ...spread }
  if (padding !== 'SAME') return attrs
  if (places.some((d) => d < 0)) return { ...attrs, auto_pad: 'SAME_UPPER' }
  const totals = places.map((size, i) => {
    const stride = strides[i] ?? 1
    const reach = ((kernel[i] ?? 1) - 1) * (dilations?.[i] ?? 1) + 1
    return Math.max(0, (Math.ceil(size / stride) - 1) * stride + reach - size)
  })
  if (totals.every((t) => t === 0)) return attrs
  return { ...attrs, pads: [...totals.map((t) => Math.floor(t / 2)), ...totals.map((t) => Math.ceil(t / 2))] }
}
