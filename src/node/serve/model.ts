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

/** Samples of a request that wait to be run. */
export interface Part extends Waiting {
  readonly model: Served
  readonly inputs: Inputs
  readonly outputs: readonly string[]
  /** `began`: when the run was. */
  done(outputs: Inputs, began: number): void
  fail(error: Error): void
}

export interface Served {
  readonly name: string
  readonly version: string
  /** What workers know it by: it is another one after every load. */
  readonly key: string
  readonly path: string
  readonly signature: Signature
  readonly tuning: Tuning
  /** What every worker runs before it is given requests. */
  readonly warm: readonly Inputs[]
  readonly queues: Queues<Part>
  readonly statistics: Statistics
  /** ms of a sample by shape, as it takes now. */
  readonly rates: Map<string, number>
  /** Requests that have not been answered. */
  active: number
}

/** A request of this model, and whoever waits for it. */
export interface Call {
  readonly request: InferRequest
  readonly arrived: number
  readonly timeoutMs: number
  isGone(): boolean
}
