import { describe, expect, it } from 'vitest'
import { rng } from '../base/random.ts'
import { boundedUpdate, boundOf, bucketed, normOf, robustRules, ruleFor } from './robust.ts'

const f = (...x: number[]): Float32Array => Float32Array.from(x)

describe('rules that make one update of many', () => {
  it('gives what is computed by hand', () => {
    const updates = [f(1, 5), f(2, 4), f(3, 3), f(4, 2), f(100, -90)]
    expect([...ruleFor('mean').combine(updates)]).toEqual([22, f(-15.2)[0]])
    expect([...ruleFor('mean').combine(updates, { weights: [1, 1, 0, 0, 0] })]).toEqual([1.5, 4.5])
    expect([...ruleFor('trimmed-mean').combine(updates)]).toEqual([3, 3])
    expect([...ruleFor('median').combine(updates)]).toEqual([3, 3])
    expect([...ruleFor('median').combine(updates.slice(0, 4))]).toEqual([2.5, 3.5])
    expect([...ruleFor('krum').combine(updates)]).toEqual([2, 4])
  })

  it('stays near the honest mean where a fifth sends −10 times its update, but for the mean without a bound', () => {
    const random = rng('hostile')
    const honest = Array.from({ length: 16 }, () => Float32Array.from({ length: 500 }, () => 1 + 0.2 * random.normal()))
    const hostile = Array.from({ length: 4 }, () =>
      Float32Array.from({ length: 500 }, () => -10 * (1 + 0.2 * random.normal()))
    )
    const updates = [...honest, ...hostile]
    const truth = ruleFor('mean').combine(honest)
    const off = (x: Float32Array): number => normOf(x.map((v, i) => v - (truth[i] as number))) / normOf(truth)
    expect(off(ruleFor('mean').combine(updates))).toBeGreaterThan(2)
    const bound = boundOf(updates.map(normOf))
    const bounded = updates.map((u) => boundedUpdate(u, bound))
    expect(off(ruleFor('mean').combine(bounded))).toBeLessThan(0.7)
    for (const name of ['trimmed-mean', 'median', 'krum'])
      expect(off(ruleFor(name).combine(bounded)), name).toBeLessThan(0.25)
    expect(off(ruleFor('centred-clipping').combine(bounded, { previous: truth }))).toBeLessThan(0.25)
  })

  it('gives every rule the common update where all clients agree', () => {
    const same = Array.from({ length: 7 }, () => f(0.5, -2, 0))
    for (const rule of robustRules) expect([...rule.combine(same)], rule.name).toEqual([0.5, -2, 0])
  })

  it('refuses what is not finite, and rules without enough updates', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
      expect(() => boundedUpdate(f(1, bad), 1)).toThrow('not finite')
    expect(() => ruleFor('krum').combine([f(1), f(2)])).toThrow('krum needs 3 updates or more; there are 2')
    expect(() => ruleFor('trimmed-mean').combine([f(1), f(2)], { share: 0.5 })).toThrow('needs 3 updates')
    expect(() => ruleFor('average')).toThrow('there is no rule average')
  })

  it('bounds the norm and leaves smaller updates as they are', () => {
    const small = f(3, 4)
    expect(boundedUpdate(small, 5)).toBe(small)
    expect([...boundedUpdate(f(30, 40), 5)]).toEqual([3, 4])
    expect(bucketed([f(1), f(3), f(10)], [2, 0, 1]).map((x) => x[0])).toEqual([5.5, 3])
  })
})
