/**
 * What changed in ONNX's operators from opset to opset, as far as it changes how a node is spelled or what its
 * defaults mean. Versions that only add types or optional parts are not listed. Source: ONNX Changelog.md.
 */
import { attrFloat, attrFloats, attrGraph, attrInt, attrInts, attrString, hasAttr } from '../../ir/attrs.ts'
import { tensor, toNumbers } from '../../ir/tensor.ts'
import type { Node, Value } from '../../types.ts'
import {
  byOperator,
  type Change,
  cannotRaise,
  graphOf,
  type Raising,
  type Rule,
  raiseWith,
  type Surroundings,
  withAttrs,
  withInput,
  without
} from './raise.ts'

/** Oldest opset with forms in the table; where one of its nodes has none, reading stops and names it. */
export const oldestOpset = 1
/** Opset that older models are raised to. */
export const workingOpset = 21
/** Newest opset that is read; above the working one a model keeps its own. */
export const newestOpset = 25

/** A node as the working opset spells it, with the nodes it needs around it. Throws `E_OPSET` where that is impossible. */
export function raiseNode(node: Node, from: number, s: Surroundings): readonly Node[] {
  return from >= workingOpset ? [node] : raiseWith(table, node, from, s)
}

const drop =
  (...names: readonly string[]): Rule =>
  (n) =>
    without(n, ...names)

/** An attribute of integers becomes an input; nothing where it is absent or empty. */
const intsToInput =
  (attribute: string, index: number): Rule =>
  (n, c) => {
    const values = attrInts(n, attribute)
    const bare = without(n, attribute)
    return values === undefined || values.length === 0 ? bare : withInput(bare, index, c.ints(values, attribute))
  }

const rename =
  (op: string): Rule =>
  (n) => ({ ...n, op })

const defaults =
  (added: Parameters<typeof withAttrs>[1]): Rule =>
  (n) =>
    withAttrs(n, Object.fromEntries(Object.entries(added).filter(([name]) => !hasAttr(n, name))))

const castTypes = ['', 'FLOAT', 'UINT8', 'INT8', 'UINT16', 'INT16', 'INT32', 'INT64', 'STRING', 'BOOL', 'FLOAT16']
  .concat(['DOUBLE', 'UINT32', 'UINT64', 'COMPLEX64', 'COMPLEX128'])
  .map((name, code) => [name, code] as const)

const castByNumber: Rule = (n) => {
  const code = new Map(castTypes).get(attrString(n, 'to', ''))
  return code ? withAttrs(n, { to: code }) : cannotRaise(n, `it casts to ${attrString(n, 'to', 'nothing')}`)
}

const shapeToInput: Rule = (n, c) =>
  withInput(without(n, 'shape', 'consumed_inputs'), 1, c.ints(attrInts(n, 'shape') ?? [], 'shape'))

const wholeNorm: Rule = (n) => {
  const p = attrFloat(n, 'p', 2)
  return Number.isInteger(p) ? withAttrs(n, { p }) : cannotRaise(n, `its norm is of order ${p}`)
}

// ---------------------------------------------------------------- opset 7: numpy broadcasting

/** Before opset 7 the second operand could be aligned at an axis of the first; now it gets trailing axes of one. */
const broadcast: Rule = (n, c) => {
  const bare = without(n, 'axis', 'broadcast')
  if (attrInt(n, 'broadcast', 0) === 0 || !hasAttr(n, 'axis')) return bare
  return alignSecond(bare, c, attrInt(n, 'axis', 0))
}

function alignSecond(n: Node, c: Raising, axis: number): Node {
  const [a, b] = n.inputs
  if (a == null || b == null) return n
  const [rankA, rankB] = [c.shape(a)?.length, c.shape(b)?.length]
  if (rankB === undefined || (axis >= 0 && rankA === undefined)) return withInput(n, 1, alignAtRun(c, a, b, axis))
  const trailing = (axis < 0 ? -axis : (rankA ?? 0) - axis) - rankB
  if (trailing <= 0) return n
  const data = c.data(b)
  if (data)
    return withInput(n, 1, c.constant({ ...data, shape: [...data.shape, ...Array(trailing).fill(1)] }, 'aligned'))
  const axes = Array.from({ length: trailing }, (_, i) => rankB + i)
  return withInput(n, 1, c.before('Unsqueeze', [b, c.ints(axes, 'axes')]))
}

