/** One operator of the file as the rows of `ops/` see it: its inputs as values, its options, and the nodes that stand for it. */
import { toArray } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import { codeOfDtype } from '../../ir/dtype-code.ts'
import { elementCount, ints, isInteger, rangeOf, roundHalfEven, tensor, toNumbers } from '../../ir/tensor.ts'
import type { DType } from '../../types.ts'
import type { AttrsGiven, Inputs } from './emit.ts'
import type { FlatOperator } from './model.ts'
import { mostMade, type Scope } from './scope.ts'
import { dtypeNamed, dtypeOf, quantizationOf, shapeOf } from './tensors.ts'

/** An operator that has no counterpart as it is used; it stays as it is in the file, and a note says why. */
export class Refused {
  readonly reason: string
  constructor(reason: string) {
    this.reason = reason
  }
}

/** A value whose axes are still to be put in this order. */
export interface Turned {
  readonly id: string
  readonly perm: readonly number[]
}

/** Turns an operator into nodes; gives the value of each of its outputs, in floats where those are quantized. */
export type Convert = (c: Call) => string | Turned | readonly (string | Turned)[]

/** Converters by name of the operator. */
export type Rows = Readonly<Record<string, Convert>>

/** Bounds of the fused activations; the others have none. */
const clamps: Readonly<Record<string, readonly [low: number, high: number]>> = {
  RELU: [0, Number.POSITIVE_INFINITY],
  RELU_N1_TO_1: [-1, 1],
  RELU_0_TO_1: [0, 1],
  RELU6: [0, 6]
}

export class Call {
  readonly name: string
  readonly scope: Scope
  readonly node: FlatOperator
  private readonly inputs: readonly number[]
  private readonly outputs: readonly number[]
  private readonly options: Readonly<Record<string, unknown>>

  /** Says something of this operator where the model is read. */
  readonly note: (text: string) => void

  constructor(scope: Scope, node: FlatOperator, name: string, note: (text: string) => void) {
    this.note = note
    this.scope = scope
    this.node = node
    this.name = name
    this.inputs = node.inputs ?? []
    this.outputs = node.outputs ?? []
    this.options = node.builtin_options ?? node.builtin_options_2 ?? {}
  }

  refuse(reason: string): never {
    throw new Refused(reason)
  }

  // -------------------------------------------------------------- options

  number(field: string, fallback = 0): number {
    const value = this.options[field]
    return typeof value === 'number' ? value : fallback
  }
  flag(field: string): boolean {
    return this.options[field] === true
  }
  text(field: string, fallback = ''): string {
    const value = this.options[field]
    return typeof value === 'string' ? value : fallback
  }
  list(field: string): readonly number[] | undefined {
    const value = this.options[field]
    return Array.isArray(value) ? value : undefined
  }

  /** The options of a custom operator as little-endian int32. */
  customInts(): readonly number[] {
    const bytes = toArray(this.node.custom_options ?? new Uint8Array(0))
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    return range(0, Math.floor(bytes.length / 4)).map((i) => view.getInt32(4 * i, true))
  }

  // -------------------------------------------------------------- inputs and outputs

  get count(): number {
    return this.inputs.length
  }
  get outputCount(): number {
    return this.outputs.length
  }
  has(i: number): boolean {
    return (this.inputs[i] ?? -1) >= 0
  }
  /** Place of an input among the tensors of the subgraph. */
  at(i: number): number {
    const at = this.inputs[i] ?? -1
    if (at < 0) throw new PareError('E_FORMAT', `operator ${this.name} has no input ${i}`)
    return at
  }
  outAt(o = 0): number {
    const at = this.outputs[o] ?? -1
    if (at < 0) throw new PareError('E_FORMAT', `operator ${this.name} has no output ${o}`)
    return at
  }
  shape(i = 0): readonly number[] {
    return shapeOf(this.scope.tensor(this.at(i)))
  }
  outShape(o = 0): readonly number[] {
    return shapeOf(this.scope.tensor(this.outAt(o)))
  }
  rank(i = 0): number {
    return this.shape(i).length
  }
  /** Refuses other ranks. */
  ranked(rank: number, i = 0): void {
    if (this.rank(i) !== rank) this.refuse(`its input has ${this.rank(i)} axes, not ${rank}`)
  }
  /** Sizes that the file fixes; refuses free ones. */
  fixedShape(i = 0): readonly number[] {
    const shape = this.shape(i)
    return shape.every((d) => d >= 0) ? shape : this.refuse('the shape of its input is not fixed')
  }
  dtype(i = 0): DType | undefined {
    return dtypeOf(this.scope.tensor(this.at(i)))
  }
  outType(o = 0): DType {
    return dtypeOf(this.scope.tensor(this.outAt(o))) ?? this.refuse('its output is no array')
  }
  /** Does it compute on integers that are meant as such? */
  isInteger(i = 0): boolean {
    const dtype = this.dtype(i)
    return dtype !== undefined && isInteger(dtype) && !this.isQuantized(i)
  }
  isQuantized(i = 0): boolean {
    return this.scope.quantizationOf(this.at(i)) !== undefined
  }
  isConstant(i: number): boolean {
    return this.has(i) && this.scope.heldOf(this.at(i)) !== undefined
  }

