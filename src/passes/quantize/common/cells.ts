/**
 * Integer codes of weights with one scale, and maybe a zero point, per cell of a tensor. A cell is all of a tensor, a
 * channel, or a block of elements in line along an axis (ONNX DequantizeLinear, opset 21). Tensors are read in parts of
 * 16 MB.
 */
import { part, toArray } from '../../../base/bytes.ts'
import { assert, PareError } from '../../../base/errors.ts'
import { byteLength, elementCount, pack, tensor, tensorOf, toFloats } from '../../../ir/tensor.ts'
import type { Tensor } from '../../../types.ts'
import { balance } from './balance.ts'
import { type Codes, type Fit, leastSquares, rounder, type Scales, type ScaleType } from './fit.ts'

/** How a tensor divides into cells. `axis` absent: one cell. `block`: elements along the axis that share a cell. */
export interface Division {
  readonly axis?: number
  readonly block?: number
}

/** Cells of a shape: cell c holds the elements `base + i·s1 + j·s2`, i < n1, j < n2. */
export interface Layout {
  readonly count: number
  /** Shape of the scales. */
  readonly shape: readonly number[]
  cell(c: number): Cell
  /** The cell of an element. */
  of(element: number): number
}

interface Cell {
  readonly base: number
  readonly n1: number
  readonly s1: number
  readonly n2: number
  readonly s2: number
}

/** The cells of a tensor of this shape. */
export function layoutOf(shape: readonly number[], { axis, block }: Division): Layout {
  const n = elementCount(shape)
  if (axis === undefined)
    return { count: 1, shape: [], cell: () => ({ base: 0, n1: 1, s1: 0, n2: n, s2: 1 }), of: () => 0 }
  assert(axis >= 0 && axis < shape.length, `axis ${axis} of shape [${shape}]`)
  const size = shape[axis] as number
  const inner = elementCount(shape.slice(axis + 1))
  if (block === undefined) {
    const outer = n / (size * inner)
    return {
      count: size,
      shape: [size],
      cell: (c) => ({ base: c * inner, n1: outer, s1: size * inner, n2: inner, s2: 1 }),
      of: (i) => Math.floor(i / inner) % size
    }
  }
  const blocks = Math.ceil(size / block)
  const divided = shape.map((d, i) => (i === axis ? blocks : d))
  return {
    count: elementCount(divided),
    shape: divided,
    cell: (c) => {
      const b = Math.floor(c / inner) % blocks
      const outer = Math.floor(c / (inner * blocks))
      const base = (outer * size + b * block) * inner + (c % inner)
      return { base, n1: 1, s1: 0, n2: Math.min(block, size - b * block), s2: inner }
    },
    of: (i) => {
      const a = Math.floor(i / inner) % size
      return (Math.floor(i / (inner * size)) * blocks + Math.floor(a / block)) * inner + (i % inner)
    }
  }
}

export interface Encoded {
  readonly codes: Tensor
  /** The scales are of the tensor's own type. */
  readonly scales: Tensor
  /** Absent where all are 0. */
  readonly zeros?: Tensor
}

const partElements = 4 * 1024 * 1024
/** Scales of channels that do not lie in one piece are sought over so many elements of a tensor. */
const sampleElements = 16 * 1024 * 1024

/**
 * Encodes a tensor of float32 or float16, to the nearest codes, or with `kernel` (elements in line that see the same input
 * channel) to balanced ones. Throws `E_MODEL` that names the tensor where a value is not finite.
 */
export function encodeCells(
  t: Tensor,
  division: Division,
  codes: Codes,
  name: string,
  find: Fit = leastSquares,
  kernel?: number
): Encoded {
  const scales = fitCells(t, division, codes, find)
  return encodeWith(t, division, codes, scales, name, kernel)
}

/** Scale and zero point of every cell of a tensor. */
export function fitCells(t: Tensor, division: Division, codes: Codes, find: Fit = leastSquares): Scales {
  const { count } = layoutOf(t.shape, division)
  const out = { scales: new Float64Array(count), zeros: new Float64Array(count) }
  const dtype = scaleTypeOf(t)
  const isSplit = isSplittable(t.shape, division)
  const parts = isSplit ? partsOf(t, division) : [sampleOf(t)]
  for (const p of parts) {
    const layout = layoutOf(p.tensor.shape, division)
    const values = toFloats(p.tensor)
    for (let c = 0; c < layout.count; c++) find(members(values, layout.cell(c)), codes, dtype, out, p.cell + c)
  }
  return out
}

/** Encodes under given scales. */
export function encodeWith(
  t: Tensor,
  division: Division,
  codes: Codes,
  s: Scales,
  name: string,
  kernel?: number
): Encoded {
  const all = new Uint8Array(elementCount(t.shape))
  const isSplit = isSplittable(t.shape, division)
  let at = 0
  for (const p of partsOf(t, division)) {
    const layout = layoutOf(p.tensor.shape, division)
    const values = toFloats(p.tensor)
    const into = all.subarray(at, at + values.length)
    let check = 0
    for (let c = 0; c < layout.count; c++) {
      const k = isSplit ? p.cell + c : c
      const [cell, scale, zero] = [layout.cell(c), s.scales[k] as number, s.zeros[k] as number]
      check += encodeCell(values, cell, codes, scale, zero, into)
      if (kernel !== undefined) balanceCell(values, cell, codes, scale, zero, into, kernel)
    }
    if (check !== 0) throw notFinite(name)
    at += values.length
  }
  return encodedOf(all, t, division, codes, s)
}

