/**
 * What an operator was before: forms of opset 13 for what changed up to opset 25, as far as the older form can say it, and
 * newer operators in terms of older ones. Source: ONNX Changelog.md.
 */
import { divDims, mulDims, sameDim, unknownDim } from '../../base/dim.ts'
import { PareError } from '../../base/errors.ts'
import { attrFloat, attrInt, attrInts, attrString, float, hasAttr } from '../../ir/attrs.ts'
import { codeOfDtype, dtypeOfCode } from '../../ir/dtype-code.ts'
import { elementCount, ints, tensor, toNumbers } from '../../ir/tensor.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Dim, DType, Model, Node, ValueType } from '../../types.ts'
import { cannotLower, lowerWith } from './lowering.ts'
import { newestOpset, workingOpset } from './opsets.ts'
import { type Change, type Raising, type Rule, withAttrs, withInput, without } from './raise.ts'

/** Oldest opset that models are written at. */
export const lowestOpset = 13

/**
 * The model at another opset; the very same model where it is of that opset. From the working opset on, newer ones only add
 * to operators, so that raising changes no node. Throws `E_OPSET` for an opset out of range, and one that names the nodes which have no form there.
 */
export function lowerModel(model: Model, opset: number): Model {
  if (opset === model.opset) return model
  const newest = model.opset >= workingOpset ? Math.max(model.opset, newestOpset) : model.opset
  if (!Number.isInteger(opset) || opset < lowestOpset || opset > newest)
    throw new PareError('E_OPSET', `a model of opset ${model.opset} cannot be written at opset ${opset}`, {
      facts: { possible: `${lowestOpset} to ${newest}` }
    })
  if (opset > model.opset) return { ...model, opset }
  return lowerWith({ changes, introduced, dtypes, inputs }, inferShapes(model), opset)
}

// ---------------------------------------------------------------- attributes

/** The older form lacks this attribute. The attribute is left out where its value is what the older form always does. */
const only =
  (name: string, value: number): Rule =>
  (n) =>
    attrInt(n, name, value) === value ? without(n, name) : cannotLower(`${name} is ${attrInt(n, name, value)}`)

const onlyText =
  (name: string, ...values: readonly string[]): Rule =>
  (n) => {
    const given = attrString(n, name, values[0] as string)
    return values.includes(given) ? without(n, name) : cannotLower(`${name} is ${given}`)
  }

/** All of an attribute of integers are 1. */
const onlyOnes =
  (name: string): Rule =>
  (n) =>
    (attrInts(n, name) ?? []).every((d) => d === 1)
      ? without(n, name)
      : cannotLower(`${name} are ${attrInts(n, name)?.join(',')}`)

const both =
  (...rules: readonly Rule[]): Rule =>
  (n, c) =>
    rules.reduce((made, rule) => rule(made, c), n)

const drop =
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

const axesToAttribute: Rule = (n, c) => {
  const axes = numbersAt(n, c, 1, 'axes')
  const isNoop = attrInt(n, 'noop_with_empty_axes', 0) !== 0
  if (isNoop && (axes === undefined || axes.length === 0)) cannotLower('it reduces no axis')
  const bare = withoutInput(without(n, 'noop_with_empty_axes'), 1)
  return axes === undefined || axes.length === 0 ? bare : withAttrs(bare, { axes })
}

const axisToAttribute: Rule = (n, c) => {
  const axis = numbersAt(n, c, 2, 'axis')
  return withAttrs(withoutInput(n, 2), { axis: axis?.[0] ?? -2 })
}

