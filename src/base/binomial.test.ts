import { describe, expect, it } from 'vitest'
import { binomialBelow, binomialLower, binomialUpper } from './binomial.ts'

/** P(X ≤ k) as a sum of products, without logarithms or fractions. */
function summed(k: number, n: number, p: number): number {
  let [term, sum] = [(1 - p) ** n, 0]
  for (let i = 0; i <= k; i++) {
    sum += term
    term *= ((n - i) / (i + 1)) * (p / (1 - p))
  }
  return sum
}

describe('the binomial distribution', () => {
  it('is the sum of its terms', () => {
    for (const n of [1, 2, 7, 50, 400])
      for (const p of [0.001, 0.05, 0.3, 0.5, 0.77])
        for (const k of [0, 1, 3, Math.floor(n * p), n - 1].filter((x) => x >= 0 && x < n))
          expect(binomialBelow(k, n, p), `${k} of ${n} at ${p}`).toBeCloseTo(summed(k, n, p), 11)
  })

  it('ends at 0 and 1', () => {
    expect(binomialBelow(-1, 5, 0.3)).toBe(0)
    expect(binomialBelow(5, 5, 0.3)).toBe(1)
    expect(binomialBelow(2, 5, 0)).toBe(1)
    expect(binomialBelow(2, 5, 1)).toBe(0)
  })

  it('bounds probabilities as published tables do', () => {
    // One-sided 95 % bounds: the rule of three, and NIST's handbook 7.2.4.1 (4 of 20: 0.0713 and 0.4010).
    expect(binomialUpper(0, 500, 0.05)).toBeCloseTo(1 - 0.05 ** (1 / 500), 12)
    expect(binomialUpper(4, 20, 0.05)).toBeCloseTo(0.401, 4)
    expect(binomialLower(4, 20, 0.05)).toBeCloseTo(0.0714, 4)
    expect(binomialUpper(15, 1500, 0.05)).toBeCloseTo(0.0154, 4)
    expect(binomialUpper(20, 20, 0.05)).toBe(1)
    expect(binomialLower(0, 20, 0.05)).toBe(0)
  })

  it('bounds are where the tail is the risk', () => {
    for (const [k, n] of [
      [0, 3],
      [2, 10],
      [37, 1000],
      [999, 1000]
    ] as const)
      for (const risk of [0.001, 0.05, 0.5]) {
        expect(binomialBelow(k, n, binomialUpper(k, n, risk))).toBeCloseTo(risk, 9)
        if (k > 0) expect(1 - binomialBelow(k - 1, n, binomialLower(k, n, risk))).toBeCloseTo(risk, 9)
      }
  })
})
