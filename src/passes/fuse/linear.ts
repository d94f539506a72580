/**
 * What Conv, ConvTranspose, Gemm and MatMul have in common: y = x·W + b, linear, with one weight axis of output channels
 * and one of input channels. Scaling and shifting channels therefore moves into W and b:
 *   after:   a·(x·W + b) + c = x·(W·a) + (a·b + c)        before:  (a·x + c)·W + b = x·(a·W) + (b + c·W)
 * The second holds with c ≠ 0 only where nothing is padded, since padding is zero after the shift, not before it.
 * All sums are float64; the result is rounded once, to the type of the weight.
 */
import { attrFloat, attrInt, attrInts, attrString } from '../../ir/attrs.ts'
import { elementCount, isFloat, tensor, tensorBytes, toNumbers } from '../../ir/tensor.ts'
import type { DType, Node, Tensor, Value } from '../../types.ts'
import type { Site } from './rule.ts'

export const linearOps = ['Conv', 'ConvTranspose', 'Gemm', 'MatMul'] as const

/** A linear node with a constant weight. */
export interface Linear {
  readonly node: Node
  readonly weight: Value & { readonly data: Tensor }
  /** Constant bias in float64, one per output channel, its factor already applied; `undefined` where there is none. */
  readonly bias: Float64Array | undefined
  readonly outChannels: number
  readonly inChannels: number
  /** Rank of the output, and the axis of its channels counted from the end: −1 is the last. */
  readonly rank: number | undefined
  readonly axis: number
}

/** a·x + c per channel. */
export interface Affine {
  readonly scale: Float64Array
  readonly shift: Float64Array
}

/** Weights shared with other nodes are copied up to this many bytes. */
const copyBytes = 64 * 1024

/** The node as a linear one, or why it is none; `undefined` where its weight is computed. */
export function linearOf(node: Node, site: Site): Linear | string | undefined {
  const id = node.inputs[1]
  const value = site.value(id)
  const data = site.draft.constant(id)
  if (!value || !data) return undefined
  const weight = { ...value, data }
  if (!(data.dtype === 'float32' || data.dtype === 'float16' || data.dtype === 'float64'))
    return isFloat(data.dtype) ? `its weight is ${data.dtype}` : undefined
  const size = channelsOf(node, data.shape)
  if (!size) return node.op === 'MatMul' ? undefined : `its weight has shape [${data.shape}]`
  const bias = biasOf(node, size.out, site)
  if (typeof bias === 'string') return bias
  const isConv = node.op === 'Conv' || node.op === 'ConvTranspose'
  const rank = isConv ? data.shape.length : node.op === 'Gemm' ? 2 : site.value(node.inputs[0])?.shape?.length
  return {
    node,
    weight,
    bias,
    outChannels: size.out,
    inChannels: size.in,
    rank,
    axis: isConv ? 1 - data.shape.length : -1
  }
}

function channelsOf(node: Node, shape: readonly number[]): { out: number; in: number } | undefined {
  const [a = 0, b = 0] = shape
  const group = attrInt(node, 'group', 1)
  if (node.op === 'Conv') return shape.length > 2 && a % group === 0 ? { out: a, in: b * group } : undefined
  if (node.op === 'ConvTranspose') return shape.length > 2 && a % group === 0 ? { out: b * group, in: a } : undefined
  if (shape.length !== 2) return undefined
  return node.op === 'Gemm' && attrInt(node, 'transB', 0) === 1 ? { out: a, in: b } : { out: b, in: a }
}

function biasOf(node: Node, channels: number, site: Site): Float64Array | string | undefined {
  const id = node.op === 'MatMul' ? null : node.inputs[2]
  if (id === null || id === undefined) return undefined
  const data = site.draft.constant(id)
  if (!data) return 'its bias is not constant'
  const isVector = data.shape.at(-1) === channels && elementCount(data.shape) === channels
  if (!isVector && elementCount(data.shape) !== 1) return `its bias has shape [${data.shape}]`
  const beta = node.op === 'Gemm' ? attrFloat(node, 'beta', 1) : 1
  const given = toNumbers(data)
  return Float64Array.from({ length: channels }, (_, i) => beta * (given[isVector ? i : 0] as number))
}

/** Index of the output channel of a weight element by its position, or of the input channel. */
export function channelIndex(node: Node, shape: readonly number[], side: 'out' | 'in'): (i: number) => number {
  const [a = 1, b = 1] = shape
  const inner = elementCount(shape.slice(2))
  const first = (i: number): number => Math.floor(i / (b * inner))
  const second = (i: number): number => Math.floor(i / inner) % b
  const group = attrInt(node, 'group', 1)
  if (node.op === 'Conv') return side === 'out' ? first : (i) => Math.floor(first(i) / (a / group)) * b + second(i)
  if (node.op === 'ConvTranspose')
    return side === 'in' ? first : (i) => Math.floor(first(i) / (a / group)) * b + second(i)
  const isTransposed = node.op === 'Gemm' && attrInt(node, 'transB', 0) === 1
  return (side === 'out') === isTransposed ? first : second
}

