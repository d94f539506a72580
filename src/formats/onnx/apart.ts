/** Newer operators in terms of older ones: the node becomes the last of a chain. */
import { attrFloat, attrInt, attrString, float } from '../../ir/attrs.ts'
import { codeOfDtype } from '../../ir/dtype-code.ts'
import { tensor } from '../../ir/tensor.ts'
import type { DType, Node } from '../../types.ts'
import { cannotLower } from './lowering.ts'
import { shapeOf } from './older-forms.ts'
import type { Raising, Rule } from './raise.ts'

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

export const gelu: Rule = (n, c) => {
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

export const mish: Rule = (n, c) =>
  ending(n, 'Mul', [n.inputs[0] ?? null, c.before('Tanh', [c.before('Softplus', n.inputs)])])

export const hardSwish: Rule = (n, c) =>
  ending(n, 'Mul', [n.inputs[0] ?? null, c.before('HardSigmoid', n.inputs, { alpha: float(1 / 6), beta: float(0.5) })])

export const swish: Rule = (n, c) => {
  const [x, alpha] = [n.inputs[0] as string, attrFloat(n, 'alpha', 1)]
  const scaled = alpha === 1 ? x : c.before('Mul', [x, number(n, c, alpha, 'alpha')])
  return ending(n, 'Mul', [x, c.before('Sigmoid', [scaled])])
}

export const castLike: Rule = (n, c) => ({
  ...ending(n, 'Cast', n.inputs.slice(0, 1)),
  attrs: castTo(floatOf(n, c, 1))
})

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

export const layerNorm: Rule = (n, c) => {
  if (n.outputs.slice(1).some((id) => id !== '')) cannotLower('its mean or deviation is read')
  const axes = lastAxes(n, c)
  const normal = inFloat32(n, c, (x) =>
    overDeviation(n, c, c.before('Sub', [x, c.before('ReduceMean', [x, axes])]), axes)
  )
  const [, scale, bias] = n.inputs
  if (bias == null) return ending(n, 'Mul', [normal, scale ?? null])
  return ending(n, 'Add', [c.before('Mul', [normal, scale ?? null]), bias])
}

export const rmsNorm: Rule = (n, c) => {
  const axes = lastAxes(n, c)
  return ending(n, 'Mul', [inFloat32(n, c, (x) => overDeviation(n, c, x, axes)), n.inputs[1] ?? null])
}

/** Groups become instances: [N, C, …] → [N, G, …] → InstanceNormalization → back, then scale and bias per channel. */
export const groupNorm: Rule = (n, c) => {
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
