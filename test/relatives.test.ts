/**
 * Kinds of faults rather than single ones: structures near those of test/cases, in other operators, axes, ranks and types.
 * Each goes through one pass, is written, opened at the runtime's default optimisation, and compared with the original.
 */
import { describe, expect, it } from 'vitest'
import { PareError } from '../src/base/errors.ts'
import { arrayDataset } from '../src/data/arrays.ts'
import { readModel, writeModel } from '../src/formats/index.ts'
import { edit } from '../src/ir/edit.ts'
import { elementCount, tensor, toFloats } from '../src/ir/tensor.ts'
import { parse } from '../src/ir/text.ts'
import { nodeRunner } from '../src/node/runner.ts'
import { inferShapes } from '../src/ops/infer.ts'
import { applyRecipe } from '../src/passes/recipe.ts'
import type { Recipe } from '../src/passes/types.ts'
import { targetFor } from '../src/targets/index.ts'
import type { Model, Tensor } from '../src/types.ts'
import { cpuTarget, randomFeeds, testContext } from './compare.ts'

interface Relative {
  readonly name: string
  readonly model: string
  readonly recipe: Recipe
  /** Decibels of every float output, at least. */
  readonly least: number
  /** Bytes of the result over those of the original, at most. */
  readonly most?: number
  readonly target?: string
  /** By how much rows of the weight W differ; 0: it is times 1e-9. */
  readonly factor?: number
}

async function run(model: Model, feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>> {
  const session = await nodeRunner().open(writeModel(model).bytes)
  try {
    return await session.run(feeds)
  } finally {
    await session.close()
  }
}

function decibels(was: Tensor, is: Tensor): number {
  const [a, b] = [toFloats(was), toFloats(is)]
  let [signal, noise] = [0, 0]
  for (const [i, x] of a.entries()) {
    signal += x * x
    noise += (x - (b[i] as number)) ** 2
  }
  return noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / noise)
}

async function check({ model: text, recipe, least, most, target, factor }: Relative): Promise<void> {
  const model = inferShapes(readModel(writeModel(factor === undefined ? parse(text) : scaled(text, factor)).bytes))
  const data = arrayDataset({ inputs: randomFeeds(model, 1, 64) })
  const ctx = { ...testContext(cpuTarget), data: { calibration: data, selection: data, train: data } }
  const made = await applyRecipe(model, recipe, target === undefined ? ctx : { ...ctx, target: targetFor(target) })
  const feeds = randomFeeds(model, 2, 3)
  const [was, is] = [await run(model, feeds), await run(made.model, feeds)]
  expect(Object.keys(is)).toEqual(Object.keys(was))
  for (const [name, before] of Object.entries(was)) {
    const after = is[name] as Tensor
    expect(after.shape).toEqual(before.shape)
    expect(after.dtype).toBe(before.dtype)
    expect(decibels(before, after), name).toBeGreaterThan(least)
  }
  const bytes = writeModel(made.model).bytes.length / writeModel(model).bytes.length
  // A file may grow only where a note says that a weight is in it twice.
  const isTold = made.notes.some((n) => n.includes('is in the file twice'))
  if (most !== undefined && !isTold) expect(bytes).toBeLessThan(most)
}

const of = (
  kind: string,
  recipe: Recipe,
  least: number,
  rest: Partial<Relative>,
  models: Readonly<Record<string, string>>
) =>
  Object.entries(models).map(([name, model]): Relative => ({ name: `${kind}: ${name}`, model, recipe, least, ...rest }))

const compute: Recipe = [['cast-float', { compute: true }]]
const fixed: Recipe = [['quantize-static', {}]]

/** Weights that are read more than once, in other layouts. */
const twoLayouts = {
  'MatMul and MatMul of the transposed': `input x: f32[N,32]
    a = MatMul(x, W: f32[32,32])
    r = Tanh(a)
    T = Transpose(W, perm=[1,0])
    y = MatMul(r, T)
    output y`,
  'Gemm both ways': `input x: f32[N,32]
    a = Gemm(x, W: f32[32,32], transB=1)
    y = Gemm(a, W)
    output y`,
  'Gather and MatMul': `input i: i64[N,4]
    e = Gather(W: f32[32,24], i)
    y = MatMul(e, V: f32[24,32])
    z = MatMul(y, W)
    output z`
}

