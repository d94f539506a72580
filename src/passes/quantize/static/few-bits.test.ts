/** Weights of few bits under integer kernels: the file holds the codes in a form that folds, the kernels compute in int8. */
import { describe, expect, it } from 'vitest'
import { noise, normalData, optimizedOf, outputsOf, testContext } from '../../../../test/compare.ts'
import { readModel, writeModel } from '../../../formats/index.ts'
import { edit } from '../../../ir/edit.ts'
import { toNumbers } from '../../../ir/tensor.ts'
import { model } from '../../../ir/text.ts'
import { nodeRunner } from '../../../node/runner.ts'
import { countIntegerKernels } from '../../../runtime/kernels.ts'
import { targetFor } from '../../../targets/index.ts'
import type { Model, Value } from '../../../types.ts'
import { parseOptions } from '../../pass.ts'
import { applyRecipe } from '../../recipe.ts'
import type { Recipe } from '../../types.ts'
import { quantizeStatic } from './quantize-static.ts'

const network = model`
  input x: f32[N,8,12,12]
  a = Conv(x, W1: f32[32,8,3,3], B1: f32[32], pads=[1,1,1,1])
  b = Relu(a)
  c = Conv(b, W2: f32[32,32,3,3], B2: f32[32], pads=[1,1,1,1])
  d = Add(c, b)
  e = Relu(d)
  f = GlobalAveragePool(e)
  g = Flatten(f)
  y = Gemm(g, W3: f32[64,32], B3: f32[64], transB=1)
  output y`

const data = normalData(network, 64)
const apply = async (recipe: Recipe, m = network): Promise<Model> =>
  (await applyRecipe(m, recipe, { ...testContext(), data: { calibration: data } })).model

const codesOf = ({ graph }: Model): readonly Value[] =>
  [...graph.values.values()].filter((v) => v.dtype === 'int8' && (v.shape?.length ?? 0) > 1)

async function kernels(m: Model): Promise<Readonly<Record<string, number>>> {
  const session = await nodeRunner().open(m, { optimization: 'extended', keepOptimized: true })
  try {
    return countIntegerKernels(await optimizedOf(session))
  } finally {
    await session.close()
  }
}

describe('quantize-static in few bits', () => {
  it.each([3, 4, 5, 6])('of %i: few distinct codes, the same integer kernels, a smaller file', async (bits) => {
    const [whole, few] = [await apply([['quantize-static', {}]]), await apply([['quantize-static', { bits }]])]
    const top = 2 ** (bits - 1) - 1
    // W1 and W2 have 2,304 and 9,216 elements, W3 2,048.
    for (const v of codesOf(few)) {
      expect(Math.max(...Array.from(toNumbers(v.data as never), Math.abs))).toBe(top)
      expect(v.form).toBe('auto')
    }
    expect(await kernels(few)).toEqual(await kernels(whole))
    const elements = codesOf(few).reduce((n, v) => n + (v.data?.bytes.length ?? 0), 0)
    const saved = writeModel(whole).bytes.length - writeModel(few).bytes.length
    expect(saved).toBeGreaterThan(0.8 * elements * (1 - bits / 8) - 2400)
  })

  it('is read and written again as it was, and computes what the plain codes give', async () => {
    const few = await apply([['quantize-static', { bits: 4 }]])
    const { bytes } = writeModel(few)
    const again = readModel(bytes)
    expect(writeModel(again).bytes).toEqual(bytes)
    const plain = edit(few, (d) => {
      for (const { form: _, ...v } of codesOf(few)) d.set(v)
    })
    for await (const { inputs } of data.batches({ batch: 64 }))
      expect(await outputsOf(again, inputs)).toEqual(await outputsOf(plain, inputs))
  })

  it('round chooses among the same few codes, and comes nearer', async () => {
    const few = await apply([['quantize-static', { bits: 4 }]])
    const rounded = await apply([
      ['quantize-static', { bits: 4 }],
      ['round', {}]
    ])
    for (const v of codesOf(rounded))
      expect(Math.max(...Array.from(toNumbers(v.data as never), Math.abs))).toBeLessThan(8)
    expect(await noise(network, rounded, data)).toBeLessThan(0.5 * (await noise(network, few, data)))
  })

  it('keeps the zeros of a pruned weight, in a form that stores them in fewer bytes', async () => {
    const pruned = edit(network, (d) => {
      for (const id of ['W1', 'W2', 'W3']) {
        const v = d.value(id) as Value & { data: NonNullable<Value['data']> }
        const numbers = toNumbers(v.data)
        const kept = Float32Array.from(numbers, (x, i) => (i % 10 === 0 ? x : 0))
        d.set({ ...v, sparse: 'any', data: { ...v.data, bytes: new Uint8Array(kept.buffer) } })
      }
    })
    const made = await apply([['quantize-static', {}]], pruned)
    expect(await kernels(made)).toEqual(await kernels(await apply([['quantize-static', {}]])))
    expect(writeModel(made).bytes.length).toBeLessThan(
      0.5 * writeModel(await apply([['quantize-static', {}]])).bytes.length
    )
  })

  it('leaves small weights at 8 bits, and refuses bits that there are not', async () => {
    const small = model`
      input x: f32[N,4,8,8]
      y = Conv(x, W: f32[4,4,3,3], B: f32[4])
      output y`
    const [v] = codesOf(
      await (async () => {
        const ctx = { ...testContext(), data: { calibration: normalData(small, 16) } }
        return (await applyRecipe(small, [['quantize-static', { bits: 4 }]], ctx)).model
      })()
    )
    expect(v?.form).toBeUndefined()
    expect(() => parseOptions(quantizeStatic, { bits: 7 })).toThrow(/bits/)
    const lite = { ...testContext(), target: targetFor('litert-cpu'), data: { calibration: normalData(small, 16) } }
    for (const o of [{ bits: 4 }, { bitsOf: { 5: ['Conv'] } }])
      await expect(applyRecipe(small, [['quantize-static', o]], lite)).rejects.toThrow(
        /files of target litert-cpu hold the codes of integer kernels in 8 bits: [45] would save nothing/
      )
  })
})
