/** Functions on constant arrays. Integers of 64 bits meet plain numbers only here (`ints`). */
import { toArray } from '../base/bytes.ts'
import { assert, PareError } from '../base/errors.ts'
import {
  fromBfloat16,
  fromFloat16,
  fromSmallFloat,
  type SmallFloatName,
  toBfloat16,
  toFloat16,
  toSmallFloat
} from '../base/float.ts'
import type { Bytes, DType, Tensor } from '../types.ts'

export type TypedArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array

type Kind = 'float' | 'signed' | 'unsigned' | 'bool' | 'string' | 'complex'

/** Bits of an element, its kind, and the typed array that holds whole elements, where there is one. */
const dtypes = {
  float32: { bits: 32, kind: 'float', array: Float32Array },
  float64: { bits: 64, kind: 'float', array: Float64Array },
  float16: { bits: 16, kind: 'float', array: Uint16Array },
  bfloat16: { bits: 16, kind: 'float', array: Uint16Array },
  float8e4m3fn: { bits: 8, kind: 'float', array: Uint8Array },
  float8e4m3fnuz: { bits: 8, kind: 'float', array: Uint8Array },
  float8e5m2: { bits: 8, kind: 'float', array: Uint8Array },
  float8e5m2fnuz: { bits: 8, kind: 'float', array: Uint8Array },
  float8e8m0: { bits: 8, kind: 'float', array: Uint8Array },
  float4e2m1: { bits: 4, kind: 'float', array: undefined },
  int64: { bits: 64, kind: 'signed', array: BigInt64Array },
  int32: { bits: 32, kind: 'signed', array: Int32Array },
  int16: { bits: 16, kind: 'signed', array: Int16Array },
  int8: { bits: 8, kind: 'signed', array: Int8Array },
  int4: { bits: 4, kind: 'signed', array: undefined },
  int2: { bits: 2, kind: 'signed', array: undefined },
  uint64: { bits: 64, kind: 'unsigned', array: BigUint64Array },
  uint32: { bits: 32, kind: 'unsigned', array: Uint32Array },
  uint16: { bits: 16, kind: 'unsigned', array: Uint16Array },
  uint8: { bits: 8, kind: 'unsigned', array: Uint8Array },
  uint4: { bits: 4, kind: 'unsigned', array: undefined },
  uint2: { bits: 2, kind: 'unsigned', array: undefined },
  bool: { bits: 8, kind: 'bool', array: Uint8Array },
  string: { bits: 0, kind: 'string', array: undefined },
  complex64: { bits: 64, kind: 'complex', array: Float32Array },
  complex128: { bits: 128, kind: 'complex', array: Float64Array }
} as const

export const dtypeNames = Object.keys(dtypes) as readonly DType[]
export const bitsOf = (dtype: DType): number => dtypes[dtype].bits
export const kindOf = (dtype: DType): Kind => dtypes[dtype].kind
export const isFloat = (dtype: DType): boolean => dtypes[dtype].kind === 'float'
export const isInteger = (dtype: DType): boolean => dtypes[dtype].kind === 'signed' || dtypes[dtype].kind === 'unsigned'

/** Lowest and highest code of an integer type of at most 32 bits. */
export function rangeOf(dtype: DType): { min: number; max: number } {
  const { bits, kind } = dtypes[dtype]
  assert((kind === 'signed' || kind === 'unsigned') && bits <= 32, `${dtype} has no range of plain integers`)
  return kind === 'signed' ? { min: -(2 ** (bits - 1)), max: 2 ** (bits - 1) - 1 } : { min: 0, max: 2 ** bits - 1 }
}

/** Number of elements; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  let n = 1
  for (const d of shape) n *= d
  return n
}

/** Bytes that `count` elements take. */
export function byteLength(dtype: DType, count: number): number {
  return Math.ceil((count * dtypes[dtype].bits) / 8)
}

/** Bytes of a tensor's content; strings count their UTF-16 length. */
export function tensorBytes(t: Tensor): number {
  return t.strings ? t.strings.reduce((n, s) => n + s.length, 0) : t.bytes.length
}

