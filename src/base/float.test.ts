import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { tensor, typedValues } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import { nodeRunner } from '../node/runner.ts'
import { fromFloat16, toFloat16 } from './float.ts'

const isNan = (bits: number): boolean => (bits & 0x7c00) === 0x7c00 && (bits & 0x3ff) !== 0

describe('float16', () => {
  it('gives every code back', () => {
    const wrong = Array.from({ length: 2 ** 16 }, (_, bits) => bits).filter((bits) =>
      isNan(bits) ? !Number.isNaN(fromFloat16(bits)) : toFloat16(fromFloat16(bits)) !== bits
    )
    expect(wrong).toEqual([])
    expect(fromFloat16(1)).toBe(2 ** -24)
    expect(fromFloat16(0x7bff)).toBe(65504)
  })

  it('rounds to the nearest code, ties to even, once', () => {
    for (let bits = 0; bits < 0x7bff; bits++) {
      const middle = (fromFloat16(bits) + fromFloat16(bits + 1)) / 2
      const even = bits & 1 ? bits + 1 : bits
      if (toFloat16(middle) !== even || toFloat16(-middle) !== (even | 0x8000)) expect.fail(`middle above ${bits}`)
      const tiny = middle * 2 ** -50
      if (toFloat16(middle - tiny) !== bits || toFloat16(middle + tiny) !== bits + 1) expect.fail(`beside ${bits}`)
    }
    expect([65519.99, 65520, Infinity, -Infinity, -0].map(toFloat16)).toEqual([0x7bff, 0x7c00, 0x7c00, 0xfc00, 0x8000])
    fc.assert(fc.property(fc.double(), (x) => toFloat16(-x) === (toFloat16(x) ^ 0x8000) || Number.isNaN(x)))
  })

  it('gives the bits that ONNX Runtime casts to', async () => {
    const session = await nodeRunner().open(model`
      input x: f32[N]
      y: f16[N] = Cast(x, to=10)
      output y
    `)
    const values = fc.sample(fc.float({ noNaN: true }), { numRuns: 20_000, seed: 1 })
    const near = fc.sample(fc.float({ noNaN: true, min: -1e5, max: 1e5 }), { numRuns: 20_000, seed: 2 })
    const x = Float32Array.from([...values, ...near])
    const { y } = await session.run({ x: tensor('float32', [x.length], x) })
    await session.close()
    const theirs = typedValues(y as NonNullable<typeof y>) as Uint16Array
    expect([...x].filter((v, i) => toFloat16(v) !== theirs[i])).toEqual([])
  })
})
