import { describe, expect, it } from 'vitest'
import { rng } from '../../base/random.ts'
import { addTo } from './calibrate.ts'
import { chooseRange, type Histogram, parametersOf, percentileRange, quantizationError } from './ranges.ts'

const o = { percentile: 99.99, levels: 256 }

function histogram(values: Float32Array, bins = 2048): Histogram {
  const low = values.reduce((a, b) => Math.min(a, b))
  const high = values.reduce((a, b) => Math.max(a, b))
  const h = { low, high, counts: new Float64Array(bins) }
  addTo(h, values)
  return h
}

/** 100,000 of a standard normal; some methods must not move, others must clip. */
const normal = ((): Float32Array => {
  const random = rng('normal')
  return Float32Array.from({ length: 100_000 }, () => random.normal())
})()

describe('histogram', () => {
  it('counts every value once, the extremes in the outer bins', () => {
    const h = histogram(Float32Array.of(-1, -1, 0, 0.99, 1), 4)
    expect(Array.from(h.counts)).toEqual([2, 0, 1, 2])
  })
  it('takes a constant', () => {
    const h = histogram(Float32Array.of(2, 2, 2))
    expect(h.counts[0]).toBe(3)
    for (const method of ['minmax', 'percentile', 'entropy', 'mse', 'best'] as const)
      expect(chooseRange(h, { ...o, method })).toMatchObject({ low: 0, high: 2 })
  })
})

describe('calibrators', () => {
  it('minmax keeps the extremes and always holds zero', () => {
    expect(chooseRange({ low: 2, high: 5, counts: new Float64Array(0) }, { ...o, method: 'minmax' })).toEqual({
      low: 0,
      high: 5,
      method: 'minmax'
    })
  })
  it('percentile cuts the same share on both sides', () => {
    const uniform = { low: 0, high: 1000, counts: new Float64Array(1000).fill(10) }
    expect(percentileRange(uniform, 99)).toEqual({ low: 5, high: 995 })
    expect(percentileRange(uniform, 100)).toEqual({ low: 0, high: 1000 })
  })
  it('mse finds the clipping of a normal: about ±3.9 σ at 256 levels', () => {
    const r = chooseRange(histogram(normal), { ...o, method: 'mse' })
    expect(r.high).toBeGreaterThan(3.4)
    expect(r.high).toBeLessThan(4.3)
    expect(-r.low).toBeGreaterThan(3.4)
    expect(-r.low).toBeLessThan(4.3)
  })
  it('entropy and percentile leave out a far outlier, minmax does not', () => {
    const values = Float32Array.from(normal, Math.abs)
    values[7] = 60
    const h = histogram(values)
    expect(chooseRange(h, { ...o, method: 'minmax' }).high).toBe(60)
    expect(chooseRange(h, { ...o, method: 'entropy' }).high).toBeLessThan(10)
    expect(chooseRange(h, { ...o, method: 'percentile' }).high).toBeLessThan(10)
  })
  it('entropy keeps all of a uniform distribution', () => {
    const uniform = { low: 0, high: 1, counts: new Float64Array(2048).fill(50) }
    expect(chooseRange(uniform, { ...o, method: 'entropy' }).high).toBeCloseTo(1, 2)
  })
  it('entropy does not mind a spike of exact zeros', () => {
    const values = Float32Array.from(normal, (x) => Math.max(0, x))
    const r = chooseRange(histogram(values), { ...o, method: 'entropy' })
    expect(r.high).toBeGreaterThan(2.5)
  })
  it('best has no more error than any', () => {
    const h = histogram(normal)
    const error = (method: 'minmax' | 'percentile' | 'entropy' | 'mse' | 'best'): number =>
      quantizationError(h, chooseRange(h, { ...o, method }), 256)
    for (const m of ['minmax', 'percentile', 'entropy', 'mse'] as const)
      expect(error('best')).toBeLessThanOrEqual(error(m))
  })
  it('the expected error is that of really quantizing', () => {
    const h = histogram(normal)
    const range = { low: -3, high: 3 }
    const { scale, zeroPoint } = parametersOf(range, 'uint8')
    let sum = 0
    for (const x of normal) {
      const code = Math.min(255, Math.max(0, Math.round(x / scale) + zeroPoint))
      sum += (x - (code - zeroPoint) * scale) ** 2
    }
    // A bin is an eighth of a step wide: its width hides 1/64 of the error.
    expect(quantizationError(h, range, 256) / sum).toBeGreaterThan(0.96)
    expect(quantizationError(h, range, 256) / sum).toBeLessThan(1.04)
  })
})

describe('parameters', () => {
  it('put zero on the lowest code of a range that starts there', () => {
    expect(parametersOf({ low: 0, high: 25.5 }, 'uint8')).toEqual({
      scale: Math.fround(0.1),
      zeroPoint: 0,
      dtype: 'uint8'
    })
    expect(parametersOf({ low: 0, high: 25.5 }, 'int8').zeroPoint).toBe(-128)
  })
  it('keep the highest code within a limit', () => {
    for (const limit of [6, 1, 0.1, 20]) {
      const { scale, zeroPoint } = parametersOf({ low: 0, high: limit }, 'uint8', limit)
      expect((255 - zeroPoint) * scale).toBeLessThanOrEqual(limit)
      expect((255 - zeroPoint) * scale).toBeGreaterThan(limit * (1 - 1e-6))
    }
  })
  it('have a scale for a value that is always zero', () => {
    expect(parametersOf({ low: 0, high: 0 }, 'uint8')).toEqual({ scale: 1, zeroPoint: 0, dtype: 'uint8' })
  })
})
