/** A command as data, and what it says on the way. Without a Dataset or Metric of the program's own it is plain JSON, which a worker can be given. */
import type { DataDescription } from '../data/description.ts'
import type { Recipe } from '../passes/types.ts'
import type { GroupLine } from '../report/groups.ts'
import type { Inspection } from '../report/inspection.ts'
import type { CostName, CostShares, Report } from '../report/types.ts'
import type { Objective } from '../search/compress.ts'
import type { Dataset, Metric, Progress } from '../types.ts'

/** Every job; `apply` is a recipe on its own. */
export const jobCommands = [
  'compress',
  'search',
  'inspect',
  'verify',
  'bench',
  'convert',
  'apply',
  'quantize-for',
  'simulate'
] as const
/** The name of a job. */
export type JobCommand = (typeof jobCommands)[number]

/** Where data is, or a Dataset that the program made itself. */
export type DataSource = DataDescription | Dataset

/** Has it what only a Dataset has? */
export const isDataset = (x: unknown): x is Dataset =>
  typeof x === 'object' && x !== null && 'batches' in x && typeof x.batches === 'function'

/** Which data serves what; `data` serves whatever has none of its own. */
export interface JobData {
  readonly data?: DataSource
  readonly evaluation?: DataSource
  readonly calibration?: DataSource
  readonly train?: DataSource
  /** `simulate`: samples that everybody may see, with or without labels. */
  readonly open?: DataSource
}

/** What `search` is asked for. */
export interface SearchJob {
  /** Names of strategies; each is run with the same number of trials. */
  readonly strategies: readonly string[]
  readonly trials: number
  /** Every strategy is run under so many seeds. */
  readonly seeds: number
  /** Shares of the original's costs that may be left. Where there are none, `least` is sought within `maxDrop`. */
  readonly budget: CostShares
  readonly least?: CostName
  /** Threads that measure trials; absent: this one. A text is the address of a queue, out of which workers take them. */
  readonly workers?: number | string
  /** Trials in the making that a proposal does not know of, at most. */
  readonly ahead: number
  /** Types of weights to choose from beside float; none: channels alone. */
  readonly types?: readonly string[]
  /** Shares of a weight's elements that may be zero, and of its parameters that a layer split by rank may keep; absent: none. */
  readonly sparsity?: readonly number[]
  readonly ranks?: readonly number[]
  /** Do channels have a choice? */
  readonly channels?: boolean
  readonly leastKept?: number
  readonly exclude?: readonly string[]
  /** Only search: no model is made or written. */
  readonly only?: boolean
}

/** One job. */
export interface Job {
  readonly command: JobCommand
  /** The command line that this is, for the report. */
  readonly line: string
  readonly model: string
  /** `verify`: the compressed model; `bench`: the one to compare with. */
  readonly other?: string
  readonly out?: string
  readonly force?: boolean
  readonly target?: string
  readonly seed?: number
  readonly threads?: number
  /** A file of `calibrate-target`: reports then say what it predicts beside what was measured. */
  readonly costModel?: string
  readonly data?: JobData
  /** A metric's name, the path of a module that the user named, or the metric itself. */
  readonly metric?: string | Metric
  /** Outputs that metrics look at, by name; by default all that the model computes. */
  readonly judged?: readonly string[]
  /** A fraction: 0.01 is one percentage point. */
  readonly maxDrop?: number
  readonly objective?: Objective
  readonly recipe?: Recipe
  /** `apply`: the float model that a quantized one was made from. */
  readonly reference?: string
  /** `compress`: how candidates are searched for, by name. */
  readonly strategy?: string
  /** `search`: how, under which budgets, with how many trials. */
  readonly search?: SearchJob
  /** `compress`: cascades of what is found are candidates too. */
  readonly adaptive?: boolean
  /** `compress`, `verify` and `bench`: seconds that the whole may take. */
  readonly maxSeconds?: number
  /** `apply` and `compress`: go on from the checkpoints and the journal of a run that was stopped. */
  readonly resume?: boolean
  /** Commands that write a model: `false` writes it without opening it and running it beside the original. */
  readonly check?: boolean
  /** What was chosen of how the model's format is read, as `{ normalizer: 'graph' }` of DL4J's. */
  readonly read?: Readonly<Record<string, unknown>>
  /** Commands that write a model: options of the format that it is written in. */
  readonly write?: Readonly<Record<string, unknown>>
  /** `apply`: measure here how the file is made best. */
  readonly tune?: boolean
  /** `quantize-for`: the types to make; all by default. */
  readonly only?: readonly string[]
  /** `apply` and `convert`: a report is wanted, with sizes under gzip and brotli and the count of zeros. */
  readonly reports?: boolean
  /** `inspect`: the text form too. */
  readonly graph?: boolean
  /** `inspect`: which channels go together too. */
  readonly groups?: boolean
  /** `verify`: measure also what each layer alone does to the output. */
  readonly layers?: boolean
  /** `verify`: compare onnxruntime-node and onnxruntime-web; by default with `layers`, and where the target is the web. */
  readonly engines?: boolean
  /** `bench` and `verify`: seconds of timing. */
  readonly seconds?: number
  /** `simulate`: what the rounds do, and among how many clients. */
  readonly federation?: {
    readonly recipe?: Readonly<Record<string, unknown>>
    readonly clients?: number
    /** Of the Dirichlet distribution that classes are spread by: the smaller, the more clients differ. */
    readonly alpha?: number
    /** Share of clients that send `factor` times their update. */
    readonly hostile?: { readonly share: number; readonly factor: number }
    /** The network that learns on public samples, by default the one of the rounds. */
    readonly student?: string
    /** Threads that train clients. */
    readonly workers?: number
  }
}

/** What a job comes to. */
export interface JobResult {
  readonly report: Report
  /** A constraint was given and not met: nothing was written. */
  readonly unmet: boolean
  readonly inspection?: Inspection
  /** The text form of the model. */
  readonly text?: string
  readonly groups?: readonly GroupLine[]
}

/** What the caller hears while a job runs. */
export interface JobHooks {
  readonly signal: AbortSignal
  readonly progress: Progress
  /** Once the model and the data are open: the Report as far as it is known, and what the file is. */
  opened?(report: Report, facts: string): void
}
