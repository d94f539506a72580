/** Models in the text form whose shapes the engine is asked for: name → statements after the opset line. */
export const shapeCases: Readonly<Record<string, string>> = {
  // ------------------------------------------------------------ convolutions
  conv: 'input x: f32[N,3,8,8]; y = Conv(x, W: f32[4,3,3,3]); output y',
  'conv same spatial symbols': 'input x: f32[N,3,H,W]; y = Conv(x, K: f32[4,3,3,3], pads=[1,1,1,1]); output y',
  'conv strides': 'input x: f32[N,3,H,W]; y = Conv(x, K: f32[4,3,3,3], pads=[1,1,1,1], strides=[2,2]); output y',
  'conv uneven pads': 'input x: f32[N,3,9,8]; y = Conv(x, K: f32[4,3,2,3], pads=[0,1,2,3], strides=[3,2]); output y',
  'conv dilations': 'input x: f32[N,3,H,W]; y = Conv(x, K: f32[4,3,3,3], dilations=[2,3], pads=[2,3,2,3]); output y',
  'conv dilations stride':
    'input x: f32[N,3,19,18]; y = Conv(x, K: f32[4,3,3,2], dilations=[2,3], strides=[2,3]); output y',
  'conv group': 'input x: f32[N,6,8,8]; y = Conv(x, K: f32[4,3,3,3], B: f32[4], group=2); output y',
  'conv depthwise': 'input x: f32[N,6,8,8]; y = Conv(x, K: f32[6,1,3,3], group=6, auto_pad="VALID"); output y',
  'conv 1d': 'input x: f32[N,3,W]; y = Conv(x, K: f32[4,3,5], strides=[2]); output y',
  'conv 3d': 'input x: f32[N,2,6,7,8]; y = Conv(x, K: f32[4,2,3,2,1], strides=[1,2,3]); output y',
  'conv same upper':
    'input x: f32[N,3,H,W]; y = Conv(x, K: f32[4,3,3,3], auto_pad="SAME_UPPER", strides=[2,3]); output y',
  'conv same lower':
    'input x: f32[N,3,7,6]; y = Conv(x, K: f32[4,3,4,2], auto_pad="SAME_LOWER", strides=[2,3]); output y',
  'conv same narrow':
    'input x: f32[N,3,17,16]; y = Conv(x, K: f32[4,3,1,1], auto_pad="SAME_UPPER", strides=[3,2]); output y',
  'conv chain':
    'input x: f32[N,3,H,W]; a = Conv(x, K: f32[4,3,3,3], pads=[1,1,1,1], strides=[2,2]); b = Conv(a, L: f32[4,4,3,3], pads=[1,1,1,1], strides=[2,2]); output a, b',
  'conv transpose': 'input x: f32[N,3,H,W]; y = ConvTranspose(x, K: f32[3,4,3,3], strides=[2,2]); output y',
  'conv transpose pads':
    'input x: f32[N,3,H,W]; y = ConvTranspose(x, K: f32[3,4,3,3], strides=[2,2], pads=[1,1,1,1], output_padding=[1,1]); output y',
  'conv transpose dilations':
    'input x: f32[N,4,5,6]; y = ConvTranspose(x, K: f32[4,2,3,2], strides=[3,2], dilations=[2,3], group=2); output y',
  'conv transpose shape':
    'input x: f32[N,3,5,6]; y = ConvTranspose(x, K: f32[3,4,3,3], strides=[2,2], output_shape=[10,12]); output y',
  'conv transpose same':
    'input x: f32[N,3,H,W]; y = ConvTranspose(x, K: f32[3,4,3,3], strides=[2,2], auto_pad="SAME_UPPER"); output y',
  'conv transpose same narrow':
    'input x: f32[N,3,5,6]; y = ConvTranspose(x, K: f32[3,4,1,2], strides=[2,3], auto_pad="SAME_UPPER"); output y',
  'conv transpose same lower':
    'input x: f32[N,3,5,6]; y = ConvTranspose(x, K: f32[3,4,4,3], strides=[2,2], auto_pad="SAME_LOWER", output_padding=[1,0]); output y',
  'conv transpose 1d': 'input x: f32[N,3,W]; y = ConvTranspose(x, K: f32[3,4,5], B: f32[4], strides=[4]); output y',
  'conv integer': 'input x: u8[N,3,8,8]; y = ConvInteger(x, K: u8[4,3,3,3], z: u8[]{3}, strides=[2,2]); output y',
  'qlinear conv':
    'input x: u8[N,3,H,8]; y = QLinearConv(x, s: f32[]{0.1}, z: u8[]{3}, K: i8[4,3,3,3], t: f32[4]{0.1,0.2,0.3,0.4}, o: i8[4]{0,0,0,0}, u: f32[]{0.1}, p: u8[]{3}, pads=[1,0,1,0]); output y',
  'qlinear conv channels last':
    'domain com.microsoft 1; input x: u8[N,8,9,3]; y = com.microsoft:QLinearConv(x, s: f32[]{0.1}, z: u8[]{3}, K: i8[4,3,3,3], t: f32[]{0.1}, o: i8[]{0}, u: f32[]{0.1}, p: u8[]{3}, channels_last=1); output y',
  'fused conv':
    'domain com.microsoft 1; input x: f32[N,3,8,8]; y = com.microsoft:FusedConv(x, K: f32[4,3,3,3], B: f32[4], activation="Relu"); output y',
  'deform conv':
    'input x: f32[N,1,6,6]; input o: f32[N,18,4,4]; y = DeformConv(x, K: f32[2,1,3,3], o, kernel_shape=[3,3], pads=[0,0,0,0]); output y',
  col2im: 'input x: f32[N,12,15]; y = Col2Im(x, i: i64[2]{4,6}, b: i64[2]{2,2}); output y',

  // ------------------------------------------------------------ pools
  'max pool': 'input x: f32[N,3,H,W]; y = MaxPool(x, kernel_shape=[2,2], strides=[2,2]); output y',
  'max pool indices': 'input x: f32[N,3,9,8]; y, i = MaxPool(x, kernel_shape=[3,2], strides=[2,2]); output y, i',
  'max pool pads': 'input x: f32[N,3,H,W]; y = MaxPool(x, kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]); output y',
  'max pool dilations':
    'input x: f32[N,3,19,18]; y = MaxPool(x, kernel_shape=[3,3], dilations=[2,3], strides=[2,2]); output y',
  'max pool ceil': 'input x: f32[N,3,8,9]; y = MaxPool(x, kernel_shape=[3,2], strides=[2,2], ceil_mode=1); output y',
  'max pool ceil pads':
    'input x: f32[N,3,7,8]; y = MaxPool(x, kernel_shape=[2,3], strides=[3,2], pads=[1,1,1,1], ceil_mode=1); output y',
  'max pool ceil last window in padding':
    'input x: f32[N,1,4,4]; y = MaxPool(x, kernel_shape=[1,1], strides=[2,2], pads=[0,0,0,0], ceil_mode=1); output y',
  'max pool ceil last window in padding 2':
    'input x: f32[N,1,5,5]; y = MaxPool(x, kernel_shape=[3,3], strides=[3,3], pads=[1,1,1,1], ceil_mode=1); output y',
  'max pool ceil same':
    'input x: f32[N,1,5,8]; y = MaxPool(x, kernel_shape=[3,2], strides=[2,3], auto_pad="SAME_UPPER", ceil_mode=1); output y',
  'max pool ceil symbolic':
    'input x: f32[N,1,H,W]; y = MaxPool(x, kernel_shape=[3,3], strides=[2,2], ceil_mode=1); output y',
  'max pool ceil symbolic pads':
    'input x: f32[N,1,H,W]; y = MaxPool(x, kernel_shape=[3,3], strides=[2,2], pads=[0,0,1,1], ceil_mode=1); output y',
  'max pool same':
    'input x: f32[N,3,H,W]; y = MaxPool(x, kernel_shape=[3,3], strides=[2,2], auto_pad="SAME_LOWER"); output y',
  'max pool same dilated':
    'input x: f32[N,3,9,10]; y = MaxPool(x, kernel_shape=[3,3], strides=[2,2], dilations=[2,2], auto_pad="SAME_UPPER"); output y',
  'max pool same narrow':
    'input x: f32[N,3,9,10]; y = MaxPool(x, kernel_shape=[1,2], strides=[2,3], auto_pad="SAME_UPPER"); output y',
  'max pool valid':
    'input x: f32[N,3,9,10]; y = MaxPool(x, kernel_shape=[3,2], strides=[2,3], auto_pad="VALID"); output y',
  'max pool valid ceil':
    'input x: f32[N,3,9,10]; y = MaxPool(x, kernel_shape=[2,3], strides=[2,2], auto_pad="VALID", ceil_mode=1); output y',
  'max pool 1d': 'input x: f32[N,3,W]; y = MaxPool(x, kernel_shape=[4], strides=[4]); output y',
  'max pool 3d': 'input x: f32[N,3,6,7,8]; y = MaxPool(x, kernel_shape=[2,3,2], strides=[2,1,2]); output y',
  'average pool': 'input x: f32[N,3,H,W]; y = AveragePool(x, kernel_shape=[3,3]); output y',
  'average pool ceil':
    'input x: f32[N,3,8,7]; y = AveragePool(x, kernel_shape=[3,2], strides=[2,2], pads=[1,0,1,1], ceil_mode=1, count_include_pad=1); output y',
  'average pool same':
    'input x: f32[N,3,H,W]; y = AveragePool(x, kernel_shape=[3,3], strides=[3,2], auto_pad="SAME_UPPER"); output y',
  'average pool dilations':
    'input x: f32[N,3,19,18]; y = AveragePool(x, kernel_shape=[3,3], dilations=[2,3], strides=[2,2]); output y',
  'lp pool': 'input x: f32[N,3,9,8]; y = LpPool(x, kernel_shape=[3,3], strides=[2,2], p=2); output y',
  'global pools':
    'input x: f32[N,3,H,W]; a = GlobalAveragePool(x); b = GlobalMaxPool(x); c = GlobalLpPool(x); output a, b, c',
  'global pool 3d': 'input x: f32[N,3,4,5,W]; a = GlobalAveragePool(x); output a',
  'max unpool':
    'input x: f32[N,1,H,W]; y, i = MaxPool(x, kernel_shape=[2,2], strides=[2,2]); z = MaxUnpool(y, i, kernel_shape=[2,2], strides=[2,2]); output z',
  'max unpool shape':
    'input x: f32[1,1,4,4]; y, i = MaxPool(x, kernel_shape=[2,2], strides=[2,2]); z = MaxUnpool(y, i, s: i64[4]{1,1,5,5}, kernel_shape=[2,2], strides=[2,2]); output z',
  'max roi pool': 'input x: f32[N,3,8,8]; input r: f32[S,5]; y = MaxRoiPool(x, r, pooled_shape=[2,3]); output y',
  'roi align':
    'input x: f32[N,3,8,8]; input r: f32[S,4]; input b: i64[S]; y = RoiAlign(x, r, b, output_height=3, output_width=2); output y',
  'qlinear average pool':
    'domain com.microsoft 1; input x: u8[N,3,8,9]; y = com.microsoft:QLinearAveragePool(x, s: f32[]{0.1}, z: u8[]{3}, t: f32[]{0.1}, p: u8[]{3}, kernel_shape=[3,2], strides=[2,2], ceil_mode=1); output y',
  'qlinear average pool last':
    'domain com.microsoft 1; input x: u8[N,8,9,3]; y = com.microsoft:QLinearAveragePool(x, s: f32[]{0.1}, z: u8[]{3}, t: f32[]{0.1}, p: u8[]{3}, kernel_shape=[3,2], channels_last=1); output y',
  'qlinear global average pool':
    'domain com.microsoft 1; input x: u8[N,8,9,3]; y = com.microsoft:QLinearGlobalAveragePool(x, s: f32[]{0.1}, z: u8[]{3}, t: f32[]{0.1}, p: u8[]{3}, channels_last=1); output y',
  'nhwc max pool':
    'domain com.microsoft 1; input x: u8[N,8,9,3]; y = com.microsoft:NhwcMaxPool(x, kernel_shape=[3,2], strides=[2,2], pads=[1,0,0,0]); output y',

  // ------------------------------------------------------------ matrix products
  matmul: 'input a: f32[N,S,3]; y = MatMul(a, b: f32[3,4]); output y',
  'matmul batches': 'input a: f32[N,1,S,3]; input b: f32[5,3,S]; y = MatMul(a, b); output y',
  'matmul vectors':
    'input a: f32[N,4,3]; input b: f32[3]; input c: f32[4]; y = MatMul(a, b); z = MatMul(c, a); u = MatMul(b, b); output y, z, u',
  'matmul integer': 'input a: u8[N,3]; y = MatMulInteger(a, b: i8[3,4], z: u8[]{2}); output y',
  'qlinear matmul':
    'input a: u8[N,S,3]; y = QLinearMatMul(a, s: f32[]{0.1}, z: u8[]{3}, b: i8[3,4], t: f32[]{0.1}, o: i8[]{0}, u: f32[]{0.1}, p: u8[]{3}); output y',
  gemm: 'input a: f32[N,3]; y = Gemm(a, b: f32[3,4], c: f32[4]); output y',
  'gemm transposed': 'input a: f32[3,N]; y = Gemm(a, b: f32[4,3], transA=1, transB=1, alpha=0.5); output y',
  'einsum contraction': 'input a: f32[N,S,3]; y = Einsum(a, b: f32[3,4], equation="bik,kj->bij"); output y',
  'einsum ellipsis':
    'input a: f32[N,2,S,3]; input b: f32[N,2,3,5]; y = Einsum(a, b, equation="...ik, ...kj -> ...ij"); output y',
  'einsum implicit': 'input a: f32[N,3]; y = Einsum(a, b: f32[3,4], equation="ab,bc"); output y',
  'einsum transpose': 'input a: f32[N,3,S]; y = Einsum(a, equation="abc->cab"); output y',
  'einsum diagonal': 'input a: f32[N,3,3]; y = Einsum(a, equation="bii->b"); output y',
  'einsum sum': 'input a: f32[N,3]; y = Einsum(a, equation="ij->"); output y',
  det: 'input a: f32[N,S,3,3]; y = Det(a); output y',
  'fused matmul':
    'domain com.microsoft 1; input a: f32[N,3,S]; input b: f32[N,4,3]; y = com.microsoft:FusedMatMul(a, b, transA=1, transB=1, alpha=2.0); output y',
  'fused matmul batch':
    'domain com.microsoft 1; input a: f32[3,N,4]; input b: f32[N,4,5]; y = com.microsoft:FusedMatMul(a, b, transBatchA=1); output y',
  'fused gemm':
    'domain com.microsoft 1; input a: f32[N,3]; y = com.microsoft:FusedGemm(a, b: f32[4,3], c: f32[4], transB=1, activation="Relu"); output y',
  qgemm:
    'domain com.microsoft 1; input a: u8[N,3]; y = com.microsoft:QGemm(a, s: f32[]{0.1}, z: u8[]{3}, b: i8[4,3], t: f32[4]{0.1,0.1,0.1,0.1}, o: i8[4]{0,0,0,0}, c: i32[4], u: f32[]{0.1}, p: u8[]{3}, transB=1); output y',
  'qgemm to float':
    'domain com.microsoft 1; input a: u8[N,3]; y = com.microsoft:QGemm(a, s: f32[]{0.1}, z: u8[]{3}, b: i8[3,4], t: f32[]{0.1}, o: i8[]{0}); output y',
  'matmul nbits':
    'domain com.microsoft 1; input a: f32[N,S,32]; y = com.microsoft:MatMulNBits(a, b: u8[8,1,16], s: f32[8], K=32, N=8, bits=4, block_size=32); output y',
  'dynamic quantize matmul':
    'domain com.microsoft 1; input a: f32[N,S,3]; y = com.microsoft:DynamicQuantizeMatMul(a, b: i8[3,4], s: f32[]{0.1}); output y',
  'matmul integer to float':
    'domain com.microsoft 1; input a: u8[N,S,3]; y = com.microsoft:MatMulIntegerToFloat(a, b: i8[3,4], s: f32[]{0.1}, t: f32[]{0.1}); output y',

  // ------------------------------------------------------------ normalization
  'batch normalization':
    'input x: f32[N,3,H,W]; y = BatchNormalization(x, s: f32[3], b: f32[3], m: f32[3], v: f32[3]{1,1,1}); output y',
  'batch normalization training':
    'input x: f32[N,3,H]; y, m2, v2 = BatchNormalization(x, s: f32[3], b: f32[3], m: f32[3], v: f32[3]{1,1,1}, training_mode=1); output y, m2, v2',
  'instance normalization': 'input x: f32[N,3,H,W]; y = InstanceNormalization(x, s: f32[3], b: f32[3]); output y',
  'layer normalization':
    'input x: f32[N,S,3,4]; y, m, d = LayerNormalization(x, s: f32[3,4], b: f32[3,4], axis=-2); output y, m, d',
  'group normalization':
    'input x: f32[N,4,H,W]; y = GroupNormalization(x, s: f32[4], b: f32[4], num_groups=2); output y',
  'other normalizations':
    'input x: f32[N,3,H,W]; a = LRN(x, size=3); b = LpNormalization(x, axis=1); c = MeanVarianceNormalization(x); output a, b, c',
  'rms normalization': 'opset 23; input x: f32[N,S,4]; y = RMSNormalization(x, s: f32[4]); output y',
  'simplified layer normalization':
    'input x: f32[N,S,4]; y = SimplifiedLayerNormalization(x, s: f32[4], axis=-1); output y',
  'skip layer normalization':
    'domain com.microsoft 1; input x: f32[N,S,4]; input k: f32[N,S,4]; y, _, _, u = com.microsoft:SkipLayerNormalization(x, k, g: f32[4], b: f32[4]); output y, u',
  'skip simplified layer normalization':
    'domain com.microsoft 1; input x: f32[N,S,4]; input k: f32[N,S,4]; y, _, _, u = com.microsoft:SkipSimplifiedLayerNormalization(x, k, g: f32[4]); output y, u',
  'embed layer normalization':
    'domain com.microsoft 1; input x: i32[N,S]; input t: i32[N,S]; y, m, e = com.microsoft:EmbedLayerNormalization(x, t, w: f32[20,4], p: f32[16,4], g: f32[20,4], a: f32[4], b: f32[4]); output y, m, e',

  // ------------------------------------------------------------ recurrent layers
  lstm: 'input x: f32[S,N,3]; y, h, c = LSTM(x, w: f32[1,8,3], r: f32[1,8,2], hidden_size=2); output y, h, c',
  'lstm two ways':
    'input x: f32[S,N,3]; y, h, c = LSTM(x, w: f32[2,8,3], r: f32[2,8,2], b: f32[2,16], direction="bidirectional", hidden_size=2); output y, h, c',
  'lstm last state only': 'input x: f32[S,N,3]; _, h = LSTM(x, w: f32[1,8,3], r: f32[1,8,2], hidden_size=2); output h',
  'gru reverse':
    'input x: f32[S,N,3]; y, h = GRU(x, w: f32[1,6,3], r: f32[1,6,2], direction="reverse", hidden_size=2); output y, h',
  rnn: 'input x: f32[S,N,3]; y, h = RNN(x, w: f32[1,2,3], r: f32[1,2,2], hidden_size=2); output y, h',
  'dynamic quantize lstm':
    'domain com.microsoft 1; input x: f32[S,N,3]; y, h, c = com.microsoft:DynamicQuantizeLSTM(x, w: i8[1,3,8], r: i8[1,2,8], _, _, _, _, _, s: f32[1]{0.1}, z: i8[1]{0}, t: f32[1]{0.1}, o: i8[1]{0}, hidden_size=2); output y, h, c',

  // ------------------------------------------------------------ attention
  'attention packed heads':
    'opset 23; input q: f32[N,S,8]; input k: f32[N,T,4]; input v: f32[N,T,6]; y = Attention(q, k, v, q_num_heads=4, kv_num_heads=2); output y',
  'attention rank 4':
    'opset 23; input q: f32[N,4,S,2]; input k: f32[N,2,T,2]; input v: f32[N,2,T,3]; y = Attention(q, k, v); output y',
  'attention past':
    'opset 23; input q: f32[N,4,S,2]; input k: f32[N,4,S,2]; input v: f32[N,4,S,2]; input pk: f32[N,4,T,2]; input pv: f32[N,4,T,2]; y, k2, v2, p = Attention(q, k, v, _, pk, pv); output y, k2, v2, p',
  'rotary embedding': 'opset 23; input x: f32[N,2,S,4]; input c: f32[N,S,2]; y = RotaryEmbedding(x, c, c); output y',
  'microsoft attention':
    'domain com.microsoft 1; input x: f32[N,S,4]; y = com.microsoft:Attention(x, w: f32[4,12], b: f32[12], num_heads=2); output y',
  'microsoft attention present':
    'domain com.microsoft 1; input x: f32[N,S,4]; input p: f32[2,N,2,T,2]; y, q = com.microsoft:Attention(x, w: f32[4,12], b: f32[12], _, p, num_heads=2, unidirectional=1); output y, q',
  'multi head attention':
    'domain com.microsoft 1; input q: f32[N,S,4]; input k: f32[N,T,4]; input v: f32[N,T,6]; y = com.microsoft:MultiHeadAttention(q, k, v, num_heads=2); output y',
  'multi head attention present':
    'domain com.microsoft 1; input q: f32[N,S,4]; input pk: f32[N,2,T,2]; input pv: f32[N,2,T,2]; y, a, b = com.microsoft:MultiHeadAttention(q, q, q, _, _, _, pk, pv, num_heads=2); output y, a, b',
  'group query attention':
    'domain com.microsoft 1; input q: f32[2,5,32]; input k: f32[2,5,16]; input v: f32[2,5,16]; y, a, b = com.microsoft:GroupQueryAttention(q, k, v, _, _, l: i32[2]{4,4}, t: i32[]{5}, num_heads=4, kv_num_heads=2); output y, a, b',
  'group query attention packed':
    'domain com.microsoft 1; input q: f32[2,5,64]; y, a, b = com.microsoft:GroupQueryAttention(q, _, _, _, _, l: i32[2]{4,4}, t: i32[]{5}, num_heads=4, kv_num_heads=2); output y, a, b',
  qattention:
    'domain com.microsoft 1; input x: u8[N,S,4]; y = com.microsoft:QAttention(x, w: i8[4,12], b: f32[12], s: f32[]{0.1}, t: f32[]{0.1}, _, z: u8[]{3}, o: i8[]{0}, num_heads=2); output y',
  'microsoft rotary embedding':
    'domain com.microsoft 1; input x: f32[N,5,16]; const p: i64[1] = 0; y = com.microsoft:RotaryEmbedding(x, p, c: f32[8,4], s: f32[8,4], num_heads=2); output y',
  'tensor scatter':
    'opset 24; input c: f32[2,4,8,3]; input u: f32[2,4,2,3]; y = TensorScatter(c, u, w: i64[2]{1,2}); output y',

  // ------------------------------------------------------------ resampling
  'resize scales': 'input x: f32[N,3,H,W]; y = Resize(x, _, s: f32[4]{1,1,2,3}); output y',
  'resize half': 'input x: f32[N,3,H,W]; y = Resize(x, _, s: f32[4]{1,1,0.5,0.25}); output y',
  'resize odd scales': 'input x: f32[N,3,7,9]; y = Resize(x, _, s: f32[4]{1,1,1.3,0.6}, mode="linear"); output y',
  'resize float32 product': 'input x: f32[N,1,10,30]; y = Resize(x, _, s: f32[4]{1,1,0.7,1.1}); output y',
  'resize thirds': 'input x: f32[N,1,9,27]; y = Resize(x, _, s: f32[4]{1,1,0.33333334,0.11111111}); output y',
  'resize sizes': 'input x: f32[N,3,7,9]; y = Resize(x, _, _, s: i64[4]{2,3,5,6}); output y',
  'resize sizes axes': 'input x: f32[N,3,7,9]; y = Resize(x, _, _, s: i64[2]{5,6}, axes=[2,3]); output y',
  'resize scales axes': 'input x: f32[N,3,7,W]; y = Resize(x, _, s: f32[2]{3,2}, axes=[-1,-2]); output y',
  'resize not larger':
    'input x: f32[N,3,7,9]; y = Resize(x, _, _, s: i64[2]{10,12}, axes=[2,3], keep_aspect_ratio_policy="not_larger"); output y',
  'resize not smaller':
    'input x: f32[N,3,7,9]; y = Resize(x, _, _, s: i64[2]{10,12}, axes=[2,3], keep_aspect_ratio_policy="not_smaller"); output y',
  'resize aspect half':
    'input x: f32[N,3,4,3]; y = Resize(x, _, _, s: i64[2]{2,2}, axes=[2,3], keep_aspect_ratio_policy="not_smaller"); output y',
  'resize crop':
    'input x: f32[1,1,8,8]; y = Resize(x, r: f32[8]{0,0,0.2,0.2,1,1,0.8,0.8}, s: f32[4]{1,1,2,2}, coordinate_transformation_mode="tf_crop_and_resize", mode="linear"); output y',
  'resize to a shape': 'input x: f32[N,3,7,9]; input o: f32[N,3,H,W]; s = Shape(o); y = Resize(x, _, _, s); output y',
  'resize empty scales':
    'opset 11; input x: f32[N,3,7,9]; y = Resize(x, r: f32[0], s: f32[0], z: i64[4]{2,3,5,6}); output y',
  'resize 10': 'opset 10; input x: f32[N,3,7,W]; y = Resize(x, s: f32[4]{1,1,2,2}); output y',
  'upsample 9': 'opset 9; input x: f32[N,3,7,W]; y = Upsample(x, s: f32[4]{1,1,2,2}); output y',
  'upsample 7': 'opset 7; input x: f32[N,3,7,W]; y = Upsample(x, scales=[1.0,1.0,2.0,3.0]); output y',
  'grid sample': 'input x: f32[N,3,7,9]; input g: f32[N,H,W,2]; y = GridSample(x, g); output y',
  'affine grid': 'opset 20; input t: f32[N,2,3]; y = AffineGrid(t, s: i64[4]{2,3,5,6}); output y',
  'affine grid 3d': 'opset 20; input t: f32[N,3,4]; y = AffineGrid(t, s: i64[5]{2,3,5,6,7}); output y',

  // ------------------------------------------------------------ quantization
  quantize:
    'input x: f32[N,3,H]; y = QuantizeLinear(x, s: f32[]{0.1}, z: i8[]{0}); d = DequantizeLinear(y, s, z); output y, d',
  'quantize default': 'input x: f32[N,3,H]; y = QuantizeLinear(x, s: f32[]{0.1}); output y',
  'quantize typed': 'input x: f32[N,3,H]; y = QuantizeLinear(x, s: f32[]{0.1}, output_dtype=5); output y',
  'quantize axis':
    'input x: f32[N,3,H]; y = QuantizeLinear(x, s: f32[3]{0.1,0.2,0.3}, z: u8[3]{1,2,3}, axis=1); output y',
  'dequantize blocks':
    'input x: i8[4,6]; y = DequantizeLinear(x, s: f32[4,2]{0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1}, axis=1, block_size=3); output y',
  'dequantize int4':
    'const x: i4[4,6]; input n: f32[N,4]; y = DequantizeLinear(x, s: f32[]{0.5}); z = MatMul(n, y); output y, z',
  'quantize dynamically': 'input x: f32[N,3,H]; y, s, z = DynamicQuantizeLinear(x); output y, s, z',
  'microsoft quantize':
    'domain com.microsoft 1; input x: f32[N,3]; y = com.microsoft:QuantizeLinear(x, s: f32[]{0.1}, z: u16[]{0}); d = com.microsoft:DequantizeLinear(y, s, z); output y, d',

  // ------------------------------------------------------------ com.microsoft's integer arithmetic
  'qlinear add':
    'domain com.microsoft 1; input a: u8[N,3,H]; input b: u8[3,1]; y = com.microsoft:QLinearAdd(a, s: f32[]{0.1}, z: u8[]{3}, b, s, z, s, z); output y',
  'qlinear mul':
    'domain com.microsoft 1; input a: u8[N,3,1]; input b: u8[N,3,W]; y = com.microsoft:QLinearMul(a, s: f32[]{0.1}, z: u8[]{3}, b, s, z, s, z); output y',
  'qlinear concat':
    'domain com.microsoft 1; input a: u8[N,3,H]; input b: u8[N,4,H]; y = com.microsoft:QLinearConcat(s: f32[]{0.1}, z: u8[]{3}, a, s, z, b, s, z, axis=1); output y',
  'qlinear concat symbolic':
    'domain com.microsoft 1; input a: u8[N,3,H]; input b: u8[N,3,W]; y = com.microsoft:QLinearConcat(s: f32[]{0.1}, z: u8[]{3}, a, s, z, b, s, z, axis=-1); output y',
  'qlinear activations':
    'domain com.microsoft 1; input a: u8[N,3]; const s: f32[] = 0.1; const z: u8[] = 3; b = com.microsoft:QLinearLeakyRelu(a, s, z, s, z); c = com.microsoft:QLinearSigmoid(b, s, z, s, z); d = com.microsoft:QLinearSoftmax(c, s, z, t: f32[]{0.00390625}, o: u8[]{0}, axis=-1, opset=13); output b, c, d',
  'qlinear where':
    'domain com.microsoft 1; input c: bool[N,1,3]; input a: u8[N,4,3]; input b: u8[3]; y = com.microsoft:QLinearWhere(c, a, s: f32[]{0.1}, z: u8[]{3}, b, s, z, s, z); output y',
  gelus:
    'domain com.microsoft 1; input x: f32[N,S,4]; a = com.microsoft:Gelu(x); b = com.microsoft:FastGelu(a); c = com.microsoft:BiasGelu(b, k: f32[4]); d = com.microsoft:QuickGelu(c); output a, b, c, d',
  'gather block quantized':
    'domain com.microsoft 1; const w: u8[10,16]; input i: i64[N,S]; y = com.microsoft:GatherBlockQuantized(w, i, s: f32[10,2], quantize_axis=1, block_size=16, bits=4); output y',

  // ------------------------------------------------------------ signals, losses, detection, images
  dft: 'opset 17; input x: f32[N,S,1]; y = DFT(x); output y',
  'dft one-sided': 'opset 17; input x: f32[N,S,1]; y = DFT(x, onesided=1); output y',
  'dft length': 'opset 17; input x: f32[N,5,7,1]; y = DFT(x, l: i64[]{8}, axis=2, onesided=1); output y',
  'dft 20': 'opset 20; input x: f32[N,5,S,1]; y = DFT(x, _, a: i64[]{-2}); output y',
  'dft inverse': 'opset 20; input x: f32[N,5,2]; y = DFT(x, inverse=1); output y',
  stft: 'opset 17; input x: f32[N,64,1]; y = STFT(x, s: i64[]{8}, w: f32[16]); output y',
  'stft two-sided': 'opset 17; input x: f32[N,65,1]; y = STFT(x, s: i64[]{8}, _, l: i64[]{16}, onesided=0); output y',
  windows:
    'opset 17; const s: i64[] = 10; a = HannWindow(s); b = HammingWindow(s, output_datatype=11); c = BlackmanWindow(s, periodic=0); output a, b, c',
  'mel weights':
    'opset 17; const b: i64[] = 8; const l: i64[] = 16; const r: i64[] = 8192; const f: f32[] = 0; const u: f32[] = 4096; y = MelWeightMatrix(b, l, r, f, u); output y',
  'non max suppression':
    'input b: f32[1,6,4]; input s: f32[1,2,6]; y = NonMaxSuppression(b, s, m: i64[1]{3}); output y',
  losses:
    'input x: f32[N,3,S]; input t: i64[N,S]; a = NegativeLogLikelihoodLoss(x, t); b = NegativeLogLikelihoodLoss(x, t, reduction="none"); c, p = SoftmaxCrossEntropyLoss(x, t, reduction="sum"); output a, b, c, p',
  'machine learning':
    'domain ai.onnx.ml 3; input x: f32[N,2]; a = ai.onnx.ml:Scaler(x, offset=[0.5,0.5], scale=[2.0,2.0]); b = ai.onnx.ml:LinearRegressor(a, coefficients=[0.5,0.5,0.5,0.5], targets=2); l, s = ai.onnx.ml:LinearClassifier(a, coefficients=[0.5,0.5,0.5,0.5,0.5,0.5], intercepts=[0.5,0.5,0.5], classlabels_ints=[0,1,2]); output a, b, l, s'
}
