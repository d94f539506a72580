/** Passes: what one is, what it may use, and the recipe that lists several. Types only. */
import type { ZodType } from 'zod'
import type { Rng } from '../base/random.ts'
import type { Runner } from '../runtime/types.ts'
import type { Target } from '../targets/types.ts'
import type { Dataset, Interval, Model, Node, Progress, Ratio } from '../types.ts'

/** JSON: all that a user did can be replayed from it. */
export type Recipe = readonly (readonly [pass: string, options: Readonly<Record<string, unknown>>])[]

export interface Refusal {
  readonly node: string
  readonly op: string
  readonly reason: string
  /** Bytes of its constants that stay in float; absent: none, or not known. */
  readonly bytes?: number
}

/** What a pass may use; everything it needs, it is given. */
export interface Context {
  /** Folds, calibrates and trains. */
  readonly engine: Runner
  /** The target's own runtime, which scores, times and proves. Absent: not installed or unknown; nothing is timed. */
  readonly measured?: Runner
  readonly data: { readonly calibration?: Dataset; readonly train?: Dataset; readonly selection?: Dataset }
  /** The last model of the recipe that was not rounded to codes: what a rounded one is compared with. */
  readonly reference?: Model
  readonly target: Target
  readonly rng: Rng
  readonly signal: AbortSignal
  readonly progress: Progress
  /** Opens another model, such as a student; absent where there are no files. */
  load?(path: string): Promise<Model>
  /** Applies other passes in the same surroundings; `applyRecipe` brings it. */
  apply?(model: Model, recipe: Recipe): Promise<Model>
  /** Keeps what a long pass has done so far; absent where there is no place for it. */
  readonly checkpoints?: Checkpoints
  /** Compares a model with the one it came from; absent where there are no samples to choose by. */
  measure?(model: Model, what: MeasureOptions): Promise<Comparison>
  refuse(node: Pick<Node, 'name' | 'op'>, reason: string): void
  note(fact: string): void
  /** Plain data on what was decided; shown in the report. */
  plan(data: unknown): void
  /** Passes that do again what this one found by measuring; they stand in its place in the recipe of the report. */
  replay?(recipe: Recipe): void
}

/** States of long passes under keys that tell passes, options, models and data apart. */
export interface Checkpoints {
  /** What was written under a key, where the user asked to go on from it. */
  read(key: string): Promise<Uint8Array | undefined>
  /** All or nothing: at every moment there is the old state or the new one. */
  write(key: string, bytes: Uint8Array): Promise<void>
}

export interface MeasureOptions {
  /** What the model came from. Only what follows the first difference is run, on the values that this one makes before. */
  readonly beside: Model
  /** Samples to compare on, at most; all that may choose by default. */
  readonly samples?: number
  /** Time both, interleaved, for so long; by default they are not timed. */
  readonly seconds?: number
  /** Tell the time of every kernel of the model. */
  readonly kernels?: boolean
}

/** A model beside the one it came from, on the samples that choose. */
export interface Comparison {
  readonly metric: string
  /** How much worse the metric that counts became, paired; positive is worse. */
  readonly drop: Interval
  /** ‖y − r‖² / ‖r‖² of the outputs, mean over samples. */
  readonly error: number
  readonly latency?: Ratio
  /** ms for one sample, by the node at the kernel's heart. */
  readonly kernels?: ReadonlyMap<string, number>
}

/** A part of the data that passes are given. */
export type DataPart = 'calibration' | 'train' | 'selection'

/** What a pass changes: the graph, what is computed on integers, how constants are stored, the error of rounding, the weights, what is computed for which input. */
export type PassGroup = 'graph' | 'pruning' | 'integers' | 'storage' | 'accuracy' | 'training' | 'adaptive'

/** A named, pure Model → Model. Returns the very same object when there was nothing to do. */
export interface Pass<O = never> {
  readonly name: string
  /** A line of help, as a command: `store weights in 8 bits`. */
  readonly summary: string
  /** What users look for when they find it in the help; absent: shown under `other passes`. */
  readonly group?: PassGroup
  /** What it cannot do without of `ctx.data`. */
  readonly needs: readonly DataPart[]
  /** What it makes use of where it is given, beside what it needs. */
  readonly uses: readonly DataPart[]
  /** Passes that its result is better after: the command of a single pass applies them first unless told not to. */
  readonly after: readonly string[]
  /** It compares a quantized model with the float model that it was made from. */
  readonly compares: boolean
  /** It stores weights in fewer bits: what stays in float behind it is listed, with bytes and reason. */
  readonly narrows: boolean
  /** Its result may differ from the model as far as was asked, as one that is to be trained afterwards. */
  readonly lossy: boolean
  /** It sees weights in the type that the file stores, where other passes see those of 16 bits behind a Cast as float32. */
  readonly asStored: boolean
  /** It promises something by the selection part, which nothing before it may have been fitted to. */
  readonly promises: boolean
  /** An option that names another model, which its command takes in front of its own: the option, and what help calls both. */
  readonly beside?: { readonly option: string; readonly names: readonly [other: string, own: string] }
  readonly options: ZodType<O>
  run(model: Model, options: O, ctx: Context): Promise<Model>
}
