/**
 * Per-channel scales and shifts move into the linear node beside them. BatchNormalization at inference is one:
 *   y = γ·(x − μ)/√(σ² + ε) + β   ⇒   a = γ/√(σ² + ε),  c = β − μ·a        (ONNX BatchNormalization)
 * and so are Mul, Div, Add and Sub with a constant of one number per channel. linear.ts has the algebra of the rest.
 */
import { attrFloat, attrInt } from '../../ir/attrs.ts'
import { elementCount, toNumbers } from '../../ir/tensor.ts'
import type { Node } from '../../types.ts'
import {
  type Absorbed,
  type Affine,
  absorbAfter,
  absorbBefore,
  absorbed,
  type LinearLayer,
  linearLayer,
  takesBias
} from './linear.ts'
import { defineRule, type Site, usedElsewhere } from './rule.ts'
import { spelledOut } from './spelled.ts'

const linearOps = ['Conv', 'ConvTranspose', 'Gemm', 'MatMul'] as const
const affineOps = ['BatchNormalization', 'Mul', 'Div', 'Add', 'Sub'] as const

interface Found {
  readonly first: Node
  readonly second: Node
  readonly x: string
  readonly linear: LinearLayer
  readonly made: Absorbed
}

/** Conv → BatchNormalization and its like. */
export const absorbNext = defineRule<Found | string>({
  name: 'absorb-next',
  chain: [linearOps, affineOps],
  match: ([first, second], site) => {
    if (!first || !second) return undefined
    const isNorm = second.op === 'BatchNormalization'
    if (!isNorm && !otherConstant(second, first.outputs[0] ?? '', site)) return undefined
    const linear = linearLayer(first, site)
    if (linear === undefined) return isNorm ? `the weight of ${first.name || first.op} is not constant` : undefined
    if (typeof linear === 'string') return `${first.name || first.op}: ${linear}`
    const affine = affineOf(second, first.outputs[0] ?? '', linear, linear.outChannels, site)
    if (affine === undefined || typeof affine === 'string') return affine
    if (!takesBias(linear) && affine.shift.some((c) => c !== 0)) return undefined
    const used = usedElsewhere(first, site)
    if (used) return used
    const made = absorbAfter(linear, affine, site)
    const x = first.inputs[0]
    return typeof made === 'string' ? made : x == null ? undefined : { first, second, x, linear, made }
  },
  check: (found) => (typeof found === 'string' ? found : undefined),
  build: replaceBoth
})

/** Normalisation of the input → Conv and its like. */
export const absorbPrevious = defineRule<Found | string>({
  name: 'absorb-previous',
  chain: [affineOps, linearOps],
  match: ([first, second], site) => {
    if (!first || !second || second.inputs[0] !== first.outputs[0]) return undefined
    const x = variableInput(first, site)
    const linear = x === undefined ? undefined : linearLayer(second, site)
    if (x === undefined || linear === undefined || typeof linear === 'string' || linear.isTurned) return undefined
    const affine = affineOf(first, x, linear, linear.inChannels, site)
    if (affine === undefined || typeof affine === 'string') return affine
    const hasShift = affine.shift.some((c) => c !== 0)
    if (!takesBias(linear) && hasShift) return undefined
    const used = usedElsewhere(first, site)
    if (used) return used
    const pattern = spelledOut(first, site)
    if (pattern) return `it ends a ${pattern}, which runtimes compute in one kernel`
    const made = absorbBefore(linear, affine, site)
    return typeof made === 'string' ? made : { first, second, x, linear, made }
  },
  check: (found) => (typeof found === 'string' ? found : undefined),
  build: replaceBoth
})

function replaceBoth(found: Found | string, site: Site): void {
  if (typeof found === 'string') return
  const { first, second, x, linear, made } = found
  const node = absorbed(linear, made, x, second.outputs[0] ?? '', site)
  site.draft.remove(second)
  site.draft.replace(first, node)
}

/** The constant operand of a binary node whose other operand is `x`. */
const otherConstant = (node: Node, x: string, site: Site) =>
  site.draft.constant(node.inputs[node.inputs[0] === x ? 1 : 0])

function variableInput(node: Node, site: Site): string | undefined {
  const [a, b] = node.inputs
  if (node.op === 'BatchNormalization') return a ?? undefined
  const [isFixedA, isFixedB] = [site.draft.constant(a) !== undefined, site.draft.constant(b) !== undefined]
  if (isFixedA === isFixedB) return undefined
  return (isFixedA ? b : a) ?? undefined
}

/** The node as a·x + c over the channels of a linear node; `undefined` where it is not per channel. */
function affineOf(node: Node, x: string, l: LinearLayer, channels: number, site: Site): Affine | string | undefined {
  if (node.op === 'BatchNormalization') return normOf(node, x, l, channels, site)
  const data = otherConstant(node, x, site)
  const isFirst = node.inputs[0] === x
  const values = data && perChannel(data.shape, toNumbers(data), l, channels)
  if (!values) return undefined
  const fill = (v: number): Float64Array => new Float64Array(channels).fill(v)
  switch (node.op) {
    case 'Mul':
      return { scale: values, shift: fill(0) }
    case 'Div':
      return isFirst ? { scale: values.map((v) => 1 / v), shift: fill(0) } : undefined
    case 'Add':
      return { scale: fill(1), shift: values }
    default:
      return isFirst ? { scale: fill(1), shift: values.map((v) => -v) } : { scale: fill(-1), shift: values }
  }
}

/** One number per channel from a constant that broadcasts along the channel axis only, or from a single number. */
function perChannel(
  shape: readonly number[],
  values: ArrayLike<number>,
  l: LinearLayer,
  channels: number
): Float64Array | undefined {
  const needsRank = shape.length > -l.axis
  if (needsRank && (l.rank === undefined || shape.length > l.rank)) return undefined
  const isSingle = elementCount(shape) === 1
  const at = shape.length + l.axis
  if (!isSingle && (at < 0 || shape[at] !== channels || elementCount(shape) !== channels)) return undefined
  return Float64Array.from({ length: channels }, (_, i) => values[isSingle ? 0 : i] as number)
}

function normOf(node: Node, x: string, l: LinearLayer, channels: number, site: Site): Affine | string {
  if (node.inputs[0] !== x) return 'its parameters are computed'
  if (attrInt(node, 'training_mode', 0) !== 0) return 'BatchNormalization is in training mode'
  if (node.outputs.slice(1).some((id) => id && (site.draft.isOutput(id) || site.draft.consumers(id).length > 0)))
    return 'the statistics of BatchNormalization are used'
  if (l.rank === undefined || l.axis !== 1 - l.rank) return 'its channels are not those of the node beside it'
  const all = node.inputs.slice(1, 5).map((id) => site.draft.constant(id))
  if (all.length < 4 || all.some((t) => !t || elementCount(t.shape) !== channels))
    return 'its parameters are not constant, one per channel'
  const [gamma, beta, mean, variance] = all.map((t) => t && toNumbers(t)) as ArrayLike<number>[]
  const epsilon = attrFloat(node, 'epsilon', 1e-5)
  const scale = Float64Array.from(
    { length: channels },
    (_, i) => (gamma?.[i] as number) / Math.sqrt((variance?.[i] as number) + epsilon)
  )
  const shift = scale.map((a, i) => (beta?.[i] as number) - (mean?.[i] as number) * a)
  return { scale, shift }
}