/** Parts of equal size, the last one smaller, where sizes were not given. */
const splitSizes: Rule = (n, c) => {
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

const wholePads: Rule = (n, c) => {
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

const wholeResize: Rule = (n, c) => {
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

const partOfShape: Rule = (n, c) => {
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
const noZeroSizes: Rule = (n, c) => {
  const bare = without(n, 'allowzero')
  if (attrInt(n, 'allowzero', 0) === 0) return bare
  const shape = c.data(n.inputs[1])
  if (shape) return ints(shape).includes(0) ? cannotLower('it makes an axis of size 0') : bare
  const [from, to] = [c.shape(n.inputs[0]), c.value(n.outputs[0])?.shape]
  const isSafe = to?.every((d, i) => (typeof d === 'number' ? d > 0 : isMultiple(from?.[i] ?? unknownDim, d)))
  return isSafe ? bare : cannotLower('it may make an axis of size 0')
}

function shapeOf(n: Node, c: Raising, input: number): readonly Dim[] {
  return c.shape(n.inputs[input]) ?? cannotLower('the rank of its input is not known')
}

// ---------------------------------------------------------------- quantization

const narrow: readonly DType[] = ['int8', 'uint8', 'int32']

const quantizedBefore21: Rule = (n, c) => {
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
const typeOfScale: Rule = (n, c) => {
  const named = dtypeOfCode(attrInt(n, 'output_dtype', 0))
  if (n.op === 'QuantizeLinear') return only('precision', 0)(n, c)
  if (named !== undefined && named !== c.value(n.inputs[1])?.dtype) cannotLower('its output is not of its scale’s type')
  return without(n, 'output_dtype')
}

// ---------------------------------------------------------------- newer operators, taken apart

/** Ends a chain of nodes before it: the node itself becomes the last operation. */
const ending = (n: Node, op: string, inputs: readonly (string | null)[]): Node => ({
  ...n,
  op,
  inputs,
  outputs: n.outputs.slice(0, 1),
  attrs: {}
})

/** The element type of an input, which constants beside it must have. */
const floatOf = (n: Node, c: Raising, input = 0): DType =>
  c.value(n.inputs[input])?.dtype ?? cannotLower('the type of its input is not known')

const number = (n: Node, c: Raising, value: number, what: string): string =>
  c.constant(tensor(floatOf(n, c), [], [value]), what)

const gelu: Rule = (n, c) => {
  const x = n.inputs[0] as string
  const isExact = attrString(n, 'approximate', 'none') === 'none'
  const inner = isExact ? c.before('Mul', [x, number(n, c, Math.SQRT1_2, 'scale')]) : tanhArgument(n, c, x)
  const curve = c.before(isExact ? 'Erf' : 'Tanh', [inner])
  const half = c.before('Mul', [x, number(n, c, 0.5, 'half')])
  return ending(n, 'Mul', [half, c.before('Add', [curve, number(n, c, 1, 'one')])])
}

/** √(2/π)·(x + 0.044715·x³) */
function tanhArgument(n: Node, c: Raising, x: string): string {
  const cube = c.before('Mul', [c.before('Mul', [x, x]), x])
  const sum = c.before('Add', [x, c.before('Mul', [cube, number(n, c, 0.044715, 'cubic')])])
  return c.before('Mul', [sum, number(n, c, Math.sqrt(2 / Math.PI), 'scale')])
}

const mish: Rule = (n, c) => ending(n, 'Mul', [n.inputs[0] ?? null, c.before('Tanh', [c.before('Softplus', n.inputs)])])

const hardSwish: Rule = (n, c) =>
  ending(n, 'Mul', [n.inputs[0] ?? null, c.before('HardSigmoid', n.inputs, { alpha: float(1 / 6), beta: float(0.5) })])

const swish: Rule = (n, c) => {
  const [x, alpha] = [n.inputs[0] as string, attrFloat(n, 'alpha', 1)]
  const scaled = alpha === 1 ? x : c.before('Mul', [x, number(n, c, alpha, 'alpha')])
  return ending(n, 'Mul', [x, c.before('Sigmoid', [scaled])])
}

const castLike: Rule = (n, c) => ({ ...ending(n, 'Cast', n.inputs.slice(0, 1)), attrs: castTo(floatOf(n, c, 1)) })

const castTo = (dtype: DType): Node['attrs'] => ({ to: { kind: 'int', value: codeOfDtype(dtype) } })

/** Computes in float32 where the input is narrower, as the operator does by itself; `made` gets the wide input. */
function inFloat32(n: Node, c: Raising, made: (x: string) => string): string {
  const dtype = floatOf(n, c)
  const x = n.inputs[0] as string
  if (dtype !== 'float16' && dtype !== 'bfloat16') return made(x)
  return c.before('Cast', [made(c.before('Cast', [x], { to: codeOfDtype('float32') }))], { to: codeOfDtype(dtype) })
}

/** Axes from the given one on, as numbers from the end. */
function lastAxes(n: Node, c: Raising): string {
  const axis = attrInt(n, 'axis', -1)
  const count = axis < 0 ? -axis : shapeOf(n, c, 0).length - axis
  return c.ints(
    Array.from({ length: count }, (_, i) => i - count),
    'axes'
  )
}

const wideEpsilon = (n: Node, c: Raising): string => {
  const dtype = floatOf(n, c) === 'float64' ? 'float64' : 'float32'
  return c.constant(tensor(dtype, [], [attrFloat(n, 'epsilon', 1e-5)]), 'epsilon')
}

/** x / √(mean(x²) + ε) */
function overDeviation(n: Node, c: Raising, x: string, axes: string): string {
  const square = c.before('ReduceMean', [c.before('Mul', [x, x]), axes])
  return c.before('Div', [x, c.before('Sqrt', [c.before('Add', [square, wideEpsilon(n, c)])])])
}

const layerNorm: Rule = (n, c) => {
  if (n.outputs.slice(1).some((id) => id !== '')) cannotLower('its mean or deviation is read')
  const axes = lastAxes(n, c)
  const normal = inFloat32(n, c, (x) =>
    overDeviation(n, c, c.before('Sub', [x, c.before('ReduceMean', [x, axes])]), axes)
  )
  const [, scale, bias] = n.inputs
  if (bias == null) return ending(n, 'Mul', [normal, scale ?? null])
  return ending(n, 'Add', [c.before('Mul', [normal, scale ?? null]), bias])
}

const rmsNorm: Rule = (n, c) => {
  const axes = lastAxes(n, c)
  return ending(n, 'Mul', [inFloat32(n, c, (x) => overDeviation(n, c, x, axes)), n.inputs[1] ?? null])
}

/** Groups become instances: [N, C, …] → [N, G, …] → InstanceNormalization → back, then scale and bias per channel. */
const groupNorm: Rule = (n, c) => {
  const groups = attrInt(n, 'num_groups', 1)
  const x = n.inputs[0] as string
  const trailing = new Array<number>(shapeOf(n, c, 0).length - 2).fill(1)
  const flat = c.before('Reshape', [x, c.ints([0, groups, -1], 'groups')])
  const [one, zero] = [1, 0].map((v) =>
    c.constant(tensor(floatOf(n, c), [groups], new Array<number>(groups).fill(v)), 'each')
  )
  const epsilon = float(attrFloat(n, 'epsilon', 1e-5))
  const normal = c.before('InstanceNormalization', [flat, one as string, zero as string], { epsilon })
  const shaped = c.before('Reshape', [normal, c.before('Shape', [x])])
  const wide = (id: string | null | undefined): string =>
    c.before('Reshape', [id ?? null, c.ints([-1, ...trailing], 'channels')])
  return ending(n, 'Add', [c.before('Mul', [shaped, wide(n.inputs[1])]), wide(n.inputs[2])])
}

const interpolation: Rule = (n, c) => {
  if (shapeOf(n, c, 0).length !== 4) cannotLower('it samples volumes')
  const older: Readonly<Record<string, string>> = { linear: 'bilinear', cubic: 'bicubic' }
  const mode = attrString(n, 'mode', 'linear')
  return withAttrs(n, { mode: older[mode] ?? mode })
}

const noReduction =
  (...allowed: readonly string[]): Rule =>
  (n) => {
    const given = attrString(n, 'reduction', 'none')
    return allowed.includes(given) ? n : cannotLower(`reduction is ${given}`)
  }

const halfPixel: Rule = (n) =>
  hasAttr(n, 'coordinate_transformation_mode') &&
  attrString(n, 'coordinate_transformation_mode', '') === 'output_half_pixel'
    ? without(n, 'coordinate_transformation_mode')
    : cannotLower('its coordinates are those of half pixels')

const noSymmetric: Rule = (n) =>
  attrString(n, 'coordinate_transformation_mode', '') === 'half_pixel_symmetric'
    ? cannotLower('its coordinates are half_pixel_symmetric')
    : n

const noWrap: Rule = (n) => (attrString(n, 'mode', 'constant') === 'wrap' ? cannotLower('its mode is wrap') : n)

/** Values of a kind that the operator did not take before. */
const no =
  (type: ValueType['type']): Rule =>
  (n, c) =>
    [...n.inputs, ...n.outputs].some((id) => c.value(id)?.type === type) ? cannotLower(`it moves a ${type}`) : n

// ---------------------------------------------------------------- the table

const reductions = ['ReduceL1', 'ReduceL2', 'ReduceLogSum', 'ReduceLogSumExp', 'ReduceMax']
  .concat(['ReduceMean', 'ReduceMin', 'ReduceProd', 'ReduceSumSquare'])
  .sort()
const scatters = ['ScatterElements', 'ScatterND']
const quantizers = ['QuantizeLinear', 'DequantizeLinear']

const changes: readonly Change[] = [
  { op: 'BatchNormalization', since: 14, rule: only('training_mode', 0) },
  { op: ['GRU', 'LSTM', 'RNN'], since: 14, rule: only('layout', 0) },
  { op: 'HardSwish', since: 14, rule: hardSwish },
  { op: 'Identity', since: 14, rule: no('sequence') },
  { op: 'Reshape', since: 14, rule: noZeroSizes },
  { op: 'CastLike', since: 15, rule: castLike },
  { op: 'Shape', since: 15, rule: partOfShape },
  { op: ['Identity', 'If', 'Loop'], since: 16, rule: no('optional') },
  { op: 'RoiAlign', since: 16, rule: halfPixel },
  { op: scatters, since: 16, rule: both(noReduction('none'), drop('reduction')) },
  { op: 'LayerNormalization', since: 17, rule: layerNorm },
  { op: 'LpPool', since: 18, rule: both(only('ceil_mode', 0), onlyOnes('dilations')) },
  { op: 'Mish', since: 18, rule: mish },
  { op: 'Pad', since: 18, rule: wholePads },
  { op: reductions, since: 18, rule: axesToAttribute },
  {
    op: 'Resize',
    since: 18,
    rule: both(only('antialias', 0), onlyText('keep_aspect_ratio_policy', 'stretch'), wholeResize)
  },
  { op: scatters, since: 18, rule: noReduction('none', 'add', 'mul') },
  { op: 'Split', since: 18, rule: splitSizes },
  { op: 'AveragePool', since: 19, rule: onlyOnes('dilations') },
  { op: 'Cast', since: 19, rule: drop('saturate') },
  { op: 'Pad', since: 19, rule: noWrap },
  { op: 'QuantizeLinear', since: 19, rule: drop('saturate') },
  { op: 'Resize', since: 19, rule: noSymmetric },
  { op: 'DFT', since: 20, rule: axisToAttribute },
  { op: 'Gelu', since: 20, rule: gelu },
  { op: 'GridSample', since: 20, rule: interpolation },
  { op: 'GroupNormalization', since: 21, rule: groupNorm },
  { op: quantizers, since: 21, rule: quantizedBefore21 },
  { op: quantizers, since: 23, rule: typeOfScale },
  { op: 'RMSNormalization', since: 23, rule: rmsNorm },
  { op: 'Cast', since: 24, rule: drop('round_mode') },
  { op: 'Swish', since: 24, rule: swish }
]

const introduced: Readonly<Record<string, number>> = {
  Trilu: 14,
  Bernoulli: 15,
  Optional: 15,
  OptionalGetElement: 15,
  OptionalHasElement: 15,
  GridSample: 16,
  BlackmanWindow: 17,
  DFT: 17,
  HammingWindow: 17,
  HannWindow: 17,
  MelWeightMatrix: 17,
  SequenceMap: 17,
  STFT: 17,
  BitwiseAnd: 18,
  BitwiseNot: 18,
  BitwiseOr: 18,
  BitwiseXor: 18,
  CenterCropPad: 18,
  Col2Im: 18,
  DeformConv: 19,
  AffineGrid: 20,
  ImageDecoder: 20,
  RegexFullMatch: 20,
  StringConcat: 20,
  StringSplit: 20,
  Attention: 23,
  RotaryEmbedding: 23,
  TensorScatter: 24
}

const dtypes: Partial<Readonly<Record<DType, number>>> = {
  float8e4m3fn: 19,
  float8e4m3fnuz: 19,
  float8e5m2: 19,
  float8e5m2fnuz: 19,
  int4: 21,
  uint4: 21,
  float4e2m1: 23,
  float8e8m0: 24,
  int2: 25,
  uint2: 25
}

/** Operators that took bfloat16 only with opset 22. */
const withoutBfloat16 = [
  'AveragePool',
  'Conv',
  'ConvTranspose',
  'DeformConv',
  'Elu',
  'GlobalAveragePool',
  'GlobalMaxPool'
]
  .concat(['GRU', 'GridSample', 'HardSigmoid', 'InstanceNormalization', 'LpPool', 'LSTM', 'MaxPool', 'RNN', 'Selu'])
  .concat(['Softplus', 'Softsign', 'ThresholdedRelu'])

const small: readonly DType[] = ['int8', 'int16', 'uint8', 'uint16']

const inputs = [
  { op: ['Add', 'Sub', 'Mul', 'Div'], dtypes: small, since: 14 },
  { op: ['Relu'], dtypes: [...small, 'int32', 'int64'], since: 14 },
  { op: ['CumSum'], dtypes: ['float16', 'bfloat16'], since: 14 },
  { op: ['LeakyRelu', 'PRelu', 'Where', 'GreaterOrEqual', 'LessOrEqual'], dtypes: ['bfloat16'], since: 16 },
  { op: quantizers, dtypes: ['float16', 'bfloat16'], since: 19 },
  { op: ['Equal'], dtypes: ['string'], since: 19 },
  { op: ['IsInf', 'IsNaN'], dtypes: ['bfloat16'], since: 20 },
  { op: ['IsInf'], dtypes: ['float16'], since: 20 },
  { op: ['ReduceMax', 'ReduceMin'], dtypes: ['bool'], since: 20 },
  { op: withoutBfloat16, dtypes: ['bfloat16'], since: 22 }
] as const satisfies readonly { op: readonly string[]; dtypes: readonly DType[]; since: number }[]
