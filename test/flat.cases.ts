/** An operator of TensorFlow Lite a line: what `test/flat-operators.test.ts` runs in LiteRT and as what is read from it. */

import { toNumbers } from '../src/ir/tensor.ts'
import type { DType } from '../src/types.ts'
import { drawn } from './flat.ts'
import type { Made, MadeOp } from './flat-file.ts'

export interface Case extends MadeOp {
  readonly name: string
  /** Numbers for inputs, by place; drawn where absent. */
  readonly feeds?: readonly (readonly number[] | undefined)[]
}

const f = (...shape: number[]): Made => ({ shape })
const of = (dtype: DType, ...shape: number[]): Made => ({ shape, dtype })
/** A constant of drawn floats. */
const w = (...shape: number[]): Made => ({
  shape,
  data: Array.from(toNumbers(drawn('float32', shape, shape.length + 7)))
})
const ints = (...data: number[]): Made => ({ shape: [data.length], dtype: 'int32', data })
const one = (value: number, dtype: DType = 'int32'): Made => ({ shape: [], dtype, data: [value] })
/** Codes of activations. */
const q = (shape: readonly number[], scale = 1 / 128, zero = 0, dtype: DType = 'int8'): Made => ({
  shape,
  dtype,
  scale: [scale],
  zero: [zero]
})
/** Constant codes of weights, one scale for each position of an axis, or one for all. */
const qw = (shape: readonly number[], axis?: number, dtype: DType = 'int8'): Made => {
  const n = axis === undefined ? 1 : (shape[axis] as number)
  return {
    shape,
    dtype,
    data: Array.from(toNumbers(drawn('int8', shape, 3)), (x) =>
      dtype === 'int4' ? Math.round(x / 18.5) : Math.max(-127, x)
    ),
    scale: Array.from({ length: n }, (_, i) => 0.004 + 0.001 * i),
    ...(axis === undefined ? {} : { axis })
  }
}
/** Biases of codes, under the scale of the data times that of the weights. */
const qb = (n: number, of: Made): Made => ({
  shape: [n],
  dtype: 'int32',
  data: Array.from({ length: n }, (_, i) => 500 * i - 700),
  scale: (of.scale ?? []).map((s) => s / 128)
})

/** Old files: uint8 codes around a zero point in the middle, weights too. */
const u = (shape: readonly number[], scale: number, zero: number): Made => q(shape, scale, zero, 'uint8')
const uw = (shape: readonly number[]): Made => ({
  shape,
  dtype: 'uint8',
  data: Array.from(toNumbers(drawn('uint8', shape, 5)), (x) => Math.max(1, x)),
  scale: [0.004],
  zero: [131]
})

const unary = (op: string, feeds?: readonly number[], dtype?: DType): Case => ({
  name: op,
  op,
  inputs: [{ shape: [2, 3], ...(dtype ? { dtype } : {}) }],
  outputs: [{ shape: [2, 3], ...(dtype ? { dtype } : {}) }],
  ...(feeds ? { feeds: [feeds] } : {})
})
const binary = (op: string, table?: string, out: DType = 'float32', dtype: DType = 'float32'): Case => ({
  name: `${op} ${dtype}`,
  op,
  inputs: [of(dtype, 2, 3, 4), of(dtype, 1, 1, 4)],
  outputs: [of(out, 2, 3, 4)],
  ...(table ? { options: { table, fused_activation_function: 'NONE' } } : {})
})
const positive = [0.3, 1.7, 2, 5.5, 0.01, 9]
const any = [-2.5, -1.5, -0.4, 0.5, 1.5, 2.6]

