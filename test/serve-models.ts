/** Small networks of the kinds that a server has to tell apart, as files. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { toArray } from '../src/base/bytes.ts'
import { writeOnnx } from '../src/formats/onnx/write.ts'
import { parse } from '../src/ir/text.ts'
import type { ServeOptions } from '../src/node/serve/index.ts'

const texts = {
  /** Convolutions in float over pictures of any size. */
  conv: `opset 21
input image: f32[N,3,H,W]
c = Conv(image, W: f32[8,3,3,3], B: f32[8], pads=[1,1,1,1])
r = Relu(c)
p = GlobalAveragePool(r)
f = Flatten(p)
logits: f32[N,5] = Gemm(f, V: f32[8,5], D: f32[5])
output logits`,
  /** A convolution on integers whose scales are constants. */
  int8: `opset 21
input image: f32[N,3,16,16]
const s: f32[] = 0.02
const zx: i8[] = 0
const sw: f32[] = 0.01
const zw: i8[] = 0
const so: f32[] = 0.05
const wq: i8[8,3,3,3]
qx = QuantizeLinear(image, s, zx)
dx = DequantizeLinear(qx, s, zx)
dw = DequantizeLinear(wq, sw, zw)
c = Conv(dx, dw, pads=[1,1,1,1])
qc = QuantizeLinear(c, so, zx)
dc = DequantizeLinear(qc, so, zx)
p = GlobalAveragePool(dc)
features: f32[N,8] = Flatten(p)
output features`,
  /** Scales are taken over all that comes in: samples of a batch would meet. */
  dynamic: `opset 21
input x: f32[N,32]
const wq: i8[32,16]
const sw: f32[] = 0.02
q, sx, zx = DynamicQuantizeLinear(x)
m = MatMulInteger(q, wq, zx)
f = Cast(m, to=1)
s = Mul(sx, sw)
y: f32[N,16] = Mul(f, s)
output y`,
  /** Sequences of any length, time in front of nothing: samples first. */
  lstm: `opset 21
input x: f32[N,T,6]
t = Transpose(x, perm=[1,0,2])
h, last, cell = LSTM(t, W: f32[1,32,6], R: f32[1,32,8], hidden_size=8)
s = Squeeze(last, axes: i64[1]{0})
y: f32[N,8] = Identity(s)
output y`,
  /** Every type that requests have, given back. */
  echo: `opset 21
input fp32: f32[N,2]
input int64: i64[N,2]
input flag: bool[N,2]
input text: string[N,2]
input fp16: f16[N,2]
out_fp32: f32[N,2] = Identity(fp32)
out_int64: i64[N,2] = Identity(int64)
out_flag: bool[N,2] = Identity(flag)
out_text: string[N,2] = Identity(text)
out_fp16: f16[N,2] = Identity(fp16)
output out_fp32, out_int64, out_flag, out_text, out_fp16`,
  /** The mean over positions that a mask lets count, and the positions. */
  masked: `opset 21
input x: f32[N,T,4]
input mask: f32[N,T]
w = Unsqueeze(mask, at: i64[1]{2})
m: f32[N,T,4] = Mul(x, w)
s = ReduceSum(m, over: i64[1]{1}, keepdims=0)
c = ReduceSum(w, along: i64[1]{1}, keepdims=0)
y: f32[N,4] = Div(s, c)
output y, m`,
  /** The same without what the mask says: the mean counts every position. */
  unmasked: `opset 21
input x: f32[N,T,4]
input mask: f32[N,T]
w = Unsqueeze(mask, at: i64[1]{2})
m: f32[N,T,4] = Mul(x, w)
y: f32[N,4] = ReduceMean(m, over: i64[1]{1}, keepdims=0)
output y`,
  double: `opset 21
input x: f32[N,4]
y: f32[N,4] = Mul(x, two: f32[]{2})
output y`,
  triple: `opset 21
input x: f32[N,4]
y: f32[N,4] = Mul(x, three: f32[]{3})
output y`,
  /** It fails for an index beyond its table. */
  table: `opset 21
input id: i64[N,1]
y: f32[N,1,3] = Gather(rows: f32[7,3], id)
output y`,
  /** It computes for as long as it is told to. */
  loop: `opset 21
input steps: i64[1]
input x: f32[64,64]
n = Squeeze(steps)
y: f32[64,64] = Loop(n, _, x, body={ input i: i64[]; input c: bool[]; input v: f32[64,64]; d = Identity(c); m = MatMul(v, v); w = Softmax(m); output d, w })
output y`
} as const

export type Kind = keyof typeof texts

/** Writes a network; gives the path. */
export function writeKind(kind: Kind, path: string): string {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, toArray(writeOnnx(parse(texts[kind])).bytes))
  return path
}

/** A folder with a file for each of them. */
export function writeKinds(folder: string, kinds: readonly Kind[]): string {
  for (const kind of kinds) writeKind(kind, join(folder, `${kind}.onnx`))
  return folder
}

/** A server for tests: two threads, any port, no log. */
export const serveOptions = (path: string): ServeOptions => ({
  ...{ path, host: '127.0.0.1', port: 0, workers: 2, isIsolated: false, delayMs: 0, timeoutMs: 20_000 },
  ...{
    hangMs: 60_000,
    drainMs: 0,
    maxBodyBytes: 1024 * 1024,
    maxConnections: 2000,
    compress: false,
    origins: [],
    hosts: []
  },
  ...{ isControlled: true, logLevel: 'silent' }
})
