import { describe, expect, it } from 'vitest'
import { featureWords } from '../ir/rows.ts'
import type { Device, Fact, Feature, FileOperator } from '../types.ts'
import { preflight, targets } from './index.ts'

const device: Device = {
  read: 'a source of today',
  types: [
    { from: 'source', when: [['dtype', '==', 'float32']] },
    {
      from: 'source',
      when: [
        ['dtype', '==', 'int8'],
        ['weightZeroPoint', '==', 0]
      ]
    }
  ],
  rules: [{ from: 'documentation', ref: 'a page', when: [['rank', '<=', 4]] }],
  operators: [
    {
      from: 'source',
      of: ['float32', 'int8'],
      take: { ADD: true, CONV: [[['kernelArea', '<=', 9]], [['groups', '==', 1]]] }
    },
    { from: 'memory', kernels: 'reference', take: { ADD: true, SLOW: true } }
  ],
  absent: { from: 'issue', ref: 'a thread', names: ['GELU'] },
  rest: { from: 'documentation', to: 'the CPU', parts: 'all' },
  notes: []
}
const on = (rest: Partial<Device> = {}) => ({ name: 'chip', device: { ...device, ...rest } })
const op = (name: string, facts: Partial<Record<Feature, Fact>> = {}, reads: readonly number[] = []): FileOperator => ({
  name: name.toLowerCase(),
  op: name,
  facts: (f) => ({ dtype: 'float32', rank: 4, weightZeroPoint: [0], ...facts })[f],
  reads,
  values: [],
  macs: 10
})
const verdicts = (d: ReturnType<typeof on>, ops: readonly FileOperator[]): readonly string[] =>
  preflight(d, ops)?.operators.map((o) => o.verdict) ?? []

describe('what becomes of an operator', () => {
  it('is told by alternatives of conditions, with three values', () => {
    const conv = (facts: Partial<Record<Feature, Fact>>) => verdicts(on(), [op('CONV', facts)])[0]
    expect(conv({ kernelArea: 9, groups: 4 })).toBe('runs')
    expect(conv({ kernelArea: 25, groups: 1 })).toBe('runs')
    expect(conv({ kernelArea: 9 })).toBe('runs')
    expect(conv({ kernelArea: 25, groups: 4 })).toBe('elsewhere')
    expect(conv({ kernelArea: 25 })).toBe('unknown')
    expect(conv({})).toBe('unknown')
    expect(conv({ kernelArea: 9, rank: 5 })).toBe('elsewhere')
  })
  it('has a reason made of the condition, and where that was read', () => {
    const [wide, absent, other, coded, shifted] =
      preflight(on(), [
        op('ADD', { rank: 5 }),
        op('GELU'),
        op('FOO'),
        op('ADD', { dtype: 'int32' }),
        op('ADD', { dtype: 'int8', weightZeroPoint: [0, 3] })
      ])?.operators ?? []
    expect(wide?.reasons).toEqual([
      {
        says: 'the number of its axes is 5; at most 4',
        ...{ feature: 'rank', relation: '<=', want: 4, have: 5, from: 'documentation', ref: 'a page' }
      }
    ])
    expect(absent?.reasons).toEqual([{ says: 'the device does not have it', from: 'issue', ref: 'a thread' }])
    expect(other).toMatchObject({ verdict: 'elsewhere', reasons: [{ says: expect.stringContaining('none of') }] })
    expect(coded?.reasons[0]?.says).toBe('the type of its data is int32; it takes float32, int8')
    expect(shifted?.reasons[0]?.says).toBe('the zero point of its weight is 0, 3; it takes 0')
  })
  it('tells kernels written for clarity, and what keeps a model from loading', () => {
    expect(verdicts(on(), [op('ADD'), op('SLOW'), op('GELU')])).toEqual(['runs', 'slow', 'elsewhere'])
    const { to: _, ...rest } = device.rest
    expect(verdicts(on({ rest }), [op('ADD'), op('GELU')])).toEqual(['runs', 'blocks'])
  })
  it('judges a model in float as what it will be', () => {
    const float = preflight(on({ as: 'int8', types: device.types.slice(1) }), [op('ADD')])
    expect(float).toMatchObject({ as: 'int8', operators: [{ verdict: 'runs' }] })
    expect(preflight(on({ as: 'int8' }), [op('ADD', { dtype: 'int8' })])?.as).toBeUndefined()
  })
})

describe('parts', () => {
  // 0 → 1 (not taken) → 2; 3 stands by itself; 4 reads 2 and 3.
  const graph = [op('ADD'), op('GELU', {}, [0]), op('ADD', {}, [1]), op('ADD'), op('ADD', {}, [2, 3])]
  const rest = (parts: Device['rest']['parts']) => on({ rest: { ...device.rest, parts } })

  it('all run, the first, or the largest', () => {
    expect(verdicts(rest('all'), graph)).toEqual(['runs', 'elsewhere', 'runs', 'runs', 'runs'])
    expect(verdicts(rest('first'), graph)).toEqual(['runs', 'elsewhere', 'behind', 'runs', 'behind'])
    expect(verdicts(rest('largest'), graph)).toEqual(['behind', 'elsewhere', 'runs', 'runs', 'runs'])
  })
  it('are counted, with the share of the work and what would gain most', () => {
    expect(preflight(rest('first'), graph)).toMatchObject({
      parts: 2,
      share: 0.4,
      gains: [{ op: 'GELU', operators: 5 }],
      elsewhere: 'the CPU'
    })
    expect(preflight(rest('first'), graph)?.operators[4]?.reasons[0]?.says).toContain('behind GELU gelu')
  })
  it('a target without facts about a device says nothing', () => {
    expect(preflight({ name: 'any' }, graph)).toBeUndefined()
  })
})

describe('records', () => {
  const known = targets.flatMap(({ name, device: d }) => (d ? [{ name, d }] : []))

  it.each(known)('of $name say where they were read, and deny nothing that they take', ({ d }) => {
    expect(d.read).toMatch(/20\d\d/)
    const taken = new Set(d.operators.flatMap((g) => Object.keys(g.take)))
    for (const name of d.absent?.names ?? []) expect(taken.has(name), name).toBe(false)
    const conditions = [
      ...d.types.flatMap((t) => t.when),
      ...d.rules.flatMap((r) => r.when),
      ...d.operators.flatMap((g) => Object.values(g.take).flatMap((t) => (t === true ? [] : t.flat())))
    ]
    for (const [feature] of conditions) expect(featureWords[feature]).toBeTruthy()
  })
})
