import { expect, it } from 'vitest'
import { greatest, least } from './extremes.ts'

it('takes more values than a call takes arguments', () => {
  const many = Float64Array.from({ length: 1_000_000 }, (_, i) => Math.abs(i - 700_000))
  expect([least(many), greatest(many)]).toEqual([0, 700_000])
})
it('knows what the extremes of nothing are, and of NaN', () => {
  expect([least([]), greatest([]), greatest([], 3), greatest([-1], 0)]).toEqual([Infinity, -Infinity, 3, 0])
  expect([least([1, Number.NaN]), greatest([1, Number.NaN])]).toEqual([Number.NaN, Number.NaN])
})
