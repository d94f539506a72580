/** Work that ends with the time allowed. */
import { boundBy, PareError } from './errors.ts'

/** A time in which a whole command has to end. */
export interface Deadline {
  /** Milliseconds that are left; negative once they are up. */
  left(): number
}

/** A deadline so many seconds after `from`, which is now by default. `now`: a clock in ms. */
export function deadlineIn(seconds: number, now: () => number = () => performance.now(), from = now()): Deadline {
  const end = from + 1000 * seconds
  return { left: () => end - now() }
}

/** A signal that aborts as the caller's does, and once a time is up. */
export interface Limit {
  readonly signal: AbortSignal
  /** Is it this error's cause that the time was up, rather than that the caller asked to stop? */
  isCause(error: unknown): boolean
}

/** The caller's signal, also aborted in `ms`; the caller's alone where that is absent. */
export function limit(signal: AbortSignal, ms: number | undefined): Limit {
  if (ms === undefined) return { signal, isCause: () => false }
  const ends = deadlineIn(ms / 1000)
  const both = AbortSignal.any([signal, ms > 0 ? AbortSignal.timeout(Math.ceil(ms)) : AbortSignal.abort()])
  const isLate = (): boolean => ends.left() <= 0
  boundBy(both, isLate)
  return {
    signal: both,
    isCause: (e) => isLate() && !signal.aborted && e instanceof PareError && e.code === 'E_ABORTED'
  }
}

/** What `work` gives, or `undefined` where `ms` were up first. An abort that the caller asked for is thrown as ever. */
export async function within<R>(
  ms: number | undefined,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<R>
): Promise<R | undefined> {
  const bound = limit(signal, ms)
  try {
    return await work(bound.signal)
  } catch (e) {
    if (!bound.isCause(e)) throw e
    return undefined
  }
}
