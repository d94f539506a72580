/**
 * Operators whose gradients are held against central differences. Every float input of a case is differentiated.
 * `values`: how inputs are drawn, so that no kink lies within a difference: `apart` is a shuffled grid around 0.
 */
export interface GradCase {
  readonly model: string
  readonly values?: 'normal' | 'apart' | 'positive' | 'unit' | 'above one' | 'zeros too'
  /** Factor of the drawn values. */
  readonly scale?: number
}

const unary = (op: string, attrs = ''): string => `input x: f32[3,4,5]; y = ${op}(x${attrs}); output y`
const pair = (op: string, a = '[3,4,5]', b = '[3,4,5]'): string =>
  `input a: f32${a}; input b: f32${b}; y = ${op}(a, b); output y`
const conv = (x: string, w: string, attrs = ''): string =>
  `input x: f32${x}; input w: f32${w}; y = Conv(x, w${attrs}); output y`
const biased = (x: string, w: string, b: number, attrs = ''): string =>
  `input x: f32${x}; input w: f32${w}; input b: f32[${b}]; y = Conv(x, w, b${attrs}); output y`
const transposed = (x: string, w: string, attrs = ''): string =>
  `input x: f32${x}; input w: f32${w}; y = ConvTranspose(x, w${attrs}); output y`
const pool = (op: string, x: string, attrs: string): string =>
  `input x: f32${x}; y = ${op}(x, kernel_shape=${attrs}); output y`
const smooth = (op: string, attrs = ''): GradCase => ({ model: unary(op, attrs) })
const kinked = (op: string, attrs = '', scale = 1): GradCase => ({ model: unary(op, attrs), values: 'apart', scale })
const reduction = (op: string, attrs: string, values: GradCase['values'] = 'normal'): GradCase => ({
  model: `input x: f32[3,4,5]; y = ${op}(x${attrs}); output y`,
  values
})
const axes = (list: string, count: number): string => `, axes: i64[${count}]{${list}}`

