/** Runs a job in this thread; `worker.ts` runs it in one of its own. */
import type { Job, JobCommand, JobHooks, JobResult } from './job.ts'
import { applyJob, convertJob } from './jobs/apply.ts'
import { compressJob } from './jobs/compress.ts'
import { inspectJob } from './jobs/inspect.ts'
import { quantizeForJob } from './jobs/quantize-for.ts'
import { benchJob, verifyJob } from './jobs/verify.ts'

const jobs: Readonly<Record<JobCommand, (job: Job, hooks: JobHooks) => Promise<JobResult>>> = {
  compress: compressJob,
  inspect: inspectJob,
  verify: verifyJob,
  bench: benchJob,
  convert: convertJob,
  apply: applyJob,
  'quantize-for': quantizeForJob
}

const quiet: JobHooks = { signal: new AbortController().signal, progress: () => {} }

/** Runs a job to its end. Throws every coded error that its parts throw; `E_ABORTED` when the signal says so. */
export function runJob(job: Job, hooks: Partial<JobHooks> = {}): Promise<JobResult> {
  return jobs[job.command](job, { ...quiet, ...hooks })
}
