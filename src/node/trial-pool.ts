/** Trials in threads of their own: jobs and results pass as plain data, and each thread has the model and the data open. */
import { isMainThread, Worker, workerData } from 'node:worker_threads'
import { PareError } from '../base/errors.ts'
import type { TrialJob, TrialResult, Trials } from '../search/space/trial.ts'
import type { Job } from './job.ts'
import type { SearchFacts } from './jobs/search-open.ts'

const mark = 'pare-trials'

/** What a thread begins with. */
export interface TrialSetup {
  readonly job: Job
  /** What was measured once, so that it is not measured again. */
  readonly facts: SearchFacts
  /** Hash of the problem: a thread that comes to another one refuses. */
  readonly problem: string
}

/** Is this thread one of a pool's? */
export const isTrialThread = (): boolean =>
  !isMainThread && typeof workerData === 'object' && workerData !== null && mark in workerData

/** What it was started with. */
export const trialSetup = (): TrialSetup => (workerData as Readonly<Record<string, TrialSetup>>)[mark] as TrialSetup

/** What a thread answers. */
export type TrialAnswer =
  | { readonly id: number; readonly result: TrialResult }
  | { readonly id: number; readonly code: string; readonly message: string }

interface Waiting {
  readonly job: TrialJob
  resolve(result: TrialResult): void
  reject(error: Error): void
}

interface Thread {
  readonly worker: Worker
  busy: { readonly id: number; readonly waiting: Waiting } | undefined
}

/** Starts threads on the program that Pare's command is; jobs wait for a thread that is free. */
export function trialPool(program: URL | string, setup: TrialSetup, count: number): Trials {
  const queue: Waiting[] = []
  let next = 0
  let failed: Error | undefined
  const fail = (error: Error): void => {
    failed ??= error
    for (const t of threads) t.busy?.waiting.reject(error)
    for (const w of queue.splice(0)) w.reject(error)
  }
  const start = (): Thread => {
    const worker = new Worker(program, { workerData: { [mark]: setup }, stdout: true })
    worker.stdout.pipe(process.stderr, { end: false })
    const thread: Thread = { worker, busy: undefined }
    worker.on('message', (answer: TrialAnswer) => {
      const { busy } = thread
      thread.busy = undefined
      if (busy && answer.id === busy.id) settle(busy.waiting, answer)
      deal()
    })
    worker.on('error', fail)
    worker.on('exit', (code) => {
      if (thread.busy) fail(new PareError('E_INTERNAL', `a thread of trials ended with ${code}`))
    })
    return thread
  }
  const deal = (): void => {
    for (const thread of threads) {
      if (thread.busy) continue
      const waiting = queue.shift()
      if (!waiting) return
      thread.busy = { id: next++, waiting }
      thread.worker.postMessage({ id: thread.busy.id, job: waiting.job })
    }
  }
  const threads = Array.from({ length: count }, start)
  return {
    slots: count,
    run: (job, signal) =>
      new Promise((resolve, reject) => {
        if (failed) return reject(failed)
        const waiting: Waiting = { job, resolve, reject }
        signal.addEventListener('abort', () => reject(new PareError('E_ABORTED', 'stopped on request')), { once: true })
        queue.push(waiting)
        deal()
      }),
    close: async () => {
      await Promise.all(threads.map(({ worker }) => worker.terminate()))
    }
  }
}

function settle({ resolve, reject }: Waiting, answer: TrialAnswer): void {
  if ('result' in answer) resolve(answer.result)
  else reject(new PareError(answer.code === 'E_RUN' ? 'E_RUN' : 'E_INTERNAL', answer.message))
}
