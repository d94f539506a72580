/**
 * The other end of a search: takes jobs out of a queue in Redis, opens what they are of once, and answers. A job is data that is
 * checked before anything is done with it; it names neither code nor paths nor addresses. A worker that ends without an answer
 * costs its jobs one lease.
 */
import type { ZodType } from 'zod'
import { PareError } from '../../base/errors.ts'
import { version } from '../version.ts'
import { fetchBlob } from './blobs.ts'
import {
  connect,
  envelope,
  failureText,
  jobBytes,
  packages,
  prefix,
  queueName,
  setupBytes,
  sha256,
  studyKey
} from './connection.ts'

/** What runs the jobs of a study. */
export interface Study<J, R> {
  run(job: J, signal: AbortSignal): Promise<R>
  close(): Promise<void>
}

export interface WorkerOptions<S, J, R> {
  readonly url: string
  /** What a setup must be, and a job. */
  readonly setup: ZodType<S>
  readonly job: ZodType<J>
  /** Opens what jobs are of. `fetch`: path of a file by its hash. */
  open(setup: S, fetch: (hash: string) => Promise<string>): Promise<Study<J, R>>
  /** Where files are kept, under their hashes. */
  readonly folder: string
  /** Jobs at once; 1 by default. */
  readonly slots?: number
  /** Seconds after which jobs of a worker that is gone are given to another; 30 by default. */
  readonly lease?: number
  /** Called once the queue is reached. */
  ready?(): void
  /** Told of every job that ended: its code, `ok` where it was answered. */
  done?(id: string, code: string): void
}

/** Studies that are open at once. */
const mostStudies = 2

/** Works until the signal. */
export async function serveRemote<S, J, R>(o: WorkerOptions<S, J, R>, signal: AbortSignal): Promise<void> {
  const { bull, redis } = await packages()
  const connection = await connect(o.url, redis)
  const studies = new Map<string, Promise<Study<J, R>>>()
  const studyOf = (id: string): Promise<Study<J, R>> => {
    const known = studies.get(id)
    if (known) return known
    const made = opened(id)
    studies.set(id, made)
    made.catch(() => studies.delete(id))
    for (const [old, study] of [...studies].slice(0, -mostStudies)) {
      studies.delete(old)
      void study.then((s) => s.close()).catch(() => {})
    }
    return made
  }
  const opened = async (id: string): Promise<Study<J, R>> => {
    const text = await connection.get(studyKey(id))
    if (text === null) throw new PareError('E_ABSENT', 'what this job is of is no longer in Redis', { where: id })
    if (text.length > setupBytes || sha256(text) !== id)
      throw new PareError('E_DATA', 'what this job is of is not what its hash says', { where: id })
    return o.open(checked(o.setup, JSON.parse(text), 'setup'), (hash) => fetchBlob(connection, hash, o.folder))
  }
  const lease = 1000 * (o.lease ?? 30)
  const worker = new bull.Worker(
    queueName,
    async (job) => {
      try {
        const answer = await answered(job.data)
        o.done?.(job.id ?? '', 'ok')
        return answer
      } catch (e) {
        const code = e instanceof PareError ? e.code : 'E_INTERNAL'
        o.done?.(job.id ?? '', code)
        const text = failureText(code, e instanceof Error ? e.message : String(e))
        // What is wrong with a job does not get better by trying again.
        throw e instanceof PareError ? new bull.UnrecoverableError(text) : new Error(text)
      }
    },
    {
      ...{ connection: connection.duplicate(), prefix, concurrency: o.slots ?? 1 },
      ...{ lockDuration: lease, stalledInterval: lease, maxStalledCount: 10 }
    }
  )
  const answered = async (data: unknown): Promise<R> => {
    if (JSON.stringify(data).length > jobBytes) throw new PareError('E_LIMIT', 'a job that is too large')
    const { study, pare, job } = checked(envelope, data, 'job')
    if (pare !== version)
      throw new PareError('E_CONSTRAINT', `the job is of Pare ${pare}, this worker of ${version}`, { where: study })
    const asked = checked(o.job, job, 'job')
    // Of its own, so that what listens for the end of a trial is forgotten with it.
    return (await studyOf(study)).run(asked, AbortSignal.any([signal]))
  }
  worker.on('error', () => {})
  o.ready?.()
  await new Promise<void>((then) => {
    if (signal.aborted) then()
    signal.addEventListener('abort', () => then(), { once: true })
  })
  await worker.close(true)
  for (const study of studies.values()) await study.then((s) => s.close()).catch(() => {})
  connection.disconnect()
}

/** Throws `E_MESSAGE` with what does not fit. */
function checked<T>(schema: ZodType<T>, data: unknown, what: string): T {
  const read = schema.safeParse(data)
  if (read.success) return read.data
  const [issue] = read.error.issues
  throw new PareError(
    'E_MESSAGE',
    `this ${what} does not fit: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.trim()
  )
}
