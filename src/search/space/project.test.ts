import { describe, expect, it } from 'vitest'
import { rng } from '../../base/random.ts'
import { madeSpace } from './cases.ts'
import { projection } from './project.ts'
import { solvedWithin } from './solve.ts'
import { type Budgets, costing, encoded, harmOf, type Point, type Space } from './space.ts'

const budgets: Budgets = { bytes: 0.3, macs: 0.6 }

describe('the projection', () => {
  it('meets every budget, uses what is left, and changes nothing when done again', () => {
    for (const seed of [0, 1, 2]) {
      const space = madeSpace(24, 6, seed)
      const project = projection(space, budgets)
      const { of } = costing(space, ['bytes', 'macs'])
      const random = rng(seed)
      for (let i = 0; i < 300; i++) {
        const point = project(space.units.map(() => random.next()))
        const [bytes, macs] = Array.from(of(point)) as [number, number]
        expect(bytes).toBeLessThanOrEqual(0.3 + 1e-9)
        expect(macs).toBeLessThanOrEqual(0.6 + 1e-9)
        expect(project(encoded(space, point))).toEqual(point)
        // No unit could take its next choice.
        for (const u of space.units.keys()) {
          const next = point.with(u, (point[u] as number) + 1)
          if ((next[u] as number) >= 6) continue
          const [b, m] = Array.from(of(next)) as [number, number]
          expect(b > 0.3 || m > 0.6).toBe(true)
        }
      }
    }
  })

  it('keeps the order of what is wanted: a unit that is raised keeps no less', () => {
    const space = madeSpace(24, 6, 3)
    const project = projection(space, budgets)
    const random = rng(0)
    for (let i = 0; i < 100; i++) {
      const raw = space.units.map(() => 0.8 * random.next())
      const u = random.below(24)
      const before = project(raw)[u] as number
      expect(project(raw.with(u, (raw[u] as number) + 0.2))[u]).toBeGreaterThanOrEqual(before)
    }
  })

  it('says what can be reached where a budget cannot, and which costs are not known', () => {
    const space = madeSpace(6, 4, 0)
    expect(() => projection(space, { bytes: 0.01 })).toThrow(/0\.01 of the bytes cannot be reached/)
    expect(() => projection(space, { latency: 0.5 })).toThrow(/latency of this model are not known/)
  })
})

/** The least harm of all points that fit. */
function exhaustive(space: Space, limits: Budgets): number {
  const { of, names } = costing(space, ['bytes', 'macs'])
  let best = Number.POSITIVE_INFINITY
  const point: number[] = space.units.map(() => 0)
  for (let i = 0; i < 4 ** space.units.length; i++) {
    for (let u = 0, rest = i; u < point.length; u++, rest = Math.floor(rest / 4)) point[u] = rest % 4
    const costs = of(point)
    if (names.every((n, c) => (costs[c] as number) <= (limits[n] ?? 1) + 1e-12))
      best = Math.min(best, harmOf(space, point as Point))
  }
  return best
}

describe('the solution of the additive guess', () => {
  it('is the best of all points, or within a twentieth of it, on six units', () => {
    const ratios = [0, 1, 2, 3, 4, 5, 6, 7].map((seed) => {
      const space = madeSpace(6, 4, seed)
      return harmOf(space, solvedWithin(space, budgets)) / exhaustive(space, budgets)
    })
    expect(Math.max(...ratios)).toBeLessThan(1.05)
    expect(ratios.filter((r) => r < 1 + 1e-9).length).toBeGreaterThanOrEqual(5)
  })
})
