import * as web from 'onnxruntime-web'
import { describe, expect, it } from 'vitest'
import { difference, optimizedOf, outputsOf, randomFeeds, testContext } from '../../../../test/compare.ts'
import { saturates } from '../../../../test/shared.ts'
import { arrayDataset } from '../../../data/index.ts'
import { readModel, writeModel } from '../../../formats/index.ts'
import { allGraphs, constant, constants, opName, producer } from '../../../ir/graph.ts'
import { tensor, toFloats, toNumbers } from '../../../ir/tensor.ts'
import { model, parse } from '../../../ir/text.ts'
import { nodeRunner } from '../../../node/runner.ts'
import { ortRunner } from '../../../runtime/index.ts'
import { targetFor } from '../../../targets/index.ts'
import type { Model, Tensor } from '../../../types.ts'
import { parseOptions } from '../../pass.ts'
import { simplify } from '../../simplify/index.ts'
import { quantizeDynamic } from './quantize-dynamic.ts'

const run = (m: Model, o: object = {}, ctx = testContext()): Promise<Model> =>
  quantizeDynamic.run(m, parseOptions(quantizeDynamic, { minElements: 1, ...o }), ctx)

const ops = (m: Model): string[] => allGraphs(m).flatMap((g) => g.nodes.map(opName))

/** A few halves of a step of 1/255 of an activation's range and of 1/127 of a weight's, relative to the largest output. */
const INT8 = 0.03

/** Two builds of the same integer arithmetic: float32 rounding of what stands around it. */
const ENGINES = 1e-5

async function loss(m: Model, made: Model, feeds = randomFeeds(m, 1, 4)): Promise<number> {
  return difference(await outputsOf(m, feeds), await outputsOf(made, feeds))
}

async function kernels(m: Model): Promise<string[]> {
  const session = await nodeRunner().open(m, { keepOptimized: true, optimization: 'extended' })
  const left = (await optimizedOf(session)).graph.nodes.map((n) => n.op)
  await session.close()
  return left
}

async function inBrowserEngine(m: Model, feeds: Record<string, Tensor>): Promise<Record<string, Tensor>> {
  web.env.wasm.numThreads = 1
  const session = await ortRunner(web).open(m)
  const made = await session.run(feeds)
  await session.close()
  return made
}

const product = model`
  input x: f32[N,5,32]
  y = MatMul(x, W: f32[32,16])
  output y`

const classifier = model`
  input x: f32[N,32]
  input c: f32[16]
  a = Gemm(x, A: f32[16,32], B: f32[16], transB=1, alpha=0.5, beta=2.0)
  b = Gemm(a, C: f32[16,16], c, beta=0.5)
  output b`

const picture = model`
  input x: f32[N,8,6,6]
  y = Conv(x, W: f32[16,8,3,3], B: f32[16], pads=[1,1,1,1])
  z = Conv(y, D: f32[16,1,3,3], group=16, strides=[2,2])
  output z`

const recurrent = model`
  input x: f32[6,N,12]
  y, h, c = LSTM(x, W: f32[2,32,12], R: f32[2,32,8], B: f32[2,64], hidden_size=8, direction="bidirectional")
  output y, h`