const layer = (read: string) => `${read}
    const two: f32[] = 2
    const eps: f32[] = 0.00001
    m = ReduceMean(v, axes, keepdims=1)
    d = Sub(v, m)
    p = Pow(d, two)
    s = ReduceMean(p, axes, keepdims=1)
    e = Add(s, eps)
    r = Sqrt(e)
    n = Div(d, r)
    y = MatMul(n, W: f32[16,8])
    output y`

const lowered = {
  'LayerNorm of Max': layer('input x: f32[N,4,16]\nconst axes: i64[1] = -1\nconst z: f32[] = -1\nv = Max(x, z)'),
  'LayerNorm of CumSum': layer('input x: f32[N,4,16]\nconst axes: i64[1] = -1\nconst k: i64[] = 1\nv = CumSum(x, k)'),
  'LayerNorm of the input': layer('input v: f32[N,4,16]\nconst axes: i64[1] = -1'),
  'LayerNorm of Clip and Where': layer(
    'input x: f32[N,4,16]\nconst axes: i64[1] = -1\nconst lo: f32[] = -2\nconst hi: f32[] = 2\nc = Clip(x, lo, hi)\ng = Greater(c, lo)\nv = Where(g, c, x)'
  ),
  'Transpose of the first axis before MatMul': `input x: f32[8,4,16]
    t = Transpose(x, perm=[1,0,2])
    y = MatMul(t, W: f32[16,8])
    output y`,
  'QuantizeLinear around a Conv': `input x: f32[N,4,6,6]
    const s: f32[] = 0.05
    const z: u8[] = 128
    q = QuantizeLinear(x, s, z)
    d = DequantizeLinear(q, s, z)
    y = Conv(d, W: f32[8,4,3,3])
    output y`,
  'DynamicQuantizeLinear and MatMulInteger': `input x: f32[N,16]
    q, s, z = DynamicQuantizeLinear(x)
    const w: i8[16,4] = ${Array.from({ length: 64 }, (_, i) => ((i * 37) % 200) - 100).join(', ')}
    i = MatMulInteger(q, w, z)
    f = Cast(i, to=1)
    y = Mul(f, s)
    k = MatMul(y, V: f32[4,8])
    output k`,
  'LSTM behind a Transpose': `input x: f32[2,5,16]
    t = Transpose(x, perm=[1,0,2])
    h, c, d = LSTM(t, W: f32[1,32,16], R: f32[1,32,8], hidden_size=8)
    y = MatMul(h, V: f32[8,4])
    output y`
}

/** Products of a stack of weights, with what follows. */
const batched = (shape: string, rest: string) => `input x: f32[N,3,24]
    a = MatMul(x, W: f32[${shape}])
    ${rest}
    output y`
const products = {
  'a stack of one, then a bias': batched('1,24,16', 'y = Add(a, b: f32[16])'),
  'a stack, then a bias': `input x: f32[4,3,24]
    a = MatMul(x, W: f32[4,24,16])
    y = Add(a, b: f32[16])
    output y`,
  'a bias in front': batched('1,24,16', 'y = Add(b: f32[16], a)'),
  'a bias that is taken off': batched('24,16', 'y = Sub(a, b: f32[16])'),
  'a bias of rank 3': batched('24,16', 'y = Add(a, b: f32[1,1,16])'),
  'two readers': batched('24,16', 'c = Add(a, b: f32[16])\n    t = Tanh(a)\n    y = Mul(c, t)')
}

const shared = {
  'Gemms and factors': `input x: f32[N,32]
    a = MatMul(x, W: f32[32,32])
    b = Mul(a, s: f32[32])
    c = MatMul(b, W)
    y = Mul(c, t: f32[32])
    output y`,
  'Convs and shifts': `input x: f32[N,8,6,6]
    a = Conv(x, W: f32[8,8,3,3], pads=[1,1,1,1])
    b = Mul(a, s: f32[8,1,1])
    c = Conv(b, W, pads=[1,1,1,1])
    y = Mul(c, t: f32[8,1,1])
    output y`
}

const stacks = {
  'picked along axis 1': `input x: f32[N,1,24]
    input i: i64[N]
    w = Gather(W: f32[24,4,16], i, axis=1)
    v = Transpose(w, perm=[1,0,2])
    y = MatMul(x, v)
    output y`,
  'picked, then cut': `input x: f32[N,1,24]
    input i: i64[N]
    const st: i64[1] = 0
    const en: i64[1] = 16
    const ax: i64[1] = 2
    w = Gather(W: f32[4,24,32], i)
    v = Slice(w, st, en, ax)
    y = MatMul(x, v)
    output y`,
  'picked with negative numbers': `input x: f32[N,1,24]
    input i: i64[N]
    n = Neg(i)
    w = Gather(W: f32[4,24,32], n)
    y = MatMul(x, w)
    output y`
}

