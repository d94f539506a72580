/**
 * Arithmetic on the contents of small vectors, as models do with shapes: on numbers as the element type would, on
 * symbols where it is exact. Symbols stand for sizes and are taken to be at least 0.
 */

import { addDims, divDims, mulDims, sameDim, subDims, unknownDim } from '../base/dim.ts'
import { greatest } from '../base/extremes.ts'
import { bitsOf, elementCount, isFloat, isInteger, rangeOf } from '../ir/tensor.ts'
import type { Dim, DType } from '../types.ts'
import { elementsOf, maxContent } from './op.ts'
import type { NodeView } from './types.ts'

export type DimFunction = (args: readonly Dim[], dtype: DType) => Dim

/** Element by element over all inputs, broadcast; `undefined` where one of several is not a known scalar or vector. */
export function contentOver(n: NodeView, f: DimFunction, inputs = n.inputs.length): readonly Dim[] | undefined {
  const all: (readonly Dim[])[] = []
  for (let i = 0; i < inputs; i++) {
    const elements = elementsOf(n, i)
    if (!elements || (inputs > 1 && (n.inputs[i]?.shape?.length ?? 2) > 1)) return undefined
    all.push(elements)
  }
  const length = all.some((a) => a.length === 0)
    ? 0
    : greatest(
        all.map((a) => a.length),
        0
      )
  if (length > maxContent) return undefined
  const dtype = n.inputs.at(-1)?.dtype ?? 'int64'
  return Array.from({ length }, (_, i) =>
    f(
      all.map((a) => a[a.length === 1 ? 0 : i] ?? unknownDim),
      dtype
    )
  )
}

/** A number rounded to the element type; unknown where it does not fit. */
export function inType(x: Dim, dtype: DType): Dim {
  if (typeof x === 'string') return x
  if (dtype === 'float32') return Math.fround(x)
  if (!isInteger(dtype)) return x
  if (!Number.isSafeInteger(x)) return unknownDim
  if (bitsOf(dtype) > 32) return dtype === 'uint64' && x < 0 ? unknownDim : x
  const { min, max } = rangeOf(dtype)
  return x >= min && x <= max ? x : unknownDim
}

const isSize = (d: Dim): boolean => (typeof d === 'number' ? d >= 0 : d !== unknownDim && !d.includes('-'))

/** Numbers by `f`, symbols by `g`, which sees whole numbers only. */
const arithmetic =
  (f: (a: number, b: number) => number, g: (a: Dim, b: Dim, dtype: DType) => Dim): DimFunction =>
  ([a = unknownDim, b = unknownDim], dtype) => {
    if (typeof a === 'number' && typeof b === 'number') return inType(f(a, b), dtype)
    if (typeof a === 'number' && !Number.isSafeInteger(a)) return unknownDim
    if (typeof b === 'number' && !Number.isSafeInteger(b)) return unknownDim
    return g(a, b, dtype)
  }

const numeric = (f: (a: number, b: number) => number): DimFunction => arithmetic(f, () => unknownDim)

function divide(a: Dim, b: Dim, dtype: DType): Dim {
  const quotient = divDims(a, b)
  const isExact = typeof quotient === 'number' || !quotient.includes('floor(')
  return isExact || (!isFloat(dtype) && isSize(a) && isSize(b)) ? quotient : unknownDim
}

function smaller(a: Dim, b: Dim): Dim {
  if (sameDim(a, b)) return a
  if (typeof a === 'number' && a <= 0 && isSize(b)) return a
  return typeof b === 'number' && b <= 0 && isSize(a) ? b : unknownDim
}

function larger(a: Dim, b: Dim): Dim {
  if (sameDim(a, b)) return a
  if (typeof a === 'number' && a <= 0 && isSize(b)) return b
  return typeof b === 'number' && b <= 0 && isSize(a) ? a : unknownDim
}

function equal(a: Dim, b: Dim): Dim {
  if (sameDim(a, b)) return 1
  if (typeof a === 'number' && a < 0 && isSize(b)) return 0
  return typeof b === 'number' && b < 0 && isSize(a) ? 0 : unknownDim
}

const truth = (x: boolean): number => (x ? 1 : 0)

