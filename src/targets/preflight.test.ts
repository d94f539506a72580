import { describe, expect, it } from 'vitest'
import { featureWords } from '../ir/rows.ts'
import { preflight, targets } from './index.ts'
import type { Device, Fact, Feature, FileOperator } from './types.ts'

const device: Device = {
  read: 'a source of today',
  urls: ['https://example.org'],
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

describe('what to change', () => {
  const changes = (d: ReturnType<typeof on>, one: FileOperator): readonly string[] =>
    preflight(d, [one])?.changes.map((c) => c.what) ?? []
  const resize = on({
    operators: [{ from: 'source', take: { RESIZE: [[['scale', 'in', [1, 2, 4]]]], HARD_SWISH: true } }]
  })

  it('is told by the rule that is missed', () => {
    expect(changes(resize, op('RESIZE', { scale: [8, 8] }))).toEqual(['split this resize by 8 into steps of 4, 2'])
    expect(changes(resize, op('RESIZE', { scale: [3, 3] }))).toEqual(['resize by 2 in place of 3'])
    expect(changes(resize, op('GELU'))).toEqual(['replace GELU by HARD_SWISH, and train a little'])
    expect(changes(on(), op('ADD', { rank: 5 }))).toEqual(['drop axes of length 1: at most 4'])
    const [change] = preflight(resize, [op('RESIZE', { scale: [8, 8] })])?.changes ?? []
    expect(change?.why).toMatchObject({ feature: 'scale', want: [1, 2, 4], have: [8, 8], from: 'source' })
  })
  it('is told of channels that are no multiple of what is computed at once', () => {
    const device = on({ align: [{ from: 'source', of: 'out', multiple: 16, costs: 'padding' }] })
    const conv = (outputChannels: number, reads: readonly number[] = []) =>
      op('CONV', { kernelArea: 1, groups: 1, channels: 30, outputChannels }, reads)
    const told = (...ops: readonly FileOperator[]) => preflight(device, ops)?.changes.map((c) => [c.what, c.names])
    expect(told(conv(30), conv(32, [0]))).toEqual([['30 output channels → 32', ['conv']]])
    expect(told(conv(32), conv(32, [0]))).toEqual([])
    // What the last layer gives is as many numbers as the model is for.
    expect(told(conv(32), op('ADD', {}, [0]), conv(10, [1]))).toEqual([])
  })
  it('is told of kernels that are not the fast ones', () => {
    const device = on({ fast: [{ from: 'source', op: 'CONV', when: [['channels', 'multiple', 8]], costs: 'plain C' }] })
    const conv = (channels: number) => op('CONV', { kernelArea: 1, groups: 1, channels })
    expect(preflight(device, [conv(8), conv(9)])?.operators.map((o) => o.verdict)).toEqual(['runs', 'slow'])
    expect(changes(device, conv(9))).toEqual(['9 channels → 16'])
  })
})

describe('what is not known', () => {
  it('is told as such: lists that are missing, doubts that are known', () => {
    const unlisted = on({ operators: [], unlisted: { from: 'documentation', ref: 'no list' } })
    expect(verdicts(unlisted, [op('ADD')])).toEqual(['unknown'])
    const doubtful = on({ doubtful: [{ from: 'memory', when: [['dilation', '<=', 1]] }] })
    expect(verdicts(doubtful, [op('ADD'), op('ADD', { dilation: [2, 2] })])).toEqual(['runs', 'unknown'])
  })
  it('a record of limits alone takes what it does not name', () => {
    const open = on({ open: { from: 'documentation', of: ['float32'] } })
    expect(verdicts(open, [op('FOO'), op('FOO', { dtype: 'int8' }), op('GELU')])).toEqual([
      'runs',
      'elsewhere',
      'elsewhere'
    ])
  })
})

describe('figures', () => {
  const bytes = { weights: 1000, reads: 100, gives: 200 }
  const net = [
    { ...op('ADD'), bytes },
    { ...op('ADD', {}, [0]), bytes },
    { ...op('ADD', {}, [1]), bytes }
  ]
  it('are the sum of what takes longest, by the rates of the record', () => {
    const rates = { from: 'source', macsPerSecond: 1e4, bytesPerSecond: 1e6, weightBytesPerSecond: 1e5 } as const
    expect(preflight(on({ rates }), net)?.estimate?.ms).toBeCloseTo(30, 9)
    expect(preflight(on({ rates }), [op('ADD')])?.estimate).toBeUndefined()
    expect(preflight(on(), net)?.estimate).toBeUndefined()
  })
  it('of memory are weights, and results that are held at once', () => {
    const memory = [
      { from: 'source', holds: 'weights', bytes: 2000, beyond: 'they are sent each time' },
      { from: 'source', holds: 'activations', bytes: 5000, beyond: 'no' }
    ] as const
    expect(preflight(on({ memory }), net)?.memory.map(({ says, needs }) => [says, needs])).toEqual([
      ['weights: 3000 of 2000 bytes; they are sent each time', 3000],
      ['activations: 400 of 5000 bytes', 400]
    ])
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
    expect(d.urls.length).toBeGreaterThan(0)
    for (const url of d.urls) expect(url).toMatch(/^https:/)
    for (const { multiple } of d.align ?? []) expect(multiple).toBeGreaterThan(1)
  })

  it('are of 23 devices', () => {
    expect(known.map(({ name }) => name).toSorted()).toEqual(
      `cmsis-nn coreml edgetpu esp32-p4 esp32-s3 ethos-u55 ethos-u65 ethos-u85 litert-cpu litert-gpu nnapi nxp-neutron
      openvino-cpu openvino-npu ort-cpu ort-cpu-arm ort-cpu-avx2 ort-wasm ort-webgpu qnn-htp rk3588 tensorrt webnn`
        .trim()
        .split(/\s+/)
    )
  })
})
