import { gunzipSync } from 'node:zlib'
import { gzipSync } from 'fflate'
import { expect, test } from 'vitest'
import { tensor } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import { brotliLength } from '../node/measure.ts'
import type { Bytes } from '../types.ts'
import { largestCompressed, parametersOf, sizeOf } from './size.ts'

test('bytes, gzip and brotli of one or several files', () => {
  const text = new TextEncoder().encode('pare '.repeat(600_000))
  const sizes = sizeOf([text, text.subarray(0, 100)], brotliLength)
  expect(sizes.bytes).toBe(text.length + 100)
  expect(sizes.gzipBytes).toBeGreaterThan(100)
  expect(sizes.gzipBytes).toBeLessThan(text.length / 100)
  expect(sizes.brotliBytes).toBeLessThan(sizes.gzipBytes as number)
  expect(sizeOf([text]).brotliBytes).toBeUndefined()
})

test('gzip in pieces is as long as gzip at once, within its block borders', () => {
  const bytes = Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * i) >> 7)
  const whole = gzipSync(bytes, { level: 6 })
  expect(gunzipSync(whole).length).toBe(bytes.length)
  expect(Math.abs((sizeOf([bytes]).gzipBytes as number) / whole.length - 1)).toBeLessThan(0.01)
})

test('huge files are not read for a look', () => {
  const huge: Bytes = {
    length: largestCompressed + 1,
    slice: () => {
      throw new Error('read')
    }
  }
  expect(sizeOf([huge], brotliLength)).toEqual({ bytes: largestCompressed + 1 })
})

test('parameters are weights, not shapes and bounds of grids', () => {
  const m = model`
input x: f32[N,4]
const z: u8[] = 128
const w: f32[4,2] = 1, 0, 2, 0, 3, 4, 5, 6
h = MatMul(x, w)
a = Add(h, b: f32[2]{0.5, 0})
q = QuantizeLinear(a, s: f32[]{0.1}, z)
d = DequantizeLinear(q, s, z)
y = Reshape(d, shape: i64[2]{-1, 2})
output y`
  expect(parametersOf(m)).toEqual({ parameters: 10, nonzeroParameters: 7 })
})

test('quantized weights count like those they stand for, by their zero points', () => {
  const m = model`
input x: f32[N,4]
const w4: i4[4,2] = 1, 0, 2, 0, 3, 4, -5, 6
const w8: u8[2,2] = 7, 9, 7, 9
const zero: u8[2] = 7, 9
w = DequantizeLinear(w4, s: f32[]{0.1})
v = DequantizeLinear(w8, t: f32[2]{0.1, 0.2}, zero, axis=1)
h = MatMul(x, w)
y = MatMul(h, v)
b = DequantizeLinear(b32: i32[2]{0, 5}, u: f32[]{0.001})
z = Add(y, b)
output z`
  expect(parametersOf(m)).toEqual({ parameters: 8 + 4 + 2, nonzeroParameters: 6 + 0 + 1 })
})

test('parameters inside subgraphs count too', () => {
  const m = model`
input c: bool[]
input x: f32[2]
y = If(c, then_branch={ a = Mul(x, w: f32[2]{1, 2}); output a }, else_branch={ b = Mul(x, v: f32[2]{0, 3}); output b })
output y`
  expect(parametersOf(m)).toEqual({ parameters: 4, nonzeroParameters: 3 })
})

test('more than one piece of a large constant', () => {
  const values = Float32Array.from({ length: 2_500_001 }, (_, i) => i % 5)
  const m = model`
input x: f32[1]
y = Mul(x, w: f32[1])
output y`
  const w = { id: 'w', type: 'tensor' as const, data: tensor('float32', [values.length], values) }
  const large = { ...m, graph: { ...m.graph, values: new Map([...m.graph.values, ['w', w]]) } }
  expect(parametersOf(large)).toEqual({ parameters: 2_500_001, nonzeroParameters: 2_000_000 })
})
