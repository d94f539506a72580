import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PareError } from '../base/errors.ts'
import { bytesOf, tensor, toFloats } from '../ir/tensor.ts'
import type { Tensor } from '../types.ts'
import { chooseBatch, difference, expectedMs, joined, pieceSize, rowsOf, samplesOf, shapeKey } from './batching.ts'
import { counter, exposition, histogram } from './exposition.ts'
import { chooseWorkers } from './plan.ts'
import { admit, queues, type Waiting } from './queue.ts'
import { printReply } from './reply.ts'
import { headerLength, readRequest } from './request.ts'
import { followed, pickedRows, placeRow, roomFor, unsure } from './stages.ts'
import { countRequest, countRun, percentiles, statistics, statisticsJson } from './statistics.ts'
import type { Signature } from './types.ts'

const signature: Signature = {
  inputs: [
    { name: 'x', dtype: 'float32', shape: ['N', 3] },
    { name: 't', dtype: 'string', shape: ['N'] }
  ],
  outputs: [
    { name: 'y', dtype: 'float32', shape: ['N', 2] },
    { name: 'z', dtype: 'int64' }
  ]
}
const [x, t] = [
  { name: 'x', datatype: 'FP32', shape: [1, 3], data: [1, 2, 3] },
  { name: 't', datatype: 'BYTES', shape: [1], data: ['a'] }
]
const mb = 1024 * 1024
const read = (json: unknown, tail: Uint8Array = new Uint8Array(0)) => {
  const head = new TextEncoder().encode(JSON.stringify(json))
  return readRequest(new Uint8Array([...head, ...tail]), tail.length ? head.length : undefined, signature, mb)
}
const refusal = (work: () => unknown): string => {
  try {
    work()
  } catch (error) {
    if (error instanceof PareError) return `${error.code} ${error.message}`
    throw error
  }
  return 'taken'
}

