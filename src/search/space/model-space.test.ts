import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { testContext } from '../../../test/compare.ts'
import { rng } from '../../base/random.ts'
import { writeModel } from '../../formats/index.ts'
import { load } from '../../node/files.ts'
import { applyRecipe } from '../../passes/recipe.ts'
import type { Model } from '../../types.ts'
import { materialOf } from './material.ts'
import { spaceOf } from './model-space.ts'
import { baseRecipe, passesOf } from './recipe.ts'
import { spaceDefaults } from './search.ts'
import { costing } from './space.ts'

const bytesOf = (model: Model): number => writeModel(model).bytes.length

describe('the costs of a model', () => {
  it('are the bytes of what is written: within a hundredth, or where channels go within a hundredth of the original', async () => {
    const ctx = testContext()
    const digits = await load(fileURLToPath(new URL('../../../examples/demo/digits.onnx', import.meta.url)))
    const { model } = await applyRecipe(digits, baseRecipe, ctx)
    const m = await materialOf(model, spaceDefaults, ctx, bytesOf)
    const harms = [...m.groups.map((g) => g.kept), ...m.weights.map((w) => w.types)].map((c) => c.map(() => 0))
    const whole = bytesOf(model)
    const space = spaceOf(m, harms, { original: whole, bytesOf })
    const { of } = costing(space, ['bytes'])
    const random = rng('points')
    for (let i = 0; i < 16; i++) {
      const isWide = i % 2 === 0
      const point = space.units.map((u) =>
        isWide && u.kind === 'keep' ? u.choices.length - 1 : random.below(u.choices.length)
      )
      const made = await applyRecipe(model, passesOf(m, point, spaceDefaults), ctx)
      const guess = (of(point)[0] as number) * whole
      const written = bytesOf(made.model)
      // Where few channels stay, a weight may be written without the table that it has at full width.
      const most = 0.01 * (isWide ? written : whole)
      expect(Math.abs(written - guess), `${guess} guessed, ${written} written`).toBeLessThan(most)
    }
  })
})