/** The same where ranks are known only when the model runs. */
function alignAtRun(c: Raising, a: string, b: string, axis: number): string {
  const shapeB = c.before('Shape', [b])
  const rankB = c.before('Shape', [shapeB])
  const until =
    axis < 0
      ? c.ints([-axis], 'axis')
      : c.before('Sub', [c.before('Shape', [c.before('Shape', [a])]), c.ints([axis], 'axis')])
  const trailing = c.before('Sub', [until, rankB])
  const ones = c.before('ConstantOfShape', [trailing], { value: { kind: 'tensor', value: tensor('int64', [1], [1]) } })
  return c.before('Reshape', [b, c.before('Concat', [shapeB, ones], { axis: 0 })])
}

/** Before opset 7 a slope of rank 1 held one number per channel (axis 1). */
const slopePerChannel: Rule = (n, c) => {
  const shape = c.shape(n.inputs[1])
  return shape && (shape.length !== 1 || shape[0] === 1) ? n : alignSecond(n, c, 1)
}

// ---------------------------------------------------------------- normalisation and dropout

/** Not spatial: statistics per element, which plain broadcasting does. */
const spatial: Rule = (n, c) => {
  if (attrInt(n, 'spatial', 1) !== 0) return without(n, 'spatial')
  const [x, scale, bias, mean, variance] = n.inputs as readonly (string | null)[]
  const epsilon = c.constant(tensor('float32', [], [attrFloat(n, 'epsilon', 1e-5)]), 'epsilon')
  const deviation = c.before('Sqrt', [c.before('Add', [variance ?? null, epsilon])])
  const normal = c.before('Div', [c.before('Sub', [x ?? null, mean ?? null]), deviation])
  return {
    ...n,
    op: 'Add',
    inputs: [c.before('Mul', [normal, scale ?? null]), bias ?? null],
    outputs: n.outputs.slice(0, 1),
    attrs: {}
  }
}

const inferenceOutputs: Rule = (n) => {
  if (n.outputs.slice(1).some((id) => id !== '')) cannotRaise(n, 'it is in training mode')
  return { ...n, outputs: n.outputs.slice(0, 1) }
}

const boolMask: Rule = (n, c) => {
  if (!n.outputs[1]) return n
  return c.behind(n, 1, 'Cast', [], { to: c.floatType(n.inputs[0]) === 'float16' ? 10 : 1 })
}

const ratioToInput: Rule = (n, c) =>
  withInput(without(n, 'ratio'), 1, c.constant(tensor('float32', [], [attrFloat(n, 'ratio', 0.5)]), 'ratio'))

const axesOfVariance: Rule = (n) => {
  if (!hasAttr(n, 'across_channels') && !hasAttr(n, 'normalize_variance')) return n
  if (attrInt(n, 'normalize_variance', 1) === 0) cannotRaise(n, 'it does not normalise the variance')
  const axes = attrInt(n, 'across_channels', 0) ? [0, 1, 2, 3] : [0, 2, 3]
  return withAttrs(without(n, 'across_channels', 'normalize_variance'), { axes })
}

