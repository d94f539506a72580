import { expect, it } from 'vitest'
import { producer } from '../ir/graph.ts'
import { model } from '../ir/text.ts'
import { countValues, coverageOf, type Tally, tallyOf, weightCoverage } from './ranges-of.ts'

const quantized = model`
input x: f32[N,4]
const s: f32[] = 0.1
const z: u8[] = 10
xq = QuantizeLinear(x, s, z)
xd = DequantizeLinear(xq, s, z)
const W: i8[4,2] = 127, -127, 64, 0, 1, 2, 3, -128
const t: f32[2] = 0.01, 0.02
w = DequantizeLinear(W, t, axis=1)
y = MatMul(xd, w)
output y`

const original = model`
input x: f32[N,4]
const w: f32[4,2] = 1.27, -2.54, 0.64, 0, 0.01, 0.04, 0.03, -3
y = MatMul(x, w)
output y`

const node = (m: typeof original, id: string) => {
  const found = producer(m.graph, id)
  if (!found) throw new Error(`nothing makes ${id}`)
  return found
}

it('counts what lies at the ends of the codes and beyond', () => {
  const { graph } = quantized
  const t = tallyOf(graph, [node(quantized, 'xq'), node(quantized, 'xd')]) as Tally
  // Codes 0 … 255 with zero at 10: −1 … 24.5.
  const x = [-3, -1.04, -1, 0, 12, 24.5, 24.54, 30]
  countValues(t, x, [-1, -1, -1, 0, 12, 24.5, 24.5, 24.5])
  const c = coverageOf(t)
  expect(c).toMatchObject({
    dtype: 'uint8',
    range: { min: -3, max: 30 },
    saturation: { low: 3 / 8, high: 3 / 8 },
    clipped: 2 / 8
  })
  expect(c?.covered.low).toBeCloseTo(-1, 6)
  expect(c?.covered.high).toBeCloseTo(24.5, 5)
  expect(c?.codes).toHaveLength(32)
  expect(c?.codes.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6)
  expect([c?.codes[0], c?.codes[1], c?.codes[31]]).toEqual([3 / 8, 1 / 8, 3 / 8])
})

it('says nothing of values that are not rounded, or were never seen', () => {
  expect(tallyOf(quantized.graph, [])).toBeUndefined()
  const t = tallyOf(quantized.graph, [node(quantized, 'xq'), node(quantized, 'xd')]) as Tally
  expect(coverageOf(t)).toBeUndefined()
})

it('tells of a weight by the scales of its channels', () => {
  const c = weightCoverage(quantized.graph, node(quantized, 'y'), original.graph, node(original, 'y'), 1)
  expect(c).toMatchObject({ dtype: 'int8', saturation: { low: 2 / 8, high: 1 / 8 }, clipped: 1 / 8 })
  expect(c?.range.max).toBeCloseTo(1.27, 6)
  expect(c?.range.min).toBe(-3)
  expect(c?.covered.low).toBeCloseTo(-2.54, 6)
  expect(c?.covered.high).toBeCloseTo(2.54, 6)
})

it('does not call values cut off where the original had another weight', () => {
  const folded = model`
input x: f32[N,4]
const w: f32[4,2] = -9, 9, 9, 9, 9, 9, 9, 9
y = MatMul(x, w)
output y`
  const c = weightCoverage(quantized.graph, node(quantized, 'y'), folded.graph, node(folded, 'y'), 1)
  expect(c?.clipped).toBeUndefined()
  expect(c?.range.max).toBeCloseTo(1.27, 6)
})
