/** Weights of few bits: forms, and the methods that choose their codes. */
import { describe, expect, it } from 'vitest'
import {
  difference,
  noise,
  normalData,
  optimizedOf,
  outputsOf,
  randomFeeds,
  testContext
} from '../../../../test/compare.ts'
import { rng } from '../../../base/random.ts'
import { arrayDataset } from '../../../data/index.ts'
import { readModel, writeModel } from '../../../formats/index.ts'
import { edit } from '../../../ir/edit.ts'
import { allGraphs, constant, opName } from '../../../ir/graph.ts'
import { elementCount, tensor, toFloats, toNumbers } from '../../../ir/tensor.ts'
import { model, parse } from '../../../ir/text.ts'
import { nodeRunner } from '../../../node/runner.ts'
import { type Dequantized, dequantizedConstant } from '../../../ops/quantized.ts'
import type { Dataset, Model, Tensor, Value } from '../../../types.ts'
import { parseOptions } from '../../pass.ts'
import { quantizeWeights } from './quantize-weights.ts'

const run = (m: Model, o: object = {}, ctx = testContext()): Promise<Model> =>
  quantizeWeights.run(m, parseOptions(quantizeWeights, { minElements: 1, ...o }), ctx)

/** The model with all but each n-th element of a weight at zeros that are meant. */
const thinned = (m: Model, id: string, n: number): Model =>
  edit(m, (d) => {
    const v = d.value(id)
    if (!v?.data) throw new Error('no weight')
    const values = toFloats(v.data).map((x, i) => (i % n ? 0 : x))
    d.set({ ...v, data: tensor('float32', v.data.shape, values), sparse: 'any' })
  })

const ops = (m: Model): string[] => allGraphs(m).flatMap((g) => g.nodes.map(opName))

/** Data whose channels are correlated and not centred, as behind a Relu. */
function correlated(m: Model, n = 96): Dataset {
  const random = rng('data')
  const inputs = m.graph.inputs.map((id) => {
    const [channels = 1, ...rest] = (m.graph.values.get(id)?.shape ?? []).slice(1).map(Number)
    const positions = elementCount(rest)
    const mix = Array.from({ length: channels * 4 }, () => random.normal())
    const x = new Float32Array(n * channels * positions)
    for (let s = 0; s < n; s++)
      for (let p = 0; p < positions; p++) {
        const z = Array.from({ length: 4 }, () => random.normal())
        for (let c = 0; c < channels; c++)
          x[(s * channels + c) * positions + p] = Math.max(
            0,
            z.reduce((sum, v, j) => sum + v * (mix[c * 4 + j] as number), 0.2 * random.normal())
          )
      }
    return [id, tensor('float32', [n, channels, ...rest], x)] as const
  })
  return arrayDataset({ inputs: Object.fromEntries(inputs) })
}

/** Root mean square difference of the first outputs over that of the first's. */
const relativeError = async (a: Model, b: Model): Promise<number> => Math.sqrt(await noise(a, b, correlated(a, 64)))

const network = model`
  input x: f32[N,8,8,8]
  a = Conv(x, W1: f32[32,8,3,3], B1: f32[32], pads=[1,1,1,1])
  b = Relu(a)
  c = Conv(b, W2: f32[32,1,3,3], group=32, pads=[1,1,1,1])
  d = Relu(c)
  e = Conv(d, W3: f32[64,32,1,1], B3: f32[64])
  f = GlobalAveragePool(e)
  g = Flatten(f)
  y = Gemm(g, W4: f32[10,64], B4: f32[10], transB=1)
  output y`

const matrix = model`
  input x: f32[N,96]
  h = MatMul(x, W1: f32[96,80])
  r = Relu(h)
  y = MatMul(r, W2: f32[80,64])
  output y`

const withData = (m: Model): ReturnType<typeof testContext> => ({
  ...testContext(),
  data: { calibration: correlated(m) }
})
const formsIn = (m: Model): unknown[] => [...m.graph.values.values()].flatMap((v) => v.form ?? [])