/** Scale and bias of one number per group become one per channel. */
const perChannel: Rule = (n, c) => {
  const groups = attrInt(n, 'num_groups', 1)
  const [x, scale, bias] = n.inputs
  const channels = c.shape(x)?.[1]
  const wide = (id: string | null | undefined, what: string): string | null => {
    if (id == null) return null
    const data = c.data(id)
    if (data && typeof channels === 'number' && channels % groups === 0 && data.dtype === 'float32') {
      const values = toNumbers(data)
      const each = channels / groups
      return c.constant(
        tensor(
          'float32',
          [channels],
          Array.from({ length: channels }, (_, i) => values[Math.floor(i / each)] as number)
        ),
        what
      )
    }
    const shape = c.before('Shape', [x ?? null], { start: 1, end: 2 })
    const each = c.before('Div', [shape, c.ints([groups], 'groups')])
    const table = c.before('Concat', [c.ints([groups], 'groups'), each], { axis: 0 })
    const rows = c.before('Expand', [c.before('Unsqueeze', [id, c.ints([1], 'axis')]), table])
    return c.before('Reshape', [rows, c.ints([-1], 'flat')])
  }
  return { ...n, inputs: [x ?? null, wide(scale, 'scale'), wide(bias, 'bias')] }
}

// ---------------------------------------------------------------- attributes that became inputs

const sliceInputs: Rule = (n, c) => {
  const [starts, ends, axes] = [attrInts(n, 'starts') ?? [], attrInts(n, 'ends') ?? [], attrInts(n, 'axes')]
  const all = axes && axes.length > 0 ? [starts, ends, axes] : [starts, ends]
  const names = ['starts', 'ends', 'axes'] as const
  return { ...without(n, ...names), inputs: [n.inputs[0] ?? null, ...all.map((v, i) => c.ints(v, names[i] as string))] }
}

const kToInput: Rule = (n, c) => withInput(without(n, 'k'), 1, c.ints([attrInt(n, 'k', 1)], 'k'))

/** A number of the same type as input 0. */
function like(n: Node, c: Raising, value: number, what: string): string {
  const dtype = c.floatType(n.inputs[0])
  if (dtype) return c.constant(tensor(dtype, [], [value]), what)
  return c.before('CastLike', [c.constant(tensor('float32', [], [value]), what), n.inputs[0] ?? null])
}

/** Opset 6 and below clamp at ±3.402823e38 by default, which is no bound. */
const boundsToInputs: Rule = (n, c) => {
  const [min, max] = [attrFloat(n, 'min', -Infinity), attrFloat(n, 'max', Infinity)]
  let out = without(n, 'min', 'max')
  if (min > -3.4028e38) out = withInput(out, 1, like(n, c, min, 'min'))
  if (max < 3.4028e38) out = withInput(out, 2, like(n, c, max, 'max'))
  return out
}

const padsToInputs: Rule = (n, c) => {
  const value = attrFloat(n, 'value', 0)
  const out = withInput(without(n, 'pads', 'value'), 1, c.ints(attrInts(n, 'pads') ?? [], 'pads'))
  return value === 0 ? out : withInput(out, 2, like(n, c, value, 'value'))
}

const paddings: Rule = (n) => withAttrs(without(n, 'paddings'), { pads: attrInts(n, 'paddings') ?? [] })

const splitByAttribute: Rule = (n) => (n.inputs[1] == null ? n : cannotRaise(n, 'its sizes are an input of opset 1'))

const countOutputs: Rule = (n) => (n.inputs[1] == null ? withAttrs(n, { num_outputs: n.outputs.length }) : n)

const axisToInput: Rule = (n, c) =>
  withInput(without(n, 'axis'), 2, c.constant(tensor('int64', [], [attrInt(n, 'axis', 1)]), 'axis'))

// ---------------------------------------------------------------- resizing

const scalesOfSides: Rule = (n) => {
  const sides = hasAttr(n, 'height_scale') || hasAttr(n, 'width_scale')
  const scales = [1, 1, attrFloat(n, 'height_scale', 1), attrFloat(n, 'width_scale', 1)]
  const mode = attrString(n, 'mode', 'nearest') === 'bilinear' ? 'linear' : attrString(n, 'mode', 'nearest')
  const out = withAttrs(without(n, 'height_scale', 'width_scale'), { mode })
  return sides ? withAttrs(out, { scales: { kind: 'floats', value: scales } }) : out
}

const scalesToInput: Rule = (n, c) => {
  const scales = attrFloats(n, 'scales')
  return scales
    ? withInput(without(n, 'scales'), 1, c.constant(tensor('float32', [scales.length], scales), 'scales'))
    : n
}

