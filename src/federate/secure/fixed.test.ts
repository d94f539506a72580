import { describe, expect, it } from 'vitest'
import { rng } from '../../base/random.ts'
import { meanOfWords, modulusBits, packWords, toWords, unpackWords } from './fixed.ts'

const words = (seed: string): (() => number) => {
  const random = rng(seed)
  return () => random.below(2 ** 32)
}

describe('updates as whole numbers', () => {
  it('has room for the largest sum, and not a bit more', () => {
    expect(modulusBits({ clip: 1, bits: 12, maxWeight: 1 }, 16)).toBe(16)
    expect(modulusBits({ clip: 1, bits: 8, maxWeight: 1 }, 256)).toBe(16)
    expect(modulusBits({ clip: 1, bits: 8, maxWeight: 1 }, 257)).toBe(16)
    expect(modulusBits({ clip: 1, bits: 8, maxWeight: 1 }, 258)).toBe(17)
    for (let n = 1; n < 600; n += 7)
      for (const bits of [4, 8, 12]) {
        const b = modulusBits({ clip: 1, bits, maxWeight: 3 }, n)
        expect(3 * n * (2 ** bits - 1)).toBeLessThan(2 ** b)
        if (b > 8) expect(3 * n * (2 ** bits - 1)).toBeGreaterThanOrEqual(2 ** (b - 1))
      }
    expect(() => modulusBits({ clip: 1, bits: 24, maxWeight: 100 }, 100)).toThrow('32 are the most')
    expect(() => modulusBits({ clip: 0, bits: 8, maxWeight: 1 }, 10)).toThrow('is none')
  })

  it('gives the weighted mean within a step, without bias, and clips', () => {
    const f = { clip: 0.5, bits: 8, maxWeight: 4 }
    const random = words('fixed')
    const updates = Array.from({ length: 40 }, (_, k) => Float32Array.of(0.1234, -0.4, 0.5, 3, -3, (k - 20) / 50))
    const sum = new Uint32Array(7)
    for (const [k, u] of updates.entries())
      for (const [i, w] of toWords(u, 1 + (k % 4), f, random).entries()) sum[i] = (sum[i] as number) + w
    const { mean, weight } = meanOfWords(sum, f)
    expect(weight).toBe(100)
    const expected = updates.reduce((s, u, k) => s + (1 + (k % 4)) * (u[5] as number), 0) / 100
    const step = 1 / 255
    for (const [i, x] of [0.1234, -0.4, 0.5, 0.5, -0.5, expected].entries())
      expect(Math.abs((mean[i] as number) - x)).toBeLessThan(step / 2)
    expect(mean[2]).toBe(0.5)
    expect(mean[4]).toBe(-0.5)
  })

  it('refuses what is not finite, weights out of range and sums that cannot be', () => {
    const f = { clip: 1, bits: 4, maxWeight: 2 }
    for (const x of [Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => toWords(Float32Array.of(x), 1, f, words('x'))).toThrow('not finite')
    for (const w of [0, 3, 1.5]) expect(() => toWords(Float32Array.of(0), w, f, words('x'))).toThrow('the weight')
    expect(() => meanOfWords(Uint32Array.of(31, 2), f)).toThrow('did not follow')
    expect(() => meanOfWords(Uint32Array.of(1, 0), f)).toThrow('did not follow')
  })

  it.each([8, 9, 13, 16, 17, 24, 31, 32])('packs words of %d bits into exactly so many', (bits) => {
    const random = rng(`pack ${bits}`)
    for (const count of [0, 1, 3, 100]) {
      const list = Uint32Array.from({ length: count }, () => random.below(2 ** bits))
      const packed = packWords(list, bits)
      expect(packed.length).toBe(Math.ceil((count * bits) / 8))
      expect([...unpackWords(packed, bits, count)]).toEqual([...list])
      expect(() => unpackWords(new Uint8Array(packed.length + 1), bits, count)).toThrow('take')
    }
  })

  it('refuses bits behind the last word', () => {
    expect(() => unpackWords(Uint8Array.of(0, 0x80), 9, 1)).toThrow('bits behind')
  })
})
