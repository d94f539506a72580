/**
 * Form `palette`: a constant of few distinct values is stored as their list, the codebook, and a code per element
 * (digits.ts). One codebook for the tensor, or one per index of the first or last axis, stored in float16 where that
 * holds its values. The codebook is read off the values: the form loses nothing.
 */
import { fromFloat16 } from '../../base/float.ts'
import { byteLength, bytesOf, elementCount, tensorOf, typedValues } from '../../ir/tensor.ts'
import type { DType, Tensor } from '../../types.ts'
import { type Books, Coder, codebooksOf } from './codebooks.ts'
import {
  buildCodes,
  digitsPerByte,
  digitTable,
  packPlanes,
  planeBytes,
  planesFor,
  planesOpset,
  radixOf,
  readCodes,
  unpackPlanes
} from './digits.ts'
import { asBits, asHalf, type Bits, elementsOf, likewise } from './elements.ts'
import { type Builder, castTo, type Encoding, type Find, first, indices, reshape, type Stored } from './expand.ts'

/** Most values of one codebook per tensor: what a byte can tell apart. */
const mostValues = 256
/** The same per channel: a code costs about as many bits as a value's index. */
const mostPerChannel = 64

/** Form `palette`. */
export const palette: Encoding = {
  form: 'palette',
  store(t) {
    const bits = elementsOf(t)
    if (typeof bits === 'string') return bits
    const out = storePerTensor(t, bits)
    for (const axis of t.shape.length > 1 ? [0, t.shape.length - 1] : []) {
      const isWorth = isWorthwhile(t, axis, out[0])
      const books = isWorth ? codebooksOf(t.shape, t.dtype, bits, axis, mostPerChannel) : undefined
      if (books) for (const planes of choicesFor(books.size)) out.push(perChannel(t, books, planes))
    }
    return out.length > 0 ? out : `it has more than ${mostValues} distinct values`
  },
  read: (find, id) => readPerTensor(find, id) ?? readPerChannel(find, id)
}

/** With one codebook; none where that is too large. */
export function storePerTensor(t: Tensor, bits: Bits): Stored[] {
  const coder = new Coder(bits, t.dtype)
  const book = coder.code({ from: 0, to: bits.length, step: 1 }, mostValues)
  return book ? choicesFor(book.length).map((planes) => perTensor(t, book, coder.codes, planes)) : []
}

// ---------------------------------------------------------------- ways to choose from

/** The densest planes; and fewer nodes, for small tensors and old opsets. */
function choicesFor(levels: number): (readonly number[])[] {
  const dense = planesFor(levels)
  if (dense.length < 2) return [dense]
  return levels <= 16 ? [dense, [16]] : [dense, []]
}

/** Could codebooks per channel take fewer bytes than what there is? At least a bit per element and two values each. */
function isWorthwhile(t: Tensor, axis: number, known: Stored | undefined): boolean {
  const n = elementCount(t.shape)
  const channels = t.shape[axis] as number
  if (channels === 0 || n / channels < 4) return false
  return n / 8 + channels * 4 < (known?.bytes ?? byteLength(t.dtype, n))
}

// ---------------------------------------------------------------- one codebook

/** In one plane the codebook is filled up, so that every byte has a value. */
function perTensor(t: Tensor, book: readonly number[], codes: Uint8Array, planes: readonly number[]): Stored {
  const last = book.at(-1) as number
  const size = planes.length === 1 ? (planes[0] as number) : book.length
  const like = elementsOf(t) as Bits
  const filled = likewise(like, [...book, ...Array<number>(size - book.length).fill(last)])
  return tensorWise(t.shape, tensorOf(t.dtype, [size], bytesOf(filled)), planes, codes)
}

function tensorWise(shape: readonly number[], book: Tensor, planes: readonly number[], codes: Uint8Array): Stored {
  return {
    bytes: planeBytes(planes, codes.length) + book.bytes.length,
    opset: planesOpset(planes),
    nodes: planes.length === 0 ? 2 : planes.length === 1 ? 4 : 3 + 4 * planes.length,
    build(b) {
      const values = b.payload(book)
      if (planes.length === 0) return b.node('Gather', [values, indices(b, b.payload(tensorOf('uint8', shape, codes)))])
      const runs = packPlanes(codes, planes)
      if (planes.length > 1)
        return b.node('Gather', [values, indices(b, reshape(b, buildCodes(b, runs, planes, codes.length), shape))])
      const [radix = 2, [run = new Uint8Array()]] = [planes[0], runs]
      const digits = b.node('Gather', [values, digitTable(b, radix)])
      return unpacked(b, digits, run, radix, shape)
    }
  }
}

/** Gathers rows of a table [256, p] by bytes and shapes them. */
export function unpacked(b: Builder, digits: string, run: Uint8Array, radix: number, shape: readonly number[]): string {
  const rows = b.node('Gather', [digits, indices(b, b.payload(tensorOf('uint8', [run.length], run)))])
  const count = elementCount(shape)
  const isWhole = run.length * digitsPerByte(radix) === count
  return reshape(b, isWhole ? rows : first(b, reshape(b, rows, [-1]), count), shape)
}

/** Where `unpacked` has its table and its bytes. */
export const unpackedRows = 'Reshape.0/Slice?.0/Reshape?.0/Gather'