const small = model`
  input x: f32[N,3,8,8]
  y: f32[N,32,8,8] = Conv(x, W: f32[32,3,3,3], B: f32[32], pads=[1,1,1,1])
  z = Relu(y)
  output z`

describe('few bits', () => {
  /** Of outputs, over random weights: steps of 1/15 and 1/3 of their range, and a codebook of 8 values. */
  it.each([
    [{ bits: 4 }, 'int4', 0.15],
    [{ bits: 4, symmetric: false }, 'uint4', 0.15],
    [{ bits: 4, blockSize: 16 }, 'uint4', 0.12],
    [{ bits: 2 }, 'uint2', 0.6],
    [{ bits: 8, blockSize: 32 }, 'int8', 0.01]
  ] as const)('%j become %s codes that the runtime folds', async (o, dtype, most) => {
    const made = await run(network, { ...o, minElements: 300 })
    const codes = made.graph.values.get('W1_q')
    expect(codes).toMatchObject({ dtype, form: 'foldable', shape: [32, 8, 3, 3] })
    expect(await relativeError(network, made)).toBeLessThan(most)
    const back = readModel(writeModel(made).bytes)
    expect(await relativeError(made, back)).toBe(0)
    const session = await nodeRunner().open(made, { keepOptimized: true, optimization: 'basic' })
    const left = new Set((await optimizedOf(session)).graph.nodes.map((n) => n.op))
    await session.close()
    expect([...left].sort()).toEqual(['Conv', 'Flatten', 'Gemm', 'GlobalAveragePool', 'Relu'])
  })
  it('put blocks along what a product sums over, and rows of tables', async () => {
    const m = model`
      input i: i64[N]
      e = Gather(E: f32[64,48], i)
      y = MatMul(e, W: f32[48,40])
      output y`
    const made = await run(m, { bits: 4, blockSize: 16 })
    const attrs = made.graph.nodes.filter((n) => n.op === 'DequantizeLinear').map((n) => [n.outputs[0], n.attrs])
    const int = (value: number): object => ({ kind: 'int', value })
    expect(Object.fromEntries(attrs)).toEqual({
      E: { axis: int(1), block_size: int(16) },
      W: { axis: int(0), block_size: int(16) }
    })
    expect(made.graph.values.get('W_s')?.shape).toEqual([3, 40])
    expect(made.graph.values.get('E_s')?.shape).toEqual([64, 3])
  })
  it('in a palette have few values, a codebook per channel where channels are long', async () => {
    const made = await run(network, { bits: 3, form: 'palette' })
    const distinct = (id: string, from: number, to: number): number =>
      new Set(toFloats(made.graph.values.get(id)?.data as Tensor).slice(from, to)).size
    expect(formsIn(made)).toEqual(['palette', 'palette', 'palette', 'palette'])
    expect(distinct('W1', 0, 72)).toBe(8)
    expect(distinct('W1', 0, 144)).toBe(16)
    // Nine weights to a channel: one codebook for all.
    expect(distinct('W2', 0, 288)).toBe(8)
    expect(await relativeError(network, made)).toBeLessThan(0.3)
    expect(await relativeError(made, readModel(writeModel(made).bytes))).toBe(0)
  })
  it('of form nbits run as MatMulNBits; other weights are declined', async () => {
    const ctx = testContext()
    const made = await run(matrix, { bits: 4, form: 'nbits' }, ctx)
    expect(await relativeError(matrix, made)).toBeLessThan(0.15)
    const session = await nodeRunner().open(made, { keepOptimized: true })
    // The reader restores constants of form nbits from MatMulNBits only.
    expect(formsIn(await optimizedOf(session))).toEqual(['nbits', 'nbits'])
    await session.close()
    expect(await run(small, { bits: 4, form: 'nbits' }, ctx)).toBe(small)
    expect(ctx.refusals).toEqual([
      {
        node: 'Conv_0',
        op: 'Conv',
        reason: 'a weight stays in float: only a MatMul’s matrix or a Gather’s table has form nbits'
      }
    ])
  })
  it('keep tied weights tied, whatever the form', async () => {
    const m = model`
      input i: i64[N]
      e = Gather(E: f32[64,64], i)
      t = Transpose(E, perm=[1,0])
      y = MatMul(e, t)
      output y`
    const feeds = { i: tensor('int64', [3], [1, 5, 63]) }
    for (const o of [{ bits: 4 }, { bits: 4, form: 'palette' }, { bits: 4, blockSize: 32 }]) {
      const made = await run(m, o)
      expect(writeModel(made).bytes.length).toBeLessThan(0.35 * 4 * 64 * 64 + 2000)
      expect(difference(await outputsOf(m, feeds), await outputsOf(made, feeds))).toBeLessThan(0.3)
    }
  })
  it('say what does not go together', async () => {
    const wrong = [
      [{ bits: 3 }, /foldable has no 3 bits/],
      [{ bits: 8, form: 'palette' }, /2 to 6 bits/],
      [{ bits: 2, form: 'qdq' }, /no runtime/],
      [{ bits: 4, form: 'palette', blockSize: 32 }, /no blocks/],
      [{ bits: 4, form: 'palette', method: 'hqq' }, /about scales/],
      [{ bits: 4, method: 'gptq' }, /gptq needs calibration data/]
    ] as const
    for (const [o, message] of wrong) await expect(run(small, o)).rejects.toThrow(message)
  })
  it('keep meant zeros at exactly 0', async () => {
    const m = thinned(small, 'W', 3)
    const zeros = (t: Tensor): number => Array.from(toNumbers(t)).filter((x) => x === 0).length
    const calibration = arrayDataset({ inputs: { x: randomFeeds(small, 3, 40)['x'] as Tensor } })
    for (const method of ['rtn', 'gptq']) {
      const ctx = { ...testContext(), data: { calibration } }
      const made = await run(m, { bits: 4, form: 'palette', method }, ctx)
      expect(zeros(made.graph.values.get('W_q')?.data as Tensor)).toBeGreaterThanOrEqual(576)
    }
  })

  it.each([{ bits: 4, form: 'palette' }, { bits: 4 }, { bits: 8 }])(
    'take fewer bytes the more zeros there are, and fold: %o',
    async (o) => {
      const wide = model`
      input x: f32[N,256]
      y = MatMul(x, W: f32[256,128])
      output y
    `
      const bytesOf = async (m: Model): Promise<number> => writeModel(await run(m, o)).bytes.length
      const dense = await bytesOf(wide)
      const sparse = thinned(wide, 'W', 10)
      const made = await run(sparse, o)
      expect(await bytesOf(sparse)).toBeLessThan(0.45 * dense)
      const again = readModel(writeModel(made).bytes)
      const feeds = randomFeeds(wide, 1, 4)
      const outputs = await outputsOf(made, feeds)
      expect(difference(outputs, await outputsOf(again, feeds))).toBe(0)
      const kernels = async (m: Model): Promise<string[]> =>
        ops(await optimizedOf(await nodeRunner().open(m, { keepOptimized: true })))
      expect(await kernels(made)).toEqual(await kernels(wide))
      expect(await relativeError(sparse, made)).toBeLessThan(0.15)
    }
  )
})

