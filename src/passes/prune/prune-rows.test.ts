import { describe, expect, it } from 'vitest'
import { difference, outputsOf, testContext } from '../../../test/compare.ts'
import { initialised } from '../../../test/digits.ts'
import { rng } from '../../base/random.ts'
import { arrayDataset } from '../../data/arrays.ts'
import { readModel, writeModel } from '../../formats/index.ts'
import { tensor, toFloats } from '../../ir/tensor.ts'
import { model } from '../../ir/text.ts'
import type { Dataset, Model, Tensor } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import { pruneRows } from './prune-rows.ts'

const rows = 2000
const text = initialised(
  model`
input ids: i64[N,T]
input mask: i64[N,T]
short = Cast(ids, to=6)
e = Gather(E: f32[2000,8], short)
t = Gather(S: f32[2,8], mask)
h = Add(e, t)
y = MatMul(h, W: f32[8,4])
output y`,
  'text'
)

/** Texts of six tokens, whose ids are multiples of `step`. */
function texts(count: number, step: number, seed: string): Dataset {
  const random = rng(seed)
  const ids = Array.from({ length: count * 6 }, () => step * random.below(rows / step))
  const of = (values: readonly number[]): Tensor => tensor('int64', [count, 6], values)
  const data = arrayDataset({ inputs: { ids: of(ids), mask: of(ids.map((_, i) => i % 2)) } })
  return { ...data, marks: { ids: [1, 3], unknown: 3 } }
}

async function prune(m: Model, options: Record<string, unknown>, calibration: Dataset, selection?: Dataset) {
  const plans: unknown[] = []
  const data = { calibration, ...(selection ? { selection } : {}) }
  const ctx = { ...testContext(), data, plan: (p: unknown) => plans.push(p) }
  const made = await pruneRows.run(m, parseOptions(pruneRows, options), ctx)
  return { made, told: (plans[0] as { tables: readonly Told[] } | undefined)?.tables ?? [], ...ctx }
}

interface Told {
  readonly rows: { readonly before: number; readonly after: number }
  readonly touched?: { readonly share: number; readonly tokens: number }
}

const feeds = (ids: readonly number[]): Record<string, Tensor> => ({
  ids: tensor('int64', [1, ids.length], ids),
  mask: tensor(
    'int64',
    [1, ids.length],
    ids.map(() => 1)
  )
})
const run = async (m: Model, ids: readonly number[]): Promise<Record<string, Tensor>> => outputsOf(m, feeds(ids))

describe('prune-rows', () => {
  const chosen = texts(400, 10, 'chosen')

  it('keeps what the data looks up, exactly, and the special tokens', async () => {
    const { made, told } = await prune(text, {}, chosen, texts(50, 10, 'other'))
    expect(told).toMatchObject([{ rows: { before: rows, after: 202 }, touched: { share: 0, tokens: 300 } }])
    expect(made.graph.values.get('E')?.shape).toEqual([202, 8])
    expect(made.graph.values.get('S')?.shape).toEqual([2, 8])
    const used = [0, 10, 500, 1990, 1, 3]
    expect(difference(await run(text, used), await run(made, used))).toBe(0)
    const read = readModel(writeModel(made).bytes)
    expect(difference(await run(text, used), await run(read, used))).toBe(0)
    expect(made.graph.inputs).toEqual(text.graph.inputs)
  })

  it('sends other ids to the nearest row that is left', async () => {
    const { made } = await prune(text, {}, chosen)
    const table = toFloats(text.graph.values.get('E')?.data as Tensor)
    const far = (a: number, b: number): number =>
      Array.from({ length: 8 }, (_, i) => ((table[a * 8 + i] as number) - (table[b * 8 + i] as number)) ** 2).reduce(
        (x, y) => x + y
      )
    const kept = [1, 3, ...Array.from({ length: 200 }, (_, i) => 10 * i)]
    for (const id of [5, 777, 1999]) {
      const nearest = kept.reduce((a, b) => (far(b, id) < far(a, id) ? b : a))
      expect(difference(await run(text, [nearest]), await run(made, [id]))).toBe(0)
    }
  })

  it.each([
    ['unknown', 3],
    ['42', 42]
  ])('or to one row: %s', async (unused, id) => {
    const { made } = await prune(text, { unused, keep: [42] }, chosen)
    expect(difference(await run(text, [id, id, 20]), await run(made, [777, 5, 20]))).toBe(0)
  })

  it('keeps the rows that are looked up most, and tells how many tokens lose theirs', async () => {
    const { made, told } = await prune(text, { rows: 100 }, chosen, texts(100, 5, 'selection'))
    expect(made.graph.values.get('E')?.shape).toEqual([100, 8])
    expect(told[0]?.touched?.tokens).toBe(600)
    expect(told[0]?.touched?.share).toBeGreaterThan(0.5)
    expect(told[0]?.touched?.share).toBeLessThan(0.9)
  })

  it('counts negative ids as rows from the end', async () => {
    const negative = arrayDataset({
      inputs: { ids: tensor('int64', [1, 2], [-1, -2000]), mask: tensor('int64', [1, 2], [0, 1]) }
    })
    const { made } = await prune(text, {}, negative)
    expect(made.graph.values.get('E')?.shape).toEqual([2, 8])
    for (const id of [-1, -2000, 0, 1999]) expect(difference(await run(text, [id]), await run(made, [id]))).toBe(0)
  })

  it('leaves tables that something else reads, that are looked up by position, or that are small', async () => {
    const tied = initialised(
      model`
const zero: i64[] = 0
const one: i64[] = 1
input ids: i64[N,T]
e = Gather(E: f32[2000,8], ids)
s = Shape(ids)
n = Gather(s, one)
p = Range(zero, n, one)
q = Gather(P: f32[1500,8], p)
h = Add(e, q)
w = Transpose(E, perm=[1,0])
y = MatMul(h, w)
output y`,
      'tied'
    )
    const ids = arrayDataset({ inputs: { ids: tensor('int64', [2, 2], [1, 2, 3, 4]) } })
    const { made, refusals } = await prune(tied, {}, ids)
    expect(made).toBe(tied)
    expect(refusals.map((r) => r.reason)).toEqual([
      'its rows stay: its table is read by Transpose_6 too',
      'its rows stay: its indices are computed, not given'
    ])
    const few = await prune(text, { minRows: 5000 }, chosen)
    expect(few.made).toBe(text)
    expect(few.refusals[0]?.reason).toBe('its 2000 rows stay: fewer than 5000')
  })

  it.each([
    [{ unused: 'somewhere' }, 'nearest, unknown or an id'],
    [{ keep: [5000] }, 'there is no id 5000'],
    [{ unused: '2000' }, 'there is no id 2000']
  ])('refuses %j', async (options, message) => {
    await expect((async () => prune(text, options, chosen))()).rejects.toThrow(message)
  })

  it('does not know the unknown token of numbers that are no text', async () => {
    const { marks: _, ...plain } = chosen
    await expect(prune(text, { unused: 'unknown' }, plain)).rejects.toThrow('not known')
  })
})
