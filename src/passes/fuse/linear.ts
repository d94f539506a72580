/**
 * Linear layers with constant weights: y = x·W + b. Scaling and shifting channels moves into W and b:
 *   after:   a·(x·W + b) + c = x·(W·a) + (a·b + c)        before:  (a·x + c)·W + b = x·(a·W) + (b + c·W)
 * The second holds with c ≠ 0 only where nothing is padded, since padding is zero after the shift, not before it.
 * All sums are float64; the result is rounded once, to the type of the weight.
 */
import type { GraphView } from '../../ir/graph.ts'
import { isFloat, tensor, tensorBytes, toNumbers } from '../../ir/tensor.ts'
import { linearOf } from '../../ops/ask.ts'
import { channelAt, isUnpadded } from '../../ops/linear.ts'
import type { Linear } from '../../ops/types.ts'
import type { DType, Node, Tensor, Value } from '../../types.ts'
import { constantBias, withBias } from '../biases.ts'
import type { Site } from './rule.ts'

/** A linear node with a constant weight. */
export interface LinearLayer {
  readonly node: Node
  readonly linear: Linear
  readonly weight: Value & { readonly data: Tensor }
  /** Constant bias in float64, one per output channel, its factor already applied; `undefined` where there is none. */
  readonly bias: Float64Array | undefined
  /** Of all groups. */
  readonly outChannels: number
  readonly inChannels: number
  /** Rank of the output, and the axis of its channels counted from the end: −1 is the last. */
  readonly rank: number | undefined
  readonly axis: number
  /** The axis of the channels of its data is not that of its output's. */
  readonly isTurned: boolean
}

/** a·x + c per channel. */
export interface Affine {
  readonly scale: Float64Array
  readonly shift: Float64Array
}

/** A node in a file with its names, about. */
const nodeBytes = 128

/** The node as a linear layer of floats, or why it is none; `undefined` where its weight is computed. */
export function linearLayer(node: Node, g: GraphView): LinearLayer | string | undefined {
  const linear = linearOf(g, node)
  const value = linear && g.value(node.inputs[linear.weight] ?? '')
  const data = linear && g.constant(node.inputs[linear.weight])
  if (!value || !data) return undefined
  if (!(data.dtype === 'float32' || data.dtype === 'float16' || data.dtype === 'float64'))
    return isFloat(data.dtype) ? `its weight is ${data.dtype}` : undefined
  const outChannels = linear.groups * linear.outputs
  const bias = constantBias(g, node, linear)
  if (typeof bias === 'string') return bias
  return {
    node,
    linear,
    weight: { ...value, data },
    bias,
    outChannels,
    inChannels: linear.groups * linear.inputs,
    rank: linear.patch ? linear.patch.axes.length + 2 : g.value(node.inputs[linear.data] ?? '')?.shape?.length,
    axis: linear.axes.out,
    isTurned: linear.axes.in !== linear.axes.out
  }
}

/** Why the weight cannot be multiplied by factors: it is stored in a form that holds few different values. */
export const unscalable = ({ weight: { form } }: LinearLayer): string | undefined =>
  ['plain', 'auto', 'gap', 'bitmap', undefined].includes(form) ? undefined : `its weight is stored as ${form}`

/** Can a layer take a shift of its output? One without a place for a bias becomes a Gemm, which only knows matrices. */
export const takesBias = (l: LinearLayer): boolean => l.linear.bias !== undefined || l.rank === 2

/** The new weight and bias; `undefined` where they stay as they are. A new bias includes Gemm's `beta`. */
export interface Absorbed {
  readonly weight: Tensor | undefined
  readonly bias: Tensor | undefined
}

/** y ↦ a·y + c after the node. */
export function absorbAfter(l: LinearLayer, f: Affine, site: Site): Absorbed | string {
  const bias = Float64Array.from(f.shift, (c, i) => c + (f.scale[i] as number) * (l.bias?.[i] ?? 0))
  const hasBias = l.bias !== undefined || bias.some((b) => b !== 0)
  return rounded(l, scaledBy(l, f.scale, 'out'), hasBias ? bias : undefined, site)
}

