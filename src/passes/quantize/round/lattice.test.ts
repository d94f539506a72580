import { describe, expect, it } from 'vitest'
import { rng } from '../../../base/random.ts'
import { damped, errorsOf, type Grid, movedTarget, type Rows, roundRows, scaleSums } from './lattice.ts'

const k = 6
const step = 0.5

/** Whole steps within ±3. */
const grid: Grid = {
  nearest: (_r, _k, x) => step * Math.min(3, Math.max(-3, Math.round(x / step))),
  step: () => step,
  isFixed: () => false
}

/** E[x xᵀ] of correlated inputs: each holds its neighbour. */
function moments(seed: number, n = 200): Float64Array {
  const random = rng(seed)
  const h = new Float64Array(k * k)
  for (let t = 0; t < n; t++) {
    const x = new Float64Array(k)
    for (let i = 0; i < k; i++) x[i] = random.normal() + 1.5 * (x[i - 1] ?? 0)
    for (let i = 0; i < k; i++)
      for (let j = 0; j < k; j++) h[i * k + j] = (h[i * k + j] as number) + ((x[i] as number) * (x[j] as number)) / n
  }
  return h
}

function rowsOf(seed: number, count = 8): Rows {
  const random = rng(`w${seed}`)
  return { k, h: moments(seed), target: Float64Array.from({ length: count * k }, () => random.normal() * 0.6) }
}

const nearest = (rows: Rows): Float64Array => rows.target.map((x, i) => grid.nearest(0, i % k, x))

/** The least error of a row over all points of the grid. */
function exhaustive(rows: Rows, r: number): number {
  let least = Number.POSITIVE_INFINITY
  const v = rows.target.slice(r * k, (r + 1) * k)
  const own = { ...rows, target: v }
  const walk = (at: number, row: Float64Array): void => {
    if (at === k) least = Math.min(least, errorsOf(own, row)[0] as number)
    else
      for (let q = -3; q <= 3; q++)
        walk(
          at + 1,
          Float64Array.from(row, (x, i) => (i === at ? q * step : x))
        )
  }
  walk(0, new Float64Array(k))
  return least
}

describe('roundRows', () => {
  it('comes near to the best point of the grid', () => {
    const rows = rowsOf(1)
    const found = errorsOf(rows, roundRows(rows, nearest(rows), grid, 50))
    const plain = errorsOf(rows, nearest(rows))
    let [sum, best, rounded] = [0, 0, 0]
    for (let r = 0; r < 3; r++) {
      sum += found[r] as number
      rounded += plain[r] as number
      best += exhaustive(rows, r)
    }
    expect(sum).toBeLessThan(1.1 * best + 1e-12)
    expect(sum).toBeLessThan(0.8 * rounded)
  })
  it('never makes a row worse, and ends where no single change improves it', () => {
    for (let seed = 2; seed < 6; seed++) {
      const rows = rowsOf(seed)
      const made = roundRows(rows, nearest(rows), grid, 50)
      const [before, after] = [errorsOf(rows, nearest(rows)), errorsOf(rows, made)]
      for (const [r, e] of after.entries()) expect(e).toBeLessThanOrEqual((before[r] as number) + 1e-9)
      for (let at = 0; at < made.length; at++)
        for (const d of [-step, step]) {
          const other = made.slice()
          other[at] = (other[at] as number) + d
          if (Math.abs(other[at] as number) > 3 * step) continue
          const e = errorsOf(rows, other)[Math.floor(at / k)] as number
          expect(e).toBeGreaterThanOrEqual((after[Math.floor(at / k)] as number) - 1e-9)
        }
    }
  })
  it('keeps fixed elements at 0', () => {
    const rows = rowsOf(7)
    const isFixed = (_r: number, i: number): boolean => i % 2 === 0
    const start = nearest(rows).map((v, at) => (isFixed(0, at % k) ? 0 : v))
    const made = roundRows(rows, start, { ...grid, isFixed }, 50)
    expect(made.filter((_, at) => isFixed(0, at % k)).every((v) => v === 0)).toBe(true)
    expect(made.some((v) => v !== 0)).toBe(true)
  })
})

describe('what is aimed at', () => {
  it('answers moved inputs as the weights answered the old ones', () => {
    // x = 2·x̂, so that weights twice as large give the same: off = E[(x − x̂)x̂ᵀ] = H.
    const h = damped(moments(3), k, 0, 0)
    const w = Float64Array.from({ length: k }, (_, i) => i - 2)
    const target = movedTarget(w, k, h, h)
    for (const [i, t] of target.entries()) expect(t).toBeCloseTo(2 * (w[i] as number), 6)
  })
  it('fits a scale by the least error', () => {
    const rows = rowsOf(4, 1)
    const v = nearest(rows)
    const { slope, curve } = scaleSums(rows, v, 0, step, () => true)
    const best = step - slope / curve
    const at = (s: number): number =>
      errorsOf(
        rows,
        v.map((x) => (x / step) * s)
      )[0] as number
    expect(at(best)).toBeLessThanOrEqual(at(step))
    expect(at(best)).toBeLessThan(Math.min(at(best * 1.01), at(best * 0.99)))
  })
})
