/** Functions along axes: Softmax along the last one only; normalizations spelled out. */
import { attrFloat, attrInt } from '../../../ir/attrs.ts'
import { elementCount, tensor, toFloats } from '../../../ir/tensor.ts'
import type { Order } from '../../../ops/types.ts'
import { type Rule, type Rules, refuse, type Site } from './site.ts'

/** Along the last axis, to which another one is moved. */
const alongLast =
  (code: string, fields: Record<string, { readonly kind: 'float'; readonly value: number }>): Rule =>
  (s) => {
    const { shape, as, dtype } = s.y
    const rank = shape.length
    const axis = (attrInt(s.node, 'axis', -1) + rank) % rank
    if (axis === rank - 1) {
      s.op(code, [s.id(0)], fields, { shape, as, dtype })
      return
    }
    const order: Order = [...shape.keys()].filter((a) => a !== axis).concat(axis)
    const made = s.op(code, [s.turned(s.id(0), order)], fields, { shape: order.map((a) => shape[a] as number), dtype })
    s.turned(
      made,
      order.map((_, i) => order.indexOf(i)),
      as
    )
  }

const floats = (s: Site, shape: readonly number[], values: ArrayLike<number>, hint: string): string =>
  s.data(tensor('float32', shape, values), `${s.y.as}_${hint}`)

/** x · scale/√(variance + ε) + (bias − mean · scale/√(variance + ε)). */
function batchNorm(s: Site): void {
  const [scale, bias, mean, variance] = [1, 2, 3, 4].map((i) => {
    const data = s.constant(i)
    return data ? toFloats(data) : refuse('its statistics are not constant')
  }) as [Float32Array, Float32Array, Float32Array, Float32Array]
  if (s.node.outputs.length > 1 || attrInt(s.node, 'training_mode', 0) !== 0) refuse('a form for training')
  const epsilon = attrFloat(s.node, 'epsilon', 1e-5)
  const factor = scale.map((g, i) => g / Math.sqrt((variance[i] as number) + epsilon))
  const shift = bias.map((b, i) => b - (mean[i] as number) * (factor[i] as number))
  const to = [factor.length, ...s.y.shape.slice(2).map(() => 1)]
  const scaled = s.onnx('Mul', [s.id(0), floats(s, to, factor, 'scale')], {}, { shape: s.y.shape })
  s.onnx('Add', [scaled, floats(s, to, shift, 'shift')], {}, s.y)
}

/** (x − mean) / √(mean of squares + ε) over some axes. */
function normalized(s: Site, x: string, axes: readonly number[], epsilon: number, centred: boolean): string {
  const { shape } = s.y
  const at = s.data(tensor('int64', [axes.length], axes))
  const reduced = { shape: shape.map((d, i) => (axes.includes(i) ? 1 : d)) }
  const mean = (id: string): string => s.onnx('ReduceMean', [id, at], { keepdims: 1 }, reduced)
  const difference = centred ? s.onnx('Sub', [x, mean(x)], {}, { shape }) : x
  const variance = mean(s.onnx('Mul', [difference, difference], {}, { shape }))
  const safe = s.onnx('Add', [variance, floats(s, [], [epsilon], 'epsilon')], {}, reduced)
  return s.onnx('Mul', [difference, s.op('RSQRT', [safe], {}, reduced)], {}, { shape })
}

const layerNorm =
  (centred: boolean): Rule =>
  (s) => {
    if (s.node.outputs.length > 1) refuse('statistics as further outputs')
    const { shape } = s.y
    const axis = (attrInt(s.node, 'axis', -1) + shape.length) % shape.length
    const axes = shape.flatMap((_, i) => (i < axis ? [] : [i]))
    const plain = normalized(s, s.id(0), axes, attrFloat(s.node, 'epsilon', 1e-5), centred)
    if (!s.has(2)) s.onnx('Mul', [plain, s.id(1)], {}, s.y)
    else s.onnx('Add', [s.onnx('Mul', [plain, s.id(1)], {}, { shape }), s.id(2)], {}, s.y)
  }

/** Over the places of every sample and channel. */
function instanceNorm(s: Site): void {
  const { shape } = s.y
  const axes = shape.flatMap((_, i) => (i < 2 ? [] : [i]))
  const to = [shape[1] as number, ...axes.map(() => 1)]
  const [scale, bias] = [1, 2].map((i) => {
    const data = s.constant(i)
    return data
      ? floats(s, to, toFloats(data), i === 1 ? 'scale' : 'bias')
      : refuse('its scale or bias is not constant')
  })
  const plain = normalized(s, s.id(0), axes, attrFloat(s.node, 'epsilon', 1e-5), true)
  s.onnx('Add', [s.onnx('Mul', [plain, scale as string], {}, { shape }), bias as string], {}, s.y)
}

/** Over groups of channels and their places: [batch, groups, channels of a group, …]. */
function groupNorm(s: Site): void {
  const { shape } = s.y
  const groups = attrInt(s.node, 'num_groups', 1)
  const channels = shape[1] as number
  const split = [shape[0] as number, groups, elementCount(shape.slice(1)) / groups]
  const list = (values: readonly number[]): string => s.data(tensor('int64', [values.length], values))
  const grouped = s.onnx('Reshape', [s.id(0), list(split)], {}, { shape: split })
  const at = list([2])
  const reduced = { shape: [split[0] as number, groups, 1] }
  const mean = (id: string): string => s.onnx('ReduceMean', [id, at], { keepdims: 1 }, reduced)
  const difference = s.onnx('Sub', [grouped, mean(grouped)], {}, { shape: split })
  const variance = mean(s.onnx('Mul', [difference, difference], {}, { shape: split }))
  const epsilon = floats(s, [], [attrFloat(s.node, 'epsilon', 1e-5)], 'epsilon')
  const safe = s.onnx('Add', [variance, epsilon], {}, reduced)
  const plain = s.onnx('Mul', [difference, s.op('RSQRT', [safe], {}, reduced)], {}, { shape: split })
  const back = s.onnx('Reshape', [plain, list(shape)], {}, { shape })
  const to = [channels, ...shape.slice(2).map(() => 1)]
  const [scale, bias] = [1, 2].map((i) => {
    const data = s.constant(i)
    return data
      ? floats(s, to, toFloats(data), i === 1 ? 'scale' : 'bias')
      : refuse('its scale or bias is not constant')
  })
  s.onnx('Add', [s.onnx('Mul', [back, scale as string], {}, { shape }), bias as string], {}, s.y)
}

export const normRules: Rules = {
  Softmax: alongLast('SOFTMAX', { beta: { kind: 'float', value: 1 } }),
  LogSoftmax: alongLast('LOG_SOFTMAX', {}),
  BatchNormalization: batchNorm,
  LayerNormalization: layerNorm(true),
  RMSNormalization: layerNorm(false),
  SimplifiedLayerNormalization: layerNorm(false),
  InstanceNormalization: instanceNorm,
  GroupNormalization: groupNorm
}
