/** Operators on each element alone, and activations. */
import { float } from '../../../ir/attrs.ts'
import type { Call, Convert, Rows } from '../call.ts'
import { range } from '../call.ts'

const same =
  (op: string): Convert =>
  (c) =>
    c.op(op, [c.value()])

const clamped =
  (name: string): Convert =>
  (c) =>
    c.activation(c.value(), name)

const compared =
  (op: string): Convert =>
  (c) =>
    c.op(op, [c.value(0), c.value(1)])

/** With the fused activation of the options. */
const activated =
  (op: string): Convert =>
  (c) =>
    c.activation(c.op(op, [c.value(0), c.value(1)]))

const folded =
  (op: string): Convert =>
  (c) =>
    c.op(op, c.values())

/** Rounded to −∞, where ONNX rounds integers to 0. Doubles hold every int32. */
function floorDiv(c: Call): string {
  const [x, y] = [c.value(0), c.value(1)]
  if (!c.isInteger()) return c.op('Floor', [c.op('Div', [x, y])])
  const quotient = c.op('Div', [c.cast(x, 'float64'), c.cast(y, 'float64')])
  return c.cast(c.op('Floor', [quotient]), c.outType())
}

/** The remainder has the divisor's sign. */
function floorMod(c: Call): string {
  const [x, y] = [c.value(0), c.value(1)]
  if (c.isInteger()) return c.op('Mod', [x, y])
  return c.op('Sub', [x, c.op('Mul', [c.op('Floor', [c.op('Div', [x, y])]), y])])
}

/** A condition of one axis chooses among the first axis of the others. */
function select(c: Call): string {
  const condition = c.value(0)
  const more = c.rank(1) - c.rank(0)
  const chosen = c.rank(0) === 1 && more > 0
  const placed = chosen ? c.op('Unsqueeze', [condition, c.ints(range(1, 1 + more))]) : condition
  return c.op('Where', [placed, c.value(1), c.value(2)])
}

/** The angle of (x, y): that of the quotient in the right half plane, turned by half a circle in the left one. */
function atan2(c: Call): string {
  const [y, x] = [c.value(0), c.value(1)]
  const zero = c.scalar(0)
  const angle = c.op('Atan', [c.op('Div', [y, x])])
  const turn = c.op('Where', [c.op('Less', [y, zero]), c.scalar(-Math.PI), c.scalar(Math.PI)])
  const turned = c.op('Where', [c.op('Less', [x, zero]), c.op('Add', [angle, turn]), angle])
  // 0 / 0 is no number, and the angle there 0.
  const both = c.op('And', [c.op('Equal', [x, zero]), c.op('Equal', [y, zero])])
  return c.op('Where', [both, zero, turned])
}

export const elementwiseRows: Rows = {
  ABS: same('Abs'),
  NEG: same('Neg'),
  EXP: same('Exp'),
  LOG: same('Log'),
  SQRT: same('Sqrt'),
  SIN: same('Sin'),
  COS: same('Cos'),
  CEIL: same('Ceil'),
  FLOOR: same('Floor'),
  ROUND: same('Round'),
  SIGN: same('Sign'),
  LOGISTIC: same('Sigmoid'),
  TANH: same('Tanh'),
  ELU: same('Elu'),
  HARD_SWISH: same('HardSwish'),
  LOGICAL_NOT: same('Not'),
  RSQRT: (c) => c.op('Reciprocal', [c.op('Sqrt', [c.value()])]),
  SQUARE: (c) => c.op('Mul', [c.value(), c.value()]),
  RELU: clamped('RELU'),
  RELU6: clamped('RELU6'),
  RELU_N1_TO_1: clamped('RELU_N1_TO_1'),
  RELU_0_TO_1: clamped('RELU_0_TO_1'),
  LEAKY_RELU: (c) => c.op('LeakyRelu', [c.value()], { alpha: float(c.number('alpha')) }),
  PRELU: compared('PRelu'),
  GELU: (c) => c.op('Gelu', [c.value()], { approximate: c.flag('approximate') ? 'tanh' : 'none' }),
  ADD: activated('Add'),
  SUB: activated('Sub'),
  MUL: activated('Mul'),
  DIV: activated('Div'),
  ADD_N: folded('Sum'),
  POW: compared('Pow'),
  MAXIMUM: folded('Max'),
  MINIMUM: folded('Min'),
  SQUARED_DIFFERENCE: (c) => {
    const difference = c.op('Sub', [c.value(0), c.value(1)])
    return c.op('Mul', [difference, difference])
  },
  FLOOR_DIV: floorDiv,
  FLOOR_MOD: floorMod,
  ATAN2: atan2,
  EQUAL: compared('Equal'),
  NOT_EQUAL: (c) => c.op('Not', [c.op('Equal', [c.value(0), c.value(1)])]),
  LESS: compared('Less'),
  LESS_EQUAL: compared('LessOrEqual'),
  GREATER: compared('Greater'),
  GREATER_EQUAL: compared('GreaterOrEqual'),
  LOGICAL_AND: compared('And'),
  LOGICAL_OR: compared('Or'),
  BITWISE_XOR: compared('BitwiseXor'),
  SELECT: select,
  SELECT_V2: (c) => c.op('Where', [c.value(0), c.value(1), c.value(2)])
}
