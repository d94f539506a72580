import { describe, expect, it } from 'vitest'
import { noise, testContext } from '../../../test/compare.ts'
import { initialised } from '../../../test/digits.ts'
import { rng } from '../../base/random.ts'
import { arrayDataset } from '../../data/arrays.ts'
import { edit } from '../../ir/edit.ts'
import { tensor, toFloats } from '../../ir/tensor.ts'
import { model } from '../../ir/text.ts'
import type { Dataset, Model, Tensor } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import { factorize } from './factorize.ts'

const [rows, width] = [600, 32]
const text = initialised(
  model`
input ids: i64[N,T]
e = Gather(E: f32[600,32], ids)
f = Gather(E, ids)
h = Add(e, f)
y = MatMul(h, W: f32[32,8])
output y`,
  'text'
)

/** Texts of six tokens of the first `used` ids. */
function texts(used: number, seed: string): Dataset {
  const random = rng(seed)
  const ids = tensor(
    'int64',
    [200, 6],
    Array.from({ length: 1200 }, () => random.below(used))
  )
  return arrayDataset({ inputs: { ids } })
}

async function split(m: Model, options: Record<string, unknown>, calibration?: Dataset) {
  const ctx = { ...testContext(), data: calibration ? { calibration } : {} }
  const made = await factorize.run(m, parseOptions(factorize, { what: 'tables', ...options }), ctx)
  return { made, table: made.graph.values.get('E')?.data as Tensor, ...ctx }
}

/** The table with other rows. */
const withRows = (change: (rows: Float32Array) => Float32Array): Model =>
  edit(text, (d) => {
    const v = d.value('E')
    if (v?.data) d.set({ ...v, data: tensor('float32', [rows, width], change(toFloats(v.data))) })
  })

describe('factorize of tables', () => {
  it('gives a table of half the numbers, with a product behind every lookup', async () => {
    const { made, table, notes } = await split(text, { ratio: 0.5 }, texts(rows, 'all'))
    expect(table.shape).toEqual([rows, 8])
    expect(made.graph.nodes.filter((n) => n.op === 'MatMul').length).toBe(3)
    expect(notes.join()).toMatch(/E of 600 rows has rank 8 of 32, 0\.26 of its numbers, at an error of/)
  })

  it('is exact where the rows have the rank that is left', async () => {
    const low = withRows((all) => all.map((_, at) => all[at - (at % width) + (at % 8)] as number))
    const { made, table } = await split(low, { energy: 0.999999 })
    expect(table.shape).toEqual([rows, 8])
    expect(await noise(low, made, texts(rows, 'other'))).toBeLessThan(1e-10)
  })

  it('errs less on what samples look up than where all rows count alike', async () => {
    const used = texts(40, 'used')
    const [seen, alike] = [await split(text, { ratio: 0.5 }, used), await split(text, { ratio: 0.5 })]
    const other = texts(40, 'other')
    expect(await noise(text, seen.made, other)).toBeLessThan(0.8 * (await noise(text, alike.made, other)))
  })

  it.each([
    [{ macs: 0.5 }, 'E_OPTION: a lookup multiplies nothing: tables have no multiply-adds and no method'],
    [
      { ratio: 0.5, method: 'svd' },
      'E_OPTION: a lookup multiplies nothing: tables have no multiply-adds and no method'
    ],
    [{ ratio: 0.01 }, 'E_UNSUPPORTED: a ratio of 0.01 cannot be reached']
  ])('%j is refused', async (options, message) => {
    const said = await split(text, options).catch((e) => `${e.code}: ${e.message}`)
    expect(said).toBe(message)
  })
})
