import { describe, expect, it } from 'vitest'
import { difference, outputsOf, randomFeeds, testContext } from '../../../test/compare.ts'
import { check } from '../../ir/check.ts'
import { edit } from '../../ir/edit.ts'
import { tensor, toNumbers } from '../../ir/tensor.ts'
import { parse } from '../../ir/text.ts'
import type { Model } from '../../types.ts'
import { fuse } from './index.ts'

/** float32 sums in another order: a few units in the last place of the largest value. */
const FLOAT32_FUSE = 5e-6
/** float16 weights are rounded once more. */
const FLOAT16_FUSE = 4e-3

async function fused(text: string): Promise<{ before: Model; after: Model; reasons: string[]; ops: string }> {
  const ctx = testContext()
  const before = parse(text)
  const after = check(await fuse.run(before, {}, ctx))
  const reasons = ctx.refusals.map((r) => r.reason)
  return { before, after, reasons, ops: after.graph.nodes.map((n) => n.op).join(' ') }
}

/** Fires, keeps the outputs within the tolerance, and has nothing to do a second time. */
async function expectFused(text: string, ops: string, tolerance = FLOAT32_FUSE): Promise<Model> {
  const { before, after, ops: made, reasons } = await fused(text)
  expect([made, ...reasons]).toEqual([ops])
  const feeds = randomFeeds(before, 7)
  expect(difference(await outputsOf(before, feeds), await outputsOf(after, feeds))).toBeLessThanOrEqual(tolerance)
  expect(await fuse.run(after, {}, testContext())).toBe(after)
  expect(after.graph.outputs).toEqual(before.graph.outputs)
  return after
}

async function expectKept(text: string, reason: string | undefined): Promise<void> {
  const { before, after, reasons } = await fused(text)
  expect(after).toBe(before)
  expect(reasons).toEqual(reason === undefined ? [] : [expect.stringContaining(reason)])
}

const norm = (c: number): string => `
  const g: f32[${c}] = ${Array.from({ length: c }, (_, i) => (i % 2 ? -0.7 : 1.3))}
  const b: f32[${c}] = ${Array.from({ length: c }, (_, i) => i / 3)}
  const m: f32[${c}] = ${Array.from({ length: c }, (_, i) => 0.5 - i)}
  const v: f32[${c}] = ${Array.from({ length: c }, (_, i) => 0.2 + i)}`