const conv = (name: string, x: Made, k: Made, b: Made, y: Made, options: object = {}): Case => ({
  name,
  op: 'CONV_2D',
  inputs: [x, k, b],
  outputs: [y],
  options: { table: 'Conv2DOptions', padding: 'SAME', stride_h: 1, stride_w: 1, ...options }
})
const depthwise = (name: string, x: Made, k: Made, b: Made, y: Made, options: object = {}): Case => ({
  name,
  op: 'DEPTHWISE_CONV_2D',
  inputs: [x, k, b],
  outputs: [y],
  options: {
    table: 'DepthwiseConv2DOptions',
    padding: 'SAME',
    stride_h: 1,
    stride_w: 1,
    depth_multiplier: 1,
    ...options
  }
})
const dense = (name: string, x: Made, k: Made, b: Made | null, y: Made, options: object = {}): Case => ({
  name,
  op: 'FULLY_CONNECTED',
  inputs: [x, k, b],
  outputs: [y],
  options: { table: 'FullyConnectedOptions', ...options }
})
const pool = (name: string, op: string, x: Made, y: Made, options: object = {}): Case => ({
  name,
  op,
  inputs: [x],
  outputs: [y],
  options: {
    table: 'Pool2DOptions',
    padding: 'SAME',
    stride_h: 2,
    stride_w: 2,
    filter_height: 3,
    filter_width: 2,
    ...options
  }
})
const reduce = (op: string, keep: boolean, dtype: DType = 'float32', axes = [1, 2], y?: number[]): Case => ({
  name: `${op} ${axes}${keep ? ' kept' : ''} ${dtype}`,
  op,
  inputs: [of(dtype, 2, 3, 4, 5), ints(...axes)],
  outputs: [of(dtype, ...(y ?? (keep ? [2, 1, 1, 5] : [2, 5])))],
  options: { table: 'ReducerOptions', keep_dims: keep }
})
const resize = (op: string, y: readonly number[], options: object): Case => ({
  name: `${op} to ${y} ${JSON.stringify(options)}`,
  op,
  inputs: [f(1, 4, 5, 2), ints(...y)],
  outputs: [f(1, ...y, 2)],
  options: { table: op === 'RESIZE_BILINEAR' ? 'ResizeBilinearOptions' : 'ResizeNearestNeighborOptions', ...options }
})
const strided = (
  name: string,
  begin: number[],
  end: number[],
  strides: number[],
  y: number[],
  options: object = {}
): Case => ({
  name: `STRIDED_SLICE ${name}`,
  op: 'STRIDED_SLICE',
  inputs: [f(4, 5, 6), ints(...begin), ints(...end), ints(...strides)],
  outputs: [f(...y)],
  options: { table: 'StridedSliceOptions', ...options }
})
const simple = (
  op: string,
  inputs: readonly (Made | null)[],
  outputs: readonly Made[],
  options?: MadeOp['options'],
  feeds?: Case['feeds']
): Case => ({
  name: `${op} ${inputs.map((t) => (t ? `${t.dtype ?? 'float32'}[${t.shape}]` : '-')).join(' ')}`.slice(0, 90),
  op,
  inputs,
  outputs,
  ...(options ? { options } : {}),
  ...(feeds ? { feeds } : {})
})

const k4 = qw([6, 3, 3, 4], 0)
const kd = qw([1, 3, 3, 4], 3)
const kf = qw([6, 8])

const elementwise: readonly Case[] = [
  ...['ABS', 'NEG', 'FLOOR', 'CEIL', 'ROUND', 'SIGN', 'SIN', 'COS', 'EXP', 'SQUARE'].map((op) => unary(op, any)),
  ...['TANH', 'LOGISTIC', 'RELU', 'RELU6', 'RELU_N1_TO_1', 'RELU_0_TO_1', 'ELU', 'HARD_SWISH'].map((op) =>
    unary(op, any)
  ),
  ...['LOG', 'SQRT', 'RSQRT'].map((op) => unary(op, positive)),
  unary('LOGICAL_NOT', [0, 1, 1, 0, 0, 1], 'bool'),
  { ...unary('LEAKY_RELU', any), options: { table: 'LeakyReluOptions', alpha: 0.3 } },
  { ...unary('GELU', any), options: { table: 'GeluOptions', approximate: false } },
  { ...unary('GELU', any), name: 'GELU approximate', options: { table: 'GeluOptions', approximate: true } },
  simple('PRELU', [f(1, 2, 3, 4), w(1, 1, 4)], [f(1, 2, 3, 4)]),
  binary('ADD', 'AddOptions'),
  binary('SUB', 'SubOptions'),
  binary('MUL', 'MulOptions'),
  binary('DIV', 'DivOptions'),
  {
    ...binary('ADD', 'AddOptions'),
    name: 'ADD RELU6',
    options: { table: 'AddOptions', fused_activation_function: 'RELU6' }
  },
  {
    ...binary('SUB', 'SubOptions'),
    name: 'SUB RELU_N1_TO_1',
    options: { table: 'SubOptions', fused_activation_function: 'RELU_N1_TO_1' }
  },
  binary('MAXIMUM'),
  binary('MINIMUM'),
  binary('SQUARED_DIFFERENCE'),
  binary('FLOOR_DIV'),
  binary('FLOOR_MOD'),
  {
    ...binary('FLOOR_DIV', undefined, 'int32', 'int32'),
    feeds: [Array.from({ length: 24 }, (_, i) => i - 12), [3, -3, 5, -7]]
  },
  {
    ...binary('FLOOR_MOD', undefined, 'int32', 'int32'),
    feeds: [Array.from({ length: 24 }, (_, i) => i - 12), [3, -3, 5, -7]]
  },
  { ...binary('POW'), feeds: [Array.from({ length: 24 }, (_, i) => 0.1 + i / 10), [0.5, 2, -1, 3]] },
  {
    ...binary('ATAN2'),
    inputs: [f(2, 3, 4), f(2, 3, 4)],
    feeds: [
      Array.from({ length: 24 }, (_, i) => (i % 5) - 2),
      Array.from({ length: 24 }, (_, i) => [1, -1, 0, 0.5][i % 4] ?? 0)
    ]
  },
  binary('ADD', 'AddOptions', 'int32', 'int32'),
  binary('MUL', 'MulOptions', 'int32', 'int32'),
  ...['EQUAL', 'NOT_EQUAL', 'LESS', 'LESS_EQUAL', 'GREATER', 'GREATER_EQUAL'].flatMap((op) => [
    { ...binary(op, undefined, 'bool'), feeds: [Array.from({ length: 24 }, (_, i) => (i % 3) - 1), [0, 1, -1, 0]] },
    binary(op, undefined, 'bool', 'int32')
  ]),
  binary('LOGICAL_AND', undefined, 'bool', 'bool'),
  binary('LOGICAL_OR', undefined, 'bool', 'bool'),
  binary('BITWISE_XOR', undefined, 'int32', 'int32'),
  simple('ADD_N', [f(2, 3), f(2, 3), f(2, 3)], [f(2, 3)], { table: 'AddNOptions' }),
  simple('SELECT', [of('bool', 2), f(2, 3), f(2, 3)], [f(2, 3)], { table: 'SelectOptions' }),
  simple('SELECT', [of('bool', 2, 3), f(2, 3), f(2, 3)], [f(2, 3)], { table: 'SelectOptions' }),
  simple('SELECT_V2', [of('bool', 1, 3), f(2, 3), f(2, 1)], [f(2, 3)], { table: 'SelectV2Options' })
]

