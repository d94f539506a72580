import { describe, expect, it } from 'vitest'
import { choose, isKept, type Standing } from './choose.ts'

const at = (name: string, bytesRatio: number, median: number, drop = 0, error = 0): Standing => ({
  name,
  bytesRatio,
  latency: { median, low: median, high: median },
  drop,
  error
})
const pick = (
  all: readonly Standing[],
  ...o: ['balanced' | 'size' | 'latency' | 'macs', number?]
): string | undefined => {
  const { winner } = choose(all, o[0], o[1])
  return winner === undefined ? undefined : all[winner]?.name
}

describe('choose', () => {
  const weights = at('weights', 0.27, 1.0)
  const int8 = at('int8', 0.29, 0.52, 0.001)
  const slow = at('slow', 0.2, 1.4)

  it('takes the least product among those no slower', () => {
    expect(pick([weights, int8, slow], 'balanced', 0.005)).toBe('int8')
    expect(pick([weights, slow], 'balanced', 0.005)).toBe('weights')
    expect(pick([slow], 'balanced')).toBeUndefined()
  })
  it('takes the smallest for size, however slow', () => {
    expect(pick([weights, int8, slow], 'size')).toBe('slow')
  })
  it('takes nothing that is larger than the original for size, unless it was given', () => {
    const grown = at('grown', 1.1, 0.5)
    expect(choose([grown], 'size', undefined)).toMatchObject({ winner: undefined, verdicts: [{ hindrance: 'bytes' }] })
    expect(choose([grown], 'given', undefined)).toMatchObject({
      winner: 0,
      verdicts: [{ why: 'as given: 1.10 × the bytes' }]
    })
  })
  it('breaks the ties of latency by size', () => {
    expect(pick([at('float', 1, 0.995), weights], 'latency')).toBe('weights')
  })
  it('breaks other ties by faithfulness', () => {
    expect(pick([at('a', 0.27, 1.0, 0, 0.2), at('b', 0.272, 1.0, 0, 0.05)], 'balanced')).toBe('b')
  })
  it('leaves out what loses more than allowed, and says so', () => {
    const { winner, verdicts } = choose([at('a', 0.2, 0.5, 0.02)], 'balanced', 0.01)
    expect(winner).toBeUndefined()
    expect(verdicts[0]).toEqual({ hindrance: 'accuracy', why: 'loses 2.0 points, more than 1.0 points' })
  })
  it('speaks of no time where nothing was timed', () => {
    const untimed: Standing = { name: 'a', bytesRatio: 0.25, drop: 0, error: 0 }
    for (const objective of ['balanced', 'latency', 'size'] as const)
      expect(choose([untimed], objective, undefined).verdicts[0]?.why).not.toMatch(/× latency|the latency/)
    expect(choose([untimed], 'balanced', undefined).verdicts[0]?.why).toContain('(not timed)')
  })
})

describe('isKept', () => {
  it('takes the measured drop, or an interval that contains none', () => {
    expect(isKept({ value: 0.004, low: 0.001 }, 0.005)).toBe(true)
    expect(isKept({ value: 0.012, low: -0.003 }, 0.01)).toBe(true)
    expect(isKept({ value: 0.012, low: 0.004 }, 0.01)).toBe(false)
  })
})
