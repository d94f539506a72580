import { expect, it } from 'vitest'
import { paceOf } from './pace.ts'

it('tells the time left by steps and looks, each as measured', () => {
  // 40 steps of 50 ms, 2 looks of 3 s; 60 steps and 3 looks are to come.
  const t = { steps: 40, stepMs: 2000, looks: 2, lookMs: 6000 }
  expect(paceOf(t, { steps: 60, looks: 3 })).toEqual({ perSecond: 20, leftMs: 60 * 50 + 3 * 3000 })
  // What the looks took changes nothing of the speed.
  expect(paceOf({ ...t, lookMs: 60_000 }, { steps: 60, looks: 0 })).toEqual({ perSecond: 20, leftMs: 3000 })
})

it('goes on evenly over a look at the validation data', () => {
  const left = (steps: number, looks: number, done: number): number =>
    paceOf({ steps, stepMs: steps * 50, looks: done, lookMs: done * 3000 }, { steps: 100 - steps, looks })?.leftMs ?? 0
  // The last step before the look of 3 s, and the first after it.
  expect(left(50, 2, 1) - left(51, 1, 2)).toBe(3000 + 50)
})

it('knows nothing before the first step, and counts looks of unknown length as none', () => {
  expect(paceOf({ steps: 0, stepMs: 0, looks: 1, lookMs: 100 }, { steps: 10, looks: 1 })).toBeUndefined()
  expect(paceOf({ steps: 1, stepMs: 10, looks: 0, lookMs: 0 }, { steps: 9, looks: 4 })?.leftMs).toBe(90)
})
