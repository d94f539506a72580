import { describe, expect, it } from 'vitest'
import { rng } from '../base/random.ts'
import { counter, extremesOnly, type Histogram } from './histogram.ts'
import { chooseRange, parametersOf, percentileRange, quantizationError } from './ranges.ts'

const o = { percentile: 99.99, levels: 256 }

function histogram(values: Float32Array, bins = 2048): Histogram {
  const c = counter(bins)
  c.add(values)
  return c.histogram()
}

/** Equal counts over 0 … bins · width. */
const uniform = (bins: number, width: number): Histogram => ({
  low: 0,
  high: bins * width,
  from: 0,
  width,
  counts: new Float64Array(bins).fill(10)
})

/** 100,000 of a standard normal; some methods must not move, others must clip. */
const normal = ((): Float32Array => {
  const random = rng('normal')
  return Float32Array.from({ length: 100_000 }, () => random.normal())
})()

describe('histogram', () => {
  it('counts every value once, in bins of a power of two', () => {
    expect(histogram(Float32Array.of(-1, -1, 0, 0.99, 1), 4)).toEqual({
      ...{ low: -1, high: 1, from: -1, width: 0.5 },
      counts: Float64Array.of(2, 0, 1, 1, 1)
    })
  })
  it('grows to the same counts whatever the order and the batches', () => {
    const values = Float32Array.from({ length: 4001 }, (_, i) => Math.fround(Math.tan((i * 1.57) / 4001) - 3))
    const whole = histogram(values)
    expect(whole.counts.reduce((a, b) => a + b, 0)).toBe(values.length)
    expect(whole.counts.length).toBeGreaterThanOrEqual(2048)
    expect(whole.counts.length).toBeLessThanOrEqual(4097)
    for (const size of [1, 3, 100])
      for (const ordered of [values, values.toReversed()]) {
        const c = counter(2048)
        for (let i = 0; i < values.length; i += size) c.add(ordered.subarray(i, i + size))
        expect(c.histogram()).toEqual(whole)
      }
  })
  it('finds what is not finite, also inside of the range', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const c = counter(64)
      expect(c.add(Float32Array.of(1, 2, 3, 4, 5))).toBe(true)
      expect(c.add(Float32Array.of(2, 2, 2, 2, bad, 3))).toBe(false)
    }
  })
  it('takes a constant', () => {
    const h = histogram(Float32Array.of(2, 2, 2))
    expect(h.counts).toEqual(Float64Array.of(3))
    for (const method of ['minmax', 'percentile', 'entropy', 'mse', 'best'] as const)
      expect(chooseRange(h, { ...o, method })).toMatchObject({ low: 0, high: 2 })
  })
  it('takes the smallest and the largest numbers together', () => {
    const h = histogram(Float32Array.of(1e-45, 1e-45, 0, 3.4e38, -3.4e38))
    expect(h.counts.reduce((a, b) => a + b, 0)).toBe(5)
  })
})

describe('calibrators', () => {
  it('minmax keeps the extremes and always holds zero', () => {
    expect(chooseRange(extremesOnly(2, 5), { ...o, method: 'minmax' })).toEqual({
      low: 0,
      high: 5,
      method: 'minmax'
    })
  })
  it('percentile cuts the same share on both sides', () => {
    const h = uniform(1000, 1)
    expect(percentileRange(h, 99)).toEqual({ low: 5, high: 995 })
    expect(percentileRange(h, 100)).toEqual({ low: 0, high: 1000 })
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
    expect(chooseRange(uniform(2048, 1 / 2048), { ...o, method: 'entropy' }).high).toBeCloseTo(1, 2)
  })
  it('entropy cuts nothing off fewer values than bins, beside zeros or not', () => {
    const few = Float32Array.from({ length: 60 }, (_, i) => ((i * 17) % 60) / 60)
    for (const zeros of [0, 5000]) {
      const r = chooseRange(histogram(Float32Array.from([...few, ...new Float32Array(zeros)])), {
        ...o,
        method: 'entropy'
      })
      expect(r.high).toBeCloseTo(59 / 60, 2)
    }
  })
  it('entropy does not mind a spike of exact zeros', () => {
    const values = Float32Array.from(normal, (x) => Math.max(0, x))
    const r = chooseRange(histogram(values), { ...o, method: 'entropy' })
    expect(r.high).toBeGreaterThan(2.5)
  })
  it.each([
    [-1, 1],
    [0, 6],
    [-8, 0.5],
    [-0.3, 5],
    [-4, 2]
  ])('entropy keeps values that gather at the bounds of a Clip: %f … %f', (low, high) => {
    for (const spread of [1, 4, 20]) {
      const values = Float32Array.from(normal, (x) => Math.min(high, Math.max(low, spread * x)))
      const h = histogram(values)
      const power = values.reduce((n, x) => n + x * x, 0)
      const error = quantizationError(h, chooseRange(h, { ...o, method: 'entropy' }), 256)
      expect(10 * Math.log10(power / error), `spread ${spread}`).toBeGreaterThan(25)
    }
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
