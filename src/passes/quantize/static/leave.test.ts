/** What stays float for its values: infinite by constants, or too few codes under a scale it would share. */
import { describe, expect, it } from 'vitest'
import { cpuTarget, firstOutputs, noise, normalData, outputsOf, testContext } from '../../../../test/compare.ts'
import { reads } from '../../../ir/graph.ts'
import { tensor, toFloats } from '../../../ir/tensor.ts'
import { model, parse } from '../../../ir/text.ts'
import { nodeRunner } from '../../../node/runner.ts'
import type { Dataset, Model, Node, Tensor } from '../../../types.ts'
import { parseOptions } from '../../pass.ts'
import { quantizeStatic } from './quantize-static.ts'

async function run(m: Model, data: Dataset, o: object = {}) {
  const ctx = { ...testContext(cpuTarget), data: { calibration: data } }
  const made = await quantizeStatic.run(m, parseOptions(quantizeStatic, o), ctx)
  const left = ctx.refusals.map((r) => r.op)
  const sqnr = async (): Promise<number> => -10 * Math.log10(await noise(m, made, data))
  return { made, ctx, left, sqnr }
}

/** 0 up to the diagonal, −∞ behind it. */
const causal = Array.from({ length: 16 }, (_, i) => (i % 4 > i / 4 ? '-Infinity' : '0')).join(', ')

const masked = (mask: string): Model => model`
  input x: f32[N,4,16]
  const neg: f32[] = -Infinity
  const zero: f32[] = 0
  const m: f32[4,4] = ${causal}
  const sh: i64[3] = 0, 4, 4
  q = MatMul(x, A: f32[16,16])
  k = Transpose(q, perm=[0,2,1])
  s = MatMul(q, k)
  ${mask}
  p = Softmax(ms, axis=-1)
  o = MatMul(p, q)
  y = MatMul(o, B: f32[16,16])
  output y`

describe('infinite by constants', () => {
  it.each([
    ['an Add', 'ms = Add(s, m)'],
    ['a Where', 'f = Equal(m, zero)\n  ms = Where(f, s, neg)'],
    ['moves behind', 'a = Add(s, m)\n  b = Reshape(a, sh)\n  ms = Identity(b)']
  ])('leaves the masked scores of %s in float and quantizes what is around', async (_, mask) => {
    const m = masked(mask)
    for (const calibrator of ['mse', 'minmax']) {
      const { made, ctx, sqnr } = await run(m, normalData(m, 48), { calibrator })
      expect(made).not.toBe(m)
      expect(ctx.refusals.map((r) => r.reason).join()).toContain('is infinite by a constant of the graph')
      expect(await sqnr()).toBeGreaterThan(25)
    }
  })
  it('refuses what the data bring in, beside a mask too', async () => {
    const m = masked('ms = Add(s, m)')
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const base = normalData(m, 8)
      const spoilt: Dataset = {
        ...base,
        batches: async function* (o) {
          for await (const b of base.batches(o)) {
            const x = b.inputs.x as ReturnType<typeof tensor>
            const values = new Float32Array(x.bytes.slice().buffer)
            values[3] = bad
            yield { ...b, inputs: { x: tensor('float32', x.shape, values) } }
          }
        }
      }
      for (const calibrator of ['mse', 'minmax'])
        await expect(run(m, spoilt, { calibrator })).rejects.toMatchObject({ code: 'E_DATA' })
    }
  })
})

describe('codes under one scale', () => {
  it.each([
    ['Concat', 'y = Concat(big, b, axis=1)'],
    ['Where', 'f = Greater(x, zero)\n  y = Where(f, big, b)'],
    ['Add', 'g = Add(b, a)\n  y = Add(far, g)']
  ])('leaves %s of values of very different ranges in float', async (op, last) => {
    const m = model`
      input x: f32[N,4,6,6]
      const k: f32[] = 1000
      const small: f32[] = 0.2
      const zero: f32[] = 0
      const far: f32[] = 0
      a = Conv(x, A: f32[4,4,3,3], pads=[1,1,1,1])
      b = Mul(a, small)
      big = Mul(a, k)
      ${last}
      output y`
    const { left, sqnr } = await run(m, normalData(m, 48))
    expect(left.includes(op)).toBe(op !== 'Add')
    expect(await sqnr()).toBeGreaterThan(30)
  })
  it('puts values of like ranges under one scale as before', async () => {
    const m = model`
      input x: f32[N,4,6,6]
      a = Conv(x, A: f32[4,4,3,3], pads=[1,1,1,1])
      b = Conv(x, B: f32[4,4,3,3], pads=[1,1,1,1])
      y = Concat(a, b, axis=1)
      output y`
    expect((await run(m, normalData(m, 48))).left).toEqual([])
  })
  it('leaves a sum in float beside which the other one vanishes', async () => {
    const m = model`
      input x: f32[N,4,6,6]
      const k: f32[] = 10000
      a = Conv(x, A: f32[4,4,3,3], pads=[1,1,1,1])
      b = Conv(x, B: f32[4,4,3,3], pads=[1,1,1,1])
      far = Mul(a, k)
      y = Add(far, b)
      output y`
    expect((await run(m, normalData(m, 48))).left).toContain('Add')
  })
})