const layers: readonly Case[] = [
  conv('CONV_2D', f(1, 5, 6, 4), w(6, 3, 3, 4), w(6), f(1, 5, 6, 6)),
  conv('CONV_2D strided, VALID, RELU', f(2, 7, 8, 4), w(6, 3, 2, 4), w(6), f(2, 3, 4, 6), {
    padding: 'VALID',
    stride_h: 2,
    stride_w: 2,
    fused_activation_function: 'RELU'
  }),
  conv('CONV_2D strided, SAME, RELU6', f(1, 7, 8, 4), w(6, 3, 3, 4), w(6), f(1, 4, 4, 6), {
    stride_h: 2,
    stride_w: 2,
    fused_activation_function: 'RELU6'
  }),
  conv('CONV_2D dilated', f(1, 7, 8, 4), w(6, 3, 3, 4), w(6), f(1, 7, 8, 6), {
    dilation_h_factor: 2,
    dilation_w_factor: 2
  }),
  conv('CONV_2D of groups', f(1, 5, 6, 4), w(6, 3, 3, 2), w(6), f(1, 5, 6, 6)),
  conv('CONV_2D int8', q([1, 5, 6, 4]), k4, qb(6, k4), q([1, 5, 6, 6], 0.03, -5)),
  conv('CONV_2D int8 RELU', q([1, 5, 6, 4], 1 / 128, 7), k4, qb(6, k4), q([1, 5, 6, 6], 0.03, -128), {
    fused_activation_function: 'RELU'
  }),
  conv('CONV_2D int8 RELU6', q([1, 5, 6, 4], 1 / 128, 7), k4, qb(6, k4), q([1, 5, 6, 6], 0.05, -100), {
    fused_activation_function: 'RELU6'
  }),
  conv('CONV_2D dynamic range', f(1, 5, 6, 4), qw([6, 3, 3, 4], 0), w(6), f(1, 5, 6, 6)),
  conv(
    'CONV_2D of old uint8 files',
    u([1, 5, 6, 4], 1 / 128, 120),
    uw([6, 3, 3, 4]),
    qb(6, uw([6, 3, 3, 4])),
    u([1, 5, 6, 6], 0.02, 0),
    {
      fused_activation_function: 'RELU6'
    }
  ),
  conv(
    'CONV_2D int16',
    q([1, 5, 6, 4], 1 / 32768, 0, 'int16'),
    k4,
    { ...qb(6, k4), dtype: 'int64', scale: (k4.scale ?? []).map((s) => s / 32768) },
    q([1, 5, 6, 6], 4 / 32768, 0, 'int16')
  ),
  depthwise(
    'DEPTHWISE_CONV_2D of old uint8 files',
    u([1, 5, 6, 4], 1 / 128, 120),
    uw([1, 3, 3, 4]),
    qb(4, uw([1, 3, 3, 4])),
    u([1, 5, 6, 4], 0.02, 110)
  ),
  dense(
    'FULLY_CONNECTED of old uint8 files',
    u([2, 8], 1 / 128, 128),
    uw([6, 8]),
    qb(6, uw([6, 8])),
    u([2, 6], 0.02, 100)
  ),
  dense('FULLY_CONNECTED dynamic range', f(2, 8), kf, w(6), f(2, 6)),
  depthwise('DEPTHWISE_CONV_2D', f(1, 5, 6, 4), w(1, 3, 3, 4), w(4), f(1, 5, 6, 4)),
  depthwise('DEPTHWISE_CONV_2D strided, multiplied', f(1, 5, 6, 4), w(1, 3, 3, 8), w(8), f(1, 3, 3, 8), {
    depth_multiplier: 2,
    stride_h: 2,
    stride_w: 2
  }),
  depthwise('DEPTHWISE_CONV_2D int8', q([1, 5, 6, 4]), kd, qb(4, kd), q([1, 5, 6, 4], 0.02, 3)),
  {
    name: 'TRANSPOSE_CONV SAME',
    op: 'TRANSPOSE_CONV',
    inputs: [ints(1, 10, 12, 3), w(3, 3, 3, 4), f(1, 5, 6, 4), w(3)],
    outputs: [f(1, 10, 12, 3)],
    options: { table: 'TransposeConvOptions', padding: 'SAME', stride_h: 2, stride_w: 2 }
  },
  {
    name: 'TRANSPOSE_CONV VALID',
    op: 'TRANSPOSE_CONV',
    inputs: [ints(1, 11, 13, 3), w(3, 3, 3, 4), f(1, 5, 6, 4)],
    outputs: [f(1, 11, 13, 3)],
    options: { table: 'TransposeConvOptions', padding: 'VALID', stride_h: 2, stride_w: 2 }
  },
  {
    name: 'TRANSPOSE_CONV of a kernel smaller than its stride',
    op: 'TRANSPOSE_CONV',
    inputs: [ints(1, 10, 12, 3), w(3, 1, 1, 4), f(1, 5, 6, 4), w(3)],
    outputs: [f(1, 10, 12, 3)],
    options: { table: 'TransposeConvOptions', padding: 'SAME', stride_h: 2, stride_w: 2 }
  },
  {
    name: 'CONV_3D',
    op: 'CONV_3D',
    inputs: [f(1, 4, 5, 6, 2), w(2, 3, 3, 2, 4), w(4)],
    outputs: [f(1, 4, 5, 6, 4)],
    options: { table: 'Conv3DOptions', padding: 'SAME', stride_d: 1, stride_h: 1, stride_w: 1 }
  },
  dense('FULLY_CONNECTED', f(2, 8), w(6, 8), w(6), f(2, 6), { fused_activation_function: 'RELU' }),
  dense('FULLY_CONNECTED flattens', f(2, 2, 8), w(6, 8), w(6), f(4, 6)),
  dense('FULLY_CONNECTED keeps axes', f(2, 3, 8), w(6, 8), w(6), f(2, 3, 6), { keep_num_dims: true }),
  dense('FULLY_CONNECTED without a bias', f(2, 8), w(6, 8), null, f(2, 6)),
  dense('FULLY_CONNECTED int8', q([2, 8]), kf, qb(6, kf), q([2, 6], 0.03, 4)),
  dense('FULLY_CONNECTED int8 of channels', q([2, 8]), qw([6, 8], 0), qb(6, qw([6, 8], 0)), q([2, 6], 0.04, 4)),
  dense('FULLY_CONNECTED int16', q([2, 8], 1 / 32768, 0, 'int16'), kf, null, q([2, 6], 2 / 32768, 0, 'int16')),
  dense('FULLY_CONNECTED of 4 bits', f(2, 8), qw([6, 8], 0, 'int4'), w(6), f(2, 6)),
  simple('BATCH_MATMUL', [f(2, 3, 4), f(2, 4, 5)], [f(2, 3, 5)], { table: 'BatchMatMulOptions' }),
  simple('BATCH_MATMUL', [f(2, 4, 3), w(2, 5, 4)], [f(2, 3, 5)], {
    table: 'BatchMatMulOptions',
    adj_x: true,
    adj_y: true
  }),
  pool('AVERAGE_POOL_2D', 'AVERAGE_POOL_2D', f(1, 5, 6, 3), f(1, 3, 3, 3)),
  pool('AVERAGE_POOL_2D int8', 'AVERAGE_POOL_2D', q([1, 5, 6, 3], 0.1, 3), q([1, 3, 3, 3], 0.1, 3)),
  pool('MAX_POOL_2D', 'MAX_POOL_2D', f(1, 5, 6, 3), f(1, 2, 3, 3), {
    padding: 'VALID',
    fused_activation_function: 'RELU'
  }),
  pool('L2_POOL_2D', 'L2_POOL_2D', f(1, 5, 6, 3), f(1, 3, 3, 3)),
  simple('SOFTMAX', [f(2, 3, 4)], [f(2, 3, 4)], { table: 'SoftmaxOptions', beta: 1.5 }),
  simple('SOFTMAX', [q([2, 4], 0.1)], [q([2, 4], 1 / 256, -128)], { table: 'SoftmaxOptions', beta: 1 }),
  simple('LOG_SOFTMAX', [f(2, 3, 4)], [f(2, 3, 4)], { table: 'LogSoftmaxOptions' }),
  simple('L2_NORMALIZATION', [f(2, 4)], [f(2, 4)], { table: 'L2NormOptions' }),
  simple('LOCAL_RESPONSE_NORMALIZATION', [f(1, 2, 3, 8)], [f(1, 2, 3, 8)], {
    table: 'LocalResponseNormalizationOptions',
    radius: 2,
    bias: 1,
    alpha: 0.5,
    beta: 0.75
  }),
  simple('LOGISTIC', [q([2, 4], 0.05, 3)], [q([2, 4], 1 / 256, -128)]),
  simple('TANH', [q([2, 4], 0.05, 3)], [q([2, 4], 1 / 128, 0)]),
  simple('ADD', [q([2, 4], 0.05, 3), q([2, 4], 0.02, -7)], [q([2, 4], 0.07, 1)], { table: 'AddOptions' }),
  simple('MUL', [q([2, 4], 0.05, 3), q([2, 4], 0.02, -7)], [q([2, 4], 0.07, 1)], { table: 'MulOptions' }),
  simple('ADD', [q([2, 4], 0.05, 130, 'uint8'), q([2, 4], 0.02, 100, 'uint8')], [q([2, 4], 0.07, 128, 'uint8')], {
    table: 'AddOptions'
  }),
  simple(
    'ADD',
    [q([2, 4], 1 / 32768, 0, 'int16'), q([2, 4], 1 / 16384, 0, 'int16')],
    [q([2, 4], 1 / 8192, 0, 'int16')],
    { table: 'AddOptions', pot_scale_int16: false }
  ),
  simple('HARD_SWISH', [q([2, 4], 0.05, 3)], [q([2, 4], 0.04, -60)]),
  simple('LEAKY_RELU', [q([2, 4], 0.05, 3)], [q([2, 4], 0.04, -60)], { table: 'LeakyReluOptions', alpha: 0.2 })
]

