/**
 * Arrays of ND4J as `Nd4j.write` spells them, big-endian: two buffers, the shape's facts and the elements.
 *
 *     buffer := UTF allocation mode | int32 or int64 length | UTF type | elements       UTF := uint16 bytes | text
 *     shape  := rank, shape[rank], strides[rank], extras, element-wise stride, order ('c' 99, 'f' 102)
 */
import { concat } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import { fromBfloat16, fromFloat16, toFloat16 } from '../../base/float.ts'

/** Types of networks' numbers. */
export type Numbers = 'FLOAT' | 'DOUBLE' | 'HALF' | 'BFLOAT16'

/** How releases spell arrays, by the allocation mode that they write: 0.9.1, beta3, and later ones. */
export type Dialect = 'JAVACPP' | 'LONG_SHAPE' | 'MIXED_DATA_TYPES'

/** An array in the order of the file. `rank`: old releases write vectors as `[1, n]`. */
export interface FlatArray {
  readonly values: Float32Array
  readonly type: Numbers
  readonly rank: number
  readonly dialect: Dialect
  /** Bytes of the record; what follows it begins there. */
  readonly end: number
}

const sizes: Readonly<Record<string, number>> = { FLOAT: 4, DOUBLE: 8, HALF: 2, BFLOAT16: 2, LONG: 8, INT: 4 }
const shortModes = ['HEAP', 'JAVACPP', 'DIRECT']
const longModes = ['LONG_SHAPE', 'MIXED_DATA_TYPES']
const maxRank = 32

/**
 * Reads an array of floats that begins at `at`. The elements' bytes are turned in place and become the result where they are
 * float32: the bytes must be the caller's own. Throws `E_FORMAT`.
 */
