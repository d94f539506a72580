import { describe, expect, it } from 'vitest'
import { normalData, outputsOf, testContext } from '../../../test/compare.ts'
import { adaptiveOf } from '../../data/adaptive.ts'
import type { LabelledDataset } from '../../data/arrays.ts'
import { subset } from '../../data/split.ts'
import { readModel, writeModel } from '../../formats/index.ts'
import { check } from '../../ir/check.ts'
import { print } from '../../ir/print.ts'
import { toFloats } from '../../ir/tensor.ts'
import { parse } from '../../ir/text.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Dataset, Model, Tensor } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import { applyRecipe } from '../recipe.ts'
import type { Context } from '../types.ts'
import { cascade } from './cascade.ts'

/** The large model's answers, from a little more than the small one sees: they differ where the small one is not sure. */
const large = (end = 'y = Add(a, b)'): Model =>
  inferShapes(
    parse(`
    input x: f32[N,4]
    const W: f32[4,3] = 4, 0, -4, 0, 4, 0, -4, 0, 4, 1, 1, 1
    const V: f32[4,3] = 0.5, -0.5, 0, 0, 0.5, -0.5, -0.5, 0, 0.5, 0.1, 0, 0
    a = MatMul(x, W)
    b = MatMul(x, V)
    ${end}
    output y`)
  )
const small = (end = 'y = MatMul(x, W)', name = 'x'): Model =>
  inferShapes(
    parse(`
    input ${name}: f32[N,4]
    const W: f32[4,3] = 4, 0, -4, 0, 4, 0, -4, 0, 4, 1, 1, 1
    ${end.replaceAll('x,', `${name},`)}
    output y`)
  )
const data = normalData(large(), 2000)

const context = (first: Model, selection: Dataset = data): Context & { readonly notes: string[] } => ({
  ...testContext(),
  data: { selection },
  load: async () => first
})
const run = (first: Model, second: Model, o: object = {}, selection?: Dataset): Promise<Model> =>
  cascade.run(second, parseOptions(cascade, { small: 'small.onnx', ...o }), context(first, selection))

const classes = (t: Tensor | undefined): number[] => {
  const v = toFloats(t as Tensor)
  return Array.from({ length: v.length / 3 }, (_, i) => {
    const row = [...v.subarray(3 * i, 3 * i + 3)]
    return row.indexOf(Math.max(...row))
  })
}

