import { describe, expect, it } from 'vitest'
import { outputsOf, testContext } from '../../../../test/compare.ts'
import { rng } from '../../../base/random.ts'
import { constant, producer } from '../../../ir/graph.ts'
import { tensor, toFloats } from '../../../ir/tensor.ts'
import { model } from '../../../ir/text.ts'
import type { Model, Tensor } from '../../../types.ts'
import { parseOptions } from '../../pass.ts'
import { expanded } from '../weights/apply.ts'
import { quantizeWeights } from '../weights/quantize-weights.ts'
import { balance } from './balance.ts'
import { encodeCells } from './cells.ts'
import { codesOf } from './fit.ts'

const random = rng('balance')
const uniform = (n: number, by: number): Float64Array =>
  Float64Array.from({ length: n }, () => by * (random.next() - 0.5))
const nearest = (exact: Float64Array): Int16Array => Int16Array.from(exact, Math.round)
const cell = (exact: Float64Array, level = 127) => ({ codes: nearest(exact), exact, low: -level, high: level })

/** Sum of errors over elements from … to. */
const sum = ({ codes, exact }: { codes: Int16Array; exact: Float64Array }, from: number, to: number): number => {
  let s = 0
  for (let i = from; i < to; i++) s += (codes[i] as number) - (exact[i] as number)
  return s
}

describe('balanced rounding', () => {
  it('brings the sum of every kernel to half a step, and of the output too, moving codes by one at most', () => {
    for (let round = 0; round < 50; round++) {
      const c = cell(uniform(16 * 9, 100))
      const before = c.codes.slice()
      balance(c, 9)
      expect(Math.abs(sum(c, 0, c.codes.length))).toBeLessThanOrEqual(0.5)
      // A kernel gives one more step at most for the sum of all.
      for (let k = 0; k < 16; k++) expect(Math.abs(sum(c, 9 * k, 9 * k + 9))).toBeLessThanOrEqual(1)
      for (const [i, q] of c.codes.entries()) expect(Math.abs(q - (before[i] as number))).toBeLessThanOrEqual(1)
    }
  })

  it('is of least squared error among all roundings of a kernel whose errors cancel', () => {
    for (let round = 0; round < 20; round++) {
      const exact = uniform(8, 20)
      let least = Number.POSITIVE_INFINITY
      for (let choice = 0; choice < 256; choice++) {
        const e = exact.map((x, i) => Math.floor(x) + ((choice >> i) & 1) - x)
        if (Math.abs(e.reduce((a, b) => a + b, 0)) > 0.5) continue
        least = Math.min(
          least,
          e.reduce((a, b) => a + b * b, 0)
        )
      }
      const c = cell(exact)
      balance(c, 8)
      expect(c.codes.reduce((a, q, i) => a + (q - (exact[i] as number)) ** 2, 0)).toBeCloseTo(least, 9)
    }
  })

  it('keeps the range of codes and zeros, and makes up for what is cut off', () => {
    const exact = Float64Array.from([9.4, 0, 2.4, -3.3, 1.2, 0])
    const c = { codes: Int16Array.from([7, 0, 2, -3, 1, 0]), exact, low: -7, high: 7 }
    balance(c, 6)
    expect([...c.codes]).toEqual([7, 0, 3, -3, 2, 0])
  })
})

it('an encoded tensor answers constant inputs better for it, under every kernel', () => {
  const values = Array.from({ length: 8 * 4 * 9 }, () => random.normal())
  const t = tensor('float32', [8, 4, 3, 3], values)
  for (const codes of [codesOf(8, true), codesOf(4, true), codesOf(4, false)]) {
    const worst = (kernel?: number): number => {
      const made = toFloats(expanded(encodeCells(t, { axis: 0 }, codes, 'W', undefined, kernel), t, { axis: 0 }))
      const sums = Array.from({ length: 32 }, (_, k) =>
        Math.abs(values.slice(9 * k, 9 * k + 9).reduce((s, x, i) => s + (made[9 * k + i] as number) - x, 0))
      )
      return Math.max(...sums)
    }
    expect(worst(9)).toBeLessThan(0.7 * worst())
  }
})

const run = (m: Model, o: object): Promise<Model> =>
  quantizeWeights.run(m, parseOptions(quantizeWeights, { minElements: 1, ...o }), testContext())

it('stored weights shift outputs less where inputs have a level of their own', async () => {
  const m = model`
    input x: f32[N,16,9,9]
    y = Conv(x, W: f32[16,1,3,3], group=16)
    output y`
  const x = tensor(
    'float32',
    [4, 16, 9, 9],
    Array.from({ length: 4 * 16 * 81 }, () => 5 + 0.1 * random.normal())
  )
  const error = async (balance: boolean, bits: number): Promise<number> => {
    const [a, b] = [await outputsOf(m, { x }), await outputsOf(await run(m, { bits, balance }), { x })]
    const [y, z] = [toFloats(a.y as Tensor), toFloats(b.y as Tensor)]
    return y.reduce((s, v, i) => s + (v - (z[i] as number)) ** 2, 0)
  }
  for (const bits of [8, 4]) expect(await error(true, bits)).toBeLessThan(0.6 * (await error(false, bits)))
})

it('rows of a table are rounded to nearest', async () => {
  const m = model`
    input i: i64[N]
    y = Gather(E: f32[32,64], i)
    output y`
  const codes = async (balance: boolean): Promise<Tensor | undefined> =>
    constant((await run(m, { balance })).graph, 'E_q')
  expect(await codes(true)).toEqual(await codes(false))
})

it('blocks of nbits are those of fewest bytes', async () => {
  const size = async (k: number, bits: number): Promise<unknown> => {
    const m = model`
      input x: f32[N,${k}]
      y = MatMul(x, W: f32[${k},64])
      output y`
    return producer((await run(m, { bits, form: 'nbits' })).graph, 'W')?.attrs.block_size
  }
  for (const [k, bits, block] of [
    [128, 4, 64],
    [120, 4, 64],
    [160, 4, 32],
    [256, 8, 128],
    [160, 8, 32]
  ] as const)
    expect(await size(k, bits)).toMatchObject({ value: block })
})