const reductions: readonly Case[] = [
  reduce('MEAN', true),
  reduce('MEAN', false),
  reduce('MEAN', false, 'float32', [2], [2, 3, 5]),
  reduce('SUM', false, 'float32', [-1], [2, 3, 4]),
  reduce('REDUCE_MAX', true),
  reduce('REDUCE_MIN', false),
  reduce('REDUCE_PROD', false),
  reduce('REDUCE_ANY', false, 'bool'),
  reduce('REDUCE_ALL', true, 'bool'),
  simple('MEAN', [q([1, 3, 4, 5], 0.1, 2), ints(1, 2)], [q([1, 5], 0.05, -3)], {
    table: 'ReducerOptions',
    keep_dims: false
  }),
  simple('ARG_MAX', [f(2, 7), one(1)], [of('int32', 2)], { table: 'ArgMaxOptions', output_type: 'INT32' }),
  simple('ARG_MIN', [f(2, 7), one(-1)], [of('int64', 2)], { table: 'ArgMinOptions', output_type: 'INT64' }),
  simple('TOPK_V2', [f(2, 7), one(3)], [f(2, 3), of('int32', 2, 3)], { table: 'TopKV2Options' }),
  simple('CUMSUM', [f(2, 7), one(1)], [f(2, 7)], { table: 'CumsumOptions', exclusive: true, reverse: true })
]

