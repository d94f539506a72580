/** What a search is given. */
import type { Rng } from '../base/random.ts'
import type { Shapes } from '../ops/cost.ts'
import type { Checkpoints, Recipe } from '../passes/types.ts'
import type { Candidate } from '../report/types.ts'
import type { Runner, Source } from '../runtime/types.ts'
import type { Target } from '../targets/types.ts'
import type { Dataset, Metric, Model, Progress } from '../types.ts'
import type { Objective } from './choose.ts'
import type { Identity, Trial } from './trial.ts'

/** A model as it will be written: what is measured is what the user gets. */
export interface Staged {
  readonly source: Source
  readonly bytes: number
  readonly sha256?: string
  readonly gzipBytes?: number
  readonly brotliBytes?: number
}

/** Finished trials, written down one by one, so that a search that was stopped goes on after them. */
export interface Journal {
  /** Trials of a search of the same job that was stopped, and what is to be said of them. */
  open(identity: Identity): Promise<{ readonly trials: readonly Trial[]; readonly notes: readonly string[] }>
  /** Returns once the trial would survive the end of the process. */
  append(trial: Trial): Promise<void>
}

export interface CompressInput {
  readonly model: Model
  /** The user's file as it is. */
  readonly original: Staged
  /** Real samples, or seeded ones (`synthetic`), on which no accuracy can be promised and nothing is calibrated. */
  readonly data: { readonly calibration: Dataset; readonly selection: Dataset; readonly test: Dataset }
  /** For passes of a recipe that train. */
  readonly train?: Dataset
  readonly synthetic: boolean
  /** Shapes of the inputs in a run on one sample: work is counted at them. */
  readonly shapes?: Shapes
  /** The metric of the promise first. */
  readonly metrics: readonly [Metric, ...Metric[]]
  /** A fraction: 0.01 is one percentage point. Absent: nothing is promised. */
  readonly maxDrop?: number
  readonly objective: Objective
  readonly target: Target
  /** Folds, calibrates and trains. */
  readonly engine: Runner
  /** The target's own runtime, which scores and times. Absent: the engine scores, and nothing is timed. */
  readonly measured?: Runner
  readonly rng: Rng
  readonly threads: number
  readonly signal: AbortSignal
  readonly progress: Progress
  /** Given by the user: the only candidate then. */
  readonly recipe?: Recipe
  /** How candidates are searched for, by name; the first of `strategies` by default. */
  readonly strategy?: string
  /** Cascades of what the strategy finds are candidates too. */
  readonly adaptive?: boolean
  /** What tells this job from others beside what is given here: hash of the model's file, versions, machine, seed. */
  readonly identity?: Identity
  /**
   * Milliseconds that are left for the whole; absent: it takes as long as it takes. Samples and repeats are fitted to it, and
   * a candidate is stopped where it would leave no time to prove the choice.
   */
  timeLeft?(): number
  /** Absent: a search that is stopped begins anew. */
  readonly journal?: Journal
  /** For passes of a recipe that train long. */
  readonly checkpoints?: Checkpoints
  /** Opens another model that a recipe names; absent where there are no files. */
  load?(path: string): Promise<Model>
  /** Writes a candidate as it would be saved; a signal with a time limit ends what takes too long. */
  stage(model: Model, signal?: AbortSignal): Promise<Staged>
  /** Bytes of the file that a model would be; absent where there are no files. */
  fileBytes?(model: Model): number | undefined
  /** Removes what `stage` wrote; absent where nothing is left behind. */
  discard?(staged: Staged): Promise<void>
  /** Load time and peak memory in a fresh process, as far as they can be told; absent where there is none (browser). */
  process?(source: Source, signal: AbortSignal): Promise<{ readonly loadMs?: number; readonly peakBytes?: number }>
  /** Called with every candidate once it is measured. */
  onCandidate?(candidate: Candidate): void
  /** Called with the best candidate that keeps the promise, whenever it is another one than before. */
  onBest?(candidate: Candidate, model: Model): void
}
