/** Structures of networks that no operator's own cases hold, in the text form, statements between semicolons. */
export const blocks: Readonly<Record<string, string>> = {
  // ------------------------------------------------------------ layers in a row
  'conv norm relu':
    'input x: f32[N,3,H,W]; c = Conv(x, K: f32[4,3,3,3], pads=[1,1,1,1]); b = BatchNormalization(c, s: f32[4]{0.5,1,2,0.1}, o: f32[4], m: f32[4], v: f32[4]{0.5,1,2,0.1}); y = Relu(b); output y',
  'conv clip conv':
    'input x: f32[N,3,H,W]; a = Conv(x, K: f32[8,3,1,1], B: f32[8]); b = Clip(a, l: f32[]{0}, h: f32[]{6}); c = Conv(b, D: f32[8,1,3,3], group=8, pads=[1,1,1,1]); d = Clip(c, l, h); y = Conv(d, E: f32[3,8,1,1]); output y',
  'residual block':
    'input x: f32[N,4,H,W]; a = Conv(x, K: f32[4,4,3,3], B: f32[4], pads=[1,1,1,1]); b = Relu(a); c = Conv(b, L: f32[4,4,3,3], C: f32[4], pads=[1,1,1,1]); d = Add(c, x); y = Relu(d); output y',
  'conv scale shift':
    'input x: f32[N,3,H,W]; a = Conv(x, K: f32[4,3,3,3]); b = Mul(a, s: f32[4,1,1]); c = Add(b, t: f32[1,4,1,1]); y = LeakyRelu(c); output y',
  'pad conv': 'input x: f32[N,3,H,W]; p = Pad(x, q: i64[8]{0,0,1,1,0,0,1,1}); y = Conv(p, K: f32[4,3,3,3]); output y',
  'conv pools head':
    'input x: f32[N,3,8,8]; a = Conv(x, K: f32[4,3,3,3], pads=[1,1,1,1]); b = Relu(a); c = MaxPool(b, kernel_shape=[2,2], strides=[2,2]); d = GlobalAveragePool(c); e = Flatten(d); y = Gemm(e, V: f32[4,5], C: f32[5]); output y',
  'squeeze and excite':
    'input x: f32[N,4,H,W]; g = GlobalAveragePool(x); a = Conv(g, K: f32[2,4,1,1], B: f32[2]); r = Relu(a); b = Conv(r, L: f32[4,2,1,1], C: f32[4]); s = HardSigmoid(b); y = Mul(x, s); output y',
  'two towers':
    'input x: f32[N,4,H,W]; a = Conv(x, K: f32[3,4,1,1]); b = Conv(x, L: f32[5,4,3,3], pads=[1,1,1,1]); c = Concat(a, b, axis=1); y = Relu(c); output y',
  'shared conv':
    'input x: f32[N,4,H,W]; a = Conv(x, K: f32[4,4,3,3], B: f32[4], pads=[1,1,1,1]); n = BatchNormalization(a, s: f32[4], o: f32[4], m: f32[4], v: f32[4]{0.5,1,2,0.1}); r = Relu(n); b = Conv(r, K, B, pads=[1,1,1,1]); y = Mul(b, z: f32[4,1,1]); output y, a',
  'upsampling tower':
    'input x: f32[N,4,5,6]; a = ConvTranspose(x, K: f32[4,3,2,2], B: f32[3], strides=[2,2]); b = Relu(a); c = Resize(b, _, s: f32[4]{1,1,2,2}); y = Conv(c, L: f32[4,3,3,3], pads=[1,1,1,1]); output y',
  'channels last':
    'input x: f32[N,H,W,3]; t = Transpose(x, perm=[0,3,1,2]); a = Conv(t, K: f32[4,3,3,3], pads=[1,1,1,1]); b = Relu(a); y = Transpose(b, perm=[0,2,3,1]); output y',
  // ------------------------------------------------------------ products
  perceptron:
    'input x: f32[N,8]; a = MatMul(x, V: f32[8,16]); b = Add(a, B: f32[16]); c = Relu(b); d = MatMul(c, U: f32[16,8]); y = Add(d, C: f32[8]); output y',
  'wide perceptron':
    'input x: f32[N,32]; a = Gemm(x, V: f32[64,32], B: f32[64], transB=1); c = Gelu(a); y = Gemm(c, U: f32[64,32], C: f32[32]); output y',
  'perceptron of sequences':
    'input x: f32[N,S,8]; a = MatMul(x, V: f32[8,16]); b = Add(B: f32[16], a); c = Relu(b); d = MatMul(c, U: f32[16,8]); e = Add(d, C: f32[8]); y = Add(e, x); output y',
  'tied weights':
    'input i: i64[N,S]; e = Gather(E: f32[12,16], i); r = Relu(e); t = Transpose(E, perm=[1,0]); y = MatMul(r, t); output y',
  'tied weights of a Gemm':
    'input x: f32[N,S,16]; f = Reshape(x, s: i64[2]{-1,16}); a = Gemm(f, V: f32[16,16], B: f32[16]); y = Gemm(a, V, transB=1); output y',
  'product scaled': 'input x: f32[N,S,8]; a = MatMul(x, V: f32[8,8]); y = Mul(a, s: f32[]{0.125}); output y',
  'products of a stack':
    'input x: f32[N,3,S,8]; a = MatMul(x, V: f32[3,8,8]); b = Add(a, B: f32[8]); y = Relu(b); output y',
  'experts that data pick':
    'input x: f32[N,8]; input i: i64[N]; w = Gather(V: f32[3,8,8], i); u = Unsqueeze(x, a: i64[1]{1}); m = MatMul(u, w); y = Squeeze(m, a); output y',
  'heads of attention':
    'input x: f32[N,S,8]; q = MatMul(x, P: f32[8,8]); k = MatMul(x, Q: f32[8,8]); v = MatMul(x, R: f32[8,8]); q1 = Reshape(q, s: i64[4]{0,-1,2,4}); k1 = Reshape(k, s); v1 = Reshape(v, s); q2 = Transpose(q1, perm=[0,2,1,3]); k2 = Transpose(k1, perm=[0,2,3,1]); v2 = Transpose(v1, perm=[0,2,1,3]); w = MatMul(q2, k2); d = Div(w, z: f32[]{2}); p = Softmax(d); o = MatMul(p, v2); o1 = Transpose(o, perm=[0,2,1,3]); o2 = Reshape(o1, t: i64[3]{0,-1,8}); y = MatMul(o2, U: f32[8,8]); output y',
  'norm in parts':
    'input x: f32[N,S,8]; m = ReduceMean(x, a: i64[1]{-1}); d = Sub(x, m); q = Pow(d, t: f32[]{2}); v = ReduceMean(q, a); e = Add(v, p: f32[]{1e-5}); r = Sqrt(e); n = Div(d, r); g = Mul(n, s: f32[8]); y = Add(g, b: f32[8]); output y',
  'gelu in parts':
    'input x: f32[N,S,8]; d = Div(x, r: f32[]{1.4142135}); e = Erf(d); o = Add(e, n: f32[]{1}); m = Mul(x, o); y = Mul(m, h: f32[]{0.5}); output y',
  'norm then product':
    'input x: f32[N,S,8]; n = LayerNormalization(x, s: f32[8], b: f32[8]); a = MatMul(n, V: f32[8,24]); p, q, r = Split(a, axis=-1, num_outputs=3); y = Mul(p, q); output y, r',
  'lstm chain':
    'input x: f32[N,S,3]; t = Transpose(x, perm=[1,0,2]); a = LSTM(t, V: f32[1,16,3], R: f32[1,16,4], B: f32[1,32], hidden_size=4); b = Squeeze(a, z: i64[1]{1}); y = MatMul(b, U: f32[4,5]); output y',
  'gru chain':
    'input x: f32[N,S,3]; t = Transpose(x, perm=[1,0,2]); a, h = GRU(t, V: f32[2,12,3], R: f32[2,12,4], direction="bidirectional", hidden_size=4); u = Transpose(a, perm=[2,0,1,3]); y = Reshape(u, s: i64[3]{0,0,-1}); output y, h',
  // ------------------------------------------------------------ sizes computed on the way
  'flatten by shape':
    'input x: f32[N,4,5]; s = Shape(x); n = Gather(s, z: i64[]{0}); u = Unsqueeze(n, a: i64[1]{0}); c = Concat(u, m: i64[1]{-1}, axis=0); y = Reshape(x, c); output y',
  'mask by shape':
    'input x: f32[N,S,S]; s = Shape(x, start=1); o = ConstantOfShape(s, value=f32[1]{1}); t = Trilu(o, upper=0); g = Greater(t, h: f32[]{0.5}); y = Where(g, x, l: f32[]{-10000}); p = Softmax(y); output p',
  'positions by range':
    'input x: f32[N,S,4]; s = Shape(x); n = Gather(s, o: i64[]{1}); r = Range(z: i64[]{0}, n, d: i64[]{1}); e = Gather(E: f32[32,4], r); y = Add(x, e); output y',
  'slice by shape':
    'input x: f32[N,6,5]; s = Shape(x, start=1, end=2); h = Div(s, t: i64[1]{2}); y = Slice(x, z: i64[1]{0}, h, o: i64[1]{1}); output y',
  'expand by shape': 'input x: f32[N,4]; s = Shape(x); y = Expand(b: f32[1,4], s); z = Add(x, y); output z',
  // ------------------------------------------------------------ quantized already
  'codes around a conv':
    'input x: f32[N,3,H,W]; q = QuantizeLinear(x, s: f32[]{0.03}, z: u8[]{128}); d = DequantizeLinear(q, s, z); w = DequantizeLinear(K: i8[4,3,3,3], t: f32[4]{0.02,0.01,0.03,0.02}, o: i8[4]{0,0,0,0}, axis=0); a = Conv(d, w, pads=[1,1,1,1]); p = QuantizeLinear(a, u: f32[]{0.05}, z); y = DequantizeLinear(p, u, z); output y',
  'codes around a product':
    'input x: f32[N,8]; q = QuantizeLinear(x, s: f32[]{0.03}, z: u8[]{128}); d = DequantizeLinear(q, s, z); w = DequantizeLinear(V: i8[8,4], t: f32[]{0.02}, o: i8[]{0}); b = DequantizeLinear(B: i32[4], r: f32[]{0.0006}); a = MatMul(d, w); e = Add(a, b); p = QuantizeLinear(e, u: f32[]{0.05}, z); y = DequantizeLinear(p, u, z); output y',
  'weight of codes':
    'input x: f32[N,8]; w = DequantizeLinear(V: i8[8,16], t: f32[16]{0.02,0.01,0.03,0.02,0.02,0.01,0.03,0.02,0.02,0.01,0.03,0.02,0.02,0.01,0.03,0.02}, axis=1); y = MatMul(x, w); output y',
  'weight of 4 bits':
    'input x: f32[N,32]; w = DequantizeLinear(V: i4[32,8], t: f32[2,8], axis=0, block_size=16); y = MatMul(x, w); output y',
  'weight of halves': 'input x: f32[N,8]; w = Cast(V: f16[8,16], to=1); y = MatMul(x, w); output y',
  'dynamic codes':
    'input x: f32[N,8]; q, s, z = DynamicQuantizeLinear(x); m = MatMulInteger(q, V: i8[8,4], z); f = Cast(m, to=1); k = Mul(s, t: f32[]{0.02}); y = Mul(f, k); output y',
  // ------------------------------------------------------------ odds and ends
  'nothing to do':
    'input x: f32[N,4]; a = Identity(x); b = Dropout(a); c = Cast(b, to=1); y = Reshape(c, s: i64[2]{0,4}); output y',
  'there and back':
    'input x: f32[N,3,4]; a = Transpose(x, perm=[0,2,1]); b = Unsqueeze(a, z: i64[1]{1}); c = Squeeze(b, z); y = Transpose(c, perm=[0,2,1]); output y',
  'constants alone': 'input x: f32[N,4]; a = Add(V: f32[4,4], U: f32[4]); b = Relu(a); y = MatMul(x, b); output y',
  'twice the same': 'input x: f32[N,4]; a = Relu(x); b = Relu(x); c = Add(a, b); y = Mul(c, V: f32[4]); output y',
  'an empty piece':
    'input x: f32[N,4]; a = Slice(x, s: i64[1]{4}, e: i64[1]{4}, o: i64[1]{1}); y = Concat(a, x, axis=1); output y',
  'numbers of classes':
    'input x: f32[N,6]; p = Softmax(x); i = ArgMax(p, axis=1, keepdims=0); v, j = TopK(p, k: i64[1]{2}); output i, v, j',
  'counts as data':
    'input x: f32[N,4]; i = ArgMax(x, axis=1, keepdims=0); y = OneHot(i, d: i64[]{4}, v: f32[2]{0,1}); output y'
}
