/** How the time that a command may take is shared out among what it measures. */
import { type Deadline, deadlineIn, within } from '../../base/deadline.ts'
import { drawn } from '../../data/split.ts'
import { paced, sampleTime } from '../../measure/pacing.ts'
import type { Session } from '../../runtime/types.ts'
import type { Dataset } from '../../types.ts'
import type { Job, JobHooks } from '../job.ts'
import { isJobThread } from '../worker.ts'
import { processes } from './timing.ts'

/** A job's time: all it wants where nothing bounds it. */
export interface Allowed {
  readonly ends?: Deadline
  /** What was measured on less than without a bound. */
  readonly notes: string[]
}

/** Parts of what is left when a stage begins: running both models on the samples, timing, and fresh processes. */
const shares = { samples: 0.45, timing: 0.35, processes: 0.6, layers: 0.4 }
/** Part of the time left that what comes last may take: work notices that its time is up only between two runs. */
const lastShare = 0.85
const layerSamples = 32
/** Runs of one sample that comparing layers takes beside those on its samples: kernels are timed. */
const kernelRuns = 15

/** The time of a job that begins now; what a thread of its own took to load counts. */
export function allowedFor({ maxSeconds }: Pick<Job, 'maxSeconds'>): Allowed {
  const now = (): number => performance.now()
  const ends = maxSeconds === undefined ? undefined : deadlineIn(maxSeconds, now, isJobThread() ? 0 : now())
  return { ...(ends ? { ends } : {}), notes: [] }
}

const share = ({ ends }: Allowed, part: keyof typeof shares): number | undefined =>
  ends && Math.max(0, ends.left() * shares[part])

/** The data as far as there is time to run all of it through the models, and the time of one sample in ms. */
export async function pacedFor(
  job: Job,
  a: Allowed,
  sessions: readonly Session[],
  data: Dataset
): Promise<{ readonly data: Dataset; readonly sampleMs: number }> {
  const sampleMs = await sampleTime(sessions, data)
  const fit = paced(sessions, data, sampleMs, { ms: share(a, 'samples'), seed: job.seed ?? 0 })
  a.notes.push(...fit.notes)
  return { data: fit.data, sampleMs }
}

/** How long latency is measured: `wanted` seconds, fewer where there is less time. */
export function timingFor(a: Allowed, wanted: number): { readonly seconds: number; readonly maxSeconds?: number } {
  const most = share(a, 'timing')
  if (most === undefined) return { seconds: wanted }
  const seconds = Math.min(wanted, most / 1000)
  if (seconds < wanted) a.notes.push(`latency was measured for ${seconds.toPrecision(2)} s: the time allowed`)
  return { seconds, maxSeconds: most / 1000 }
}

/** Fresh processes for load time and memory, for `models` files that together take `sampleMs` for a sample. */
export function processesFor(a: Allowed, models: number, sampleMs: number): number {
  const most = share(a, 'processes')
  if (most === undefined) return processes
  const count = Math.min(processes, Math.floor(most / (models * 1000 + 2 * sampleMs)))
  if (count < processes)
    a.notes.push(
      count === 0
        ? 'load time and memory were not measured: the time allowed'
        : `load time and memory are of ${count === 1 ? 'one process' : `${count} processes`} each: the time allowed`
    )
  return count
}

/** Samples that layers are compared on, of three models each. */
export function layerData(job: Job, a: Allowed, data: Dataset, sampleMs = 1): Dataset {
  const most = share(a, 'layers')
  const fits = most === undefined ? layerSamples : Math.max(1, Math.floor((most / sampleMs - kernelRuns) / 3))
  if (fits >= Math.min(layerSamples, data.size)) return data
  a.notes.push(`layers were compared on ${fits} of ${data.size} samples: the time allowed`)
  return drawn(data, fits, job.seed ?? 0)
}

/** What `work` gives in the time that is left; `undefined`, with a note that `what` is missing, where that does not suffice. */
export async function whileAllowed<R>(
  a: Allowed,
  what: string,
  hooks: JobHooks,
  work: (hooks: JobHooks) => Promise<R>
): Promise<R | undefined> {
  const done = await within(a.ends && lastShare * a.ends.left(), hooks.signal, (signal) => work({ ...hooks, signal }))
  if (done === undefined) a.notes.push(`${what}: the time allowed was up`)
  return done
}
