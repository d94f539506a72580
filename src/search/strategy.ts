/** A strategy: what is tried next, as a pure function of what was measured so far. */
import type { Rng } from '../base/random.ts'
import type { Target } from '../targets/types.ts'
import type { Model } from '../types.ts'
import type { Objective } from './choose.ts'
import type { Proposal, Trial } from './trial.ts'

/**
 * Proposes candidates one after the other. `history`: finished trials, failed ones too, in the order in which they were
 * proposed. `pending`: proposals that are still measured, for drivers that measure several at once. `rng`: seeded by the
 * number of the proposal. The answer follows from these arguments alone, so that a run that was stopped proposes the same
 * again. `done` while trials are pending means: nothing before one of them has ended.
 */
export interface Strategy {
  next(history: readonly Trial[], pending: readonly Proposal[], rng: Rng): Proposal | 'done'
}

/** What a strategy is made for. */
export interface Problem {
  readonly model: Model
  readonly target: Target
  readonly objective: Objective
  /** Name of the metric of the promise. */
  readonly metric: string
  /** A fraction of that metric; absent: nothing is promised. */
  readonly maxDrop?: number
  /** Samples are real: ranges can be taken from them, and drops mean something. */
  readonly isCalibrated: boolean
  /** The time is limited: what takes as long as it is given may use what is left. */
  readonly isTimed?: boolean
  /** There are samples to train on, and candidates may. */
  readonly isTrained?: boolean
  /** Of the original file. */
  readonly bytes: number
}

/** A way to search, by its name on the command line. */
export interface StrategyRecord {
  readonly name: string
  readonly summary: string
  make(problem: Problem): Strategy
}

/** The strategy of a recipe that is given: it alone is tried. */
export const only = (proposal: Proposal): Strategy => ({
  next: (history, pending) => (history.length + pending.length > 0 ? 'done' : proposal)
})
