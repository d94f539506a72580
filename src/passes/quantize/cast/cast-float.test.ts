import * as web from 'onnxruntime-web'
import { describe, expect, it } from 'vitest'
import { difference, optimizedOf, outputsOf, randomFeeds, testContext } from '../../../../test/compare.ts'
import { arrayDataset } from '../../../data/index.ts'
import { readModel, writeModel } from '../../../formats/index.ts'
import { allGraphs, constant, opName, producer } from '../../../ir/graph.ts'
import { tensor, toFloats } from '../../../ir/tensor.ts'
import { model } from '../../../ir/text.ts'
import { nodeRunner } from '../../../node/runner.ts'
import { inferShapes } from '../../../ops/infer.ts'
import { ortRunner } from '../../../runtime/index.ts'
import type { Model, Tensor } from '../../../types.ts'
import { parseOptions } from '../../pass.ts'
import { castFloat } from './cast-float.ts'

const run = (m: Model, o: object = {}, ctx = testContext()): Promise<Model> =>
  castFloat.run(m, parseOptions(castFloat, { minElements: 16, ...o }), ctx)
const compute = (m: Model, o: object = {}, ctx = testContext()): Promise<Model> => run(m, { compute: true, ...o }, ctx)

const ops = (m: Model): string[] => allGraphs(m).flatMap((g) => g.nodes.map(opName))

/** Weights rounded to 11 bits. */
const HALF = 1e-3
/** Weights rounded to 8 bits. */
const BRAIN = 1e-2
/** Every value rounded to 11 bits, through a few layers. */
const COMPUTED = 5e-3

async function loss(m: Model, made: Model, feeds = randomFeeds(m, 1, 3)): Promise<number> {
  return difference(await outputsOf(m, feeds), await outputsOf(made, feeds))
}

const withData = (x: Tensor): ReturnType<typeof testContext> => ({
  ...testContext(),
  data: { calibration: arrayDataset({ inputs: { x } }) }
})

const network = model`
  input x: f32[N,3,8,8]
  c = Conv(x, W: f32[8,3,3,3], B: f32[8], pads=[1,1,1,1])
  r = Relu(c)
  p = GlobalAveragePool(r)
  f = Flatten(p)
  y = Gemm(f, G: f32[8,4])
  z = Softmax(y)
  output y, z`

describe('cast-float, storage', () => {
  it.each([
    ['float16', HALF],
    ['bfloat16', BRAIN]
  ])('stores weights in %s and runs the float32 kernels', async (type, tolerance) => {
    const made = await run(network, { type })
    expect(ops(made).filter((op) => op === 'Cast')).toHaveLength(2)
    expect(await loss(network, made)).toBeLessThan(tolerance)
    const session = await nodeRunner().open(made, { keepOptimized: true, optimization: 'basic' })
    expect((await optimizedOf(session)).graph.nodes.map((n) => n.op)).not.toContain('Cast')
    await session.close()
  })
  it('leaves weights outside the range, with the reason', async () => {
    const m = model`
      input x: f32[N,4]
      const W: f32[4,4] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 70000
      y = MatMul(x, W)
      output y`
    const ctx = testContext()
    expect(await run(m, {}, ctx)).toBe(m)
    expect(ctx.refusals[0]?.reason).toContain('values beyond float16')
    expect(await run(m, { type: 'bfloat16' })).not.toBe(m)
  })
  it('gives the very same model back where there is nothing to do', async () => {
    expect(await run(network, { minElements: 1000 })).toBe(network)
    expect(await run(network, { exclude: ['Conv', 'Gemm'] })).toBe(network)
  })
})