describe('a request', () => {
  it('is read from JSON, flat or nested', () => {
    const given = read({
      id: 'q',
      parameters: { timeout: 1500 },
      inputs: [
        t,
        {
          ...x,
          shape: [2, 3],
          data: [
            [1, 2, 3],
            [4, 5, 6]
          ]
        }
      ],
      outputs: [{ name: 'z' }]
    })
    expect({ ...given, inputs: Object.fromEntries(given.inputs) }).toEqual({
      ...{ id: 'q', timeoutMs: 1.5, outputs: [{ name: 'z', isBinary: false }] },
      inputs: { x: tensor('float32', [2, 3], [1, 2, 3, 4, 5, 6]), t: tensor('string', [1], ['a']) }
    })
  })

  it('is read from bytes, mixed with JSON', () => {
    const given = read(
      {
        parameters: { binary_data_output: true },
        inputs: [
          { name: 'x', datatype: 'FP32', shape: [1, 3], parameters: { binary_data_size: 12 } },
          { name: 't', datatype: 'BYTES', shape: [2], parameters: { binary_data_size: 10 } }
        ],
        outputs: [{ name: 'y', parameters: { binary_data: false } }, { name: 'z' }]
      },
      new Uint8Array([...bytesOf(Float32Array.of(1, 2, 3)), 2, 0, 0, 0, 0xc3, 0xa4, 0, 0, 0, 0])
    )
    expect([...((given.inputs.get('x') as Tensor).bytes as Uint8Array)]).toEqual([...bytesOf(Float32Array.of(1, 2, 3))])
    expect(given.inputs.get('t')?.strings).toEqual(['ä', ''])
    expect(given.outputs).toEqual([
      { name: 'y', isBinary: false },
      { name: 'z', isBinary: true }
    ])
  })

  it('is nothing but the bytes of the only input', () => {
    const one: Signature = {
      inputs: [{ name: 'x', dtype: 'float32', shape: ['N', 'T', 2] }],
      outputs: signature.outputs
    }
    const given = readRequest(new Uint8Array(24), 0, one, mb)
    expect(given.inputs.get('x')?.shape).toEqual([1, 3, 2])
    expect(given.outputs.every((o) => o.isBinary)).toBe(true)
    expect(refusal(() => readRequest(new Uint8Array(23), 0, one, mb))).toContain('do not fill whole rows')
    expect(refusal(() => readRequest(new Uint8Array(23), 0, signature, mb))).toContain('models of one input')
  })

  it.each<readonly [string, unknown]>([
    ['the model has no input q; its inputs are x, t', { inputs: [{ ...x, name: 'q' }] }],
    ['the request lacks t', { inputs: [x] }],
    ['the input is given twice', { inputs: [x, x] }],
    ['the model takes FP32, not INT64', { inputs: [{ ...x, datatype: 'INT64' }, t] }],
    ['the model takes shape [-1, 3], not [1, 4]', { inputs: [{ ...x, shape: [1, 4] }, t] }],
    ['"shape" is no list of sizes', { inputs: [{ ...x, shape: [2 ** 53, 3] }, t] }],
    ['"shape" is no list of sizes', { inputs: [{ ...x, shape: [-1, 3] }, t] }],
    ['is beyond the 1048576 bytes', { inputs: [{ ...x, shape: [2 ** 30, 3] }, t] }],
    ['2 values for shape [1, 3], which takes 3', { inputs: [{ ...x, data: [1, 2] }, t] }],
    ['value 1 is no FP32', { inputs: [{ ...x, data: [1, '2', 3] }, t] }],
    ['value 1 is out of range for FP32', { inputs: [{ ...x, data: [1, 1e39, 3] }, t] }],
    ['value 2 is out of range for FP32', { inputs: [{ ...x, data: [1, 2, -1e39] }, t] }],
    ['the nested lists are not of shape', { inputs: [{ ...x, data: [[1, 2], [3]] }, t] }],
    ['value 0 is no string', { inputs: [x, { ...t, data: [1] }] }],
    [
      '"binary_data_size" is 12, and 0 bytes are left',
      { inputs: [{ ...x, data: undefined, parameters: { binary_data_size: 12 } }, t] }
    ],
    [
      '"binary_data_size" is "12", where a whole number of bytes is needed',
      { inputs: [{ ...x, data: undefined, parameters: { binary_data_size: '12' } }, t] }
    ],
    ['the model has no output q', { inputs: [x, t], outputs: [{ name: 'q' }] }],
    ['an output is asked for twice', { inputs: [x, t], outputs: [{ name: 'y' }, { name: 'y' }] }],
    ['"inputs" is no list', { inputs: {} }],
    ['the request is no JSON object', [x, t]],
    ['"timeout" is no number of µs', { inputs: [x, t], parameters: { timeout: -1 } }]
  ])('is refused: %s', (words, json) => {
    expect(refusal(() => read(json))).toContain(words)
  })

  it('is bytes that add up', () => {
    expect(refusal(() => headerLength('11', 10))).toContain('the body has 10 bytes')
    for (const odd of ['-1', '1.5', '0x1', '', '99999999999'])
      expect(refusal(() => headerLength(odd, 10))).toContain('E_REQUEST')
    expect(headerLength(' 7 ', 10)).toBe(7)
    expect(refusal(() => read({ inputs: [x, t] }, new Uint8Array(3)))).toContain('3 bytes follow the last tensor')
    const long = { name: 't', datatype: 'BYTES', shape: [1], parameters: { binary_data_size: 5 } }
    expect(refusal(() => read({ inputs: [x, long] }, Uint8Array.of(255, 255, 255, 255, 1)))).toContain(
      'do not hold 1 elements'
    )
    expect(refusal(() => read({ inputs: [x, long] }, Uint8Array.of(1, 0, 0, 0, 255)))).toContain('not UTF-8')
  })

  it('has a body', () => {
    expect(refusal(() => readRequest(new Uint8Array(0), undefined, signature, mb))).toContain('the request has no body')
  })

  it('fails in no other way, whatever comes', () => {
    const json = fc.jsonValue({ maxDepth: 6 })
    fc.assert(
      fc.property(
        fc.oneof(
          json,
          fc.record({ inputs: json }),
          fc.record({
            inputs: fc.array(
              fc.record({
                name: fc.constant('x'),
                datatype: fc.constant('FP32'),
                shape: json,
                data: json,
                parameters: json
              })
            ),
            outputs: json,
            id: json,
            parameters: json
          })
        ),
        fc.uint8Array({ maxLength: 20 }),
        (value, tail) => {
          expect(refusal(() => read(value, tail))).toMatch(/^(E_REQUEST|E_LIMIT|E_UNSUPPORTED|taken)/)
        }
      )
    )
    const within = '['.repeat(10_000) + ']'.repeat(10_000)
    const nested = JSON.stringify({ inputs: [{ ...x, data: 'here' }, t] }).replace('"here"', within)
    expect(refusal(() => readRequest(new TextEncoder().encode(nested), undefined, signature, mb))).toContain(
      'nested lists'
    )
    const odd = { toString: null, valueOf: null }
    expect(refusal(() => read({ inputs: [{ ...x, name: odd }] }))).toContain('the model has no input an object')
    const deep = new TextEncoder().encode('['.repeat(10_000))
    expect(refusal(() => readRequest(deep, undefined, signature, mb))).toContain('the body is not JSON')
  })
})