it.each([
  ['Conv', 'a = Conv(x, A: f32[4,4,3,3], pads=[1,1,1,1])\n c = Conv(a, C: f32[6,4,1,1])', ['Conv']],
  [
    'Conv and a Transpose',
    'a = Conv(x, A: f32[4,4,3,3])\n b = Conv(a, C: f32[6,4,1,1])\n c = Transpose(b, perm=[0,2,3,1])',
    ['Conv']
  ],
  ['sum', 'a = Conv(x, A: f32[4,4,3,3])\n b = Conv(x, C: f32[4,4,3,3])\n c = Add(a, b)', []],
  ['Gemm', 'f = Flatten(x)\n a = Gemm(f, A: f32[144,64], B: f32[64])\n c = Gemm(a, C: f32[64,6], D: f32[6])', []],
  ['product', 'a = MatMul(x, A: f32[6,32])\n b = MatMul(a, C: f32[32,6])\n c = Add(b, B: f32[6])', []]
])(
  'leaves the scores of a last Sigmoid in float, so that as many as before are above 0.5: %s',
  async (_, layers, left) => {
    const m = model`
      input x: f32[N,4,6,6]
      ${layers}
      s = Sigmoid(c)
      output s`
    const above = (v: ArrayLike<number>): number => Array.from(v).filter((p) => p > 0.5).length
    const data = normalData(m, 192)
    const made = await run(m, data)
    expect(made.left).toEqual(left)
    const [was, is] = (await firstOutputs(m, made.made, data)).map((t) => above(toFloats(t)))
    expect(Math.abs((is as number) / (was as number) - 1)).toBeLessThan(0.01)
  }
)

it.each(['Transpose(b, perm=[0,2,3,1])', 'Reshape(b, sh)', 'Identity(b)'])(
  'gives int8 a model that runs where data movement ends it: %s',
  async (move) => {
    const m = model`
      input x: f32[N,4,6,6]
      const sh: i64[2] = 0, -1
      a = Conv(x, A: f32[4,4,3,3], pads=[1,1,1,1])
      b = Relu(a)
      y = ${move}
      output y`
    const { made, sqnr } = await run(m, normalData(m, 48), { activations: 'int8' })
    expect(made).not.toBe(m)
    expect(await sqnr()).toBeGreaterThan(30)
  }
)

describe('stacks of weights', () => {
  const experts = (pick: string): Model => model`
    input x: f32[N,24]
    const first: i64[] = 1
    const axes: i64[1] = 1
    const sh: i64[3] = 0, 24, 32
    r = MatMul(x, R: f32[24,4])
    t = ArgMax(r, axis=-1, keepdims=0)
    ${pick}
    u = Unsqueeze(x, axes)
    m = MatMul(u, g)
    y = Squeeze(m, axes)
    output y`
  it.each([
    ['Gather', 'g = Gather(W: f32[4,24,32], t, axis=0)'],
    ['Gather and Identity', 'h = Gather(W: f32[4,24,32], t, axis=0)\n    g = Identity(h)']
  ])('are integers where %s picks from them', async (_, pick) => {
    const m = experts(pick)
    const { made, left } = await run(m, normalData(m, 48))
    expect(left).not.toContain('Gather')
    const stack = [...made.graph.values.values()].filter((v) => v.data?.shape.length === 3)
    expect(stack.map((v) => v.dtype)).toEqual(['uint8'])
  })
  it('are listed with their bytes where they stay float', async () => {
    const m = experts('h = Gather(W: f32[4,6,128], t, axis=0)\n    g = Reshape(h, sh)')
    const { ctx } = await run(m, normalData(m, 48))
    expect(ctx.refusals.map((r) => r.reason).join()).toContain('W (12.3 kB)')
  })
})

