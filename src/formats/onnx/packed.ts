/**
 * Form `foldable` of integers of 4 and 2 bits: their own bytes, unpacked by a table of the digits of every byte, which
 * needs no runtime that computes with such types. Signed types take the values of their codes from a list (0 … 7, −8 … −1).
 */
import { toArray } from '../../base/bytes.ts'
import { bitsOf, elementCount, equalTensors, tensor, tensorOf } from '../../ir/tensor.ts'
import type { DType, Tensor } from '../../types.ts'
import { digitTable, oldest, radixOf } from './digits.ts'
import { castTo, type Encoding, type Stored } from './expand.ts'
import { unpacked, unpackedRows } from './palette.ts'

/** Integers of less than a byte. */
export const packedTypes: readonly DType[] = ['int4', 'uint4', 'int2', 'uint2']

/** Form `foldable` of sub-byte integers; whole bytes need no expansion. */
export const packed: Encoding = {
  form: 'foldable',
  store: (t) => {
    if (!packedTypes.includes(t.dtype)) return `${t.dtype} is not packed`
    return elementCount(t.shape) === 0 ? 'it is empty' : [storePacked(t)]
  },
  read(find, id) {
    const shape = find.shape(id, 'Reshape.1')
    const run = find.payload(id, `${unpackedRows}.1/Cast.0`)
    const table = find.at(id, `${unpackedRows}.0`)
    if (!shape || run?.dtype !== 'uint8' || table === undefined) return undefined
    const list = find.tensor(table, 'Gather.0')
    const radix = radixOf(find, find.at(table, list ? 'Gather.1' : 'Cast.0'))
    const dtype = packedTypes.find((d) => 2 ** bitsOf(d) === radix && (list ? isList(list, d) : d.startsWith('u')))
    if (!dtype || run.bytes.length !== Math.ceil((elementCount(shape) * bitsOf(dtype)) / 8)) return undefined
    if (!find.isOnlyReadBy(id, 'Cast')) return undefined
    const data = tensorOf(dtype, shape, run.bytes)
    return { data, stored: storePacked(data) }
  }
}

const isList = (list: Tensor, dtype: DType): boolean => !dtype.startsWith('u') && equalTensors(list, listOf(dtype))

/** Values of the codes of a signed type. */
function listOf(dtype: DType): Tensor {
  const count = 2 ** bitsOf(dtype)
  return tensor(
    'int8',
    [count],
    Array.from({ length: count }, (_, c) => (c < count / 2 ? c : c - count))
  )
}

function storePacked(t: Tensor): Stored {
  return {
    bytes: t.bytes.length,
    nodes: 3,
    opset: oldest,
    build(b) {
      const digits = digitTable(b, 2 ** bitsOf(t.dtype))
      const isSigned = !t.dtype.startsWith('u')
      const values = isSigned ? b.node('Gather', [b.constant(listOf(t.dtype)), digits]) : castTo(b, digits, 'uint8')
      return unpacked(b, values, toArray(t.bytes), 2 ** bitsOf(t.dtype), t.shape)
    }
  }
}