describe('a reply', () => {
  const outputs = [
    { name: 'y', isBinary: false, tensor: tensor('float32', [2], [0.1, -0]) },
    { name: 'z', isBinary: true, tensor: tensor('int64', [1], [7]) }
  ]
  it('has what is binary behind the JSON, whose length it says', () => {
    const { parts, jsonBytes } = printReply({ model: 'm', version: '1', id: 'ä', outputs })
    const bytes = Buffer.concat(parts as Uint8Array[])
    expect(bytes.subarray(0, jsonBytes).toString()).toBe(
      '{"id":"ä","model_name":"m","model_version":"1","outputs":[{"name":"y","datatype":"FP32","shape":[2],"data":[0.100000001,-0.0]},{"name":"z","datatype":"INT64","shape":[1],"parameters":{"binary_data_size":8}}]}'
    )
    expect([...bytes.subarray(jsonBytes)]).toEqual([7, 0, 0, 0, 0, 0, 0, 0])
  })

  it('never says a number that is none', () => {
    const odd = [{ name: 'y', isBinary: false, tensor: tensor('float32', [2], [1, Number.NaN]) }]
    expect(refusal(() => printReply({ model: 'm', version: '1', outputs: odd }))).toContain('value 1 is NaN')
  })

  it('keeps every float32 and float16 through JSON', () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true, noDefaultInfinity: true }), (v) => {
        const text = printReply({
          model: 'm',
          version: '1',
          outputs: [{ name: 'y', isBinary: false, tensor: tensor('float32', [1], [v]) }]
        }).parts[0] as string
        expect(Math.fround(JSON.parse(text).outputs[0].data[0])).toBe(v)
      })
    )
  })
})

