import { describe, expect, it } from 'vitest'
import { outputsOf, randomFeeds } from '../../test/compare.ts'
import { check } from '../ir/check.ts'
import { edit } from '../ir/edit.ts'
import { constant } from '../ir/graph.ts'
import { toNumbers } from '../ir/tensor.ts'
import { parse } from '../ir/text.ts'
import { inferShapes } from '../ops/infer.ts'
import type { Model, Node } from '../types.ts'
import { type BiasPlace, biasNumbers, biasPlace, shiftBias } from './biases.ts'

const shift = [1, -2, 0.5, 3]

interface Layout {
  readonly what: string
  readonly text: string
  readonly kind: BiasPlace['kind']
  /** Elements of the output behind each channel: positions that share one. */
  readonly inner: number
}

const layouts: readonly Layout[] = [
  {
    what: 'Conv',
    text: 'input x: f32[2,3,5,5]\n y = Conv(x, W: f32[4,3,3,3], B: f32[4])\n output y',
    kind: 'float',
    inner: 9
  },
  {
    what: 'a Conv in groups, without a bias',
    text: 'input x: f32[2,4,5,5]\n y = Conv(x, W: f32[4,2,3,3], group=2)\n output y',
    kind: 'none',
    inner: 9
  },
  {
    what: 'ConvTranspose in groups',
    text: 'input x: f32[2,6,3,3]\n y = ConvTranspose(x, W: f32[6,2,2,2], B: f32[4], group=2)\n output y',
    kind: 'float',
    inner: 16
  },
  {
    what: 'Gemm with beta and alpha',
    text: 'input x: f32[2,3]\n y = Gemm(x, W: f32[3,4], B: f32[1,4], beta=0.25, alpha=2.0)\n output y',
    kind: 'float',
    inner: 1
  },
  {
    what: 'Gemm with transB and one bias for all channels',
    text: 'input x: f32[2,3]\n y = Gemm(x, W: f32[4,3], B: f32[1], transB=1)\n output y',
    kind: 'float',
    inner: 1
  },
  {
    what: 'Gemm without a bias',
    text: 'input x: f32[2,3]\n y = Gemm(x, W: f32[4,3], transB=1)\n output y',
    kind: 'none',
    inner: 1
  },
  {
    what: 'MatMul with an Add behind',
    text: 'input x: f32[2,7,3]\n p = MatMul(x, W: f32[3,4])\n y = Add(B: f32[4], p)\n output y',
    kind: 'behind',
    inner: 1
  }
]

const layerOf = (m: Model): Node => m.graph.nodes[0] as Node

function placeOf(m: Model): BiasPlace {
  const place = biasPlace(m.graph, layerOf(m), { behind: true })
  if (typeof place === 'string') throw new Error(place)
  return place
}

const shifted = (m: Model, place: BiasPlace): Model =>
  edit(m, (d) => void shiftBias(d, m.graph, layerOf(m), place, shift))

describe('a shift taken off a bias', () => {
  it.each(layouts)('$what: every channel of the output loses its part', async ({ text, kind, inner }) => {
    const before = inferShapes(parse(text))
    const place = placeOf(before)
    expect([place.kind, place.channels]).toEqual([kind, 4])
    const after = check(shifted(before, place))
    const feeds = randomFeeds(before, 3)
    const [was, is] = [await outputsOf(before, feeds), await outputsOf(after, feeds)]
    const numbersOf = (o: typeof was): number[] => Array.from(toNumbers(Object.values(o)[0] as never))
    const [a, b] = [numbersOf(was), numbersOf(is)]
    const lost = a.map((x, i) => x - (b[i] as number) - (shift[Math.floor(i / inner) % 4] as number))
    expect(a.length).toBeGreaterThan(4)
    // Outputs are below 32, so that a rounding of float32 is below 2⁻²⁰; a few add up.
    for (const rest of lost) expect(Math.abs(rest)).toBeLessThan(1e-5)
    const numbers = biasNumbers(before.graph, layerOf(before), place, shift)
    const made = biasNumbers(after.graph, layerOf(after), placeOf(after))
    for (const [c, x] of numbers.entries()) expect(made[c]).toBeCloseTo(x, 6)
  })
  it('codes behind a DequantizeLinear stay codes, and lose the shift in their own unit', () => {
    const m = parse(`
      input x: f32[2,3]
      const q: i32[4] = 100,200,300,400
      const s: f32[4] = 0.5,0.25,0.125,1
      y = Gemm(x, W: f32[3,4], b)
      b = DequantizeLinear(q, s, axis=0)
      output y`)
    const gemm = m.graph.nodes.find((n) => n.op === 'Gemm') as Node
    const place = biasPlace(m.graph, gemm)
    if (typeof place === 'string') throw new Error(place)
    expect(place.kind).toBe('codes')
    expect([...biasNumbers(m.graph, gemm, place)]).toEqual([50, 50, 37.5, 400])
    const after = edit(m, (d) => void shiftBias(d, m.graph, gemm, place, shift))
    const maker = after.graph.nodes.find((n) => n.op === 'DequantizeLinear')
    const codes = constant(after.graph, maker?.inputs[0])
    expect(codes?.dtype).toBe('int32')
    expect([...toNumbers(codes as never)]).toEqual([98, 208, 296, 397])
  })
  it('tells why there is nothing to take it off', () => {
    const reason = (text: string): unknown => {
      const m = parse(text)
      return biasPlace(m.graph, layerOf(m))
    }
    expect(reason('input x: f32[2,3]\n y = MatMul(x, W: f32[3,4])\n output y')).toBe('MatMul has no bias')
    expect(reason('input x: f32[2,3]\n input b: f32[4]\n y = Gemm(x, W: f32[3,4], b)\n output y')).toContain(
      'not a constant'
    )
    expect(reason('input x: f32[2,3]\n y = Gemm(x, W: f32[3,4], B: f32[2,4])\n output y')).toContain('shape [2,4]')
    expect(reason('input x: f32[2,3]\n y = Relu(x)\n output y')).toContain('not a linear layer')
  })
  it('leaves an Add behind alone where something else reads the product too', () => {
    const m = parse('input x: f32[2,3]\n p = MatMul(x, W: f32[3,4])\n y = Add(p, B: f32[4])\n output y, p')
    expect(biasPlace(m.graph, layerOf(m), { behind: true })).toMatchObject({ kind: 'none' })
  })
})