export function readArray(bytes: Uint8Array, at: number, where: string): FlatArray {
  const fail = (message: string): PareError => new PareError('E_FORMAT', message, { where })
  const shape = bufferAt(bytes, at, fail)
  if (shape.type !== 'LONG' && shape.type !== 'INT') throw fail(`an array's shape in ${shape.type}`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const fact = (i: number): number => {
    if (i >= shape.count) throw fail("the array's shape is cut short")
    return shape.type === 'INT' ? view.getInt32(shape.start + 4 * i) : Number(view.getBigInt64(shape.start + 8 * i))
  }
  const rank = fact(0)
  if (!Number.isSafeInteger(rank) || rank < 0 || rank > maxRank) throw fail(`an array of rank ${rank}`)
  let count = 1
  for (let i = 1; i <= rank; i++) {
    if (fact(i) < 0) throw fail('an array of negative size')
    count *= fact(i)
  }
  const data = bufferAt(bytes, shape.end, fail)
  if (!['FLOAT', 'DOUBLE', 'HALF', 'BFLOAT16'].includes(data.type)) throw fail(`an array of type ${data.type}`)
  if (data.count !== count && !(data.count <= 1 && count <= 1))
    throw fail(`an array of ${count} elements with a buffer of ${data.count}`)
  return {
    values: floatsOf(bytes, data.start, Math.min(count, data.count), data.type as Numbers),
    type: data.type as Numbers,
    rank,
    dialect: shape.type === 'INT' ? 'JAVACPP' : shape.mode === 'LONG_SHAPE' ? 'LONG_SHAPE' : 'MIXED_DATA_TYPES',
    end: data.end
  }
}

interface Buffer {
  readonly mode: string
  readonly type: string
  readonly count: number
  readonly start: number
  readonly end: number
}

function bufferAt(bytes: Uint8Array, at: number, fail: (message: string) => PareError): Buffer {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const mode = utfAt(bytes, at, fail)
  const isLong = longModes.includes(mode.text)
  if (!isLong && !shortModes.includes(mode.text)) throw fail('not an array of ND4J')
  const width = isLong ? 8 : 4
  if (mode.end + width > bytes.length) throw fail('the array is cut short')
  const count = isLong ? Number(view.getBigInt64(mode.end)) : view.getInt32(mode.end)
  const type = utfAt(bytes, mode.end + width, fail)
  const size = sizes[type.text]
  if (size === undefined) throw fail(`an array of type ${type.text.slice(0, 20)}`)
  if (!Number.isSafeInteger(count) || count < 0 || type.end + count * size > bytes.length)
    throw fail(`an array of ${count} elements, of which ${bytes.length - type.end} bytes are there`)
  return { mode: mode.text, type: type.text, count, start: type.end, end: type.end + count * size }
}

/** A text as Java's `writeUTF` has it. */
export function utfAt(
  bytes: Uint8Array,
  at: number,
  fail: (message: string) => PareError
): { readonly text: string; readonly end: number } {
  const start = at + 2
  const end = start + (bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0)
  if (start > bytes.length || end > bytes.length) throw fail('the record is cut short')
  return { text: new TextDecoder().decode(bytes.subarray(start, end)), end }
}

function floatsOf(bytes: Uint8Array, start: number, count: number, type: Numbers): Float32Array {
  if (type === 'FLOAT') return turned(bytes, start, count)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const out = new Float32Array(count)
  for (let i = 0; i < count; i++) {
    if (type === 'DOUBLE') out[i] = view.getFloat64(start + 8 * i)
    else {
      const bits = view.getUint16(start + 2 * i)
      out[i] = type === 'HALF' ? fromFloat16(bits) : fromBfloat16(bits)
    }
  }
  return out
}

/** Big-endian float32 turned where they stand, moved to an aligned place in the same memory. */
function turned(bytes: Uint8Array, start: number, count: number): Float32Array {
  const from = bytes.byteOffset + start
  const to = from - (from % 4)
  if (to !== from) new Uint8Array(bytes.buffer).copyWithin(to, from, from + 4 * count)
  const words = new Uint32Array(bytes.buffer, to, count)
  for (let i = 0; i < count; i++) {
    const x = words[i] as number
    words[i] = (x << 24) | ((x & 0xff00) << 8) | ((x >>> 8) & 0xff00) | (x >>> 24)
  }
  return new Float32Array(bytes.buffer, to, count)
}

// ---------------------------------------------------------------- writing

const bitsOf: Readonly<Record<Numbers, number>> = { FLOAT: 0x2000, DOUBLE: 0x4000, HALF: 0x1000, BFLOAT16: 0x800 }

/** A vector, of rank 1 or, as older releases write it, of rank 2. */
export function writeArray(
  values: Float32Array,
  type: Numbers,
  rank = 1,
  dialect: Dialect = 'MIXED_DATA_TYPES'
): Uint8Array {
  const n = values.length
  const extras = dialect === 'MIXED_DATA_TYPES' ? bitsOf[type] : 0
  const facts = rank === 1 ? [1, n, 1, extras, 1, 99] : [2, 1, n, 1, 1, extras, 1, 99]
  const isShort = dialect === 'JAVACPP'
  const shape = new DataView(new ArrayBuffer((isShort ? 4 : 8) * facts.length))
  facts.forEach((x, i) => {
    if (isShort) shape.setInt32(4 * i, x)
    else shape.setBigInt64(8 * i, BigInt(x))
  })
  return concat([
    header(facts.length, isShort ? 'INT' : 'LONG', dialect),
    new Uint8Array(shape.buffer),
    header(n, type, dialect),
    elementsOf(values, type)
  ])
}

function header(count: number, type: string, dialect: Dialect): Uint8Array {
  const isShort = dialect === 'JAVACPP'
  const length = new DataView(new ArrayBuffer(isShort ? 4 : 8))
  if (isShort) length.setInt32(0, count)
  else length.setBigInt64(0, BigInt(count))
  return concat([utf(dialect), new Uint8Array(length.buffer), utf(type)])
}

function utf(text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text)
  return concat([Uint8Array.of(bytes.length >> 8, bytes.length & 255), bytes])
}

function elementsOf(values: Float32Array, type: Numbers): Uint8Array {
  const size = sizes[type] as number
  const view = new DataView(new ArrayBuffer(values.length * size))
  for (const [i, x] of values.entries()) {
    if (type === 'FLOAT') view.setFloat32(4 * i, x)
    else if (type === 'DOUBLE') view.setFloat64(8 * i, x)
    else
      view.setUint16(2 * i, type === 'HALF' ? toFloat16(x) : new DataView(Float32Array.of(x).buffer).getUint16(2, true))
  }
  return new Uint8Array(view.buffer)
}
