/** Scales and zero points: of nodes that round, and of constants that are rounded here. */

import { attrInt } from '../../../ir/attrs.ts'
import type { GraphView } from '../../../ir/graph.ts'
import { elementCount, ints, rangeOf, tensor, toFloats } from '../../../ir/tensor.ts'
import type { DType, Node, Tensor } from '../../../types.ts'
import { isRounding } from '../lower/index.ts'
import type { QuantizationParameters } from '../model.ts'

/** Codes `q` stand for `scale · (q − zero)`: one for all, or one for each position along `axis`. */
export interface Parameters {
  readonly dtype: DType
  readonly scale: readonly number[]
  readonly zero: readonly number[]
  readonly axis?: number
}

/** What a QuantizeLinear or DequantizeLinear with constant parameters rounds by; `undefined` for blocks, and for other nodes. */
export function parametersOf(g: GraphView, node: Node | undefined): Parameters | undefined {
  if (!node || !isRounding(node) || attrInt(node, 'block_size', 0) !== 0) return undefined
  const codes = g.value((node.op === 'QuantizeLinear' ? node.outputs[0] : node.inputs[0]) ?? '')
  const scale = g.constant(node.inputs[1])
  const zero = node.inputs[2] == null ? undefined : g.constant(node.inputs[2])
  if (!codes?.dtype || !scale || (node.inputs[2] != null && !zero)) return undefined
  const scales = Array.from(toFloats(scale))
  const zeros = zero ? ints(zero) : scales.map(() => 0)
  const rank = codes.shape?.length ?? 0
  const axis = scale.shape.length === 0 || scales.length === 1 ? undefined : (attrInt(node, 'axis', 1) + rank) % rank
  return { dtype: codes.dtype, scale: scales, zero: zeros, ...(axis === undefined ? {} : { axis }) }
}

/** Scales this close, relative to their size, move no code by a thousandth of a step. */
const close = 4e-6

export const sameParameters = (a: Parameters, b: Parameters): boolean =>
  a.dtype === b.dtype &&
  a.axis === b.axis &&
  a.scale.length === b.scale.length &&
  a.scale.every((s, i) => Math.abs(s - (b.scale[i] as number)) <= close * s) &&
  a.zero.every((z, i) => z === b.zero[i])

export const isPerTensor = (p: Parameters | undefined): p is Parameters => p !== undefined && p.axis === undefined

/** As the file says it. */
export const written = ({ scale, zero, axis }: Parameters): QuantizationParameters => ({
  scale,
  zero_point: zero,
  ...(axis === undefined ? {} : { quantized_dimension: axis })
})

/** The bias of a layer as codes: their scale is that of data times weight, for each output. */
export function biasCodes(data: Tensor, x: Parameters, weight: Parameters): { codes: Tensor; by: Parameters } {
  const scale = weight.scale.map((s) => Math.fround(s * (x.scale[0] as number)))
  const dtype = x.dtype === 'int16' ? 'int64' : 'int32'
  const values = Array.from(toFloats(data), (b, i) => b / (scale[scale.length === 1 ? 0 : i] as number))
  const axis = scale.length === 1 ? {} : { axis: 0 }
  return { codes: tensor(dtype, data.shape, values), by: { dtype, scale, zero: scale.map(() => 0), ...axis } }
}

/** A constant between computed values, from its smallest to its largest number, 0 among them. */
export function constantCodes(data: Tensor, dtype: DType): { codes: Tensor; by: Parameters } {
  const values = toFloats(data)
  const { min, max } = rangeOf(dtype)
  let [low, high] = [0, 0]
  for (const v of values) {
    low = Math.min(low, v)
    high = Math.max(high, v)
  }
  const isSymmetric = dtype === 'int16'
  const reach = isSymmetric ? Math.max(-low, high) / max : (high - low) / (max - min)
  const scale = Math.fround(Math.max(reach, 1e-9))
  const zero = isSymmetric ? 0 : Math.round(min - low / scale)
  return {
    codes: tensor(
      dtype,
      data.shape,
      Array.from(values, (v) => v / scale + zero)
    ),
    by: { dtype, scale: [scale], zero: [zero] }
  }
}

/** The numbers that constant codes stand for. */
export function dequantized({ data }: { readonly data: Tensor }, by: Parameters): Tensor {
  const inner = by.axis === undefined ? 1 : elementCount(data.shape.slice(by.axis + 1))
  const at = (i: number): number => (by.axis === undefined ? 0 : Math.floor(i / inner) % by.scale.length)
  const values = ints(data).map((q, i) => (q - (by.zero[at(i)] as number)) * (by.scale[at(i)] as number))
  return tensor('float32', data.shape, values)
}
