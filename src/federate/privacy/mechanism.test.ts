import { describe, expect, it } from 'vitest'
import { rng } from '../../base/random.ts'
import { normOf } from '../robust.ts'
import { gridSteps, noisyMean, onGrid } from './mechanism.ts'

describe('the mean with noise', () => {
  it('keeps every update within the bound on the grid, also where floats round upwards', () => {
    const random = rng('grid')
    for (const scale of [1e-6, 0.3, 1, 1e3, 1e20]) {
      const update = Float32Array.from({ length: 1000 }, () => scale * random.normal())
      const whole = onGrid(update, 0.7)
      expect(whole.every(Number.isInteger)).toBe(true)
      expect(whole.reduce((sum, x) => sum + x * x, 0)).toBeLessThanOrEqual(gridSteps ** 2)
      const scaled = Math.min(1, 0.7 / normOf(update))
      for (const [i, x] of whole.entries())
        expect(Math.abs((x * 0.7) / gridSteps - (update[i] as number) * scaled)).toBeLessThanOrEqual(
          1.0001 * (0.7 / gridSteps)
        )
    }
    expect([...onGrid(Float32Array.of(0, 5), 1)]).toEqual([0, gridSteps])
    expect([...onGrid(new Float32Array(3), 1)]).toEqual([0, 0, 0])
  })

  it('adds noise of z S / m a coordinate to the mean over the clients that were expected', () => {
    const d = 4000
    const sums = new Float64Array(d).fill(6 * 0.5 * gridSteps)
    const mean = noisyMean(sums, { bound: 2, noise: 1.5, clients: 10 })
    const average = mean.reduce((sum, x) => sum + x, 0) / d
    const deviation = Math.sqrt(mean.reduce((sum, x) => sum + (x - average) ** 2, 0) / d)
    const sigma = (1.5 * 2) / 10
    // Six standard errors: chance fails once in 10⁸ runs.
    expect(Math.abs(average - 0.6)).toBeLessThan((6 * sigma) / Math.sqrt(d))
    expect(Math.abs(deviation / sigma - 1)).toBeLessThan(6 / Math.sqrt(2 * d))
    expect([...noisyMean(sums, { bound: 2, noise: 1.5, clients: 10 })]).not.toEqual([...mean])
  })
})
