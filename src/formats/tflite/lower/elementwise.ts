/** Operators on each element alone. */
import { attrFloat, attrInt, attrString, float } from '../../../ir/attrs.ts'
import { codeOfDtype, dtypeOfCode } from '../../../ir/dtype-code.ts'
import { isFloat, toNumbers } from '../../../ir/tensor.ts'
import { codesOf, narrowOf, type Rule, type Rules, refuse, type Site, typeName } from './site.ts'

const same =
  (code: string): Rule =>
  (s) => {
    s.op(code, [s.id(0)], {}, s.y)
  }

const both =
  (code: string): Rule =>
  (s) => {
    s.op(code, [s.id(0), s.id(1)], {}, s.y)
  }

/** Of any number of operands, two at a time. */
const folded =
  (code: string): Rule =>
  (s) => {
    const ids = s.node.inputs.map((_, i) => s.id(i))
    if (ids.length === 1) {
      s.onnx('Identity', [ids[0] as string], {}, s.y)
      return
    }
    const { shape } = s.y
    const last = ids.pop() as string
    const first = ids.reduce((a, b) => s.op(code, [a, b], {}, { shape }))
    s.op(code, [first, last], {}, s.y)
  }

/** Bounds that TensorFlow Lite has an operator for. */
const clamps: readonly (readonly [low: number, high: number, code: string])[] = [
  [0, Number.POSITIVE_INFINITY, 'RELU'],
  [0, 6, 'RELU6'],
  [-1, 1, 'RELU_N1_TO_1'],
  [0, 1, 'RELU_0_TO_1']
]

function clip(s: Site): void {
  const bound = (i: number, open: number): number | undefined => {
    if (!s.has(i)) return open
    const data = s.constant(i)
    return data && toNumbers(data)[0]
  }
  const [low, high] = [bound(1, Number.NEGATIVE_INFINITY), bound(2, Number.POSITIVE_INFINITY)]
  const known = clamps.find(([a, b]) => a === low && b === high)
  if (known && isFloat(s.y.dtype)) {
    s.op(known[2], [s.id(0)], {}, s.y)
    return
  }
  const { shape } = s.y
  if (!s.has(1) && !s.has(2)) {
    s.onnx('Identity', [s.id(0)], {}, s.y)
    return
  }
  if (!s.has(1)) s.op('MINIMUM', [s.id(0), s.id(2)], {}, s.y)
  else if (!s.has(2)) s.op('MAXIMUM', [s.id(0), s.id(1)], {}, s.y)
  else s.op('MINIMUM', [s.op('MAXIMUM', [s.id(0), s.id(1)], {}, { shape }), s.id(2)], {}, s.y)
}

/** clamp(alpha · x + beta, 0, 1). */
function hardSigmoid(s: Site): void {
  const { shape } = s.y
  const [alpha, beta] = [attrFloat(s.node, 'alpha', 0.2), attrFloat(s.node, 'beta', 0.5)]
  const scaled = s.op('MUL', [s.id(0), s.number(alpha)], {}, { shape })
  s.op('RELU_0_TO_1', [s.op('ADD', [scaled, s.number(beta)], {}, { shape })], {}, s.y)
}

function elu(s: Site): void {
  if (attrFloat(s.node, 'alpha', 1) !== 1) refuse('an Elu of another alpha than 1')
  s.op('ELU', [s.id(0)], {}, s.y)
}

function gelu(s: Site): void {
  s.op('GELU', [s.id(0)], { approximate: Number(attrString(s.node, 'approximate', 'none') === 'tanh') }, s.y)
}

/** x · sigmoid(alpha · x). */
function swish(s: Site): void {
  const { shape } = s.y
  const alpha = attrFloat(s.node, 'alpha', 1)
  const x = alpha === 1 ? s.id(0) : s.op('MUL', [s.id(0), s.number(alpha)], {}, { shape })
  s.op('MUL', [s.id(0), s.op('LOGISTIC', [x], {}, { shape })], {}, s.y)
}

/** log(1 + eˣ) as max(x, 0) + log(1 + e^−|x|), which does not overflow. */
function softplus(s: Site): void {
  const { shape } = s.y
  const small = s.op('EXP', [s.op('NEG', [s.op('ABS', [s.id(0)], {}, { shape })], {}, { shape })], {}, { shape })
  const log = s.op('LOG', [s.op('ADD', [small, s.number(1)], {}, { shape })], {}, { shape })
  s.op('ADD', [s.op('RELU', [s.id(0)], {}, { shape }), log], {}, s.y)
}

