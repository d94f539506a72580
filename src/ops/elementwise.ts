/** Element-wise arithmetic with numpy broadcasting, casts and selections. Their arithmetic is not counted as work. */
import { unknownDim } from '../base/dim.ts'
import { attrInt } from '../ir/attrs.ts'
import { dtypeOfCode } from '../ir/dtype-code.ts'
import { isFloat, isInteger, toNumbers } from '../ir/tensor.ts'
import type { Dim, DType } from '../types.ts'
import { everyAxis } from './channels.ts'
import { binaryContent, contentOver, inType, unaryContent } from './content.ts'
import { elementwiseGrads } from './elementwise.grad.ts'
import { broadcast, contentOf, dtypeOf, elementsOf, freeOp, shapeOf, single, tensorType, withGrads } from './op.ts'
import { together } from './permute.ts'
import type { Known, NodeFacts, NodeView, Op, QuantRule } from './types.ts'

const both: QuantRule = { inputs: [0, 1], output: 'own' }

/** The first element type known among the inputs. */
export const anyDtype = (n: NodeView, from = 0): DType | undefined =>
  n.inputs.slice(from).find((k) => k?.dtype !== undefined)?.dtype

/** All inputs broadcast; one element type for all. */
export function inferBroadcast(n: NodeView): readonly Known[] {
  const shape = broadcast(
    n,
    n.inputs.map((k) => k?.shape)
  )
  // Mod's content is that of fmod = 0.
  const f = attrInt(n.node, 'fmod', 0) === 0 ? binaryContent[n.node.op] : undefined
  const content = f && shape && shape.length <= 1 && n.inputs.length > 0 ? contentOver(n, f) : undefined
  return [tensorType(anyDtype(n), shape, content)]
}

function inferUnary(n: NodeView): readonly Known[] {
  const f = unaryContent[n.node.op]
  return [tensorType(dtypeOf(n, 0), shapeOf(n, 0), f && contentOver(n, f, 1))]
}

function inferCast(n: NodeView): readonly Known[] {
  const to = n.node.op === 'Cast' ? dtypeOfCode(attrInt(n.node, 'to', 0)) : dtypeOf(n, 1)
  return [tensorType(to, shapeOf(n, 0), to && castContent(n, to))]
}

/** The same bits as another type of the same width. */
const inferBitCast = (n: NodeView): readonly Known[] => [
  tensorType(dtypeOfCode(attrInt(n.node, 'to', 0)), shapeOf(n, 0))
]

function castContent(n: NodeView, to: DType): readonly Dim[] | undefined {
  const from = dtypeOf(n, 0)
  if (!from) return undefined
  if (to === 'bool') return elementsOf(n, 0)?.map((d) => (typeof d === 'number' ? Number(d !== 0) : unknownDim))
  if (!isInteger(to) && to !== 'float32' && to !== 'float64') return undefined
  return elementsOf(n, 0)?.map((d) => {
    if (typeof d === 'string') return d
    if (Math.abs(d) === 2 ** 63) return to === 'int64' ? d : unknownDim
    return inType(isFloat(from) && isInteger(to) ? Math.trunc(d) : d, to)
  })
}

function inferWhere(n: NodeView): readonly Known[] {
  const shape = broadcast(n, [shapeOf(n, 0), shapeOf(n, 1), shapeOf(n, 2)])
  const pick = (args: readonly Dim[]): Dim => {
    const [c, a = unknownDim, b = unknownDim] = args
    return c === 1 ? a : c === 0 || a === b ? b : unknownDim
  }
  const content = shape && shape.length <= 1 ? contentOver(n, pick) : undefined
  return [tensorType(anyDtype(n, 1), shape, content)]
}

function inferClip(n: NodeView): readonly Known[] {
  const { min, max } = { min: contentOf(n, 1)?.[0], max: contentOf(n, 2)?.[0] }
  const isPlain =
    (n.inputs[1] === undefined || typeof min === 'number') && (n.inputs[2] === undefined || typeof max === 'number')
  const content = (shapeOf(n, 0)?.length ?? 2) <= 1 && isPlain ? contentOf(n, 0) : undefined
  const clip = (d: Dim): Dim =>
    typeof d === 'number'
      ? Math.min(Math.max(d, Number(min ?? Number.NEGATIVE_INFINITY)), Number(max ?? Number.POSITIVE_INFINITY))
      : unknownDim
  return [tensorType(dtypeOf(n, 0), shapeOf(n, 0), content?.map(clip))]
}

/** Constant bounds of a Clip; `undefined` while one is computed. */
function clampOf(n: NodeFacts): { low: number; high: number } | undefined {
  const bound = (i: number, open: number): number | undefined => {
    if ((n.node.inputs[i] ?? null) === null) return open
    const data = n.inputs[i]?.data
    return data && toNumbers(data)[0]
  }
  const low = bound(1, Number.NEGATIVE_INFINITY)
  const high = bound(2, Number.POSITIVE_INFINITY)
  return low === undefined || high === undefined ? undefined : { low, high }
}

const inferIs = (n: NodeView): readonly Known[] => [tensorType('bool', shapeOf(n, 0))]

/** The exponent may have a type of its own. */
const inferPow = (n: NodeView): readonly Known[] => [
  { ...(inferBroadcast(n)[0] as Known), ...tensorType(dtypeOf(n, 0), undefined) }
]

const unary = ['Abs', 'Acos', 'Acosh', 'Asin', 'Asinh', 'Atan', 'Atanh', 'Ceil', 'Cos', 'Cosh', 'Erf', 'Exp', 'Floor']
const unaryToo = ['Log', 'Neg', 'Reciprocal', 'Round', 'Sign', 'Sin', 'Sinh', 'Sqrt', 'Tan', 'BitwiseNot']
const broadcasting = ['Sub', 'Mod', 'BitShift', 'BitwiseAnd', 'BitwiseOr', 'BitwiseXor']

const alike = (name: string, o: Partial<Op>): Op => freeOp(name, { channels: everyAxis, permute: together(), ...o })

export const elementwiseOps: readonly Op[] = withGrads(elementwiseGrads, [
  ...[...unary, ...unaryToo].map((name) => alike(name, { infer: inferUnary })),
  alike('Add', { infer: inferBroadcast, quant: { ...both, fewestCodes: 2, sums: true }, homogeneous: [[0, 1]] }),
  alike('Mul', { infer: inferBroadcast, quant: both, homogeneous: [[0], [1]] }),
  ...[...broadcasting, 'Mean', 'Sum'].map((name) => alike(name, { infer: inferBroadcast })),
  ...['Max', 'Min'].map((name) => alike(name, { infer: inferBroadcast, ...single })),
  alike('Div', { infer: inferBroadcast, divides: [1] }),
  alike('Pow', { infer: inferPow }),
  alike('Cast', { infer: inferCast }),
  alike('CastLike', { infer: inferCast, permute: together([0]) }),
  // Not in the engine yet, so that nothing holds a rule for channels.
  freeOp('SwiGLU', { infer: inferBroadcast }),
  freeOp('BitCast', { infer: inferBitCast }),
  alike('Where', { infer: inferWhere, quant: { inputs: [1, 2], output: 'own', fewestCodes: 32 } }),
  alike('Clip', { infer: inferClip, quant: { inputs: [0], output: 'own', clamp: clampOf } }),
  alike('IsNaN', { infer: inferIs }),
  alike('IsInf', { infer: inferIs })
])
