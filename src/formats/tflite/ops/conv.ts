/** Convolutions. Their kernels are constants as a rule, and get their axes in ONNX's order here. */
import type { Call, Rows, Turned } from '../call.ts'
import { windowAttrs } from '../window.ts'
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

/** Inputs: shape of the output, kernels [out, height, width, in], data, bias. */
function transposedConv(c: Call): Turned {
  c.ranked(4, 2)
  c.ranked(4, 1)
  const [, kh = 1, kw = 1] = c.shape(1)
  const attrs = transposedAttrs(c, [kh, kw], strides2d(c))
  const weight = c.value(1, [3, 0, 1, 2])
  const bias = c.has(3) ? biasOf(c, 3, 2) : []
  return c.channelsFirst((x) => c.activation(c.op('ConvTranspose', [x, weight, ...bias], attrs)), 2)
}

/**
 * A transposed convolution gives (in − 1) · stride + kernel places, of which the file wants fewer: the rest is cut off on both
 * sides, half of it (rounded down) before. Where it wants more, those behind are without products.
 */
function transposedAttrs(
  c: Call,
  kernel: readonly number[],
  strides: readonly number[]
): Record<string, readonly number[]> {
  const [wanted, given] = [c.outShape().slice(1, -1), c.shape(2).slice(1, -1)]
  if ([...wanted, ...given].some((d) => d < 0)) c.refuse('its sizes are not fixed')
  const axes = kernel.map((k, i) => {
    const stride = strides[i] ?? 1
    const [out, size] = [wanted[i] ?? 1, given[i] ?? 1]
    const forward = c.text('padding') === 'SAME' ? Math.ceil(out / stride) : Math.ceil((out - k + 1) / stride)
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

export const convRows: Rows = {
  CONV_2D: conv2d,
  DEPTHWISE_CONV_2D: depthwise,
  TRANSPOSE_CONV: transposedConv,
  CONV_3D: conv3d
}
