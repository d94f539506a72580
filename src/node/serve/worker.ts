/** One worker: a thread, or a process of its own that may be killed. It does one thing at a time. */
import { spawn } from 'node:child_process'
import { Worker as Thread } from 'node:worker_threads'
import { PareError } from '../../base/errors.ts'
import { moduleOf } from '../child.ts'
import { keepSilent } from '../runner.ts'
import { type Answer, type Ask, program } from './program.ts'

const runtime = 'onnxruntime-node'

export interface Worker {
  readonly isProcess: boolean
  /** Ended, killed, or given up. */
  readonly isLost: boolean
  /** Of a process. */
  readonly pid: number | undefined
  /**
   * Asks, after what was asked before. Memory in `moved` is the worker's from then on. Throws `E_RUN` where the runtime
   * does, `E_BUSY` where the worker is lost before it has answered.
   */
  ask<T>(what: Ask, moved?: readonly ArrayBuffer[]): Promise<T>
  /** Closes all and ends; settles when it is gone. */
  end(): Promise<void>
  /**
   * Gives up on a worker that does not answer. A process is killed. A thread cannot be ended while the runtime computes: that
   * would abort this whole process, so it is left to itself.
   */
  abandon(why: string): void
}

interface Pending {
  done(value: unknown): void
  fail(error: PareError): void
}

/** What differs between a thread and a process. */
interface Line {
  send(message: { readonly n: number; readonly ask: Ask }, moved: readonly ArrayBuffer[]): void
  kill(): void
  readonly pid: number | undefined
  readonly gone: Promise<string>
}

/** Starts a worker. `onLost` is told when it ends by itself or is given up. */
export function startWorker(isProcess: boolean, onLost: (why: string) => void): Worker {
  // The engine reads the process's own variables; a thread gets a copy.
  keepSilent()
  const pending = new Map<number, Pending>()
  let [count, isLost, isEnding] = [0, false, false]
  const take = (answer: Answer): void => {
    const p = pending.get(answer.n)
    pending.delete(answer.n)
    if ('done' in answer) p?.done(answer.done)
    else p?.fail(new PareError('E_RUN', `the runtime failed: ${withoutPaths(answer.failed)}`))
  }
  const lose = (why: string): void => {
    if (isLost) return
    isLost = true
    for (const p of pending.values())
      p.fail(new PareError('E_BUSY', `the worker was lost: ${why}`, { facts: { 'retry after': '1' } }))
    pending.clear()
    if (!isEnding) onLost(why)
  }
  const line = isProcess ? processLine(take) : threadLine(take)
  void line.gone.then(lose)
  return {
    isProcess,
    pid: line.pid,
    get isLost() {
      return isLost
    },
    ask: <T>(what: Ask, moved: readonly ArrayBuffer[] = []) =>
      new Promise<T>((done, fail) => {
        if (isLost) return fail(new PareError('E_BUSY', 'the worker is gone', { facts: { 'retry after': '1' } }))
        pending.set(++count, { done: done as Pending['done'], fail })
        line.send({ n: count, ask: what }, moved)
      }),
    end: async () => {
      isEnding = true
      if (!isLost) line.send({ n: 0, ask: { do: 'end' } }, [])
      await line.gone
    },
    abandon: (why) => {
      if (isProcess) line.kill()
      lose(why)
    }
  }
}

function threadLine(take: (answer: Answer) => void): Line {
  const thread = new Thread(program, { eval: true, workerData: { runtime: moduleOf(runtime) } })
  thread.on('message', take)
  return {
    send: (message, moved) => thread.postMessage(message, moved as ArrayBuffer[]),
    kill: () => undefined,
    pid: undefined,
    gone: new Promise((resolve) => {
      thread.on('error', (e) => resolve(e.message))
      thread.on('exit', (code) => resolve(`its thread ended with ${code}`))
    })
  }
}

function processLine(take: (answer: Answer) => void): Line {
  const { NODE_OPTIONS: _, ...env } = process.env
  const child = spawn(process.execPath, ['-e', program, moduleOf(runtime)], {
    env,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    serialization: 'advanced'
  })
  child.on('message', (m) => take(m as Answer))
  return {
    // A child that died meanwhile is told by its end.
    send: (message) => void child.send(message, () => undefined),
    kill: () => void child.kill('SIGKILL'),
    pid: child.pid,
    gone: new Promise((resolve) => {
      child.on('error', (e) => resolve(e.message))
      child.on('exit', (status, signal) => resolve(`its process ended by ${signal ?? `status ${status}`}`))
    })
  }
}

/** The runtime names its own source files, and files of models by path. */
const withoutPaths = (message: string): string =>
  message.replaceAll(/(?:[A-Za-z]:)?[\\/][^\s:'"]*[\\/]/g, '').slice(0, 2000)
