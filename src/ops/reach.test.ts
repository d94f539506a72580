import { expect, it } from 'vitest'
import { model } from '../ir/text.ts'
import { inferShapes } from './infer.ts'
import { reachOf } from './reach.ts'

it('windows behind each other look farther, in steps of all their strides', () => {
  const m = inferShapes(model`
    input x: f32[N,1,T]
    a = Conv(x, v: f32[1,1,5]{1, 1, 1, 1, 1}, strides=[4])
    b = Conv(a, w: f32[1,1,3]{1, 1, 1}, dilations=[2])
    y = MaxPool(b, kernel_shape=[2] strides=[2])
    output y`)
  // 1 + 4·1 + 2·2·4 + 1·4
  expect(reachOf(m)).toEqual({ field: 25, step: 8 })
})

it('sees weights that a branch reads from around it', () => {
  const m = inferShapes(model`
    input x: f32[N,1,T]
    input c: bool[]
    z = Identity(W: f32[1,1,8])
    y = If(c, then_branch={ a = Conv(x, W, strides=[4])
      output a }, else_branch={ b = Relu(x)
      output b })
    output y
    output z`)
  expect(reachOf(m)).toEqual({ field: 8, step: 4 })
})
