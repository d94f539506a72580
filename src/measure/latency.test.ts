import { expect, test } from 'vitest'
import { rng } from '../base/random.ts'
import { interleave } from './latency.ts'

/** A clock that only the entries move: `cost(run)` ms for every run. */
function simulated(costs: Readonly<Record<string, (run: number) => number>>) {
  let time = 0
  const order: string[] = []
  const entries = Object.entries(costs).map(([name, cost]) => {
    let runs = 0
    return {
      name,
      run: async () => {
        order.push(name)
        time += cost(runs++)
      }
    }
  })
  return { entries, order, now: () => time }
}

test('every round runs each entry once, in changing order', async () => {
  const s = simulated({ a: () => 1, b: () => 2, c: () => 3 })
  const timed = await interleave(s.entries, rng(1), { minSeconds: 0, minRuns: 40, warmup: 2, now: s.now })
  expect(timed.map((t) => t.latency.n)).toEqual([40, 40, 40])
  expect(s.order.length).toBe(42 * 3)
  const rounds = Array.from({ length: 42 }, (_, i) => s.order.slice(3 * i, 3 * i + 3).join(''))
  expect(rounds.every((r) => [...r].sort().join('') === 'abc')).toBe(true)
  expect(new Set(rounds).size).toBe(6)
})

test('ratios are against the first entry, percentiles of their own', async () => {
  const s = simulated({ before: (i) => 10 + (i % 5), after: (i) => 5 + (i % 5) / 2 })
  const [before, after] = await interleave(s.entries, rng(2), { minSeconds: 0, minRuns: 100, warmup: 0, now: s.now })
  expect(before?.latency.p50).toBe(12)
  expect(before?.ratio).toBeUndefined()
  expect(after?.latency).toMatchObject({ p50: 6, n: 100 })
  expect(after?.ratio).toEqual({ median: 0.5, low: 0.5, high: 0.5 })
})

test('an entry with a clock of its own is timed by that', async () => {
  const s = simulated({ near: () => 4, far: () => 9 })
  let spent = 0
  const far = s.entries[1] as (typeof s.entries)[number]
  const run = async (): Promise<void> => {
    await far.run()
    spent += 2
  }
  const entries = [s.entries[0] as typeof far, { name: 'far', run, spentMs: () => spent }]
  const [a, b] = await interleave(entries, rng(6), { minSeconds: 0, minRuns: 20, warmup: 1, now: s.now })
  expect([a?.latency.p50, b?.latency.p50, b?.ratio?.median]).toEqual([4, 2, 0.5])
})

test('a burst of other work, ten times slower for a third of the time, does not move the ratio', async () => {
  const noise = rng(3)
  const burst = (i: number): number => (i % 90 < 30 ? 10 : 1) * (1 + noise.next() / 20)
  const s = simulated({ before: (i) => 4 * burst(i), after: (i) => 3 * burst(i) })
  const [, after] = await interleave(s.entries, rng(4), { minSeconds: 0, minRuns: 300, warmup: 0, now: s.now })
  expect(after?.ratio?.median).toBeGreaterThan(0.74)
  expect(after?.ratio?.median).toBeLessThan(0.76)
  expect(after?.ratio?.low).toBeLessThanOrEqual(0.75)
  expect(after?.ratio?.high).toBeGreaterThanOrEqual(0.745)
})

test('rounds go on for the time asked and stop at the most allowed', async () => {
  const slow = simulated({ a: () => 100 })
  const [a] = await interleave(slow.entries, rng(5), { minSeconds: 3, minRuns: 5, warmup: 1, now: slow.now })
  expect(a?.latency.n).toBe(30)
  const fast = simulated({ a: () => 0.001 })
  const [b] = await interleave(fast.entries, rng(5), { minSeconds: 3, maxRuns: 200, warmup: 1, now: fast.now })
  expect(b?.latency.n).toBe(200)
})

test('stops on request', async () => {
  const s = simulated({ a: () => 1 })
  const stop = new AbortController()
  stop.abort()
  await expect(interleave(s.entries, rng(6), { now: s.now, signal: stop.signal })).rejects.toMatchObject({
    code: 'E_ABORTED'
  })
})

test('slow models are timed a few times only, and the interval says so', async () => {
  const s = simulated({ before: () => 4000, after: (i) => 3000 + (i % 3) })
  const [before, after] = await interleave(s.entries, rng(5), { minSeconds: 1, now: s.now })
  expect(before?.latency.n).toBe(6)
  expect(s.now()).toBeLessThan(60_000)
  expect(after?.ratio?.low).toBeLessThan(after?.ratio?.high ?? 0)
})

test('ends in the time allowed, even with one round, and tells how far it is', async () => {
  const told: [number, number | undefined][] = []
  const slow = simulated({ a: () => 4000, b: () => 4000 })
  const progress = (_: string, done: number, total: number | undefined) => void told.push([done, total])
  const timed = await interleave(slow.entries, rng(1), { minSeconds: 3, maxSeconds: 10, now: slow.now, progress })
  expect(timed.map((t) => t.latency.n)).toEqual([1, 1])
  expect(told).toEqual([[1, 2]])
  const quick = simulated({ a: () => 1, b: () => 1 })
  told.length = 0
  await interleave(quick.entries, rng(1), { minSeconds: 0.2, minRuns: 50, now: quick.now, progress })
  expect(told.at(-1)).toEqual([100, 100])
  expect(told[0]).toEqual([1, 100])
})