const small = {
  Pad: `input x: f32[N,4]
    const p: i64[2] = 0, 200000
    const v: f32[2] = 1, 2
    w = Pad(v, p)
    s = ReduceSum(w)
    y = Mul(x, s)
    output y`,
  Range: `input x: f32[N,4]
    const a: f32[] = 0
    const b: f32[] = 300000
    const c: f32[] = 1
    w = Range(a, b, c)
    s = ReduceMean(w)
    y = Mul(x, s)
    output y`,
  Expand: `input x: f32[N,4]
    const k: i64[2] = 400, 500
    const v: f32[1] = 2
    w = Expand(v, k)
    s = ReduceMean(w)
    y = Mul(x, s)
    output y`
}

const scopes = {
  'If that reads weights around it': `input x: f32[N,16]
    const half: f32[] = 0.5
    m = ReduceMean(x, keepdims=0)
    c = Less(m, half)
    const W: f32[16,16]
    a = MatMul(x, W)
    y = If(c, then_branch={ t = MatMul(a, W)
 output t }, else_branch={ r = Tanh(a)
 e = MatMul(r, W)
 output e })
    output y`,
  'If inside, weights of its own': `input x: f32[N,16]
    const half: f32[] = 0.5
    m = ReduceMean(x, keepdims=0)
    c = Less(m, half)
    y = If(c, then_branch={ t = MatMul(x, A: f32[16,16])
 u = Add(t, B: f32[16])
 output u }, else_branch={ e = MatMul(x, C: f32[16,16])
 output e })
    z = MatMul(y, D: f32[16,8])
    output z`,
  'Scan over rows': `input x: f32[5,16]
    const W: f32[16,16]
    const h: f32[16]
    f, y = Scan(h, x, num_scan_inputs=1, body={ input s: f32[16]
 input r: f32[16]
 a = MatMul(r, W)
 n = Add(a, s)
 t = Tanh(n)
 u = Identity(t)
 output t, u })
    z = MatMul(y, W)
    output z`
}

const pasts = {
  'rank 4': `input x: f32[N,2,5,16]
    input past: f32[N,2,0,16]
    k = MatMul(x, W: f32[16,16])
    p = Concat(past, k, axis=2)
    y = MatMul(p, V: f32[16,8])
    output y, p`,
  'time in front': `input x: f32[N,5,16]
    input past: f32[N,0,16]
    k = MatMul(x, W: f32[16,16])
    p = Concat(past, k, axis=1)
    t = Tanh(p)
    y = MatMul(t, V: f32[16,8])
    output y, p`,
  'behind the new': `input x: f32[N,5,16]
    input past: f32[N,0,16]
    p = Concat(x, past, axis=1)
    y = MatMul(p, V: f32[16,8])
    output y`
}

/** Weights of 1e-9, which float16 has no numbers for, and the sizes that go with them. */
const tiny = {
  MatMul: 'input x: f32[N,16]\na = MatMul(x, W: f32[16,32])\nb = Mul(a, k)\ny = MatMul(b, V: f32[32,8])\noutput y',
  Conv: 'input x: f32[N,4,6,6]\na = Conv(x, W: f32[8,4,3,3])\nb = Mul(a, k)\ny = Conv(b, V: f32[8,8,1,1])\noutput y',
  Gather: 'input i: i64[N,4]\na = Gather(W: f32[32,32], i)\nb = Mul(a, k)\ny = MatMul(b, V: f32[32,8])\noutput y'
}
const shrunk = Object.fromEntries(
  Object.entries(tiny).map(([name, text]) => [name, `const k: f32[] = 1000000000\n${text}`])
)

const palettes = {
  'a table of rows': 'input i: i64[N,4]\ny = Gather(W: f32[64,24], i)\noutput y',
  ConvTranspose: 'input x: f32[N,8,5,5]\ny = ConvTranspose(x, W: f32[8,16,3,3])\noutput y',
  'a depthwise Conv': 'input x: f32[N,32,6,6]\ny = Conv(x, W: f32[32,1,3,3], group=32)\noutput y',
  'Gemm in two branches': `input x: f32[N,24]
    a = Gemm(x, W: f32[24,32], B: f32[32])
    b = Gemm(a, V: f32[20,32], transB=1)
    output a, b`
}