describe('a codebook for channels of different size', () => {
  const wide = (op: string, shape: readonly number[], axis: number, factor: number): Model => {
    const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1)
    const values = Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => {
      return Math.sin(i * i + 1) * factor ** ((Math.floor(i / inner) % (shape[axis] as number)) % 4)
    })
    const made = parse(op)
    const data = tensor('float32', shape, values)
    return edit(made, (d) => d.set({ id: 'W', type: 'tensor', dtype: 'float32', shape, data }))
  }
  const product = 'input x: f32[N,64]\ny = MatMul(x, W: f32[64,32])\noutput y'
  it.each([
    ['MatMul', product, [64, 32], 1],
    ['Gemm', 'input x: f32[N,64]\ny = Gemm(x, W: f32[32,64], transB=1)\noutput y', [32, 64], 0],
    ['Conv', 'input x: f32[N,7,9,9]\ny = Conv(x, W: f32[32,7,3,3])\noutput y', [32, 7, 3, 3], 0]
  ] as const)('is shared under a scale for each, so that more bits never do worse: %s', async (_, op, shape, axis) => {
    const m = wide(op, shape, axis, 100)
    const calibration = normalData(m, 64)
    const original = toFloats(constant(m.graph, 'W') as Tensor)
    const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1)
    // Decibels of the worst channel.
    const worst = (made: Model): number => {
      const stored = readModel(writeModel(made).bytes)
      const { codes, scale } = dequantizedConstant(stored.graph, 'W') as Dequantized
      const [q, s, signal, noise] = [toNumbers(codes), toNumbers(scale), new Float64Array(99), new Float64Array(99)]
      expect(new Set(q).size).toBeLessThanOrEqual(64)
      for (const [i, w] of original.entries()) {
        const c = Math.floor(i / inner) % (shape[axis] as number)
        signal[c] = (signal[c] as number) + w ** 2
        noise[c] = (noise[c] as number) + (w - (q[i] as number) * (s[c] as number)) ** 2
      }
      return Math.min(
        ...Array.from(
          { length: shape[axis] as number },
          (_, c) => 10 * Math.log10((signal[c] as number) / (noise[c] as number))
        )
      )
    }
    for (const method of ['rtn', 'gptq']) {
      const ctx = { ...testContext(), data: { calibration } }
      const made = await run(m, { bits: 6, form: 'palette', method }, ctx)
      expect(ctx.refusals).toEqual([])
      expect(worst(made)).toBeGreaterThan(method === 'rtn' ? 27 : 20)
      expect(await relativeError(m, made)).toBeLessThan(0.05)
      expect(writeModel(made).bytes.length).toBeLessThan(writeModel(m).bytes.length / 2.5)
    }
  })
})

