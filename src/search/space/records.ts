/** What a search writes down, as plain data: a line for what it is, then lines of its runs. */
import type { Identity } from '../trial.ts'
import type { Point } from './space.ts'

/** What a search is. Another one goes on from no line of it. */
export interface SearchHeader {
  readonly pareSearch: 1
  /** All that trials depend on, by name. */
  readonly job: Identity
}

/** A proposal of a run, before it is measured. */
export interface Proposed {
  readonly kind: 'proposed'
  readonly run: string
  readonly k: number
  readonly raw: readonly number[]
  readonly point: Point
}

/** A finished trial. */
export interface Done {
  readonly kind: 'done'
  readonly run: string
  readonly k: number
  /** Of the samples that it was measured on, as in `TrialResult`. */
  readonly losses: string
  readonly drop: { readonly sum: number; readonly squares: number }
  readonly isWhole: boolean
  /** The point was measured before: nothing ran. */
  readonly isKnown?: true
  /** No model was made: points of like guesses were far behind. */
  readonly isGuessed?: true
  /** Of this trial alone; differs from run to run, unlike all else. */
  readonly ms: number
}

/** A trial whose model could not be made or run. */
export interface FailedTrial {
  readonly kind: 'failed'
  readonly run: string
  readonly k: number
  readonly code: string
  readonly message: string
}

/** An explorer had nothing more to propose after k trials. */
export interface Ended {
  readonly kind: 'ended'
  readonly run: string
  readonly k: number
}

/** What was measured once for all trials, under a name, such as harms of single choices. */
export interface Fact {
  readonly kind: 'fact'
  readonly name: string
  readonly value: unknown
}

export type SearchLine = Proposed | Done | FailedTrial | Ended | Fact

/** Where lines go. */
export interface SearchJournal {
  /** Of a search that was stopped; none where it begins anew. Throws `E_CONSTRAINT` where they are of another search. */
  open(job: Identity): Promise<readonly SearchLine[]>
  /** Returns once the line would survive the end of the process. */
  append(line: SearchLine): Promise<void>
}
