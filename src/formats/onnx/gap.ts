/**
 * Form `gap`: the distance from one non-zero element to the next. With few values, distance and value share a byte: of
 * G gaps and V = 256/G values, b < 256 − G means the value ⌊b/G⌋ after b mod G + 1 elements, the last G bytes skip
 * G·(b mod G + 1) elements. Otherwise a byte of distance, 255 at most, and a value; a longer one is filled with zeros
 * at distance 255. The running sums of distances are where ScatterElements puts the values into zeros; skips land on
 * zeros before the next value, so no place is met twice.
 */
import { toArray } from '../../base/bytes.ts'
import { bytesOf, elementCount, tensor, tensorOf, typedValues } from '../../ir/tensor.ts'
import type { DType, Tensor } from '../../types.ts'
import { oldest } from './digits.ts'
import { asBits, type Bits, elementsOf, likewise } from './elements.ts'
import { type Builder, type Encoding, type Find, indices, reshape, type Stored, shapeConstant } from './expand.ts'
import { countNonzero, cumulated, readValues, storeValues } from './sparse.ts'

/** Gaps that a shared byte can tell apart. */
const splits: readonly number[] = [8, 16, 32, 64]

/** Form `gap`. */
export const gap: Encoding = {
  form: 'gap',
  store(t) {
    const bits = elementsOf(t)
    if (typeof bits === 'string') return bits
    const nonzero = countNonzero(bits)
    if (nonzero === 0 || nonzero === bits.length) return 'it has no zeros, or nothing else'
    const values = fewValues(bits)
    const ways: Stored[] = []
    for (const gaps of splits) if (values && values.length < 256 / gaps) ways.push(storeShared(t, bits, values, gaps))
    ways.push(...storeApart(t, bits))
    const bounded = ways.filter((w) => isBounded(bits.length, w.bytes))
    return bounded.length > 0 ? bounded : 'it is nearly all zeros'
  },
  read: (find, id) => readShared(find, id) ?? readApart(find, id)
}

/** A file must not claim zeros without end: at most so many elements to a stored byte. */
const isBounded = (elements: number, bytes: number): boolean => elements <= 65536 + 256 * bytes

const mostShared = 31

/** The distinct non-zero elements, ascending as bits, where they are few. */
function fewValues(bits: Bits): number[] | undefined {
  const seen = new Set<number>()
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i] as number
    if (x === 0 || seen.has(x)) continue
    seen.add(x)
    if (seen.size > mostShared) return undefined
  }
  return [...seen].sort((a, b) => a - b)
}

/** Calls `visit` with the distance and the element of every non-zero one. */
function eachGap(bits: Bits, visit: (distance: number, value: number) => void): void {
  let last = -1
  for (let i = 0; i < bits.length; i++)
    if (bits[i] !== 0) {
      visit(i - last, bits[i] as number)
      last = i
    }
}

const scattered = (b: Builder, dtype: DType, shape: readonly number[], steps: string, values: string): string => {
  const zeros = b.node('ConstantOfShape', [shapeConstant(b, [elementCount(shape)])], {
    value: { kind: 'tensor', value: tensor(dtype, [1], [0]) }
  })
  const places = b.node('Sub', [cumulated(b, steps), b.constant(tensor('int32', [1], [1]))])
  return reshape(b, b.node('ScatterElements', [zeros, places, values], { axis: 0 }), shape)
}

// ---------------------------------------------------------------- distance and value in one byte

function storeShared(t: Tensor, bits: Bits, values: readonly number[], gaps: number): Stored {
  const codeOf = new Map(values.map((x, k) => [x, k] as const))
  const out: number[] = []
  const furthest = gaps * gaps
  eachGap(bits, (distance, value) => {
    let left = distance
    while (left > gaps) {
      const skip = Math.min(furthest, (Math.ceil(left / gaps) - 1) * gaps)
      out.push(256 - gaps + skip / gaps - 1)
      left -= skip
    }
    out.push((codeOf.get(value) as number) * gaps + left - 1)
  })
  const list = likewise(bits, 256 / gaps)
  list.set(values)
  return shared(t.shape, Uint8Array.from(out), tensorOf(t.dtype, [list.length, 1], bytesOf(list)), gaps)
}