describe('BatchNormalization', () => {
  it('goes into Conv, with and without a bias', async () => {
    await expectFused(
      `input x: f32[N,3,8,8]${norm(4)}
       y = Conv(x, W: f32[4,3,3,3], pads=[1,1,1,1])
       z = BatchNormalization(y, g, b, m, v, epsilon=0.001)
       output z`,
      'Conv'
    )
    await expectFused(
      `input x: f32[N,4,8,8]${norm(4)}
       y = Conv(x, W: f32[4,2,3,3], B: f32[4], group=2)
       n = BatchNormalization(y, g, b, m, v)
       z = Relu(n)
       output z`,
      'Conv Relu'
    )
  })
  it('goes into ConvTranspose with groups', async () => {
    await expectFused(
      `input x: f32[1,6,5,5]${norm(8)}
       y = ConvTranspose(x, W: f32[6,4,3,3], B: f32[8], group=2, strides=[2,2])
       z = BatchNormalization(y, g, b, m, v)
       output z`,
      'ConvTranspose'
    )
  })
  it('goes into Gemm with its factors, and makes a MatMul one', async () => {
    const after = await expectFused(
      `input x: f32[N,5]${norm(4)}
       y = Gemm(x, W: f32[4,5], B: f32[4], alpha=0.5, beta=2.0, transB=1)
       z = BatchNormalization(y, g, b, m, v)
       output z`,
      'Gemm'
    )
    expect(Object.keys(after.graph.nodes[0]?.attrs ?? {})).toEqual(['alpha', 'transB'])
    await expectFused(
      `input x: f32[N,5]${norm(4)}
       y = MatMul(x, W: f32[5,4])
       z = BatchNormalization(y, g, b, m, v)
       output z`,
      'Gemm'
    )
  })
  it('keeps the type of a float16 weight', async () => {
    const after = await expectFused(
      `input x: f32[1,3,6,6]${norm(4).replaceAll('f32', 'f16')}
       h = Cast(x, to=10)
       y = Conv(h, W: f16[4,3,3,3])
       n = BatchNormalization(y, g, b, m, v)
       z = Cast(n, to=1)
       output z`,
      'Cast Conv Cast',
      FLOAT16_FUSE
    )
    const weight = after.graph.values.get(after.graph.nodes[1]?.inputs[1] ?? '')
    expect(weight?.dtype).toBe('float16')
  })
  it('computes what the algebra says', async () => {
    const { after } = await fused(`input x: f32[1,1,2,2]
      const W: f32[1,1,1,1] = 3
      const B: f32[1] = 0.5
      const g: f32[1] = 2
      const b: f32[1] = 10
      const m: f32[1] = 1
      const v: f32[1] = 3
      y = Conv(x, W, B)
      z = BatchNormalization(y, g, b, m, v, epsilon=1.0)
      output z`)
    const [, w, bias] = after.graph.nodes[0]?.inputs ?? []
    const numbers = (id: string | null | undefined) =>
      Array.from(toNumbers(after.graph.values.get(id ?? '')?.data ?? tensor('float32', [0], [])))
    expect([numbers(w), numbers(bias)]).toEqual([[3], [9.5]])
  })
  it('stays, with the reason, where it cannot go', async () => {
    const conv = `input x: f32[1,3,8,8]${norm(4)}\n y = Conv(x, W: f32[4,3,3,3])`
    await expectKept(`${conv}\n z = BatchNormalization(y, g, b, m, v)\n output z, y`, 'is an output of the graph')
    await expectKept(`${conv}\n z = BatchNormalization(y, g, b, m, v)\n r = Relu(y)\n output z, r`, 'is also used by 1')
    await expectKept(
      `${conv}\n z, mean, var = BatchNormalization(y, g, b, m, v, training_mode=1)\n output z, mean, var`,
      'training mode'
    )
    await expectKept(
      `input x: f32[1,3,8,8]\n input W: f32[4,3,3,3]${norm(4)}\n y = Conv(x, W)
       z = BatchNormalization(y, g, b, m, v)\n output z`,
      'is not constant'
    )
    await expectKept(
      `input x: f32[1,64,8,8]${norm(8)}\n y = Conv(x, W: f32[8,64,6,6])\n z = BatchNormalization(y, g, b, m, v)
       r = Conv(x, W)\n output z, r`,
      'shared with 1 other'
    )
    await expectKept(
      `input x: f32[1,1,2,2]\n const W: f32[1,1,1,1] = 3e38\n const s: f32[1,1,1] = 1e9\n y = Conv(x, W)
       z = Mul(y, s)\n output z`,
      'does not fit float32'
    )
  })
  it('copies a shared weight only where that takes fewer bytes, and keeps the mask of a pruned one', async () => {
    await expectKept(
      `input x: f32[1,3,8,8]${norm(4)}\n y = Conv(x, W: f32[4,3,3,3])\n z = BatchNormalization(y, g, b, m, v)
       r = Conv(x, W)\n output z, r`,
      'a second copy takes 432 bytes'
    )
    await expectKept(
      `input x: f32[1,40]\n const s: f32[40]\n y = MatMul(x, W: f32[40,40])\n z = Mul(y, s)
       r = MatMul(x, W)\n output z, r`,
      'a second copy takes 6400 bytes'
    )
    await expectFused(
      `input x: f32[1,3,8,8]${norm(4)}\n y = Conv(x, W: f32[4,3,1,1])\n z = BatchNormalization(y, g, b, m, v)
       r = Conv(x, W)\n output z, r`,
      'Conv Conv'
    )
    const pruned = edit(
      parse(`input x: f32[1,3,8,8]${norm(4)}\n y = Conv(x, W: f32[4,3,3,3])
             z = BatchNormalization(y, g, b, m, v)\n output z`),
      (d) => {
        const w = d.value('W')
        if (w) d.set({ ...w, sparse: 'any' })
      }
    )
    const after = await fuse.run(pruned, {}, testContext())
    expect(after.graph.values.get(after.graph.nodes[0]?.inputs[1] ?? '')?.sparse).toBe('any')
  })
})

