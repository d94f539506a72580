import fc from 'fast-check'
import { expect, test } from 'vitest'
import { meanInterval, medianInterval, metricInterval, pairedDrop, pairedProportions, wilson } from './intervals.ts'

const binary = { name: 'top1', scale: 'binary', better: 'higher' } as const

test('wilson matches published intervals', () => {
  // Newcombe (1998), table I, method 3: 81/263, 15/148, 0/20, 1/29.
  for (const [r, n, low, high] of [
    [8, 10, 0.4902, 0.9433],
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718]
  ] as const) {
    const i = wilson(r, n)
    expect(i.low).toBeCloseTo(low, 4)
    expect(i.high).toBeCloseTo(high, 4)
    expect(i).toMatchObject({ value: r / n, n })
  }
})

test('wilson holds the value and stays in [0, 1]', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 3000 }), fc.double({ min: 0, max: 1, noNaN: true }), (n, p) => {
      const i = wilson(Math.round(n * p), n)
      return i.low >= 0 && i.high <= 1 && i.low <= i.value + 1e-12 && i.high >= i.value - 1e-12
    })
  )
})

test('paired proportions follow the adjusted Wald formula', () => {
  // b = 9/102, c = 3/102 by hand.
  const i = pairedProportions(8, 2, 100)
  const half = 1.959964 * Math.sqrt((12 / 102 - (6 / 102) ** 2) / 102)
  expect(i.value).toBeCloseTo(0.06, 12)
  expect(i.low).toBeCloseTo(6 / 102 - half, 6)
  expect(i.high).toBeCloseTo(6 / 102 + half, 6)
})

test('paired proportions cover the truth about 95 % of the time', () => {
  // n = 500 samples, 4 % lost, 2 % won: the exact coverage, summed over the joint distribution near its mean.
  const [n, lost, won] = [500, 0.04, 0.02]
  const logFactorial = [0]
  for (let i = 1; i <= n; i++) logFactorial.push((logFactorial[i - 1] as number) + Math.log(i))
  const f = (k: number): number => logFactorial[k] as number
  let covered = 0
  for (let b = 0; b < 80; b++)
    for (let c = 0; c < 60; c++) {
      const p = Math.exp(
        f(n) -
          f(b) -
          f(c) -
          f(n - b - c) +
          b * Math.log(lost) +
          c * Math.log(won) +
          (n - b - c) * Math.log(1 - lost - won)
      )
      const i = pairedProportions(b, c, n)
      if (i.low <= lost - won && lost - won <= i.high) covered += p
    }
  expect(covered).toBeGreaterThan(0.94)
  expect(covered).toBeLessThan(0.965)
})

test('a drop is positive where it hurts', () => {
  expect(pairedDrop([1, 1, 0, 1], [1, 0, 0, 1], binary).value).toBeCloseTo(0.25)
  expect(pairedDrop([1, 1, 0, 1], [1, 1, 1, 1], binary).value).toBeCloseTo(-0.25)
  const error = { name: 'relativeError', scale: 'real', better: 'lower' } as const
  const d = pairedDrop([0.1, 0.2, 0.3], [0.2, 0.3, 0.4], error)
  expect(d.value).toBeCloseTo(0.1)
  expect(d.high - d.low).toBeCloseTo(0)
})

test('identical models still have an interval: no flip in n samples does not prove none', () => {
  const same = Array.from({ length: 500 }, (_, i) => (i % 10 ? 1 : 0))
  const d = pairedDrop(same, same, binary)
  expect(d.value).toBe(0)
  expect(d.low).toBeCloseTo(-d.high)
  expect(d.high).toBeGreaterThan(0.002)
  expect(d.high).toBeLessThan(0.01)
})

test('the mean has the normal interval, and a single sample none', () => {
  const i = meanInterval([1, 2, 3, 4])
  expect(i.value).toBe(2.5)
  expect(i.high - i.value).toBeCloseTo((1.959964 * Math.sqrt(5 / 3)) / 2, 5)
  expect(meanInterval([7])).toEqual({ value: 7, low: 7, high: 7, n: 1 })
})

test('binary metrics refuse other scores', () => {
  expect(() => metricInterval([1, 0.5], binary)).toThrow(/binary/)
})

test('the interval of a median is between the published ranks', () => {
  const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1)
  // Conover, Practical Nonparametric Statistics: ranks 2 and 9 of 10, 6 and 15 of 20, 40 and 61 of 100.
  expect(medianInterval(upTo(10))).toEqual({ median: 5.5, low: 2, high: 9 })
  expect(medianInterval(upTo(20))).toEqual({ median: 10.5, low: 6, high: 15 })
  expect(medianInterval(upTo(100))).toEqual({ median: 50.5, low: 40, high: 61 })
  expect(medianInterval([3, 1])).toEqual({ median: 2, low: 1, high: 3 })
})
