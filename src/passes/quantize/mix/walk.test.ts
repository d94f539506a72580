import { describe, expect, it } from 'vitest'
import type { Comparison } from '../../types.ts'
import type { Point } from './knapsack.ts'
import { isSafe, kneeOf, walk } from './walk.ts'

const measured = (error: number, drop: number, half = 0): Comparison => ({
  metric: 'top1',
  drop: { value: drop, low: drop - half, high: drop + half, n: 100 },
  error
})

/** A front of 50 points whose harm falls by a fifth each. */
const front: Point[] = Array.from({ length: 50 }, (_, i) => ({
  picks: new Uint8Array(),
  cost: 100 + 2 * i,
  harm: 0.8 ** i
}))
const options = { maxDrop: 0.01, start: 20, stride: 4, most: 12, near: 0.001 }

describe('walk', () => {
  it('finds the cheapest that keeps the bound where the drop grows with e²', async () => {
    // The real e² is twice what was predicted, and a drop of 0.01 at a real e² of 0.05.
    const { best } = await walk(front, async (p) => measured(2 * p.harm, 0.4 * p.harm), options)
    const wanted = front.find((p) => 0.4 * p.harm <= 0.01)
    expect(best?.point.cost).toBe(wanted?.cost)
  })
  it('takes the first where all keep it, and none where none does', async () => {
    expect((await walk(front, async (p) => measured(p.harm, 0), options)).best?.point).toBe(front[0])
    expect((await walk(front, async (p) => measured(p.harm, 0.5), options)).best).toBeUndefined()
  })
  it('goes on to more precise ones where what was measured later makes the first look worse', async () => {
    // The first look is lucky; the others lose in proportion.
    const look = async (p: Point): Promise<Comparison> => measured(p.harm, p === front[20] ? 0 : p.harm)
    const { best } = await walk(front, look, { ...options, most: 4 })
    expect(best?.drop.value).toBeLessThanOrEqual(0.01)
    expect(best?.point.harm).toBeLessThanOrEqual(0.01)
  })
  it('measures no more models than allowed', async () => {
    let n = 0
    const look = async (p: Point): Promise<Comparison> => {
      n++
      return measured(p.harm, p.harm)
    }
    await walk(front, look, { ...options, most: 3 })
    expect(n).toBe(3)
  })
})

describe('isSafe', () => {
  it('is not misled by one lucky model', () => {
    const lucky = measured(0.1, 0)
    const others = [lucky, measured(0.2, 0.04), measured(0.3, 0.06)]
    expect(isSafe(lucky, [lucky], 0.01)).toBe(true)
    expect(isSafe(lucky, others, 0.01)).toBe(false)
    expect(isSafe(measured(0.01, 0), others, 0.01)).toBe(true)
  })
  it('asks for more where the samples tell little', () => {
    const sure = measured(0.1, 0.008, 0.001)
    const vague = measured(0.1, 0.008, 0.03)
    expect(isSafe(sure, [sure], 0.01)).toBe(true)
    expect(isSafe(vague, [vague], 0.01)).toBe(false)
  })
  it('learns from the next one above where that is far', () => {
    // No flips among few samples leave room for 1.5 points, which a hundredth of a disturbance that costs 2 does not.
    const fine = measured(0.001, 0, 0.03)
    expect(isSafe(fine, [fine], 0.01)).toBe(false)
    expect(isSafe(fine, [fine, measured(0.1, 0.02, 0.03)], 0.01)).toBe(true)
  })
  it('learns from the one above also where the same model is measured again', () => {
    const fine = [measured(2.5e-8, 0, 0.24), measured(2.51e-8, 0, 0.24), measured(2.5e-8, 0, 0.24)]
    const coarse = measured(2.4e-5, 0, 0.24)
    for (const m of fine) {
      expect(isSafe(m, fine, 0.05)).toBe(false)
      expect(isSafe(m, [...fine, coarse], 0.05)).toBe(true)
    }
    expect(isSafe(coarse, [...fine, coarse], 0.05)).toBe(false)
  })
  it('never takes what loses too much itself', () => {
    expect(isSafe(measured(0, 0.02), [], 0.01)).toBe(false)
  })
})

describe('kneeOf', () => {
  const steep: Point[] = [1, 0.5, 0.25, 0.2, 0.19].map((harm, i) => ({
    picks: new Uint8Array(),
    cost: 100 + 10 * i,
    harm
  }))
  const knee = (at: number, drop: number, maxDrop: number): Point => {
    const from = { ...measured(0.1, drop), point: steep[at] as Point }
    return kneeOf(steep, from, [from], maxDrop)
  }
  it('goes on where little more bytes take most of the loss away', () => {
    // Prices 200, 165, 150, 156, 166.6.
    expect(knee(0, 0.01, 0.01)).toBe(steep[2])
    // A hundredth of what is allowed is lost: bytes alone count.
    expect(knee(0, 0.0001, 0.01)).toBe(steep[0])
  })
  it('stays where nothing is lost, and never goes back', () => {
    expect(knee(1, 0, 0.01)).toBe(steep[1])
    expect(knee(3, 0.01, 0.01)).toBe(steep[3])
  })
})
