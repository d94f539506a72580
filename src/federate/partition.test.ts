import { expect, test } from 'vitest'
import { rng } from '../base/random.ts'
import { gamma, partition } from './partition.ts'

const labels = Array.from({ length: 6000 }, (_, i) => i % 10)

test('every sample goes to one client, and none has too few', () => {
  const { clients, smallest } = partition(labels, { clients: 20, alpha: 0.5, seed: 1 })
  expect(clients.flat().sort((a, b) => a - b)).toEqual(labels.map((_, i) => i))
  expect(smallest).toBeGreaterThanOrEqual(10)
  expect(Math.min(...clients.map((c) => c.length))).toBe(smallest)
})

test('the seed decides, and small α makes clients differ', () => {
  const of = (alpha: number, seed: number) => partition(labels, { clients: 20, alpha, seed })
  expect(of(0.5, 1)).toEqual(of(0.5, 1))
  expect(of(0.5, 1).clients).not.toEqual(of(0.5, 2).clients)
  const [alike, unlike] = [of(100, 1), of(0.1, 1)]
  expect(alike.variation).toBeLessThan(0.1)
  expect(unlike.variation).toBeGreaterThan(0.5)
})

test('too many clients for the samples are refused', () => {
  expect(() => partition(labels.slice(0, 90), { clients: 10, alpha: 1, seed: 1 })).toThrow(/not 10 for each/)
})

test.each([0.1, 0.5, 1, 3])('draws from Gamma(%d) have its mean and variance', (a) => {
  const random = rng(`gamma ${a}`)
  const drawn = Array.from({ length: 20_000 }, () => gamma(random, a))
  const mean = drawn.reduce((s, x) => s + x, 0) / drawn.length
  const variance = drawn.reduce((s, x) => s + (x - mean) ** 2, 0) / drawn.length
  // Both are a; standard errors are √(a/n) and at most a·√((6/a + 2)/n).
  expect(Math.abs(mean - a)).toBeLessThan(5 * Math.sqrt(a / drawn.length))
  expect(Math.abs(variance - a)).toBeLessThan(5 * a * Math.sqrt((6 / a + 2) / drawn.length))
})
