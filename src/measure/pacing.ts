/**
 * How long models take for a sample, and how many samples they run through in the time that there is. A first run predicts
 * the rest: n samples take n·t ms, t that of one sample through all models.
 */
import { drawn } from '../data/split.ts'
import { atMost, batching, firstRun, prescribed, runOn } from '../runtime/batches.ts'
import type { Session } from '../runtime/types.ts'
import type { Dataset } from '../types.ts'

export interface PacedOptions {
  /** Time that running all samples through all models may take, in ms; absent: as long as it takes. */
  readonly ms?: number | undefined
  /** Samples to leave in any case; 1 by default. */
  readonly least?: number
  readonly seed: number | string
}

/** Runs that take longer, in ms, show no progress for too long. */
const longRun = 1000
const samplesPerRun = 32
/** Times are never taken for less, in ms: clocks are not that fine. */
const tiny = 1e-3

/** Time of one sample through all models, in ms, in runs of as many samples as they take in a second. `now`: a clock in ms. */
export async function sampleTime(
  sessions: readonly Session[],
  data: Dataset,
  now: () => number = () => performance.now()
): Promise<number> {
  const timed = async (size: number): Promise<number> => {
    const run = await firstRun(data, batching(sessions, size))
    const start = now()
    for (const session of sessions) await runOn(session, run)
    return Math.max(tiny, (now() - start) / run.batch.n)
  }
  const first = await timed(1)
  if (first >= longRun) return first
  // The first run of a session allocates: a short one is repeated.
  const again = Math.min(first, await timed(1))
  const together = Math.min(samplesPerRun, data.size, Math.floor(longRun / again))
  return together > 1 ? Math.min(again, await timed(together)) : again
}

/**
 * All samples, or as many as fit into the time, drawn by the seed. Samples of slow models come
 * few in one run, so that progress is seen.
 */
export function paced(
  sessions: readonly Pick<Session, 'inputs'>[],
  data: Dataset,
  sampleMs: number,
  { ms, least = 1, seed }: PacedOptions
): { readonly data: Dataset; readonly notes: readonly string[] } {
  const each = Math.max(1, Math.floor(longRun / sampleMs))
  const isFree = sessions.every((s) => prescribed(s) === undefined)
  const spaced = (all: Dataset): Dataset => (isFree && each < samplesPerRun ? atMost(all, each) : all)
  const fits = ms === undefined ? data.size : Math.max(least, Math.floor(ms / sampleMs))
  if (fits >= data.size) return { data: spaced(data), notes: [] }
  return {
    data: spaced(drawn(data, fits, seed)),
    notes: [
      `a sample takes ${Number((sampleMs / 1000).toPrecision(2))} s: ${fits} of ${data.size} samples, drawn by the seed, fit into the time allowed`
    ]
  }
}