/** The weight W with channels along an axis that differ by up to `factor`; 0: all times 1e-9. */
function scaled(text: string, factor: number): Model {
  return edit(parse(text), (d) => {
    const v = d.value('W')
    if (!v?.data) throw new Error('no weight W')
    const [rows = 1] = v.data.shape
    const row = elementCount(v.data.shape) / rows
    const values = toFloats(v.data).map((w, i) => w * (factor === 0 ? 1e-9 : factor ** ((Math.floor(i / row) % 4) / 3)))
    d.set({ ...v, data: tensor('float32', v.data.shape, values) })
  })
}

const relatives: readonly Relative[] = [
  ...of('two layouts, quantize-static', fixed, 20, { most: 1.2 }, twoLayouts),
  ...of('two layouts, quantize-weights', [['quantize-weights', { minElements: 1 }]], 30, { most: 1.01 }, twoLayouts),
  ...of('two layouts, quantize-dynamic', [['quantize-dynamic', {}]], 25, {}, twoLayouts),
  ...of('cast-float --compute', compute, 45, {}, lowered),
  ...of('quantize-dynamic', [['quantize-dynamic', {}]], 25, {}, products),
  ...of('quantize-dynamic, uint8', [['quantize-dynamic', { type: 'uint8' }]], 25, {}, products),
  ...of('quantize-dynamic, avx2', [['quantize-dynamic', {}]], 22, { target: 'ort-cpu-avx2' }, products),
  ...of('quantize-static, products', fixed, 25, {}, products),
  ...of(
    'fuse keeps shared weights',
    [
      ['simplify', {}],
      ['fuse', {}]
    ],
    90,
    { most: 1.05 },
    shared
  ),
  ...of('stacks', fixed, 20, { most: 1.05 }, stacks),
  ...of('cast-float --compute, scopes', compute, 45, {}, scopes),
  ...of('cast-float, scopes', [['cast-float', {}]], 45, {}, scopes),
  ...of('quantize-dynamic, scopes', [['quantize-dynamic', {}]], 25, {}, scopes),
  ...of('quantize-static, scopes', fixed, 20, {}, scopes),
  ...of('quantize-static, an empty past', fixed, 20, {}, pasts),
  ...of('quantize-dynamic, an empty past', [['quantize-dynamic', {}]], 25, {}, pasts),
  ...of('cast-float, tiny weights', [['cast-float', { minElements: 1 }]], 45, { factor: 0 }, shrunk),
  ...of('cast-float --compute, tiny weights', compute, 45, { factor: 0 }, shrunk),
  ...of(
    'palette',
    [['quantize-weights', { bits: 5, form: 'palette', minElements: 1 }]],
    15,
    { factor: 1000 },
    palettes
  ),
  ...of(
    'int4 in blocks',
    [['quantize-weights', { bits: 4, blockSize: 16, minElements: 1 }]],
    12,
    { factor: 1000 },
    palettes
  ),
  ...of('simplify does not grow', [['simplify', {}]], 100, { most: 1.5 }, small)
]

it('what stays in float is told of nodes of the original, not of what passes put in their place', async () => {
  const model = parse(`input x: f32[N,8,16,16]
    a = Conv(x, W: f32[32,8,3,3], B: f32[32])
    p = GlobalAveragePool(a)
    g = Flatten(p)
    h = MatMul(g, V: f32[32,256])
    t = Tanh(h)
    u = Gemm(t, U: f32[256,300], C: f32[300])
    y = MatMul(u, T: f32[300,200])
    output y`)
  const names = new Set(model.graph.nodes.map((n) => n.name))
  const data = arrayDataset({ inputs: randomFeeds(model, 1, 32) })
  for (const first of ['quantize-dynamic', 'quantize-static'])
    for (const second of ['quantize-weights', 'cast-float']) {
      const ctx = { ...testContext(cpuTarget), data: { calibration: data } }
      const made = await applyRecipe(
        model,
        [
          [first, {}],
          [second, {}]
        ],
        ctx
      )
      expect(made.refusals.map((r) => r.node).filter((n) => !names.has(n))).toEqual([])
    }
})

describe('relatives of known faults', () => {
  it.each(relatives.map((r) => [r.name, r] as const))('%s', async (_, r) => {
    try {
      await check(r)
    } catch (error) {
      if (error instanceof PareError)
        throw new Error(`${error.code} ${error.message} ${error.where ?? ''} ${JSON.stringify(error.facts ?? {})}`)
      throw error
    }
  })
})
