import { describe, expect, it } from 'vitest'
import { epsilonOf, fitsBudget, noiseRatio, noiseWarning, roundsWithin } from './accountant.ts'

/** Of Opacus's accountant (the first is the example of its documentation). */
const vectors = [
  {
    of: [
      { sampling: 1e-5, noise: 1, rounds: 10 },
      { sampling: 1e-4, noise: 3, rounds: 4 }
    ],
    delta: 1e-5,
    epsilon: 0.3363,
    order: 23
  },
  { of: [{ sampling: 0.01, noise: 1, rounds: 1000 }], delta: 1e-5, epsilon: 2.1078, order: 8 },
  { of: [{ sampling: 0.1, noise: 1, rounds: 100 }], delta: 1e-3, epsilon: 5.6703, order: 3 },
  { of: [{ sampling: 0.1, noise: 2, rounds: 100 }], delta: 1e-3, epsilon: 1.7998, order: 6 },
  { of: [{ sampling: 0.1, noise: 4, rounds: 100 }], delta: 1e-3, epsilon: 0.7266, order: 12 },
  { of: [{ sampling: 1, noise: 2, rounds: 100 }], delta: 1e-3, epsilon: 30.52, order: 2 }
]

describe('privacy that is spent', () => {
  it.each(vectors)('is ε = $epsilon at order $order', ({ of, delta, epsilon, order }) => {
    const spent = epsilonOf(of, delta)
    const digits = String(epsilon).split('.')[1]?.length ?? 0
    expect(Math.abs(spent.epsilon - epsilon)).toBeLessThan(Math.max(1e-4, 0.5 * 10 ** -digits))
    expect(spent.order).toBe(order)
    expect(spent.atEnd).toBe(order === 2)
  })

  it('grows with rounds and sampling, and falls with noise', () => {
    const at = (sampling: number, noise: number, rounds: number): number =>
      epsilonOf([{ sampling, noise, rounds }], 1e-5).epsilon
    expect(at(0.1, 1, 11)).toBeGreaterThan(at(0.1, 1, 10))
    expect(at(0.2, 1, 10)).toBeGreaterThan(at(0.1, 1, 10))
    expect(at(0.1, 2, 10)).toBeLessThan(at(0.1, 1, 10))
    expect(epsilonOf([], 1e-5).epsilon).toBe(0)
  })

  it('stops a run one round before its budget would be passed', () => {
    const kind = { sampling: 0.1, noise: 1 }
    const budget = { epsilon: 3, delta: 1e-3 }
    let rounds = 0
    while (fitsBudget([{ ...kind, rounds }], kind, budget)) rounds++
    expect(rounds).toBe(roundsWithin(kind, budget, 1000))
    expect(epsilonOf([{ ...kind, rounds }], budget.delta).epsilon).toBeLessThanOrEqual(3)
    expect(epsilonOf([{ ...kind, rounds: rounds + 1 }], budget.delta).epsilon).toBeGreaterThan(3)
    expect(roundsWithin(kind, budget, 5)).toBe(5)
  })

  it('tells how large the noise is, and warns where it destroys the model', () => {
    expect(noiseRatio(1, 61706, 10)).toBeCloseTo(24.84, 2)
    expect(noiseWarning(1, 61706, 10)).toContain('the noise is 25 times as large as the largest update')
    expect(noiseWarning(1, 61706, 1000)).toContain('will lose accuracy')
    expect(noiseWarning(1, 61706, 5000)).toBeUndefined()
  })

  it.each([
    [{ sampling: 0, noise: 1, rounds: 1 }, 1e-5],
    [{ sampling: 1.1, noise: 1, rounds: 1 }, 1e-5],
    [{ sampling: 0.1, noise: 0, rounds: 1 }, 1e-5],
    [{ sampling: 0.1, noise: 1, rounds: 1 }, 0]
  ])('refuses what makes no sense: %j at δ %d', (spending, delta) => {
    expect(() => epsilonOf([spending], delta)).toThrow()
  })
})
