import { describe, expect, it } from 'vitest'
import { attrs } from '../../../ir/attrs.ts'
import { tensor } from '../../../ir/tensor.ts'
import { model, parse } from '../../../ir/text.ts'
import { saturationNotes } from '../../../node/jobs/host.ts'
import { opFor } from '../../../ops/index.ts'
import { stackOf } from '../../../ops/linear.ts'
import type { Linear } from '../../../ops/types.ts'
import { targetFor } from '../../../targets/index.ts'
import type { Tensor } from '../../../types.ts'
import { saturatingChannels, saturatingNodes } from './saturation.ts'

/** A convolution with these filters. */
function layerOf({ shape }: Tensor, group = 1): Linear {
  const node = { name: 'conv', op: 'Conv', inputs: ['x', 'w'], outputs: ['y'], attrs: attrs({ group }) }
  const found = opFor(node)?.linear?.({ node, inputs: [undefined, { type: 'tensor', shape }], outputs: [] })
  if (!found) throw new Error('no layer')
  return found
}

describe('pair sums', () => {
  it('saturate from 129 on, in both directions', () => {
    const codes = tensor('int8', [5, 2, 1], [127, 1, 127, 2, -127, -2, 127, -127, 64, 64])
    // 255 · 128 = 32640 fits int16, 255 · 129 = 32895 does not.
    expect(saturatingChannels(codes, layerOf(codes))).toEqual([false, true, true, false, false])
  })
  it('are of neighbours along the input channel, the kernel position outside', () => {
    // [output 1, inputs 2, positions 2]: read as (p0c0, p0c1, p1c0, p1c1).
    const apart = tensor('int8', [1, 2, 2], [100, 100, 0, 0])
    const beside = tensor('int8', [1, 2, 2], [100, 0, 100, 0])
    expect(saturatingChannels(apart, layerOf(apart))).toEqual([false])
    expect(saturatingChannels(beside, layerOf(beside))).toEqual([true])
  })
  it('follow the columns of a matrix', () => {
    const codes = tensor('int8', [2, 3], [100, 100, 1, 100, 1, 127])
    expect(saturatingChannels(codes, stackOf([2, 3]))).toEqual([true, false, false])
  })
  it('do not occur in depthwise filters, but where a group has one input and more outputs', () => {
    const codes = tensor('int8', [2, 1, 1, 2], [127, 127, 1, 1])
    expect(saturatingChannels(codes, layerOf(codes, 2))).toEqual([false, false])
    expect(saturatingChannels(codes, layerOf(codes))).toEqual([true, false])
  })
})

describe('nodes whose sums can saturate', () => {
  const m = model`
    input x: f32[N,1,4,4]
    const s: f32[] = 0.1
    const z: u8[] = 3
    const t: f32[] = 0.01
    const Wq: i8[2,1,1,2] = 127, 127, 0, 1
    const Vq: i8[2,1,1,2] = 64, 64, -64, -64
    q = QuantizeLinear(x, s, z)
    d = DequantizeLinear(q, s, z)
    W = DequantizeLinear(Wq, t)
    V = DequantizeLinear(Vq, t)
    high = Conv(d, W)
    highRelu = Relu(high)
    highCodes = QuantizeLinear(highRelu, s, z)
    low = Conv(d, V)
    lowCodes = QuantizeLinear(low, s, z)
    unfused = Conv(d, W)
    float = Conv(x, W)
    output highCodes
    output lowCodes
    output unfused
    output float`
  const named = (id: string) => m.graph.nodes.find((n) => n.outputs[0] === id)?.name

  it('are those that compute on integers, with weights beyond the safe levels', () => {
    expect(saturatingNodes(m, targetFor('ort-cpu-avx2'))).toEqual([named('high')])
  })

  it.each([
    ['a row', '127, 127, 0, 0', true],
    ['a column', '127, 0, 127, 0', false]
  ])('are found behind a Transpose, which makes the rows what is summed: %s', (_, codes, expected) => {
    const product = parse(`
      input x: u8[N,2]
      const M: i8[2,2] = ${codes}
      turned = Transpose(M, perm=[1,0])
      y = MatMulInteger(x, turned)
      output y`)
    expect(saturatingNodes(product, targetFor('ort-cpu-avx2')).length === 1).toBe(expected)
  })

  it('are told where an x86 lacks what the target means', () => {
    const old = { arch: 'x64', vnni: false }
    expect(saturationNotes(m, targetFor('ort-cpu'), old).join()).toMatch(/ort-cpu-avx2/)
    expect(saturationNotes(m, targetFor('ort-cpu'), { ...old, vnni: true })).toEqual([])
    expect(saturationNotes(m, targetFor('ort-cpu'), { arch: 'x64', vnni: undefined })).toEqual([])
    expect(saturationNotes(m, targetFor('ort-cpu'), { ...old, arch: 'arm64' })).toEqual([])
    expect(saturationNotes(m, targetFor('ort-cpu-avx2'), old)).toEqual([])
  })
})
