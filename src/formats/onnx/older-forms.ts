/** Rules that say what changed at an operator in its older form: attributes, inputs that were attributes, types of codes. */
import { divDims, mulDims, sameDim, unknownDim } from '../../base/dim.ts'
import { attrInt, attrInts, attrString, hasAttr } from '../../ir/attrs.ts'
import { dtypeOfCode } from '../../ir/dtype-code.ts'
import { elementCount, ints, tensor, toNumbers } from '../../ir/tensor.ts'
import type { Dim, DType, Node, ValueType } from '../../types.ts'
import { cannotLower } from './lowering.ts'
import { type Raising, type Rule, withAttrs, withInput, without } from './raise.ts'

/** The older form lacks this attribute. The attribute is left out where its value is what the older form always does. */
export const only =
  (name: string, value: number): Rule =>
  (n) =>
    attrInt(n, name, value) === value ? without(n, name) : cannotLower(`${name} is ${attrInt(n, name, value)}`)

export const onlyText =
  (name: string, ...values: readonly string[]): Rule =>
  (n) => {
    const given = attrString(n, name, values[0] as string)
    return values.includes(given) ? without(n, name) : cannotLower(`${name} is ${given}`)
  }

/** All of an attribute of integers are 1. */
export const onlyOnes =
  (name: string): Rule =>
  (n) =>
    (attrInts(n, name) ?? []).every((d) => d === 1)
      ? without(n, name)
      : cannotLower(`${name} are ${attrInts(n, name)?.join(',')}`)

export const both =
  (...rules: readonly Rule[]): Rule =>
  (n, c) =>
    rules.reduce((made, rule) => rule(made, c), n)

export const drop =
  (name: string): Rule =>
  (n) =>
    without(n, name)

// ---------------------------------------------------------------- inputs that were attributes

/** The numbers of a constant input; `undefined` where it is left out. */
function numbersAt(n: Node, c: Raising, input: number, what: string): number[] | undefined {
  const id = n.inputs[input]
  if (id == null) return undefined
  const data = c.data(id)
  return data ? ints(data) : cannotLower(`its ${what} are not a constant`)
}

/** Inputs up to a place, without trailing ones left out. */
function withoutInput(n: Node, index: number): Node {
  return withInput({ ...n, inputs: n.inputs.slice(0, index) }, index, null)
}

export const axesToAttribute: Rule = (n, c) => {
  const axes = numbersAt(n, c, 1, 'axes')
  const isNoop = attrInt(n, 'noop_with_empty_axes', 0) !== 0
  if (isNoop && (axes === undefined || axes.length === 0)) cannotLower('it reduces no axis')
  const bare = withoutInput(without(n, 'noop_with_empty_axes'), 1)
  return axes === undefined || axes.length === 0 ? bare : withAttrs(bare, { axes })
}

export const axisToAttribute: Rule = (n, c) => {
  const axis = numbersAt(n, c, 2, 'axis')
  return withAttrs(withoutInput(n, 2), { axis: axis?.[0] ?? -2 })
}

/** Parts of equal size, the last one smaller, where sizes were not given. */
export const splitSizes: Rule = (n, c) => {
  const bare = without(n, 'num_outputs')
  if (n.inputs[1] != null) return bare
  const shape = shapeOf(n, c, 0)
  const axis = attrInt(n, 'axis', 0)
  const size = shape[axis < 0 ? axis + shape.length : axis]
  const parts = n.outputs.length
  if (typeof size !== 'number') return cannotLower('the size it splits is not known')
  const each = Math.ceil(size / parts)
  const sizes = Array.from({ length: parts }, (_, i) => Math.max(0, Math.min(each, size - i * each)))
  return sizes.every((s) => s === each) ? bare : withInput(bare, 1, c.ints(sizes, 'split'))
}

export const wholePads: Rule = (n, c) => {
  const axes = numbersAt(n, c, 3, 'axes')
  if (axes === undefined) return n
  const pads = numbersAt(n, c, 1, 'pads') ?? []
  const rank = shapeOf(n, c, 0).length
  const all = new Array<number>(2 * rank).fill(0)
  for (const [i, axis] of axes.entries()) {
    const at = axis < 0 ? axis + rank : axis
    all[at] = pads[i] as number
    all[at + rank] = pads[i + axes.length] as number
  }
  return withInput(withoutInput(n, 3), 1, c.ints(all, 'pads'))
}

export const wholeResize: Rule = (n, c) => {
  const axes = attrInts(n, 'axes')
  const bare = without(n, 'axes')
  if (axes === undefined) return bare
  if (n.inputs[1] != null && attrString(n, 'coordinate_transformation_mode', '') === 'tf_crop_and_resize')
    cannotLower('its region is given by axes')
  const shape = shapeOf(n, c, 0)
  const at = axes.map((a) => (a < 0 ? a + shape.length : a))
  if (n.inputs[2] != null) {
    const scales = c.data(n.inputs[2])
    if (!scales) return cannotLower('its scales are not a constant')
    const given = Array.from(toNumbers(scales))
    const all = shape.map((_, i) => (at.includes(i) ? (given[at.indexOf(i)] as number) : 1))
    return withInput(bare, 2, c.constant(tensor('float32', [all.length], all), 'scales'))
  }
  const sizes = numbersAt(n, c, 3, 'sizes') ?? []
  const all = shape.map((d, i) => (at.includes(i) ? (sizes[at.indexOf(i)] as number) : d))
  if (!all.every((d): d is number => typeof d === 'number')) return cannotLower('sizes of other axes are not known')
  return withInput(bare, 3, c.ints(all, 'sizes'))
}

