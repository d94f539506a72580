import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { testContext } from '../../test/compare.ts'
import { model } from '../ir/text.ts'
import { passes, passFor } from './index.ts'
import { definePass, parseOptions } from './pass.ts'
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
  it('applies a pass of the caller, checks its options and keeps it in the recipe', async () => {
    const label = definePass({
      name: 'label',
      summary: 'write a line into the metadata',
      options: { text: z.string().describe('the line') },
      run: (given, { text }) => ({ ...given, meta: { ...given.meta, text } })
    })
    const recipe = [['simplify', {}] as const, ['label', { text: 'mine' }] as const]
    const done = await applyRecipe(m, recipe, testContext(), { passes: [label] })
    expect(done.model.meta).toEqual({ text: 'mine' })
    expect(done.recipe).toEqual(recipe)
    await expect(applyRecipe(m, recipe, testContext())).rejects.toMatchObject({ where: 'label' })
    const wrong = applyRecipe(m, [['label', { txt: '' }]], testContext(), { passes: [label] })
    await expect(wrong).rejects.toMatchObject({ code: 'E_OPTION' })
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
  it('lists what stays in float behind a pass that stores fewer bits: bytes and reason, all bytes of the model', async () => {
    const net = model`
      input x: f32[N,16]
      a = MatMul(x, W: f32[16,16])
      b = Add(a, B: f32[16])
      c = MatMul(b, V: f32[16,32])
      d = Mul(c, S: f32[32])
      output d`
    const { refusals } = await applyRecipe(
      net,
      [['quantize-weights', { exclude: ['MatMul_2'], minElements: 1 }]],
      testContext()
    )
    expect(refusals).toEqual([
      { node: 'Add_1', op: 'Add', reason: 'biases and other constants that are no weights stay in float', bytes: 64 },
      { node: 'MatMul_2', op: 'MatMul', reason: 'weights that the options leave in float', bytes: 2048 },
      { node: 'Mul_3', op: 'Mul', reason: 'biases and other constants that are no weights stay in float', bytes: 128 }
    ])
    const left = [...(await applyRecipe(net, [['simplify', {}]], testContext())).refusals]
    expect(left).toEqual([])
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
