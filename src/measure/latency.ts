/** Latency of several models in one process, interleaved, so that what disturbs one disturbs all. */
import { PareError, stopIfAborted } from '../base/errors.ts'
import type { Rng } from '../base/random.ts'
import type { Latency, Progress, Ratio } from '../types.ts'
import { medianInterval, quantile } from './intervals.ts'

export interface Timed {
  readonly name: string
  readonly latency: Latency
  /** This entry / the first one, from pairs of the same round; absent for the first. */
  readonly ratio?: Ratio
}

export interface TimedRun {
  readonly name: string
  run(): Promise<unknown>
  /** ms of all its runs so far, by a clock nearer to it than the caller's. */
  spentMs?(): number
}

export interface InterleaveOptions {
  /**
   * Rounds go on until `minRuns` were made and `minSeconds` have passed, and stop at `maxRuns`. After ten times `minSeconds`
   * they stop with fewer than `minRuns`; the interval is wider then.
   */
  readonly minSeconds?: number
  readonly minRuns?: number
  readonly maxRuns?: number
  /** Rounds stop once so many seconds have passed, warm-up included, even if there was one alone. */
  readonly maxSeconds?: number
  /** Rounds before the first that counts. */
  readonly warmup?: number
  readonly signal?: AbortSignal
  /** Told of rounds, and of how many there will be about. */
  readonly progress?: Progress
  /** A clock in ms. */
  now?(): number
}

/** The least rounds whose extremes are a 95 % interval of the median. */
const fewRuns = 6

/**
 * Runs all entries once per round, in an order drawn anew for each round. Times are in ms; a round's ratio compares
 * two runs next to each other in time, and the median over rounds shrugs off bursts of other work on the machine.
 */
export async function interleave(
  entries: readonly TimedRun[],
  rng: Rng,
  o: InterleaveOptions = {}
): Promise<readonly Timed[]> {
  const { minSeconds = 2, minRuns = 50, maxRuns = 5000, warmup = 5, signal } = o
  const now = o.now ?? (() => performance.now())
  if (maxRuns < 1) throw new PareError('E_OPTION', 'a latency needs at least one run', { where: 'maxRuns' })
  const round = async (): Promise<number[]> => {
    const times: number[] = new Array(entries.length)
    for (const i of rng.permutation(entries.length)) {
      stopIfAborted(signal)
      const { run, spentMs = now } = entries[i] as TimedRun
      const start = spentMs()
      await run()
      times[i] = spentMs() - start
    }
    return times
  }
  const end = (o.maxSeconds ?? Number.POSITIVE_INFINITY) * 1000
  const most = Math.min(Math.max(minSeconds, 1) * 10_000, end)
  const start = now()
  for (let i = 0; i < warmup && (i === 0 || now() - start < most / 4); i++) await round()
  const rounds: number[][] = []
  const begun = now()
  const isEnough = (): boolean => {
    const spent = now() - begun
    if (rounds.length > 0 && now() - start >= end) return true
    if (spent > most) return rounds.length >= Math.min(fewRuns, minRuns)
    return rounds.length >= minRuns && spent >= minSeconds * 1000
  }
  const foreseen = (): number => {
    const each = (now() - begun) / rounds.length
    const wanted = Math.max(minRuns, (minSeconds * 1000) / Math.max(each, 1e-3))
    return Math.ceil(Math.max(rounds.length, Math.min(maxRuns, wanted, most / Math.max(each, 1e-3))))
  }
  while (rounds.length < maxRuns && !isEnough()) {
    rounds.push(await round())
    o.progress?.('timing', rounds.length, foreseen())
  }
  return entries.map(({ name }, i) => ({
    name,
    latency: latencyOf(rounds.map((r) => r[i] as number)),
    ...(i === 0 ? {} : { ratio: medianInterval(rounds.map((r) => ratio(r[i] as number, r[0] as number))) })
  }))
}

/** Both below the clock's resolution: the same. */
const ratio = (after: number, before: number): number =>
  before > 0 ? after / before : after > 0 ? Number.MAX_VALUE : 1

/** Percentiles of times in ms. */
export function latencyOf(times: ArrayLike<number>): Latency {
  const sorted = Float64Array.from(times).sort()
  return {
    p50: quantile(sorted, 0.5),
    p90: quantile(sorted, 0.9),
    p99: quantile(sorted, 0.99),
    n: sorted.length
  }
}