  /** An input's numbers: floats where it is quantized. `perm`: axes in another order. */
  value(i = 0, perm?: readonly number[]): string {
    const { details } = this.scope.tensor(this.at(i)).quantization ?? {}
    if (details) this.refuse(`one of its inputs has a ${details.table}`)
    return this.scope.value(this.at(i), perm)
  }
  values(): readonly string[] {
    return this.inputs.map((_, i) => this.value(i))
  }
  /** The numbers of a constant of integers or floats; `undefined` where it is computed. */
  content(i: number): readonly number[] | undefined {
    const data = this.has(i) ? this.scope.heldOf(this.at(i))?.data : undefined
    if (!data || data.dtype === 'string') return undefined
    return isInteger(data.dtype) ? ints(data) : Array.from(toNumbers(data))
  }
  /** The same; refuses what is computed. */
  fixed(i: number, what: string): readonly number[] {
    return this.content(i) ?? this.refuse(`${what} is computed, not a constant`)
  }
  /** An input of integers as int64. */
  int64(i: number): string {
    const known = this.content(i)
    if (known) return this.ints(known, this.shape(i))
    return this.dtype(i) === 'int64' ? this.value(i) : this.cast(this.value(i), 'int64')
  }

  // -------------------------------------------------------------- nodes

  op(op: string, inputs: Inputs, attrs: AttrsGiven = {}): string {
    return this.scope.add(op, inputs, attrs)
  }
  ops(op: string, inputs: Inputs, attrs: AttrsGiven, count: number): readonly string[] {
    return this.scope.addAll(op, inputs, attrs, count)
  }
  /** An int64 constant, by default of one axis. */
  ints(values: readonly number[], shape: readonly number[] = [values.length]): string {
    if (elementCount(shape) !== values.length) this.refuse('the shape of a constant does not fit its content')
    return this.constant('int64', shape, values)
  }
  scalar(value: number, dtype: DType = 'float32'): string {
    return this.constant(dtype, [], [value])
  }
  constant(dtype: DType, shape: readonly number[], values: readonly number[]): string {
    return this.scope.constant(tensor(dtype, shape, values))
  }
  cast(id: string, dtype: DType): string {
    return this.op('Cast', [id], { to: codeOfDtype(dtype) })
  }
  transpose(id: string, perm: readonly number[]): string {
    return this.op('Transpose', [id], { perm })
  }
  /** A free size may stand once, as -1. */
  reshape(id: string, shape: readonly number[]): string {
    if (shape.filter((d) => d < 0).length > 1) this.refuse('more than one size is free')
    return this.op('Reshape', [id, this.ints(shape)], shape.includes(0) ? { allowzero: 1 } : {})
  }
  /** Refuses constants that would be larger than what is made here. */
  bounded(count: number): void {
    if (!(count <= mostMade)) this.refuse(`it would need a constant of ${count} elements`)
  }

  /** A computation on the first input with channels first, between transposes. */
  channelsFirst(compute: (id: string) => string, data = 0): Turned {
    const axes = this.rank(data)
    return { id: compute(this.value(data, toChannelsFirst(axes))), perm: toChannelsLast(axes) }
  }

  /** The fused activation. Saturation of the output's codes does the work of a clamp where it ends at the same codes. */
  activation(id: string, name = this.text('fused_activation_function', 'NONE')): string {
    if (name === 'NONE') return id
    if (name === 'TANH') return this.op('Tanh', [id])
    const clamp = clamps[name] ?? this.refuse(`its activation is ${name}`)
    return this.saturates(clamp) ? id : this.clip(id, clamp)
  }

  clip(id: string, [low, high]: readonly [low: number, high: number]): string {
    if (low === 0 && high === Number.POSITIVE_INFINITY) return this.op('Relu', [id])
    return this.op('Clip', [id, this.scalar(low), this.scalar(high)])
  }

  private saturates([low, high]: readonly [low: number, high: number]): boolean {
    const t = this.scope.tensor(this.outAt())
    const q = quantizationOf(t)
    const [scale, zero] = [q?.scale[0], q?.zero[0]]
    if (!scale || zero === undefined || q?.axis !== undefined) return false
    const { min, max } = rangeOf(this.outType())
    const code = (x: number): number => zero + roundHalfEven(x / scale)
    return code(low) <= min && code(high) >= max
  }

  /** The type that an option names, else the output's. */
  typed(field: string): DType {
    return dtypeNamed(this.options[field]) ?? this.outType()
  }
}

/** Orders of axes: batch, channels, places ⇄ batch, places, channels. */
export const toChannelsFirst = (axes: number): readonly number[] => [0, axes - 1, ...range(1, axes - 1)]
export const toChannelsLast = (axes: number): readonly number[] => [0, ...range(2, axes), 1]
export const range = (from: number, to: number): readonly number[] =>
  Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i)
