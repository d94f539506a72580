import { describe, expect, it } from 'vitest'
import { rng } from '../../../base/random.ts'
import { type Choice, paretoFront } from './knapsack.ts'

/** Every combination, and of those the unbeaten ones. */
function bruteForce(parts: readonly (readonly Choice[])[]): { cost: number; harm: number }[] {
  let all = [{ cost: 0, harm: 0 }]
  for (const choices of parts)
    all = all.flatMap((a) => choices.map((c) => ({ cost: a.cost + c.cost, harm: a.harm + c.harm })))
  return all.filter(
    (a) => !all.some((b) => b.cost <= a.cost && b.harm <= a.harm && (b.cost < a.cost || b.harm < a.harm))
  )
}

describe('paretoFront', () => {
  it('has the harm of the best of all combinations at every cost', () => {
    const random = rng(3)
    // Whole costs of fewer than 8,192 in all: nothing is lost to the unit.
    const parts = Array.from({ length: 6 }, () =>
      Array.from({ length: 4 }, () => ({ cost: 1 + random.below(300), harm: random.next() }))
    )
    const front = paretoFront(parts)
    const wanted = bruteForce(parts)
    for (const w of wanted) {
      const best = front.filter((p) => p.cost <= w.cost * 1.002).at(-1)
      expect(best?.harm).toBeLessThanOrEqual(w.harm + 1e-12)
    }
    for (const p of front) {
      const cost = p.picks.reduce((n, t, l) => n + (parts[l]?.[t]?.cost ?? 0), 0)
      expect(p.cost).toBeCloseTo(cost, 9)
    }
  })
  it('rises in cost and falls in harm', () => {
    const front = paretoFront([
      [
        { cost: 4, harm: 0 },
        { cost: 2, harm: 1 },
        { cost: 3, harm: 5 }
      ],
      [
        { cost: 8, harm: 0 },
        { cost: 2, harm: 1 }
      ]
    ])
    expect(front.map((p) => [p.cost, p.harm])).toEqual([
      [4, 2],
      [6, 1],
      [12, 0]
    ])
  })
  it('is one point where nothing can be chosen', () => {
    expect(paretoFront([[{ cost: 3, harm: 0 }]]).map((p) => [...p.picks])).toEqual([[0]])
    expect(paretoFront([]).length).toBe(1)
  })
})
