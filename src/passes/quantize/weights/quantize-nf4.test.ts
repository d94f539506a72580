import { describe, expect, it } from 'vitest'
import { difference, outputsOf, randomFeeds, testContext } from '../../../../test/compare.ts'
import { allGraphs } from '../../../ir/graph.ts'
import { tensor, toFloats } from '../../../ir/tensor.ts'
import { model } from '../../../ir/text.ts'
import { passFor } from '../../index.ts'
import { applyRecipe } from '../../recipe.ts'
import { encodeNf4 } from './quantize-nf4.ts'

/** NF4 rounds by at most half of its widest gap, 0.152 of a block's largest magnitude; sums average that down. */
const tolerance = 0.15

/** The runtime expands codes as we do: float32 sums in another order. */
const exact = 1e-6

const twoLayers = model`
  input x: f32[N,48]
  h: f32[N,40] = MatMul(x, A: f32[48,40])
  r: f32[N,40] = Relu(h)
  y: f32[N,7] = MatMul(r, B: f32[40,7])
  output y
`

describe('quantize-nf4', () => {
  it('stores matrices in NF4, computed as close as 4 bits allow', async () => {
    const { model: made, refusals } = await applyRecipe(twoLayers, [['quantize-nf4', {}]], testContext())
    expect(made.graph.nodes.map((n) => n.op)).toEqual(['MatMulBnb4', 'Relu', 'MatMulBnb4'])
    expect(refusals).toEqual([])
    const feeds = randomFeeds(twoLayers, 1, 3)
    expect(difference(await outputsOf(twoLayers, feeds), await outputsOf(made, feeds))).toBeLessThan(tolerance)
  })

  it('keeps exactly what the table can say, in blocks across rows', async () => {
    const rows = 24
    const table = [-1, -0.6961928009986877, 0.07958029955625534, 1]
    const values = Float32Array.from({ length: rows * 5 }, (_, i) => 0.5 * (table[(i * 7) % 4] as number))
    const net = model`
      input x: f32[N,24]
      y: f32[N,5] = MatMul(x, W: f32[24,5])
      output y
    `
    const weights = tensor('float32', [rows, 5], values)
    const held = new Map(net.graph.values).set('W', {
      id: 'W',
      type: 'tensor',
      dtype: 'float32',
      shape: [rows, 5],
      data: weights
    })
    const given = { ...net, graph: { ...net.graph, values: held } }
    const options = { minElements: 1, blockSize: 16 }
    const { model: made } = await applyRecipe(given, [['quantize-nf4', options]], testContext())
    expect(made.graph.nodes[0]?.op).toBe('MatMulBnb4')
    const feeds = randomFeeds(given, 1, 3)
    expect(difference(await outputsOf(given, feeds), await outputsOf(made, feeds))).toBeLessThan(exact)
  })

  it('follows weights into subgraphs, and keeps one copy of a shared one', async () => {
    const net = model`
      input c: bool[1]
      input x: f32[2,32]
      const A: f32[32,32]
      r: f32[2,32] = If(c, then_branch={ a: f32[2,32] = MatMul(x, A); output a }, else_branch={ m: f32[2,32] = MatMul(x, A); b: f32[2,32] = Relu(m); output b })
      output r
    `
    const { model: made } = await applyRecipe(net, [['quantize-nf4', {}]], testContext())
    const ops = allGraphs(made).flatMap((g) => g.nodes.map((n) => n.op))
    expect(ops.filter((op) => op === 'MatMulBnb4')).toHaveLength(2)
    expect(allGraphs(made).flatMap((g) => [...g.values.values()].filter((v) => v.data))).toHaveLength(2)
    const feeds = randomFeeds(net, 1)
    expect(difference(await outputsOf(net, feeds), await outputsOf(made, feeds))).toBeLessThan(tolerance)
  })

  it('declines what MatMulBnb4 cannot hold, and changes nothing then', async () => {
    const net = model`
      input i: i64[N]
      input x: f32[N,40]
      e: f32[N,40] = Gather(E: f32[64,40], i)
      s: f32[N,40] = Add(e, x)
      y: f32[N,8] = Gemm(s, W: f32[40,8])
      output y
    `
    const { model: made, refusals } = await applyRecipe(net, [['quantize-nf4', {}]], testContext())
    expect(made).toBe(net)
    expect(refusals.map((r) => r.op)).toEqual(['Gather', 'Gemm'])
    expect(refusals[0]?.reason).toMatch(/only a MatMul’s matrix/)
  })

  it('does not hide weights that are not finite', () => {
    const broken = tensor('float32', [2, 2], [1, Number.NaN, Number.POSITIVE_INFINITY, 0])
    expect(() => encodeNf4(broken, { id: 'W', rows: 2, columns: 2, blockSize: 16 })).toThrow(/W/)
    const zeros = encodeNf4(tensor('float32', [2, 2], [0, 0, 0, 0]), { id: 'W', rows: 2, columns: 2, blockSize: 16 })
    expect([...toFloats(zeros.scales)]).toEqual([0])
    expect(passFor('quantize-nf4').needs).toEqual([])
  })
})