describe('scales and shifts', () => {
  it('go into the node before', async () => {
    await expectFused(
      `input x: f32[N,3,8,8]
       a = Conv(x, W: f32[4,3,3,3], auto_pad="SAME_UPPER")
       b = Add(a, p: f32[4,1,1])
       c = Mul(s: f32[1,4,1,1], b)
       d = Sub(q: f32[], c)
       e = Div(d, t: f32[1]{4})
       output e`,
      'Conv'
    )
    await expectFused(`input x: f32[N,3]\n a = MatMul(x, W: f32[3,4])\n b = Sub(a, p: f32[4])\n output b`, 'Gemm')
    await expectFused(`input x: f32[N,2,3]\n a = MatMul(x, W: f32[3,4])\n b = Mul(a, p: f32[4])\n output b`, 'MatMul')
  })
  it('go into the node after, a shift only where nothing is padded', async () => {
    await expectFused(
      `input x: f32[N,3,8,8]
       a = Sub(x, m: f32[3,1,1])
       b = Div(a, s: f32[3,1,1]{2, 3, 4})
       y = Conv(b, W: f32[6,1,3,3], B: f32[6], group=3)
       output y`,
      'Conv'
    )
    await expectFused(
      `input x: f32[N,5]\n a = Add(x, m: f32[5])\n y = Gemm(a, W: f32[5,2], alpha=0.5)\n output y`,
      'Gemm'
    )
    await expectFused(
      `input x: f32[N,3,8,8]\n a = Mul(x, m: f32[])\n y = Conv(a, W: f32[2,3,3,3], pads=[1,1,1,1])\n output y`,
      'Conv'
    )
    await expectKept(
      `input x: f32[N,3,8,8]\n a = Sub(x, m: f32[3,1,1])\n y = Conv(a, W: f32[2,3,3,3], pads=[1,1,1,1])\n output y`,
      'behind padding'
    )
  })
  it('stay where they are not per channel', async () => {
    await expectKept(
      `input x: f32[N,3,8,4]\n a = Conv(x, W: f32[4,3,1,1])\n b = Add(a, p: f32[4])\n output b`,
      undefined
    )
    await expectKept(`input x: f32[N,3,8,8]\n a = Conv(x, W: f32[3,3,1,1])\n b = Add(a, x)\n output b`, undefined)
    await expectKept(`input x: f32[3]\n a = MatMul(x, W: f32[3,4])\n b = Mul(a, p: f32[2,4])\n output b`, undefined)
  })
})

describe('MatMul + Add', () => {
  it('is Gemm where all are matrices', async () => {
    await expectFused(
      `input x: f32[N,3]\n input w: f32[3,4]\n input c: f32[4]\n a = MatMul(x, w)\n b = Add(c, a)\n output b`,
      'Gemm'
    )
    await expectFused(`input x: f32[2,3]\n a = MatMul(x, W: f32[3,4])\n b = Add(a, c: f32[2,1])\n output b`, 'Gemm')
  })
  it('stays for batches, for integers, for quantized weights and where the sum is wider', async () => {
    await expectKept(`input x: f32[N,2,3]\n a = MatMul(x, W: f32[3,4])\n b = Add(a, c: f32[4])\n output b`, undefined)
    await expectKept(`input x: i32[2,3]\n a = MatMul(x, W: i32[3,4])\n b = Add(a, c: i32[4])\n output b`, undefined)
    await expectKept(`input x: f32[1,3]\n a = MatMul(x, W: f32[3,4])\n b = Add(a, c: f32[2,4])\n output b`, undefined)
    await expectKept(
      `input x: f32[N,3]\n const s: f32[] = 0.1\n w = DequantizeLinear(W: i8[3,4], s)\n a = MatMul(x, w)
       b = Add(a, c: f32[4])\n output b`,
      undefined
    )
    await expectKept(
      `input x: f32[N,3]\n input c: f32[4]\n a = MatMul(x, W: f32[3,4])\n b = Add(a, c)\n output b, a`,
      'is an output of the graph'
    )
  })
})

