/** Patterns that ONNX Runtime joins by itself are still joined behind `fuse`: counted in its optimised graph. */
import { describe, expect, it } from 'vitest'
import { difference, optimizedOf, outputsOf, randomFeeds, testContext } from '../../../test/compare.ts'
import { parse } from '../../ir/text.ts'
import { nodeRunner } from '../../node/runner.ts'
import type { Model } from '../../types.ts'
import { fuse } from './index.ts'

/** float32 sums in another order: a few units in the last place of the largest value. */
const FLOAT32_FUSE = 5e-6

const runner = nodeRunner()

async function optimized(m: Model): Promise<readonly string[]> {
  const session = await runner.open(m, { keepOptimized: true, optimization: 'all' })
  const out = await optimizedOf(session)
  await session.close()
  return out.graph.nodes.map((n) => n.op).sort()
}

async function expectJoined(text: string, op: string, n: number): Promise<void> {
  const ctx = testContext()
  const before = parse(text)
  const after = await fuse.run(before, {}, ctx)
  expect((await optimized(after)).filter((o) => o === op).length).toBe(n)
  expect((await optimized(after)).length).toBeLessThanOrEqual((await optimized(before)).length)
  expect(ctx.refusals.map((r) => r.reason)).toContainEqual(
    expect.stringContaining('which runtimes compute in one kernel')
  )
  const feeds = randomFeeds(before, 3)
  expect(difference(await outputsOf(before, feeds), await outputsOf(after, feeds))).toBeLessThanOrEqual(FLOAT32_FUSE)
}

const gelu = (x: string, y: string): string => `
  ${y}d = Div(${x}, root)
  ${y}e = Erf(${y}d)
  ${y}s = Add(${y}e, one)
  ${y}m = Mul(${x}, ${y}s)
  ${y} = Mul(${y}m, half)`
const constants = `
  const root: f32[] = 1.4142135
  const one: f32[] = 1
  const half: f32[] = 0.5`

describe('spelled-out patterns stay whole', () => {
  it('Gelu with a bias before a product', () =>
    expectJoined(
      `input x: f32[N,T,8]
       ${constants}
       p = MatMul(x, W1: f32[8,16])
       b = Add(p, B1: f32[16])${gelu('b', 'g')}
       q = MatMul(g, W2: f32[16,8])
       y = Add(q, B2: f32[8])
       output y`,
      'BiasGelu',
      1
    ))

  it('Gelu between convolutions over time', () =>
    expectJoined(
      `input x: f32[1,4,32]
       ${constants}
       c = Conv(x, W1: f32[8,4,3], B1: f32[8], pads=[1,1])${gelu('c', 'g')}
       d = Conv(g, W2: f32[8,8,3], B2: f32[8], pads=[1,1])${gelu('d', 'h')}
       y = Conv(h, W3: f32[8,8,3], B3: f32[8], pads=[1,1])
       output y`,
      'Gelu',
      2
    ))

  it('LayerNorm before a product', () =>
    expectJoined(
      `input x: f32[6,8]
       const two: f32[] = 2
       const tiny: f32[] = 0.00001
       a = ReduceMean(x, last: i64[1]{-1})
       c = Sub(x, a)
       s = Pow(c, two)
       v = ReduceMean(s, last)
       w = Add(v, tiny)
       r = Sqrt(w)
       n = Div(c, r)
       m = Mul(n, G: f32[8])
       l = Add(m, B: f32[8])
       y = Gemm(l, W: f32[8,4], C: f32[4])
       output y`,
      'LayerNormalization',
      1
    ))

  it('RMSNorm by the inverse root before a product', () =>
    expectJoined(
      `input x: f32[6,8]
       const two: f32[] = 2
       const one: f32[] = 1
       const tiny: f32[] = 0.00001
       s = Pow(x, two)
       v = ReduceMean(s, last: i64[1]{-1})
       w = Add(v, tiny)
       r = Sqrt(w)
       i = Div(one, r)
       n = Mul(x, i)
       m = Mul(n, G: f32[8])
       y = Gemm(m, W: f32[8,4], C: f32[4])
       output y`,
      'SimplifiedLayerNormalization',
      1
    ))
})
