/** Files of one operator on both sides of the limits of Ethos-U55, for Arm's own compiler and for the record of the target. */
import type { DType } from '../src/types.ts'
import type { Made, MadeOp } from './flat-file.ts'

export interface LimitCase extends MadeOp {
  readonly name: string
}

/** Codes of activations. */
const a = (shape: readonly number[], dtype: DType = 'int8', scale = 0.05, zero = 0): Made =>
  dtype === 'float32' ? { shape } : { shape, dtype, scale: [scale], zero: [zero] }
const product = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1)
/** Constant codes, small enough for sums. */
const w = (shape: readonly number[], dtype: DType = 'int8'): Made => ({
  ...{ shape, dtype, scale: [0.01], zero: [0] },
  data: Array.from({ length: product(shape) }, (_, i) => ((i * 7) % 11) - 5)
})
const bias = (n: number, dtype: DType = 'int32'): Made => ({
  ...{ shape: [n], dtype, scale: [0.0005], zero: [0] },
  data: Array.from({ length: n }, (_, i) => i)
})
const ints = (...data: number[]): Made => ({ shape: [data.length], dtype: 'int32', data })

const out = (n: number, k: number, s: number, padding: string): number =>
  padding === 'SAME' ? Math.ceil(n / s) : Math.floor((n - k) / s) + 1

interface Window {
  readonly h?: number
  readonly k?: number
  readonly s?: number
  readonly padding?: 'SAME' | 'VALID'
  readonly x?: DType
}

function conv(
  name: string,
  { h = 16, k = 3, s = 1, padding = 'SAME', x = 'int8' }: Window,
  more: Partial<{ w: Made; b: Made }> = {}
): LimitCase {
  const size = out(h, k, s, padding)
  const isFloat = x === 'float32'
  const weight = isFloat
    ? { shape: [8, k, k, 8], data: Array.from({ length: 64 * k * k }, () => 0.5) }
    : w([8, k, k, 8])
  const b = isFloat
    ? { shape: [8], data: Array.from({ length: 8 }, () => 0) }
    : bias(8, x === 'int16' ? 'int64' : 'int32')
  return {
    ...{ name: `CONV_2D ${name}`, op: 'CONV_2D' },
    inputs: [a([1, h, h, 8], x), more.w ?? weight, more.b ?? b],
    outputs: [a([1, size, size, 8], x)],
    options: { table: 'Conv2DOptions', padding, stride_h: s, stride_w: s, dilation_h_factor: 1, dilation_w_factor: 1 }
  }
}

function depthwise(name: string, s: number, channels = 8, multiplier = 1): LimitCase {
  const size = Math.ceil(16 / s)
  const n = channels * multiplier
  return {
    ...{ name: `DEPTHWISE_CONV_2D ${name}`, op: 'DEPTHWISE_CONV_2D' },
    inputs: [a([1, 16, 16, channels]), w([1, 3, 3, n]), bias(n)],
    outputs: [a([1, size, size, n])],
    options: {
      ...{ table: 'DepthwiseConv2DOptions', padding: 'SAME', stride_h: s, stride_w: s, depth_multiplier: multiplier },
      ...{ dilation_h_factor: 1, dilation_w_factor: 1 }
    }
  }
}

function pool(
  op: string,
  kh: number,
  kw: number,
  s: number,
  padding: 'SAME' | 'VALID',
  h: number,
  width = h
): LimitCase {
  const size = [1, out(h, kh, s, padding), out(width, kw, s, padding), 8]
  return {
    ...{ name: `${op} ${kh}×${kw} by ${s} on ${h}, ${padding}`, op },
    inputs: [a([1, h, width, 8])],
    outputs: [a(size)],
    options: { table: 'Pool2DOptions', padding, stride_h: s, stride_w: s, filter_height: kh, filter_width: kw }
  }
}

const unary = (op: string, dtype: DType, table?: string): LimitCase => ({
  ...{ name: `${op} ${dtype}`, op, inputs: [a([1, 8, 8, 16], dtype)], outputs: [a([1, 8, 8, 16], dtype)] },
  ...(table ? { options: { table } } : {})
})

const binary = (op: string, dtype: DType, table: string, scale = 0.05, name = ''): LimitCase => ({
  ...{ name: `${op} ${dtype}${name}`, op },
  inputs: [a([1, 8, 8, 16], dtype), a([1, 8, 8, 16], dtype, scale)],
  outputs: [a([1, 8, 8, 16], dtype)],
  options: { table, ...(table === 'MaximumMinimumOptions' ? {} : { fused_activation_function: 'NONE' }) }
})

function resize(op: string, by: number, half = false): LimitCase {
  const table = op === 'RESIZE_BILINEAR' ? 'ResizeBilinearOptions' : 'ResizeNearestNeighborOptions'
  return {
    ...{ name: `${op} by ${by}${half ? ', half pixel centres' : ''}`, op },
    inputs: [a([1, 8, 8, 16]), ints(8 * by, 8 * by)],
    outputs: [a([1, 8 * by, 8 * by, 16])],
    options: { table, align_corners: false, half_pixel_centers: half }
  }
}