/** Upsample's scales are at least 1. */
const upsample: Rule = (n) => asymmetric({ ...n, op: 'Resize' }, 'floor')

function asymmetric(n: Node, rounding: 'floor' | 'ceil'): Node {
  const [x, scales] = n.inputs
  return withAttrs(
    { ...n, inputs: [x ?? null, null, scales ?? null] },
    { coordinate_transformation_mode: 'asymmetric', nearest_mode: rounding }
  )
}

/** Opset 10 left the rounding of `nearest` open: runtimes take the floor when enlarging, the ceiling when shrinking. */
const resizeRounding: Rule = (n, c) => {
  if (attrString(n, 'mode', 'nearest') !== 'nearest') return asymmetric(n, 'floor')
  const scales = c.data(n.inputs[1])
  if (!scales) return cannotRaise(n, 'whether it enlarges or shrinks is not known before running')
  const values = Array.from(toNumbers(scales))
  if (values.every((s) => s >= 1)) return asymmetric(n, 'floor')
  return values.every((s) => s <= 1)
    ? asymmetric(n, 'ceil')
    : cannotRaise(n, 'it enlarges one axis and shrinks another')
}

/** Empty tensors stood for inputs left out. */
const emptyInputs: Rule = (n, c) => {
  const isEmpty = (id: string | null): boolean => c.data(id)?.shape.includes(0) ?? false
  const inputs = n.inputs.map((id, i) => ((i === 1 || i === 2) && isEmpty(id) ? null : id))
  return { ...n, inputs }
}

const interpolation: Rule = (n) => {
  const names: Readonly<Record<string, string>> = { bilinear: 'linear', bicubic: 'cubic' }
  const mode = attrString(n, 'mode', 'bilinear')
  return withAttrs(n, { mode: names[mode] ?? mode })
}

// ---------------------------------------------------------------- softmax, scan

/** Before opset 13 all axes from `axis` on were one. Plain where only one of them is longer than 1. */
const flattened: Rule = (n, c) => {
  const axis = attrInt(n, 'axis', 1)
  const shape = c.shape(n.inputs[0]) ?? c.shape(n.outputs[0])
  const at = shape && axis < 0 ? axis + shape.length : axis
  if (shape && at >= 0 && at < shape.length && shape.slice(at + 1).every((d) => d === 1))
    return withAttrs(n, { axis: at })
  const x = n.inputs[0] ?? null
  const whole = c.before('Shape', [x])
  const flat = c.before('Flatten', [x], { axis })
  return c.behind(withAttrs({ ...n, inputs: [flat] }, { axis: -1 }), 0, 'Reshape', [whole], { allowzero: 1 })
}

/** Opset 8 scanned every sample of a batch: a Scan over the batch around the Scan over time. */
const batchOfScans: Rule = (n, c) => {
  if (n.inputs[0] != null) cannotRaise(n, 'its sequences differ in length')
  const body = attrGraph(n, 'body')
  if (!body) return cannotRaise(n, 'it has no body')
  const outer = n.inputs.slice(1)
  const directions = attrInts(n, 'directions')
  const inputs = outer.map((_, i): Value => ({ id: c.fresh(`sample_${i}`), type: 'tensor' }))
  const inner: Node = {
    ...n,
    name: `${n.name}_sample`,
    inputs: inputs.map((v) => v.id),
    outputs: n.outputs.map((_, i) => c.fresh(`of_sample_${i}`)),
    attrs: withAttrs(without(n, 'directions'), directions ? { scan_input_directions: directions } : {}).attrs
  }
  const graph = graphOf(`${n.name}_batch`, inner, inputs, inner.outputs)
  return withAttrs(
    { ...n, inputs: outer, attrs: {} },
    { body: { kind: 'graph', value: graph }, num_scan_inputs: outer.length }
  )
}

// ---------------------------------------------------------------- the table

