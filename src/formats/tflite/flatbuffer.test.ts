import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { flatFiles } from '../../../test/shared.ts'
import { concat, part, toArray } from '../../base/bytes.ts'
import { decode } from './decode.ts'
import { encode } from './encode.ts'
import type { FlatModel } from './model.ts'

const bytesOf = (model: FlatModel, o = {}): Uint8Array => concat(encode(model, o).map(toArray))

/** Byte vectors as arrays, so that views of two files compare by content. */
const plain = (x: unknown): unknown =>
  x instanceof Uint8Array
    ? [...x]
    : Array.isArray(x)
      ? x.map(plain)
      : typeof x === 'object' && x !== null
        ? Object.fromEntries(Object.entries(x).map(([k, v]) => [k, plain(v)]))
        : x

const small: FlatModel = {
  version: 3,
  description: 'made here',
  operator_codes: [{ deprecated_builtin_code: 14, builtin_code: 'LOGISTIC', version: 1 }],
  subgraphs: [
    {
      tensors: [
        { shape: [1, 4], type: 'INT8', buffer: 1, name: 'x', quantization: { scale: [0.5], zero_point: [-3] } },
        { shape: [1, 4], type: 'INT8', buffer: 1, name: 'y', quantization: { scale: [1 / 256], zero_point: [-128] } },
        { shape: [3], type: 'UINT8', buffer: 2, name: 'w' }
      ],
      inputs: [0],
      outputs: [1],
      operators: [{ opcode_index: 0, inputs: [0], outputs: [1] }],
      name: 'main'
    }
  ],
  buffers: [{}, {}, { data: Uint8Array.of(1, 2, 3) }],
  signature_defs: [{ signature_key: 'serving', inputs: [{ name: 'a', tensor_index: 0 }], subgraph_index: 0 }]
}

describe('flatbuffers', () => {
  it('give back what was written', () => {
    const read = decode(bytesOf(small))
    expect(plain(read)).toMatchObject(plain(small) as object)
    expect(bytesOf(read)).toEqual(bytesOf(small))
  })

  it('keep weights behind the flatbuffer, at multiples of 16 bytes', () => {
    const parts = encode(small, { outside: true })
    expect(parts.at(-1)).toBe(small.buffers?.[2]?.data)
    expect((concat(parts.map(toArray)).length - 3) % 16).toBe(0)
    expect(plain(decode(concat(parts.map(toArray))).buffers)).toEqual([{}, {}, { data: [1, 2, 3] }])
  })

  it('leave weights where they are', () => {
    const file = bytesOf(small)
    const data = decode(file).buffers?.[2]?.data as Uint8Array
    expect(data.buffer).toBe(file.buffer)
    const onDisk = { length: file.length, slice: (a = 0, b = file.length) => file.slice(a, b) }
    const view = decode(onDisk).buffers?.[2]?.data
    expect(view).not.toBeInstanceOf(Uint8Array)
    expect(view?.slice()).toEqual(Uint8Array.of(1, 2, 3))
  })

  it('refuse what contradicts itself', () => {
    const file = bytesOf(small)
    for (let length = 0; length < file.length - 4; length += 3)
      expect(() => decode(file.slice(0, length)), `cut at ${length}`).toThrowError(/not a whole TensorFlow Lite file/)
    expect(() => decode(bytesOf({ ...small, version: 2 }))).toThrowError(/schema version 2/)
    const far = encode(small, { outside: true }).map(toArray)
    expect(() => decode(part(concat(far), 0, concat(far).length - 1))).toThrowError(/Buffer.offset names 3 bytes/)
  })

  it.each(flatFiles().map((path) => [path.split('/').at(-1), path] as const))('%s is the same again', (_, path) => {
    const file = new Uint8Array(readFileSync(path))
    const model = decode(file)
    const [again] = encode(model).map(toArray)
    expect(plain(decode(again as Uint8Array))).toEqual(plain(model))
    expect(again?.length).toBeLessThanOrEqual(1.02 * file.length)
  })
})
