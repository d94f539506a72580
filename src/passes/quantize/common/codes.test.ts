import { describe, expect, it } from 'vitest'
import { constant } from '../../../ir/graph.ts'
import { equalTensors, toFloats, toNumbers } from '../../../ir/tensor.ts'
import { parse } from '../../../ir/text.ts'
import type { Bytes, Tensor } from '../../../types.ts'
import { channelsOf, encodeWeight, peaksOf, scalesOf } from './codes.ts'

describe('codes', () => {
  it('are within half a step of the weight, the largest at ±127', () => {
    const data = constant(parse('input x: f32[1,3]\ny = MatMul(x, W: f32[3,500])\noutput y').graph, 'W') as Tensor
    for (const axis of [0, 1, undefined]) {
      const channels = channelsOf(data.shape, axis)
      const scales = scalesOf(peaksOf(data, channels, 'W'), 127, 'float32')
      const codes = toNumbers(encodeWeight(data, channels, scales, 127))
      toFloats(data).forEach((x, i) => {
        const s = scales[Math.floor(i / channels.inner) % channels.count] as number
        expect(Math.abs(x - (codes[i] as number) * s)).toBeLessThanOrEqual(s * 0.5000001)
      })
      expect(Math.max(...Array.from(codes, (c) => Math.abs(c)))).toBe(127)
    }
  })
  it('read a tensor in parts, in the order of its elements', () => {
    const n = 5 * 1024 * 1024
    let largest = 0
    const all = new Float32Array(n).map((_, i) => (i % 251) - 125)
    const raw = new Uint8Array(all.buffer)
    const lazy: Bytes = {
      length: raw.length,
      slice: (from = 0, to = raw.length) => {
        largest = Math.max(largest, to - from)
        return raw.slice(from, to)
      }
    }
    const channels = channelsOf([n / 1024, 1024], 1)
    const t: Tensor = { dtype: 'float32', shape: [n / 1024, 1024], bytes: lazy }
    const whole: Tensor = { ...t, bytes: raw }
    const scales = scalesOf(peaksOf(t, channels, 'W'), 127, 'float32')
    expect(equalTensors(encodeWeight(t, channels, scales, 127), encodeWeight(whole, channels, scales, 127))).toBe(true)
    expect(largest).toBeLessThanOrEqual(16 * 1024 * 1024)
  })
  it('have a scale that float16 can hold, however small the weights', () => {
    const scales = scalesOf(Float64Array.of(1e-5, 0.01, 4), 127, 'float16')
    for (const [c, peak] of [1e-5, 0.01, 4].entries())
      expect((scales[c] as number) * 127.1).toBeGreaterThanOrEqual(peak)
  })
})
