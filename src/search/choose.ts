/** Which candidate wins: pure functions of what was measured. */
import { least } from '../base/extremes.ts'
import type { Hindrance } from '../report/types.ts'
import type { Ratio } from '../types.ts'

export const objectives = ['balanced', 'size', 'latency', 'macs'] as const
export type Objective = (typeof objectives)[number]

/** What a choice looks at. Ratios are after / before. */
export interface Standing {
  readonly name: string
  readonly bytesRatio: number
  readonly latency?: Ratio
  readonly macs?: number | '?'
  /** Measured drop of the promised metric on the choosing part; positive is worse. */
  readonly drop: number
  /** Relative change of the output, ‖y−r‖/‖r‖: how faithful it is. */
  readonly error: number
}

export interface Verdict {
  /** Lower is better; `undefined`: not in the race, for the hindrance. */
  readonly score?: number
  readonly hindrance?: Hindrance
  readonly why: string
}

/** Scores closer than this are a tie: about the noise of a latency ratio. */
export const tie = 1.02
/** A paired median up to this is "no slower". */
const noSlower = 1.03

/** What is wanted; `given`: the one candidate that was asked for, unless it loses too much. */
export type Wanted = Objective | 'given'

/** Judges one candidate by an objective and a bound on the drop. */
export function judge(s: Standing, objective: Wanted, maxDrop: number | undefined): Verdict {
  if (maxDrop !== undefined && s.drop > maxDrop)
    return { hindrance: 'accuracy', why: `loses ${points(s.drop)}, more than ${points(maxDrop)}` }
  const slow = s.latency?.median ?? 1
  const untimed = s.latency === undefined ? ' (not timed)' : ''
  if (objective === 'size' && s.bytesRatio > 1)
    return { hindrance: 'bytes', why: `larger than the original: ${times(s.bytesRatio)}` }
  if (objective === 'size' || objective === 'given')
    return { score: s.bytesRatio, why: `${times(s.bytesRatio)} the bytes` }
  if (slow > noSlower) return { hindrance: 'speed', why: `slower than the original: ${times(slow)}` }
  if (objective === 'latency') return { score: slow, why: untimed ? 'not timed' : `${times(slow)} the latency` }
  if (objective === 'macs' && typeof s.macs === 'number')
    return { score: s.macs * (1 + 0.01 * s.bytesRatio * slow), why: `${s.macs} MACs` }
  const score = s.bytesRatio * slow
  if (untimed) return { score, why: `${times(s.bytesRatio)} the bytes${untimed}` }
  return { score, why: `bytes × latency ${score.toFixed(3)}` }
}

/**
 * Index of the winner; `undefined` when none is in the race. Among those within a tie of the best, the smaller file
 * wins for `latency`, otherwise the more faithful one.
 */
export function choose(
  all: readonly Standing[],
  objective: Wanted,
  maxDrop: number | undefined
): { readonly winner: number | undefined; readonly verdicts: readonly Verdict[] } {
  const verdicts = all.map((s) => judge(s, objective, maxDrop))
  const best = least(verdicts.map((v) => v.score ?? Number.POSITIVE_INFINITY))
  const tied = all.flatMap((_, i) => ((verdicts[i]?.score ?? Number.POSITIVE_INFINITY) <= best * tie ? [i] : []))
  const key = (i: number): number => (objective === 'latency' ? all[i]?.bytesRatio : all[i]?.error) ?? 0
  const winner = Number.isFinite(best) ? tied.sort((a, b) => key(a) - key(b))[0] : undefined
  return {
    winner,
    verdicts: verdicts.map((v, i) => {
      if (v.score === undefined) return v
      if (i === winner)
        return { ...v, why: objective === 'given' ? `as given: ${v.why}` : `best for ${objective}: ${v.why}` }
      const reason = !tied.includes(i)
        ? 'behind'
        : objective === 'latency'
          ? 'a tie, but a larger file'
          : 'a tie, but less faithful'
      return { ...v, why: `${v.why}; ${reason}` }
    })
  }
}

/** A promise checked on samples that nothing chose by: kept, or not told apart from no loss at all. */
export function isKept(drop: { readonly value: number; readonly low: number }, maxDrop: number): boolean {
  return drop.value <= maxDrop || drop.low <= 0
}

const times = (x: number): string => `${x.toFixed(2)} ×`
const points = (x: number): string => `${(100 * x).toFixed(1)} points`
