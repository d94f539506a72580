import { describe, expect, it } from 'vitest'
import { targetFor, targets } from './index.ts'

describe('targets', () => {
  it('are found by name, the default first', () => {
    expect(targets[0]?.name).toBe('ort-cpu')
    for (const t of targets) expect(targetFor(t.name)).toBe(t)
    expect(new Set(targets.map((t) => t.name)).size).toBe(targets.length)
  })
  it('names what was meant', () => {
    expect(() => targetFor('ort-cpu-avx')).toThrow(
      expect.objectContaining({ code: 'E_USAGE', hint: 'did you mean ort-cpu-avx2?' })
    )
  })
  it('says where pair sums saturate', () => {
    expect(targets.filter((t) => t.saturates).map((t) => t.name)).toEqual(['ort-cpu-avx2'])
  })
})