const shapes: readonly Case[] = [
  simple('RESHAPE', [f(2, 6), ints(3, -1)], [f(3, 4)], { table: 'ReshapeOptions', new_shape: [3, 4] }),
  simple('RESHAPE', [f(2, 6)], [f(3, 4)], { table: 'ReshapeOptions', new_shape: [3, 4] }),
  simple('SQUEEZE', [f(1, 3, 1, 2)], [f(3, 1, 2)], { table: 'SqueezeOptions', squeeze_dims: [0] }),
  simple('SQUEEZE', [f(1, 3, 1, 2)], [f(3, 2)], { table: 'SqueezeOptions' }),
  simple('EXPAND_DIMS', [f(2, 3), one(-1)], [f(2, 3, 1)], { table: 'ExpandDimsOptions' }),
  simple('TRANSPOSE', [f(2, 3, 4), ints(2, 0, 1)], [f(4, 2, 3)], { table: 'TransposeOptions' }),
  simple('SHAPE', [f(2, 3, 4)], [of('int32', 3)], { table: 'ShapeOptions', out_type: 'INT32' }),
  simple('RANK', [f(2, 3, 4)], [{ ...of('int32'), more: { has_rank: true } }], { table: 'RankOptions' }),
  simple('BROADCAST_TO', [f(1, 3), ints(2, 2, 3)], [f(2, 2, 3)], { table: 'BroadcastToOptions' }, [[1, 2, 3]]),
  simple('BROADCAST_ARGS', [of('int32', 2), of('int32', 3)], [of('int32', 3)], undefined, [
    [1, 3],
    [2, 4, 1]
  ]),
  simple('FILL', [ints(2, 3), { shape: [] }], [f(2, 3)], { table: 'FillOptions' }, [undefined, [0.5]]),
  simple('RANGE', [one(2), one(11), one(3)], [of('int32', 3)], { table: 'RangeOptions' }),
  simple('ZEROS_LIKE', [f(2, 3)], [f(2, 3)], { table: 'ZerosLikeOptions' }),
  simple('CONCATENATION', [f(2, 3), f(2, 4)], [f(2, 7)], {
    table: 'ConcatenationOptions',
    axis: -1
  }),
  simple('CONCATENATION', [q([2, 3], 0.1, 1), q([2, 4], 0.1, 1)], [q([2, 7], 0.1, 1)], {
    table: 'ConcatenationOptions',
    axis: 1
  }),
  simple('PACK', [f(2, 3), f(2, 3)], [f(2, 2, 3)], { table: 'PackOptions', values_count: 2, axis: 1 }),
  simple('UNPACK', [f(2, 3)], [f(3), f(3)], { table: 'UnpackOptions', num: 2, axis: 0 }),
  simple('SPLIT', [one(1), f(2, 6)], [f(2, 2), f(2, 2), f(2, 2)], { table: 'SplitOptions', num_splits: 3 }),
  simple('SPLIT_V', [f(2, 6), ints(1, -1, 3), one(1)], [f(2, 1), f(2, 2), f(2, 3)], {
    table: 'SplitVOptions',
    num_splits: 3
  }),
  simple('TILE', [f(2, 3), ints(2, 3)], [f(4, 9)], { table: 'TileOptions' })
]