/** Does every output see only real input, never padding? */
export function isUnpadded(node: Node): boolean {
  if (node.op === 'Gemm' || node.op === 'MatMul') return true
  if (node.op !== 'Conv') return false
  const auto = attrString(node, 'auto_pad', 'NOTSET')
  return auto === 'VALID' || (auto === 'NOTSET' && (attrInts(node, 'pads') ?? []).every((p) => p === 0))
}

/** The new weight and bias; `undefined` where they stay as they are. A new bias includes Gemm's `beta`. */
export interface Absorbed {
  readonly weight: Tensor | undefined
  readonly bias: Tensor | undefined
}

/** y ↦ a·y + c after the node. */
export function absorbAfter(l: Linear, f: Affine, site: Site): Absorbed | string {
  const bias = Float64Array.from(f.shift, (c, i) => c + (f.scale[i] as number) * (l.bias?.[i] ?? 0))
  const hasBias = l.bias !== undefined || bias.some((b) => b !== 0)
  return rounded(l, scaledBy(l, f.scale, 'out'), hasBias ? bias : undefined, site)
}

/** x ↦ a·x + c before the node. */
export function absorbBefore(l: Linear, f: Affine, site: Site): Absorbed | string {
  const shifts = f.shift.some((c) => c !== 0)
  if (shifts && !isUnpadded(l.node)) return 'a shift cannot move behind padding'
  let bias: Float64Array | undefined
  if (shifts) {
    const sums = new Float64Array(l.outChannels)
    const given = toNumbers(l.weight.data)
    const [to, from] = [
      channelIndex(l.node, l.weight.data.shape, 'out'),
      channelIndex(l.node, l.weight.data.shape, 'in')
    ]
    const alpha = l.node.op === 'Gemm' ? attrFloat(l.node, 'alpha', 1) : 1
    for (let i = 0; i < given.length; i++) {
      const c = f.shift[from(i)] as number
      sums[to(i)] = (sums[to(i)] as number) + alpha * c * (given[i] as number)
    }
    bias = sums.map((s, i) => s + (l.bias?.[i] ?? 0))
  }
  return rounded(l, scaledBy(l, f.scale, 'in'), bias, site)
}

function scaledBy(l: Linear, scale: Float64Array, side: 'out' | 'in'): Float64Array | undefined {
  if (scale.every((a) => a === 1)) return undefined
  const at = channelIndex(l.node, l.weight.data.shape, side)
  const given = toNumbers(l.weight.data)
  const out = new Float64Array(given.length)
  for (let i = 0; i < out.length; i++) out[i] = (given[i] as number) * (scale[at(i)] as number)
  return out
}

function rounded(
  l: Linear,
  weight: Float64Array | undefined,
  bias: Float64Array | undefined,
  site: Site
): Absorbed | string {
  const dtype = l.weight.data.dtype
  if (!fits(weight, dtype) || !fits(bias, dtype)) return `the result does not fit ${dtype}`
  if (weight) {
    const readers = site.draft.consumers(l.weight.id).length - 1
    const isShared = readers > 0 || site.draft.isOutput(l.weight.id)
    if (isShared && tensorBytes(l.weight.data) > copyBytes) return `its weight is shared with ${readers} other node(s)`
    if (!['plain', 'auto', 'gap', 'bitmap', undefined].includes(l.weight.form))
      return `its weight is stored as ${l.weight.form}`
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

/** The node over `x` with its new weight and bias, making `output`. A MatMul that gets a bias becomes a Gemm. */
export function absorbed(l: Linear, made: Absorbed, x: string, output: string, site: Site): Node {
  const [, weightId = null, biasId] = l.node.inputs
  let weight = weightId
  if (made.weight) {
    const { form, sparse } = l.weight
    weight = site.draft.addConstant(made.weight, l.weight.id, form ? { form } : {})
    const value = site.draft.value(weight)
    if (sparse && value) site.draft.set({ ...value, sparse })
  }
  const { beta: _, ...attrs } = l.node.attrs
  const base = { ...l.node, outputs: [output] }
  if (!made.bias) return { ...base, inputs: [x, weight, ...l.node.inputs.slice(2)] }
  const bias = site.draft.addConstant(made.bias, biasId ?? `${l.node.name || l.node.op}_bias`)
  return { ...base, op: l.node.op === 'MatMul' ? 'Gemm' : l.node.op, inputs: [x, weight, bias], attrs }
}
