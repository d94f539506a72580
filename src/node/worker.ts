/** A job in one worker thread: the engine blocks while it runs, and the main thread must not. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { type Code, PareError } from '../base/errors.ts'
import type { Report } from '../report/types.ts'
import type { Progress } from '../types.ts'
import type { Job, JobHooks, JobResult } from './job.ts'

interface PlainError {
  readonly code?: Code
  readonly system?: string
  readonly message: string
  readonly stack?: string
  readonly where?: string
  readonly facts?: Readonly<Record<string, string>>
  readonly hint?: string
}

type Message =
  | { readonly kind: 'progress'; readonly told: Parameters<Progress> }
  | { readonly kind: 'opened'; readonly report: Report; readonly facts: string }
  | { readonly kind: 'done'; readonly result: JobResult }
  | { readonly kind: 'error'; readonly error: PlainError }

const mark = 'pare-job'

/** Is this thread a worker that `startJob` began? */
export const isJobThread = (): boolean =>
  !isMainThread && typeof workerData === 'object' && workerData !== null && mark in workerData

/** How long a job may go on after it was asked to stop, in ms; then its thread is ended. */
const patience = 3000

/**
 * Starts a thread on `program`, a module that calls `serveJob` when `isJobThread`. Settles when the job does. What the
 * thread prints on its standard output (a data module's log) goes to the standard error of this process. Its temporary files lie in a folder
 * that is removed when the job settles or the process exits, however the thread ended.
 */
export function startJob(job: Job, program: URL, hooks: JobHooks): Promise<JobResult> {
  // The engine reads the process's own variables; the thread gets a copy.
  process.env['ORT_DISABLE_TELEMETRY'] ??= '1'
  const scratch = scratchFolder()
  const worker = new Worker(program, {
    workerData: { [mark]: job },
    stdout: true,
    env: { ...process.env, TMPDIR: scratch.path, TMP: scratch.path, TEMP: scratch.path }
  })
  worker.stdout.pipe(process.stderr, { end: false })
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined
    const stop = (): void => {
      worker.postMessage('abort')
      timer = setTimeout(() => {
        settle(() => reject(new PareError('E_ABORTED', 'stopped on request')))
        void worker.terminate()
      }, patience)
    }
    const settle = (then: () => void): void => {
      clearTimeout(timer)
      hooks.signal.removeEventListener('abort', stop)
      scratch.remove()
      then()
    }
    hooks.signal.addEventListener('abort', stop, { once: true })
    if (hooks.signal.aborted) stop()
    worker.on('message', (m: Message) => {
      if (m.kind === 'progress') hooks.progress(...m.told)
      else if (m.kind === 'opened') hooks.opened?.(m.report, m.facts)
      else if (m.kind === 'done') settle(() => resolve(m.result))
      else settle(() => reject(revive(m.error)))
    })
    worker.on('error', (e) => settle(() => reject(e)))
    worker.on('exit', (code) =>
      settle(() =>
        reject(
          new PareError('E_INTERNAL', `the worker ended with ${code} before its job did`, {
            hint: 'did a module of yours call process.exit?'
          })
        )
      )
    )
  })
}

function scratchFolder(): { readonly path: string; remove(): void } {
  let path: string
  try {
    path = mkdtempSync(join(tmpdir(), 'pare-'))
  } catch (cause) {
    throw new PareError('E_FILE', 'temporary files cannot be written', {
      facts: { folder: tmpdir(), why: cause instanceof Error ? cause.message : String(cause) },
      hint: 'free some space there, or name another folder in TMPDIR',
      cause
    })
  }
  const clear = (): void => rmSync(path, { recursive: true, force: true, maxRetries: 3 })
  process.once('exit', clear)
  return {
    path,
    remove: () => {
      process.off('exit', clear)
      clear()
    }
  }
}

/** Runs the job of this thread and posts what happens; the thread then ends by itself. */
export async function serveJob(run: (job: Job, hooks: JobHooks) => Promise<JobResult>): Promise<void> {
  const port = parentPort
  if (!port) throw new PareError('E_INTERNAL', 'not a worker thread')
  const job = (workerData as Readonly<Record<string, Job>>)[mark] as Job
  const stop = new AbortController()
  port.on('message', () => stop.abort())
  const post = (message: Message): void => port.postMessage(message)
  try {
    const result = await run(job, {
      signal: stop.signal,
      progress: throttled((...told) => post({ kind: 'progress', told })),
      opened: (report, facts) => post({ kind: 'opened', report, facts })
    })
    post({ kind: 'done', result })
  } catch (e) {
    post({ kind: 'error', error: flatten(e) })
  } finally {
    port.close()
  }
}

const progressEvery = 50

/** Passes on the first and the last of a stage, and those between at most every 50 ms. */
function throttled(progress: JobHooks['progress']): JobHooks['progress'] {
  let last = Number.NEGATIVE_INFINITY
  let current = ''
  return (stage, done, total, pace) => {
    const now = performance.now()
    if (stage === current && done !== total && now - last < progressEvery) return
    last = now
    current = stage
    progress(stage, done, total, pace)
  }
}

function flatten(e: unknown): PlainError {
  if (!(e instanceof Error)) return { message: String(e) }
  const { message, stack = '' } = e
  const cause = e.cause instanceof Error && e.cause.stack ? `\ncaused by ${e.cause.stack}` : ''
  if (e instanceof PareError) {
    const { code, where, facts, hint } = e
    return {
      ...{ code, message, facts, stack: stack + cause },
      ...(where === undefined ? {} : { where }),
      ...(hint === undefined ? {} : { hint })
    }
  }
  const system = (e as NodeJS.ErrnoException).code
  return { message, stack: stack + cause, ...(typeof system === 'string' ? { system } : {}) }
}

function revive(e: PlainError): Error {
  const { code, where, facts, hint } = e
  const error = code
    ? new PareError(code, e.message, {
        ...(where === undefined ? {} : { where }),
        ...(facts ? { facts } : {}),
        ...(hint === undefined ? {} : { hint })
      })
    : Object.assign(new Error(e.message), e.system === undefined ? {} : { code: e.system })
  if (e.stack) error.stack = e.stack
  return error
}
