import { expect, it } from 'vitest'
import { listed } from './listed.ts'

it('names the first few and counts the others', () => {
  expect(listed([])).toBe('')
  expect(listed(['a', 'b', 'c'])).toBe('a, b, c')
  expect(listed(['a', 'b', 'c', 'd', 'e'])).toBe('a, b, c and 2 more')
  expect(listed(['a', 'b'], 1)).toBe('a and 1 more')
})
