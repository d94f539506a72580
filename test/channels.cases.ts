/**
 * Small networks in which channels may go. `free`: how many channels each group has that may lose some. `twins`: the
 * operator takes statistics over the channels, so the second half of them is made equal to the first, and goes.
 */
export interface ChannelCase {
  readonly model: string
  readonly free: readonly number[]
  readonly twins?: true
}

const image = (c: number, middle: string, k = c): string =>
  `input x: f32[2,3,6,5]; a = Conv(x, W1: f32[${c},3,3,3], B1: f32[${c}], pads=[1,1,1,1]); ${middle}; y = Conv(m, W2: f32[4,${k},1,1]); output y`
const tokens = (c: number, middle: string, k = c): string =>
  `input x: f32[2,5,4]; a = MatMul(x, W1: f32[4,${c}]); ${middle}; y = MatMul(m, W2: f32[${k},3]); output y`
const rows = (c: number, middle: string, k = c): string =>
  `input x: f32[3,4]; a = Gemm(x, W1: f32[4,${c}], B1: f32[${c}]); ${middle}; y = Gemm(m, W2: f32[${k},5]); output y`

const one = (model: string, ...free: readonly number[]): ChannelCase => ({ model, free })
const unary = (op: string, attrs = '', before = 'b = Identity(a)'): ChannelCase =>
  one(image(4, `${before}; m = ${op}(b${attrs})`), 4)
const predicate = (op: string): ChannelCase => one(image(4, `b = ${op}(a); m = Cast(b, to=1)`), 4)
const compared = (op: string): ChannelCase => one(image(4, `b = ${op}(a, C: f32[4,1,1]); m = Cast(b, to=1)`), 4)
const logical = (op: string): ChannelCase =>
  one(image(4, `p = Greater(a, C: f32[4,1,1]); q = Less(a, D: f32[1,4,1,5]); b = ${op}(p, q); m = Cast(b, to=1)`), 4)
const binary = (op: string, before = 'b = Identity(a)'): ChannelCase =>
  one(image(4, `${before}; m = ${op}(b, C: f32[4,1,1])`), 4)
const bits = (op: string): ChannelCase =>
  one(image(4, `s = Abs(a); b = Cast(s, to=${op.startsWith('BitShift') ? 12 : 6}); c = ${op}; m = Cast(c, to=1)`), 4)
const reduced = (op: string): ChannelCase => one(image(4, `p = Abs(a); m = Reduce${op}(p, axes: i64[2]{2,3})`), 4)

const positive = 'b = Sigmoid(a)'
const unaries = [
  'Abs',
  'Asinh',
  'Atan',
  'Ceil',
  'Cos',
  'Cosh',
  'Erf',
  'Exp',
  'Floor',
  'Neg',
  'Round',
  'Sign',
  'Sin',
  'Sinh',
  'Tan'
]
const inUnit = ['Acos', 'Asin', 'Atanh', 'Log', 'Reciprocal', 'Sqrt']
const activations = [
  'Celu',
  'Elu',
  'Gelu',
  'HardSigmoid',
  'HardSwish',
  'LeakyRelu',
  'Mish',
  'Relu',
  'Selu',
  'Shrink',
  'Sigmoid',
  'Softplus',
  'Softsign',
  'Tanh',
  'ThresholdedRelu'
]
const reductions = ['L1', 'L2', 'LogSum', 'LogSumExp', 'Max', 'Mean', 'Min', 'Prod', 'Sum', 'SumSquare']
const table = (names: readonly string[], f: (name: string) => ChannelCase): Record<string, ChannelCase> =>
  Object.fromEntries(names.map((name) => [name, f(name)]))

