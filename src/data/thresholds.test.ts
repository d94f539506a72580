import { describe, expect, it } from 'vitest'
import { rng } from '../base/random.ts'
import {
  exitOf,
  leastSamples,
  lowestKept,
  never,
  nothingKept,
  type Promised,
  type Routes,
  riskBound,
  routed,
  thresholdsFor
} from './thresholds.ts'

const routes = (
  rows: readonly (readonly [confidence: number, early: number, late: number, label: number])[]
): Routes => ({
  n: rows.length,
  confidence: [Float32Array.from(rows, (r) => r[0])],
  answers: [Int32Array.from(rows, (r) => r[1]), Int32Array.from(rows, (r) => r[2])],
  labels: Int32Array.from(rows, (r) => r[3])
})

describe('routes', () => {
  const r = routes([
    [0.9, 1, 1, 1],
    [0.8, 2, 1, 1],
    [0.8, 1, 2, 1],
    [0.4, 3, 1, 1],
    [Number.NaN, 3, 1, -1]
  ])

  it('counts who leaves where, and what that changes', () => {
    expect(routed(r, 0.85)).toEqual({
      ...{ threshold: 0.85, counts: [1, 4], changed: 0, right: 3, won: 0, lost: 0, labelled: 4 }
    })
    expect(routed(r, Math.fround(0.8))).toMatchObject({ counts: [3, 2], changed: 2, won: 1, lost: 1, right: 3 })
    expect(routed(r, 0)).toMatchObject({ counts: [4, 1], changed: 3, won: 1, lost: 2 })
    expect(routed(r, never)).toMatchObject({ counts: [0, 5], changed: 0 })
  })

  it('never lets a sample leave that has no confidence', () => {
    expect(exitOf(r, 4, 0)).toBe(1)
  })

  it('says what would be needed where nothing can be promised', () => {
    const p: Promised = { kind: 'disagreement', most: 0.01, risk: 0.05 }
    expect(leastSamples(p)).toBe(299)
    expect(lowestKept(r, p, thresholdsFor(4))).toBeUndefined()
    expect(nothingKept(r, p)).toMatchObject({ code: 'E_CONSTRAINT', facts: { samples: '5' } })
  })
})

it('lists thresholds from the safest down', () => {
  const all = thresholdsFor(10)
  expect(all.every((t, i) => i === 0 || t < (all[i - 1] as number))).toBe(true)
  expect([all[0], all.at(-2), all.at(-1)]).toEqual([Math.fround(1 - Math.exp(-16)), expect.closeTo(0.1393, 3), 0])
})

// ---------------------------------------------------------------- the guarantee

/** log of n! */
const logFactorials = (n: number): Float64Array => {
  const out = new Float64Array(n + 1)
  for (let i = 2; i <= n; i++) out[i] = (out[i - 1] as number) + Math.log(i)
  return out
}

/** P(`lost` of n have probability `l`, `won` of n probability `w`). */
function trinomial(n: number, lost: number, won: number, l: number, w: number, f: Float64Array): number {
  const rest = n - lost - won
  const log = (count: number, p: number): number => (count === 0 ? 0 : count * Math.log(p))
  const ways = (f[n] as number) - (f[lost] as number) - (f[won] as number) - (f[rest] as number)
  return Math.exp(ways + log(lost, l) + log(won, w) + log(rest, 1 - l - w))
}

/** Probability that a threshold of true risk l − w is taken for one that keeps the promise; over all samples of n. */
function accepted(p: Promised, n: number, l: number, w: number): number {
  const f = logFactorials(n)
  let sum = 0
  for (let lost = 0; lost <= n; lost++)
    for (let won = 0; won <= (w === 0 ? 0 : n - lost); won++) {
      const counts = { counts: [n], changed: lost, lost, won, labelled: n }
      const chance = trinomial(n, lost, won, l, w, f)
      if (chance > 1e-8 && riskBound(counts, p) <= p.most) sum += chance
    }
  return sum
}

describe('the guarantee, computed exactly', () => {
  // The walk can only end too low at the first threshold whose risk is above the bound: it must pass that one to be wrong.
  it('a disagreement above the bound passes with at most 5 %', () => {
    for (const n of [100, 299, 1000, 2500])
      for (const most of [0.01, 0.02, 0.05, 0.1]) {
        const p: Promised = { kind: 'disagreement', most, risk: 0.05 }
        for (const risk of [most + 1e-9, most * 1.1, most * 2])
          expect(accepted(p, n, risk, 0), `${n} samples, ${risk} above ${most}`).toBeLessThanOrEqual(0.05)
      }
  })

  it('a drop above the bound passes with at most 5 %, however many are won', () => {
    for (const n of [60, 240])
      for (const most of [0.03, 0.1])
        for (const won of [0, 0.01, 0.1]) {
          const p: Promised = { kind: 'drop', most, risk: 0.05 }
          expect(accepted(p, n, won + most + 1e-9, won), `${n} samples, ${most} beside ${won}`).toBeLessThanOrEqual(
            0.05
          )
        }
  })
})

describe('the guarantee, simulated', () => {
  /** Confidence u is uniform; at u the early answer is another with probability (1 − u)² / 2: risk(t) = (1 − t)³ / 6. */
  const draw = (n: number, seed: number): Routes => {
    const random = rng(seed)
    return routes(
      Array.from({ length: n }, () => {
        const u = random.next()
        const isChanged = random.next() < (1 - u) ** 2 / 2
        // Where the answers differ, the early one is right in 3 of 10, the late one in 5 of 10.
        const luck = random.next()
        return isChanged ? [u, 1, 2, luck < 0.3 ? 1 : luck < 0.8 ? 2 : 3] : [u, 1, 1, 1]
      })
    )
  }
  const risk = (t: number): number => (1 - t) ** 3 / 6

  for (const [kind, share] of [
    ['disagreement', 1],
    ['drop', 0.2]
  ] as const)
    it(`${kind}: kept in at least 930 of 1,000 calibrations, and used`, () => {
      const p: Promised = { kind, most: 0.05, risk: 0.05 }
      let [kept, leaving] = [0, 0]
      for (let seed = 0; seed < 1000; seed++) {
        const found = lowestKept(draw(400, seed), p, thresholdsFor(4))
        if (!found || share * risk(found.threshold) <= p.most) kept++
        leaving += (found?.counts[0] ?? 0) / 400 / 1000
      }
      expect(kept).toBeGreaterThanOrEqual(930)
      // The lowest threshold of that risk lets 67 % leave (all of them for the drop): a test that refuses all would keep any promise.
      expect(leaving).toBeGreaterThan(0.4)
    })
})
