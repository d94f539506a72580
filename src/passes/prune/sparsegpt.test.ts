import { describe, expect, it } from 'vitest'
import { rng } from '../../base/random.ts'
import { type PatternName, patternOf } from './masks.ts'
import { sparsegpt } from './sparsegpt.ts'

const damp = 0.01
const blockColumns = 128

/** The inverse of a small matrix, by Gauss and Jordan. */
function inverse(a: readonly (readonly number[])[]): number[][] {
  const n = a.length
  const m = a.map((row, i) => [...row, ...row.map((_, j) => Number(i === j))])
  for (let i = 0; i < n; i++) {
    const by = m[i]?.[i] as number
    m[i] = (m[i] as number[]).map((x) => x / by)
    for (let r = 0; r < n; r++) {
      const f = m[r]?.[i] as number
      if (r !== i) m[r] = (m[r] as number[]).map((x, c) => x - f * (m[i]?.[c] as number))
    }
  }
  return m.map((row) => row.slice(n))
}

/** The inverse of a matrix without its first row and column, from the inverse of all of it. */
const shrunk = (a: readonly (readonly number[])[]): number[][] => {
  const [first, ...others] = a as [readonly number[], ...number[][]]
  return others.map((row) =>
    row.slice(1).map((x, j) => x - ((row[0] as number) * (first[j + 1] as number)) / (first[0] as number))
  )
}

/** By its definition: with the inverse of all that is left of H at each column. */
function dense(w: number[][], h: readonly (readonly number[])[], pattern: PatternName, share: number): void {
  const k = h.length
  const mean = h.reduce((n, row, i) => n + (row[i] as number), 0) / k
  const left = [inverse(h.map((row, i) => row.map((x, j) => x + (i === j ? damp * mean : 0))))]
  while (left.length < k) left.push(shrunk(left.at(-1) as number[][]))
  const cost = (row: number[], j: number): number => (row[j] as number) ** 2 / (left[j]?.[0]?.[0] as number)
  const gone = w.map(() => new Set<number>())
  const { kind, ...p } = { of: blockColumns, keep: 0, rows: 1, columns: 1, ...patternOf(pattern) }
  for (let j = 0; j < k; j++) {
    if (kind === 'n:m' && j % p.of === 0)
      for (const [r, row] of w.entries()) {
        const order = Array.from({ length: p.of }, (_, i) => j + i).sort((a, b) => cost(row, a) - cost(row, b))
        for (const c of order.slice(0, p.of - p.keep)) gone[r]?.add(c)
      }
    else if (kind !== 'n:m' && j % blockColumns === 0) {
      const units: { sum: number; at: [number, number][] }[] = []
      for (let r = 0; r < w.length; r += p.rows)
        for (let c = j; c < Math.min(k, j + blockColumns); c += p.columns) {
          const at = Array.from({ length: p.rows * p.columns }, (_, i): [number, number] => [
            r + Math.floor(i / p.columns),
            c + (i % p.columns)
          ])
          units.push({ sum: at.reduce((n, [y, x]) => n + cost(w[y] as number[], x), 0), at })
        }
      units.sort((a, b) => a.sum - b.sum)
      for (const { at } of units.slice(0, Math.round(share * units.length))) for (const [y, x] of at) gone[y]?.add(x)
    }
    const [first, ...others] = (left[j] as number[][])[0] as [number, ...number[]]
    for (const [r, row] of w.entries()) {
      if (!gone[r]?.has(j)) continue
      const e = (row[j] as number) / first
      row[j] = 0
      for (const [i, x] of others.entries()) row[j + 1 + i] = (row[j + 1 + i] as number) - e * x
    }
  }
}

/** Weights, and second moments of inputs that depend on each other. */
function drawn(rows: number, k: number) {
  const random = rng(k)
  const draw = (): number => random.next() + random.next() - 1
  const mixing = Array.from({ length: k }, () => Array.from({ length: k }, draw))
  const samples = Array.from({ length: 2 * k }, () => {
    const z = Array.from({ length: 12 }, draw)
    return mixing.map((row) => draw() / 2 + z.reduce((n, x, i) => n + x * (row[i] as number), 0))
  })
  const h = mixing.map((_, i) =>
    mixing.map((_, j) => samples.reduce((n, x) => n + (x[i] as number) * (x[j] as number), 0) / samples.length)
  )
  return { w: Array.from({ length: rows }, () => Array.from({ length: k }, draw)), h }
}

describe('sparsegpt', () => {
  it.each([
    ['any', 0.7, 160],
    ['1x4', 0.5, 160],
    ['4x4', 0.75, 40],
    ['2:4', 0.5, 40],
    ['4:8', 0.5, 40]
  ] as const)('%s at %d on %d columns is what its definition gives', (pattern, share, k) => {
    const { w, h } = drawn(8, k)
    const made = Float64Array.from(w.flat())
    sparsegpt(made, k, Float64Array.from(h.flat()), patternOf(pattern), share)
    dense(w, h, pattern, share)
    expect([...made].filter((x) => x === 0).length).toBe(w.flat().filter((x) => x === 0).length)
    for (const [i, x] of w.flat().entries()) expect(made[i]).toBeCloseTo(x, 6)
  })

  it('takes weights of inputs that are always 0 first', () => {
    const { w, h } = drawn(4, 20)
    for (const row of h) row[7] = 0
    h[7]?.fill(0)
    const made = Float64Array.from(w.flat())
    sparsegpt(made, 20, Float64Array.from(h.flat()), patternOf('any'), 0.05)
    expect([...made.entries()].filter(([, x]) => x === 0).map(([i]) => i % 20)).toEqual([7, 7, 7, 7])
  })
})
