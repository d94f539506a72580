/** Elements of constants as bits, whatever they stand for. */
import { fromFloat16, toFloat16 } from '../../base/float.ts'
import { bitsOf, bytesOf, elementCount, type TypedArray, tensorOf, typedValues } from '../../ir/tensor.ts'
import type { Tensor } from '../../types.ts'

/** Elements as unsigned integers, so that −0 and every NaN keep their bits. */
export type Bits = Uint8Array | Uint16Array | Uint32Array

/** A tensor's elements as bits; a reason where they are not of 1, 2 or 4 bytes, or there are none. */
export function elementsOf(t: Tensor): Bits | string {
  if (![8, 16, 32].includes(bitsOf(t.dtype))) return `elements of ${bitsOf(t.dtype)} bits; store them as int8`
  return elementCount(t.shape) === 0 ? 'it is empty' : asBits(typedValues(t))
}

export function asBits(values: TypedArray): Bits {
  const { buffer, byteOffset, byteLength: length, BYTES_PER_ELEMENT: size } = values
  if (size === 1) return new Uint8Array(buffer, byteOffset, length)
  return size === 2 ? new Uint16Array(buffer, byteOffset, length / 2) : new Uint32Array(buffer, byteOffset, length / 4)
}

/** A new run of the same kind of elements. */
export const likewise = (like: Bits, values: number | readonly number[]): Bits =>
  new (like.constructor as new (values: number | readonly number[]) => Bits)(values)

/** float32 values that are all float16 ones, as such. */
export function asHalf(t: Tensor): Tensor | undefined {
  if (t.dtype !== 'float32') return undefined
  const values = typedValues(t) as Float32Array
  const bits = asBits(values)
  const half = new Uint16Array(values.length)
  for (let i = 0; i < values.length; i++) {
    const code = halfOf(bits[i] as number, values[i] as number)
    if (code === undefined) return undefined
    half[i] = code
  }
  return tensorOf('float16', t.shape, bytesOf(half))
}

/** The float16 of a float32 that is one: bits of a normal number are moved, others are tried. */
function halfOf(bits: number, value: number): number | undefined {
  const exponent = ((bits >>> 23) & 0xff) - 127
  if (exponent >= -14 && exponent <= 15)
    return (bits & 0x1fff) === 0
      ? ((bits >>> 16) & 0x8000) | ((exponent + 15) << 10) | ((bits >>> 13) & 0x3ff)
      : undefined
  const code = toFloat16(value)
  return Number.isFinite(value) && Object.is(fromFloat16(code), value) ? code : undefined
}
