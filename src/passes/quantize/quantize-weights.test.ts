import { describe, expect, it } from 'vitest'
import { difference, outputsOf, randomFeeds, testContext } from '../../../test/compare.ts'
import { rng } from '../../base/random.ts'
import { arrayDataset } from '../../data/index.ts'
import { readModel, writeModel } from '../../formats/index.ts'
import { edit } from '../../ir/edit.ts'
import { allGraphs, constant, opName, producer } from '../../ir/graph.ts'
import { elementCount, equalTensors, tensor, toFloats, toNumbers } from '../../ir/tensor.ts'
import { model, parse } from '../../ir/text.ts'
import { nodeRunner } from '../../node/runner.ts'
import type { Bytes, Dataset, Model, Tensor } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import { channelsOf, encodeWeight, peaksOf, scalesOf } from './codes.ts'
import { quantizeWeights } from './quantize-weights.ts'

const run = (m: Model, o: object = {}, ctx = testContext()): Promise<Model> =>
  quantizeWeights.run(m, parseOptions(quantizeWeights, { minElements: 1, ...o }), ctx)

const ops = (m: Model): string[] => allGraphs(m).flatMap((g) => g.nodes.map(opName))

/** Half a step of 1/127 of the largest weight, summed over a few dozen products. */
const INT8 = 0.02

/** Root mean square, over 32 channels of 16 positions, of how far the mean is off. */
function meanDifference(a: Float32Array, b: Float32Array): number {
  const off = new Float64Array(32)
  for (let i = 0; i < a.length; i++) {
    const c = Math.floor(i / 16) % 32
    off[c] = (off[c] as number) + ((b[i] as number) - (a[i] as number)) / (a.length / 32)
  }
  return Math.sqrt(off.reduce((sum, x) => sum + x * x, 0) / 32)
}

const small = model`
  input x: f32[N,3,8,8]
  y: f32[N,32,8,8] = Conv(x, W: f32[32,3,3,3], B: f32[32], pads=[1,1,1,1])
  z = Relu(y)
  output z`

describe('quantize-weights', () => {
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
    const left = (await session.optimized()).graph.nodes.map((n) => n.op)
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
  it('declines what would not get smaller, with the reason', async () => {
    const ctx = testContext()
    const m = model`
      input x: f32[N,4]
      y = MatMul(x, W: f32[4,4])
      output y`
    expect(await run(m, {}, ctx)).toBe(m)
    expect(ctx.refusals).toEqual([
      { node: 'MatMul_0', op: 'MatMul', reason: 'weight W: codes with their scales are not smaller' }
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
    const random = rng('data')
    const x = tensor(
      'float32',
      [64, 16, 4, 4],
      Float32Array.from({ length: 64 * 256 }, () => 3 + random.normal())
    )
    const data = { calibration: arrayDataset({ inputs: { x } }) }
    const error = async (correctBias: boolean): Promise<number> =>
      meanDifference(
        toFloats((await outputsOf(m, { x })).y as Tensor),
        toFloats((await outputsOf(await run(m, { correctBias }, { ...testContext(), data }), { x })).y as Tensor)
      )
    // The corrected mean is exact up to float32 sums; without, errors of 16 weights add up.
    expect(await error(true)).toBeLessThan((await error(false)) / 20)
  })
  it('makes the same bytes every time', async () => {
    expect(writeModel(await run(small)).bytes).toEqual(writeModel(await run(small)).bytes)
  })
})

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
async function relativeError(a: Model, b: Model): Promise<number> {
  let [off, whole] = [0, 0]
  for await (const { inputs } of correlated(a, 64).batches({ batch: 64 })) {
    const [x, y] = [Object.values(await outputsOf(a, inputs))[0], Object.values(await outputsOf(b, inputs))[0]]
    if (!x || !y) throw new Error('no output')
    const [u, v] = [toFloats(x), toFloats(y)]
    for (let i = 0; i < u.length; i++) {
      off += ((u[i] as number) - (v[i] as number)) ** 2
      whole += (u[i] as number) ** 2
    }
  }
  return Math.sqrt(off / whole)
}

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
    const left = new Set((await session.optimized()).graph.nodes.map((n) => n.op))
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
    expect(formsIn(await session.optimized())).toEqual(['nbits', 'nbits'])
    await session.close()
    expect(await run(small, { bits: 4, form: 'nbits' }, ctx)).toBe(small)
    expect(ctx.refusals).toEqual([
      { node: 'Conv_0', op: 'Conv', reason: 'weight W: only a MatMul’s matrix or a Gather’s table has form nbits' }
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
    const m = edit(small, (d) => {
      const v = d.value('W')
      if (!v?.data) throw new Error('no weight')
      const data = tensor(
        'float32',
        v.data.shape,
        toFloats(v.data).map((x, i) => (i % 3 ? 0 : x))
      )
      d.set({ ...v, data, sparse: 'any' })
    })
    const zeros = (t: Tensor): number => Array.from(toNumbers(t)).filter((x) => x === 0).length
    const calibration = arrayDataset({ inputs: { x: randomFeeds(small, 3, 40)['x'] as Tensor } })
    for (const method of ['rtn', 'gptq']) {
      const ctx = { ...testContext(), data: { calibration } }
      const made = await run(m, { bits: 4, form: 'palette', method }, ctx)
      expect(zeros(made.graph.values.get('W')?.data as Tensor)).toBeGreaterThanOrEqual(576)
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

describe('codes', () => {
  it('are within half a step of the weight, the largest at ±127', () => {
    const data = constant(parse('input x: f32[1,3]\ny = MatMul(x, W: f32[3,500])\noutput y').graph, 'W') as Tensor
    for (const axis of [0, 1, undefined]) {
      const channels = channelsOf(data.shape, axis)
      const scales = scalesOf(peaksOf(data, channels, 'W'), 127, 'float32')
      const codes = toNumbers(encodeWeight(data, channels, scales, 127))
      toFloats(data).forEach((x, i) => {
        const s = scales[Math.floor(i / channels.inner) % channels.count] as number
        expect(Math.abs(x - (codes[i] as number) * s)).toBeLessThanOrEqual(s * 0.5000001)
      })
      expect(Math.max(...Array.from(codes, (c) => Math.abs(c)))).toBe(127)
    }
  })
  it('read a tensor in parts, in the order of its elements', () => {
    const n = 5 * 1024 * 1024
    let largest = 0
    const all = new Float32Array(n).map((_, i) => (i % 251) - 125)
    const raw = new Uint8Array(all.buffer)
    const lazy: Bytes = {
      length: raw.length,
      slice: (from = 0, to = raw.length) => {
        largest = Math.max(largest, to - from)
        return raw.slice(from, to)
      }
    }
    const channels = channelsOf([n / 1024, 1024], 1)
    const t: Tensor = { dtype: 'float32', shape: [n / 1024, 1024], bytes: lazy }
    const whole: Tensor = { ...t, bytes: raw }
    const scales = scalesOf(peaksOf(t, channels, 'W'), 127, 'float32')
    expect(equalTensors(encodeWeight(t, channels, scales, 127), encodeWeight(whole, channels, scales, 127))).toBe(true)
    expect(largest).toBeLessThanOrEqual(16 * 1024 * 1024)
  })
  it('have a scale that float16 can hold, however small the weights', () => {
    const scales = scalesOf(Float64Array.of(1e-5, 0.01, 4), 127, 'float16')
    for (const [c, peak] of [1e-5, 0.01, 4].entries())
      expect((scales[c] as number) * 127.1).toBeGreaterThanOrEqual(peak)
  })
})
