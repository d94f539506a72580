/** Values of tensors as JSON has them, and strings as the binary extension has them: a length of 4 bytes and UTF-8. */
import { PareError } from '../base/errors.ts'
import { fromFloat16 } from '../base/float.ts'
import { elementCount, isFloat, kindOf, rangeOf, tensor, typedValues } from '../ir/tensor.ts'
import type { DType, Tensor } from '../types.ts'
import { datatypeOf } from './datatypes.ts'

const bad = (where: string, message: string, hint?: string): PareError =>
  new PareError('E_REQUEST', message, { where, ...(hint ? { hint } : {}) })

/** Numbers of a list, or of lists of lists of these sizes. */
interface Packed {
  readonly values: Float64Array
  readonly sizes: readonly number[]
}

/** No JSON says what it is taken for: there are no arrays of floats in it. */
const isPacked = (data: unknown): data is Packed => (data as Packed | undefined)?.values instanceof Float64Array

/** A tensor of a flat or nested list in row-major order, or of a packed one. Throws `E_REQUEST` where number or kind of values do not fit. */
export function fromJson(data: unknown, dtype: DType, shape: readonly number[], where: string): Tensor {
  const flat = listOf(data, shape, where)
  const count = elementCount(shape)
  if (flat.length !== count)
    throw bad(where, `${flat.length} values for shape [${shape.join(', ')}], which takes ${count}`)
  if (dtype === 'string') {
    const odd = Array.prototype.findIndex.call(flat, (v) => typeof v !== 'string')
    if (odd >= 0) throw bad(where, `value ${odd} is no string`)
    return tensor('string', shape, flat as readonly string[])
  }
  if (dtype === 'int64' || dtype === 'uint64') {
    const all = Array.from(flat, (v, i) => wide(v, dtype, where, i))
    return count === 0 ? { dtype, shape, bytes: new Uint8Array(0) } : tensor(dtype, shape, all)
  }
  const { min, max } = rangeIn(dtype)
  const isKind = isFloat(dtype) ? () => true : Number.isInteger
  const values = new Float64Array(count)
  for (let i = 0; i < count; i++) {
    const v = flat[i]
    const n = dtype === 'bool' && typeof v === 'boolean' ? Number(v) : v
    if (typeof n !== 'number' || !isKind(n)) throw bad(where, `value ${i} is no ${datatypeOf(dtype)}`)
    if (n < min || n > max) throw bad(where, `value ${i} is out of range for ${datatypeOf(dtype)}`)
    values[i] = n
  }
  return tensor(dtype, shape, values)
}

/** The least and the largest finite value of a type. */
function rangeIn(dtype: DType): { readonly min: number; readonly max: number } {
  if (dtype === 'bool') return { min: 0, max: 1 }
  if (!isFloat(dtype)) return rangeOf(dtype)
  const max = dtype === 'float16' ? 65504 : dtype === 'float32' ? 3.4028234663852886e38 : Number.MAX_VALUE
  return { min: -max, max }
}

/** Numbers beyond 2^53 have lost digits by the time JSON is read; as text they have not. */
function wide(v: unknown, dtype: 'int64' | 'uint64', where: string, i: number): bigint {
  const isExact = typeof v === 'number' ? Number.isSafeInteger(v) : typeof v === 'string' && /^-?\d{1,20}$/.test(v)
  if (!isExact)
    throw bad(
      where,
      `value ${i} is no exact ${datatypeOf(dtype)}`,
      'write integers beyond 2^53 as text, or send the tensor as binary'
    )
  const n = BigInt(v as number | string)
  const [min, max] = dtype === 'int64' ? [-(2n ** 63n), 2n ** 63n - 1n] : [0n, 2n ** 64n - 1n]
  if (n < min || n > max) throw bad(where, `value ${i} is out of range for ${datatypeOf(dtype)}`)
  return n
}