describe('batches', () => {
  it('are as large as pays', () => {
    const times = (...all: readonly number[]) => new Map(all.map((ms, i) => [2 ** i, ms]))
    expect(chooseBatch(times(1, 1.9, 3.6))).toMatchObject({ size: 1 })
    expect(chooseBatch(times(1.16, 1.3, 1.46, 1.9, 2.8, 5.3))).toMatchObject({
      size: 16,
      gain: expect.closeTo(6.63, 1)
    })
    expect(chooseBatch(times(1.16, 1.3, 1.46, 1.9, 2.8, 5.3), 2)).toMatchObject({ size: 8 })
    expect(expectedMs(times(1, 2, 3), 3)).toBe(2.5)
    expect(expectedMs(times(1, 2, 3), 8)).toBe(6)
    expect(pieceSize(times(1, 2, 4, 8), 1)).toBe(8)
    expect(pieceSize(times(9, 18), 1)).toBe(1)
  })

  it('are joined and cut again to the bit', () => {
    const rows = fc.integer({ min: 1, max: 4 })
    fc.assert(
      fc.property(fc.array(rows, { minLength: 1, maxLength: 5 }), (counts) => {
        const parts = counts.map(
          (n, i) =>
            new Map([
              [
                'x',
                tensor(
                  'float32',
                  [n, 3],
                  Array.from({ length: 3 * n }, (_, k) => 10 * i + k)
                )
              ],
              ['t', tensor('string', [n], Array(n).fill(`${i}`))]
            ])
        )
        const all = joined(parts, (bytes) => new Uint8Array(bytes))
        let at = 0
        for (const part of parts)
          for (const [name, own] of part) {
            const back = rowsOf(all.get(name) as Tensor, at, at + (own.shape[0] as number))
            expect({ ...back, bytes: [...(back.bytes as Uint8Array)] }).toEqual({
              ...own,
              bytes: [...(own.bytes as Uint8Array)]
            })
            if (name === 't') at += own.shape[0] as number
          }
      })
    )
    expect(
      refusal(() =>
        samplesOf(
          new Map([
            ['a', tensor('int8', [2], [1, 1])],
            ['b', tensor('int8', [1], [1])]
          ])
        )
      )
    ).toContain('2 and 1 samples')
    expect(
      shapeKey(
        new Map([
          ['b', tensor('int8', [2, 1], [1, 1])],
          ['a', tensor('int8', [2], [1, 1])]
        ])
      )
    ).toBe('a: b:1')
  })

  it('are told from single runs', () => {
    const of = (...v: readonly number[]) => new Map([['y', tensor('float32', [v.length], v)]])
    expect(difference(of(1, 2), of(1, 2))).toBe(0)
    expect(difference(of(1, 2), of(1, 2.5))).toBe(0.25)
    expect(difference(of(1, Number.NaN), of(1, Number.NaN))).toBe(0)
    expect(difference(of(1, 2), of(1, Number.NaN))).toBe(Number.POSITIVE_INFINITY)
    expect(difference(of(1), of(1, 2))).toBe(Number.POSITIVE_INFINITY)
  })
})

describe('what waits', () => {
  const part = (key: string, due: number, samples = 1, isGone = false): Waiting => ({
    ...{ key, due, samples, bytes: 10, arrived: 0 },
    isGone: () => isGone
  })
  it('runs by shape, the earliest due first', () => {
    const q = queues<Waiting>()
    const all = [part('a', 100), part('b', 50), part('a', 300), part('b', 60, 2), part('b', 70, 3)]
    for (const w of all) q.add(w)
    expect([q.samples, q.bytes]).toEqual([8, 50])
    expect(q.take(4, 0, () => 1)).toEqual({ run: [all[1], all[3]], late: [], reason: 'free' })
    expect(q.take(3, 0, () => 1)).toEqual({ run: [all[4]], late: [], reason: 'full' })
    expect(q.take(4, 0, () => 1)).toEqual({ run: [all[0], all[2]], late: [], reason: 'free' })
    expect([q.samples, q.bytes, q.head()]).toEqual([0, 0, undefined])
  })

  it('is left out where it would be late, or nobody waits; what is larger than a batch runs alone', () => {
    const q = queues<Waiting>()
    const all = [part('a', 5), part('a', 100, 1, true), part('a', 200, 9), part('a', 300)]
    for (const w of all) q.add(w)
    expect(q.take(4, 0, () => 10)).toEqual({ run: [all[2]], late: [all[0], all[1]], reason: 'full' })
    expect(q.drain()).toEqual([all[3]])
  })

  it('is not more than can be answered in time', () => {
    const limits = { queuedSamples: 10, queuedBytes: 100 }
    const now = { samples: 5, bytes: 50, waitMs: 80, runMs: 10, patienceMs: 100 }
    expect(refusal(() => admit(now, { samples: 1, bytes: 1 }, limits))).toBe('taken')
    expect(refusal(() => admit({ ...now, patienceMs: 89 }, { samples: 1, bytes: 1 }, limits))).toContain(
      'E_BUSY the answer would come in 90 ms'
    )
    for (const patienceMs of [-1.2, 0.5])
      expect(refusal(() => admit({ ...now, patienceMs }, { samples: 1, bytes: 1 }, limits))).toBe(
        'E_BUSY the answer would come in 90 ms, and no time remains for it'
      )
    expect(refusal(() => admit(now, { samples: 6, bytes: 1 }, limits))).toContain('5 samples wait already')
    expect(() => admit({ ...now, waitMs: 4000 }, { samples: 1, bytes: 1 }, limits)).toThrow(
      expect.objectContaining({ facts: { 'retry after': '4' } })
    )
  })
})

