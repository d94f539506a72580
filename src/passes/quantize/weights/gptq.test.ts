import { describe, expect, it } from 'vitest'
import { rng } from '../../../base/random.ts'
import { cholesky, gptq, gptqDefaults, inverseRoot, type Rounder } from './gptq.ts'
import { type Grid, polish } from './polish.ts'

const k = 40
const rows = 12

/** Moments of correlated inputs. */
function moments(seed: string, samples = 400): Float64Array {
  const random = rng(seed)
  const mix = Float64Array.from({ length: k * k }, () => random.normal())
  const h = new Float64Array(k * k)
  for (let n = 0; n < samples; n++) {
    const z = Array.from({ length: 8 }, () => random.normal())
    const x = Array.from(
      { length: k },
      (_, i) => z.reduce((s, v, j) => s + v * (mix[i * k + j] as number), 0) + 0.3 * random.normal()
    )
    for (let i = 0; i < k; i++)
      for (let j = 0; j < k; j++)
        h[i * k + j] = (h[i * k + j] as number) + ((x[i] as number) * (x[j] as number)) / samples
  }
  return h
}

const weights = (): Float64Array => {
  const random = rng('weights')
  return Float64Array.from({ length: rows * k }, () => random.normal())
}

const step = 0.5
const toGrid: Rounder = (_row, _column, x) => Math.max(-8, Math.min(7, Math.round(x / step))) * step

function outputError(made: Float64Array, target: Float64Array, h: Float64Array): number {
  let sum = 0
  for (let r = 0; r < rows; r++)
    for (let i = 0; i < k; i++)
      for (let j = 0; j < k; j++) {
        const [a, b] = [r * k + i, r * k + j]
        sum +=
          ((made[a] as number) - (target[a] as number)) *
          (h[i * k + j] as number) *
          ((made[b] as number) - (target[b] as number))
      }
  return sum
}

describe('gptq', () => {
  it('changes the outputs less than rounding to nearest, with codes of the same grid', () => {
    const h = moments('x')
    const w = weights()
    const nearest = w.map((x) => toGrid(0, 0, x))
    for (const actOrder of [false, true]) {
      const made = weights()
      expect(gptq(made, k, h, toGrid, { ...gptqDefaults, actOrder })).toEqual(w)
      for (const x of made) expect(Math.abs(x / step - Math.round(x / step))).toBeLessThan(1e-9)
      expect(outputError(made, w, h)).toBeLessThan(0.4 * outputError(nearest, w, h))
    }
  })
  it('does not depend on where blocks of columns end', () => {
    // Independent inputs: nothing to make up for, each weight goes to its nearest code.
    const h = new Float64Array(300 * 300)
    for (let i = 0; i < 300; i++) h[i * 301] = 1 + i
    const random = rng('long')
    const w = Float64Array.from({ length: 300 }, () => random.normal())
    const made = w.slice()
    gptq(made, 300, h, toGrid)
    expect([...made]).toEqual([...w].map((x) => toGrid(0, 0, x)))
  })
  it('leaves weights of inputs that are always 0 at their nearest code', () => {
    const h = moments('x')
    for (let i = 0; i < k; i++) h[3 * k + i] = h[i * k + 3] = 0
    const made = weights()
    gptq(made, k, h, toGrid)
    for (let r = 0; r < rows; r++) expect(made[r * k + 3]).toBe(toGrid(0, 0, weights()[r * k + 3] as number))
  })
  it('answers moved inputs as the weights answered the original ones', () => {
    // x̂ = x/2: twice the weights answer it alike, E[(x − x̂)x̂ᵀ] = H.
    const h = moments('x')
    const made = weights()
    const fine: Rounder = (_r, _c, x) => x
    const wanted = gptq(made, k, h, fine, { damp: 1e-9, actOrder: true }, h)
    for (const [i, x] of weights().entries()) expect(Math.abs((wanted[i] as number) - 2 * x)).toBeLessThan(1e-3)
  })
  it('has a root of the inverse: (UᵀU)(H + damp) = 1', () => {
    const h = moments('x')
    const order = Int32Array.from({ length: k }, (_, i) => k - 1 - i)
    const u = inverseRoot(h, k, order, 0.01)
    let mean = 0
    for (let i = 0; i < k; i++) mean += (h[i * k + i] as number) / k
    const at = (i: number, j: number): number =>
      (h[(order[i] as number) * k + (order[j] as number)] as number) + (i === j ? 0.01 * mean : 0)
    for (let i = 0; i < k; i++)
      for (let j = 0; j < k; j++) {
        let sum = 0
        for (let m = 0; m < k; m++) {
          let inverse = 0
          for (let n = 0; n <= Math.min(i, m); n++) inverse += (u[n * k + i] as number) * (u[n * k + m] as number)
          sum += inverse * at(m, j)
        }
        expect(sum).toBeCloseTo(i === j ? 1 : 0, 6)
      }
  })
  it('says of a matrix whether it is positive definite', () => {
    expect(cholesky(Float64Array.of(4, 0, 2, 5), 2)).toBe(true)
    expect(cholesky(Float64Array.of(1, 0, 2, 1), 2)).toBe(false)
  })
})

describe('polish', () => {
  it('makes no row worse, and moves shared scales', () => {
    const h = moments('x')
    const t = weights()
    const scales = new Float64Array(rows).fill(step * 1.3)
    const codes = new Float64Array(rows * k)
    const round: Rounder = (r, c, x) => {
      codes[r * k + c] = Math.max(-8, Math.min(7, Math.round(x / (scales[r] as number))))
      return (codes[r * k + c] as number) * (scales[r] as number)
    }
    const grid: Grid = {
      round,
      shared: (r) => [
        {
          columns: Int32Array.from({ length: k }, (_, i) => i),
          coefficients: codes.slice(r * k, (r + 1) * k),
          move: (by) => {
            scales[r] = (scales[r] as number) + by
            return by
          }
        }
      ]
    }
    const v = t.slice()
    gptq(v, k, h, round)
    const before = outputError(v, t, h)
    polish(v, t, k, h, grid)
    expect(outputError(v, t, h)).toBeLessThan(before)
    for (let i = 0; i < v.length; i++)
      expect(v[i]).toBeCloseTo((codes[i] as number) * (scales[Math.floor(i / k)] as number), 9)
  })
})