describe('resampling of some axes', () => {
  it.each([
    ['sizes', 'x: f32[2,3,6,5]', 'r = Resize(c, _, _, s, axes=[2,3])\n  const s: i64[2] = 3, 9'],
    [
      'sizes of an open batch',
      'x: f32[N,3,6,5]',
      'r = Resize(c, _, _, s, axes=[-1,-2], mode="linear")\n  const s: i64[2] = 9, 3'
    ],
    ['scales', 'x: f32[N,3,6,5]', 'r = Resize(c, _, s, axes=[2,3])\n  const s: f32[2] = 0.5, 2'],
    ['scales of floats', 'x: f32[N,3,6,5]', 'e = Sin(c)\n  r = Resize(e, _, s, axes=[2,3])\n  const s: f32[2] = 0.5, 2']
  ])('between convolutions opens and keeps its numbers: %s', async (_, x, resize) => {
    const m = parse(`
  input ${x}
  c = Conv(x, A: f32[4,3,3,3], pads=[1,1,1,1])
  ${resize}
  y = Conv(r, B: f32[4,4,1,1])
  output y`)
    const data = normalData(m, 2)
    const { made } = await run(m, data)
    expect(made).not.toBe(m)
    let feeds: Readonly<Record<string, Tensor>> = {}
    for await (const { inputs } of data.batches({ batch: 2 })) feeds = inputs
    // Only a model that is optimised to the end has its transpositions moved.
    const session = await nodeRunner().open(made)
    const y = toFloats((await session.run(feeds))['y'] as Tensor)
    await session.close()
    const was = toFloats((await outputsOf(m, feeds))['y'] as Tensor)
    const error = Math.hypot(...was.map((v, i) => v - (y[i] ?? Number.NaN))) / Math.hypot(...was)
    expect(error).toBeLessThan(0.05)
  })
})

describe('values that a graph inside a node reads', () => {
  it('have their codes to the end of data movement: ONNX Runtime ends the process otherwise', async () => {
    const m = model`
      input x: f32[3,6,7,6]
      const s: i64[2] = 3, 252
      const a: i64[1] = 0
      const e: i64[1] = 21
      const i: i64[1] = 1
      const t: i64[3] = 3, 3, 7
      const c: bool[] = 1
      const g: f32[3] = 1, 2, 3
      y = Conv(x, W: f32[6,1,3,3], group=6, pads=[1,1,1,1])
      r = Reshape(y, s)
      p = Slice(r, a, e, i)
      q = Reshape(p, t)
      out = If(c, then_branch={ u = InstanceNormalization(q, g, g); output u }, else_branch={ v = Abs(q); output v })
      output out`
    const { made, sqnr } = await run(m, normalData(m, 3))
    const reader = made.graph.nodes.find((n) => n.op === 'If')
    expect(
      made.graph.nodes.some((n) => n.op === 'DequantizeLinear' && captured(reader).includes(n.outputs[0] ?? ''))
    ).toBe(true)
    expect(await sqnr()).toBeGreaterThan(25)
  })
})

const captured = (n: Node | undefined): readonly string[] => (n ? reads(n) : [])

describe('few values that are far larger than all others', () => {
  // The sums of the first token are a hundred times as large, as in many transformers.
  const block = model`
    input x: f32[N,256,16]
    r = MatMul(x, A: f32[16,16])
    h = MatMul(r, B: f32[16,16])
    k = Relu(h)
    c = MatMul(k, C: f32[16,16])
    s = Add(c, r)
    n = LayerNormalization(s, g: f32[16], b: f32[16])
    y = MatMul(n, D: f32[16,16])
    output y`
  const tokens = (size: number): Dataset => {
    const { batches, ...base } = normalData(block, 16)
    return {
      ...base,
      batches: async function* (o) {
        for await (const b of batches(o)) {
          const x = toFloats(b.inputs.x as Tensor).map((v, i) => (i % 4096 < 16 ? v * size : v))
          yield { ...b, inputs: { x: tensor('float32', [b.n, 256, 16], x) } }
        }
      }
    }
  }
  it('leave their sum in float', async () => {
    const { ctx, left } = await run(block, tokens(200), { calibrator: 'percentile', percentile: 100 })
    expect(left).toContain('Add')
    expect(ctx.refusals.map((r) => r.reason).join()).toMatch(/99 % of its values .* would keep \d+ of 256 codes/)
  })
  it('leave nothing in float where there are none', async () => {
    expect((await run(block, tokens(3))).left).not.toContain('Add')
  })
})