const elementwise = ['Add', 'And', 'Div', 'Equal', 'Greater', 'Less', 'Mul', 'Or', 'Pow', 'Sub', 'Xor']
const inPlace = ['Abs', 'Add', 'BatchNormalization', 'Ceil', 'Clip', 'Div', 'Dropout', 'Elu', 'Exp', 'Floor']
  .concat(['HardSigmoid', 'InstanceNormalization', 'LeakyRelu', 'Log', 'Max', 'Mean', 'Min', 'Mul', 'Neg', 'PRelu'])
  .concat(['Reciprocal', 'Relu', 'Selu', 'Sigmoid', 'Sqrt', 'Sub', 'Sum', 'Tanh'])
const reductions = [
  'ReduceL1',
  'ReduceL2',
  'ReduceLogSum',
  'ReduceLogSumExp',
  'ReduceMax',
  'ReduceMean',
  'ReduceMin'
].concat(['ReduceProd', 'ReduceSumSquare'])

const changes: readonly Change[] = [
  { op: ['LpPool', 'GlobalLpPool'], since: 2, rule: wholeNorm },
  { op: 'Pad', since: 2, rule: paddings },
  { op: 'Split', since: 2, rule: splitByAttribute },
  { op: 'Concat', since: 4, rule: defaults({ axis: 1 }) },
  { op: 'Reshape', since: 5, rule: shapeToInput },
  { op: inPlace, since: 6, rule: drop('consumed_inputs') },
  {
    op: 'Selu',
    since: 6,
    rule: defaults({ alpha: { kind: 'float', value: 1.6732 }, gamma: { kind: 'float', value: 1.0507 } })
  },
  { op: 'Cast', since: 6, rule: castByNumber },
  { op: 'Tile', since: 6, rule: (n) => cannotRaise(n, 'it repeats one axis') },
  { op: elementwise, since: 7, rule: broadcast },
  { op: 'Gemm', since: 7, rule: drop('broadcast') },
  { op: ['BatchNormalization', 'Dropout'], since: 7, rule: drop('is_test') },
  { op: 'PRelu', since: 7, rule: slopePerChannel },
  { op: ['RNN', 'GRU', 'LSTM'], since: 7, rule: drop('output_sequence') },
  { op: 'Upsample', since: 7, rule: scalesOfSides },
  { op: 'BatchNormalization', since: 9, rule: spatial },
  { op: 'MeanVarianceNormalization', since: 9, rule: axesOfVariance },
  { op: 'Scan', since: 9, rule: batchOfScans },
  { op: 'Upsample', since: 9, rule: scalesToInput },
  { op: 'Dropout', since: 10, rule: boolMask },
  { op: 'Slice', since: 10, rule: sliceInputs },
  { op: 'TopK', since: 10, rule: kToInput },
  { op: 'Upsample', since: 10, gives: 11, rule: upsample },
  { op: 'Clip', since: 11, rule: boundsToInputs },
  { op: 'Pad', since: 11, rule: padsToInputs },
  { op: 'Resize', since: 11, rule: resizeRounding },
  { op: 'Scatter', since: 11, rule: rename('ScatterElements') },
  { op: 'Dropout', since: 12, rule: ratioToInput },
  { op: ['ReduceSum', 'Squeeze', 'Unsqueeze'], since: 13, rule: intsToInput('axes', 1) },
  { op: 'Split', since: 13, rule: intsToInput('split', 1) },
  { op: ['Softmax', 'LogSoftmax', 'Hardmax'], since: 13, rule: flattened },
  { op: 'Resize', since: 13, rule: emptyInputs },
  { op: 'BatchNormalization', since: 14, rule: inferenceOutputs },
  { op: 'RoiAlign', since: 16, rule: defaults({ coordinate_transformation_mode: 'output_half_pixel' }) },
  { op: reductions, since: 18, rule: intsToInput('axes', 1) },
  { op: 'Split', since: 18, rule: countOutputs },
  { op: 'DFT', since: 20, rule: axisToInput },
  { op: 'GridSample', since: 20, rule: interpolation },
  { op: 'GroupNormalization', since: 21, rule: perChannel }
]
const table = byOperator(changes)
