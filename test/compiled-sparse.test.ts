/** Factors of which most are zero are left out: the numbers are those of the dense walk, bit by bit, in the module and expanded at its start. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { rng as seeded } from '../src/base/random.ts'
import { lower, moduleOf, noteOf } from '../src/compile/index.ts'
import { tensor, toFloats } from '../src/ir/tensor.ts'
import { parse } from '../src/ir/text.ts'
import { compiledRunner } from '../src/runtime/compiled.ts'
import type { Model, Tensor } from '../src/types.ts'
import { confined } from './confined.ts'

interface Shape {
  readonly i: number
  readonly o: number
  readonly h: number
  readonly w: number
  readonly k: number
  readonly s: number
}

/** A convolution whose blocks of `rows` × `columns` channels are left with a chance of `kept`. */
function convolution({ i, o, h, w, k, s }: Shape, rows: number, columns: number, kept: number, seed: number): Model {
  const random = seeded(seed)
  const taps = k * k
  const left = new Map<string, boolean>()
  const isLeft = (key: string): boolean => left.get(key) ?? (left.set(key, random.next() < kept).get(key) as boolean)
  const weights = Array.from({ length: o * i * taps }, (_, n) => {
    const [tap, c, r] = [n % taps, Math.floor(n / taps) % i, Math.floor(n / taps / i)]
    return isLeft([Math.floor(r / rows), Math.floor(c / columns), tap].join()) ? random.normal() : 0
  })
  const half = k >> 1
  return parse(`opset 21
    input x: f32[1,${i},${h},${w}]
    const B: f32[${o}]
    y = Conv(x, W: f32[${o},${i},${k},${k}] {${weights}}, B, strides=[${s},${s}], pads=[${half},${half},${half},${half}])
    z = Relu(y)
    output z`)
}

const feedsOf = (model: Model): Record<string, Tensor> => {
  const shape = (model.graph.values.get('x')?.shape ?? []) as readonly number[]
  const count = shape.reduce((n, d) => n * d, 1)
  return {
    x: tensor(
      'float32',
      shape,
      Float32Array.from({ length: count }, (_, i) => Math.sin(i * 7))
    )
  }
}

const size = (max: number, min = 1): fc.Arbitrary<number> => fc.integer({ min, max })

describe('convolutions', () => {
  it('of every pattern give the numbers of the dense walk by every way', { timeout: 120_000 }, async () => {
    const ways = new Set<string>()
    await fc.assert(
      fc.asyncProperty(
        fc.record({ i: size(9), o: size(11), h: size(9, 3), w: size(9, 3), k: fc.constantFrom(1, 3), s: size(2) }),
        fc.constantFrom([1, 1], [4, 1], [1, 4], [4, 4]),
        fc.constantFrom(0, 0.1, 0.3),
        size(99),
        async (shape, [rows = 1, columns = 1], kept, seed) => {
          const model = convolution(shape, rows, columns, kept, seed)
          const feeds = feedsOf(model)
          const [kernel] = lower(model).kernels
          if (!kernel) return
          const dense = kernel.ways.find((way) => !way.includes('sparse')) as string
          const expected = confined(model, feeds, { fastest: { [kernel.key]: dense } })
          for (const way of kernel.ways.filter((w) => w.includes('sparse'))) {
            ways.add(way.slice(0, 1))
            const fastest = { [kernel.key]: way }
            expect(confined(model, feeds, { fastest }), way).toEqual(expected)
            const session = await compiledRunner('0').open(moduleOf(model, fastest))
            expect(toFloats((await session.run(feeds)).z as Tensor)).toEqual(toFloats(expected.z as Tensor))
          }
        }
      ),
      { seed: 16, numRuns: 30 }
    )
    expect(ways).toEqual(new Set(['1', '4']))
  })

  const shape: Shape = { i: 32, o: 32, h: 8, w: 8, k: 3, s: 1 }
  it('take zeros out where that is faster by the rule, and take fewer bytes', () => {
    const chosen = (rows: number, columns: number, kept: number): string =>
      lower(convolution(shape, rows, columns, kept, 1)).kernels[0]?.way as string
    expect([chosen(1, 1, 1), chosen(1, 1, 0.7)].some((way) => way.includes('sparse'))).toBe(false)
    expect(chosen(1, 1, 0.2)).toMatch(/^1×16 sparse/)
    expect(chosen(4, 1, 0.2)).toMatch(/^4×8 sparse/)
    expect(chosen(4, 4, 0.2)).toMatch(/^4×8 sparse/)
    const [all, few] = [1, 0.2].map((kept) => noteOf(moduleOf(convolution(shape, 4, 1, kept, 1))).constants)
    expect(few).toBeLessThan(0.35 * (all as number))
  })
})