describe('quantize-dynamic', () => {
  it.skipIf(saturates)(
    'multiplies integers where a weight is constant, and the runtime fuses it (skipped without VNNI)',
    async () => {
      const made = await run(product)
      expect(ops(made).sort()).toEqual(['Cast', 'DynamicQuantizeLinear', 'MatMulInteger', 'Mul', 'Mul'])
      expect(made.graph.values.get('W_q')).toMatchObject({ dtype: 'int8', shape: [32, 16] })
      expect(made.graph.values.get('W_s')).toMatchObject({ dtype: 'float32', shape: [16] })
      expect(made.graph.values.has('W')).toBe(false)
      expect(await kernels(made)).toEqual(['DynamicQuantizeMatMul'])
      expect(await loss(product, made)).toBeLessThan(INT8)
    }
  )
  it.skipIf(saturates).each([
    ['MatMul', product, {}],
    ['MatMul of com.microsoft', product, { microsoft: true }],
    ['MatMul of uint8', product, { type: 'uint8' }],
    ['one scale', product, { perChannel: false }],
    ['Gemm', classifier, {}],
    ['Gemm of com.microsoft', classifier, { microsoft: true, type: 'uint8' }],
    ['Conv', picture, { include: ['Conv'] }],
    ['Conv with one scale', picture, { include: ['Conv'], perChannel: false }],
    ['LSTM', recurrent, { include: ['LSTM'], microsoft: true }],
    ['LSTM with one scale', recurrent, { include: ['LSTM'], microsoft: true, perChannel: false, type: 'uint8' }]
  ] as const)('gives near the same numbers in both engines, saved and reopened: %s', async (_, m, o) => {
    const ctx = testContext()
    const made = readModel(writeModel(await run(m, o, ctx)).bytes)
    expect(ctx.refusals).toEqual([])
    const feeds = randomFeeds(m, 2, 4)
    const outputs = await outputsOf(made, feeds)
    expect(difference(await outputsOf(m, feeds), outputs)).toBeLessThan(INT8)
    expect(difference(outputs, await inBrowserEngine(made, feeds))).toBeLessThan(ENGINES)
    expect(await run(made, o)).toBe(made)
  })
  it.skipIf(saturates)(
    'takes back on data what rounding adds to the mean, in the bias there is (skipped without VNNI)',
    async () => {
      const m = model`
      input x: f32[N,8,6,6]
      c = Conv(x, W: f32[16,8,3,3], B: f32[16])
      p = GlobalAveragePool(c)
      f = Flatten(p)
      a = MatMul(f, M: f32[16,40])
      b = Add(a, K: f32[40])
      g = Gemm(b, G: f32[8,40], transB=1)
      y = MatMul(g, O: f32[8,24])
      output y`
      const shape = [64, 8, 6, 6]
      const x = tensor(
        'float32',
        shape,
        Array.from({ length: 64 * 288 }, (_, i) => 1 + Math.sin(i * i))
      )
      const ctx = { ...testContext(), data: { calibration: arrayDataset({ inputs: { x } }) } }
      const off = async (o: object): Promise<number> => {
        const made = await run(m, { include: ['*'], ...o }, ctx)
        const [a, b] = [await outputsOf(m, { x }), await outputsOf(made, { x })].map((t) => toFloats(t.y as Tensor))
        return Math.abs((a as Float32Array).reduce((sum, v, i) => sum + v - ((b as Float32Array)[i] as number), 0))
      }
      const made = await run(m, { include: ['*'] }, ctx)
      expect(ops(made).filter((op) => op === 'Add')).toHaveLength(4)
      expect(await off({})).toBeLessThan(0.5 * (await off({ correctBias: false })))
    }
  )
  it.skipIf(saturates).each([
    ['[4,32,16]', 'x'],
    ['[1,32,16]', 'x'],
    ['[4,32,16] read beside another', 'x'],
    ['[1,32,16] with a bias that is computed', 'c']
  ])(
    'multiplies by stacked matrices, biases behind, as the runtime fuses it: %s (skipped without VNNI)',
    async (shape, bias) => {
      const weight = shape.split(' ')[0]
      const m = parse(`
      input x: f32[4,5,32]
      input c: f32[16]
      const b: f32[16] = 5, -4, 3, 2, 1, 7, 8, 9, -9, -8, -7, 4, 5, 6, 1, 3
      g = MatMul(x, W: f32${weight})
      y = Add(${bias === 'c' ? 'c, g' : 'g, b'})
      h = MatMul(x, V: f32${weight})
      s = Add(h, c)
      output y${shape.includes('beside') ? ', s' : ''}`)
      const fused = async (of: Model): Promise<Record<string, Tensor>> => {
        const session = await nodeRunner().open(of)
        const outputs = await session.run(randomFeeds(m, 1))
        await session.close()
        return outputs
      }
      const wanted = await fused(m)
      for (const o of [
        {},
        { type: 'uint8' },
        { perChannel: false },
        { microsoft: true },
        { microsoft: true, type: 'uint8' }
      ]) {
        const made = await run(m, o)
        expect(ops(made)).not.toContain('MatMul')
        expect(difference(wanted, await fused(made))).toBeLessThan(INT8)
      }
      const avx2 = await run(m, {}, { ...testContext(), target: targetFor('ort-cpu-avx2') })
      expect(difference(wanted, await fused(avx2))).toBeLessThan(INT8)
    }
  )
  it.skipIf(saturates)('quantizes a value once for all that read it (skipped without VNNI)', async () => {
    const m = model`
      input x: f32[N,32]
      q = MatMul(x, Q: f32[32,32])
      k = MatMul(x, K: f32[32,32])
      y = Add(q, k)
      output y`
    const made = await run(m)
    expect(ops(made).filter((op) => op === 'DynamicQuantizeLinear')).toHaveLength(1)
    expect(await kernels(made)).toContain('MatMulIntegerToFloat')
    expect(await loss(m, made)).toBeLessThan(INT8)
  })
  it.skipIf(saturates)(
    'keeps one copy of a weight that is a table and its own transpose (skipped without VNNI)',
    async () => {
      const m = model`
      input i: i64[N]
      e = Gather(E: f32[64,16], i)
      t = Transpose(E, perm=[1,0])
      y = MatMul(e, t)
      output y`
      const feeds = { i: tensor('int64', [3], [1, 5, 63]) }
      const made = await run(m)
      expect(constants(made.graph).filter((v) => v.data.shape.join() === '64,16')).toHaveLength(1)
      expect(ops(made)).not.toContain('DequantizeLinear')
      expect(await loss(m, made, feeds)).toBeLessThan(INT8)
      const mixed = await run(m, { include: ['MatMul'] })
      expect(mixed.graph.values.get('E_q')).toMatchObject({ dtype: 'int8', form: 'foldable' })
      expect(producer(mixed.graph, 'E')?.op).toBe('DequantizeLinear')
      const reopened = readModel(writeModel(mixed).bytes)
      expect(await loss(m, reopened, feeds)).toBeLessThan(INT8)
      const ctx = testContext()
      expect(await run(m, { exclude: ['Gather'] }, ctx)).toBe(m)
      expect(ctx.refusals[0]?.reason).toContain('is excluded')
    }
  )
  it('looks up rows of integers', async () => {
    const m = model`
      input i: i64[N,3]
      e = Gather(E: f32[64,4,4], i)
      output e`
    for (const o of [{}, { type: 'uint8' }, { perChannel: false }]) {
      const made = await run(m, o)
      expect(made.graph.values.has('E')).toBe(false)
      expect(await loss(m, made)).toBeLessThan(INT8)
    }
  })
  it('leaves a table in float that holds next to nothing, as all positions would be moved alike', async () => {
    const m = model`
      input i: i64[N]
      input k: i64[N]
      e = Gather(E: f32[4096,64], i)
      s = Gather(S: f32[2,64], k)
      y = Add(e, s)
      output y`
    const ctx = testContext()
    const made = await run(m, {}, ctx)
    expect([made.graph.values.has('E'), made.graph.values.has('S')]).toEqual([false, true])
    expect(ctx.refusals).toEqual([expect.objectContaining({ op: 'Gather', reason: expect.stringContaining('0.1 %') })])
  })
  it('keeps a scale of two bytes for each row of a table, where float16 holds them all', async () => {
    const table = (factor: number) => model`
      input i: i64[N]
      const F: f32[32,64] = ${Array.from({ length: 2048 }, (_, i) => Math.sin(i) * factor).join(', ')}
      e = Gather(F, i)
      output e`
    const scales = (m: Model) => constants(m.graph).filter((v) => v.data.shape.join() === '32,1')
    const feeds = { i: tensor('int64', [4], [0, 5, 17, 31]) }
    for (const [factor, dtype] of [
      [0.3, 'float16'],
      [1e-4, 'float32']
    ] as const) {
      const m = table(factor)
      const made = await run(m)
      expect(scales(made).map((v) => v.dtype)).toEqual([dtype])
      expect(await loss(m, made, feeds)).toBeLessThan(INT8)
    }
  })
  it('clips no weight of a long row: the largest keeps its value', async () => {
    const m = model`
      input x: f32[N,128]
      y = MatMul(x, W: f32[128,128])
      output y`
    const made = await run(m)
    const peak = (t: Tensor, c: number) =>
      Array.from(toNumbers(t)).reduce((most, v, i) => (i % 128 === c ? Math.max(most, Math.abs(v)) : most), 0)
    const [w, codes] = [constant(m.graph, 'W') as Tensor, constant(made.graph, 'W_q') as Tensor]
    const scales = toNumbers(constant(made.graph, 'W_s') as Tensor)
    for (const c of [0, 7, 127]) {
      const largest = codes.dtype === 'int8' ? peak(codes, c) : peak(codes, c) - 128
      expect(Math.abs(largest)).toBe(127)
      expect(largest * (scales[c] as number)).toBeCloseTo(peak(w, c), 6)
    }
  })
  it.skipIf(saturates)('reaches subgraphs, and weights that they capture (skipped without VNNI)', async () => {
    const m = model`
      input c: bool[]
      input x: f32[N,32]
      const S: f32[32,32] = ${Array.from({ length: 1024 }, (_, i) => (i % 17) / 17 - 0.5).join(', ')}
      r = If(c, then_branch={ a = MatMul(x, A: f32[32,32]); output a }, else_branch={ b = MatMul(x, S); output b })
      output r`
    const made = await run(m)
    expect(ops(made).filter((op) => op === 'MatMulInteger')).toHaveLength(2)
    expect(constant(made.graph, 'S_q')?.dtype).toBe('int8')
    for (const c of [0, 1]) {
      const feeds = { ...randomFeeds(m, 1), c: tensor('bool', [], [c]) }
      expect(await loss(m, made, feeds)).toBeLessThan(INT8)
    }
  })
  it('leaves in float, with the reason, what has no dynamic form that loads', async () => {
    const m = model`
      input x: f32[N,8,6,6]
      input h: f16[N,32]
      c = Conv(x, W: f32[16,8,3,3])
      s = MatMul(x, x)
      t = Gemm(G: f32[32,8], H: f32[32,16], transA=1)
      u = MatMul(h, J: f16[32,16])
      output c, s, t, u`
    const ctx = testContext()
    expect(await run(m, { include: ['*'], type: 'int8' }, ctx)).toBe(m)
    expect(ctx.refusals.map((r) => [r.op, r.reason])).toEqual([
      ['Conv', 'with int8 weights its dynamic form does not load on ort-cpu: use uint8: stays in float'],
      ['MatMul', 'its weight is not a constant: stays in float'],
      ['Gemm', 'its first input is transposed: stays in float'],
      ['MatMul', 'its weight is float16, not float32: stays in float']
    ])
    const asked = testContext()
    expect(await run(recurrent, { include: ['LSTM'] }, asked)).toBe(recurrent)
    expect(asked.refusals[0]?.reason).toContain('com.microsoft')
  })
  it('says what folds a weight that is put together from constants, in a branch too, and takes it then', async () => {
    const m = model`
      input x: f32[5,1,8]
      input fast: bool[]
      const W1: f32[1,64,8]
      const W2: f32[1,64,8]
      const R: f32[1,128,32]
      y = If(fast, then_branch={
        W = Concat(W1, W2, axis=1)
        a, _, _ = LSTM(x, W, R, hidden_size=32)
        output a
      }, else_branch={
        b, _, _ = LSTM(x, U: f32[1,128,8], R, hidden_size=32)
        output b
      })
      output y`
    const ctx = testContext()
    await run(m, { include: ['LSTM'], microsoft: true }, ctx)
    expect(ctx.refusals.map((r) => r.reason)).toContain(
      'its weight is computed from constants, which simplify folds: apply that first: stays in float'
    )
    const folded = await simplify.run(m, parseOptions(simplify, {}), ctx)
    const made = await run(folded, { include: ['LSTM'], microsoft: true })
    expect(ops(made).filter((op) => op === 'com.microsoft:DynamicQuantizeLSTM')).toHaveLength(2)
  })
  it('takes uint8 where pair sums of int8 would saturate', async () => {
    const made = await run(product, {}, { ...testContext(), target: targetFor('ort-cpu-avx2') })
    const signed = await run(product)
    const [u, s] = [constant(made.graph, 'W_q'), constant(signed.graph, 'W_q')] as [Tensor, Tensor]
    expect(Array.from(toNumbers(u))).toEqual(Array.from(toNumbers(s), (c) => c + 128))
  })
  it('gives the very same model back where there is nothing to do', async () => {
    const ctx = testContext()
    expect(await run(picture, {}, ctx)).toBe(picture)
    const reason = 'not among the operators to quantize: name Conv in include to quantize it too'
    expect(ctx.refusals.map((r) => r.reason)).toEqual([reason, reason])
    expect(await run(product, { minElements: 1000 })).toBe(product)
    expect(await run(product, { exclude: ['MatMul'] })).toBe(product)
  })

  it('leaves a GRU to weight-only forms, and says why', async () => {
    const tagger = model`
      input x: f32[7,N,16]
      y, h = GRU(x, W: f32[1,96,16], R: f32[1,96,32], hidden_size=32)
      p = MatMul(y, V: f32[32,8])
      output p`
    const ctx = testContext()
    const made = await quantizeDynamic.run(tagger, parseOptions(quantizeDynamic, { microsoft: true }), ctx)
    expect(made.graph.nodes.map((n) => n.op)).toContain('GRU')
    expect(ctx.refusals.map((r) => r.reason)).toContain(
      'GRU has no dynamic form; quantize-weights stores its weights in 8 bits'
    )
  })
})
