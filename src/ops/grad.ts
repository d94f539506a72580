/** What gradient rules share: arithmetic on values of a training graph, and the moves that undo broadcasting and cutting. */
import { assert } from '../base/errors.ts'
import { elementCount, scalar, tensor } from '../ir/tensor.ts'
import type { DType } from '../types.ts'
import type { Grad, GradBuilder, NodeView, Ref } from './types.ts'

/** A value, or a number that becomes a scalar of the other operand's type. */
export type Term = Ref | number

const binary = ['Add', 'Sub', 'Mul', 'Div', 'Pow', 'Max', 'Min', 'Equal', 'Less', 'Greater', 'And'] as const
const unary = ['Neg', 'Exp', 'Log', 'Sqrt', 'Abs', 'Sign', 'Tanh', 'Sigmoid', 'Erf', 'Sin', 'Cos', 'Not'] as const
type Named<Names extends readonly string[], F> = Readonly<Record<Uncapitalize<Names[number]>, F>>

/** Operators by name, on values and numbers. */
export type Algebra = Named<typeof binary, (a: Term, b: Term) => Ref> & Named<typeof unary, (a: Ref) => Ref>

/** Short names for element-wise operators: `a.mul(dy, a.sub(1, y))`. */
export function algebra(g: GradBuilder): Algebra {
  const lift = (t: Term, like: Term): Ref => {
    if (typeof t !== 'number') return t
    assert(typeof like !== 'number', 'arithmetic on two numbers')
    return constantLike(g, like, t)
  }
  const named = (op: string): string => op.charAt(0).toLowerCase() + op.slice(1)
  return Object.fromEntries([
    ...binary.map((op) => [named(op), (a: Term, b: Term): Ref => g.op(op, [lift(a, b), lift(b, a)])]),
    ...unary.map((op) => [named(op), (a: Ref): Ref => g.op(op, [a])])
  ]) as Algebra
}

/**
 * A number of a value's type, to be broadcast with it. ONNX Runtime takes ten times as long for that where the value's shape
 * ends in 1 and the number's has fewer axes.
 */
export function constantLike(g: GradBuilder, x: Ref, value: number): Ref {
  const axes = x.shape.at(-1) === 1 ? x.shape.map(() => 1) : []
  return g.constant(tensor(x.dtype, axes, [value]))
}

/** An input that is given; `inputOf(…)` of one left out is a bug. */
export function inputOf(g: GradBuilder, n: NodeView, i: number): Ref {
  const id = n.node.inputs[i]
  assert(id != null, `${n.node.op} has no input ${i}`)
  return g.value(id)
}

export const outputOf = (g: GradBuilder, n: NodeView, i = 0): Ref => g.value(n.node.outputs[i] as string)

/** Is a gradient for this input of use? */
export const wants = (g: GradBuilder, n: NodeView, i: number): boolean => {
  const id = n.node.inputs[i]
  return id != null && g.wants(id)
}

/** A rule of an operator with one output whose gradient flows. */
export const rule =
  (f: (g: GradBuilder, n: NodeView, dy: Ref) => readonly (Ref | null)[]): Grad =>
  (g, n, [dy]) =>
    dy ? f(g, n, dy) : n.node.inputs.map(() => null)

/** The operator is constant almost everywhere. */
export const flat: Grad = (_, n) => n.node.inputs.map(() => null)

export const int64s = (g: GradBuilder, values: readonly number[]): Ref =>
  g.constant(tensor('int64', [values.length], values))

export const sameSizes = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((d, i) => d === b[i])

export function reshape(g: GradBuilder, x: Ref, shape: readonly number[]): Ref {
  if (sameSizes(x.shape, shape)) return x
  // Every size is given, so that a 0 must mean 0.
  return g.op('Reshape', [x, int64s(g, shape)], { allowzero: shape.includes(0) ? 1 : undefined })
}

export function transpose(g: GradBuilder, x: Ref, perm: readonly number[]): Ref {
  return perm.every((p, i) => p === i) ? x : g.op('Transpose', [x], { perm })
}

export function expand(g: GradBuilder, x: Ref, shape: readonly number[]): Ref {
  return sameSizes(x.shape, shape) ? x : g.op('Expand', [x, int64s(g, shape)])
}

export function zeros(g: GradBuilder, dtype: DType, shape: readonly number[]): Ref {
  return expand(g, g.constant(scalar(dtype, 0)), shape)
}

/** 1 where a condition holds, 0 elsewhere. */
export function indicator(g: GradBuilder, condition: Ref, dtype: DType): Ref {
  return g.op('Cast', [condition], { to: dtypeCodes[dtype as keyof typeof dtypeCodes] })
}

