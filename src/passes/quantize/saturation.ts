/**
 * x86 without VNNI multiplies u8 activations by s8 weights and adds neighbours in int16 (vpmaddubsw): the sum saturates
 * when 255·(w_k + w_{k+1}) leaves int16, that is when |w_k + w_{k+1}| > 128 for weights that are neighbours in the order
 * the kernel reads them: kernel position first, input channel last. The bound is exact over all activations.
 */
import { typedValues } from '../../ir/tensor.ts'
import type { Tensor } from '../../types.ts'

/** Codes up to this cannot saturate: 255 · (64 + 64) = 32640. */
export const safeLevels = 64

const largestPair = 128

/** For each channel of int8 codes: can a pair sum saturate? Filters of one input channel have kernels without pair sums. */
export function saturatingChannels(codes: Tensor, axis: number): boolean[] {
  const { shape } = codes
  const count = shape[axis] as number
  const isFilter = shape.length > 2
  if (isFilter && shape[1] === 1) return new Array<boolean>(count).fill(false)
  const strides = shape.map((_, i) => shape.slice(i + 1).reduce((n, d) => n * d, 1))
  const axes = shape.map((_, i) => i).filter((i) => i !== axis)
  const order = isFilter ? [...axes.filter((i) => i !== 1), 1] : axes
  const offsets = offsetsOf(
    order.map((i) => shape[i] as number),
    order.map((i) => strides[i] as number)
  )
  const values = typedValues(codes)
  return Array.from({ length: count }, (_, c) => {
    const base = c * (strides[axis] as number)
    for (let k = 1; k < offsets.length; k++) {
      const sum = Number(values[base + (offsets[k - 1] as number)]) + Number(values[base + (offsets[k] as number)])
      if (sum > largestPair || sum < -largestPair) return true
    }
    return false
  })
}

/** Where each element of a nested walk lies, the last axis fastest. */
function offsetsOf(sizes: readonly number[], strides: readonly number[]): Int32Array {
  const total = sizes.reduce((n, d) => n * d, 1)
  const out = new Int32Array(total)
  for (let i = 0; i < total; i++) {
    let rest = i
    let at = 0
    for (let a = sizes.length - 1; a >= 0; a--) {
      const size = sizes[a] as number
      at += (rest % size) * (strides[a] as number)
      rest = Math.floor(rest / size)
    }
    out[i] = at
  }
  return out
}
