/**
 * The end of a search: jobs are put into a queue in Redis and waited for. Workers give at least one answer to each; the first
 * counts. What is waited for is asked for again and again, so that no event that gets lost, and no restart of Redis, loses one.
 */
import { setMaxListeners } from 'node:events'
import type { ZodType } from 'zod'
import { type Code, codes, PareError } from '../../base/errors.ts'
import type { Bytes } from '../../types.ts'
import { version } from '../version.ts'
import { putBlob } from './blobs.ts'
import {
  connect,
  type Envelope,
  failureOf,
  jobBytes,
  keepSeconds,
  packages,
  prefix,
  queueName,
  setupBytes,
  sha256,
  studyKey
} from './connection.ts'

export interface RemoteOptions<R> {
  /** `redis://HOST:PORT`, `rediss://` with TLS, or `valkey://`. */
  readonly url: string
  /** What workers open once for all jobs: plain data. */
  readonly setup: unknown
  /** What an answer must be. */
  readonly answer: ZodType<R>
  /** Jobs at once that are worth asking for. 4 by default. */
  readonly slots?: number
  /** Times that a job is tried, where workers fail for reasons of their own. 3 by default. */
  readonly attempts?: number
}

/** Jobs that run on other machines. */
export interface RemoteRuns<J, R> {
  readonly slots: number
  /** Throws what the worker threw, by its code; `E_DATA` for an answer that is none. */
  run(job: J, signal: AbortSignal): Promise<R>
  close(): Promise<void>
}

/** Puts files into Redis, under their hashes. */
export async function putFiles(url: string, files: readonly Bytes[]): Promise<readonly string[]> {
  const { redis } = await packages()
  const connection = await connect(url, redis)
  try {
    const hashes: string[] = []
    for (const file of files) hashes.push(await putBlob(connection, file))
    return hashes
  } finally {
    connection.disconnect()
  }
}

const pollMs = 150

interface Waiting<R> {
  readonly data: Envelope
  resolve(answer: R): void
  reject(error: Error): void
}

/** Throws `E_LIMIT` for a setup that is too large, and what `connect` throws. */
export async function remoteRuns<J, R>(o: RemoteOptions<R>): Promise<RemoteRuns<J, R>> {
  const { bull, redis } = await packages()
  const text = JSON.stringify(o.setup)
  if (text.length > setupBytes)
    throw new PareError('E_LIMIT', `what workers begin with has ${text.length} characters; at most ${setupBytes}`)
  const connection = await connect(o.url, redis)
  const study = sha256(text)
  await connection.set(studyKey(study), text, 'EX', keepSeconds)
  const queue = new bull.Queue(queueName, { connection, prefix })
  queue.on('error', () => {})
  queue.setMaxListeners(0)
  const waiting = new Map<string, Waiting<R>>()
  const jobOptions = {
    attempts: o.attempts ?? 3,
    backoff: { type: 'exponential', delay: 1000, jitter: 0.5 },
    removeOnComplete: { age: 86_400, count: 10_000 },
    removeOnFail: { age: 86_400, count: 10_000 }
  }
  const put = (id: string, data: Envelope): Promise<unknown> => queue.add('trial', data, { ...jobOptions, jobId: id })
  const look = async (id: string, w: Waiting<R>): Promise<void> => {
    const job = await bull.Job.fromId(queue, id)
    // Redis may have lost what it was given last.
    if (!job) return void (await put(id, w.data))
    if (job.finishedOn === undefined) return
    waiting.delete(id)
    if (job.failedReason) return w.reject(thrown(job.failedReason))
    const answer = o.answer.safeParse(job.returnvalue)
    if (answer.success) w.resolve(answer.data)
    else w.reject(new PareError('E_DATA', 'a worker gave an answer that is none', { where: id }))
  }
  let isClosed = false
  const poll = async (): Promise<void> => {
    while (!isClosed) {
      for (const [id, w] of [...waiting]) {
        try {
          await look(id, w)
        } catch {
          // Redis is away, or busy loading: it is asked again.
        }
      }
      await new Promise((then) => setTimeout(then, pollMs))
    }
  }
  const polling = poll()
  return {
    slots: o.slots ?? 4,
    run: async (job, signal) => {
      const data: Envelope = { study, pare: version, job }
      const content = JSON.stringify(data)
      if (content.length > jobBytes)
        throw new PareError('E_LIMIT', `a job of ${content.length} characters; at most ${jobBytes}`)
      const id = `t-${sha256(content).slice(0, 40)}`
      const stop = (): void => {
        const w = waiting.get(id)
        waiting.delete(id)
        w?.reject(new PareError('E_ABORTED', 'stopped on request'))
      }
      setMaxListeners(0, signal)
      const answer = new Promise<R>((resolve, reject) => waiting.set(id, { data, resolve, reject }))
      if (signal.aborted) stop()
      signal.addEventListener('abort', stop, { once: true })
      try {
        return await answer
      } finally {
        signal.removeEventListener('abort', stop)
      }
    },
    close: async () => {
      isClosed = true
      for (const w of waiting.values()) w.reject(new PareError('E_ABORTED', 'stopped on request'))
      waiting.clear()
      await polling
      await queue.close()
      connection.disconnect()
    }
  }
}

function thrown(reason: string): PareError {
  const { code, message } = failureOf(reason)
  return new PareError(code in codes ? (code as Code) : 'E_RUN', message)
}
