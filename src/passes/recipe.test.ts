import { describe, expect, it } from 'vitest'
import { testContext } from '../../test/compare.ts'
import { model } from '../ir/text.ts'
import { passes, passFor } from './index.ts'
import { parseOptions } from './pass.ts'
import { applyRecipe } from './recipe.ts'

const m = model`
  input x: f32[N,4]
  a = Identity(x)
  y = Relu(a)
  z = Relu(y)
  output z`

describe('applyRecipe', () => {
  it('applies the passes in order and says what each did', async () => {
    const done = await applyRecipe(
      m,
      [
        ['simplify', {}],
        ['fuse', {}]
      ],
      testContext()
    )
    expect(done.model.graph.nodes.map((n) => n.op)).toEqual(['Relu'])
    expect(done.steps.map((s) => [s.pass, s.before.nodes, s.after.nodes])).toEqual([
      ['simplify', 3, 2],
      ['fuse', 2, 1]
    ])
    expect(done.steps[0]?.options).toEqual({ fold: true, merge: true, maxFoldBytes: 16777216 })
  })
  it('returns the very same model for the empty recipe', async () => {
    expect((await applyRecipe(m, [], testContext())).model).toBe(m)
  })
  it('names an unknown pass and the near one', async () => {
    await expect(applyRecipe(m, [['simplfy', {}]], testContext())).rejects.toMatchObject({
      code: 'E_USAGE',
      where: 'simplfy',
      hint: 'did you mean simplify?'
    })
  })
  it('names a wrong option and the valid ones, before anything runs', async () => {
    await expect(applyRecipe(m, [['simplify', { fold: true, mrge: false }]], testContext())).rejects.toMatchObject({
      code: 'E_OPTION',
      where: 'mrge',
      facts: { options: 'fold, merge, maxFoldBytes' },
      hint: 'did you mean merge?'
    })
    expect(() => parseOptions(passFor('simplify'), { maxFoldBytes: -1 })).toThrow('option maxFoldBytes')
  })
  it('stops between passes', async () => {
    const stopped = { ...testContext(), signal: AbortSignal.abort() }
    await expect(applyRecipe(m, [['fuse', {}]], stopped)).rejects.toMatchObject({ code: 'E_ABORTED' })
  })
})

it('every pass has a kebab-case name of its own and works without options', () => {
  expect(new Set(passes.map((p) => p.name)).size).toBe(passes.length)
  for (const p of passes) {
    expect(p.name).toMatch(/^[a-z]+(-[a-z0-9]+)*$/)
    expect(() => parseOptions(p, {})).not.toThrow()
  }
})
