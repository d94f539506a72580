/** Every code an error can carry. `E_INTERNAL` is a bug of ours; all others are bad usage or input. */
export const codes = {
  E_INTERNAL: 'a bug in Pare',
  E_USAGE: 'a command or option that does not exist or does not fit',
  E_FILE: 'a file that cannot be read or written',
  E_EXISTS: 'an output that exists already',
  E_FORMAT: 'bytes that are not a model, or not a whole one',
  E_LIMIT: 'a size beyond what is safe or supported',
  E_OPSET: 'an operator form that another opset does not have',
  E_UNSUPPORTED: 'something valid that Pare cannot do yet',
  E_MODEL: 'a model that contradicts itself',
  E_SHAPE: 'shapes that contradict each other',
  E_DATA: 'data that cannot be used',
  E_DATA_SHAPE: 'data that does not fit the model',
  E_LABELS: 'labels that do not fit the model',
  E_OPTION: 'an option value that does not fit',
  E_RUN: 'a model that the runtime cannot load or run',
  E_CONSTRAINT: 'a constraint that no candidate met',
  E_REQUEST: 'a request to a server that does not fit',
  E_ABSENT: 'something that a request names and that is not there',
  E_BUSY: 'a server that cannot answer now',
  E_MESSAGE: 'a message that breaks its protocol',
  E_SIGNATURE: 'a signature or a seal that does not hold',
  E_REPLAY: 'a request that was made before, or long ago',
  E_LATE: 'a message for what is over',
  E_CONFLICT: 'a second message that differs from the first',
  E_PRIVACY: 'a step that would reveal what must stay secret',
  E_ABORTED: 'stopped on request'
} as const
export type Code = keyof typeof codes

export interface Details {
  /** File, node or option concerned. */
  readonly where?: string
  /** Aligned lines of `label  text` shown under the message. */
  readonly facts?: Readonly<Record<string, string>>
  /** What to try. */
  readonly hint?: string
  readonly cause?: unknown
}

/** The one error class: what (message), where, why (facts) and what to try. */
export class PareError extends Error {
  readonly code: Code
  readonly where: string | undefined
  readonly facts: Readonly<Record<string, string>>
  readonly hint: string | undefined
  constructor(code: Code, message: string, details: Details = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = 'PareError'
    this.code = code
    this.where = details.where
    this.facts = details.facts ?? {}
    this.hint = details.hint
  }
}

/** Guards our own invariants; a failure is a bug of ours, never of the user's. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new PareError('E_INTERNAL', message)
}

/** When signals with a time limit are up: work that never waits keeps timers from telling. */
const isUp = new WeakMap<AbortSignal, () => boolean>()

/** From now on `stopIfAborted` also throws once `up` says that the time of this signal is up. */
export function boundBy(signal: AbortSignal, up: () => boolean): void {
  isUp.set(signal, up)
}

/** Throws `E_ABORTED` once the user has asked to stop; long work calls it between its steps. */
export function stopIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted || (signal && isUp.get(signal)?.())) throw new PareError('E_ABORTED', 'stopped on request')
}
