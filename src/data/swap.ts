/** Bytes of elements of `size` bytes turned from big-endian to little-endian, as a new array. */
export function littleEndian(bytes: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(bytes.length)
  for (let at = 0; at + size <= bytes.length; at += size)
    for (let k = 0; k < size; k++) out[at + k] = bytes[at + size - 1 - k] as number
  return out
}

/** Elements of `size` bytes in column-major order (the first axis fastest) put into row-major order, as a new array. */
export function rowMajor(bytes: Uint8Array, shape: readonly number[], size: number): Uint8Array {
  const out = new Uint8Array(bytes.length)
  const rank = shape.length
  const strides = shape.map((_, axis) => shape.slice(0, axis).reduce((n, d) => n * d, 1))
  const index = new Int32Array(rank)
  const count = bytes.length / size
  let from = 0
  for (let to = 0; to < count; to++) {
    for (let k = 0; k < size; k++) out[to * size + k] = bytes[from * size + k] as number
    for (let axis = rank - 1; axis >= 0; axis--) {
      const stride = strides[axis] as number
      const next = (index[axis] as number) + 1
      from += stride
      if (next < (shape[axis] as number)) {
        index[axis] = next
        break
      }
      from -= stride * next
      index[axis] = 0
    }
  }
  return out
}
