/** Latency, load time and memory of the user's files, as they are. */
import type { Rng } from '../../base/random.ts'
import { interleave, type Timed } from '../../measure/latency.ts'
import { runsTimed, timedOver } from '../../measure/timed.ts'
import { batching, type Fed, feedsOf, firstRun } from '../../runtime/batches.ts'
import type { Session, Source } from '../../runtime/types.ts'
import type { Dataset, Ratios, Tensor } from '../../types.ts'
import { load } from '../files.ts'
import type { JobHooks } from '../job.ts'
import { measureProcess, takesPaths } from '../measure.ts'
import type { Runners } from '../runtimes.ts'

/**
 * Times one sample through every session, interleaved; the first is what the others are compared with. Where samples cost
 * differently (`varies`), the mean of several.
 */
export async function timeSessions(
  sessions: readonly (readonly [name: string, session: Session])[],
  data: Dataset,
  o: {
    readonly rng: Rng
    readonly hooks: JobHooks
    readonly seconds: number
    readonly maxSeconds?: number
    readonly varies?: boolean
  }
): Promise<readonly Timed[]> {
  const { rng, hooks, seconds, maxSeconds, varies = false } = o
  hooks.progress('timing', 0, undefined)
  const how = batching(
    sessions.map(([, s]) => s),
    1
  )
  const runs = await runsTimed(data, how, varies)
  return interleave(
    sessions.map(([name, session]) => timedOver(name, session, runs)),
    rng.fork('time'),
    {
      ...{ minSeconds: seconds, signal: hooks.signal, progress: hooks.progress },
      ...(maxSeconds === undefined ? {} : { maxSeconds })
    }
  )
}

/** Inputs of one run for a process of its own. */
export async function firstFeeds(session: Fed, data: Dataset): Promise<Readonly<Record<string, Tensor>>> {
  return feedsOf(session, await firstRun(data, batching([session], 1)))
}

/** Fresh processes of which the median is taken. */
export const processes = 3

/** Load time and peak memory of a file in fresh processes of the target's runtime; nothing of what that opens from memory. */
export async function processOf(
  source: Source,
  feeds: Readonly<Record<string, Tensor>> | undefined,
  { measured, threads }: Pick<Runners, 'measured'> & { readonly threads: number },
  hooks: JobHooks,
  repeats = processes
): Promise<{ readonly loadMs?: number; readonly peakBytes?: number }> {
  if (!measured || !('path' in source)) return {}
  const { path } = source
  if (!takesPaths(measured.name) && (await hasWeightsBeside(path))) return {}
  if (repeats < 1) return {}
  const { loadMs, peakBytes } = await measureProcess(path, {
    threads,
    runtime: measured.name,
    signal: hooks.signal,
    repeats,
    progress: (done) => hooks.progress('loading in a fresh process', done, repeats),
    ...(feeds ? { feeds } : {})
  })
  return { loadMs, peakBytes }
}

async function hasWeightsBeside(path: string): Promise<boolean> {
  let files = 0
  await load(path, () => {
    files++
  })
  return files > 0
}

/** Ratios of what was measured in fresh processes. */
export function processRatios(
  before: { readonly loadMs?: number; readonly peakBytes?: number },
  after: { readonly loadMs?: number; readonly peakBytes?: number }
): Pick<Ratios, 'loadMs' | 'peakBytes'> {
  const over = (a: number | undefined, b: number | undefined): number | undefined =>
    a === undefined || !b ? undefined : a / b
  const loadMs = over(after.loadMs, before.loadMs)
  const peakBytes = over(after.peakBytes, before.peakBytes)
  return { ...(loadMs === undefined ? {} : { loadMs }), ...(peakBytes === undefined ? {} : { peakBytes }) }
}
