import { describe, expect, it } from 'vitest'
import { difference, noise, normalData, outputsOf, randomFeeds, testContext } from '../../../../test/compare.ts'
import { edit } from '../../../ir/edit.ts'
import { tensor, toFloats } from '../../../ir/tensor.ts'
import { model } from '../../../ir/text.ts'
import type { Dataset, Model } from '../../../types.ts'
import { parseOptions } from '../../pass.ts'
import { quantizeStatic } from '../static/quantize-static.ts'
import { smooth } from './smooth.ts'

/** Weights and constants are rounded to float32 once per factor. */
const FLOAT = 1e-5

const dataFor = (m: Model): Dataset => normalData(m, 32)

function contextFor(m: Model): ReturnType<typeof testContext> {
  return { ...testContext(), data: { calibration: dataFor(m) } }
}

const run = (m: Model, o: object = {}, ctx = contextFor(m)): Promise<Model> =>
  smooth.run(m, parseOptions(smooth, o), ctx)

/** Two of sixteen channels of a vector fifty times as large. */
function outlying(m: Model, id: string): Model {
  return edit(m, (d) => {
    const v = d.value(id)
    if (!v?.data) throw new Error(`no ${id}`)
    const values = toFloats(v.data).map((x, i) => (i % 16 === 3 || i % 16 === 9 ? 50 * (Math.abs(x) + 1) : x))
    d.set({ ...v, data: tensor('float32', v.data.shape, values) })
  })
}

const block = outlying(
  model`
    input x: f32[N,5,16]
    n = LayerNormalization(x, G: f32[16], B: f32[16], axis=-1)
    q = MatMul(n, Q: f32[16,12])
    k = MatMul(n, K: f32[16,12])
    y = Add(q, k)
    output y`,
  'G'
)

async function same(a: Model, b: Model): Promise<number> {
  const feeds = randomFeeds(a, 1)
  return difference(await outputsOf(a, feeds), await outputsOf(b, feeds))
}

describe('smooth', () => {
  it('folds factors into LayerNormalization, for all layers that read it, and computes the same', async () => {
    const made = await run(block)
    expect(made).not.toBe(block)
    expect(made.graph.nodes.map((n) => n.op)).toEqual(['LayerNormalization', 'MatMul', 'MatMul', 'Add'])
    expect(await same(block, made)).toBeLessThan(FLOAT)
  })
  it('lets less noise through when activations become 8 bits', async () => {
    const quantize = (m: Model): Promise<Model> =>
      quantizeStatic.run(m, parseOptions(quantizeStatic, { calibrator: 'minmax' }), contextFor(m))
    const [plain, smoothed] = [await quantize(block), await quantize(await run(block))]
    expect(await noise(block, smoothed, dataFor(block))).toBeLessThan(0.5 * (await noise(block, plain, dataFor(block))))
  })
  it('folds into a linear layer, through Relu, and into Mul and Add', async () => {
    const linear = outlying(
      model`
        input x: f32[N,16]
        a = Gemm(x, A: f32[16,16], Ab: f32[16])
        r = Relu(a)
        last = Gemm(r, W: f32[16,8], Wb: f32[8])
        output last`,
      'A'
    )
    const made = await run(linear, { include: [linear.graph.nodes.at(-1)?.name] })
    expect(made).not.toBe(linear)
    expect(made.graph.nodes.map((n) => n.op)).toEqual(['Gemm', 'Relu', 'Gemm'])
    expect(await same(linear, made)).toBeLessThan(FLOAT)
    const affine = outlying(
      model`
        input x: f32[N,5,16]
        t = Tanh(x)
        g = Mul(t, G: f32[16])
        b = Add(g, B: f32[16])
        y = MatMul(b, W: f32[16,8])
        output y`,
      'G'
    )
    const folded = await run(affine)
    expect(folded).not.toBe(affine)
    expect(folded.graph.nodes.map((n) => n.op)).toEqual(['Tanh', 'Mul', 'Add', 'MatMul'])
    expect(await same(affine, folded)).toBeLessThan(FLOAT)
  })
  it('puts in a Mul where nothing can take the factors, or declines', async () => {
    const shared = outlying(
      model`
        input x: f32[N,5,16]
        n = LayerNormalization(x, G: f32[16], B: f32[16], axis=-1)
        q = MatMul(n, Q: f32[16,16])
        y = Add(q, n)
        output y`,
      'G'
    )
    const made = await run(shared)
    expect(made.graph.nodes.map((n) => n.op)).toEqual(['LayerNormalization', 'Mul', 'MatMul', 'Add'])
    expect(await same(shared, made)).toBeLessThan(FLOAT)
    const ctx = contextFor(shared)
    expect(await run(shared, { insert: false }, ctx)).toBe(shared)
    expect(ctx.refusals).toEqual([
      { node: shared.graph.nodes[1]?.name, op: 'MatMul', reason: 'no constant before it can take the factors' }
    ])
  })
  it('gives the very same model back where smoothing does not pay', async () => {
    const even = model`
      input x: f32[N,16]
      r = Relu(x)
      y = Gemm(r, W: f32[16,8], Wb: f32[8])
      output y`
    expect(await run(even, { gain: 0.5 })).toBe(even)
    expect(await run(block, { exclude: ['MatMul'] })).toBe(block)
  })
  it('leaves layers whose weights hold few values, or are outputs, and smooths those beside them', async () => {
    const palette = edit(block, (d) => {
      const v = d.value('Q')
      if (v?.data) d.set({ ...v, data: tensor('float32', [16, 12], toFloats(v.data).map(Math.sign)), form: 'palette' })
    })
    for (const [m, reason] of [
      [palette, 'its weight is stored as palette'],
      [edit(block, (d) => d.setOutputs(['y', 'Q'])), 'its weight is shared']
    ] as const) {
      const ctx = contextFor(m)
      const made = await run(m, {}, ctx)
      expect(ctx.refusals.map((r) => [r.node, r.reason])).toEqual([['MatMul_1', reason]])
      expect(made.graph.nodes.some((n) => n.op === 'Mul')).toBe(true)
      expect(await same(m, made)).toBeLessThan(FLOAT)
    }
  })

  it('says which weights it cannot move factors into', async () => {
    const m = model`
      input x: f32[N,4,4]
      y = MatMul(x, x)
      output y`
    const ctx = contextFor(m)
    expect(await run(m, {}, ctx)).toBe(m)
    expect(ctx.refusals.map((r) => r.reason)).toEqual(['its weight is not a constant matrix'])
  })
})
