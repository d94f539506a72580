import * as web from 'onnxruntime-web'
import { describe, expect, it } from 'vitest'
import { difference, outputsOf, randomFeeds, testContext } from '../../../test/compare.ts'
import { arrayDataset } from '../../data/index.ts'
import { readModel, writeModel } from '../../formats/index.ts'
import { opName } from '../../ir/graph.ts'
import { model } from '../../ir/text.ts'
import { nodeRunner } from '../../node/runner.ts'
import { ortRunner } from '../../runtime/index.ts'
import type { Runner } from '../../runtime/types.ts'
import type { Model, Tensor } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import { quantizeStatic } from './static/quantize-static.ts'
import { toQoperator } from './to-qoperator.ts'

const run = (m: Model, o: object = {}, ctx = testContext()): Promise<Model> =>
  toQoperator.run(m, parseOptions(toQoperator, o), ctx)

const ops = (m: Model): string[] => m.graph.nodes.map(opName)

async function quantized(m: Model): Promise<Model> {
  const ctx = { ...testContext(), data: { calibration: arrayDataset({ inputs: randomFeeds(m, 7, 16) }) } }
  return quantizeStatic.run(m, parseOptions(quantizeStatic, {}), ctx)
}

async function optimised(
  m: Model,
  feeds: Record<string, Tensor>,
  runner: Runner = nodeRunner()
): Promise<Record<string, Tensor>> {
  const session = await runner.open(m)
  const outputs = await session.run(feeds)
  await session.close()
  return outputs
}

const network = model`
  input x: f32[N,3,12,12]
  a = Conv(x, W: f32[8,3,3,3], B: f32[8], pads=[1,1,1,1])
  r = Relu(a)
  m = MaxPool(r, kernel_shape=[2,2], strides=[2,2])
  c = Conv(m, V: f32[8,8,3,3], pads=[1,1,1,1])
  s = Add(c, m)
  o = Sigmoid(s)
  g = GlobalAveragePool(o)
  f = Flatten(g)
  y = Gemm(f, G: f32[8,8], H: f32[8])
  z = Relu(y)
  output z`

describe('to-qoperator', () => {
  it('gives the numbers of the fused graph, in both engines', async () => {
    const qdq = await quantized(network)
    const ctx = testContext()
    const made = readModel(writeModel(await run(qdq, {}, ctx)).bytes)
    expect(ops(made).filter((op) => op === 'QLinearConv')).toHaveLength(2)
    const pool = made.graph.nodes.find((n) => n.op === 'MaxPool')
    expect(made.graph.nodes.find((n) => n.outputs[0] === pool?.inputs[0])?.op).toBe('QLinearConv')
    expect(ctx.refusals.map((r) => r.op)).toContain('Add')
    const feeds = randomFeeds(network, 1, 4)
    const fused = await optimised(qdq, feeds)
    expect(difference(fused, await optimised(made, feeds))).toBe(0)
    web.env.wasm.numThreads = 1
    const inBrowser = await optimised(made, feeds, ortRunner(web))
    expect(difference(await optimised(qdq, feeds, ortRunner(web)), inBrowser)).toBe(0)
    expect(await run(made)).toBe(made)
  })
  it('uses operators of com.microsoft where asked', async () => {
    const qdq = await quantized(network)
    const ctx = testContext()
    const made = await run(qdq, { microsoft: true }, ctx)
    expect(ctx.refusals).toEqual([])
    expect(ops(made)).toEqual(
      expect.arrayContaining([
        'com.microsoft:QLinearAdd',
        'com.microsoft:QLinearGlobalAveragePool',
        'com.microsoft:QGemm'
      ])
    )
    const feeds = randomFeeds(network, 1, 4)
    expect(difference(await optimised(qdq, feeds), await optimised(made, feeds))).toBe(0)
  })
  it('multiplies matrices, and leaves what gives float', async () => {
    const m = model`
      input x: f32[N,6,32]
      a = MatMul(x, W: f32[32,16])
      r = Relu(a)
      b = MatMul(r, V: f32[16,16])
      output b`
    const qdq = await quantized(m)
    const made = await run(qdq)
    expect(ops(made).filter((op) => op === 'QLinearMatMul')).toHaveLength(1)
    expect(ops(made)).toContain('MatMul')
    const feeds = randomFeeds(m, 1, 4)
    expect(difference(await optimised(qdq, feeds), await optimised(made, feeds))).toBe(0)
  })
  it.each([
    ['its bias is not quantized to int32', 'B: f32[4]'],
    ['its bias is not quantized to int32', 'bq', 'bq = DequantizeLinear(BQ: i16[4], s)'],
    ['the scale of its bias is not the product', 'bq', 'bq = DequantizeLinear(BQ: i32[4], s)']
  ])('leaves a Conv where %s', async (reason, bias, extra = '') => {
    const m = model`
      input x: u8[N,4,4,4]
      const s: f32[] = 0.5
      const z: u8[] = 3
      const w: f32[] = 0.25
      d = DequantizeLinear(x, s, z)
      k = DequantizeLinear(K: i8[4,4,1,1], w)
      ${extra}
      c = Conv(d, k, ${bias})
      q = QuantizeLinear(c, s, z)
      y = DequantizeLinear(q, s, z)
      output y`
    const ctx = testContext()
    expect(await run(m, {}, ctx)).toBe(m)
    expect(ctx.refusals[0]?.reason).toContain(reason)
  })
  it('spells zero points out', async () => {
    const m = model`
      input x: f32[N,4,4,4]
      const s: f32[] = 0.05
      q = QuantizeLinear(x, s)
      d = DequantizeLinear(q, s)
      k = DequantizeLinear(K: i8[4,4,1,1], w: f32[4], axis=0)
      c = Conv(d, k)
      p = QuantizeLinear(c, s)
      y = DequantizeLinear(p, s)
      output y`
    const made = await run(m)
    expect(ops(made)).toEqual(['QuantizeLinear', 'QLinearConv', 'DequantizeLinear'])
    const feeds = randomFeeds(m, 1, 2)
    expect(difference(await outputsOf(m, feeds), await outputsOf(made, feeds))).toBeLessThan(0.05)
  })
  it('gives the very same model back where there is nothing to do', async () => {
    expect(await run(network)).toBe(network)
    const qdq = await quantized(network)
    expect(await run(qdq, { exclude: ['*'] })).toBe(qdq)
  })
})
