/** What the ladder is given. */
import type { Rng } from '../base/random.ts'
import type { Candidate } from '../report/types.ts'
import type { Dataset, Metric, Model, Progress, Recipe, Runner, Source, Target } from '../types.ts'
import type { Objective } from './choose.ts'

/** A model as it will be written: what is measured is what the user gets. */
export interface Staged {
  readonly source: Source
  readonly bytes: number
  readonly gzipBytes?: number
  readonly brotliBytes?: number
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
  /** Opens another model that a recipe names; absent where there are no files. */
  load?(path: string): Promise<Model>
  /** Writes a candidate as it would be saved. */
  stage(model: Model): Promise<Staged>
  /** Load time and peak memory in a fresh process, as far as they can be told; absent where there is none (browser). */
  process?(source: Source): Promise<{ readonly loadMs?: number; readonly peakBytes?: number }>
  /** Called with every candidate once it is measured. */
  onCandidate?(candidate: Candidate): void
}