/** x ↦ a·x + c before the node. */
export function absorbBefore(l: LinearLayer, f: Affine, site: Site): Absorbed | string {
  const shifts = f.shift.some((c) => c !== 0)
  if (shifts && !isUnpadded(l.linear)) return 'a shift cannot move behind padding'
  let bias: Float64Array | undefined
  if (shifts) {
    const sums = new Float64Array(l.outChannels)
    const given = toNumbers(l.weight.data)
    const [to, from] = [channelAt(l.linear, 'out'), channelAt(l.linear, 'in')]
    const { alpha } = l.linear
    for (let i = 0; i < given.length; i++) {
      const c = f.shift[from(i)] as number
      sums[to(i)] = (sums[to(i)] as number) + alpha * c * (given[i] as number)
    }
    bias = sums.map((s, i) => s + (l.bias?.[i] ?? 0))
  }
  return rounded(l, scaledBy(l, f.scale, 'in'), bias, site)
}

function scaledBy(l: LinearLayer, scale: Float64Array, side: 'out' | 'in'): Float64Array | undefined {
  if (scale.every((a) => a === 1)) return undefined
  const at = channelAt(l.linear, side)
  const given = toNumbers(l.weight.data)
  const out = new Float64Array(given.length)
  for (let i = 0; i < out.length; i++) out[i] = (given[i] as number) * (scale[at(i)] as number)
  return out
}

function rounded(
  l: LinearLayer,
  weight: Float64Array | undefined,
  bias: Float64Array | undefined,
  site: Site
): Absorbed | string {
  const dtype = l.weight.data.dtype
  if (!fits(weight, dtype) || !fits(bias, dtype)) return `the result does not fit ${dtype}`
  if (weight) {
    const readers = site.draft.consumers(l.weight.id).length - 1
    const isShared = readers > 0 || site.draft.isOutput(l.weight.id)
    // A copy takes the place of a node and of at least one number for each channel.
    const gone = nodeBytes + l.outChannels * (tensorBytes(l.weight.data) / weight.length)
    const bytes = tensorBytes(l.weight.data)
    if (isShared && bytes > gone)
      return `its weight is shared with ${readers} other node(s), and a second copy takes ${bytes} bytes`
    const kept = unscalable(l)
    if (kept !== undefined) return kept
  }
  return {
    weight: weight && tensor(dtype, l.weight.data.shape, weight),
    bias: bias && tensor(dtype, [l.outChannels], bias)
  }
}

const largest: Partial<Record<DType, number>> = { float16: 65504, float32: 3.4028234663852886e38 }

function fits(values: Float64Array | undefined, dtype: DType): boolean {
  const limit = largest[dtype] ?? Number.MAX_VALUE
  return values?.every((x) => Math.abs(x) <= limit) ?? true
}

/** The node over `x` with its new weight and bias, making `output`. A product without a place for a bias becomes a Gemm. */
export function absorbed(l: LinearLayer, made: Absorbed, x: string, output: string, site: Site): Node {
  const { data, weight: at, bias: place } = l.linear
  const inputs = [...l.node.inputs]
  inputs[data] = x
  let weight = inputs[at] as string
  if (made.weight) {
    const { form, sparse } = l.weight
    weight = site.draft.addConstant(made.weight, l.weight.id, form ? { form } : {})
    const value = site.draft.value(weight)
    if (sparse && value) site.draft.set({ ...value, sparse })
  }
  inputs[at] = weight
  const base = { ...l.node, outputs: [output] }
  if (!made.bias) return { ...base, inputs }
  const { beta: _, ...attrs } = l.node.attrs
  const hint = (place && inputs[place.input]) ?? `${l.node.name || l.node.op}_bias`
  const bias = site.draft.addConstant(made.bias, hint)
  if (place) return withBias({ ...base, inputs }, l.linear, bias)
  const { domain: _domain, ...rest } = base
  return { ...rest, op: 'Gemm', inputs: [x, weight, bias], attrs }
}