function readPerTensor(find: Find, id: string): ReturnType<Encoding['read']> {
  const direct = readBytes(find, id)
  if (direct) return direct
  const single = readSingle(find, id)
  if (single) return single
  const book = find.tensor(id, 'Gather.0')
  const shape = find.shape(id, 'Gather.1/Cast.0/Reshape.1')
  const found = shape && book && readCodes(find, find.at(id, 'Gather.1/Cast.0/Reshape.0'), elementCount(shape))
  return found && book && shape ? decoded(shape, book, found.planes, found.codes) : undefined
}

function readBytes(find: Find, id: string): ReturnType<Encoding['read']> {
  const [book, codes] = [find.tensor(id, 'Gather.0'), find.payload(id, 'Gather.1/Cast.0')]
  if (codes?.dtype !== 'uint8' || !book) return undefined
  return decoded(codes.shape, book, [], codes.bytes.slice())
}

function readSingle(find: Find, id: string): ReturnType<Encoding['read']> {
  const shape = find.shape(id, 'Reshape.1')
  const book = find.tensor(id, `${unpackedRows}.0/Gather.0`)
  const radix = radixOf(find, find.at(id, `${unpackedRows}.0/Gather.1`))
  const run = find.payload(id, `${unpackedRows}.1/Cast.0`)
  if (!shape || !book || radix === undefined || run?.dtype !== 'uint8') return undefined
  const count = elementCount(shape)
  if (run.bytes.length * digitsPerByte(radix) < count) return undefined
  return decoded(shape, book, [radix], unpackPlanes([run.bytes.slice()], [radix], count))
}

function decoded(
  shape: readonly number[],
  book: Tensor,
  planes: readonly number[],
  codes: Uint8Array
): ReturnType<Encoding['read']> {
  const values = elementsOf(book)
  if (typeof values === 'string' || book.shape.length !== 1) return undefined
  const made = likewise(values, codes.length)
  for (let i = 0; i < codes.length; i++) made[i] = values[codes[i] as number] ?? 0
  return { data: tensorOf(book.dtype, shape, bytesOf(made)), stored: tensorWise(shape, book, planes, codes) }
}

// ---------------------------------------------------------------- codebooks per channel

function perChannel(t: Tensor, { axis, size, books, codes }: Books, planes: readonly number[]): Stored {
  const channels = t.shape[axis] as number
  const all = tensorOf(t.dtype, axis === 0 ? [channels, size] : [size, channels], bytesOf(books))
  return channelWise(t.shape, asHalf(all) ?? all, t.dtype, axis, planes, codes)
}

function channelWise(
  shape: readonly number[],
  books: Tensor,
  dtype: DType,
  axis: number,
  planes: readonly number[],
  codes: Uint8Array
): Stored {
  const [channels, count] = [shape[axis] as number, codes.length]
  const flat = axis === 0 ? [channels, count / channels] : [count / channels, channels]
  return {
    bytes: planeBytes(planes, count) + books.bytes.length,
    opset: planesOpset(planes),
    nodes: 3 + 4 * planes.length + (books.dtype === dtype ? 0 : 1),
    build(b) {
      const stored = b.payload(books)
      const values = books.dtype === dtype ? stored : castTo(b, stored, dtype)
      const places =
        planes.length === 0
          ? b.payload(tensorOf('uint8', flat, codes))
          : reshape(b, buildCodes(b, packPlanes(codes, planes), planes, count), flat)
      return reshape(b, b.node('GatherElements', [values, indices(b, places)], { axis: axis === 0 ? 1 : 0 }), shape)
    }
  }
}

function readPerChannel(find: Find, id: string): ReturnType<Encoding['read']> {
  const shape = find.shape(id, 'Reshape.1')
  const inner = find.at(id, 'Reshape.0')
  const node = find.maker(inner)
  const books = find.tensor(inner, 'GatherElements.0/Cast?.0')
  if (!shape?.length || !books || books.shape.length !== 2 || node?.op !== 'GatherElements') return undefined
  const axis = node.attrs['axis']?.value === 1 ? 0 : shape.length - 1
  const count = elementCount(shape)
  const bytes = find.payload(inner, 'GatherElements.1/Cast.0')
  const found =
    bytes?.dtype === 'uint8' && bytes.bytes.length === count
      ? { codes: bytes.bytes.slice(), planes: [] }
      : readCodes(find, find.at(inner, 'GatherElements.1/Cast.0/Reshape.0'), count)
  const channels = shape[axis] as number
  if (!found || books.shape[axis === 0 ? 0 : 1] !== channels || typeof elementsOf(books) === 'string') return undefined
  const isHalf = find.maker(find.at(inner, 'GatherElements.0'))?.op === 'Cast'
  const dtype = isHalf ? 'float32' : books.dtype
  const wide = isHalf ? Float32Array.from(typedValues(books) as Uint16Array, fromFloat16) : typedValues(books)
  const values = asBits(wide)
  const made = likewise(values, count)
  const size = values.length / channels
  const run = count / channels
  for (let i = 0; i < count; i++) {
    const code = found.codes[i] as number
    made[i] = values[axis === 0 ? Math.floor(i / run) * size + code : code * channels + (i % channels)] ?? 0
  }
  return {
    data: tensorOf(dtype, shape, bytesOf(made)),
    stored: channelWise(shape, books, dtype, axis, found.planes, found.codes)
  }
}
