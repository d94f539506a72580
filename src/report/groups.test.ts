import { expect, it } from 'vitest'
import { parse } from '../ir/text.ts'
import { describeGroups } from '../passes/prune/describe.ts'
import { printGroups } from './groups.ts'
import { noStyle } from './table.ts'

it('says which channels go together, and what holds the others', () => {
  const m = parse(`
input x: f32[N,4]
a = Gemm(x, W1: f32[4,16], B1: f32[16])
b = Relu(a)
c = Gemm(b, W2: f32[16,6], B2: f32[6])
d = CumSum(c, i: i64[]{1})
y = Gemm(d, W3: f32[6,3])
output y`)
  expect(printGroups(describeGroups(m), noStyle)).toMatchInlineSnapshot(`
    "
      1 group of channels may lose some; 4 may not

      a  16 channels
        made by  Gemm_0
        read by  Gemm_2

      x  4 channels
        stays: x is an input of the model

      c  6 channels
        stays: CumSum_3: CumSum has no rule for channels

      d  6 channels
        stays: CumSum_3: CumSum has no rule for channels

      y  3 channels
        stays: y is an output of the model
    "
  `)
})
