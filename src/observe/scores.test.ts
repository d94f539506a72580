import { describe, expect, it } from 'vitest'
import { model } from '../ir/text.ts'
import type { Model } from '../types.ts'
import { finalScores, thresholdValues } from './scores.ts'

describe('finalScores', () => {
  it('are what the last Softmax reads, back through moves', () => {
    const m = model`
      input x: f32[N,8,1,1]
      a = Conv(x, W: f32[5,8,1,1])
      f = Flatten(a)
      s = Softmax(f)
      y = Identity(s)
      output y`
    expect([...finalScores(m)].sort()).toEqual(['a', 'f'])
  })
  it('are none in the middle, nor where something else reads them', () => {
    const attention = model`
      input x: f32[N,8]
      s = Softmax(x)
      y = MatMul(s, W: f32[8,5])
      output y`
    const shared = model`
      input x: f32[N,8]
      f = Flatten(x)
      y = Softmax(f)
      z = Neg(f)
      output y, z`
    const given = model`
      input x: f32[N,8]
      f = Neg(x)
      y = Softmax(f)
      output y, f`
    expect([...finalScores(attention), ...finalScores(given)]).toEqual([])
    expect([...finalScores(shared)]).toEqual([])
  })
})

describe('thresholdValues', () => {
  const of = (m: Model): string[] => [...thresholdValues(m)].sort()
  it('are what a Sigmoid reads that no layer comes behind, back through moves that others read too', () => {
    const m = model`
      input x: f32[N,8,1,1]
      const at: i64[2] = 2, 3
      a = Conv(x, W: f32[5,8,1,1])
      b, c = Split(a, at, axis=1)
      s = Sigmoid(c)
      y = Concat(b, s, axis=1)
      output y`
    expect(of(m)).toEqual(['a', 'c'])
  })
  it('are none in front of a layer, as gates are', () => {
    const m = model`
      input x: f32[N,8]
      g = Sigmoid(x)
      h = Mul(x, g)
      y = MatMul(h, W: f32[8,5])
      output y`
    expect(of(m)).toEqual([])
  })
})
