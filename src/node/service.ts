/**
 * A process that answers requests in order, for a runtime that other code cannot share a process with. It ends with the last
 * of this process's work: it keeps nothing running, and a request that takes too long ends it.
 */
import { PareError } from '../base/errors.ts'
import { startChild } from './child.ts'

export type Answer = { readonly done: unknown } | { readonly failed: string }

export interface Service {
  readonly isAlive: boolean
  /** Throws `E_RUN` where the process ended or was too slow. */
  ask(task: string, what: object): Promise<Answer>
}

/** A request that takes longer is taken for one that never ends. */
const patience = 120_000

/**
 * What follows a program that has `tasks`, functions by name. Interrupts are for whoever started it, who lets it end. A
 * second thread ends it where that process is gone while the first one computes.
 */
const serve = `
process.on('SIGINT', () => undefined)
process.on('disconnect', () => process.exit())
const { Worker } = await import('node:worker_threads')
new Worker(
  'const { ppid } = process; setInterval(() => process.ppid === ppid || process.kill(process.pid, "SIGKILL"), 1000)',
  { eval: true }
).unref()
let last = Promise.resolve()
process.on('message', ({ n, task, what }) => {
  last = last.then(() => tasks[task](what)).then(
    (done) => process.send({ n, answer: { done } }),
    (e) => process.send({ n, answer: { failed: String(e?.message ?? e).trim() } })
  )
})
process.send('ready')
`

interface Waiting {
  answer(a: Answer): void
  fail(e: PareError): void
}

const gone = (runtime: string, why: string): PareError =>
  new PareError('E_RUN', `the process of ${runtime} ended: ${why}`)

/** Starts a process that loads `runtime` and runs `program`, which defines `tasks`. */
export function service(runtime: string, program: string, patienceMs = patience): Service {
  const child = startChild(program + serve, {}, runtime, { channel: true })
  const waiting = new Map<number, Waiting>()
  let [count, isAlive, err] = [0, true, '']
  const hold = (): void => {
    if (waiting.size > 0) {
      child.ref()
      child.channel?.ref()
    } else {
      child.unref()
      child.channel?.unref()
    }
  }
  const end = (): void => {
    child.kill('SIGKILL')
  }
  const ended = (why: string): void => {
    isAlive = false
    process.off('exit', end)
    for (const w of waiting.values()) w.fail(gone(runtime, why))
    waiting.clear()
  }
  process.once('exit', end)
  for (const stream of [child.stdin, child.stdout, child.stderr]) (stream as { unref?(): void } | null)?.unref?.()
  child.stderr?.on('data', (d: Buffer) => {
    err = (err + d.toString()).slice(-1000)
  })
  child.stdout?.resume()
  child.on('error', (e) => ended(e.message))
  child.on('exit', (status, signal) => ended(err.trim().split('\n').at(-1) || `${signal ?? `status ${status}`}`))
  const ready = new Promise<void>((resolve) => {
    child.on('message', (m: 'ready' | { readonly n: number; readonly answer: Answer }) => {
      if (m === 'ready') return resolve()
      waiting.get(m.n)?.answer(m.answer)
    })
    child.once('exit', () => resolve())
  })
  hold()
  return {
    get isAlive() {
      return isAlive
    },
    ask: async (task, what) => {
      if (!isAlive) throw gone(runtime, 'it is no longer there')
      const n = ++count
      const answered = new Promise<Answer>((answer, fail) => waiting.set(n, { answer, fail }))
      // It can fail before anybody awaits it.
      answered.catch(() => undefined)
      hold()
      const timer = setTimeout(() => {
        waiting
          .get(n)
          ?.fail(new PareError('E_RUN', `${runtime} was ended after ${patienceMs / 1000} s without an answer`))
        isAlive = false
        end()
      }, patienceMs)
      try {
        await ready
        if (isAlive) child.send({ n, task, what })
        return await answered
      } finally {
        clearTimeout(timer)
        waiting.delete(n)
        hold()
      }
    }
  }
}