/** Makes a tensor over bytes. Throws `E_MODEL` when length and shape disagree. */
export function tensorOf(dtype: DType, shape: readonly number[], bytes: Bytes): Tensor {
  const wanted = byteLength(dtype, elementCount(shape))
  if (bytes.length !== wanted)
    throw new PareError('E_MODEL', `a ${dtype}[${shape}] takes ${wanted} bytes, not ${bytes.length}`)
  return { dtype, shape, bytes }
}

/** Makes a tensor from plain numbers (or bigints, or strings); rounds half to even and saturates to the type. */
export function tensor(
  dtype: DType,
  shape: readonly number[],
  values: ArrayLike<number> | ArrayLike<bigint> | readonly string[]
): Tensor {
  const n = elementCount(shape)
  assert(values.length === n, `${values.length} values for shape [${shape}]`)
  if (dtype === 'string')
    return { dtype, shape, bytes: new Uint8Array(0), strings: Array.from(values as readonly string[]) }
  if (n > 0 && typeof values[0] === 'bigint') {
    const out = dtype === 'uint64' ? new BigUint64Array(n) : new BigInt64Array(n)
    for (let i = 0; i < n; i++) out[i] = values[i] as bigint
    return { dtype, shape, bytes: bytesOf(out) }
  }
  return { dtype, shape, bytes: encode(dtype, values as ArrayLike<number>) }
}

/** A scalar tensor. */
export const scalar = (dtype: DType, value: number): Tensor => tensor(dtype, [], [value])

/** The bytes behind a typed array, shared. */
export function bytesOf(array: TypedArray): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
}

/**
 * The content as the type's own typed array (bits for float16 and smaller), shared with the tensor when alignment
 * allows: read only. Not for packed types, strings or complex numbers.
 */
export function typedValues(t: Tensor): TypedArray {
  const array = dtypes[t.dtype].array
  assert(array, `${t.dtype} has no typed array`)
  const bytes = toArray(t.bytes)
  const size = array.BYTES_PER_ELEMENT
  // A copy by constructor: slice() of a Node Buffer would share the memory.
  const aligned = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes)
  return new array(aligned.buffer as ArrayBuffer, aligned.byteOffset, Math.floor(aligned.byteLength / size))
}

/** All elements as float32, converting from any numeric type; shared with the tensor if it is float32: read only. */
export function toFloats(t: Tensor): Float32Array {
  if (t.dtype === 'float32') return typedValues(t) as Float32Array
  return Float32Array.from(toNumbers(t))
}

/** All elements as plain numbers. int64 beyond 2^53 loses its low bits: for anything that must be exact use `ints`. */
export function toNumbers(t: Tensor): ArrayLike<number> & Iterable<number> {
  switch (t.dtype) {
    case 'float16':
      return Float32Array.from(typedValues(t) as Uint16Array, fromFloat16)
    case 'bfloat16':
      return Float32Array.from(typedValues(t) as Uint16Array, fromBfloat16)
    case 'float8e4m3fn':
    case 'float8e4m3fnuz':
    case 'float8e5m2':
    case 'float8e5m2fnuz':
    case 'float8e8m0':
      return Float32Array.from(typedValues(t) as Uint8Array, (c) => fromSmallFloat(t.dtype as SmallFloatName, c))
    case 'float4e2m1':
      return Float32Array.from(codes(t), (c) => fromSmallFloat('float4e2m1', c))
    case 'int4':
    case 'int2': {
      const half = 2 ** (bitsOf(t.dtype) - 1)
      return Int8Array.from(codes(t), (c) => (c >= half ? c - 2 * half : c))
    }
    case 'uint4':
    case 'uint2':
      return codes(t)
    case 'int64':
    case 'uint64':
      return Float64Array.from(typedValues(t) as BigInt64Array, Number)
    case 'string':
    case 'complex64':
    case 'complex128':
      throw new PareError('E_UNSUPPORTED', `a ${t.dtype} tensor has no plain numbers`)
    default:
      return typedValues(t) as Float32Array
  }
}