function shared(shape: readonly number[], bytes: Uint8Array, values: Tensor, gaps: number): Stored {
  const rows = 256 / gaps
  return {
    bytes: bytes.length + values.bytes.length,
    nodes: 10,
    opset: oldest,
    build(b) {
      const run = indices(b, b.payload(tensorOf('uint8', [bytes.length], bytes)))
      const factors = Array.from({ length: rows }, (_, r) => (r === rows - 1 ? gaps : 1))
      const units = b.constant(tensor('int32', [rows, 1], factors))
      const counts = b.constant(
        tensor(
          'int32',
          [1, gaps],
          Array.from({ length: gaps }, (_, g) => g + 1)
        )
      )
      const distances = reshape(b, b.node('Mul', [units, counts]), [256])
      const spread = reshape(b, b.node('Expand', [b.payload(values), shapeConstant(b, [rows, gaps])]), [256])
      return scattered(b, values.dtype, shape, b.node('Gather', [distances, run]), b.node('Gather', [spread, run]))
    }
  }
}

const stepsPath = 'Reshape.0/ScatterElements.1/Sub.0/CumSum.0'
const valuesPath = 'Reshape.0/ScatterElements.2'

function readShared(find: Find, id: string): ReturnType<Encoding['read']> {
  const shape = find.shape(id, 'Reshape.1')
  const run = find.payload(id, `${stepsPath}/Gather.1/Cast.0`)
  const values = find.tensor(id, `${valuesPath}/Gather.0/Reshape.0/Expand.0`)
  const gaps = values && splits.find((g) => 256 / g === elementCount(values.shape))
  if (!shape || run?.dtype !== 'uint8' || !values || gaps === undefined) return undefined
  const count = elementCount(shape)
  if (typeof elementsOf(values) === 'string' || !isBounded(count, run.bytes.length + values.bytes.length))
    return undefined
  const list = asBits(typedValues(values))
  const out = likewise(list, count)
  const bytes = toArray(run.bytes)
  let at = -1
  for (const byte of bytes) {
    const isSkip = byte >= 256 - gaps
    at += ((byte % gaps) + 1) * (isSkip ? gaps : 1)
    if (at >= count) return undefined
    if (!isSkip) out[at] = list[Math.floor(byte / gaps)] as number
  }
  return { data: tensorOf(values.dtype, shape, bytesOf(out)), stored: shared(shape, bytes, values, gaps) }
}

// ---------------------------------------------------------------- distance and value apart

function storeApart(t: Tensor, bits: Bits): Stored[] {
  const distances: number[] = []
  const values: number[] = []
  eachGap(bits, (distance, value) => {
    let left = distance
    for (; left > 255; left -= 255) {
      distances.push(255)
      values.push(0)
    }
    distances.push(left)
    values.push(value)
  })
  const list = tensorOf(t.dtype, [values.length], bytesOf(likewise(bits, values)))
  return storeValues(list).map((way) => apart(t.shape, Uint8Array.from(distances), list.dtype, way))
}

function apart(shape: readonly number[], distances: Uint8Array, dtype: DType, values: Stored): Stored {
  return {
    bytes: distances.length + values.bytes,
    nodes: 6 + values.nodes,
    opset: values.opset,
    build(b) {
      const steps = indices(b, b.payload(tensorOf('uint8', [distances.length], distances)))
      return scattered(b, dtype, shape, steps, values.build(b))
    }
  }
}

function readApart(find: Find, id: string): ReturnType<Encoding['read']> {
  const shape = find.shape(id, 'Reshape.1')
  const run = find.payload(id, `${stepsPath}/Cast.0`)
  const values = run && readValues(find, find.at(id, valuesPath))
  if (!shape || run?.dtype !== 'uint8' || !values || typeof elementsOf(values.data) === 'string') return undefined
  const count = elementCount(shape)
  const distances = toArray(run.bytes)
  if (!isBounded(count, distances.length + values.stored.bytes) || elementCount(values.data.shape) !== distances.length)
    return undefined
  const list = asBits(typedValues(values.data))
  const out = likewise(list, count)
  let at = -1
  for (const [i, distance] of distances.entries()) {
    at += distance
    if (at < 0 || at >= count) return undefined
    if (list[i] !== 0) out[at] = list[i] as number
  }
  return {
    data: tensorOf(values.data.dtype, shape, bytesOf(out)),
    stored: apart(shape, distances, values.data.dtype, values.stored)
  }
}