describe('a cascade', () => {
  it('answers as the large model does but for what was promised, with fewer of its samples', async () => {
    const made = check(await run(small(), large(), { maxDisagreement: 0.02 }))
    const a = adaptiveOf(readModel(writeModel(made).bytes))
    expect(a).toMatchObject({
      kind: 'cascade',
      form: 'logits',
      guarantee: { kind: 'disagreement', most: 0.02, n: 2000 }
    })
    expect(a?.counts[0]).toBeGreaterThan(500)
    expect(a?.counts[1]).toBeGreaterThan(0)
    expect(a?.guarantee.bound).toBeLessThanOrEqual(0.02)
    // Other samples than those that the threshold was chosen on.
    const fresh = subset(
      normalData(large(), 5000),
      Array.from({ length: 3000 }, (_, i) => 2000 + i)
    )
    for await (const { inputs } of fresh.batches({ batch: 3000 })) {
      const [was, is] = [
        classes((await outputsOf(large(), inputs))['y']),
        classes((await outputsOf(made, inputs))['y'])
      ]
      const changed = was.filter((c, i) => c !== is[i]).length
      expect(changed / 3000).toBeLessThan(0.03)
      expect(changed).toBeGreaterThan(0)
    }
  })

  it('keeps the ids of the large model, and holds no weight twice', async () => {
    const text = print(await run(small(), large(), { maxDisagreement: 0.02 }))
    expect(text).toContain('first/W')
    expect(text.match(/\bV: f32\[4,3\]/g)).toHaveLength(1)
  })

  it('has the same meaning whether scores are logits or probabilities, and in either form of the small ones', async () => {
    const soft = 'z = MatMul(x, W)\ny = Softmax(z, axis=-1)'
    const ended = 's = Add(a, b)\ny = Softmax(s, axis=-1)'
    const plain = adaptiveOf(await run(small(), large(), { maxDisagreement: 0.02 }))
    for (const [first, second, form] of [
      [small(soft), large(ended), 'probabilities'],
      [small(), large(ended), 'probabilities'],
      [small(soft), large(), 'logits']
    ] as const) {
      const made = await run(first, second, { maxDisagreement: 0.02 })
      expect(adaptiveOf(made)).toMatchObject({ form, counts: plain?.counts ?? [] })
    }
  })

  it('pairs inputs of other names where there is one each', async () => {
    expect(
      adaptiveOf(await run(small(undefined, 'image'), large(), { maxDisagreement: 0.05 }))?.counts[0]
    ).toBeGreaterThan(0)
  })

  it('bounds the drop of accuracy by labels', async () => {
    const labels: number[] = []
    for await (const { inputs } of data.batches({ batch: 2000 }))
      labels.push(...classes((await outputsOf(large(), inputs))['y']))
    const labelled: LabelledDataset = {
      ...data,
      labelled: true,
      labels,
      async *batches(o) {
        let at = 0
        for await (const b of data.batches(o)) {
          yield { ...b, labels: labels.slice(at, at + b.n) }
          at += b.n
        }
      }
    }
    const a = adaptiveOf(await run(small(), large(), { maxDrop: 0.02 }, labelled))
    // The large model is always right here: what changes is lost.
    expect(a?.guarantee).toMatchObject({ kind: 'drop', lost: a?.guarantee.changed, won: 0 })
    await expect(run(small(), large(), { maxDrop: 0.02 })).rejects.toMatchObject({ code: 'E_LABELS' })
  })

  it('is made of a recipe too, of the model as it was before it was rounded', async () => {
    const ctx = { ...testContext(), data: { selection: data } }
    const recipe = [['cascade', { small: [['quantize-weights', { bits: 4 }]], maxDisagreement: 0.05 }]] as const
    // These weights are too few to be rounded: what the recipe makes answers as the large model does.
    await expect(applyRecipe(large(), recipe, ctx)).rejects.toMatchObject({
      code: 'E_CONSTRAINT',
      message: expect.stringMatching(/small model alone keeps the promise/)
    })
  })
})

describe('what is no cascade', () => {
  const refused = (first: Model, second: Model, o: object, code: string, words: RegExp, d?: Dataset) =>
    expect(run(first, second, o, d)).rejects.toMatchObject({ code, message: expect.stringMatching(words) })

  it('is refused with the reason', async () => {
    await refused(small('z = MatMul(x, W)\ny = Sigmoid(z)'), large(), {}, 'E_UNSUPPORTED', /no classifier of exclusive/)
    await refused(small('const U: f32[4,4]\ny = MatMul(x, U)'), large(), {}, 'E_UNSUPPORTED', /shape of its input/)
    await refused(small('const U: f32[4,5]\ny = MatMul(x, U)'), large(), {}, 'E_DATA_SHAPE', /same classes/)
    await refused(
      parse('input x: f32[N,6]\ny = MatMul(x, W: f32[6,3])\noutput y'),
      large(),
      {},
      'E_DATA_SHAPE',
      /input x/
    )
    await refused(
      inferShapes(parse('input x: f32[N,4]\ny = MatMul(x, W: f32[4,3])\nz = Relu(y)\noutput y, z')),
      large(),
      {},
      'E_UNSUPPORTED',
      /outputs beside/
    )
    await refused(small(), large(), { maxDrop: 0.1, maxDisagreement: 0.1 }, 'E_OPTION', /either/)
  })

  it('is refused where the small model alone keeps the promise', async () => {
    await refused(large(), large(), {}, 'E_CONSTRAINT', /small model alone keeps the promise/)
  })

  it('is refused where too few samples cannot promise it', async () => {
    const few = subset(
      data,
      Array.from({ length: 100 }, (_, i) => i)
    )
    await refused(small(), large(), { maxDisagreement: 0.01 }, 'E_CONSTRAINT', /no threshold promises/, few)
  })
})
