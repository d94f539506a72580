/** Virtual clients trained in several threads. A turn depends on nothing but itself, so their number changes no byte. */
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { type Code, PareError, stopIfAborted } from '../../base/errors.ts'
import type { Trainers, Turned, VirtualTurn } from '../../federate/index.ts'
import type { WorkerMessage, WorkerStart } from './worker.ts'

/** One thread, which does one thing at a time. */
interface Hand {
  readonly ready: WorkerMessage & { readonly kind: 'ready' }
  turn(turn: VirtualTurn): Promise<Turned>
  end(): Promise<void>
}

/** Starts threads. Throws what opening the model or the data in them throws. */
export async function trainersIn(workers: number, start: WorkerStart): Promise<Trainers> {
  const hands = await Promise.all(Array.from({ length: workers }, () => handFor(start)))
  const { manifest, initial } = (hands[0] as Hand).ready
  return {
    manifest,
    initial,
    run: async (turns, signal) => {
      const out = new Array<Turned>(turns.length)
      let next = 0
      const work = async (hand: Hand): Promise<void> => {
        while (next < turns.length) {
          stopIfAborted(signal)
          const at = next++
          out[at] = await hand.turn(turns[at] as VirtualTurn)
        }
      }
      await Promise.all(hands.map(work))
      return out
    },
    close: async () => {
      await Promise.all(hands.map((h) => h.end()))
    }
  }
}

/** The worker's module lies in the package, wherever this module was put when it was bundled. */
const program = (): string =>
  join(dirname(createRequire(import.meta.url).resolve('pare/package.json')), 'dist', 'node', 'federate-worker.js')

async function handFor(start: WorkerStart): Promise<Hand> {
  const worker = new Worker(program(), { workerData: start })
  const answer = (): Promise<WorkerMessage> =>
    new Promise((resolve, reject) => {
      const settle = (then: () => void): void => {
        worker.off('message', heard)
        worker.off('error', broke)
        worker.off('exit', ended)
        then()
      }
      const heard = (m: WorkerMessage): void => settle(() => (m.kind === 'failed' ? reject(asError(m)) : resolve(m)))
      const broke = (e: Error): void => settle(() => reject(e))
      const ended = (code: number): void =>
        settle(() => reject(new PareError('E_INTERNAL', `a thread that trains ended with ${code}`)))
      worker.on('message', heard)
      worker.on('error', broke)
      worker.on('exit', ended)
    })
  const ready = await answer()
  if (ready.kind !== 'ready') throw new PareError('E_INTERNAL', 'a thread that trains did not say that it is ready')
  return {
    ready,
    turn: async (turn) => {
      const made = answer()
      worker.postMessage(turn)
      const m = await made
      if (m.kind !== 'done') throw new PareError('E_INTERNAL', 'a thread that trains said something else')
      return m.turned
    },
    end: async () => {
      const over = new Promise((resolve) => worker.once('exit', resolve))
      worker.postMessage('end')
      await over
    }
  }
}

const asError = (m: WorkerMessage & { readonly kind: 'failed' }): PareError =>
  new PareError((m.code as Code | undefined) ?? 'E_RUN', m.message, m.hint === undefined ? {} : { hint: m.hint })