/** `dy` where a condition holds, 0 elsewhere. */
export function where(g: GradBuilder, condition: Ref, dy: Ref): Ref {
  return g.op('Mul', [dy, indicator(g, condition, dy.dtype)])
}

const dtypeCodes = { float32: 1, float16: 10, float64: 11, bfloat16: 16 } as const

export function cast(g: GradBuilder, x: Ref, dtype: DType): Ref {
  return x.dtype === dtype ? x : indicator(g, x, dtype)
}

/** A reduction over axes counted from the front; neighbouring axes are merged first, which the engine sums faster. */
export function reduce(g: GradBuilder, op: string, x: Ref, axes: readonly number[], keep = false): Ref {
  if (axes.length === 0) return x
  const merged: { size: number; out: boolean }[] = []
  for (const [i, d] of x.shape.entries()) {
    const out = axes.includes(i)
    const last = merged.at(-1)
    if (last && last.out === out) last.size *= d
    else merged.push({ size: d, out })
  }
  const folded = reshape(
    g,
    x,
    merged.map((m) => m.size)
  )
  const at = merged.flatMap((m, i) => (m.out ? [i] : []))
  const sum = g.op(op, [folded, int64s(g, at)], { keepdims: 0 })
  const shape = x.shape.flatMap((d, i) => (axes.includes(i) ? (keep ? [1] : []) : [d]))
  return reshape(g, sum, shape)
}

export const sumOver = (g: GradBuilder, x: Ref, axes: readonly number[], keep = false): Ref =>
  reduce(g, 'ReduceSum', x, axes, keep)
export const meanOver = (g: GradBuilder, x: Ref, axes: readonly number[], keep = false): Ref =>
  reduce(g, 'ReduceMean', x, axes, keep)

/** Undoes numpy broadcasting: sums over the axes along which a value of `shape` was repeated. */
export function sumTo(g: GradBuilder, x: Ref, shape: readonly number[]): Ref {
  const lead = x.shape.length - shape.length
  const axes = x.shape.flatMap((d, i) => (i < lead || (shape[i - lead] === 1 && d !== 1) ? [i] : []))
  return reshape(g, sumOver(g, x, axes), shape)
}

export interface Cut {
  readonly axis: number
  readonly start: number
  /** Exclusive. */
  readonly end: number
  readonly step?: number
}

/** A slice with positive steps, or the very value where it is whole. */
export function slice(g: GradBuilder, x: Ref, cuts: readonly Cut[]): Ref {
  const real = cuts.filter((c) => c.start !== 0 || c.end < (x.shape[c.axis] as number) || (c.step ?? 1) !== 1)
  if (real.length === 0) return x
  const list = (f: (c: Cut) => number): Ref => int64s(g, real.map(f))
  const steps = real.some((c) => (c.step ?? 1) !== 1) ? [list((c) => c.step ?? 1)] : []
  return g.op('Slice', [x, list((c) => c.start), list((c) => c.end), list((c) => c.axis), ...steps])
}

/** Reversed along axes. */
export function flip(g: GradBuilder, x: Ref, axes: readonly number[]): Ref {
  const real = axes.filter((a) => x.shape[a] !== 1)
  if (real.length === 0) return x
  const list = (v: number): Ref =>
    int64s(
      g,
      real.map(() => v)
    )
  return g.op('Slice', [x, list(-1), list(-(2 ** 31)), int64s(g, real), list(-1)])
}

/** Zeros around (before, after by axis); negative counts cut. */
export function pad(g: GradBuilder, x: Ref, before: readonly number[], after: readonly number[]): Ref {
  if ([...before, ...after].every((p) => p === 0)) return x
  return g.op('Pad', [x, int64s(g, [...before, ...after]), g.constant(scalar(x.dtype, 0))])
}

/** Σ over the axis with a matrix `[out, in]` that made `out` from `in` along it: the transpose of that linear map. */
export function alongAxis(g: GradBuilder, dy: Ref, axis: number, matrix: Ref): Ref {
  const rank = dy.shape.length
  const last = rank - 1
  const swap = Array.from({ length: rank }, (_, i) => (i === axis ? last : i === last ? axis : i))
  const rows = transpose(g, dy, swap)
  return transpose(g, g.op('MatMul', [rows, matrix]), swap)
}

/** An identity matrix. */
export function eye(g: GradBuilder, dtype: DType, size: number): Ref {
  const values = new Float32Array(size * size)
  for (let i = 0; i < size; i++) values[i * size + i] = 1
  return g.constant(tensor(dtype, [size, size], values))
}

export const range = (n: number, from = 0): number[] => Array.from({ length: n }, (_, i) => from + i)
export const total = elementCount