describe('methods', () => {
  it('gptq changes outputs far less than rtn, in every form', async () => {
    for (const [m, forms] of [
      [network, ['foldable', 'palette']],
      [matrix, ['nbits', 'qdq']]
    ] as const)
      for (const form of forms) {
        const [rtn, gptq] = [
          await run(m, { bits: 4, form }, withData(m)),
          await run(m, { bits: 4, form, method: 'gptq' }, withData(m))
        ]
        expect(await relativeError(m, gptq)).toBeLessThan(0.6 * (await relativeError(m, rtn)))
      }
  })
  it('gptq warns where there are fewer rows than inputs, and rounds alone what it cannot look at', async () => {
    const m = model`
      input x: f32[N,96]
      c = Constant(value_float=1.0)
      a = MatMul(x, W: f32[96,80])
      b = MatMul(x, W)
      s = Add(a, b)
      y = MatMul(s, V: f32[80,20])
      output y`
    const ctx = { ...testContext(), data: { calibration: correlated(m, 24) } }
    await run(m, { bits: 4, method: 'gptq' }, ctx)
    expect(ctx.notes).toEqual([
      expect.stringMatching(/weight W was rounded without data: it is read by several nodes/),
      expect.stringMatching(/1 of 1 layers saw fewer rows/)
    ])
  })
  it('awq scales channels into the node before, or into a Mul, and changes outputs less', async () => {
    const m = edit(matrix, (d) => {
      const v = d.value('W1')
      if (!v?.data) throw new Error('no weight')
      const values = toFloats(v.data).map((x, i) => ((i % 80) % 20 === 0 ? 12 * x : x))
      d.set({ ...v, data: tensor('float32', v.data.shape, values) })
    })
    const plans: unknown[] = []
    const ctx = { ...withData(m), plan: (p: unknown) => plans.push(p) }
    const made = await run(m, { bits: 4, blockSize: 16, method: 'awq', include: ['MatMul_2'] }, ctx)
    expect(plans[0]).toMatchObject({ scales: [{ value: 'r', isFolded: true }] })
    expect(ops(made).sort()).toEqual(['DequantizeLinear', 'MatMul', 'MatMul', 'Relu'])
    const rtn = await run(m, { bits: 4, blockSize: 16, include: ['MatMul_2'] })
    expect(await relativeError(m, made)).toBeLessThan(0.8 * (await relativeError(m, rtn)))
  })
  it('hqq minds large weights less than rtn', async () => {
    const random = rng('tails')
    const m = edit(model`input x: f32[N,256]\ny = MatMul(x, W: f32[256,16])\noutput y`, (d) => {
      const v = d.value('W')
      if (!v) throw new Error('no weight')
      const values = Array.from({ length: 4096 }, (_, i) => random.normal() * (i % 40 === 0 ? 6 : 1))
      d.set({ ...v, data: tensor('float32', [256, 16], values) })
    })
    const typical = async (method: string): Promise<number> => {
      const made = await run(m, { bits: 4, method })
      const [codes, scales] = ['W_q', 'W_s'].map((id) => toNumbers(made.graph.values.get(id)?.data as Tensor))
      const w = toFloats(m.graph.values.get('W')?.data as Tensor)
      const off = Array.from(w, (x, i) => Math.abs(x - (codes?.[i] as number) * (scales?.[i % 16] as number)))
      return off.sort((a, b) => a - b)[2048] as number
    }
    expect(await typical('hqq')).toBeLessThan(await typical('rtn'))
  })
})