describe('Pad', () => {
  it('goes into Conv and pools', async () => {
    const after = await expectFused(
      `input x: f32[N,3,8,8]\n const p: i64[8] = 0,0,0,1,0,0,1,1
       a = Pad(x, p)\n y = Conv(a, W: f32[4,3,3,3], strides=[2,2], pads=[0,0,1,0])\n output y`,
      'Conv'
    )
    expect(after.graph.nodes[0]?.attrs.pads).toEqual({ kind: 'ints', value: [0, 1, 2, 1] })
    await expectFused(
      `input x: f32[N,3,8,8]\n const p: i64[4] = 1,1,1,0\n const z: f32[] = 0\n const axes: i64[2] = -2,-1
       a = Pad(x, p, z, axes)\n y = AveragePool(a, kernel_shape=[3,3])\n output y`,
      'AveragePool'
    )
    await expectFused(
      `input x: f32[N,3,8,8]\n const p: i64[8] = 0,0,1,1,0,0,1,1\n r = Relu(x)
       a = Pad(r, p)\n y = MaxPool(a, kernel_shape=[3,3], strides=[2,2])\n output y`,
      'Relu MaxPool'
    )
  })
  it('stays, with the reason', async () => {
    const pad = `input x: f32[N,3,8,8]\n const p: i64[8] = 0,0,1,1,0,0,1,1\n const one: f32[] = 1\n`
    await expectKept(`${pad} a = Pad(x, p, one)\n y = Conv(a, W: f32[4,3,3,3])\n output y`, 'fills in 1')
    await expectKept(`${pad} a = Pad(x, p, mode="reflect")\n y = Conv(a, W: f32[4,3,3,3])\n output y`, 'mode reflect')
    await expectKept(`${pad} a = Pad(x, p)\n y = MaxPool(a, kernel_shape=[3,3])\n output y`, 'may be negative')
    await expectKept(
      `${pad} a = Pad(x, p)\n y = Conv(a, W: f32[4,3,3,3], auto_pad="SAME_UPPER")\n output y`,
      'pads by SAME_UPPER'
    )
    await expectKept(
      `${pad} a = Pad(x, p)\n y = AveragePool(a, kernel_shape=[3,3], pads=[1,1,1,1])\n output y`,
      'does not count'
    )
    await expectKept(
      `input x: f32[N,3,8,8]\n const p: i64[8] = 0,1,0,0,0,0,0,0\n a = Pad(x, p)\n y = Conv(a, W: f32[4,4,3,3])\n output y`,
      'samples or channels'
    )
  })
})

