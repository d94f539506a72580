import { describe, expect, it } from 'vitest'
import { tensor } from '../../ir/tensor.ts'
import { saturatingChannels } from './saturation.ts'

describe('pair sums', () => {
  it('saturate from 129 on, in both directions', () => {
    const codes = tensor('int8', [5, 2], [127, 1, 127, 2, -127, -2, 127, -127, 64, 64])
    // 255 · 128 = 32640 fits int16, 255 · 129 = 32895 does not.
    expect(saturatingChannels(codes, 0)).toEqual([false, true, true, false, false])
  })
  it('are of neighbours along the input channel, the kernel position outside', () => {
    // [output 1, inputs 2, positions 2]: read as (p0c0, p0c1, p1c0, p1c1).
    const apart = tensor('int8', [1, 2, 2], [100, 100, 0, 0])
    const beside = tensor('int8', [1, 2, 2], [100, 0, 100, 0])
    expect(saturatingChannels(apart, 0)).toEqual([false])
    expect(saturatingChannels(beside, 0)).toEqual([true])
  })
  it('follow the columns of a matrix', () => {
    const codes = tensor('int8', [2, 3], [100, 100, 1, 100, 1, 127])
    expect(saturatingChannels(codes, 1)).toEqual([true, false, false])
  })
  it('do not occur in filters of one input channel', () => {
    expect(saturatingChannels(tensor('int8', [1, 1, 1, 2], [127, 127]), 0)).toEqual([false])
  })
})
