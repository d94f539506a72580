import { describe, expect, it } from 'vitest'
import { holds, random, withConstants } from '../../../test/forms.ts'
import { rng } from '../../base/random.ts'
import { tensor } from '../../ir/tensor.ts'
import type { DType, Form } from '../../types.ts'
import { readModel, writeModel } from '../index.ts'

const r = rng(11)
const product = (rows: number): string => `input x: f32[N,${rows}]\ny = MatMul(x, w)\noutput y`
const dequantized = (rows: number): string =>
  `input x: f32[N,${rows}]\nw = DequantizeLinear(q, s, axis=1)\ny = MatMul(x, w)\noutput y`
const scales = (n: number): { data: ReturnType<typeof random> } => ({
  data: random('float32', [n], () => r.next() + 0.1)
})

/** A matrix with this share of values, of so many kinds, in whole tiles. */
function pruned(
  dtype: DType,
  shape: readonly [number, number],
  share: number,
  kinds: number,
  tile = [1, 1]
): ReturnType<typeof random> {
  const book = Array.from({ length: kinds }, (_, i) => (dtype.startsWith('int') ? i - (kinds >> 1) || 1 : r.normal()))
  const [h = 1, w = 1] = tile
  const kept = Array.from({ length: (shape[0] / h) * Math.ceil(shape[1] / w) }, () => r.next() < share)
  const width = Math.ceil(shape[1] / w)
  return random(dtype, shape, (i) => {
    const [row, column] = [Math.floor(i / shape[1]), i % shape[1]]
    return kept[Math.floor(row / h) * width + Math.floor(column / w)] ? (book[r.below(kinds)] as number) : 0
  })
}

describe('forms of tensors with zeros', () => {
  it('gap: distance and value in a byte, or apart', async () => {
    for (const [share, kinds] of [
      [0.2, 15],
      [0.1, 7],
      [0.02, 3],
      [0.01, 31],
      [0.1, 100],
      [0.005, 100]
    ] as const) {
      const q = { data: pruned('int8', [120, 61], share, kinds), form: 'gap' as const }
      await holds(withConstants(dequantized(120), { q, s: scales(61) }))
      await holds(withConstants(product(120), { w: { data: pruned('float32', [120, 61], share, kinds), form: 'gap' } }))
    }
  })
  it('bitmap: values as they are or by palette', async () => {
    for (const [share, kinds] of [
      [0.5, 15],
      [0.1, 200],
      [0.9, 3]
    ] as const) {
      const q = { data: pruned('int8', [60, 61], share, kinds), form: 'bitmap' as const }
      await holds(withConstants(dequantized(60), { q, s: scales(61) }))
      await holds(
        withConstants(product(60), { w: { data: pruned('float32', [60, 61], share, kinds), form: 'bitmap' } })
      )
    }
  })
  it('blocks: in a row and 4×4', async () => {
    for (const tile of [
      [1, 4],
      [1, 16],
      [4, 4]
    ])
      for (const kinds of [15, 200]) {
        const q = { data: pruned('int8', [64, 48], 0.2, kinds, tile), form: 'blocks' as const }
        await holds(withConstants(dequantized(64), { q, s: scales(48) }))
        await holds(
          withConstants(product(64), { w: { data: pruned('float32', [64, 48], 0.2, kinds, tile), form: 'blocks' } })
        )
      }
  })
  it('say why they cannot hold a tensor', () => {
    const dense = random('float32', [8, 8], () => 1 + r.next())
    const refusal = (form: Form) => () => writeModel(withConstants(product(8), { w: { data: dense, form } }))
    expect(refusal('gap')).toThrow('form "gap" cannot spell w: it has no zeros, or nothing else')
    expect(refusal('bitmap')).toThrow('form "bitmap" cannot spell w: it has no zeros, or nothing else')
    expect(refusal('blocks')).toThrow('form "blocks" cannot spell w: it has no blocks of zeros')
  })
  it('keep −0 and NaN', async () => {
    const data = random('float32', [40, 40], (i) => (i % 7 === 0 ? -0 : i % 501 === 3 ? Number.NaN : 0))
    for (const form of ['palette', 'gap', 'bitmap'] as const) {
      const again = readModel(writeModel(withConstants(product(40), { w: { data, form } })).bytes)
      expect(again.graph.values.get('w')?.data).toEqual(data)
    }
  })
})

describe('form auto', () => {
  const sizes = async (data: ReturnType<typeof random>, forms: readonly Form[]): Promise<number[]> => {
    const out: number[] = []
    for (const form of forms)
      out.push(await holds(withConstants(product(data.shape[0] as number), { w: { data, form } })))
    return out
  }
  it('takes the smallest form and says so in the file', async () => {
    const forms: readonly Form[] = ['auto', 'palette', 'gap', 'bitmap', 'blocks']
    for (const [data, best] of [
      [pruned('float32', [128, 96], 1, 16), 1],
      [pruned('float32', [128, 96], 0.05, 15), 2],
      [pruned('float32', [128, 96], 0.3, 2000), 3],
      [pruned('float32', [128, 96], 0.1, 15, [4, 4]), 4]
    ] as const) {
      const possible = forms.filter((form) => form !== 'palette' || best !== 3).slice(0, best === 1 ? 2 : 5)
      const all = await sizes(data, possible)
      expect(all.indexOf(Math.min(...all.slice(1)), 1)).toBe(possible.indexOf(forms[best] as Form))
      expect((all[0] as number) - Math.min(...all.slice(1))).toBeLessThan(markBytes)
    }
  })
  it('leaves what has no smaller form, and integers foldable', async () => {
    const [auto] = await sizes(
      random('float32', [30, 31], () => r.normal()),
      ['auto']
    )
    expect(auto).toBeGreaterThan(30 * 31 * 4)
    const q = { data: random('int8', [60, 61], () => r.below(256) - 128), form: 'auto' as const }
    await holds(withConstants(dequantized(60), { q, s: scales(61) }))
    const packed = { data: random('int4', [60, 61], () => r.below(16) - 8), form: 'auto' as const }
    await holds(withConstants(dequantized(60), { q: packed, s: scales(61) }))
  })
  it('leaves a tensor alone that is too small for nodes', () => {
    const data = tensor('float32', [4, 2], [0, 0, 0, 1, 0, 0, 0, 1])
    const m = withConstants(product(4), { w: { data, form: 'auto' } })
    expect(readModel(writeModel(m).bytes).graph).toEqual(m.graph)
  })
})

/** The mark `auto` in the metadata. */
const markBytes = 60
