/**
 * Speed of a run and the time it has left, from what was measured so far. With S ms over s steps and L ms over l looks at
 * the validation data, what is left takes S/s a step and L/l a look; estimating statistics anew is counted in steps.
 */
import type { Pace } from '../types.ts'

/** What was measured so far. */
export interface Tally {
  steps: number
  stepMs: number
  looks: number
  lookMs: number
}

/** What is yet to be done. */
export interface Remaining {
  readonly steps: number
  readonly looks: number
}

/** Steps a second, and the time left; a look counts nothing before one was measured. `undefined` before the first step. */
export function paceOf(t: Tally, left: Remaining): Pace | undefined {
  if (t.steps === 0 || t.stepMs <= 0) return undefined
  const look = t.looks === 0 ? 0 : t.lookMs / t.looks
  return { perSecond: (1000 * t.steps) / t.stepMs, leftMs: (left.steps * t.stepMs) / t.steps + left.looks * look }
}
