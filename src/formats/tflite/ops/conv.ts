/** Convolutions. Their kernels are constants as a rule, and get their axes in ONNX's order here. */
import type { Call, Rows, Turned } from '../call.ts'
import { type Window, windowAttrs } from '../window.ts'
import { biasOf } from './bias.ts'

const positive = (c: Call, sizes: readonly number[]): readonly number[] =>
  sizes.every((s) => s > 0) ? sizes : c.refuse(`a stride or dilation is [${sizes}]`)

const strides2d = (c: Call): readonly number[] => positive(c, [c.number('stride_h'), c.number('stride_w')])
const dilations2d = (c: Call): readonly number[] =>
  positive(c, [c.number('dilation_h_factor', 1), c.number('dilation_w_factor', 1)])

/** Kernels [out, height, width, in / groups]. */
function conv2d(c: Call): Turned {
  c.ranked(4)
  c.ranked(4, 1)
  const [, height = -1, width = -1, channels = -1] = c.shape(0)
  const [, kh = 1, kw = 1, depth = 1] = c.shape(1)
  const group = channels > 0 && depth > 0 ? channels / depth : 1
  if (!Number.isInteger(group)) c.refuse(`its kernels read ${depth} channels of ${channels}`)
  const slides = { padding: c.text('padding'), kernel: [kh, kw], strides: strides2d(c), dilations: dilations2d(c) }
  const attrs = { group, ...windowAttrs(slides, [height, width]) }
  const weight = c.value(1, [0, 3, 1, 2])
  return c.channelsFirst((x) => c.activation(c.op('Conv', [x, weight, ...biasOf(c, 2)], attrs)))
}

/** Kernels [1, height, width, channels · multiplier]. */
function depthwise(c: Call): Turned {
  c.ranked(4)
  c.ranked(4, 1)
  const [, height = -1, width = -1] = c.shape(0)
  const [first = 1, kh = 1, kw = 1, out = 1] = c.shape(1)
  const group = out / Math.max(1, c.number('depth_multiplier', 1))
  if (first !== 1 || !Number.isInteger(group)) c.refuse(`its kernels have the shape [${c.shape(1)}]`)
  const slides = { padding: c.text('padding'), kernel: [kh, kw], strides: strides2d(c), dilations: dilations2d(c) }
  const attrs = { group, ...windowAttrs(slides, [height, width]) }
  const weight = c.value(1, [3, 0, 1, 2])
  return c.channelsFirst((x) => c.activation(c.op('Conv', [x, weight, ...biasOf(c, 2)], attrs)))
}

/** Kernels [depth, height, width, in / groups, out]. */
function conv3d(c: Call): Turned {
  c.ranked(5)
  const [, depth = -1, height = -1, width = -1, channels = -1] = c.shape(0)
  const [kd = 1, kh = 1, kw = 1, inputs = 1] = c.shape(1)
  const group = channels > 0 && inputs > 0 ? channels / inputs : 1
  const slides = {
    padding: c.text('padding'),
    kernel: [kd, kh, kw],
    strides: positive(c, [c.number('stride_d'), c.number('stride_h'), c.number('stride_w')]),
    dilations: positive(c, [
      c.number('dilation_d_factor', 1),
      c.number('dilation_h_factor', 1),
      c.number('dilation_w_factor', 1)
    ])
  }
  const attrs = { group, ...windowAttrs(slides, [depth, height, width]) }
  const weight = c.value(1, [4, 3, 0, 1, 2])
  return c.channelsFirst((x) => c.activation(c.op('Conv', [x, weight, ...biasOf(c, 2)], attrs)))
}

/** A transposed convolution: places of its inputs, padding and strides. Kernels [out, height, width, in]. */
interface Transposed {
  readonly data: number
  readonly bias: number
  readonly padding: string
  readonly strides: readonly number[]
}

function transposed(c: Call, { data, bias, padding, strides }: Transposed): Turned {
  c.ranked(4, data)
  c.ranked(4, 1)
  const [, kh = 1, kw = 1] = c.shape(1)
  const places = c.shape(data).slice(1, -1)
  const attrs = transposedAttrs(c, places, { padding, kernel: [kh, kw], strides: positive(c, strides) })
  const weight = c.value(1, [3, 0, 1, 2])
  const biases = biasOf(c, bias, data)
  return c.channelsFirst((x) => c.activation(c.op('ConvTranspose', [x, weight, ...biases], attrs)), data)
}

/**
 * A transposed convolution gives (in − 1) · stride + kernel places, of which the file wants fewer: the rest is cut off on both
 * sides, half of it (rounded down) before. Where it wants more, those behind are without products.
 */
function transposedAttrs(
  c: Call,
  places: readonly number[],
  { padding, kernel, strides }: Window
): Record<string, readonly number[]> {
  const wanted = c.outShape().slice(1, -1)
  if ([...wanted, ...places].some((d) => d < 0)) c.refuse('its sizes are not fixed')
  const axes = kernel.map((k, i) => {
    const stride = strides[i] ?? 1
    const [out, size] = [wanted[i] ?? 1, places[i] ?? 1]
    const forward = Math.ceil((padding === 'SAME' ? out : out - k + 1) / stride)
    const before = Math.floor(Math.max(0, (forward - 1) * stride + k - out) / 2)
    return { before, after: (size - 1) * stride + k - before - out }
  })
  const output_padding = axes.map(({ after }) => Math.max(0, -after))
  return {
    kernel_shape: kernel,
    strides,
    pads: [...axes.map((a) => a.before), ...axes.map((a) => Math.max(0, a.after))],
    ...(output_padding.some((p) => p > 0) ? { output_padding } : {})
  }
}

/** Options of MediaPipe's operator: padding, stride along the width, along the height, as the runtime has them in memory. */
function biasedTransposed(c: Call): Turned {
  const [padding = 0, width = 0, height = 0] = c.customInts()
  const name = ['', 'SAME', 'VALID'][padding] || c.refuse(`its padding is ${padding}`)
  return transposed(c, { data: 0, bias: 2, padding: name, strides: [height, width] })
}

/** By the name that their makers gave them. */
export const customConvRows: Rows = { Convolution2DTransposeBias: biasedTransposed }

export const convRows: Rows = {
  CONV_2D: conv2d,
  DEPTHWISE_CONV_2D: depthwise,
  /** Inputs: shape of the output, kernels, data, bias. */
  TRANSPOSE_CONV: (c) => transposed(c, { data: 2, bias: 3, padding: c.text('padding'), strides: strides2d(c) }),
  CONV_3D: conv3d
}