describe('cast-float, computing', () => {
  it('keeps inputs and outputs, and computes in float16 between them', async () => {
    const made = await compute(network)
    expect(ops(made).filter((op) => op === 'Cast')).toHaveLength(3)
    expect(constant(made.graph, 'W')?.dtype).toBe('float16')
    const types = inferShapes(readModel(writeModel(made).bytes)).graph.values
    for (const id of ['x', 'y', 'z']) expect(types.get(id)?.dtype).toBe('float32')
    for (const id of ['c', 'r', 'p', 'f', 'y_f16']) expect(types.get(id)?.dtype).toBe('float16')
    expect(await loss(network, made)).toBeLessThan(COMPUTED)
    expect(await compute(made)).toBe(made)
  })
  it('runs in the engine of browsers', async () => {
    const made = await compute(network)
    web.env.wasm.numThreads = 1
    const session = await ortRunner(web).open(made)
    const feeds = randomFeeds(network, 1, 3)
    const outputs = await session.run(feeds)
    await session.close()
    expect(difference(await outputsOf(network, feeds), outputs)).toBeLessThan(COMPUTED)
  })
  it('casts once where float32 and float16 meet, and keeps what must be float32', async () => {
    const m = model`
      input x: f32[N,3,4,4]
      const s: f32[4] = 1, 1, 2, 2
      a = Relu(x)
      u = Resize(a, _, s)
      v = Neg(u)
      w = Exp(u)
      t = Add(v, w)
      output t`
    const made = await compute(m)
    expect(ops(made).filter((op) => op === 'Cast')).toHaveLength(4)
    expect(made.graph.values.get('s')?.dtype).toBe('float32')
    expect(await loss(m, made)).toBeLessThan(COMPUTED)
  })
  it('turns types that attributes name, in subgraphs too', async () => {
    const m = model`
      input c: bool[]
      input i: i64[N]
      input x: f32[N,4]
      const one: i64[1] = 4
      f = Cast(i, to=1)
      k = ConstantOfShape(one)
      r = If(c, then_branch={ a = MatMul(x, A: f32[4,4]); b = Add(a, k); output b }, else_branch={ const h: f32[1] = 0.5; d = Mul(x, h); e = CumSum(d, Z: i64[]); output e })
      q = ReduceMean(r, keepdims=0)
      y = Add(q, f)
      output y, r`
    const made = await compute(m)
    expect(inferShapes(made).graph.values.get('f')?.dtype).toBe('float16')
    for (const c of [0, 1]) {
      const feeds = { ...randomFeeds(m, 1, 3), c: tensor('bool', [], [c]) }
      expect(await loss(m, made, feeds)).toBeLessThan(COMPUTED)
    }
  })
  it('carries float16 through loops', async () => {
    const m = model`
      input n: i64[]
      input x: f32[2,3]
      const go: bool[] = 1
      y, s = Loop(n, go, x, body={ input k: i64[]; input g: bool[]; input h: f32[2,3]; t = Mul(h, S: f32[3]); u = Tanh(t); e = Identity(g); output e, u, t })
      output y, s`
    const made = await compute(m)
    const feeds = { ...randomFeeds(m, 1), n: tensor('int64', [], [3]) }
    expect(await loss(m, made, feeds)).toBeLessThan(COMPUTED)
  })
  it('keeps nodes asked for, with their large weights stored in float16', async () => {
    const made = await compute(network, { exclude: ['Softmax', 'Relu'] })
    expect(producer(made.graph, 'z')?.op).toBe('Softmax')
    expect(await loss(network, made)).toBeLessThan(COMPUTED)
    const kept = await compute(network, { exclude: ['Softmax', 'Gemm'] })
    expect(constant(kept.graph, 'G')?.dtype).toBe('float32')
    const wide = model`
      input x: f32[4,4]
      a = Add(x, W: f32[4,4])
      b = Max(x, W)
      y = Mul(a, b)
      output y`
    const both = await compute(wide)
    expect(constant(both.graph, 'W_f16')?.dtype).toBe('float16')
    expect(producer(both.graph, 'W')?.inputs).toEqual(['W_f16'])
    expect(await loss(wide, both)).toBeLessThan(COMPUTED)
  })
  it('keeps what overflows on data, and says so', async () => {
    const m = model`
      input x: f32[N,4]
      const two: f32[] = 2.0
      a = Pow(x, two)
      b = ReduceMean(a)
      r = Sqrt(b)
      y = Div(x, r)
      output y`
    const x = tensor('float32', [2, 4], [300, -300, 250, 10, 1, 2, 3, 4])
    const ctx = withData(x)
    const made = await compute(m, {}, ctx)
    expect(ctx.refusals.map((r) => r.op)).toEqual(['Pow', 'ReduceMean'])
    expect(ctx.refusals[0]?.reason).toContain('a reaches 9.00e+4 on the data, beyond float16 (65504)')
    expect(await loss(m, made, { x })).toBeLessThan(COMPUTED)
    const types = inferShapes(made).graph.values
    expect(['a', 'b', 'r'].map((id) => types.get(id)?.dtype)).toEqual(['float32', 'float32', 'float16'])
  })
  it('keeps bounds finite and guards above zero', async () => {
    const m = model`
      input x: f32[N,4]
      const low: f32[] = -3.4e38
      const tiny: f32[] = 1e-12
      m = Less(x, tiny)
      f = Where(m, low, x)
      s = Softmax(f)
      q = Mul(x, x)
      v = Add(q, tiny)
      r = Sqrt(v)
      y = Div(x, r)
      output s, y`
    const ctx = testContext()
    const made = await compute(m, {}, ctx)
    expect(ctx.notes[0]).toBe('constants outside the range of float16 were clamped: low, tiny')
    const outputs = await outputsOf(made, { x: tensor('float32', [1, 4], [0, 0, 0, 0]) })
    expect(Object.values(outputs).every((t) => toFloats(t).every(Number.isFinite))).toBe(true)
  })
  it('computes in float16 only', async () => {
    await expect(compute(network, { type: 'bfloat16' })).rejects.toMatchObject({ code: 'E_OPTION' })
    const whole = model`
      input x: i64[N]
      y = Add(x, x)
      output y`
    expect(await compute(whole)).toBe(whole)
  })
})