/** Elements of an integer or bool tensor as exact plain integers; beyond ±2^53 they saturate at ±2^63 (as "to the end"). */
export function ints(t: Tensor): number[] {
  assert(isInteger(t.dtype) || t.dtype === 'bool', `integers asked of a ${t.dtype} tensor`)
  return Array.from(toNumbers(t), (x) => (Number.isSafeInteger(x) ? x : Math.sign(x) * 2 ** 63))
}

/** Unpacks sub-byte elements to one code per byte. */
export function codes(t: Tensor): Uint8Array {
  const bits = bitsOf(t.dtype)
  const bytes = toArray(t.bytes)
  const out = new Uint8Array(elementCount(t.shape))
  const perByte = 8 / bits
  const mask = 2 ** bits - 1
  for (let i = 0; i < out.length; i++)
    out[i] = ((bytes[Math.floor(i / perByte)] as number) >> ((i % perByte) * bits)) & mask
  return out
}

/** Same type, shape and bits. */
export function equalTensors(a: Tensor, b: Tensor): boolean {
  if (a === b) return true
  if (a.dtype !== b.dtype || a.shape.length !== b.shape.length || a.bytes.length !== b.bytes.length) return false
  if (a.shape.some((d, i) => d !== b.shape[i])) return false
  if (a.strings) return a.strings.every((s, i) => s === b.strings?.[i])
  if (a.bytes === b.bytes) return true
  const [x, y] = [toArray(a.bytes), toArray(b.bytes)]
  for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) return false
  return true
}

/** Half to even, the rounding of ONNX's QuantizeLinear. */
export function roundHalfEven(x: number): number {
  const r = Math.round(x)
  return r - x === 0.5 && r % 2 !== 0 ? r - 1 : r
}

function encode(dtype: DType, values: ArrayLike<number>): Uint8Array {
  const n = values.length
  const { bits, kind, array } = dtypes[dtype]
  if (dtype === 'float32') return bytesOf(Float32Array.from(values))
  if (dtype === 'float64') return bytesOf(Float64Array.from(values))
  if (dtype === 'float16') return bytesOf(Uint16Array.from(values, toFloat16))
  if (dtype === 'bfloat16') return bytesOf(Uint16Array.from(values, toBfloat16))
  if (kind === 'float') {
    const all = Uint8Array.from(values, (x) => toSmallFloat(dtype as SmallFloatName, x))
    return bits === 8 ? all : pack(all, bits)
  }
  if (kind === 'bool') return Uint8Array.from(values, (x) => (x ? 1 : 0))
  if (bits === 64) return bytesOf(wide(dtype, values))
  assert(kind === 'signed' || kind === 'unsigned', `${dtype} from numbers`)
  const { min, max } = rangeOf(dtype)
  const code = (x: number): number => Math.min(max, Math.max(min, roundHalfEven(x)))
  if (!array)
    return pack(
      Uint8Array.from(values, (x) => code(x) & (2 ** bits - 1)),
      bits
    )
  const out = new array(n) as Int8Array
  for (let i = 0; i < n; i++) out[i] = code(values[i] as number)
  return bytesOf(out)
}

function wide(dtype: DType, values: ArrayLike<number>): BigInt64Array | BigUint64Array {
  const signed = dtype === 'int64'
  const [min, max] = signed ? [-(2n ** 63n), 2n ** 63n - 1n] : [0n, 2n ** 64n - 1n]
  const clamp = (x: number): bigint => {
    if (Number.isNaN(x)) return 0n
    if (x >= 2 ** (signed ? 63 : 64)) return max
    if (x <= Number(min)) return min
    return BigInt(roundHalfEven(x))
  }
  const out = signed ? new BigInt64Array(values.length) : new BigUint64Array(values.length)
  for (let i = 0; i < values.length; i++) out[i] = clamp(values[i] as number)
  return out
}

/** Packs one code per byte into sub-byte elements, first in the low bits. */
export function pack(all: ArrayLike<number>, bits: number): Uint8Array {
  const perByte = 8 / bits
  const out = new Uint8Array(Math.ceil(all.length / perByte))
  const mask = 2 ** bits - 1
  for (let i = 0; i < all.length; i++) {
    const at = Math.floor(i / perByte)
    out[at] = (out[at] as number) | (((all[i] as number) & mask) << ((i % perByte) * bits))
  }
  return out
}