const mean = (name: string, shape: readonly number[], axes: readonly number[]): LimitCase => ({
  ...{ name: `MEAN ${name}`, op: 'MEAN' },
  inputs: [a(shape), ints(...axes)],
  outputs: [a(shape.map((d, i) => (axes.includes(i) ? 1 : d)))],
  options: { table: 'ReducerOptions', keep_dims: true }
})

const argMax = (depth: number): LimitCase => ({
  ...{ name: `ARG_MAX of ${depth}`, op: 'ARG_MAX' },
  inputs: [a([1, 8, 8, depth]), { shape: [], dtype: 'int32', data: [3] }],
  outputs: [{ shape: [1, 8, 8], dtype: 'int32' }],
  options: { table: 'ArgMaxOptions', output_type: 'INT32' }
})

const transposed = (s: number): LimitCase => ({
  ...{ name: `TRANSPOSE_CONV by ${s}`, op: 'TRANSPOSE_CONV' },
  inputs: [ints(1, 8 * s, 8 * s, 8), w([8, 3, 3, 8]), a([1, 8, 8, 8]), bias(8)],
  outputs: [a([1, 8 * s, 8 * s, 8])],
  options: { table: 'TransposeConvOptions', padding: 'SAME', stride_h: s, stride_w: s }
})

const softmax = (h: number, width: number): LimitCase => ({
  ...{ name: `SOFTMAX over ${h}×${width}`, op: 'SOFTMAX' },
  inputs: [a([1, h, width, 4])],
  outputs: [a([1, h, width, 4], 'int8', 1 / 256, -128)],
  options: { table: 'SoftmaxOptions', beta: 1 }
})

const product2 = (dtype: DType): LimitCase => ({
  ...{ name: `BATCH_MATMUL ${dtype}`, op: 'BATCH_MATMUL' },
  inputs: [a([1, 8, 16], dtype), a([1, 16, 8], dtype)],
  outputs: [a([1, 8, 8], dtype)],
  options: { table: 'BatchMatMulOptions', adj_x: false, adj_y: false }
})

/** Forty of them. */
export const limitCases: readonly LimitCase[] = [
  conv('3×3', {}),
  conv('by 3, SAME', { s: 3 }),
  conv('by 4, SAME without pads', { s: 4 }),
  conv('by 4, SAME with pads', { s: 4, h: 17 }),
  conv('by 4, VALID', { s: 4, padding: 'VALID' }),
  conv('in float', { x: 'float32' }),
  conv('of int16', { x: 'int16' }),
  conv('with a bias that is computed', {}, { b: { shape: [8], dtype: 'int32', scale: [0.0005], zero: [0] } }),
  depthwise('by 1', 1),
  depthwise('by 3', 3),
  depthwise('by 4', 4),
  depthwise('of 1 channel, 4 for each', 1, 1, 4),
  pool('AVERAGE_POOL_2D', 8, 8, 1, 'SAME', 16),
  pool('AVERAGE_POOL_2D', 9, 9, 1, 'SAME', 16),
  pool('AVERAGE_POOL_2D', 16, 16, 1, 'VALID', 16),
  pool('AVERAGE_POOL_2D', 256, 2, 1, 'VALID', 256, 4),
  pool('AVERAGE_POOL_2D', 257, 2, 1, 'VALID', 257, 4),
  pool('MAX_POOL_2D', 256, 2, 1, 'VALID', 256, 4),
  pool('MAX_POOL_2D', 257, 2, 1, 'VALID', 257, 4),
  pool('MAX_POOL_2D', 4, 4, 4, 'SAME', 16),
  pool('MAX_POOL_2D', 4, 4, 4, 'SAME', 17),
  pool('MAX_POOL_2D', 4, 4, 4, 'VALID', 16),
  mean('of 8×8', [1, 8, 8, 16], [1, 2]),
  mean('of 5000', [1, 1, 5000, 4], [2]),
  mean('of 8×8, 2 samples', [2, 8, 8, 16], [1, 2]),
  unary('HARD_SWISH', 'int8', 'HardSwishOptions'),
  unary('HARD_SWISH', 'int16', 'HardSwishOptions'),
  unary('GELU', 'int8', 'GeluOptions'),
  unary('GELU', 'int16', 'GeluOptions'),
  unary('LOGISTIC', 'int8'),
  resize('RESIZE_BILINEAR', 2),
  resize('RESIZE_BILINEAR', 3),
  resize('RESIZE_BILINEAR', 4, true),
  resize('RESIZE_NEAREST_NEIGHBOR', 3),
  softmax(8, 8),
  softmax(256, 257),
  binary('MAXIMUM', 'int8', 'MaximumMinimumOptions'),
  binary('MAXIMUM', 'int8', 'MaximumMinimumOptions', 0.07, ', other scales'),
  binary('DIV', 'int8', 'DivOptions'),
  argMax(127),
  argMax(128),
  transposed(2),
  transposed(3),
  product2('int8'),
  product2('int16')
]
