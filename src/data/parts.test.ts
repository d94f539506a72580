import { expect, it } from 'vitest'
import { tensor } from '../ir/tensor.ts'
import { partName, partsOf } from './parts.ts'

const seen = (shape: readonly number[], values: (i: number) => number) => [
  {
    n: shape[0] as number,
    outputs: {
      y: tensor(
        'float32',
        shape,
        Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => values(i))
      )
    }
  }
]

it('boxes in pixels and scores in one tensor are two parts, along either axis', () => {
  const [boxes, scores] = partsOf(seen([2, 6, 8], (i) => (Math.floor(i / 8) % 6 < 4 ? 500 - i : (i % 10) / 10)))
  expect(boxes?.channels).toEqual({ axis: 0, size: 6, which: [0, 1, 2, 3] })
  expect(scores && partName(scores)).toBe('y, positions 4 to 5 of axis 1')
  const last = partsOf(seen([2, 8, 6], (i) => (i % 6 < 4 ? 500 - i : (i % 10) / 10)))
  expect(last.map((p) => p.channels?.which)).toEqual([
    [0, 1, 2, 3],
    [4, 5]
  ])
})

it('probabilities stay together however small some are, and so do dead channels', () => {
  expect(partsOf(seen([4, 3], (i) => [0.9, 0.01, 1e-5][i % 3] as number))).toEqual([{ output: 'y' }])
  expect(partsOf(seen([4, 3], (i) => [90, 80, 1e-6][i % 3] as number))).toEqual([{ output: 'y' }])
})

it('one small channel of a hundred is no part of its own, one large channel is', () => {
  const small = partsOf(seen([2, 100], (i) => (i % 100 === 7 ? 2 : 90 - (i % 9))))
  expect(small).toEqual([{ output: 'y' }])
  const large = partsOf(seen([2, 100], (i) => (i % 100 === 7 ? 900 : 9 - (i % 7))))
  expect(large.map((p) => p.channels?.which.length)).toEqual([1, 99])
})