/** What codes, one a byte, and scales are as constants. */
export function encodedOf(all: Uint8Array, t: Tensor, division: Division, codes: Codes, s: Scales): Encoded {
  const { shape } = layoutOf(t.shape, division)
  const bits = Number(codes.dtype.replace(/\D+/, ''))
  const scales = tensor(scaleTypeOf(t), shape, s.scales)
  return {
    codes: tensorOf(codes.dtype, t.shape, bits === 8 ? all : pack(all, bits)),
    scales,
    ...(codes.hasZero ? { zeros: tensor(codes.dtype, shape, s.zeros) } : {})
  }
}

/** Bytes that codes, scales and zero points take. */
export function encodedBytes(shape: readonly number[], division: Division, codes: Codes, dtype: ScaleType): number {
  const { count } = layoutOf(shape, division)
  const zeros = codes.hasZero ? byteLength(codes.dtype, count) : 0
  return byteLength(codes.dtype, elementCount(shape)) + byteLength(dtype, count) + zeros
}

export const scaleTypeOf = (t: Tensor): ScaleType => (t.dtype === 'float16' ? 'float16' : 'float32')

export function notFinite(name: string): PareError {
  return new PareError('E_MODEL', `weight ${name} has values that are not finite (NaN or infinity)`, {
    where: name,
    hint: 'the model is broken: export it again'
  })
}

// ---------------------------------------------------------------- parts

/** Do the cells lie in pieces of the first axis, so that one piece after the other can be worked on? */
const isSplittable = (shape: readonly number[], { axis, block }: Division): boolean =>
  axis !== undefined && (block !== undefined || axis === 0) && shape.length > 0

interface Part {
  readonly tensor: Tensor
  /** Index of its first cell. */
  readonly cell: number
}

/** Read one at a time. */
function* partsOf(t: Tensor, division: Division): Generator<Part> {
  if (t.shape.length === 0) return yield { tensor: t, cell: 0 }
  const rows = t.shape[0] ?? 1
  const perRow = Math.max(1, elementCount(t.shape) / Math.max(1, rows))
  const unit = division.axis === 0 ? (division.block ?? 1) : 1
  const step = Math.max(unit, Math.floor(partElements / perRow / unit) * unit)
  for (let from = 0; from < rows; from += step) {
    const to = Math.min(rows, from + step)
    const before = layoutOf([from, ...t.shape.slice(1)], division)
    yield { tensor: rowsOf(t, from, to), cell: division.axis === undefined ? 0 : before.count }
  }
}

function rowsOf(t: Tensor, from: number, to: number): Tensor {
  const shape = [to - from, ...t.shape.slice(1)]
  const perRow = elementCount(t.shape.slice(1)) * (t.dtype === 'float16' ? 2 : 4)
  return { dtype: t.dtype, shape, bytes: toArray(part(t.bytes, from * perRow, to * perRow)) }
}

/** Evenly spaced rows of a large tensor, all of a smaller one. */
function sampleOf(t: Tensor): Part {
  const rows = t.shape[0] ?? 1
  const perRow = elementCount(t.shape.slice(1))
  const n = Math.max(1, Math.min(rows, Math.floor(sampleElements / perRow)))
  if (n >= rows) return { tensor: t, cell: 0 }
  const size = perRow * (t.dtype === 'float16' ? 2 : 4)
  const bytes = new Uint8Array(n * size)
  for (let i = 0; i < n; i++) {
    const row = Math.floor((i * rows) / n)
    bytes.set(toArray(part(t.bytes, row * size, (row + 1) * size)), i * size)
  }
  return { tensor: { dtype: t.dtype, shape: [n, ...t.shape.slice(1)], bytes }, cell: 0 }
}

/** Values of a cell, one after the other. */
function members(values: Float32Array, { base, n1, s1, n2, s2 }: Cell): Float32Array {
  if (n1 === 1 && s2 === 1) return values.subarray(base, base + n2)
  const out = new Float32Array(n1 * n2)
  let at = 0
  for (let i = 0; i < n1; i++)
    for (let j = 0, from = base + i * s1; j < n2; j++, from += s2) out[at++] = values[from] as number
  return out
}

/** Writes the codes of a cell; the sum is 0 unless a value is not finite. */
function encodeCell(
  values: Float32Array,
  { base, n1, s1, n2, s2 }: Cell,
  { low, high }: Codes,
  s: number,
  z: number,
  into: Uint8Array
): number {
  let check = 0
  for (let i = 0; i < n1; i++)
    for (let j = 0, at = base + i * s1; j < n2; j++, at += s2) {
      const x = values[at] as number
      into[at] = Math.min(high, Math.max(low, x / s + rounder - rounder + z))
      check += x - x
    }
  return check
}

function balanceCell(
  values: Float32Array,
  { base, n1, s1, n2, s2 }: Cell,
  { low, high }: Codes,
  s: number,
  z: number,
  into: Uint8Array,
  kernel: number
): void {
  const codes = new Int16Array(n1 * n2)
  const exact = new Float64Array(n1 * n2)
  for (let i = 0, k = 0; i < n1; i++)
    for (let j = 0, at = base + i * s1; j < n2; j++, k++, at += s2) {
      const code = into[at] as number
      codes[k] = low < 0 ? (code << 24) >> 24 : code
      exact[k] = (values[at] as number) / s + z
    }
  balance({ codes, exact, low, high }, kernel)
  for (let i = 0, k = 0; i < n1; i++)
    for (let j = 0, at = base + i * s1; j < n2; j++, k++, at += s2) into[at] = codes[k] as number
}
