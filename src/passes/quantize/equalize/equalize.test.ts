import { describe, expect, it } from 'vitest'
import { difference, normalData, outputsOf, randomFeeds, testContext } from '../../../../test/compare.ts'
import { edit } from '../../../ir/edit.ts'
import { constant } from '../../../ir/graph.ts'
import { elementCount, tensor, toFloats } from '../../../ir/tensor.ts'
import { model } from '../../../ir/text.ts'
import type { Dataset, Model, Tensor } from '../../../types.ts'
import { parseOptions } from '../../pass.ts'
import { equalize } from './equalize.ts'

/** Weights are rounded to float32 once per factor. */
const FLOAT = 1e-5
/** Scales of neighbours that differ this little are even. */
const EVEN = 1e-3

const run = (m: Model, o: object = {}, ctx = testContext()): Promise<Model> =>
  equalize.run(m, parseOptions(equalize, o), ctx)

/** A constant with the rows of its first axis made of very different sizes. */
function uneven(m: Model, id: string, factor: (row: number) => number): Model {
  return edit(m, (d) => {
    const v = d.value(id)
    if (!v?.data) throw new Error(`no ${id}`)
    const inner = elementCount(v.data.shape.slice(1))
    const values = toFloats(v.data).map((x, i) => x * factor(Math.floor(i / inner)))
    d.set({ ...v, data: tensor('float32', v.data.shape, values) })
  })
}

const dataFor = (m: Model): Dataset => normalData(m, 16)

const withData = (m: Model): ReturnType<typeof testContext> => ({
  ...testContext(),
  data: { calibration: dataFor(m) }
})

/** Largest magnitude per output channel (first axis) of the weight of the node that makes `output`. */
function peaks(m: Model, output: string): number[] {
  const node = m.graph.nodes.find((n) => n.outputs[0] === output)
  const data = constant(m.graph, node?.inputs[1])
  if (!data) throw new Error(`no weight for ${output}`)
  const values = toFloats(data)
  const inner = values.length / (data.shape[0] as number)
  return Array.from({ length: data.shape[0] as number }, (_, r) =>
    Math.max(...values.slice(r * inner, (r + 1) * inner).map(Math.abs))
  )
}

const ratio = (v: readonly number[]): number => Math.max(...v) / Math.min(...v)

const pair = uneven(
  model`
    input x: f32[N,3,6,6]
    a: f32[N,8,6,6] = Conv(x, A: f32[8,3,3,3], Ab: f32[8], pads=[1,1,1,1])
    r = Relu(a)
    b: f32[N,5,6,6] = Conv(r, B: f32[5,8,1,1], Bb: f32[5])
    output b`,
  'A',
  (row) => 10 ** (row - 4)
)

const separable = uneven(
  model`
    input x: f32[N,3,6,6]
    a: f32[N,8,6,6] = Conv(x, A: f32[8,3,1,1], Ab: f32[8])
    r = Relu(a)
    c: f32[N,8,6,6] = Conv(r, C: f32[8,1,3,3], Cb: f32[8], group=8, pads=[1,1,1,1])
    s = Relu(c)
    b: f32[N,5,6,6] = Conv(s, B: f32[5,8,1,1], Bb: f32[5])
    output b`,
  'C',
  (row) => 4 ** (row - 3)
)

const relu6 = uneven(
  model`
    input x: f32[N,3,6,6]
    const lo: f32[] = 0
    const hi: f32[] = 6
    a: f32[N,8,6,6] = Conv(x, A: f32[8,3,3,3], Ab: f32[8], pads=[1,1,1,1])
    r = Clip(a, lo, hi)
    b: f32[N,5,6,6] = Conv(r, B: f32[5,8,1,1], Bb: f32[5])
    output b`,
  'A',
  (row) => 3 ** (row - 4)
)

async function same(a: Model, b: Model, seed = 1): Promise<number> {
  const feeds = randomFeeds(a, seed)
  return difference(await outputsOf(a, feeds), await outputsOf(b, feeds))
}

