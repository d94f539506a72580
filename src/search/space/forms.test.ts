import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { noise, testContext } from '../../../test/compare.ts'
import { rng } from '../../base/random.ts'
import { arrayDataset } from '../../data/arrays.ts'
import { writeModel } from '../../formats/index.ts'
import { tensor, toFloats } from '../../ir/tensor.ts'
import { load } from '../../node/files.ts'
import { costOf } from '../../ops/cost.ts'
import { applyRecipe } from '../../passes/recipe.ts'
import type { Dataset, Model } from '../../types.ts'
import { built } from './build.ts'
import { choicesOf, type Material, type MaterialOptions, materialOf } from './material.ts'
import { spaceOf } from './model-space.ts'
import { projection } from './project.ts'
import { baseRecipe, passesOf } from './recipe.ts'
import { spaceDefaults } from './search.ts'
import { costing, encoded, type Point, type Space, whole } from './space.ts'
import { weightMaker } from './weights.ts'

const bytesOf = (model: Model): number => writeModel(model).bytes.length

/** Digits as the bundled network takes them. */
function images(count: number): Dataset {
  const sets = createRequire(import.meta.url)('mnist') as Record<number, { readonly raw: readonly number[] }>
  const x = Array.from({ length: count }, (_, i) => {
    const { raw } = sets[i % 10] as { readonly raw: readonly number[] }
    return raw.slice(784 * i, 784 * (i + 1))
  })
  return arrayDataset({ inputs: { image: tensor('float32', [count, 1, 28, 28], x.flat()) } })
}

const samples = images(96)
const ctx = { ...testContext(), data: { calibration: samples } }

async function made(asked: Partial<MaterialOptions>): Promise<{
  readonly model: Model
  readonly m: Material
  readonly space: Space
}> {
  const digits = await load(fileURLToPath(new URL('../../../examples/demo/digits.onnx', import.meta.url)))
  const { model } = await applyRecipe(digits, baseRecipe, ctx)
  const m = await materialOf(model, { ...spaceDefaults, ...asked }, ctx, bytesOf)
  const harms = choicesOf(m).map((n) => Array.from({ length: n }, () => 0))
  return { model, m, space: spaceOf(m, harms, { original: bytesOf(model), bytesOf }) }
}

const forms = { sparsity: [0.6, 0.9], ranks: [0.2, 0.5], types: ['int8', 'int4'] } as const

describe('zeros and ranks', () => {
  it('are units of their own beside channels and types, and none where they are not asked for', async () => {
    const { space } = await made({})
    expect(new Set(space.units.map((u) => u.kind))).toEqual(new Set(['keep', 'type']))
    const { space: more } = await made(forms)
    expect(new Set(more.units.map((u) => u.kind))).toEqual(new Set(['keep', 'type', 'sparsity', 'rank']))
    const zeros = more.units.find((u) => u.kind === 'sparsity')
    expect(zeros?.choices).toEqual(['90 % zero', '60 % zero', 'dense'])
  })

  it('cost the bytes and multiply-adds of what their recipe makes', async () => {
    const { model, m, space } = await made(forms)
    const { of } = costing(space, ['bytes', 'macs'])
    const [full, macs] = [bytesOf(model), costOf(model).total as number]
    const random = rng('points')
    for (let i = 0; i < 6; i++) {
      const isWide = i % 2 === 0
      const point = space.units.map((u) =>
        isWide && u.kind === 'keep' ? u.choices.length - 1 : random.below(u.choices.length)
      )
      const [bytes, work] = Array.from(of(point)) as [number, number]
      const { model: small } = await applyRecipe(model, passesOf(m, point, { ...spaceDefaults, samples: 96 }), ctx)
      const off = bytesOf(small) / full - bytes
      expect(Math.abs(off), `${bytes} of the bytes reckoned, off by ${off}`).toBeLessThan(0.015)
      // Where channels go a rank may take no less than the whole: then the layer stays, for less than was reckoned.
      const left = (costOf(small).total as number) / macs
      if (isWide) expect(left).toBeCloseTo(work, 6)
      else expect(left).toBeLessThan(work + 1e-6)
    }
  }, 240_000)

  it('are measured in trials as their recipe makes them', async () => {
    const { model, m, space } = await made({ ...forms, channels: false })
    const maker = weightMaker(m)
    const random = rng('trials')
    for (let i = 0; i < 4; i++) {
      const point: Point = space.units.map((u) => random.below(u.choices.length))
      const trial = await built(m, maker, point, undefined, ctx)
      const { model: small } = await applyRecipe(model, passesOf(m, point, { ...spaceDefaults, samples: 96 }), ctx)
      const [guess, real] = [await noise(model, trial, samples), await noise(model, small, samples)]
      expect(real / guess, `${guess} in the trial, ${real} by the recipe`).toBeLessThan(1.6)
      expect(real / guess, `${guess} in the trial, ${real} by the recipe`).toBeGreaterThan(0.4)
    }
  }, 240_000)

  it('make as many zeros as they say, and layers of the rank', async () => {
    const { model, m, space } = await made({ ...forms, types: [], channels: false })
    const at = (kind: string, choice: number): Point =>
      whole(space).map((last, i) => (space.units[i]?.kind === kind ? Math.min(choice, last) : last))
    const o = { ...spaceDefaults, samples: 96 }
    const sparse = await applyRecipe(model, passesOf(m, at('sparsity', 0), o), ctx)
    for (const { ids } of m.forms.filter((f) => f.kind === 'sparsity'))
      for (const id of ids) {
        const w = toFloats(sparse.model.graph.values.get(id)?.data ?? tensor('float32', [0], []))
        expect(w.filter((x) => x === 0).length / w.length).toBeCloseTo(0.9, 1)
      }
    const split = await applyRecipe(model, passesOf(m, at('rank', 0), o), ctx)
    const ranked = m.forms.filter((f) => f.kind === 'rank').flatMap((f) => f.ids)
    expect(split.model.graph.nodes.length).toBe(model.graph.nodes.length + ranked.length)
  }, 240_000)

  it('keep budgets under the shared projection, which changes no point that it made', async () => {
    const { space } = await made(forms)
    const project = projection(space, { bytes: 0.12, macs: 0.6 })
    const { of } = costing(space, ['bytes', 'macs'])
    const random = rng('raw')
    for (let i = 0; i < 200; i++) {
      const point = project(space.units.map(() => random.next()))
      const [bytes, macs] = Array.from(of(point)) as [number, number]
      expect(bytes).toBeLessThanOrEqual(0.12 + 1e-9)
      expect(macs).toBeLessThanOrEqual(0.6 + 1e-9)
      expect(project(encoded(space, point))).toEqual(point)
    }
  })
})
