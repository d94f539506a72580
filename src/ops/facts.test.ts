import { expect, it } from 'vitest'
import { model } from '../ir/text.ts'
import type { Fact, Feature } from '../targets/types.ts'
import { operatorsOfModel } from './facts.ts'

const float = model`
  input x: f32[N,3,8,8]
  h: f32[N,6,4,4] = Conv(x, W: f32[6,3,3,3], B: f32[6], strides=[2, 2], pads=[1, 1, 1, 1])
  d: f32[N,6,4,4] = Conv(h, D: f32[6,1,3,3], group=6, pads=[1, 1, 1, 1])
  t: f32[N,4,4,6] = Transpose(d, perm=[0, 2, 3, 1])
  y: f32[N,4,4,6] = Softmax(t, axis=-1)
  output y
`

const all = (features: readonly Feature[], facts: (f: Feature) => Fact | undefined) =>
  Object.fromEntries(features.map((f) => [f, facts(f)]))

it('nodes are told as facts, at one sample', () => {
  const [conv, depthwise, turn, softmax] = operatorsOfModel(float)
  expect(
    all(
      ['channels', 'outputChannels', 'kernel', 'stride', 'pads', 'weight', 'bias', 'dtype', 'openAxes', 'depthwise'],
      conv?.facts ?? (() => undefined)
    )
  ).toEqual({
    ...{ channels: 3, outputChannels: 6, kernel: [3, 3], stride: [2, 2], pads: [1, 1, 1, 1] },
    ...{ weight: 'constant', bias: 'constant', dtype: 'float32', openAxes: 0, depthwise: 'no' }
  })
  expect([depthwise?.facts('depthwise'), depthwise?.facts('channels'), depthwise?.reads]).toEqual(['yes', 6, [0]])
  expect([turn?.facts('permutation'), turn?.facts('plane')]).toEqual(['0 2 3 1', 16])
  expect([softmax?.facts('axis'), softmax?.facts('rank')]).toEqual([[3], 4])
  expect(conv?.macs).toBe(6 * 16 * 27)
  expect(conv?.bytes).toEqual({ weights: 4 * (6 * 27 + 6), reads: 4 * 192, gives: 4 * 96 })
})

it('between roundings an operator has the type of the codes', () => {
  const coded = model`
    input x: f32[N,4]
    xq: u8[N,4] = QuantizeLinear(x, s: f32[]{0.1}, z: u8[]{3})
    xd: f32[N,4] = DequantizeLinear(xq, s, z)
    wd: f32[4,2] = DequantizeLinear(W: i8[4,2], t: f32[]{0.2})
    h: f32[N,2] = MatMul(xd, wd)
    hq: u8[N,2] = QuantizeLinear(h, s, z)
    y: f32[N,2] = DequantizeLinear(hq, s, z)
    output y
  `
  const found = operatorsOfModel(coded)
  expect(found.map((o) => o.op)).toEqual(['QuantizeLinear', 'MatMul', 'DequantizeLinear'])
  expect(found.map((o) => o.reads)).toEqual([[], [0], [1]])
  const features = ['dtype', 'weightType', 'weightScales', 'weightZeroPoint', 'dataZeroPoint'] as const
  expect(all(features, found[1]?.facts ?? (() => undefined))).toEqual({
    ...{ dtype: 'uint8', weightType: 'int8', weightScales: 'one', weightZeroPoint: 0, dataZeroPoint: [3] }
  })
  expect(found[1]?.bytes).toEqual({ weights: 8, reads: 4, gives: 2 })
})