describe('equalize', () => {
  it('takes weights of more elements than a Map can have keys', async () => {
    const width = 4100
    const filled = (shape: readonly number[], value: number): Tensor => {
      const data = new Float32Array(elementCount(shape)).fill(value)
      return { dtype: 'float32', shape, bytes: new Uint8Array(data.buffer) }
    }
    const large = edit(
      model`
        input x: f32[N,4100]
        a: f32[N,4100] = Gemm(x, A: f32[1,1])
        r = Relu(a)
        y: f32[N,2] = Gemm(r, B: f32[1,1])
        output y`,
      (d) => {
        for (const [id, shape, value] of [['A', [width, width], 4] as const, ['B', [width, 2], 1] as const])
          d.set({ id, type: 'tensor', dtype: 'float32', shape, data: filled(shape, value) })
      }
    )
    const made = await run(large)
    for (const node of made.graph.nodes.filter((n) => n.op === 'Gemm'))
      expect(toFloats(constant(made.graph, node.inputs[1]) as Tensor)[0]).toBeCloseTo(2, 5)
  })

  it('evens out two layers and computes the same', async () => {
    const made = await run(pair)
    expect(ratio(peaks(pair, 'a'))).toBeGreaterThan(1e5)
    expect(ratio(peaks(made, 'a'))).toBeLessThan(ratio(peaks(pair, 'a')) / 100)
    expect(await same(pair, made)).toBeLessThan(FLOAT)
    expect(made.graph.nodes.map((n) => n.op)).toEqual(['Conv', 'Relu', 'Conv'])
  })
  it('gives conv, depthwise and conv the geometric mean of their sizes', async () => {
    const made = await run(separable)
    const columns = (m: Model): number[] => {
      const w = toFloats(constant(m.graph, m.graph.nodes.at(-1)?.inputs[1]) as never)
      return Array.from({ length: 8 }, (_, c) =>
        Math.max(...[0, 1, 2, 3, 4].map((o) => Math.abs(w[o * 8 + c] as number)))
      )
    }
    const [r1, r2, r3] = [peaks(separable, 'a'), peaks(separable, 'c'), columns(separable)]
    const [s1, s2, s3] = [peaks(made, 'a'), peaks(made, 'c'), columns(made)]
    for (let c = 0; c < 8; c++) {
      const mean = Math.cbrt((r1[c] as number) * (r2[c] as number) * (r3[c] as number))
      for (const s of [s1, s2, s3]) expect(Math.abs((s[c] as number) / mean - 1)).toBeLessThan(EVEN)
    }
    expect(await same(separable, made)).toBeLessThan(FLOAT)
  })
  it('keeps the bound of a Clip: per channel without data, untouched with data', async () => {
    const exact = await run(relu6)
    expect(exact.graph.nodes.map((n) => n.op)).toEqual(['Conv', 'Relu', 'Min', 'Conv'])
    expect(await same(relu6, exact)).toBeLessThan(FLOAT)
    const kept = await run(relu6, {}, withData(relu6))
    expect(kept.graph.nodes.map((n) => n.op)).toEqual(['Conv', 'Clip', 'Conv'])
    expect(kept).not.toBe(relu6)
    const data = dataFor(relu6)
    for await (const { inputs } of data.batches({ batch: 16 }))
      expect(difference(await outputsOf(relu6, inputs), await outputsOf(kept, inputs))).toBeLessThan(FLOAT)
    const open = await run(relu6, { clip: 'relu' })
    expect(open.graph.nodes.map((n) => n.op)).toEqual(['Conv', 'Relu', 'Conv'])
  })
  it('moves a bias that keeps a channel above 0 into the next layer', async () => {
    const high = edit(pair, (d) => {
      const v = d.value('Ab')
      if (v) d.set({ ...v, data: tensor('float32', [8], [0, 0, 0, 0, 0, 60, 0, 900]) })
    })
    const made = await run(high, {}, withData(high))
    const bias = toFloats(constant(made.graph, made.graph.nodes[0]?.inputs[2]) as never)
    const plain = await run(high, { absorb: false }, withData(high))
    const before = toFloats(constant(plain.graph, plain.graph.nodes[0]?.inputs[2]) as never)
    expect(bias[5]).toBeLessThan(0.7 * (before[5] as number))
    for await (const { inputs } of dataFor(high).batches({ batch: 16 }))
      expect(difference(await outputsOf(high, inputs), await outputsOf(made, inputs))).toBeLessThan(FLOAT)
  })
  it('works through matrices', async () => {
    const m = uneven(
      model`
        input x: f32[N,6]
        a: f32[N,8] = Gemm(x, A: f32[8,6], Ab: f32[8], transB=1)
        r = Relu(a)
        b: f32[N,5] = Gemm(r, B: f32[8,5], Bb: f32[5])
        output b`,
      'A',
      (row) => 10 ** (row - 4)
    )
    const made = await run(m)
    expect(ratio(peaks(made, 'a'))).toBeLessThan(ratio(peaks(m, 'a')) / 100)
    expect(await same(m, made)).toBeLessThan(FLOAT)
  })
  it('says why a layer has no partner', async () => {
    const m = model`
      input x: f32[N,4,6,6]
      a: f32[N,4,6,6] = Conv(x, A: f32[4,4,1,1])
      s = Sigmoid(a)
      b: f32[N,4,6,6] = Conv(s, B: f32[4,4,1,1])
      y = Add(b, s)
      c: f32[N,4,6,6] = Conv(y, C: f32[4,4,1,1])
      output c`
    const ctx = testContext()
    expect(await run(m, {}, ctx)).toBe(m)
    expect(ctx.refusals.map((r) => r.reason)).toEqual([
      'Sigmoid follows, which a factor does not pass',
      'Add follows, which a factor does not pass',
      'its output is an output of the graph'
    ])
    const skipping = testContext()
    expect(await run(relu6, { clip: 'skip' }, skipping)).toBe(relu6)
    expect(skipping.refusals.map((r) => r.reason)).toContain('a Clip follows')
  })
  it.each([
    ['A', 'its weight is stored as palette'],
    ['C', 'MatMul_2 follows, and its weight is stored as palette']
  ])('leaves pairs of which the weight %s holds few values', async (id, reason) => {
    const m = edit(
      model`
      input x: f32[N,8]
      a = MatMul(x, A: f32[8,16])
      r = Relu(a)
      y = MatMul(r, C: f32[16,4])
      output y`,
      (d) => {
        const v = d.value(id)
        if (v?.data)
          d.set({ ...v, data: tensor('float32', v.data.shape, toFloats(v.data).map(Math.sign)), form: 'palette' })
      }
    )
    const ctx = testContext()
    expect(await run(m, {}, ctx)).toBe(m)
    expect(ctx.refusals.map((r) => r.reason)).toContain(reason)
  })

  it('gives the very same model back when it is even already', async () => {
    const made = await run(separable)
    expect(await run(made)).toBe(made)
    const none = model`
      input x: f32[N,4]
      y = Relu(x)
      output y`
    expect(await run(none)).toBe(none)
  })
})
