import { afterAll, describe, expect, it } from 'vitest'
import { PareError } from '../../base/errors.ts'
import { equalTensors } from '../../ir/tensor.ts'
import { readRequest } from '../../serve/request.ts'
import type { Signature } from '../../serve/types.ts'
import type { DType, Tensor } from '../../types.ts'
import { reader } from './reader.ts'

const own = reader()
afterAll(() => own.end())

const signature = (dtype: DType): Signature => ({ inputs: [{ name: 'x', dtype, shape: ['N', 3] }], outputs: [] })

/** What a request becomes, or why it is refused, read at once and by the thread. */
async function both(text: string, dtype: DType): Promise<readonly (Tensor | string)[]> {
  const bytes = new TextEncoder().encode(text)
  const tried = async (read: () => unknown): Promise<Tensor | string> => {
    try {
      return readRequest(bytes, undefined, signature(dtype), 1e6, await read()).inputs.get('x') as Tensor
    } catch (error) {
      if (error instanceof PareError && error.code !== 'E_INTERNAL') return error.message
      throw error
    }
  }
  return [await tried(() => undefined), await tried(() => own.read(bytes))]
}

const request = (data: unknown, shape: unknown = [2, 3], datatype = 'FP32'): string =>
  JSON.stringify({ inputs: [{ name: 'x', datatype, shape, data }] })

describe('JSON that a thread has read', () => {
  it('is the request that it is elsewhere', async () => {
    for (const [text, dtype] of [
      [request([1, 2.5, -3, 4e-9, 5, 6]), 'float32'],
      [
        request([
          [1, 2, 3],
          [4, 5, 6]
        ]),
        'float32'
      ],
      [request([1, 2, 3, 4, 5, 2 ** 40], [2, 3], 'INT64'), 'int64'],
      [request(['1', 2, '9223372036854775807', 4, 5, 6], [2, 3], 'INT64'), 'int64'],
      [request([true, false, true, 1, 0, 1], [2, 3], 'BOOL'), 'bool'],
      [request(['a', 'ä', '', 'd', 'e', 'f'], [2, 3], 'BYTES'), 'string'],
      [request([], [0, 3]), 'float32']
    ] as const) {
      const [at, by] = await both(text, dtype)
      expect(typeof at, text).toBe('object')
      expect(equalTensors(at as Tensor, by as Tensor), text).toBe(true)
    }
  })

  it('is refused for the same reasons', async () => {
    for (const [text, dtype] of [
      [
        request([
          [1, 2],
          [3, 4],
          [5, 6]
        ]),
        'float32'
      ],
      [
        request([
          [1, 2, 3],
          [4, 5]
        ]),
        'float32'
      ],
      [
        request([
          [
            [1, 2, 3],
            [4, 5, 6]
          ]
        ]),
        'float32'
      ],
      [request([1, 2, 3]), 'float32'],
      [request([1, 2, 3, 4, 5, 1e300]), 'float32'],
      [request([1, 2, 3, 4, 5, 2 ** 53], [2, 3], 'INT64'), 'int64'],
      [request([1, 2, 3, 4, 5, 6], [2, 3], 'BYTES'), 'string'],
      [request([1, 2, 3, null, 5, 6]), 'float32'],
      [request([1], [2 ** 53, 3]), 'float32'],
      [request({ values: [1], sizes: [1] }), 'float32'],
      ['{"inputs":[{"name":"x","datatype":"FP32","shape":[2,3],"data":[1,', 'float32'],
      ['\ufeff', 'float32'],
      ['null', 'float32']
    ] as const) {
      const [at, by] = await both(text, dtype)
      expect(typeof at, text).toBe('string')
      expect(by, text).toBe(at)
    }
  })

  it('is bounded, however deep or wide its lists pretend to be', async () => {
    const deep = request(0).replace('"data":0', `"data":${'['.repeat(10_000)}${']'.repeat(10_000)}`)
    const wide = request([Array(3000).fill(1), ...Array(3000).fill([])])
    for (const text of [deep, wide]) {
      const [at, by] = await both(text, 'float32')
      expect(typeof at).toBe('string')
      expect(by).toBe(text === deep ? 'the body is nested more than 100 deep' : at)
    }
    expect(await both(request([1, 2, 3, 4, 5, 6]), 'float32')).toMatchObject([{ shape: [2, 3] }, { shape: [2, 3] }])
  })
})
