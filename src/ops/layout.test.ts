import { describe, expect, it } from 'vitest'
import { difference, outputsOf, randomFeeds } from '../../test/compare.ts'
import { check } from '../ir/check.ts'
import { print } from '../ir/print.ts'
import { model } from '../ir/text.ts'
import type { Model } from '../types.ts'
import { moveTransposes } from './layout.ts'

const transposes = (m: Model): number => m.graph.nodes.filter((n) => n.op === 'Transpose').length

/** The moved model, whose numbers and ends are those of the one given. */
async function moved(m: Model): Promise<Model> {
  const made = check(moveTransposes(m))
  const feeds = randomFeeds(m, 3)
  expect(difference(await outputsOf(made, feeds), await outputsOf(m, feeds))).toBeLessThan(1e-5)
  expect(made.graph.outputs.map((id) => made.graph.values.get(id)?.shape)).toEqual(
    m.graph.outputs.map((id) => made.graph.values.get(id)?.shape)
  )
  expect(transposes(made)).toBeLessThanOrEqual(transposes(m))
  return made
}

describe('moveTransposes', () => {
  it('keeps new axes where they were put, though all that moves has size 1', async () => {
    const made = await moved(model`
      input x: f32[1,9]
      a = Unsqueeze(x, i: i64[1]{1})
      b = Transpose(a, perm=[0,2,1])
      c = Unsqueeze(b, j: i64[1]{-3})
      d = Transpose(c, perm=[0,3,1,2])
      y = Conv(d, w: f32[4,1,1,5])
      output y`)
    expect(transposes(made)).toBe(0)
  })

  it('leaves none inside a network that was written channels last', async () => {
    const made = await moved(model`
      input x: f32[1,8,8,3]
      a = Transpose(x, perm=[0,3,1,2])
      b = Conv(a, w: f32[4,3,3,3], pads=[1,1,1,1])
      c = Transpose(b, perm=[0,2,3,1])
      d = Add(c, k: f32[4]{1,2,3,4})
      e = PRelu(d, s: f32[1,1,4]{0.1,0.2,0.3,0.4})
      f = Transpose(e, perm=[0,3,1,2])
      g = Conv(f, v: f32[4,4,1,1])
      h = Transpose(g, perm=[0,2,3,1])
      i = Add(h, e)
      j = Concat(i, e, axis=3)
      l = Pad(j, p: i64[8]{0,1,1,0,0,1,1,0})
      m = Transpose(l, perm=[0,3,1,2])
      n = MaxPool(m, kernel_shape=[2,2], strides=[2,2])
      o = Transpose(n, perm=[0,2,3,1])
      q = ReduceMean(o, ax: i64[2]{1,2}, keepdims=0)
      y = Softmax(q)
      output y`)
    expect(print(made)).toMatchInlineSnapshot(`
      "opset 21
      input x: f32[1,8,8,3]
      const k: f32[1,4,1,1] = 1, 2, 3, 4
      const s: f32[4,1,1] = 0.1, 0.2, 0.3, 0.4
      const p: i64[8] = 0, 0, 1, 1, 0, 0, 1, 1
      const ax: i64[2] = 2, 3
      a: f32[1,3,8,8] = Transpose(x, perm=[0,3,1,2])
      b: f32[1,4,8,8] = Conv(a, w: f32[4,3,3,3], pads=[1,1,1,1])
      d: f32[1,4,8,8] = Add(b, k)
      e: f32[1,4,8,8] = PRelu(d, s)
      g: f32[1,4,8,8] = Conv(e, v: f32[4,4,1,1])
      i: f32[1,4,8,8] = Add(g, e)
      j: f32[1,8,8,8] = Concat(i, e, axis=1)
      l: f32[1,8,10,10] = Pad(j, p)
      n: f32[1,8,5,5] = MaxPool(l, kernel_shape=[2,2], strides=[2,2])
      q: f32[1,8] = ReduceMean(n, ax, keepdims=0)
      y: f32[1,8] = Softmax(q)
      output y
      "
    `)
  })

  it('takes scales for each channel along', async () => {
    const made = await moved(model`
      input x: f32[1,4,4,3]
      q = QuantizeLinear(x, s: f32[3]{0.1,0.2,0.3}, z: i8[3]{1,2,3}, axis=3)
      d = DequantizeLinear(q, s, z, axis=3)
      a = Transpose(d, perm=[0,3,1,2])
      b = Conv(a, w: f32[4,3,1,1])
      c = Transpose(b, perm=[0,2,3,1])
      k = DequantizeLinear(kc: i8[4]{1,2,3,4}, ks: f32[]{0.5})
      e = Add(c, k)
      f = Transpose(e, perm=[0,3,1,2])
      g = Conv(f, v: f32[4,4,1,1])
      output g`)
    expect(transposes(made)).toBe(1)
  })

  it('moves rows of a weight in place of what a Reshape reads', async () => {
    const made = await moved(model`
      input x: f32[1,3,4,4]
      a = Conv(x, w: f32[4,3,1,1])
      b = Transpose(a, perm=[0,2,3,1])
      q = QuantizeLinear(b, s: f32[]{0.1}, z: i8[]{1})
      d = DequantizeLinear(q, s, z)
      e = Reshape(d, t: i64[2]{-1,64})
      f = Relu(e)
      y = Gemm(f, v: f32[64,5])
      output y`)
    expect(transposes(made)).toBe(0)
    const coded = await moved(model`
      input x: f32[1,3,4,4]
      a = Conv(x, w: f32[4,3,1,1])
      b = Transpose(a, perm=[0,2,3,1])
      e = Flatten(b)
      k = DequantizeLinear(c: i4[5,64], s: f32[5]{0.1,0.2,0.3,0.4,0.5}, axis=0)
      y = Gemm(e, k, transB=1)
      output y`)
    expect(transposes(coded)).toBe(0)
  })

  it('makes none where a Reshape needs the order, and returns the very same model', async () => {
    const heads = model`
      input x: f32[1,3,4,4]
      a = Conv(x, w: f32[8,3,1,1])
      r = Relu(a)
      b = Transpose(r, perm=[0,2,3,1])
      y = Reshape(b, t: i64[3]{1,-1,4})
      output y`
    expect(await moved(heads)).toBe(heads)
    const plain = model`
      input x: f32[1,3,4,4]
      a = Conv(x, w: f32[8,3,1,1])
      y = GlobalAveragePool(a)
      output y`
    expect(moveTransposes(plain)).toBe(plain)
  })

  it('joins Transposes in a row, keeps outputs in their order and values that several read', async () => {
    const made = await moved(model`
      input x: f32[2,3,4]
      a = Transpose(x, perm=[2,0,1])
      b = Transpose(a, perm=[2,0,1])
      c = Relu(b)
      d = Transpose(c, perm=[2,0,1])
      e = Neg(c)
      output d, e`)
    expect(transposes(made)).toBe(1)
    const back = await moved(model`
      input x: f32[2,3,4]
      a = Transpose(x, perm=[2,0,1])
      b = Transpose(a, perm=[1,2,0])
      y = Relu(b)
      z = Sigmoid(a)
      output y, z, a`)
    expect(transposes(back)).toBe(1)
  })
})