const indexing: readonly Case[] = [
  simple('GATHER', [f(4, 3, 5), ints(2, 0)], [f(4, 2, 5)], { table: 'GatherOptions', axis: 1 }),
  simple('GATHER', [f(2, 4, 3), of('int32', 2, 2)], [f(2, 2, 3)], { table: 'GatherOptions', axis: 1, batch_dims: 1 }),
  simple('GATHER', [f(2, 4, 3), of('int32', 2, 2)], [f(2, 4, 2)], { table: 'GatherOptions', axis: 2, batch_dims: 1 }),
  simple('GATHER_ND', [f(3, 4, 5), of('int32', 2, 2)], [f(2, 5)], { table: 'GatherNdOptions' }),
  simple('EMBEDDING_LOOKUP', [of('int32', 3), w(4, 5)], [f(3, 5)]),
  simple('SLICE', [f(4, 5), ints(1, 2), ints(2, -1)], [f(2, 3)], { table: 'SliceOptions' }),
  strided('of every second', [0, 1, 5], [4, 5, 0], [2, 1, -2], [2, 4, 3]),
  strided('with masks', [1, 1, 1], [3, 3, 3], [1, 1, 1], [3, 4, 6], { begin_mask: 5, end_mask: 6 }),
  strided('of one position', [1, -1, 0], [2, 0, 6], [1, 1, 1], [6], { shrink_axis_mask: 3 }),
  strided('with a new axis and an ellipsis', [0, 0, 1], [0, 0, 3], [1, 1, 1], [1, 4, 5, 2], {
    new_axis_mask: 1,
    ellipsis_mask: 2
  }),
  simple('REVERSE_V2', [f(3, 4), ints(1)], [f(3, 4)], { table: 'ReverseV2Options' }),
  simple('REVERSE_SEQUENCE', [f(4, 3, 2), ints(2, 3, 1, 2)], [f(4, 3, 2)], {
    table: 'ReverseSequenceOptions',
    seq_dim: 1,
    batch_dim: 0
  }),
  simple('REVERSE_SEQUENCE', [f(4, 3, 2), ints(2, 3)], [f(4, 3, 2)], {
    table: 'ReverseSequenceOptions',
    seq_dim: 0,
    batch_dim: 2
  }),
  simple('SCATTER_ND', [{ shape: [3, 1], dtype: 'int32', data: [1, 3, 1] }, f(3, 2), ints(5, 2)], [f(5, 2)], {
    table: 'ScatterNdOptions'
  }),
  simple(
    'SPARSE_TO_DENSE',
    [{ shape: [3, 2], dtype: 'int32', data: [0, 1, 1, 0, 2, 2] }, ints(3, 4), f(3), one(0.5, 'float32')],
    [f(3, 4)],
    { table: 'SparseToDenseOptions' }
  ),
  simple('DYNAMIC_UPDATE_SLICE', [f(4, 5), f(2, 2), ints(3, 1)], [f(4, 5)]),
  simple('WHERE', [of('bool', 2, 3)], [of('int64', 4, 2)], { table: 'WhereOptions' }, [[1, 0, 1, 1, 0, 1]]),
  simple(
    'ONE_HOT',
    [of('int32', 3), one(4), one(2, 'float32'), one(-1, 'float32')],
    [f(3, 4)],
    { table: 'OneHotOptions', axis: -1 },
    [[0, 3, 2]]
  ),
  simple('UNIQUE', [of('int32', 6)], [of('int32', 3), of('int32', 6)], { table: 'UniqueOptions' }, [[4, 2, 4, 7, 2, 2]])
]

