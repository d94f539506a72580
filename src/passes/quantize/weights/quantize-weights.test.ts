import { describe, expect, it } from 'vitest'
import {
  difference,
  meanError,
  normalData,
  optimizedOf,
  outputsOf,
  randomFeeds,
  testContext
} from '../../../../test/compare.ts'
import { readModel, writeModel } from '../../../formats/index.ts'
import { edit } from '../../../ir/edit.ts'
import { allGraphs, opName, producer } from '../../../ir/graph.ts'
import { tensor, toFloats, toNumbers } from '../../../ir/tensor.ts'
import { model } from '../../../ir/text.ts'
import { nodeRunner } from '../../../node/runner.ts'
import type { Model, Tensor } from '../../../types.ts'
import { parseOptions } from '../../pass.ts'
import { quantizeWeights } from './quantize-weights.ts'

const run = (m: Model, o: object = {}, ctx = testContext()): Promise<Model> =>
  quantizeWeights.run(m, parseOptions(quantizeWeights, { minElements: 1, ...o }), ctx)

const ops = (m: Model): string[] => allGraphs(m).flatMap((g) => g.nodes.map(opName))

/** Half a step of 1/127 of the largest weight, summed over a few dozen products. */
const INT8 = 0.02

const small = model`
  input x: f32[N,3,8,8]
  y: f32[N,32,8,8] = Conv(x, W: f32[32,3,3,3], B: f32[32], pads=[1,1,1,1])
  z = Relu(y)
  output z`