it('workers are as many as cores, models and memory allow', () => {
  const big = { sampleMs: 3, bytes: 1e6 }
  expect(chooseWorkers({ cores: 4, freeBytes: 1e9 }, [big]).count).toBe(4)
  expect(chooseWorkers({ cores: 4, freeBytes: 1e9 }, [{ ...big, sampleMs: 0.05 }]).count).toBe(2)
  expect(chooseWorkers({ cores: 1.5, freeBytes: 1e9 }, [big]).count).toBe(2)
  expect(chooseWorkers({ cores: 4, freeBytes: 5e6 }, [big])).toEqual({
    count: 2,
    why: 'more copies of 1 MB would not fit in half of the free memory'
  })
})

it('figures are told as Prometheus and the statistics extension have them', () => {
  const h = histogram([1, 2])
  const c = counter()
  for (const v of [0.5, 1, 1.5, 9]) h.see({ m: 'a"b' }, v)
  c.add({ m: 'x' })
  expect(exposition([h.family('h', 'of h'), c.family('c', 'of c')])).toBe(
    '# HELP h of h\n# TYPE h histogram\nh_bucket{m="a\\"b",le="1"} 2\nh_bucket{m="a\\"b",le="2"} 3\nh_bucket{m="a\\"b",le="+Inf"} 4\nh_sum{m="a\\"b"} 12\nh_count{m="a\\"b"} 4\n# HELP c of c\n# TYPE c counter\nc{m="x"} 1\n'
  )
  const s = statistics()
  countRun(s, { samples: 4, isFirst: true, requests: 2 }, { input: 1, infer: 2, output: 3 }, 77)
  countRequest(s, true, 10, 5)
  countRequest(s, false, 1, 0)
  expect(statisticsJson('m', '1', s, 9)).toMatchObject({
    ...{ last_inference: 77, inference_count: 4, execution_count: 1 },
    inference_stats: {
      success: { count: 1, ns: 10e6 },
      fail: { count: 1, ns: 1e6 },
      queue: { count: 1, ns: 5e6 },
      compute_infer: { count: 2, ns: 4e6 }
    },
    batch_stats: [{ batch_size: 4, compute_infer: { count: 1, ns: 2e6 } }]
  })
  expect(percentiles(s, [0.5, 0.99])).toEqual([10, 10])
  expect(percentiles(statistics(), [0.5])).toEqual([undefined])
})

describe('samples that part ways', () => {
  const t = (values: readonly number[], shape: readonly number[]) => tensor('float32', shape, Float32Array.from(values))

  it('go on where a stage is not sure, also of what is no number', () => {
    expect(unsure(t([0.9, 0.5, Number.NaN, 0.49], [4]), 0.5)).toEqual([2, 3])
    expect(unsure(t([0.9, 0.5], [2]), 2)).toEqual([0, 1])
  })

  it('keep their rows, and their places', () => {
    const names = tensor('string', [3, 1], ['a', 'b', 'c'])
    const all = new Map([
      ['x', t([1, 2, 3, 4, 5, 6], [3, 2])],
      ['s', names]
    ])
    const left = pickedRows(all, [0, 2])
    expect([...toFloats(left.get('x') as Tensor)]).toEqual([1, 2, 5, 6])
    expect(left.get('s')).toMatchObject({ shape: [2, 1], strings: ['a', 'c'] })
    const room = roomFor(3, t([0, 0], [1, 2]))
    placeRow(room, 2, left.get('x') as Tensor, 1)
    expect([...toFloats(room)]).toEqual([0, 0, 0, 0, 5, 6])
  })

  it('are expected to be as many as they were of late', () => {
    let share = 0.5
    for (let i = 0; i < 1000; i++) share = followed(share, i % 5 === 0 ? 1 : 0, 1)
    expect(Math.abs(share - 0.2)).toBeLessThan(0.05)
    expect(followed(0, 3, 10 ** 6)).toBeCloseTo(3e-6)
  })
})