/** What binary and variadic operators do to elements, by operator. */
export const binaryContent: Readonly<Record<string, DimFunction>> = {
  Add: arithmetic((a, b) => a + b, addDims),
  Sub: arithmetic((a, b) => a - b, subDims),
  Mul: arithmetic((a, b) => a * b, mulDims),
  Div: ([a = unknownDim, b = unknownDim], dtype) =>
    b === 0 ? unknownDim : arithmetic((x, y) => (isFloat(dtype) ? x / y : Math.trunc(x / y)), divide)([a, b], dtype),
  Mod: ([a = unknownDim, b = unknownDim], dtype) =>
    b === 0 || isFloat(dtype) ? unknownDim : numeric((x, y) => x - y * Math.floor(x / y))([a, b], dtype),
  Pow: ([a = unknownDim, b = unknownDim], dtype) =>
    isInteger(dtype) ? numeric((x, y) => x ** y)([a, b], dtype) : unknownDim,
  Equal: (args) => arithmetic((a, b) => truth(a === b), equal)(args, 'bool'),
  Greater: (args) => numeric((a, b) => truth(a > b))(args, 'bool'),
  GreaterOrEqual: (args) => numeric((a, b) => truth(a >= b))(args, 'bool'),
  Less: (args) => numeric((a, b) => truth(a < b))(args, 'bool'),
  LessOrEqual: (args) => numeric((a, b) => truth(a <= b))(args, 'bool'),
  And: ([a, b]) => (a === 0 || b === 0 ? 0 : a === 1 && b === 1 ? 1 : unknownDim),
  Or: ([a, b]) => (a === 1 || b === 1 ? 1 : a === 0 && b === 0 ? 0 : unknownDim),
  Xor: (args) => numeric((a, b) => truth(a !== b))(args, 'bool'),
  Min: (args, dtype) => args.reduce((a, b) => arithmetic(Math.min, smaller)([a, b], dtype)),
  Max: (args, dtype) => args.reduce((a, b) => arithmetic(Math.max, larger)([a, b], dtype)),
  Sum: (args, dtype) => args.reduce((a, b) => arithmetic((x, y) => x + y, addDims)([a, b], dtype))
}

const whole =
  (f: (x: number) => number): DimFunction =>
  ([a = unknownDim], dtype) =>
    typeof a === 'number' ? inType(f(a), dtype) : isFloat(dtype) ? a : unknownDim

/** What unary operators do to elements, by operator. A symbol is a whole number. */
export const unaryContent: Readonly<Record<string, DimFunction>> = {
  Neg: ([a = unknownDim], dtype) =>
    arithmetic(
      (x) => -x,
      (x) => mulDims(x, -1)
    )([a, 1], dtype),
  Abs: ([a = unknownDim]) => (typeof a === 'number' ? Math.abs(a) : isSize(a) ? a : unknownDim),
  Floor: whole(Math.floor),
  Ceil: whole(Math.ceil),
  Not: ([a]) => (a === 0 ? 1 : a === 1 ? 0 : unknownDim)
}

const isFixed = (shape: readonly Dim[] | undefined): shape is readonly number[] =>
  shape?.every((d) => typeof d === 'number') ?? false

/** Elements at some positions along one axis of a row-major content; `undefined` where the shape is not fixed. */
export function pickAlong(
  content: readonly Dim[],
  shape: readonly Dim[] | undefined,
  axis: number,
  positions: readonly number[]
): readonly Dim[] | undefined {
  if (!isFixed(shape)) return undefined
  const size = shape[axis] ?? 1
  const inner = elementCount(shape.slice(axis + 1))
  const outer = elementCount(shape.slice(0, axis))
  const count = outer * positions.length * inner
  if (count === 0 || count > maxContent) return count === 0 ? [] : undefined
  const out: Dim[] = []
  for (let o = 0; o < outer; o++)
    for (const p of positions)
      for (let k = 0; k < inner; k++) out.push(content[(o * size + p) * inner + k] ?? unknownDim)
  return out
}

/** A row-major content with its axes permuted. */
export function permuted(
  content: readonly Dim[],
  shape: readonly Dim[] | undefined,
  perm: readonly number[]
): readonly Dim[] | undefined {
  if (!isFixed(shape) || elementCount(shape) !== content.length) return undefined
  const strides = shape.map((_, i) => elementCount(shape.slice(i + 1)))
  let offsets = [0]
  for (const a of perm)
    offsets = offsets.flatMap((from) => Array.from({ length: shape[a] ?? 1 }, (_, i) => from + i * (strides[a] ?? 1)))
  return offsets.map((i) => content[i] as Dim)
}
