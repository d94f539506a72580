/** Redis or Valkey as the place between a search and its workers: connections, and what the two name alike. */
import { createHash } from 'node:crypto'
import { z } from 'zod'
import { PareError } from '../../base/errors.ts'

/** All keys begin with it; in braces, so that a cluster keeps them on one node. */
export const prefix = '{pare}'
export const queueName = 'trials'

/** What a job holds beside what BullMQ adds. */
export const envelope = z.strictObject({
  /** Hash of the setup, which is kept once for all jobs of a study. */
  study: z.string().regex(/^[0-9a-f]{64}$/),
  /** Version of Pare. */
  pare: z.string().max(40),
  job: z.unknown()
})
export type Envelope = z.output<typeof envelope>

/** A job, without its study, at most. */
export const jobBytes = 64 * 1024
/** A setup at most. */
export const setupBytes = 16 * 1024 * 1024
/** What is kept of a study in Redis is forgotten after so long without use. */
export const keepSeconds = 7 * 24 * 3600

export const studyKey = (id: string): string => `${prefix}:study:${id}`
export const sha256 = (data: Uint8Array | string): string => createHash('sha256').update(data).digest('hex')

/** How a job failed, as the text that BullMQ keeps. */
const failure = z.strictObject({ code: z.string().max(40), message: z.string().max(10_000) })

export const failureText = (code: string, message: string): string =>
  JSON.stringify({ code, message: message.slice(0, 2000) })

export function failureOf(text: string | undefined): { readonly code: string; readonly message: string } {
  try {
    const read = failure.safeParse(JSON.parse(text ?? ''))
    if (read.success) return read.data
  } catch {
    // Texts of BullMQ itself are plain, as of a job whose workers were lost too often.
  }
  return { code: 'E_RUN', message: text ?? 'the worker gave no reason' }
}

/** The two packages; they are loaded only where workers are asked for. */
export async function packages(): Promise<{
  readonly bull: typeof import('bullmq')
  readonly redis: typeof import('ioredis')
}> {
  try {
    // By variables, so that no bundler takes the packages in.
    const [one, other] = ['bullmq', 'ioredis']
    return {
      bull: (await import(one as string)) as typeof import('bullmq'),
      redis: (await import(other as string)) as typeof import('ioredis')
    }
  } catch (cause) {
    throw new PareError('E_UNSUPPORTED', 'workers over Redis need the packages bullmq and ioredis', {
      hint: 'npm install bullmq ioredis',
      cause
    })
  }
}

type Redis = import('ioredis').Redis

/** A connection that goes on trying. Throws `E_USAGE` for another address, `E_FILE` where nobody answers at first. */
export async function connect(url: string, redis: typeof import('ioredis')): Promise<Redis> {
  let address: URL
  try {
    address = new URL(url)
  } catch {
    throw notRedis(url)
  }
  if (!['redis:', 'rediss:', 'valkey:', 'valkeys:'].includes(address.protocol)) throw notRedis(url)
  address.protocol = address.protocol.replace('valkey', 'redis')
  const made = new redis.Redis(address.href, {
    maxRetriesPerRequest: null,
    lazyConnect: true,
    retryStrategy: (times) => Math.min(2000, 50 * times)
  })
  // Each failed try is told as an event; those of later reconnections are waited out.
  let first: Error | undefined
  made.on('error', (e) => {
    first ??= e
  })
  try {
    await made.connect()
  } catch (thrown) {
    made.disconnect()
    // What came before the connection was closed says more than that it was.
    const cause = first ?? thrown
    throw new PareError('E_FILE', 'no Redis or Valkey answers', {
      where: `${address.protocol}//${address.host}`,
      facts: { why: cause instanceof Error ? cause.message : String(cause) },
      hint: 'see that the address is right, that the server runs, and that its password is given, as in redis://:PASSWORD@HOST:6379',
      cause
    })
  }
  return made
}

const notRedis = (url: string): PareError =>
  new PareError('E_USAGE', 'workers are reached by an address like redis://HOST:6379', {
    where: url.replace(/\/\/[^@]*@/, '//…@')
  })
