/** Convolutions: channels last, weights as [outputs, height, width, inputs], depthwise as [1, height, width, outputs]. */
import { attrInt, attrInts, attrString } from '../../../ir/attrs.ts'
import { tensor } from '../../../ir/tensor.ts'
import { type Rules, refuse, type Site, toFirst, toLast } from './site.ts'
import { namedPadding, padded, windowsOf } from './window.ts'

/** A node along one axis as one along two, the first of size 1. */
function widened(s: Site, op: string, weightAxis: number): void {
  const [x, w, y] = [s.dims(0), s.dims(1), s.y]
  const at = s.data(tensor('int64', [1], [2]))
  const wide = (id: string, shape: readonly number[]): string =>
    s.onnx('Unsqueeze', [id, at], {}, { shape: shape.toSpliced(2, 0, 1) })
  const reshaped = (id: string): string => {
    const constant = s.draft.constant(id)
    return constant
      ? s.data({ ...constant, shape: constant.shape.toSpliced(weightAxis, 0, 1) }, id)
      : wideCodes(s, id, w)
  }
  const two = (name: string, first: number): readonly number[] | undefined => {
    const given = attrInts(s.node, name)
    return given && (given.length === 2 ? [0, given[0] as number, 0, given[1] as number] : [first, ...given])
  }
  const attrs = {
    ...s.node.attrs,
    kernel_shape: [1, w[2] as number],
    strides: two('strides', 1),
    dilations: two('dilations', 1),
    pads: two('pads', 0),
    output_padding: two('output_padding', 0)
  }
  const inputs = [wide(s.id(0), x), reshaped(s.id(1)), ...s.node.inputs.slice(2)]
  const made = s.onnx(op, inputs, attrs, { shape: y.shape.toSpliced(2, 0, 1) })
  s.onnx('Squeeze', [made, at], {}, y)
}

function wideCodes(s: Site, id: string, shape: readonly number[]): string {
  const node = s.draft.producer(id)
  const codes = s.draft.constant(node?.inputs[0])
  if (node?.op !== 'DequantizeLinear' || !codes) refuse('its weight is not constant')
  const made = s.data({ ...codes, shape: codes.shape.toSpliced(2, 0, 1) }, node.inputs[0] as string)
  return s.onnx(node.op, [made, ...node.inputs.slice(1)], node.attrs, { shape: shape.toSpliced(2, 0, 1) })
}

function conv(s: Site): void {
  const [x, w, y] = [s.dims(0), s.dims(1), s.y]
  if (x.length === 3) {
    widened(s, 'Conv', 2)
    return
  }
  if (x.length !== 4) refuse(`a convolution along ${x.length - 2} axes`)
  const group = attrInt(s.node, 'group', 1)
  const [inputs, outputs] = [x[1] as number, y.shape[1] as number]
  const isDepthwise = group > 1 && group === inputs
  const windows = windowsOf(s, w.slice(2), x.slice(2), y.shape.slice(2))
  const padding = namedPadding(windows, x.slice(2), y.shape.slice(2))
  const data = padding === undefined ? padded(s, s.id(0), windows) : s.id(0)
  const weight = s.turned(s.id(1), isDepthwise ? [1, 2, 3, 0] : [0, 2, 3, 1])
  const bias = s.has(2) ? s.id(2) : s.data(tensor('float32', [outputs], new Float32Array(outputs)), `${y.as}_bias`)
  const made = s.op(
    isDepthwise ? 'DEPTHWISE_CONV_2D' : 'CONV_2D',
    [s.turned(data, toLast(4)), weight, bias],
    {
      padding: padding ?? 'VALID',
      stride_h: windows.stride[0],
      stride_w: windows.stride[1],
      dilation_h_factor: windows.dilation[0],
      dilation_w_factor: windows.dilation[1],
      ...(isDepthwise ? { depth_multiplier: outputs / inputs } : {})
    },
    { shape: toLast(4).map((a) => y.shape[a] as number) }
  )
  s.turned(made, toFirst(4), y.as)
}

/** Weights [outputs, height, width, inputs]; SAME and VALID give sizes of their own, and other padding is cut off behind. */
function convTranspose(s: Site): void {
  const [x, w, y] = [s.dims(0), s.dims(1), s.y]
  if (x.length === 3) {
    widened(s, 'ConvTranspose', 2)
    return
  }
  if (x.length !== 4) refuse(`a transposed convolution along ${x.length - 2} axes`)
  if (attrInt(s.node, 'group', 1) !== 1) refuse('a transposed convolution in groups')
  if ((attrInts(s.node, 'dilations') ?? []).some((d) => d !== 1)) refuse('a dilated transposed convolution')
  const stride = attrInts(s.node, 'strides') ?? [1, 1]
  const [kernel, sizes, to] = [w.slice(2), x.slice(2), y.shape.slice(2)]
  const full = sizes.map((d, i) => (d - 1) * (stride[i] as number) + (kernel[i] as number))
  const before = cropsOf(s, full, to)
  const channels = y.shape[1] as number
  const weight = s.turned(s.id(1), [1, 2, 3, 0])
  const bias = s.has(2) ? s.id(2) : s.data(tensor('float32', [channels], new Float32Array(channels)), `${y.as}_bias`)
  const data = s.turned(s.id(0), toLast(4))
  const fields = { stride_h: stride[0], stride_w: stride[1] }
  const total = full.map((d, i) => Math.max(0, d - (to[i] as number)))
  const isSame = to.every(
    (d, i) => d === (sizes[i] as number) * (stride[i] as number) && before[i] === Math.floor((total[i] as number) / 2)
  )
  const shape = [y.shape[0] as number, ...(isSame ? to : full), channels]
  const made = s.op(
    'TRANSPOSE_CONV',
    [s.ints(shape), weight, data, bias],
    { ...fields, padding: isSame ? 'SAME' : 'VALID' },
    { shape }
  )
  if (isSame) s.turned(made, toFirst(4), y.as)
  else cropped(s, s.turned(made, toFirst(4)), full, before)
}

/** What is cut off before each axis. */
function cropsOf(s: Site, full: readonly number[], to: readonly number[]): readonly number[] {
  const auto = attrString(s.node, 'auto_pad', 'NOTSET')
  const pads = attrInts(s.node, 'pads')
  if (auto === 'NOTSET' && !attrInts(s.node, 'output_shape')) return pads?.slice(0, 2) ?? [0, 0]
  return full.map((d, i) => {
    const total = Math.max(0, d - (to[i] as number))
    return auto === 'SAME_UPPER' ? Math.floor(total / 2) : Math.ceil(total / 2)
  })
}

/** The part of a full result that is wanted; beyond it, zeros. */
function cropped(s: Site, id: string, full: readonly number[], before: readonly number[]): void {
  const { shape, as, dtype } = s.y
  const ends = full.map((d, i) => Math.min(d, (before[i] as number) + (shape[i + 2] as number)))
  const behind = ends.map((end, i) => (before[i] as number) + (shape[i + 2] as number) - end)
  if (behind.some((d) => d > 0)) refuse('a transposed convolution with output_padding beyond what it reaches')
  const list = (values: readonly number[]): string => s.data(tensor('int64', [values.length], values))
  if (before.every((b) => b === 0) && ends.every((e, i) => e === full[i])) s.onnx('Identity', [id], {}, s.y)
  else s.onnx('Slice', [id, list(before), list(ends), list([2, 3])], {}, { shape, as, dtype })
}

export const convRules: Rules = { Conv: conv, ConvTranspose: convTranspose }
