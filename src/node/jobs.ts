/** Runs a job in this thread; `worker.ts` runs it in one of its own. */
import type { Catalog } from '../formats/types.ts'
import { standard } from './catalog.ts'
import type { Job, JobCommand, JobHooks, JobResult } from './job.ts'
import { checkJob } from './job-options.ts'

type Run = (job: Job, hooks: JobHooks, catalog: Catalog) => Promise<JobResult>

/** Each loads its own modules: what `inspect` needs is there long before the training passes are. */
const jobs: Readonly<Record<JobCommand, () => Promise<Run>>> = {
  compress: async () => (await import('./jobs/compress.ts')).compressJob,
  search: async () => (await import('./jobs/search.ts')).searchJob,
  inspect: async () => (await import('./jobs/inspect.ts')).inspectJob,
  verify: async () => (await import('./jobs/verify.ts')).verifyJob,
  bench: async () => (await import('./jobs/verify.ts')).benchJob,
  convert: async () => (await import('./jobs/apply.ts')).convertJob,
  apply: async () => (await import('./jobs/apply.ts')).applyJob,
  'quantize-for': async () => (await import('./jobs/quantize-for.ts')).quantizeForJob,
  simulate: async () => (await import('./jobs/simulate.ts')).simulateJob
}

const quiet: JobHooks = { signal: new AbortController().signal, progress: () => {} }

/**
 * Runs a job to its end, with the formats and targets of a catalogue, by default Pare's own. Throws `E_OPTION` for a field that
 * does not exist or fit, every coded error that its parts throw, and `E_ABORTED` when the signal says so.
 */
export async function runJob(job: Job, hooks: Partial<JobHooks> = {}, catalog: Catalog = standard): Promise<JobResult> {
  checkJob(job)
  const run = await jobs[job.command]()
  return run(job, { ...quiet, ...hooks }, catalog)
}