export const partOfShape: Rule = (n, c) => {
  const [start, end] = [attrInt(n, 'start', 0), attrInt(n, 'end', farEnd)]
  const bare = without(n, 'start', 'end')
  if (start === 0 && end === farEnd) return bare
  const whole = c.before('Shape', [n.inputs[0] ?? null])
  return { ...bare, op: 'Slice', inputs: [whole, c.ints([start], 'start'), c.ints([end], 'end')], attrs: {} }
}
const farEnd = 2 ** 31 - 1

/** Is a size 0 wherever another is? Of products this is known. */
function isMultiple(of: Dim, d: Dim): boolean {
  const quotient = divDims(of, d)
  return quotient !== unknownDim && sameDim(mulDims(quotient, d), of) && !String(quotient).includes('floor(')
}

/** Zeros in a shape meant sizes of 0; before, those to copy, which is the same where a size copied is 0 with them. */
export const noZeroSizes: Rule = (n, c) => {
  const bare = without(n, 'allowzero')
  if (attrInt(n, 'allowzero', 0) === 0) return bare
  const shape = c.data(n.inputs[1])
  if (shape) return ints(shape).includes(0) ? cannotLower('it makes an axis of size 0') : bare
  const [from, to] = [c.shape(n.inputs[0]), c.value(n.outputs[0])?.shape]
  const isSafe = to?.every((d, i) => (typeof d === 'number' ? d > 0 : isMultiple(from?.[i] ?? unknownDim, d)))
  return isSafe ? bare : cannotLower('it may make an axis of size 0')
}

export function shapeOf(n: Node, c: Raising, input: number): readonly Dim[] {
  return c.shape(n.inputs[input]) ?? cannotLower('the rank of its input is not known')
}

// ---------------------------------------------------------------- quantization

const narrow: readonly DType[] = ['int8', 'uint8', 'int32']

export const quantizedBefore21: Rule = (n, c) => {
  if (attrInt(n, 'block_size', 0) !== 0) cannotLower('it is quantized in blocks')
  const isQuantize = n.op === 'QuantizeLinear'
  const named = dtypeOfCode(attrInt(n, 'output_dtype', 0))
  const dtype = isQuantize ? (c.value(n.inputs[2])?.dtype ?? named ?? 'uint8') : c.value(n.inputs[0])?.dtype
  if (dtype === undefined || !(narrow.includes(dtype) || dtype.startsWith('float8')))
    cannotLower(`${dtype ?? 'an unknown type'} of quantized values came with opset 21`)
  const bare = without(n, 'block_size', 'output_dtype')
  if (!isQuantize || n.inputs[2] != null || named === undefined || named === 'uint8') return bare
  const shape = c.data(n.inputs[1])?.shape
  if (!shape) return cannotLower('the shape of its scale is not known')
  const zeros = tensor(named, shape, new Array<number>(elementCount(shape)).fill(0))
  return withInput(bare, 2, c.constant(zeros, 'zero_point'))
}

/** Opset 23 let the result be of another float type than the scale. */
export const typeOfScale: Rule = (n, c) => {
  const named = dtypeOfCode(attrInt(n, 'output_dtype', 0))
  if (n.op === 'QuantizeLinear') return only('precision', 0)(n, c)
  if (named !== undefined && named !== c.value(n.inputs[1])?.dtype) cannotLower('its output is not of its scale’s type')
  return without(n, 'output_dtype')
}

// ---------------------------------------------------------------- modes

export const interpolation: Rule = (n, c) => {
  if (shapeOf(n, c, 0).length !== 4) cannotLower('it samples volumes')
  const older: Readonly<Record<string, string>> = { linear: 'bilinear', cubic: 'bicubic' }
  const mode = attrString(n, 'mode', 'linear')
  return withAttrs(n, { mode: older[mode] ?? mode })
}

export const noReduction =
  (...allowed: readonly string[]): Rule =>
  (n) => {
    const given = attrString(n, 'reduction', 'none')
    return allowed.includes(given) ? n : cannotLower(`reduction is ${given}`)
  }

export const halfPixel: Rule = (n) =>
  hasAttr(n, 'coordinate_transformation_mode') &&
  attrString(n, 'coordinate_transformation_mode', '') === 'output_half_pixel'
    ? without(n, 'coordinate_transformation_mode')
    : cannotLower('its coordinates are those of half pixels')

export const noSymmetric: Rule = (n) =>
  attrString(n, 'coordinate_transformation_mode', '') === 'half_pixel_symmetric'
    ? cannotLower('its coordinates are half_pixel_symmetric')
    : n

export const noWrap: Rule = (n) => (attrString(n, 'mode', 'constant') === 'wrap' ? cannotLower('its mode is wrap') : n)

/** Values of a kind that the operator did not take before. */
export const no =
  (type: ValueType['type']): Rule =>
  (n, c) =>
    [...n.inputs, ...n.outputs].some((id) => c.value(id)?.type === type) ? cannotLower(`it moves a ${type}`) : n
