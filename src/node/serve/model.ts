/** A version of a model as it is served. */
import type { Inputs, Times } from '../../serve/batching.ts'
import type { Queues, Waiting } from '../../serve/queue.ts'
import type { Statistics } from '../../serve/statistics.ts'
import type { InferRequest, Signature } from '../../serve/types.ts'

/** What was measured of a model and chosen by it. */
export interface Tuning {
  /** All inputs and outputs begin with the samples, and a sample's results are its own. */
  readonly isBatched: boolean
  /** Samples that requests are joined up to. */
  readonly size: number
  /** A request of more samples is run in pieces of so many. */
  readonly piece: number
  readonly times: Times
  /** Why this size, in a sentence. */
  readonly why: string
  /** Bytes of the inputs of one sample as it was measured. */
  readonly sampleBytes: number
  /** The length that inputs are filled up in, by the symbol of its axes. */
  readonly padded?: string
  /** What a copy in one more worker takes, bytes. */
  readonly bytes: number
  readonly loadMs: number
}

/** How samples part ways behind a stage of a model that answers easy ones early. */
export interface Route {
  /** Output that holds the scores. */
  readonly scores: string
  /** Output that says how sure the stage is, and how sure it must be; the last stage has none. */
  readonly exit?: { readonly confidence: string; readonly threshold: number }
  /** Share of samples that go on, as it is now. */
  goingOn: number
  /** Samples that had their answer here. */
  answered: number
}

/** What workers run: a whole model, or one stage of it. */
export interface Stage {
  readonly name: string
  /** What workers know it by. */
  readonly key: string
  /** A path, or the content of a file. */
  readonly file: string | Uint8Array
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly tuning: Tuning
  /** What every worker runs before it is given requests. */
  readonly warm: readonly Inputs[]
  readonly queues: Queues<Part>
  /** ms of a sample by shape, as it takes now. */
  readonly rates: Map<string, number>
  /** What it has run. */
  readonly done: { samples: number; runs: number }
  /** Absent where the model has no stages. */
  readonly route?: Route
}

/** Samples of a request that wait to be run. */
export interface Part extends Waiting {
  readonly model: Served
  readonly stage: Stage
  readonly inputs: Inputs
  readonly outputs: readonly string[]
  /** `began`: when the run was. */
  done(outputs: Inputs, began: number): void
  fail(error: Error): void
}

export interface Served {
  readonly name: string
  readonly version: string
  /** What the keys of its stages begin with: it is another one after every load. */
  readonly key: string
  readonly path: string
  readonly signature: Signature
  /** In order; one, where the model has none. */
  readonly stages: readonly [Stage, ...Stage[]]
  readonly statistics: Statistics
  /** Requests that have not been answered. */
  active: number
}

/** Bytes that a copy of all stages takes in one more worker. */
export const bytesOf = ({ stages }: Pick<Served, 'stages'>): number => stages.reduce((n, s) => n + s.tuning.bytes, 0)

/** Samples of all stages that wait. */
export const waitingIn = ({ stages }: Pick<Served, 'stages'>): number =>
  stages.reduce((n, s) => n + s.queues.samples, 0)

/** A request of this model, and whoever waits for it. */
export interface Call {
  readonly request: InferRequest
  readonly arrived: number
  readonly timeoutMs: number
  isGone(): boolean
}