describe('quantize-weights', () => {
  it('leaves a table in float that holds next to nothing', async () => {
    const m = model`
      input i: i64[N]
      input k: i64[N]
      e = Gather(E: f32[4096,64], i)
      s = Gather(S: f32[2,64], k)
      y = Add(e, s)
      output y`
    const ctx = testContext()
    const made = await run(m, {}, ctx)
    expect(producer(made.graph, 'E')?.op).toBe('DequantizeLinear')
    expect(producer(made.graph, 'S')).toBeUndefined()
    expect(ctx.refusals[0]?.reason).toContain('less than 0.1 % of the weights')
  })

  it('puts codes and scales per output channel under the name of the weight', async () => {
    const made = await run(small)
    expect(ops(made)).toEqual(['DequantizeLinear', 'Conv', 'Relu'])
    const dq = producer(made.graph, 'W')
    expect(dq?.inputs).toEqual(['W_q', 'W_s'])
    expect(dq?.attrs).toEqual({ axis: { kind: 'int', value: 0 } })
    expect(made.graph.values.get('W_q')).toMatchObject({ dtype: 'int8', shape: [32, 3, 3, 3], form: 'foldable' })
    expect(made.graph.values.get('W_s')).toMatchObject({ dtype: 'float32', shape: [32] })
    expect(made.graph.values.get('W')).toEqual({ id: 'W', type: 'tensor', dtype: 'float32', shape: [32, 3, 3, 3] })
    const feeds = randomFeeds(small, 1)
    expect(difference(await outputsOf(small, feeds), await outputsOf(made, feeds))).toBeLessThan(INT8)
  })
  it('runs the float kernel, with nothing left to expand', async () => {
    const session = await nodeRunner().open(await run(small), { keepOptimized: true, optimization: 'basic' })
    const left = (await optimizedOf(session)).graph.nodes.map((n) => n.op)
    await session.close()
    expect(left).toEqual(['Conv', 'Relu'])
  })
  it('makes the file smaller, and reads back what it wrote', async () => {
    const made = await run(small)
    const bytes = writeModel(made).bytes
    expect(bytes.length).toBeLessThan(writeModel(small).bytes.length / 2)
    const back = readModel(bytes)
    expect(back.graph.values.get('W_q')?.form).toBe('foldable')
    expect(await run(back)).toBe(back)
  })
  it('gives the very same model back where there is nothing to do', async () => {
    expect(await run(small, { exclude: ['Conv'] })).toBe(small)
    expect(await run(small, { minElements: 1000 })).toBe(small)
    expect(await run(small, { include: ['Gemm', 'other*'] })).toBe(small)
    expect(await run(small, { include: ['Conv_*'] })).not.toBe(small)
  })
  it('takes what operators hold: tables, matrices, recurrent weights', async () => {
    const m = model`
      input i: i64[N,5]
      e = Gather(E: f32[50,16], i)
      t = Transpose(e, perm=[1,0,2])
      h, _ = LSTM(t, Wx: f32[1,32,16], Wr: f32[1,32,8], hidden_size=8)
      s = Squeeze(h)
      g = MatMul(s, M: f32[8,64])
      o = Gemm(G: f32[12,40], H: f32[40,12])
      output g, o`
    const made = await run(m)
    const axes = Object.fromEntries(
      made.graph.nodes
        .filter((n) => n.op === 'DequantizeLinear')
        .map((n) => [n.outputs[0], n.attrs.axis?.kind === 'int' ? n.attrs.axis.value : undefined])
    )
    expect(axes).toEqual({ E: 0, Wx: 1, Wr: 1, M: 1, H: 1 })
  })
  it('keeps one copy of a weight that is used twice, also as its own transpose', async () => {
    const m = model`
      input i: i64[N]
      e = Gather(E: f32[64,16], i)
      t = Transpose(E, perm=[1,0])
      y = MatMul(e, t)
      output y`
    const made = await run(m)
    expect(ops(made).filter((o) => o === 'DequantizeLinear')).toHaveLength(1)
    const feeds = { i: tensor('int64', [3], [1, 5, 63]) }
    expect(difference(await outputsOf(m, feeds), await outputsOf(made, feeds))).toBeLessThan(INT8)
  })
  it('reaches weights in subgraphs, and those that they capture', async () => {
    const m = model`
      input c: bool[]
      input x: f32[N,32]
      const S: f32[32,32] = ${Array.from({ length: 1024 }, (_, i) => (i % 17) / 17 - 0.5).join(', ')}
      r = If(c, then_branch={ a = MatMul(x, A: f32[32,32]); output a }, else_branch={ b = MatMul(x, S); output b })
      output r`
    const made = await run(m)
    expect(ops(made)).toEqual(['DequantizeLinear', 'If', 'DequantizeLinear', 'MatMul', 'MatMul'])
    for (const c of [0, 1]) {
      const feeds = { ...randomFeeds(m, 1), c: tensor('bool', [], [c]) }
      expect(difference(await outputsOf(m, feeds), await outputsOf(made, feeds))).toBeLessThan(INT8)
    }
  })
  it('keeps 16-bit weights in their type', async () => {
    const m = model`
      input x: f16[N,64]
      y = MatMul(x, W: f16[64,64])
      output y`
    const made = await run(m)
    expect(made.graph.values.get('W_s')?.dtype).toBe('float16')
    const feeds = randomFeeds(m, 1)
    expect(difference(await outputsOf(m, feeds), await outputsOf(made, feeds))).toBeLessThan(INT8)
  })
  it('reaches weights that are cut, joined and given axes before an operator reads them', async () => {
    const m = model`
      input x: f32[2,1,16]
      const a: i64[1] = 0
      const b: i64[1] = 32
      const c: i64[1] = 64
      w0 = Slice(W: f32[64,16], a, b, a)
      w1 = Slice(W, b, c, a)
      w = Concat(w1, w0, axis=0)
      W3 = Unsqueeze(w, a)
      R3 = Unsqueeze(R: f32[64,16], a)
      y, h, s = LSTM(x, W3, R3, hidden_size=16)
      output y`
    const made = await run(m)
    const scales = ['W', 'R'].map((id) => made.graph.values.get(`${id}_s`)?.shape)
    expect(scales).toEqual([[64], [64]])
    const feeds = randomFeeds(m, 1)
    expect(difference(await outputsOf(m, feeds), await outputsOf(made, feeds))).toBeLessThan(INT8)
  })
  it('declines what would not get smaller, with the reason', async () => {
    const ctx = testContext()
    const m = model`
      input x: f32[N,4]
      y = MatMul(x, W: f32[4,4])
      output y`
    expect(await run(m, {}, ctx)).toBe(m)
    expect(ctx.refusals).toEqual([
      { node: 'MatMul_0', op: 'MatMul', reason: 'a weight stays in float: codes with their scales are not smaller' }
    ])
  })
  it('names a weight that is not a number', async () => {
    const broken = edit(small, (d) => {
      const w = d.value('W')
      if (w?.data)
        d.set({
          ...w,
          data: tensor(
            'float32',
            [32, 3, 3, 3],
            toFloats(w.data).map((x, i) => (i === 99 ? Number.NaN : x))
          )
        })
    })
    await expect(run(broken)).rejects.toMatchObject({ code: 'E_MODEL', where: 'W' })
  })
  it('keeps meant zeros and their mark', async () => {
    const pruned = edit(small, (d) => {
      const w = d.value('W')
      if (w?.data)
        d.set({
          ...w,
          sparse: 'any',
          data: tensor(
            'float32',
            [32, 3, 3, 3],
            toFloats(w.data).map((x, i) => (i % 2 ? x : 0))
          )
        })
    })
    const v = (await run(pruned)).graph.values.get('W_q')
    expect(v?.sparse).toBe('any')
    expect(Array.from(toNumbers(v?.data as Tensor)).filter((c, i) => i % 2 === 0 && c !== 0)).toEqual([])
  })
  it('corrects biases where there is data, and says where there is none', async () => {
    const ctx = testContext()
    await run(small, {}, ctx)
    expect(ctx.notes.join()).toContain('biases were not corrected')
    const m = model`
      input x: f32[N,16,4,4]
      y = Conv(x, W: f32[32,16,1,1])
      output y`
    const calibration = normalData(m, 64, { mean: 3 })
    const error = async (correctBias: boolean): Promise<number> =>
      meanError(m, await run(m, { correctBias }, { ...testContext(), data: { calibration } }), calibration)
    // The corrected mean is exact up to float32 sums; without, errors of 16 weights add up.
    expect(await error(true)).toBeLessThan((await error(false)) / 20)
  })
  it('makes the same bytes every time', async () => {
    expect(writeModel(await run(small)).bytes).toEqual(writeModel(await run(small)).bytes)
  })
})