export const channelCases: Readonly<Record<string, ChannelCase>> = {
  // ------------------------------------------------------------ element-wise
  ...table(unaries, (op) => unary(op)),
  ...table(inUnit, (op) => unary(op, '', positive)),
  ...table(activations, (op) => unary(op)),
  Acosh: unary('Acosh', '', 'p = Abs(a); b = Exp(p)'),
  Swish: one(`opset 24\n${image(4, 'm = Swish(a)')}`, 4),
  PRelu: one(image(4, 'm = PRelu(a, S: f32[4,1,1])'), 4),
  Add: one(image(4, 'b = Add(a, C: f32[1,4,1,1]); c = Add(D: f32[5], b); m = Add(c, s); const s: f32[] = 0.5'), 4),
  'Add of a residual': one(
    image(4, 'b = Conv(a, V: f32[6,4,3,3], pads=[1,1,1,1]); c = Relu(b); d = Conv(c, U: f32[4,6,1,1]); m = Add(d, a)'),
    4,
    6
  ),
  ...table(['Sub', 'Mul', 'Max', 'Min', 'Mean', 'Sum'], (op) => binary(op)),
  Div: one(image(4, 'p = Exp(C: f32[4,1,1]); m = Div(a, p)'), 4),
  Pow: one(image(4, `${positive}; m = Pow(b, C: f32[4,1,1])`), 4),
  Mod: one(image(4, 'p = Exp(C: f32[4,1,1]); m = Mod(a, p, fmod=1)'), 4),
  BitShift: bits('BitShift(b, S: u32[4,1,1], direction="LEFT")'),
  BitwiseAnd: bits('BitwiseAnd(b, S: i32[4,1,1])'),
  BitwiseOr: bits('BitwiseOr(b, S: i32[4,1,1])'),
  BitwiseXor: bits('BitwiseXor(b, S: i32[4,1,1])'),
  BitwiseNot: bits('BitwiseNot(b)'),
  Cast: one(image(4, 'b = Cast(a, to=11); m = Cast(b, to=1)'), 4),
  CastLike: one(image(4, 'b = Cast(a, to=11); m = CastLike(b, l); const l: f32[] = 1'), 4),
  Clip: one(image(4, 'm = Clip(a, l, h); const l: f32[] = 0; const h: f32[] = 0.5'), 4),
  Where: one(image(4, 'p = Greater(a, z); m = Where(p, a, C: f32[4,1,1]); const z: f32[] = 0.1'), 4),
  ...table(['IsNaN', 'IsInf'], predicate),
  ...table(['Equal', 'Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual'], compared),
  ...table(['And', 'Or', 'Xor'], logical),
  Not: one(image(4, 'p = Greater(a, C: f32[4,1,1]); b = Not(p); m = Cast(b, to=1)'), 4),

  // ------------------------------------------------------------ along axes
  Softmax: one(image(4, 'm = Softmax(a, axis=3)'), 4),
  LogSoftmax: one(image(4, 'm = LogSoftmax(a, axis=-2)'), 4),
  Hardmax: one(image(4, 'm = Hardmax(a)'), 4),
  ...table(
    reductions.map((name) => `Reduce${name}`),
    (name) => reduced(name.slice(6))
  ),
  'ReduceMean without its axes': one(
    `input x: f32[2,3,6,5]; a = Conv(x, W1: f32[4,3,1,1]); m = ReduceMean(a, axes: i64[2]{-1,-2}, keepdims=0); y = Gemm(m, W2: f32[4,3]); output y`,
    4
  ),
  'ReduceMean of nothing': one(image(4, 'm = ReduceMean(a, noop_with_empty_axes=1)'), 4),
  ArgMax: one(image(4, 'b = ArgMax(a, axis=2); m = Cast(b, to=1)'), 4),
  ArgMin: one(image(4, 'b = ArgMin(a, axis=-1); m = Cast(b, to=1)'), 4),

  // ------------------------------------------------------------ convolutions and products
  'Conv with a plain bias': one(image(5, 'm = Identity(a)'), 5),
  'Conv depthwise': one(image(6, 'm = Conv(a, V: f32[6,1,3,3], B: f32[6], group=6)'), 6),
  'Conv depthwise with two outputs each': one(image(4, 'm = Conv(a, V: f32[8,1,3,3], B: f32[8], group=4)', 8), 4),
  'Conv in groups': one(image(6, 'b = Conv(a, V: f32[9,2,3,3], B: f32[9], group=3); m = Relu(b)', 9), 3),
  ConvTranspose: one(image(4, 'b = Relu(a); m = ConvTranspose(b, V: f32[4,6,2,2], B: f32[6], strides=[2,2])', 6), 4, 6),
  'ConvTranspose in groups': one(image(6, 'm = ConvTranspose(a, V: f32[6,2,2,2], B: f32[6], group=3)'), 3),
  Gemm: one(rows(6, 'b = Relu(a); m = Gemm(b, V: f32[8,6], C: f32[1,8], transB=1, alpha=0.5)', 8), 6, 8),
  'Gemm transposed': one(
    'input x: f32[4,3]; a = Gemm(x, W1: f32[4,6], transA=1); t = Transpose(a); y = Gemm(t, W2: f32[6,5], transA=1); output y',
    6
  ),
  'Gemm of a matrix of biases': one(rows(6, 'm = Gemm(a, V: f32[6,7], C: f32[3,7])', 7), 6, 7),
  MatMul: one(tokens(6, 'b = Relu(a); m = MatMul(b, V: f32[1,6,8])', 8), 6, 8),
  'MatMul with a vector': one(
    'input x: f32[2,5,4]; a = MatMul(x, W1: f32[4,6]); b = Tanh(a); y = MatMul(b, W2: f32[6]); output y',
    6
  ),
  'MatMul of heads': one(
    `input x: f32[2,5,4]
q = MatMul(x, Wq: f32[4,12]); k = MatMul(x, Wk: f32[4,12]); v = MatMul(x, Wv: f32[4,12])
q1 = Reshape(q, s: i64[4]{0,0,3,4}); k1 = Reshape(k, s); v1 = Reshape(v, s)
q2 = Transpose(q1, perm=[0,2,1,3]); k2 = Transpose(k1, perm=[0,2,3,1]); v2 = Transpose(v1, perm=[0,2,1,3])
scores = MatMul(q2, k2); p = Softmax(scores); o = MatMul(p, v2)
o1 = Transpose(o, perm=[0,2,1,3]); o2 = Reshape(o1, t: i64[3]{0,0,12}); y = MatMul(o2, Wo: f32[12,4]); output y`,
    3
  ),

  // ------------------------------------------------------------ normalizations
  BatchNormalization: one(
    image(4, 'm = BatchNormalization(a, S: f32[4], B: f32[4], M: f32[4], v); const v: f32[4] = 0.5, 1, 2, 0.1'),
    4
  ),
  InstanceNormalization: one(image(4, 'm = InstanceNormalization(a, S: f32[4], B: f32[4])'), 4),
  GroupNormalization: one(image(6, 'm = GroupNormalization(a, S: f32[6], B: f32[6], num_groups=3)'), 3),
  LayerNormalization: {
    model: tokens(8, 'm = LayerNormalization(a, S: f32[8], B: f32[8])'),
    free: [8],
    twins: true
  },
  'LayerNormalization of two axes': {
    model:
      'input x: f32[2,5,4]; a = MatMul(x, W1: f32[4,8]); m = LayerNormalization(a, S: f32[5,8], B: f32[5,8], axis=-2); y = MatMul(m, W2: f32[8,3]); output y',
    free: [8],
    twins: true
  },
  RMSNormalization: { model: `opset 23\n${tokens(8, 'm = RMSNormalization(a, S: f32[8])')}`, free: [8], twins: true },
  SimplifiedLayerNormalization: {
    model: tokens(8, 'm = SimplifiedLayerNormalization(a, S: f32[8])'),
    free: [8],
    twins: true
  },

  // ------------------------------------------------------------ windows and sizes
  MaxPool: one(image(4, 'm = MaxPool(a, kernel_shape=[2,2], strides=[2,2])'), 4),
  AveragePool: one(image(4, 'm = AveragePool(a, kernel_shape=[3,3])'), 4),
  LpPool: one(image(4, 'm = LpPool(a, kernel_shape=[2,2])'), 4),
  ...table(['GlobalAveragePool', 'GlobalMaxPool', 'GlobalLpPool'], (op) => one(image(4, `m = ${op}(a)`), 4)),
  Resize: one(image(4, 'm = Resize(a, _, s); const s: f32[4] = 1, 1, 2, 2'), 4),
  'Resize to sizes': one(image(4, 'm = Resize(a, _, _, s: i64[4]{2,4,3,9}, mode="linear")'), 4),
  'Resize of axes': one(image(4, 'm = Resize(a, _, _, s: i64[2]{3,9}, axes=[2,3])'), 4),
  QuantizeLinear: one(
    image(
      4,
      'q = QuantizeLinear(a, S, Z, axis=1); m = DequantizeLinear(q, S, Z, axis=1); const S: f32[4] = 0.1, 0.2, 0.05, 0.1; const Z: u8[4] = 100, 120, 128, 90'
    ),
    4
  ),
  DequantizeLinear: one(
    'input x: f32[2,3,6,5]; W = DequantizeLinear(C: i8[6,3,1,1], S, _, axis=0); const S: f32[6] = 0.1, 0.2, 0.05, 0.1, 1, 2; a = Conv(x, W); b = QuantizeLinear(a, s, z); const s: f32[] = 0.5; const z: u8[] = 128; c = DequantizeLinear(b, s, z); y = Conv(c, W2: f32[4,6,1,1]); output y',
    6
  ),

  // ------------------------------------------------------------ views
  Identity: one(image(4, 'm = Identity(a)'), 4),
  Dropout: one(image(4, 'm = Dropout(a)'), 4),
  Transpose: one(image(4, 'b = Transpose(a, perm=[0,2,3,1]); c = Relu(b); m = Transpose(c, perm=[0,3,1,2])'), 4),
  Flatten: one(
    'input x: f32[2,3,4,5]; a = Conv(x, W1: f32[6,3,2,2]); b = Flatten(a); y = Gemm(b, W2: f32[72,5]); output y',
    6
  ),
  'Flatten with channels last': one(
    'input x: f32[2,3,4,5]; a = Conv(x, W1: f32[6,3,2,2]); t = Transpose(a, perm=[0,2,3,1]); b = Flatten(t); y = Gemm(b, W2: f32[72,5]); output y',
    6
  ),
  Reshape: one(
    'input x: f32[2,3,4,5]; a = Conv(x, W1: f32[6,3,2,2]); b = Reshape(a, s: i64[2]{2,72}); y = Gemm(b, W2: f32[72,5]); output y',
    6
  ),
  'Reshape to the rest': one(
    'input x: f32[N,3,4,5]; a = Conv(x, W1: f32[6,3,2,2]); b = Reshape(a, s: i64[2]{0,-1}); y = Gemm(b, W2: f32[72,5]); output y',
    6
  ),
  'Reshape that keeps the channels': one(
    image(6, 'b = Reshape(a, s: i64[3]{2,6,-1}); c = Relu(b); m = Reshape(c, t: i64[4]{0,6,6,5})'),
    6
  ),
  'Reshape of one axis into two': one(
    rows(6, 'b = Reshape(a, s: i64[4]{0,6,1,1}); c = Relu(b); m = Reshape(c, t: i64[2]{3,-1})'),
    6
  ),
  'Reshape into groups': one(
    image(
      6,
      'b = Reshape(a, s: i64[3]{0,3,-1}); c = InstanceNormalization(b, S: f32[3], B: f32[3]); m = Reshape(c, t: i64[4]{2,6,6,5})'
    ),
    3
  ),
  Squeeze: one(
    'input x: f32[2,3,6,5]; a = Conv(x, W1: f32[4,3,6,5]); m = Squeeze(a, s: i64[2]{2,-1}); y = Gemm(m, W2: f32[4,3]); output y',
    4
  ),
  Unsqueeze: one(rows(4, 'b = Unsqueeze(a, s: i64[1]{0}); c = Relu(b); m = Squeeze(c, s)'), 4),
  Expand: one(image(4, 'g = GlobalAveragePool(a); m = Expand(g, s: i64[4]{1,4,6,5})'), 4),
  Tile: one(image(4, 'b = Tile(a, r: i64[4]{1,2,1,1}); m = Relu(b)', 8), 4),
  Shape: one(image(4, 'n = Shape(a, end=1); f = Cast(n, to=1); m = Mul(a, f)'), 4),

  'com.microsoft:FusedConv': one(
    `domain com.microsoft 1; ${image(4, 'm = com.microsoft:FusedConv(a, V: f32[6,4,3,3], C: f32[6], pads=[1,1,1,1], activation="Relu")', 6)}`,
    4,
    6
  ),

  // ------------------------------------------------------------ moves
  Concat: one(image(4, 'b = Conv(a, V: f32[5,4,1,1]); c = Relu(b); m = Concat(a, c, a, axis=1)', 13), 4, 5),
  'Concat of rows': one(tokens(4, 'b = Relu(a); c = Concat(a, b, axis=1); m = Relu(c)'), 4),
  Split: one(image(6, 'b, c = Split(a, s: i64[2]{4,2}, axis=1); d = Relu(b); m = Concat(d, c, axis=1)'), 4, 2),
  'Split in equal parts': one(image(8, 'b, c = Split(a, axis=1, num_outputs=2); s = Sigmoid(c); m = Mul(b, s)', 4), 4),
  Slice: one(
    image(4, 'm = Slice(a, f: i64[2]{0,1}, t: i64[2]{9223372036854775807,4}, ax: i64[2]{1,2}, st: i64[2]{1,2})'),
    4
  ),
  'Slice of all but one axis': one(image(4, 'm = Slice(a, f: i64[1]{1}, t: i64[1]{3}, ax: i64[1]{-1})'), 4),
  Pad: one(image(4, 'm = Pad(a, p: i64[8]{0,0,1,0,0,0,2,1}, mode="reflect")'), 4),
  'Pad of channels': one(
    image(4, 'b = Pad(a, p: i64[8]{0,2,0,0,0,3,0,0}); c = Conv(a, V: f32[9,4,1,1]); m = Add(b, c)', 9),
    4,
    5
  ),
  DepthToSpace: one(image(8, 'm = DepthToSpace(a, blocksize=2)', 2), 2),
  'DepthToSpace by columns': one(image(8, 'm = DepthToSpace(a, blocksize=2, mode="CRD")', 2), 2),
  SpaceToDepth: one(
    'input x: f32[2,3,6,4]; a = Conv(x, W1: f32[4,3,1,1]); m = SpaceToDepth(a, blocksize=2); y = Conv(m, W2: f32[4,16,1,1]); output y',
    4
  ),
  Gather: one('input x: i64[2,5]; e = Gather(E: f32[9,6], x); m = Relu(e); y = MatMul(m, W2: f32[6,3]); output y', 6),
  // ------------------------------------------------------------ recurrent layers and attention
  LSTM: one(
    `input x: f32[5,2,3]; a = MatMul(x, W1: f32[3,4]); h, _, c = LSTM(a, W: f32[1,24,4], R: f32[1,24,6], B: f32[1,48], _, h0: f32[1,2,6], c0: f32[1,2,6], P: f32[1,18], hidden_size=6); s = Squeeze(h, ax: i64[1]{1}); u = MatMul(s, W2: f32[6,3]); d = Squeeze(c, e: i64[1]{0}); v = MatMul(d, W3: f32[6,3]); y = Add(u, v); output y`,
    4,
    6
  ),
  'LSTM in both directions': one(
    `input x: f32[5,2,3]; h, _, _ = LSTM(x, W: f32[2,16,3], R: f32[2,16,4], B: f32[2,32], hidden_size=4, direction="bidirectional"); t = Transpose(h, perm=[0,2,1,3]); s = Reshape(t, r: i64[3]{0,0,8}); y = MatMul(s, W2: f32[8,3]); output y`,
    4
  ),
  GRU: one(
    `input x: f32[5,2,3]; a = MatMul(x, W1: f32[3,4]); h, _ = GRU(a, W: f32[1,18,4], R: f32[1,18,6], B: f32[1,36], hidden_size=6, linear_before_reset=1); s = Squeeze(h, ax: i64[1]{1}); y = MatMul(s, W2: f32[6,3]); output y`,
    4,
    6
  ),
  RNN: one(
    `input x: f32[5,2,3]; a = MatMul(x, W1: f32[3,4]); h, _ = RNN(a, W: f32[1,6,4], R: f32[1,6,6], hidden_size=6); s = Squeeze(h, ax: i64[1]{1}); y = MatMul(s, W2: f32[6,3]); output y`,
    4,
    6
  ),
  'heads of attention': one(
    `input x: f32[2,5,4]; q = MatMul(x, WQ: f32[4,12]); qb = Add(q, BQ: f32[12]); k = MatMul(x, WK: f32[4,12]); v = MatMul(x, WV: f32[4,12]); q4 = Reshape(qb, s: i64[4]{0,0,3,4}); k4 = Reshape(k, s); v4 = Reshape(v, s); qt = Transpose(q4, perm=[0,2,1,3]); kt = Transpose(k4, perm=[0,2,3,1]); vt = Transpose(v4, perm=[0,2,1,3]); w = MatMul(qt, kt); p = Softmax(w, axis=-1); o = MatMul(p, vt); ot = Transpose(o, perm=[0,2,1,3]); m = Reshape(ot, f: i64[3]{0,0,12}); y = MatMul(m, WO: f32[12,4]); output y`,
    3
  ),
  'Gather of one row': one(
    'input x: f32[2,5,4]; a = MatMul(x, W1: f32[4,6]); m = Gather(a, i, axis=1); const i: i64[] = 0; y = MatMul(m, W2: f32[6,3]); output y',
    6
  )
}