export const gradCases: Readonly<Record<string, GradCase>> = {
  // ------------------------------------------------------------ element-wise
  Abs: kinked('Abs'),
  Acos: { model: unary('Acos'), values: 'unit' },
  Acosh: { model: unary('Acosh'), values: 'above one' },
  Asin: { model: unary('Asin'), values: 'unit' },
  Asinh: smooth('Asinh'),
  Atan: smooth('Atan'),
  Atanh: { model: unary('Atanh'), values: 'unit' },
  Cos: smooth('Cos'),
  Cosh: smooth('Cosh'),
  Erf: smooth('Erf'),
  Exp: smooth('Exp'),
  Log: { model: unary('Log'), values: 'positive' },
  Neg: smooth('Neg'),
  Reciprocal: { model: unary('Reciprocal'), values: 'positive' },
  Sin: smooth('Sin'),
  Sinh: smooth('Sinh'),
  Sqrt: { model: unary('Sqrt'), values: 'positive' },
  Tan: { model: unary('Tan'), values: 'unit' },
  Ceil: kinked('Ceil'),
  Floor: kinked('Floor'),
  Round: kinked('Round', '', 2.9),
  Sign: kinked('Sign'),
  Add: { model: pair('Add') },
  'Add broadcast': { model: pair('Add', '[3,1,5]', '[4,1]') },
  'Add scalar': { model: pair('Add', '[3,4,5]', '[]') },
  Sub: { model: pair('Sub', '[2,3,4,5]', '[3,1,1]') },
  'Sub left': { model: pair('Sub', '[1]', '[4,5]') },
  Mul: { model: pair('Mul', '[2,1,4]', '[3,1]') },
  'Mul itself': { model: 'input x: f32[3,4]; y = Mul(x, x); output y' },
  Div: { model: pair('Div', '[2,3,4]', '[3,1]'), values: 'positive' },
  Pow: { model: pair('Pow', '[3,4]', '[4]'), values: 'positive' },
  'Pow square': { model: 'input x: f32[3,4]; y = Pow(x, e: f32[]{2}); output y' },
  'Pow integer exponent': { model: 'input x: f32[3,4]; y = Pow(x, e: i64[]{3}); output y' },
  Mod: { model: 'input a: f32[3,4]; input b: f32[4]; y = Mod(a, b, fmod=1); output y', values: 'apart' },
  'Mod mixed': { model: 'input a: f32[3,4]; const b: f32[] = 0.737; y = Mod(a, b, fmod=1); output y', values: 'apart' },
  Sum: { model: 'input a: f32[3,4]; input b: f32[4]; input c: f32[3,1]; y = Sum(a, b, c); output y' },
  Mean: { model: 'input a: f32[3,4]; input b: f32[4]; input c: f32[3,1]; y = Mean(a, b, c); output y' },
  Max: { model: 'input a: f32[3,4]; input b: f32[4]; input c: f32[3,1]; y = Max(a, b, c); output y', values: 'apart' },
  Min: { model: 'input a: f32[3,4]; input b: f32[4]; y = Min(a, b); output y', values: 'apart' },
  'Max of one': { model: 'input a: f32[3,4]; y = Max(a); output y' },
  Where: {
    model: 'input a: f32[3,4]; input b: f32[3,1]; const c: bool[2,1,4] = 1,0,0,1,1,1,0,0; y = Where(c, a, b); output y'
  },
  Clip: { model: 'input x: f32[3,4]; y = Clip(x, l: f32[]{-0.613}, h: f32[]{0.731}); output y', values: 'apart' },
  'Clip below': { model: 'input x: f32[3,4]; y = Clip(x, l: f32[]{-0.613}); output y', values: 'apart' },
  'Clip open': { model: 'input x: f32[3,4]; y = Clip(x); output y' },
  'Clip by inputs': {
    model: 'input x: f32[40]; input l: f32[]; h = Add(l, c: f32[]{1.713}); y = Clip(x, l, h); output y',
    values: 'apart'
  },
  Cast: { model: 'input x: f32[3,4]; a = Cast(x, to=11); b = Mul(a, a); y = Cast(b, to=1); output y' },
  CastLike: { model: 'input x: f32[3,4]; y = CastLike(x, z: f32[1]{0}); output y' },
  // ------------------------------------------------------------ activations
  Relu: kinked('Relu'),
  Sigmoid: smooth('Sigmoid'),
  Tanh: smooth('Tanh'),
  LeakyRelu: kinked('LeakyRelu', ', alpha=0.2'),
  'LeakyRelu negative': kinked('LeakyRelu', ', alpha=-0.2'),
  PRelu: { model: 'input x: f32[2,3,4,5]; input s: f32[3,1,1]; y = PRelu(x, s); output y', values: 'apart' },
  Elu: kinked('Elu', ', alpha=0.7'),
  Celu: kinked('Celu', ', alpha=1.3'),
  Selu: kinked('Selu'),
  Gelu: smooth('Gelu'),
  'Gelu tanh': smooth('Gelu', ', approximate="tanh"'),
  'Gelu com.microsoft': { model: 'domain com.microsoft 1; input x: f32[3,4]; y = com.microsoft:Gelu(x); output y' },
  BiasGelu: {
    model: 'domain com.microsoft 1; input x: f32[3,4]; input b: f32[4]; y = com.microsoft:BiasGelu(x, b); output y'
  },
  FastGelu: {
    model: 'domain com.microsoft 1; input x: f32[3,4]; input b: f32[4]; y = com.microsoft:FastGelu(x, b); output y'
  },
  'FastGelu alone': { model: 'domain com.microsoft 1; input x: f32[3,4]; y = com.microsoft:FastGelu(x); output y' },
  QuickGelu: {
    model: 'domain com.microsoft 1; input x: f32[3,4]; y = com.microsoft:QuickGelu(x, alpha=1.702); output y'
  },
  Swish: { model: 'opset 24; input x: f32[3,4]; y = Swish(x, alpha=0.7); output y' },
  'Silu in parts': { model: 'input x: f32[3,4]; s = Sigmoid(x); y = Mul(x, s); output y' },
  HardSigmoid: kinked('HardSigmoid', ', alpha=0.3, beta=0.45', 2),
  HardSwish: kinked('HardSwish', '', 4.1),
  Softplus: smooth('Softplus'),
  Softsign: kinked('Softsign'),
  Mish: smooth('Mish'),
  ThresholdedRelu: kinked('ThresholdedRelu', ', alpha=0.313'),
  Shrink: kinked('Shrink', ', lambd=0.313, bias=0.1'),
  Softmax: smooth('Softmax'),
  'Softmax axis': smooth('Softmax', ', axis=1'),
  LogSoftmax: smooth('LogSoftmax', ', axis=-1'),
  'LogSoftmax axis': smooth('LogSoftmax', ', axis=0'),
  // ------------------------------------------------------------ convolutions
  Conv: { model: conv('[2,3,7,6]', '[4,3,3,3]', ', pads=[1,1,1,1]') },
  'Conv bias': { model: biased('[2,3,7,6]', '[4,3,3,3]', 4) },
  'Conv many channels': { model: conv('[2,17,6,5]', '[9,17,3,3]', ', pads=[1,1,1,1]') },
  'Conv uneven pads': { model: conv('[2,9,7,6]', '[4,9,3,2]', ', pads=[0,1,2,0]') },
  'Conv pads beyond the kernel': { model: conv('[2,9,5,5]', '[4,9,2,2]', ', pads=[2,2,2,2]') },
  'Conv 1x1': { model: conv('[2,9,5,4]', '[6,9,1,1]') },
  'Conv 1x1 at few positions': { model: biased('[3,9,2,3]', '[6,9,1,1]', 6) },
  'Conv 1x1 at some positions': { model: conv('[3,9,3,4]', '[6,9,1,1]') },
  'Conv 1x1 stride': { model: conv('[2,9,7,6]', '[6,9,1,1]', ', strides=[2,2]') },
  'Conv 1x1 pads': { model: conv('[2,9,4,4]', '[6,9,1,1]', ', pads=[1,0,1,0]') },
  'Conv stride': { model: conv('[2,3,8,7]', '[4,3,3,3]', ', pads=[1,1,1,1], strides=[2,2]') },
  'Conv stride leaves a rest': { model: conv('[2,8,10,9]', '[4,8,3,3]', ', strides=[3,2]') },
  'Conv dilation': { model: conv('[2,8,9,8]', '[4,8,3,3]', ', dilations=[2,3], pads=[1,2,2,3]') },
  'Conv dilation few channels': { model: conv('[2,2,9,8]', '[4,2,3,2]', ', dilations=[2,3]') },
  'Conv dilation stride': { model: conv('[2,3,13,12]', '[4,3,3,2]', ', dilations=[2,3], strides=[2,3]') },
  'Conv groups': { model: biased('[2,6,7,6]', '[4,3,3,3]', 4, ', group=2, pads=[1,1,1,1]') },
  'Conv groups stride dilation': {
    model: conv('[3,6,12,11]', '[8,2,3,2]', ', group=3, strides=[2,3], dilations=[2,1]').replace('[8,2', '[9,2')
  },
  'Conv depthwise': { model: conv('[2,6,7,6]', '[6,1,3,3]', ', group=6, pads=[1,1,1,1]') },
  'Conv depthwise stride': { model: conv('[2,6,8,7]', '[6,1,3,3]', ', group=6, pads=[1,1,1,1], strides=[2,2]') },
  'Conv depthwise dilation': { model: conv('[2,4,9,9]', '[4,1,3,3]', ', group=4, dilations=[2,2]') },
  'Conv depthwise bias uneven pads': {
    model: biased('[2,4,6,5]', '[4,1,2,3]', 4, ', group=4, pads=[0,2,1,1], strides=[1,2]')
  },
  'Conv depthwise over large planes': { model: conv('[1,2,13,12]', '[2,1,3,3]', ', group=2, pads=[1,1,1,1]') },
  'Conv depthwise stride over large planes': {
    model: conv('[1,2,20,17]', '[2,1,3,3]', ', group=2, pads=[1,1,1,1], strides=[2,2]')
  },
  'Conv depthwise dilation over large planes': {
    model: conv('[1,2,16,15]', '[2,1,3,3]', ', group=2, dilations=[2,2]')
  },
  'Conv depthwise multiplied': { model: conv('[2,3,7,6]', '[6,1,3,3]', ', group=3, strides=[2,1]') },
  'Conv 1d': { model: biased('[2,3,11]', '[4,3,5]', 4, ', pads=[2,2]') },
  'Conv 1d stride dilation': { model: conv('[2,3,17]', '[4,3,3]', ', strides=[2], dilations=[3]') },
  'Conv 1d depthwise': { model: conv('[2,5,9]', '[5,1,3]', ', group=5, pads=[1,1]') },
  'Conv 3d': { model: conv('[2,2,5,4,5]', '[3,2,2,3,2]', ', strides=[1,1,2]') },
  'Conv 3d stride 1': { model: conv('[1,8,4,4,3]', '[3,8,2,3,2]', ', pads=[1,1,0,0,1,1]') },
  'Conv same upper': { model: conv('[2,3,7,6]', '[4,3,4,2]', ', auto_pad="SAME_UPPER", strides=[2,3]') },
  'Conv same lower': { model: conv('[2,3,7,6]', '[4,3,4,2]', ', auto_pad="SAME_LOWER"') },
  'Conv valid': { model: conv('[2,3,7,6]', '[4,3,4,2]', ', auto_pad="VALID"') },
  ConvTranspose: {
    model:
      'input x: f32[2,3,4,5]; input w: f32[3,4,3,3]; input b: f32[4]; y = ConvTranspose(x, w, b, strides=[2,2], pads=[1,1,1,1]); output y'
  },
  'ConvTranspose stride 1': { model: transposed('[2,3,4,5]', '[3,17,3,2]', ', pads=[1,0,1,0]') },
  'ConvTranspose output padding': {
    model: transposed('[2,3,4,5]', '[3,4,3,3]', ', strides=[2,3], output_padding=[1,2]')
  },
  'ConvTranspose groups dilations': {
    model: transposed('[2,4,5,4]', '[4,2,3,2]', ', strides=[3,2], dilations=[2,3], group=2')
  },
  'ConvTranspose output shape': { model: transposed('[2,3,5,4]', '[3,4,3,3]', ', strides=[2,2], output_shape=[10,8]') },
  'ConvTranspose same': { model: transposed('[2,3,5,4]', '[3,4,3,3]', ', strides=[2,2], auto_pad="SAME_UPPER"') },
  'ConvTranspose 1d': { model: transposed('[2,3,6]', '[3,4,5]', ', strides=[4]') },
  'ConvTranspose depthwise': { model: transposed('[2,4,5,4]', '[4,1,3,3]', ', strides=[2,2], group=4') },
  // ------------------------------------------------------------ matrix products
  MatMul: { model: pair('MatMul', '[4,5]', '[5,3]') },
  'MatMul batched': { model: pair('MatMul', '[2,3,4,5]', '[2,3,5,2]') },
  'MatMul broadcast': { model: pair('MatMul', '[2,1,4,5]', '[3,5,2]') },
  'MatMul weight': { model: pair('MatMul', '[2,3,4,5]', '[5,2]') },
  'MatMul left weight': { model: pair('MatMul', '[4,5]', '[2,3,5,2]') },
  'MatMul vectors': { model: pair('MatMul', '[5]', '[5]') },
  'MatMul row': { model: pair('MatMul', '[5]', '[2,5,3]') },
  'MatMul column': { model: pair('MatMul', '[2,4,5]', '[5]') },
  ...Object.fromEntries(
    [0, 1].flatMap((a) =>
      [0, 1].map((b) => [
        `Gemm ${a}${b}`,
        {
          model: `input a: f32${a ? '[5,4]' : '[4,5]'}; input b: f32${b ? '[3,5]' : '[5,3]'}; input c: f32[3]; y = Gemm(a, b, c, transA=${a}, transB=${b}, alpha=0.7, beta=1.3); output y`
        }
      ])
    )
  ),
  Gemm: { model: pair('Gemm', '[4,5]', '[5,3]') },
  FusedMatMul: {
    model:
      'domain com.microsoft 1; input a: f32[2,5,4]; input b: f32[2,3,5]; y = com.microsoft:FusedMatMul(a, b, transA=1, transB=1, alpha=0.5); output y'
  },
  'Einsum product': {
    model: 'input a: f32[2,3,4]; input b: f32[2,4,5]; y = Einsum(a, b, equation="bij,bjk->bik"); output y'
  },
  'Einsum attention': {
    model: 'input a: f32[2,3,4,5]; input b: f32[2,6,4,5]; y = Einsum(a, b, equation="bqhd, bkhd -> bhqk"); output y'
  },
  'Einsum sums alone': { model: 'input a: f32[2,3]; input b: f32[4]; y = Einsum(a, b, equation="ij,k->k"); output y' },
  'Einsum implicit': { model: 'input a: f32[2,3]; input b: f32[3,4]; y = Einsum(a, b, equation="ij,jk"); output y' },
  'Einsum ellipsis': {
    model: 'input a: f32[2,3,4]; input b: f32[4,5]; y = Einsum(a, b, equation="...i,ij->...j"); output y'
  },
  'Einsum transpose': { model: 'input a: f32[2,3]; y = Einsum(a, equation="ij->ji"); output y' },
  // ------------------------------------------------------------ normalizations
  BatchNormalization: {
    model:
      'input x: f32[3,4,3,2]; input s: f32[4]; input b: f32[4]; input m: f32[4]; input v: f32[4]; y = BatchNormalization(x, s, b, m, v); output y',
    values: 'positive'
  },
  LayerNormalization: {
    model: 'input x: f32[2,3,8]; input s: f32[8]; input b: f32[8]; y = LayerNormalization(x, s, b); output y'
  },
  'LayerNormalization axis': {
    model: 'input x: f32[2,3,5]; input s: f32[3,5]; y = LayerNormalization(x, s, axis=1, epsilon=0.01); output y'
  },
  RMSNormalization: { model: 'opset 23; input x: f32[2,3,8]; input s: f32[8]; y = RMSNormalization(x, s); output y' },
  SimplifiedLayerNormalization: {
    model: 'input x: f32[2,3,8]; input s: f32[8]; y = SimplifiedLayerNormalization(x, s, axis=-1); output y'
  },
  GroupNormalization: {
    model:
      'input x: f32[2,6,3,2]; input s: f32[6]; input b: f32[6]; y = GroupNormalization(x, s, b, num_groups=3); output y'
  },
  InstanceNormalization: {
    model: 'input x: f32[2,3,4,3]; input s: f32[3]; input b: f32[3]; y = InstanceNormalization(x, s, b); output y'
  },
  'InstanceNormalization 1d': {
    model: 'input x: f32[2,3,7]; input s: f32[3]; input b: f32[3]; y = InstanceNormalization(x, s, b); output y'
  },
  MeanVarianceNormalization: { model: 'input x: f32[2,3,4,3]; y = MeanVarianceNormalization(x); output y' },
  LpNormalization: { model: 'input x: f32[3,5]; y = LpNormalization(x, axis=1); output y' },
  'LpNormalization 1': { model: 'input x: f32[3,5]; y = LpNormalization(x, axis=0, p=1); output y', values: 'apart' },
  // ------------------------------------------------------------ pools
  MaxPool: { model: pool('MaxPool', '[2,3,6,4]', '[2,2], strides=[2,2]'), values: 'apart' },
  'MaxPool overlapping': {
    model: pool('MaxPool', '[2,2,7,6]', '[3,3], strides=[2,2], pads=[1,1,1,1]'),
    values: 'apart'
  },
  'MaxPool stride 1': { model: pool('MaxPool', '[2,2,5,5]', '[3,2]'), values: 'apart' },
  'MaxPool ceil': { model: pool('MaxPool', '[2,2,6,5]', '[3,2], strides=[2,2], ceil_mode=1'), values: 'apart' },
  'MaxPool dilation': { model: pool('MaxPool', '[2,2,8,7]', '[3,2], dilations=[2,3]'), values: 'apart' },
  'MaxPool 1d': { model: pool('MaxPool', '[2,3,9]', '[3], strides=[2]'), values: 'apart' },
  'MaxPool ragged': { model: pool('MaxPool', '[2,3,7,7]', '[2,2], strides=[2,2]'), values: 'apart' },
  'MaxPool same': {
    model: pool('MaxPool', '[2,2,7,6]', '[3,3], strides=[2,2], auto_pad="SAME_UPPER"'),
    values: 'apart'
  },
  'MaxPool with indices': {
    model: 'input x: f32[2,2,6,6]; y, i = MaxPool(x, kernel_shape=[3,3], strides=[2,2]); output y',
    values: 'apart'
  },
  AveragePool: { model: pool('AveragePool', '[2,3,6,4]', '[2,2], strides=[2,2]') },
  'AveragePool overlapping': { model: pool('AveragePool', '[2,2,7,6]', '[3,3], strides=[2,2], pads=[1,1,1,1]') },
  'AveragePool counts pads': {
    model: pool('AveragePool', '[2,2,7,6]', '[3,3], strides=[2,2], pads=[1,1,1,1], count_include_pad=1')
  },
  'AveragePool ceil': { model: pool('AveragePool', '[2,2,6,5]', '[3,2], strides=[2,2], ceil_mode=1') },
  'AveragePool same': { model: pool('AveragePool', '[2,2,7,6]', '[3,2], strides=[2,2], auto_pad="SAME_LOWER"') },
  'AveragePool ragged': { model: pool('AveragePool', '[2,3,7,7]', '[2,2], strides=[2,2]') },
  'AveragePool gaps': { model: pool('AveragePool', '[2,3,8,8]', '[2,2], strides=[3,3]') },
  'AveragePool 1d': { model: pool('AveragePool', '[2,3,9]', '[4], strides=[2], pads=[1,1]') },
  GlobalAveragePool: { model: 'input x: f32[2,3,4,5]; y = GlobalAveragePool(x); output y' },
  GlobalMaxPool: { model: 'input x: f32[2,3,4,5]; y = GlobalMaxPool(x); output y', values: 'apart' },
  // ------------------------------------------------------------ reductions
  ReduceSum: reduction('ReduceSum', axes('0,2', 2)),
  'ReduceSum all': reduction('ReduceSum', ''),
  'ReduceSum flat': reduction('ReduceSum', `${axes('-1', 1)}, keepdims=0`),
  ReduceMean: reduction('ReduceMean', `${axes('1,2', 2)}, keepdims=0`),
  ReduceMax: reduction('ReduceMax', axes('1', 1), 'apart'),
  ReduceMin: reduction('ReduceMin', `${axes('0,1', 2)}, keepdims=0`, 'apart'),
  ReduceProd: reduction('ReduceProd', axes('1', 1)),
  'ReduceProd with zeros': reduction('ReduceProd', `${axes('1', 1)}, keepdims=0`, 'zeros too'),
  ReduceL1: reduction('ReduceL1', axes('1', 1), 'apart'),
  ReduceL2: reduction('ReduceL2', `${axes('1,2', 2)}, keepdims=0`),
  ReduceLogSum: reduction('ReduceLogSum', axes('1', 1), 'positive'),
  ReduceLogSumExp: reduction('ReduceLogSumExp', axes('1', 1)),
  ReduceSumSquare: reduction('ReduceSumSquare', `${axes('0', 1)}, keepdims=0`),
  'ReduceSum of nothing': reduction('ReduceSum', ', noop_with_empty_axes=1'),
  CumSum: { model: 'input x: f32[3,4]; y = CumSum(x, axis: i64[]{1}); output y' },
  'CumSum exclusive': { model: 'input x: f32[3,4]; y = CumSum(x, axis: i64[]{0}, exclusive=1); output y' },
  'CumSum reverse': { model: 'input x: f32[3,4]; y = CumSum(x, axis: i64[]{1}, reverse=1, exclusive=1); output y' },
  // ------------------------------------------------------------ moves
  Concat: { model: 'input a: f32[2,3]; input b: f32[2,1]; y = Concat(a, b, a, axis=-1); output y' },
  'Concat of one': { model: 'input a: f32[2,3]; y = Concat(a, axis=0); output y' },
  Split: { model: 'input x: f32[7,2]; a, b, c = Split(x, s: i64[3]{2,4,1}); y = Mul(b, b); output a, y' },
  'Split evenly': { model: 'input x: f32[2,5]; a, b = Split(x, axis=1, num_outputs=2); output a, b' },
  Slice: { model: 'input x: f32[6,5]; y = Slice(x, s: i64[2]{1,-3}, e: i64[2]{4,9999}); output y' },
  'Slice steps': {
    model: 'input x: f32[9,8]; y = Slice(x, s: i64[2]{1,0}, e: i64[2]{9,7}, a: i64[2]{1,0}, t: i64[2]{3,2}); output y'
  },
  'Slice backwards': {
    model: 'input x: f32[9,4]; y = Slice(x, s: i64[1]{-2}, e: i64[1]{-99}, a: i64[1]{0}, t: i64[1]{-3}); output y'
  },
  Pad: { model: 'input x: f32[3,4]; y = Pad(x, p: i64[4]{1,0,2,3}, v: f32[]{0.5}); output y' },
  'Pad negative': { model: 'input x: f32[4,5]; y = Pad(x, p: i64[4]{-1,2,0,-1}); output y' },
  'Pad axes': { model: 'input x: f32[3,4,2]; y = Pad(x, p: i64[2]{1,2}, _, a: i64[1]{-2}); output y' },
  'Pad value': { model: 'input x: f32[3,4]; input v: f32[]; y = Pad(x, p: i64[4]{1,0,2,3}, v); output y' },
  'Pad reflect': { model: 'input x: f32[2,2,4,5]; y = Pad(x, p: i64[8]{0,0,1,2,0,0,3,1}, mode="reflect"); output y' },
  'Pad edge': { model: 'input x: f32[4,5]; y = Pad(x, p: i64[4]{1,2,3,1}, mode="edge"); output y' },
  'Pad wrap': { model: 'input x: f32[4,5]; y = Pad(x, p: i64[4]{1,2,3,1}, mode="wrap"); output y' },
  DepthToSpace: { model: 'input x: f32[2,8,2,3]; y = DepthToSpace(x, blocksize=2); output y' },
  'DepthToSpace CRD': { model: 'input x: f32[2,8,2,3]; y = DepthToSpace(x, blocksize=2, mode="CRD"); output y' },
  SpaceToDepth: { model: 'input x: f32[2,2,4,6]; y = SpaceToDepth(x, blocksize=2); output y' },
  Trilu: { model: 'input x: f32[2,4,5]; y = Trilu(x, k: i64[]{1}); output y' },
  'Trilu lower': { model: 'input x: f32[4,5]; y = Trilu(x, upper=0); output y' },
  ReverseSequence: {
    model: 'input x: f32[4,3,2]; y = ReverseSequence(x, l: i64[3]{1,4,2}, time_axis=0, batch_axis=1); output y'
  },
  // ------------------------------------------------------------ shapes
  Reshape: { model: 'input x: f32[2,6]; y = Reshape(x, s: i64[3]{0,2,-1}); output y' },
  Flatten: { model: 'input x: f32[2,3,4]; y = Flatten(x, axis=2); output y' },
  Squeeze: { model: 'input x: f32[2,1,3,1]; y = Squeeze(x, a: i64[1]{1}); output y' },
  Unsqueeze: { model: 'input x: f32[2,3]; y = Unsqueeze(x, a: i64[2]{0,-1}); output y' },
  Identity: { model: 'input x: f32[2,3]; y = Identity(x); output y' },
  Transpose: { model: 'input x: f32[2,3,4]; y = Transpose(x, perm=[2,0,1]); output y' },
  'Transpose all': { model: 'input x: f32[2,3,4]; y = Transpose(x); output y' },
  Expand: { model: 'input x: f32[3,1]; y = Expand(x, s: i64[3]{2,1,4}); output y' },
  Tile: { model: 'input x: f32[2,3]; y = Tile(x, r: i64[2]{2,3}); output y' },
  Dropout: { model: 'input x: f32[3,4]; y = Dropout(x, r: f32[]{0.5}); output y' },
  // ------------------------------------------------------------ indices
  Gather: { model: 'input x: f32[5,3]; y = Gather(x, i: i64[2,2]{1,3,1,-1}); output y' },
  'Gather axis': { model: 'input x: f32[2,4,3]; y = Gather(x, i: i64[2,3]{1,3,1,0,0,-1}, axis=1); output y' },
  'Gather last axis': { model: 'input x: f32[2,4,3]; y = Gather(x, i: i64[2]{2,2}, axis=-1); output y' },
  'Gather one': { model: 'input x: f32[2,4,3]; y = Gather(x, i: i64[]{2}, axis=1); output y' },
  GatherElements: { model: 'input x: f32[3,3]; y = GatherElements(x, i: i64[2,3]{1,2,0,1,0,0}, axis=0); output y' },
  GatherND: { model: 'input x: f32[3,4,2]; y = GatherND(x, i: i64[3,2]{0,1,2,3,0,1}); output y' },
  ScatterElements: {
    model: 'input x: f32[3,3]; input u: f32[2,3]; y = ScatterElements(x, i: i64[2,3]{1,0,2,0,2,1}, u, axis=0); output y'
  },
  'ScatterElements add': {
    model:
      'input x: f32[3,3]; input u: f32[2,3]; y = ScatterElements(x, i: i64[2,3]{1,0,2,1,2,2}, u, axis=0, reduction="add"); output y'
  },
  ScatterND: {
    model: 'input x: f32[4,3]; input u: f32[2,3]; y = ScatterND(x, i: i64[2,1]{3,1}, u); output y'
  },
  'ScatterND add': {
    model: 'input x: f32[4,3]; input u: f32[3,3]; y = ScatterND(x, i: i64[3,1]{3,1,3}, u, reduction="add"); output y'
  },
  TopK: { model: 'input x: f32[3,6]; y, i = TopK(x, k: i64[1]{2}); output y', values: 'apart' },
  // ------------------------------------------------------------ resampling
  'Resize nearest': { model: 'input x: f32[2,3,3,4]; y = Resize(x, _, s: f32[4]{1,1,2,3}); output y' },
  'Resize nearest asymmetric': {
    model:
      'input x: f32[2,3,3,4]; y = Resize(x, _, s: f32[4]{1,1,2,2}, coordinate_transformation_mode="asymmetric", nearest_mode="floor"); output y'
  },
  'Resize nearest down': { model: 'input x: f32[2,3,7,6]; y = Resize(x, _, s: f32[4]{1,1,0.6,0.5}); output y' },
  'Resize linear': { model: 'input x: f32[2,3,3,4]; y = Resize(x, _, s: f32[4]{1,1,2,2.5}, mode="linear"); output y' },
  'Resize linear aligned': {
    model:
      'input x: f32[2,3,4,4]; y = Resize(x, _, _, s: i64[4]{2,3,7,3}, mode="linear", coordinate_transformation_mode="align_corners"); output y'
  },
  'Resize linear sizes': {
    model: 'input x: f32[2,3,4,5]; y = Resize(x, _, _, s: i64[4]{2,3,6,8}, mode="linear"); output y'
  },
  'Resize linear antialias': {
    model: 'input x: f32[1,2,8,7]; y = Resize(x, _, _, s: i64[4]{1,2,4,3}, mode="linear", antialias=1); output y'
  },
  'Resize cubic': { model: 'input x: f32[1,2,5,4]; y = Resize(x, _, s: f32[4]{1,1,2,1.5}, mode="cubic"); output y' }
}
