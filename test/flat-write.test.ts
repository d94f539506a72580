/** Models written as TensorFlow Lite files: LiteRT gives what ONNX Runtime gives of the model. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { readModel, writeModel } from '../src/formats/index.ts'
import { decode } from '../src/formats/tflite/decode.ts'
import { tflite } from '../src/formats/tflite/format.ts'
import { isFloat, toNumbers } from '../src/ir/tensor.ts'
import { parse } from '../src/ir/text.ts'
import { liteRtRunner } from '../src/node/index.ts'
import { inferShapes } from '../src/ops/infer.ts'
import type { Runner } from '../src/runtime/types.ts'
import type { Model, Node, Tensor } from '../src/types.ts'
import { outputsOf, randomFeeds } from './compare.ts'
import { sharedData } from './shared.ts'

const liteRt = liteRtRunner() as Runner

const written = (m: Model, options: Record<string, unknown> = {}): Uint8Array =>
  writeModel(m, { format: tflite as never, ...options }).bytes

/** Operators of a file, in order. */
const operatorsOf = (bytes: Uint8Array): readonly string[] => {
  const { operator_codes: codes = [], subgraphs = [] } = decode(bytes)
  return (subgraphs[0]?.operators ?? []).map((o) => String(codes[o.opcode_index ?? 0]?.builtin_code))
}

