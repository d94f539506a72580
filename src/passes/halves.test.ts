import { describe, expect, it } from 'vitest'
import { noise, normalData, testContext } from '../../test/compare.ts'
import { allGraphs } from '../ir/graph.ts'
import { model } from '../ir/text.ts'
import { targetFor } from '../targets/index.ts'
import type { Model } from '../types.ts'
import { applyRecipe } from './recipe.ts'
import type { Recipe } from './types.ts'

const network = model`
  input x: f32[N,16]
  a = Gemm(x, W1: f32[16,64], B1: f32[64])
  b = Relu(a)
  c = Gemm(b, W2: f32[64,64], B2: f32[64])
  d = Relu(c)
  y = Gemm(d, W3: f32[64,8], B3: f32[8])
  output y`

const [first, second] = network.graph.nodes.filter((n) => n.op === 'Gemm').map((n) => n.name)
const data = normalData(network, 64)
const apply = async (m: Model, recipe: Recipe, more = {}): Promise<Model> =>
  (await applyRecipe(m, recipe, { ...testContext(), data: { calibration: data, train: data }, ...more })).model

const halves = (): Promise<Model> => apply(network, [['cast-float', { minElements: 1 }]])

/** Element types of constants of at least four numbers, by how often. */
const typesOf = (m: Model): Record<string, number> => {
  const found: Record<string, number> = {}
  for (const g of allGraphs(m))
    for (const { data: t } of g.values.values())
      if (t && t.shape.reduce((n, d) => n * d, 1) >= 4 && t.dtype !== 'int64')
        found[t.dtype] = (found[t.dtype] ?? 0) + 1
  return found
}

describe('weights stored in 16 bits', () => {
  it.each([
    ['quantize-weights', [['quantize-weights', {}]]],
    ['quantize-dynamic', [['quantize-dynamic', { include: ['Gemm', 'MatMul'] }]]],
    ['quantize-static', [['quantize-static', {}]]]
  ] as const)('become codes by %s', async (_, recipe) => {
    const stored = await halves()
    expect(typesOf(stored)).toEqual({ float16: 6 })
    const [made, whole] = [await apply(stored, recipe), await apply(network, recipe)]
    expect(typesOf(made)).toEqual(typesOf(whole))
    // As good as from float32, but for what 16 bits lost.
    expect(await noise(network, made, data)).toBeLessThan(1.2 * (await noise(network, whole, data)) + 1e-5)
  })

  it('stay so where a pass leaves them, and where it makes some of them zero', async () => {
    const stored = await halves()
    const left = await apply(stored, [['quantize-weights', { include: [first] }]])
    expect(typesOf(left)).toMatchObject({ float16: 4, int8: 1 })
    const pruned = await apply(stored, [['prune-weights', { ratio: 0.5 }]])
    expect(typesOf(pruned)).toEqual({ float16: 6 })
    expect([...pruned.graph.values.values()].filter((v) => v.sparse).map((v) => v.dtype)).toEqual(
      Array(3).fill('float16')
    )
  })

  it('are the very same model where a pass has nothing to do', async () => {
    const stored = await halves()
    expect(await apply(stored, [['quantize-weights', { include: ['none'] }]])).toBe(stored)
  })

  it('become float32 where that is asked for', async () => {
    expect(typesOf(await apply(await halves(), [['cast-float', { type: 'float32' }]]))).toEqual({ float32: 6 })
  })

  it('are halves again in files for LiteRT, whose biases stay float32 beside codes', async () => {
    const target = targetFor('litert-cpu')
    const stored = await apply(network, [['cast-float', { minElements: 1 }]], { target })
    const made = await apply(stored, [['quantize-weights', { include: [first, second] }]], { target, data: {} })
    const bias = ['B1', 'B2', 'B3'].map((id) => made.graph.values.get(id)?.data?.dtype)
    expect(bias).toEqual(['float32', 'float32', undefined])
  })
})
