import { describe, expect, it } from 'vitest'
import { rng } from '../../base/random.ts'
import { discreteGaussian, type RandomWords, secureWords } from './gaussian.ts'

/** Seeded words: a test that fails by chance tells nothing. */
function seeded(seed: string): RandomWords {
  const random = rng(seed)
  return () => random.below(2 ** 32)
}

describe('the discrete Gaussian', () => {
  it.each([1, 4, 7, 100])('has the chances of its definition at variance %d', (variance) => {
    const draw = discreteGaussian(variance, seeded(`gauss ${variance}`))
    const n = 100_000
    const counts = new Map<number, number>()
    for (let i = 0; i < n; i++) {
      const x = draw()
      counts.set(x, (counts.get(x) ?? 0) + 1)
    }
    const reach = Math.ceil(12 * Math.sqrt(variance))
    const weight = (x: number): number => Math.exp((-x * x) / (2 * variance))
    let total = 0
    for (let x = -reach; x <= reach; x++) total += weight(x)
    let [chi, cells] = [0, 0]
    for (let x = -reach; x <= reach; x++) {
      const expected = (n * weight(x)) / total
      if (expected < 20) continue
      cells++
      chi += ((counts.get(x) ?? 0) - expected) ** 2 / expected
    }
    // Mean of χ² is its degrees of freedom, standard deviation √(2 n): five of them.
    expect(chi).toBeLessThan(cells + 5 * Math.sqrt(2 * cells))
  })

  it('has its variance where σ is large, and no sign is preferred', () => {
    const variance = 3 * 2 ** 32 + 5
    const draw = discreteGaussian(variance, seeded('wide'))
    const n = 20_000
    let [sum, squares] = [0, 0]
    for (let i = 0; i < n; i++) {
      const x = draw()
      expect(Number.isInteger(x)).toBe(true)
      sum += x
      squares += x * x
    }
    expect(Math.abs(squares / n / variance - 1)).toBeLessThan(5 * Math.sqrt(2 / n))
    expect(Math.abs(sum / n)).toBeLessThan(5 * Math.sqrt(variance / n))
  })

  it('draws from the platform by default: two draws differ', () => {
    const words = secureWords()
    expect(words()).not.toBe(words())
    const a = discreteGaussian(2 ** 40)
    expect([a(), a(), a()]).not.toEqual([a(), a(), a()])
  })

  it.each([0, -1, 1.5, 2 ** 50, Number.NaN])('refuses a variance of %d', (variance) => {
    expect(() => discreteGaussian(variance)).toThrow('whole number')
  })
})