function mean(s: Site): void {
  const { shape, as, dtype } = s.y
  const ids = s.node.inputs.map((_, i) => s.id(i))
  const sum = ids.reduce((a, b) => s.op('ADD', [a, b], {}, { shape }))
  s.op('MUL', [sum, s.number(1 / ids.length)], {}, { shape, as, dtype })
}

/** The slope has no batch. */
function prelu(s: Site): void {
  const id = s.id(1)
  const [narrow, codes] = [narrowOf(s.draft, id), codesOf(s.draft, id)]
  const data = s.constant(1) ?? narrow?.data ?? codes?.data ?? refuse('its slopes are not constant')
  const rank = s.y.shape.length
  const whole = [...Array<number>(Math.max(0, rank - data.shape.length)).fill(1), ...data.shape]
  if (whole[0] !== 1) refuse('slopes for each sample')
  const shape = whole.slice(1)
  const made = s.data({ ...data, shape }, narrow?.node.inputs[0] ?? codes?.node.inputs[0] ?? id)
  const result = { shape, dtype: 'float32' } as const
  const slope = narrow
    ? s.op('DEQUANTIZE', [made], {}, result)
    : codes
      ? s.onnx(codes.node.op, [made, ...codes.node.inputs.slice(1)], {}, result)
      : made
  s.op('PRELU', [s.id(0), slope], {}, s.y)
}

function cast(s: Site): void {
  const to = dtypeOfCode(attrInt(s.node, 'to', 0)) ?? refuse('the type is not known')
  const from = s.facts.inputs[0]?.dtype ?? refuse('the type of its input is not known')
  if (from === 'float16' && to === 'float32') {
    s.op('DEQUANTIZE', [s.id(0)], {}, s.y)
    return
  }
  s.op('CAST', [s.id(0)], { in_data_type: typeName(from), out_data_type: typeName(to) }, s.y)
}

/** Fmod, of the sign of the dividend, has no counterpart. */
function mod(s: Site): void {
  if (attrInt(s.node, 'fmod', 0) !== 0) refuse('a remainder of the sign of the dividend')
  s.op('FLOOR_MOD', [s.id(0), s.id(1)], {}, s.y)
}

/** Division of integers rounds to 0. */
function div(s: Site): void {
  s.op('DIV', [s.id(0), s.id(1)], {}, s.y)
}

function where(s: Site): void {
  s.op('SELECT_V2', [s.id(0), s.id(1), s.id(2)], {}, s.y)
}

export const elementwiseRules: Rules = {
  Abs: same('ABS'),
  Neg: same('NEG'),
  Exp: same('EXP'),
  Log: same('LOG'),
  Sqrt: same('SQRT'),
  Sin: same('SIN'),
  Cos: same('COS'),
  Ceil: same('CEIL'),
  Floor: same('FLOOR'),
  Round: same('ROUND'),
  Sign: same('SIGN'),
  Not: same('LOGICAL_NOT'),
  Relu: same('RELU'),
  Sigmoid: same('LOGISTIC'),
  Tanh: same('TANH'),
  HardSwish: same('HARD_SWISH'),
  Elu: elu,
  Gelu: gelu,
  'com.microsoft:Gelu': gelu,
  'com.microsoft:QuickGelu': swish,
  Swish: swish,
  Softplus: softplus,
  HardSigmoid: hardSigmoid,
  LeakyRelu: (s) => s.op('LEAKY_RELU', [s.id(0)], { alpha: float(attrFloat(s.node, 'alpha', 0.01)) }, s.y),
  PRelu: prelu,
  Clip: clip,
  Reciprocal: (s) => s.op('DIV', [s.number(1), s.id(0)], {}, s.y),
  Add: both('ADD'),
  Sub: both('SUB'),
  Mul: both('MUL'),
  Div: div,
  Pow: both('POW'),
  Mod: mod,
  Max: folded('MAXIMUM'),
  Min: folded('MINIMUM'),
  Sum: folded('ADD'),
  Mean: mean,
  Equal: both('EQUAL'),
  Less: both('LESS'),
  LessOrEqual: both('LESS_EQUAL'),
  Greater: both('GREATER'),
  GreaterOrEqual: both('GREATER_EQUAL'),
  And: both('LOGICAL_AND'),
  Or: both('LOGICAL_OR'),
  BitwiseXor: both('BITWISE_XOR'),
  Where: where,
  Cast: cast,
  CastLike: (s) => {
    const to = s.facts.inputs[1]?.dtype ?? refuse('the type is not known')
    s.onnx('Cast', [s.id(0)], { to: codeOfDtype(to) }, s.y)
  }
}