/** Boxes in a row, of which neighbours overlap. */
const boxes: Made = { shape: [8, 4], data: Array.from({ length: 8 }, (_, i) => [0, 0.1 * i, 1, 0.1 * i + 0.25]).flat() }
const sorted = [0.9, 0.8, 0.3, 0.7, 0.2, 0.6, 0.95, 0.1]
const detections: readonly Case[] = [
  simple(
    'NON_MAX_SUPPRESSION_V4',
    [boxes, f(8), one(6), one(0.4, 'float32'), one(0.25, 'float32')],
    [of('int32', 6), { ...of('int32'), more: { has_rank: true } }],
    { table: 'NonMaxSuppressionV4Options' },
    [sorted]
  ),
  simple(
    'NON_MAX_SUPPRESSION_V5',
    [boxes, f(8), one(2), one(0.4, 'float32'), one(0.25, 'float32'), one(0, 'float32')],
    [of('int32', 2), f(2), { ...of('int32'), more: { has_rank: true } }],
    { table: 'NonMaxSuppressionV5Options' },
    [sorted]
  )
]

const places: readonly Case[] = [
  simple('PAD', [f(1, 2, 3, 2), { shape: [4, 2], dtype: 'int32', data: [0, 0, 1, 2, 0, 1, 0, 0] }], [f(1, 5, 4, 2)], {
    table: 'PadOptions'
  }),
  simple(
    'PAD',
    [q([1, 2, 3], 0.1, 5), { shape: [3, 2], dtype: 'int32', data: [0, 0, 1, 2, 0, 1] }],
    [q([1, 5, 4], 0.1, 5)],
    { table: 'PadOptions' }
  ),
  simple('PADV2', [f(2, 3), { shape: [2, 2], dtype: 'int32', data: [1, 2, 0, 1] }, one(-2, 'float32')], [f(5, 4)], {
    table: 'PadV2Options'
  }),
  simple('MIRROR_PAD', [f(3, 4), { shape: [2, 2], dtype: 'int32', data: [2, 1, 0, 2] }], [f(6, 6)], {
    table: 'MirrorPadOptions',
    mode: 'REFLECT'
  }),
  simple('MIRROR_PAD', [f(3, 4), { shape: [2, 2], dtype: 'int32', data: [2, 1, 0, 3] }], [f(6, 7)], {
    table: 'MirrorPadOptions',
    mode: 'SYMMETRIC'
  }),
  ...[{}, { half_pixel_centers: true }, { align_corners: true }].flatMap((options) => [
    resize('RESIZE_BILINEAR', [8, 7], options),
    resize('RESIZE_BILINEAR', [3, 2], options),
    resize('RESIZE_NEAREST_NEIGHBOR', [8, 7], options),
    resize('RESIZE_NEAREST_NEIGHBOR', [3, 2], options)
  ]),
  simple('SPACE_TO_DEPTH', [f(1, 4, 6, 2)], [f(1, 2, 3, 8)], { table: 'SpaceToDepthOptions', block_size: 2 }),
  simple('DEPTH_TO_SPACE', [f(1, 2, 3, 8)], [f(1, 4, 6, 2)], { table: 'DepthToSpaceOptions', block_size: 2 }),
  simple(
    'SPACE_TO_BATCH_ND',
    [f(1, 3, 5, 2), ints(2, 3), { shape: [2, 2], dtype: 'int32', data: [0, 1, 1, 0] }],
    [f(6, 2, 2, 2)],
    { table: 'SpaceToBatchNDOptions' }
  ),
  simple(
    'BATCH_TO_SPACE_ND',
    [f(6, 2, 2, 2), ints(2, 3), { shape: [2, 2], dtype: 'int32', data: [0, 1, 1, 0] }],
    [f(1, 3, 5, 2)],
    { table: 'BatchToSpaceNDOptions' }
  )
]

