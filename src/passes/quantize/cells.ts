/**
 * Integer codes of weights with one scale, and maybe a zero point, per cell of a tensor: w ≈ (q − z)·s, q in low … high.
 * A cell is all of a tensor, a channel, or a block of elements in line along an axis (ONNX DequantizeLinear, opset 21).
 * Scales start from the extremes of a cell; the least squared error is sought over narrower ranges, then by turns over
 * codes and scale: s = Σ w(q − z) / Σ (q − z)², which never makes it worse. Tensors are read in parts of 16 MB.
 */
import { part, toArray } from '../../base/bytes.ts'
import { assert, PareError } from '../../base/errors.ts'
import { byteLength, elementCount, pack, tensor, tensorOf, toFloats } from '../../ir/tensor.ts'
import type { DType, Tensor } from '../../types.ts'
import { balance } from './balance.ts'
import { storedScale } from './codes.ts'

/** Range of codes. With `hasZero` a cell has a zero point of its own; otherwise it is 0. */
export interface Codes {
  readonly dtype: DType
  readonly low: number
  readonly high: number
  readonly hasZero: boolean
}

/** The codes of a number of bits: all of them with a zero point or below 8 bits, −127 … 127 otherwise. */
export function codesOf(bits: 2 | 4 | 8, isSymmetric: boolean): Codes {
  const half = 2 ** (bits - 1)
  if (!isSymmetric) return { dtype: `uint${bits}`, low: 0, high: 2 * half - 1, hasZero: true }
  return { dtype: `int${bits}`, low: bits === 8 ? -127 : -half, high: half - 1, hasZero: false }
}

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

/** Scale and zero point of every cell. */
export interface Scales {
  readonly scales: Float64Array
  readonly zeros: Float64Array
}

/** Finds scale and zero point of a cell's values and puts them at `c`. */
export type Fit = (values: Float32Array, codes: Codes, dtype: ScaleType, into: Scales, c: number) => void

export type ScaleType = 'float32' | 'float16'

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

/** Adding and taking away 1.5·2^52 rounds half to even. */
const rounder = 6755399441055744

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

// ---------------------------------------------------------------- scales

/** Scale (and zero point) that just hold all values. */
export const extremes: Fit = (values, codes, dtype, into, c) => {
  const [min, max] = rangeOf(values)
  const [s, z] = min === 0 && max === 0 ? [1, 0] : (candidates(min, max, codes, dtype)[0] as readonly [number, number])
  into.scales[c] = s
  into.zeros[c] = z
}

/** Least and greatest value, or 0. */
function rangeOf(values: Float32Array): readonly [number, number] {
  let [min, max] = [0, 0]
  for (let i = 0; i < values.length; i++) {
    const x = values[i] as number
    if (x < min) min = x
    if (x > max) max = x
  }
  return [min, max]
}

/** Where the best range is looked for, as shares of the whole range of a cell. */
const shares = (bits: number): readonly number[] => {
  const from = bits >= 8 ? 0.75 : 0.4
  const n = 26
  return Array.from({ length: n }, (_, i) => from + ((1.05 - from) * i) / (n - 1))
}
const sharesOf8 = shares(8)
const sharesOf4 = shares(4)

/** Scale (and zero point) of least squared error. */
export const leastSquares: Fit = (values, codes, dtype, into, c) => {
  const [min, max] = rangeOf(values)
  const best = { s: 1, z: codes.hasZero ? middle(codes) : 0, error: Number.POSITIVE_INFINITY }
  if (min !== 0 || max !== 0) {
    for (const share of codes.high > 15 ? sharesOf8 : sharesOf4)
      for (const [s, z] of candidates(min * share, max * share, codes, dtype)) consider(values, codes, s, z, best)
    for (let turn = 0; turn < 3; turn++) {
      const s = refitted(values, codes, best.s, best.z)
      if (!consider(values, codes, stored(s, dtype), best.z, best)) break
    }
  }
  into.scales[c] = best.s
  into.zeros[c] = best.z
}

const middle = ({ low, high }: Codes): number => Math.ceil((low + high) / 2)

/** A scale as stored, of either sign. */
export const stored = (s: number, dtype: ScaleType): number => (s < 0 ? -storedScale(-s, dtype) : storedScale(s, dtype))

/** Scales, with their zero points, that a range suggests. Without a zero point the larger side may be either. */
function candidates(
  min: number,
  max: number,
  { low, high, hasZero }: Codes,
  dtype: ScaleType
): (readonly [number, number])[] {
  if (hasZero) {
    const s = stored((max - min) / (high - low), dtype)
    const z = Math.min(high, Math.max(low, Math.round(low - min / s)))
    return [[s, z]]
  }
  const peak = Math.max(-min, max)
  if (low === -high) return [[stored(peak / high, dtype), 0]]
  const s = stored(peak / (high + 0.5), dtype)
  return [
    [s, 0],
    [-s, 0]
  ]
}

interface Best {
  s: number
  z: number
  error: number
}

function consider(values: Float32Array, codes: Codes, s: number, z: number, best: Best): boolean {
  const error = squaredError(values, codes, s, z, best.error)
  if (error >= best.error) return false
  best.s = s
  best.z = z
  best.error = error
  return true
}

/** Stops early, with a sum above `limit`. */
function squaredError(values: Float32Array, { low, high }: Codes, s: number, z: number, limit: number): number {
  const [bottom, top] = [low - z, high - z]
  const inverse = 1 / s
  let sum = 0
  for (let from = 0; from < values.length && sum < limit; from += 256) {
    const to = Math.min(values.length, from + 256)
    for (let i = from; i < to; i++) {
      const x = values[i] as number
      const q = x * inverse + rounder - rounder
      const e = x - Math.min(top, Math.max(bottom, q)) * s
      sum += e * e
    }
  }
  return sum
}

/** The best scale for the codes that `s` gives. */
function refitted(values: Float32Array, { low, high }: Codes, s: number, z: number): number {
  let [up, down] = [0, 0]
  for (let i = 0; i < values.length; i++) {
    const x = values[i] as number
    const q = Math.min(high - z, Math.max(low - z, x / s + rounder - rounder))
    up += x * q
    down += q * q
  }
  return down > 0 && up !== 0 ? up / down : s
}