function listOf(data: unknown, shape: readonly number[], where: string): ArrayLike<unknown> {
  if (isPacked(data)) {
    if (data.sizes.length > 1 && data.sizes.join() !== shape.join()) throw nestedWrong(shape, where)
    return data.values
  }
  if (!Array.isArray(data)) throw bad(where, '"data" is no list')
  return Array.isArray(data[0]) ? flattened(data, shape, where) : data
}

/** Nested lists must be as the shape says on every level. */
function flattened(data: readonly unknown[], shape: readonly number[], where: string): readonly unknown[] {
  let level = data
  for (const [axis, size] of shape.entries()) {
    const isLast = axis === shape.length - 1
    if (axis === 0 && level.length !== size) throw nestedWrong(shape, where)
    if (isLast) return level
    const next: unknown[] = []
    for (const row of level) {
      if (!Array.isArray(row) || row.length !== shape[axis + 1]) throw nestedWrong(shape, where)
      for (const v of row) next.push(v)
    }
    level = next
  }
  return level
}

const nestedWrong = (shape: readonly number[], where: string): PareError =>
  bad(where, `the nested lists are not of shape [${shape.join(', ')}]`)

/** A tensor's values as JSON text. Throws `E_REQUEST` for NaN and infinity, which JSON has no words for. */
export function toJson(t: Tensor, where: string): string {
  if (t.strings) return JSON.stringify(t.strings)
  if (t.bytes.length === 0) return '[]'
  const values = typedValues(t)
  if (values instanceof BigInt64Array || values instanceof BigUint64Array) return `[${values.join(',')}]`
  if (t.dtype === 'bool') return `[${Array.from(values, (v) => v !== 0).join(',')}]`
  if (kindOf(t.dtype) !== 'float') return `[${values.join(',')}]`
  const numbers = t.dtype === 'float16' ? Float64Array.from(values, fromFloat16) : values
  const odd = numbers.findIndex((v) => !Number.isFinite(v))
  if (odd >= 0)
    throw bad(
      where,
      `value ${odd} is ${numbers[odd]}, which JSON cannot say`,
      'ask for the output with "binary_data": true'
    )
  const digits = t.dtype === 'float64' ? 17 : t.dtype === 'float16' ? 5 : 9
  return `[${Array.from(numbers, (v) => short(v, digits)).join(',')}]`
}

/** So many digits tell a number of the type from every other. */
const short = (v: number, digits: number): number | string =>
  Object.is(v, -0) ? '-0.0' : digits === 17 ? v : Number(v.toPrecision(digits))

const utf8 = { encode: new TextEncoder(), decode: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }) }

/** Strings of the binary extension. Throws `E_REQUEST` where lengths do not add up, or for bytes that are no UTF-8. */
export function stringsFrom(bytes: Uint8Array, count: number, where: string): readonly string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const out: string[] = []
  let at = 0
  while (out.length < count && at + 4 <= bytes.length) {
    const length = view.getUint32(at, true)
    if (length > bytes.length - at - 4) break
    try {
      out.push(utf8.decode.decode(bytes.subarray(at + 4, at + 4 + length)))
    } catch (cause) {
      throw new PareError('E_REQUEST', `element ${out.length} is not UTF-8`, { where, cause })
    }
    at += 4 + length
  }
  if (out.length !== count || at !== bytes.length)
    throw bad(where, `the bytes do not hold ${count} elements with their lengths`)
  return out
}

/** The bytes of a tensor as the binary extension has them. */
export function bytesFor(t: Tensor): Uint8Array {
  if (!t.strings) return t.bytes as Uint8Array
  const all = t.strings.map((s) => utf8.encode.encode(s))
  const out = new Uint8Array(all.reduce((n, b) => n + 4 + b.length, 0))
  const view = new DataView(out.buffer)
  let at = 0
  for (const b of all) {
    view.setUint32(at, b.length, true)
    out.set(b, at + 4)
    at += 4 + b.length
  }
  return out
}