const types: readonly Case[] = [
  simple('QUANTIZE', [f(2, 3)], [q([2, 3], 0.01, 4)], { table: 'QuantizeOptions' }),
  simple('QUANTIZE', [q([2, 4], 0.01, 4)], [q([2, 4], 0.02, 130, 'uint8')], { table: 'QuantizeOptions' }),
  simple('DEQUANTIZE', [q([2, 4], 0.02, 130, 'uint8')], [f(2, 4)], { table: 'DequantizeOptions' }),
  simple(
    'CAST',
    [f(2, 3)],
    [of('int32', 2, 3)],
    { table: 'CastOptions', in_data_type: 'FLOAT32', out_data_type: 'INT32' },
    [any]
  ),
  simple('CAST', [of('int32', 2, 3)], [f(2, 3)], {
    table: 'CastOptions',
    in_data_type: 'INT32',
    out_data_type: 'FLOAT32'
  }),
  simple('FAKE_QUANT', [f(2, 3)], [f(2, 3)], { table: 'FakeQuantOptions', min: -1.3, max: 0.9, num_bits: 8 })
]

const state = (...shape: number[]): Made => ({ shape, more: { is_variable: true } })
const lstmWeights = (units: number, inputs: number): readonly Made[] => [
  ...[1, 2, 3, 4].map(() => w(units, inputs)),
  ...[1, 2, 3, 4].map(() => w(units, units))
]
const biases = (units: number): readonly Made[] => [1, 2, 3, 4].map(() => w(units))
const recurrent: readonly Case[] = [
  {
    name: 'UNIDIRECTIONAL_SEQUENCE_LSTM',
    op: 'UNIDIRECTIONAL_SEQUENCE_LSTM',
    inputs: [
      f(2, 5, 3),
      ...lstmWeights(4, 3),
      null,
      null,
      null,
      ...biases(4),
      null,
      null,
      state(2, 4),
      state(2, 4),
      null,
      null,
      null,
      null
    ],
    outputs: [f(2, 5, 4)],
    options: { table: 'UnidirectionalSequenceLSTMOptions', fused_activation_function: 'TANH', cell_clip: 10 }
  },
  {
    name: 'UNIDIRECTIONAL_SEQUENCE_LSTM steps first, with peepholes, without an input gate',
    op: 'UNIDIRECTIONAL_SEQUENCE_LSTM',
    inputs: [
      f(5, 2, 3),
      null,
      w(4, 3),
      w(4, 3),
      w(4, 3),
      null,
      w(4, 4),
      w(4, 4),
      w(4, 4),
      null,
      w(4),
      w(4),
      null,
      w(4),
      w(4),
      w(4),
      null,
      null,
      state(2, 4),
      state(2, 4),
      null,
      null,
      null,
      null
    ],
    outputs: [f(5, 2, 4)],
    options: { table: 'UnidirectionalSequenceLSTMOptions', fused_activation_function: 'TANH', time_major: true }
  },
  {
    name: 'UNIDIRECTIONAL_SEQUENCE_RNN',
    op: 'UNIDIRECTIONAL_SEQUENCE_RNN',
    inputs: [f(2, 5, 3), w(4, 3), w(4, 4), w(4), state(2, 4)],
    outputs: [f(2, 5, 4)],
    options: { table: 'SequenceRNNOptions', fused_activation_function: 'TANH' }
  },
  {
    name: 'RNN',
    op: 'RNN',
    inputs: [f(2, 3), w(4, 3), w(4, 4), w(4), state(2, 4)],
    outputs: [f(2, 4)],
    options: { table: 'RNNOptions', fused_activation_function: 'RELU' }
  },
  {
    name: 'SVDF',
    op: 'SVDF',
    inputs: [f(2, 3), w(8, 3), w(8, 5), w(4), state(2, 40)],
    outputs: [f(2, 4)],
    options: { table: 'SVDFOptions', rank: 2, fused_activation_function: 'RELU' }
  },
  {
    name: 'BIDIRECTIONAL_SEQUENCE_LSTM',
    op: 'BIDIRECTIONAL_SEQUENCE_LSTM',
    inputs: [
      f(2, 5, 3),
      ...[...lstmWeights(4, 3), null, null, null, ...biases(4), null, null],
      ...[...lstmWeights(4, 3), null, null, null, ...biases(4), null, null],
      ...[state(2, 4), state(2, 4), state(2, 4), state(2, 4)],
      ...new Array(9).fill(null)
    ],
    outputs: [f(2, 5, 8)],
    options: {
      table: 'BidirectionalSequenceLSTMOptions',
      fused_activation_function: 'TANH',
      merge_outputs: true,
      time_major: false
    }
  }
]

export const flatCases: readonly Case[] = [
  ...elementwise,
  ...layers,
  ...reductions,
  ...shapes,
  ...indexing,
  ...detections,
  ...places,
  ...types,
  ...recurrent
]
