import { describe, expect, it } from 'vitest'
import { rng } from '../../../base/random.ts'
import { codebook, nearestValue } from './kmeans.ts'

const errorOf = (numbers: ArrayLike<number>, values: Float64Array, importance?: ArrayLike<number>): number =>
  Array.from(numbers).reduce((sum, x, i) => {
    const d = x - (values[nearestValue(values, x)] as number)
    return sum + d * d * (importance?.[i] ?? 1)
  }, 0)

/** The least error over all ways to cut sorted numbers into k runs. */
function leastError(numbers: readonly number[], k: number): number {
  if (k === 1) {
    const mean = numbers.reduce((a, b) => a + b, 0) / numbers.length
    return numbers.reduce((sum, x) => sum + (x - mean) ** 2, 0)
  }
  let least = Number.POSITIVE_INFINITY
  for (let cut = 1; cut <= numbers.length - k + 1; cut++)
    least = Math.min(least, leastError(numbers.slice(0, cut), 1) + leastError(numbers.slice(cut), k - 1))
  return least
}

describe('codebook', () => {
  it('has the least error of all cuts', () => {
    const random = rng('numbers')
    for (const k of [2, 3, 4]) {
      const numbers = Array.from({ length: 11 }, () => random.normal()).sort((a, b) => a - b)
      expect(errorOf(numbers, codebook(numbers, k))).toBeCloseTo(leastError(numbers, k), 10)
    }
  })
  it('is exact where there are no more values than entries', () => {
    expect([...codebook([3, -1, 3, 0.5, -1], 4)]).toEqual([-1, 0.5, 3])
  })
  it('beats even steps on a normal, also when numbers are merged into runs', () => {
    const random = rng('many')
    const numbers = Float32Array.from({ length: 20000 }, () => random.normal())
    // The best 16 values of a normal leave an error of 0.00950 (Max, 1960), the best even steps 0.01154.
    expect(errorOf(numbers, codebook(numbers, 16)) / numbers.length).toBeLessThan(0.0099)
  })
  it('goes where the importance is', () => {
    const numbers = [0, 1, 2, 3]
    const importance = [1, 100, 100, 1]
    expect([...codebook(numbers, 2, { importance })]).toEqual([100 / 101, 203 / 101].map((x) => expect.closeTo(x, 6)))
  })
  it('holds 0 exactly where zeros are meant, and spends no more entries on them', () => {
    const numbers = [0, 0, 0, 0, 0, -2, -1.9, 1, 1.1, 5]
    const values = codebook(numbers, 4, { holdsZero: true })
    expect([...values]).toEqual([-1.95, 0, 1.05, 5].map((x) => expect.closeTo(x, 6)))
    expect(values[nearestValue(values, 0)]).toBe(0)
    expect([...codebook([0, 0], 4, { holdsZero: true })]).toEqual([0])
  })
  it('finds the nearest value', () => {
    const values = Float64Array.of(-2, 0, 1, 5)
    expect([-9, -1.1, -0.9, 0.4, 0.6, 2.9, 3.1].map((x) => nearestValue(values, x))).toEqual([0, 0, 1, 1, 2, 2, 3])
  })
})