describe('blocks of float16 in a graph inside a node', () => {
  it.each(['f16', 'f32'])('are right or stay float: %s', async (real) => {
    const m = parse(`
      input x: ${real}[3,64]
      input c: bool[]
      y = If(c, then_branch={
        a: ${real}[3,8] = Gemm(x, A: ${real}[64,8])
        output a
      }, else_branch={
        b: ${real}[3,8] = MatMul(x, B: ${real}[64,8])
        output b
      })
      output y`)
    const ctx = testContext()
    const options = { bits: 4, form: 'qdq', blockSize: 32, minElements: 1 }
    const made = await quantizeWeights.run(m, parseOptions(quantizeWeights, options), ctx)
    expect(made === m).toBe(real === 'f16')
    expect(ctx.refusals.map((r) => r.reason).join()).toMatch(
      real === 'f16' ? /gives zeros for blocks of float16/ : /^$/
    )
    const feeds = { ...randomFeeds(m, 1), c: tensor('bool', [], [1]) }
    const session = await nodeRunner().open(made)
    const after = await session.run(feeds)
    await session.close()
    expect(difference(await outputsOf(m, feeds), after)).toBeLessThan(0.2)
  })
})

describe('form nbits of as many blocks as columns', () => {
  it.each([
    [64, 4],
    [120, 8],
    [48, 3],
    [64, 8]
  ])('is right as written, and written again as it was: [%i,%i]', async (rows, columns) => {
    const m = parse(`input x: f32[2,${rows}]\ny = MatMul(x, W: f32[${rows},${columns}])\noutput y`)
    // Columns of different size: scales in each other's place show.
    const data = toFloats(constant(m.graph, 'W') as Tensor).map((w, i) => w * (1 + (i % columns)))
    const spread = edit(m, (d) => d.set({ ...(d.value('W') as Value), data: tensor('float32', [rows, columns], data) }))
    const made = await run(spread, { bits: 4, form: 'nbits', blockSize: 16, minElements: 1 })
    expect(made).not.toBe(spread)
    const { bytes } = writeModel(made)
    const feeds = randomFeeds(m, 1)
    const session = await nodeRunner().open(bytes)
    const after = await session.run(feeds)
    await session.close()
    expect(difference(await outputsOf(spread, feeds), after)).toBeLessThan(0.15)
    expect(Buffer.from(writeModel(readModel(bytes)).bytes).equals(Buffer.from(bytes))).toBe(true)
  })
})
