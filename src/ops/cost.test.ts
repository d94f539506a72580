import { expect, it } from 'vitest'
import { model } from '../ir/text.ts'
import { costOf } from './cost.ts'

it('counts one sample of a symbolic batch, by node', () => {
  const m = model`
    input x: f32[N,3,8,8]
    y = Conv(x, W: f32[4,3,3,3], pads=[1,1,1,1])
    r = Relu(y)
    f = Flatten(r)
    z = Gemm(f, V: f32[256,10])
    output z`
  const { total, byNode } = costOf(m)
  const conv = 4 * 8 * 8 * 3 * 9
  expect([...byNode.values()]).toEqual([conv, 0, 0, 2560])
  expect([...byNode.keys()]).toEqual(m.graph.nodes)
  expect(total).toBe(conv + 2560)
})

it('counts an unnamed batch as one sample too', () => {
  const m = model`
    input x: f32[?,16]
    y = MatMul(x, W: f32[16,4])
    output y`
  expect(costOf(m).total).toBe(64)
})

it('is unknown, never smaller, where a part is', () => {
  const m = model`
    input x: f32[N,S,16]
    y = MatMul(x, W: f32[16,4])
    z = custom:Thing(y)
    output z`
  expect(costOf(m).total).toBeUndefined()
  expect([...costOf(m).byNode.values()]).toEqual([undefined, undefined])
})

it('counts the heaviest of branches', () => {
  const m = model`
    input x: f32[N,4]
    input c: bool[]
    const W: f32[4,1] = 1, 2, 3, 4
    a = If(c, then_branch={ t = Relu(x); output t }, else_branch={ u = Abs(x); output u })
    b = If(c, then_branch={ v = MatMul(a, W); output v }, else_branch={ w = MatMul(a, W); output w })
    output b`
  const { byNode } = costOf(m)
  expect(m.graph.nodes.map((n) => byNode.get(n))).toEqual([0, 0])
  expect(costOf(m).total).toBe(4)
  // What is counted by node adds up to the total: one branch counts.
  expect([...byNode.values()].filter((macs) => macs === 4)).toHaveLength(1)
})

it('counts at given shapes of inputs, and as without them where those contradict the graph', () => {
  const m = model`
    input x: f32[?,1,?]
    y = Conv(x, w: f32[2,1,3]{1, 2, 3, 4, 5, 6})
    output y`
  expect(costOf(m).total).toBeUndefined()
  expect(costOf(m, { x: [1, 1, 10] }).total).toBe(8 * 2 * 3)
  expect(costOf(m, { x: [1, 2, 10] }).total).toBeUndefined()
})

it('leaves branches out that contradict themselves at the sizes that are run', () => {
  const m = model`
    input x: f32[N,S]
    input c: bool[]
    const eight: i64[2] = -1, 8
    const W: f32[8,2]
    const V: f32[6,2]
    y = If(c, then_branch={ r = Reshape(x, eight); v = MatMul(r, W); output v }, else_branch={ w = MatMul(x, V); output w })
    output y`
  expect(costOf(m, { x: [1, 16] }).total).toBe(2 * 8 * 2)
  expect(costOf(m, { x: [1, 6] }).total).toBe(6 * 2)
  for (const x of [
    [1, 16],
    [1, 6]
  ]) {
    const { total, byNode } = costOf(m, { x })
    expect([...byNode.values()].reduce((sum: number, macs) => sum + (macs ?? Number.NaN), 0)).toBe(total)
  }
})
