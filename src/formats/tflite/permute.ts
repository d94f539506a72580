/** Constants with their axes in another order. */
import { toArray } from '../../base/bytes.ts'
import { bitsOf, codes, elementCount, pack } from '../../ir/tensor.ts'
import type { Tensor } from '../../types.ts'

/** Axis `i` of the result is axis `perm[i]` of the tensor; the very same tensor where nothing moves. */
export function permuteTensor(t: Tensor, perm: readonly number[]): Tensor {
  if (perm.every((a, i) => a === i)) return t
  const shape = perm.map((a) => t.shape[a] as number)
  const bits = bitsOf(t.dtype)
  const [source, size] = bits < 8 ? [codes(t), 1] : [toArray(t.bytes), bits / 8]
  const strides = t.shape.map((_, i) => size * elementCount(t.shape.slice(i + 1)))
  const out = new Uint8Array(source.length)
  const steps = perm.map((a) => strides[a] as number)
  const last = shape.length - 1
  let to = 0
  const walk = (axis: number, from: number): void => {
    const [n, step] = [shape[axis] as number, steps[axis] as number]
    for (let i = 0; i < n; i++) {
      const at = from + i * step
      if (axis < last) walk(axis + 1, at)
      else for (let k = 0; k < size; k++) out[to++] = source[at + k] as number
    }
  }
  walk(0, 0)
  return { dtype: t.dtype, shape, bytes: bits < 8 ? pack(out, bits) : out }
}