describe('data movement', () => {
  it('joins transposes, and drops those that undo each other', async () => {
    const after = await expectFused(
      `input x: f32[2,3,4]\n a = Transpose(x, perm=[1,2,0])\n b = Transpose(a, perm=[1,0,2])\n output b`,
      'Transpose'
    )
    expect(after.graph.nodes[0]?.attrs.perm).toEqual({ kind: 'ints', value: [2, 1, 0] })
    await expectFused(
      `input x: f32[2,3,4]\n r = Relu(x)\n a = Transpose(r, perm=[1,2,0])\n b = Transpose(a, perm=[2,0,1])\n output b`,
      'Relu'
    )
  })
  it('joins reshapes, keeping a symbolic batch', async () => {
    const after = await expectFused(
      `input x: f32[N,4,1,1]\n const s: i64[2] = 0, -1\n const ax: i64[1] = 2
       a = Reshape(x, s)\n b = Unsqueeze(a, ax)\n c = Flatten(b)\n output c`,
      'Reshape'
    )
    const shape = after.graph.values.get(after.graph.nodes[0]?.inputs[1] ?? '')?.data
    expect(shape && Array.from(toNumbers(shape))).toEqual([0, 4])
    await expectFused(
      `input x: f32[N,4]\n const ax: i64[1] = 1\n r = Relu(x)\n a = Unsqueeze(r, ax)\n b = Squeeze(a, ax)\n output b`,
      'Relu'
    )
  })
  it('joins slices along different axes only', async () => {
    const slices = (axis: number) => `input x: f32[N,3,8,8]
       const zero: i64[1] = 0\n const end: i64[1] = 9223372036854775807\n const two: i64[1] = 2
       const h: i64[1] = 2\n const w: i64[1] = ${axis}
       a = Slice(x, zero, end, h, two)\n b = Slice(a, two, end, w, two)\n output b`
    await expectFused(slices(-1), 'Slice', 0)
    await expectKept(slices(-2), undefined)
  })
  it('keeps a reshape that others read', async () => {
    await expectKept(
      `input x: f32[N,4]\n const s: i64[2] = -1, 2\n a = Reshape(x, s)\n b = Flatten(a, axis=0)\n output a, b`,
      'is an output of the graph'
    )
  })
})

describe('clamps', () => {
  const bounds = 'const lo: f32[] = -1\n const zero: f32[] = 0\n const six: f32[] = 6\n const four: f32[] = 4\n'
  it('become one', async () => {
    await expectFused(`input x: f32[N,9]\n a = Relu(x)\n b = Relu(a)\n output b`, 'Relu', 0)
    await expectFused(`${bounds} input x: f32[N,9]\n a = Clip(x, zero, six)\n b = Relu(a)\n output b`, 'Clip', 0)
    await expectFused(`${bounds} input x: f32[N,9]\n a = Relu(x)\n b = Clip(a, lo)\n output b`, 'Relu', 0)
    await expectFused(`${bounds} input x: f32[N,9]\n a = Clip(x, zero)\n output a`, 'Relu', 0)
    const after = await expectFused(
      `${bounds} input x: f32[N,9]\n a = Relu(x)\n b = Clip(a, lo, six)\n output b`,
      'Clip',
      0
    )
    const [, low, high] = after.graph.nodes[0]?.inputs ?? []
    const at = (id: string | null | undefined) =>
      toNumbers(after.graph.values.get(id ?? '')?.data ?? tensor('float32', [0], []))[0]
    expect([at(low), at(high)]).toEqual([0, 6])
    await expectFused(
      `${bounds} input x: f32[N,9]\n a = Clip(x, lo, four)\n b = Clip(a, zero, six)\n output b`,
      'Clip',
      0
    )
  })
  it('stay where the wider one is used too, or a bound is computed', async () => {
    await expectKept(
      `${bounds} input x: f32[N,9]\n a = Relu(x)\n b = Clip(a, zero, six)\n output a, b`,
      'is an output of the graph'
    )
    await expectKept(`input x: f32[N,9]\n input lo: f32[]\n a = Clip(x, lo)\n b = Relu(a)\n output b`, undefined)
  })
})

it('works inside subgraphs', async () => {
  const { after } = await fused(`input c: bool[]\n input x: f32[1,3,8,8]
    r = If(c, then_branch={
      const s: f32[4,1,1] = 1,2,3,4
      y = Conv(x, W: f32[4,3,3,3])
      z = Mul(y, s)
      output z }, else_branch={
      e = Conv(x, V: f32[4,3,3,3])
      output e })
    output r`)
  const branch = after.graph.nodes[0]?.attrs.then_branch
  expect(branch?.kind === 'graph' && branch.value.nodes.map((n) => n.op)).toEqual(['Conv'])
})