async function runFlat(bytes: Uint8Array, feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>> {
  const session = await liteRt.open(bytes)
  try {
    return await session.run(feeds)
  } finally {
    await session.close()
  }
}

const cases: Readonly<Record<string, string>> = {
  conv: 'input x: f32[1,3,9,8]; y = Conv(x, w: f32[4,3,3,3], b: f32[4], strides=[2,2], pads=[1,1,1,1]); output y',
  'conv same': 'input x: f32[1,3,9,8]; y = Conv(x, w: f32[4,3,3,3], auto_pad="SAME_UPPER", strides=[2,2]); output y',
  'conv same lower': 'input x: f32[1,3,8,8]; y = Conv(x, w: f32[4,3,2,2], auto_pad="SAME_LOWER"); output y',
  'conv uneven': 'input x: f32[1,3,9,8]; y = Conv(x, w: f32[4,3,2,3], pads=[0,1,2,3]); output y',
  'conv dilated': 'input x: f32[1,3,9,8]; y = Conv(x, w: f32[4,3,3,3], dilations=[2,2]); output y',
  'conv groups': 'input x: f32[1,4,6,6]; y = Conv(x, w: f32[6,2,3,3], group=2); output y',
  depthwise:
    'input x: f32[1,4,6,6]; y = Conv(x, w: f32[8,1,3,3], b: f32[8], group=4, pads=[1,1,1,1]); r = Relu(y); output r',
  'conv 1d': 'input x: f32[1,3,9]; y = Conv(x, w: f32[4,3,3], b: f32[4], pads=[1,1], strides=[2]); output y',
  'conv transpose': 'input x: f32[1,3,5,4]; y = ConvTranspose(x, w: f32[3,4,3,3], b: f32[4], strides=[2,2]); output y',
  'conv transpose same':
    'input x: f32[1,3,5,4]; y = ConvTranspose(x, w: f32[3,4,4,4], strides=[2,2], pads=[1,1,1,1]); output y',
  'conv transpose cut':
    'input x: f32[1,3,5,4]; y = ConvTranspose(x, w: f32[3,4,3,3], strides=[2,2], pads=[1,1,0,1]); output y',
  'max pool': 'input x: f32[1,3,9,8]; y = MaxPool(x, kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]); output y',
  'max pool ceil': 'input x: f32[1,3,9,8]; y = MaxPool(x, kernel_shape=[2,2], strides=[2,2], ceil_mode=1); output y',
  'average pool': 'input x: f32[1,3,9,8]; y = AveragePool(x, kernel_shape=[3,2], strides=[2,2]); output y',
  'average pool border':
    'input x: f32[1,3,9,8]; y = AveragePool(x, kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]); output y',
  'average pool counting border':
    'input x: f32[1,3,9,8]; y = AveragePool(x, kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1); output y',
  'average pool 1d': 'input x: f32[1,3,8]; y = AveragePool(x, kernel_shape=[2], strides=[2]); output y',
  'global pools': 'input x: f32[1,3,9,8]; a = GlobalAveragePool(x); b = GlobalMaxPool(x); output a, b',
  'resize nearest': 'input x: f32[1,3,4,5]; y = Resize(x, _, s: f32[4]{1,1,2,2}); output y',
  'resize floor':
    'input x: f32[1,3,4,6]; y = Resize(x, _, _, s: i64[4]{1,3,6,4}, coordinate_transformation_mode="asymmetric", nearest_mode="floor"); output y',
  'resize linear': 'input x: f32[1,3,4,5]; y = Resize(x, _, s: f32[4]{1,1,2,2}, mode="linear"); output y',
  'resize corners':
    'input x: f32[1,3,4,5]; y = Resize(x, _, _, s: i64[4]{1,3,7,9}, mode="linear", coordinate_transformation_mode="align_corners"); output y',
  'depth to space': 'input x: f32[1,8,3,2]; y = DepthToSpace(x, blocksize=2); output y',
  'space to depth': 'input x: f32[1,2,4,6]; y = SpaceToDepth(x, blocksize=2); output y',
  'batch normalization':
    'input x: f32[1,3,4,5]; y = BatchNormalization(x, s: f32[3], b: f32[3], m: f32[3], v: f32[3]{1,2,3}); output y',
  'layer normalization': 'input x: f32[1,6,8]; y = LayerNormalization(x, s: f32[8], b: f32[8]); output y',
  'instance normalization': 'input x: f32[1,3,4,5]; y = InstanceNormalization(x, s: f32[3], b: f32[3]); output y',
  'group normalization':
    'input x: f32[1,4,3,5]; y = GroupNormalization(x, s: f32[4], b: f32[4], num_groups=2); output y',
  softmax: 'input x: f32[1,3,4]; a = Softmax(x); b = Softmax(x, axis=1); c = LogSoftmax(x); output a, b, c',
  unary:
    'input x: f32[2,3]; a = Abs(x); b = Neg(x); c = Exp(x); d = Sin(x); e = Cos(x); f = Ceil(x); g = Floor(x); h = Round(x); i = Sign(x); j = Sqrt(a); k = Log(c); l = Reciprocal(c); output a, b, c, d, e, f, g, h, i, j, k, l',
  activations:
    'input x: f32[2,3]; a = Relu(x); b = Sigmoid(x); c = Tanh(x); d = HardSwish(x); e = Elu(x); f = LeakyRelu(x, alpha=0.2); g = HardSigmoid(x); h = Softplus(x); output a, b, c, d, e, f, g, h',
  gelus: 'input x: f32[2,3]; a = Gelu(x); b = Gelu(x, approximate="tanh"); output a, b',
  prelu: 'input x: f32[1,3,4,5]; y = PRelu(x, s: f32[3,1,1]); output y',
  clips:
    'input x: f32[2,3]; a = Clip(x, l: f32[]{0}, h: f32[]{6}); b = Clip(x, m: f32[]{-0.5}, n: f32[]{0.3}); c = Clip(x, m); output a, b, c',
  binary:
    'input x: f32[2,3]; input z: f32[2,3]; a = Add(x, z); b = Sub(x, z); c = Mul(x, z); d = Div(x, k: f32[3]{1,2,4}); e = Max(x, z, k); f = Min(x, z); g = Sum(x, z, k); h = Mean(x, z); output a, b, c, d, e, f, g, h',
  pow: 'input x: f32[2,3]; a = Abs(x); y = Pow(a, p: f32[]{1.5}); output y',
  compared:
    'input x: f32[2,3]; input z: f32[2,3]; a = Less(x, z); b = Greater(x, z); c = And(a, b); d = Or(a, b); e = Not(a); f = Where(a, x, z); g = Equal(x, x); output f, c, d, e, g',
  reductions:
    'input x: f32[2,3,4]; a = ReduceMean(x, i: i64[1]{1}); b = ReduceSum(x, i, keepdims=0); c = ReduceMax(x, j: i64[2]{0,-1}); d = ReduceMin(x); e = ReduceL2(x, i); f = ReduceL1(x, i); g = ReduceProd(x, i); output a, b, c, d, e, f, g',
  'arg max': 'input x: f32[2,3,4]; a = ArgMax(x, axis=1); b = ArgMin(x, axis=-1, keepdims=0); output a, b',
  'top k': 'input x: f32[2,8]; v, i = TopK(x, k: i64[1]{3}); output v, i',
  'cumulative sum': 'input x: f32[2,4]; y = CumSum(x, a: i64[]{1}, exclusive=1); output y',
  moves:
    'input x: f32[2,3,4]; a = Reshape(x, s: i64[2]{0,-1}); b = Flatten(x); c = Transpose(x, perm=[2,0,1]); d = Unsqueeze(x, u: i64[1]{1}); e = Squeeze(d, u); output a, b, c, e',
  cuts: 'input x: f32[2,6,4]; a, b = Split(x, s: i64[2]{2,4}, axis=1); c = Slice(x, t: i64[2]{1,-3}, e: i64[2]{6,4}, ax: i64[2]{1,2}); d = Slice(x, t2: i64[1]{-1}, e2: i64[1]{-100}, ax2: i64[1]{1}, st: i64[1]{-2}); output a, b, c, d',
  joins:
    'input x: f32[2,3,4]; a = Concat(x, x, axis=1); b = Tile(x, r: i64[3]{1,2,1}); c = Expand(k: f32[1,3,1]{1,2,3}, s: i64[3]{2,3,4}); d = Add(c, x); output a, b, d',
  pads: 'input x: f32[2,3,4]; a = Pad(x, p: i64[6]{0,1,2,1,0,1}); b = Pad(x, p, v: f32[]{7}); c = Pad(x, q: i64[6]{0,1,2,0,1,2}, mode="reflect"); output a, b, c',
  gathers:
    'input x: f32[2,3,4]; a = Gather(x, i: i64[2]{-1,0}, axis=1); b = Gather(x, j: i64[]{1}, axis=2); c = GatherND(x, k: i64[2,2]{0,1,1,2}); output a, b, c',
  'one hot': 'input i: i64[3]; y = OneHot(i, d: i64[]{4}, v: f32[2]{0,1}); output y',
  casts: 'input x: f32[2,3]; a = Cast(x, to=6); b = Cast(a, to=1); output b',
  gemm: 'input x: f32[2,3]; y = Gemm(x, w: f32[3,4], b: f32[4]); z = Gemm(x, v: f32[5,3], transB=1); output y, z',
  'gemm scaled': 'input x: f32[2,3]; y = Gemm(x, w: f32[3,4], b: f32[4], alpha=0.5, beta=2.0); output y',
  'matmul and bias': 'input x: f32[1,5,3]; a = MatMul(x, w: f32[3,4]); y = Add(a, b: f32[4]); output y',
  'matmul of two': 'input x: f32[2,5,3]; input z: f32[2,3,4]; y = MatMul(x, z); output y',
  residual:
    'input x: f32[1,3,8,8]; a = Conv(x, w: f32[4,3,3,3], pads=[1,1,1,1]); b = Relu(a); c = Conv(b, v: f32[4,4,3,3], pads=[1,1,1,1]); d = Add(c, b); e = Relu(d); f = GlobalAveragePool(e); g = Flatten(f); y = Gemm(g, u: f32[4,5]); output y',
  'flat order':
    'input x: f32[1,3,4,4]; a = Conv(x, w: f32[2,3,1,1]); b = Flatten(a); y = Gemm(b, u: f32[32,5]); output y'
}

/** Numbers of a result, of truth values too. */
const numbers = (t: Tensor): readonly number[] => Array.from(toNumbers(t))

async function expectSame(m: Model, options: Record<string, unknown> = {}): Promise<Uint8Array> {
  const bytes = written(m, options)
  const feeds = randomFeeds(m, 5)
  const [a, b] = [await runFlat(bytes, feeds), await outputsOf(m, feeds)]
  for (const id of m.graph.outputs) {
    expect(a[id]?.shape, id).toEqual(b[id]?.shape)
    expect(a[id]?.dtype, id).toBe(b[id]?.dtype)
    const [x, y] = [numbers(a[id] as Tensor), numbers(b[id] as Tensor)]
    const reach = isFloat(a[id]?.dtype ?? 'float32') ? 1e-4 * Math.max(1, ...y.map(Math.abs)) : 0
    for (const [i, v] of x.entries()) expect(Math.abs(v - (y[i] as number)), `${id}[${i}]`).toBeLessThanOrEqual(reach)
  }
  return bytes
}

describe('what is written runs in LiteRT and gives the same', () => {
  it.each(Object.entries(cases))('%s', { timeout: 60_000 }, async (_, text) => {
    await expectSame(parse(text.replaceAll('; ', '\n')))
  })
})

describe('a network of convolutions', () => {
  const net = parse((cases['residual'] as string).replaceAll('; ', '\n'))

  it('has no TRANSPOSE inside, and one at an input with channels first unless that is turned', {
    timeout: 60_000
  }, async () => {
    const kept = await expectSame(net)
    expect(operatorsOf(kept)).toEqual(['TRANSPOSE', 'CONV_2D', 'CONV_2D', 'ADD', 'MEAN', 'RESHAPE', 'FULLY_CONNECTED'])
    const { notes, bytes } = writeModel(net, { format: tflite as never, layout: 'nhwc' })
    expect(notes).toEqual(['channels are last in x'])
    expect(operatorsOf(bytes)).toEqual(operatorsOf(kept).slice(1))
    expect(readModel(bytes, { formats: [tflite] }).graph.values.get('x')?.shape).toEqual([1, 8, 8, 3])
  })

  it('keeps an open batch open', () => {
    const open = parse(
      'input x: f32[N,6]\na = Reshape(x, s: i64[3]{0,2,3})\ny = ReduceMean(a, i: i64[1]{2}, keepdims=0)\noutput y'
    )
    const { subgraphs = [] } = decode(written(open))
    expect(subgraphs[0]?.tensors?.find((t) => t.name === 'x')).toMatchObject({
      shape: [1, 6],
      shape_signature: [-1, 6]
    })
    expect(readModel(written(open), { formats: [tflite] }).graph.values.get('y')?.shape).toEqual(['N', 2])
  })
})

describe('operators of a file’s maker', () => {
  it('are written as they were read, with their options', () => {
    const m = parse('domain tflite.custom 1\ninput x: f32[1,4]\ny: f32[1,4] = tflite.custom:Mine(x)\noutput y')
    const [node] = m.graph.nodes
    const data = { dtype: 'uint8', shape: [3], bytes: Uint8Array.of(7, 8, 9) } as const
    const nodes = [{ ...(node as Node), attrs: { custom_options: { kind: 'tensor', value: data } as const } }]
    const bytes = written({ ...m, graph: { ...m.graph, nodes } })
    const { operator_codes, subgraphs } = decode(bytes)
    expect(operator_codes?.[0]).toMatchObject({ builtin_code: 'CUSTOM', custom_code: 'Mine' })
    expect(Array.from(subgraphs?.[0]?.operators?.[0]?.custom_options?.slice() ?? [])).toEqual([7, 8, 9])
    expect(readModel(bytes, { formats: [tflite] }).graph.nodes[0]).toMatchObject({
      op: 'Mine',
      domain: 'tflite.custom'
    })
  })
})

describe('what cannot be written', () => {
  it('is named with its reason, all of it at once', () => {
    const m = parse(
      'input x: f32[2,3]\na = Erf(x)\nb = Det(k: f32[2,2])\nc = Resize(z: f32[1,1,4,4], _, s: f32[4]{1,1,2,2}, mode="cubic")\noutput a, b, c'
    )
    try {
      written(inferShapes(m))
      expect.unreachable()
    } catch (error) {
      expect(error).toMatchObject({ code: 'E_UNSUPPORTED' })
      expect(Object.keys((error as { facts: object }).facts)).toEqual([
        'resampling of mode cubic',
        'TensorFlow Lite has no operator Erf',
        'TensorFlow Lite has no operator Det'
      ])
    }
  })
  it('has sizes that are open', () => {
    expect(() => written(parse('input x: f32[N,T]\ny = Relu(x)\noutput y'))).toThrow(/sizes in numbers/)
  })
})

const files = ['ds_cnn_float32', 'ds_cnn_int8_reference']
  .map((name) => sharedData('kws', `${name}.tflite`))
  .concat(
    ['resnet8_float32', 'resnet8_int8_reference', 'autoencoder_float32', 'autoencoder_int8_reference'].map((name) =>
      sharedData('tflite', `${name}.tflite`)
    )
  )

describe.skipIf(!files[0])('files of others, read and written (needs the folder of real models)', () => {
  it.each(files.map((f) => [f as string]))('%s', { timeout: 60_000 }, async (path) => {
    const bytes = new Uint8Array(readFileSync(path))
    const model = readModel(bytes, { formats: [tflite] })
    const again = written(model)
    expect(again.length).toBeLessThanOrEqual(1.02 * bytes.length)
    const feeds = randomFeeds(model, 7, 1)
    expect(await runFlat(again, feeds)).toEqual(await runFlat(bytes, feeds))
  })
})

/** Layers between roundings, as `quantize-static` writes them. `act`: type of activations. */
const rounded = (act: 'i8' | 'u8' | 'i16'): string => {
  const zero = act === 'u8' ? 128 : 0
  return `
  input x: f32[1,3,8,8]
  const s: f32[] = 0.02
  const z: ${act}[] = ${zero}
  q0 = QuantizeLinear(x, s, z)
  d0 = DequantizeLinear(q0, s, z)
  w0 = DequantizeLinear(wc: i8[4,3,3,3], ws: f32[4]{0.01,0.012,0.014,0.016}, axis=0)
  b0 = DequantizeLinear(bc: i32[4]{10,-20,30,40}, bs: f32[4]{0.0002,0.00024,0.00028,0.00032}, axis=0)
  c0 = Conv(d0, w0, b0, strides=[2,2], pads=[1,1,1,1])
  r0 = Relu(c0)
  q1 = QuantizeLinear(r0, s, z)
  d1 = DequantizeLinear(q1, s, z)
  a0 = Add(d1, d1)
  q2 = QuantizeLinear(a0, t: f32[]{0.04}, z)
  d2 = DequantizeLinear(q2, t, z)
  p = GlobalAveragePool(d2)
  q3 = QuantizeLinear(p, t, z)
  d3 = DequantizeLinear(q3, t, z)
  f = Flatten(d3)
  w1 = DequantizeLinear(vc: i8[5,4], vs: f32[]{0.02}, vz: i8[]{0})
  y = Gemm(f, w1, transB=1)
  q4 = QuantizeLinear(y, u: f32[]{0.01}, z)
  d4 = DequantizeLinear(q4, u, z)
  output d4`
}

/** What LiteRT gives, and ONNX Runtime where it computes each rounding as it stands: a step of the last scale apart at most. */
async function stepsApart(m: Model, options: Record<string, unknown> = {}): Promise<number> {
  const feeds = randomFeeds(m, 5)
  const bytes = written(m, options)
  const [a] = Object.values(await runFlat(bytes, feeds))
  const [b] = Object.values(await outputsOf(m, feeds))
  const y = numbers(b as Tensor)
  return Math.max(...numbers(a as Tensor).map((v, i) => Math.abs(v - (y[i] as number)) / 0.01))
}

describe('layers between roundings', () => {
  const inside = ['CONV_2D', 'ADD', 'MEAN', 'RESHAPE', 'FULLY_CONNECTED']

  it.each(['i8', 'u8', 'i16'] as const)('become integer kernels: %s', { timeout: 60_000 }, async (act) => {
    const m = parse(rounded(act))
    expect(operatorsOf(written(m)).filter((op) => op !== 'PAD' && op !== 'TRANSPOSE')).toEqual([
      'QUANTIZE',
      ...inside,
      'DEQUANTIZE'
    ])
    expect(await stepsApart(m)).toBeLessThanOrEqual(1.01)
  })

  it('are codes from end to end where that is asked for', { timeout: 60_000 }, async () => {
    const bytes = written(parse(rounded('i8')), { io: 'int8', layout: 'nhwc' })
    expect(operatorsOf(bytes)).toEqual(['PAD', ...inside])
    const { inputs, outputs } = await liteRt.open(bytes)
    expect([inputs[0]?.dtype, inputs[0]?.shape, outputs[0]?.dtype]).toEqual(['int8', [1, 8, 8, 3], 'int8'])
  })

  it('have scales as kernels ask for them, with a QUANTIZE between', { timeout: 60_000 }, async () => {
    const m = parse(`
      input x: f32[2,6]
      const s: f32[] = 0.02
      const z: i8[] = 3
      q = QuantizeLinear(x, s, z)
      d = DequantizeLinear(q, s, z)
      l = Sigmoid(d)
      e = QuantizeLinear(l, t: f32[]{0.005}, z)
      g = DequantizeLinear(e, t, z)
      c = Concat(d, g, axis=1)
      h = QuantizeLinear(c, u: f32[]{0.03}, z)
      y = DequantizeLinear(h, u, z)
      output y`)
    expect(operatorsOf(written(m))).toEqual([
      'QUANTIZE',
      'LOGISTIC',
      'QUANTIZE',
      'QUANTIZE',
      'QUANTIZE',
      'CONCATENATION',
      'DEQUANTIZE'
    ])
    expect(await stepsApart(m)).toBeLessThanOrEqual(3.01)
  })
})

describe('weights in fewer bits', () => {
  it('of int8 are read by layers that round their data while they run, by depthwise ones widened', {
    timeout: 60_000
  }, async () => {
    const m = parse(`
      input x: f32[1,3,8,8]
      w = DequantizeLinear(wc: i8[4,3,1,1], ws: f32[4]{0.01,0.012,0.014,0.016}, axis=0)
      a = Conv(x, w)
      v = DequantizeLinear(vc: i8[4,1,3,3], vs: f32[4]{0.01,0.012,0.014,0.016}, axis=0)
      y = Conv(a, v, group=4)
      output y`)
    const without = (bytes: Uint8Array): readonly string[] => operatorsOf(bytes).filter((op) => op !== 'TRANSPOSE')
    expect(without(written(m)).toSorted()).toEqual(['CONV_2D', 'DEPTHWISE_CONV_2D', 'DEQUANTIZE'])
    expect(without(await expectSame(m, { dynamic: false })).filter((op) => op === 'DEQUANTIZE')).toHaveLength(2)
  })

  it('of float16 and int4 are widened when the file is loaded', { timeout: 60_000 }, async () => {
    const half = await expectSame(
      parse('input x: f32[1,8]\nw = Cast(wc: f16[8,40], to=1)\na = MatMul(x, w)\ny = Relu(a)\noutput y')
    )
    expect(operatorsOf(half)).toEqual(['DEQUANTIZE', 'FULLY_CONNECTED'])
    const slopes = 'input x: f32[1,3,4,4]\ns = Cast(sc: f16[3,1,1], to=1)\ny = PRelu(x, s)\noutput y'
    expect(operatorsOf(await expectSame(parse(slopes)))).toContain('PRELU')
    const four = await expectSame(
      parse(`
        input x: f32[1,3,4,4]
        w = DequantizeLinear(wc: i4[4,3,1,1], ws: f32[4]{0.1,0.2,0.3,0.4}, axis=0)
        y = Conv(x, w)
        output y`)
    )
    expect(operatorsOf(four)).toContain('DEQUANTIZE')
  })

  /** The convolutions of a file, each with what makes its weight and its bias. */
  const storedAs = (bytes: Uint8Array): readonly string[] => {
    const { operator_codes: codes = [], subgraphs = [] } = decode(bytes)
    const { operators = [], tensors = [] } = subgraphs[0] ?? {}
    const nameOf = (o: (typeof operators)[number]): string => String(codes[o.opcode_index ?? 0]?.builtin_code)
    const typeOf = (t: number): string => String(tensors[t]?.type ?? 'FLOAT32')
    const told = (t: number): string => {
      const maker = operators.find((o) => o.outputs?.includes(t))
      return maker ? `${nameOf(maker)} of ${typeOf(maker.inputs?.[0] ?? -1)}` : typeOf(t)
    }
    return operators
      .filter((o) => nameOf(o).includes('CONV'))
      .map((o) =>
        [
          nameOf(o),
          ...(o.inputs ?? [])
            .slice(-2)
            .sort((a, b) => a - b)
            .map(told)
        ].join(', ')
      )
  }

  it('of float16 have biases of float16 beside them in convolutions, as XNNPACK wants them', {
    timeout: 60_000
  }, async () => {
    const net = (bias: string): Model =>
      parse(`
        input x: f32[1,4,8,8]
        w1 = Cast(h1: f16[4,4,3,3], to=1)
        a = Conv(x, w1, b1: f32[4]{${bias}}, pads=[1,1,1,1])
        w2 = Cast(h2: f16[4,1,3,3], to=1)
        y = Conv(a, w2, group=4)
        output y`)
    const half = 'DEQUANTIZE of FLOAT16'
    const rest = `DEPTHWISE_CONV_2D, ${half}, ${half}`
    const [exact, rounded, beyond] = [net('0.5,0.25,-1,0'), net('0.1,0.25,-1,0'), net('1e5,0.25,-1,0')]
    expect(storedAs(await expectSame(exact))).toEqual([`CONV_2D, ${half}, ${half}`, rest])
    expect(writeModel(exact, { format: tflite as never }).notes?.join()).not.toMatch(/float16/)
    const { bytes, notes } = writeModel(rounded, { format: tflite as never })
    expect(storedAs(bytes)).toEqual([`CONV_2D, ${half}, ${half}`, rest])
    expect(notes?.join()).toMatch(/biases beside weights of float16 are rounded to float16 too/)
    expect(writeModel(beyond, { format: tflite as never }).notes?.join()).toMatch(/weights are float32, since float16/)
    expect(storedAs(await expectSame(beyond))).toEqual(['CONV_2D, FLOAT32, FLOAT32', rest])
    // What is read of such a file is written the same.
    expect(storedAs(written(readModel(bytes, { formats: [tflite] })))).toEqual(storedAs(bytes))
  })

  it('without their zeros, where most are', { timeout: 60_000 }, async () => {
    const values = Array.from({ length: 64 * 16 }, (_, i) => (i % 5 === 0 ? (i % 7) / 7 - 0.4 : 0))
    const m = parse(
      `input x: f32[1,64,3,3]\ny = Conv(x, w: f32[16,64,1,1]{${values.map((v) => v.toFixed(4))}})\noutput y`
    )
    const bytes = await expectSame(m)
    expect(operatorsOf(bytes)).toContain('DENSIFY')
    const again = readModel(bytes, { formats: [tflite] })
    const feeds = randomFeeds(m, 5)
    expect(numbers(Object.values(await outputsOf(again, feeds))[0] as Tensor)).toEqual(
      numbers(Object.values(await outputsOf(m, feeds))[0] as Tensor)
    )
  })
})
