/**
 * Workers, and what they do next. A worker that becomes free takes what opens or measures models first, then of all that waits what
 * is due first, joined with what fits to it.
 */
import { PareError } from '../../base/errors.ts'
import { typedValues } from '../../ir/tensor.ts'
import { type Inputs, joined, rowsOfAll } from '../../serve/batching.ts'
import type { Reason } from '../../serve/queue.ts'
import { countRun } from '../../serve/statistics.ts'
import type { DType, Tensor } from '../../types.ts'
import { buffers } from './buffers.ts'
import { type Part, type Served, type Stage, waitingIn } from './model.ts'
import type { Moved, Ran } from './program.ts'
import { startWorker, type Worker } from './worker.ts'

export interface PoolOptions {
  readonly isIsolated: boolean
  /** A run that takes longer is taken for one that never ends, ms. */
  readonly hangMs: number
  /** How long a part may wait for others that would fill its run, ms. */
  readonly delayMs: number
  /** Told of every run, and of workers that were lost. */
  readonly watch: Watch
}

export interface Watch {
  ran(model: Served, samples: number, ms: number, waited: readonly number[], reason: Reason): void
  /** `isHung`: a thread of this process computes for ever. */
  lost(why: string, isHung: boolean): void
}

export type Task = (worker: Worker) => Promise<void>

interface Slot {
  worker: Worker
  isBusy: boolean
  /** When the run that it is at should end. */
  freeAt: number
  readonly tasks: Task[]
  readonly open: Set<string>
}

export interface Pool {
  /** Workers that answer. */
  readonly alive: number
  readonly busy: number
  /** Settles when there are so many workers, with all models open. */
  grow(count: number): Promise<void>
  /** Does something with every worker, with each when it is free; the first that fails ends it. */
  each(task: Task): Promise<void>
  /** With the first worker alone. */
  first<T>(task: (worker: Worker) => Promise<T>): Promise<T>
  /** From now on `model` is run, which all workers have opened. */
  add(model: Served): void
  /** It is run no more; it must have nothing waiting. */
  remove(model: Served): Promise<void>
  queue(part: Part): void
  /** What waits, and the ms until a part that comes now would be begun. */
  waiting(): { readonly samples: number; readonly bytes: number; readonly waitMs: number }
  /** Ends the workers once they are idle. */
  end(): Promise<void>
}

const now = (): number => performance.now()

/** How fast measured times of a sample follow what runs take. */
const follow = 0.1

export function pool(o: PoolOptions): Pool {
  const slots: Slot[] = []
  const models = new Set<Served>()
  const memory = buffers()
  let timer: NodeJS.Timeout | undefined
  let isEnding = false

  const start = (): Slot => {
    const slot: Slot = { worker: undefined as never, isBusy: false, freeAt: 0, tasks: [], open: new Set() }
    slot.worker = startWorker(o.isIsolated, (why) => replace(slot, why, false))
    return slot
  }

  /** A new worker in the place of one that was lost; it takes runs of a model once it has opened it. */
  const replace = (slot: Slot, why: string, isHung: boolean): void => {
    o.watch.lost(why, isHung)
    const at = slots.indexOf(slot)
    if (at < 0 || isEnding) return
    const fresh = start()
    for (const task of slot.tasks.splice(0)) fresh.tasks.push(task)
    slots[at] = fresh
    for (const model of models) fresh.tasks.unshift((worker) => prepare(fresh, worker, model))
    // A worker that dies as it opens a model must not be begun again without end.
    fresh.isBusy = true
    setTimeout(() => free(fresh), 100)
  }

  const prepare = async (slot: Slot, worker: Worker, model: Served): Promise<void> => {
    await openWarm(worker, model)
    slot.open.add(model.key)
  }

  const free = (slot: Slot): void => {
    slot.isBusy = false
    dispatch()
  }

  const dispatch = (): void => {
    clearTimeout(timer)
    for (const slot of slots) {
      if (slot.isBusy || slot.worker.isLost) continue
      const task = slot.tasks.shift()
      if (task) {
        slot.isBusy = true
        void task(slot.worker).then(
          () => free(slot),
          () => free(slot)
        )
      } else next(slot)
    }
  }

  /** The run that is due first, of what this worker has open. */
  const next = (slot: Slot): void => {
    const at = now()
    const ready = [...models].flatMap((model) => (slot.open.has(model.key) ? waitingStages(model, at) : []))
    const next = ready.toSorted((a, b) => a.due - b.due)[0]
    if (!next) return
    const { model, stage } = next
    const { run, late, reason } = stage.queues.take(stage.tuning.size, at, (key, n) => workOf(model, stage, key) * n)
    for (const part of late) part.fail(part.isGone() ? gone() : tooLate(at - part.arrived))
    if (run.length > 0) {
      slot.isBusy = true
      void runAll(slot, stage, run, reason).finally(() => free(slot))
    } else dispatch()
  }

  const waitingStages = (model: Served, at: number) =>
    model.stages.flatMap((stage) => {
      const head = stage.queues.head()
      return head && !waits(stage, at) ? [{ model, stage, due: head.due }] : []
    })

  /** Holds parts back while they may still be joined by others. */
  const waits = ({ queues, tuning }: Stage, at: number): boolean => {
    if (o.delayMs === 0 || queues.samples >= tuning.size) return false
    const left = (queues.head()?.arrived ?? at) + o.delayMs - at
    if (left <= 0) return false
    timer = setTimeout(dispatch, left)
    return true
  }

  const runAll = async (slot: Slot, stage: Stage, parts: readonly Part[], reason: Reason): Promise<void> => {
    try {
      await runOnce(slot, stage, parts, reason)
    } catch (error) {
      const isAlone = parts.length === 1 || slot.worker.isLost
      if (isAlone) for (const part of parts) part.fail(error as Error)
      // One of them is at fault: each is run again alone, so that only that one fails.
      else for (const part of parts) await runAll(slot, stage, [part], reason)
    }
  }

  const runOnce = async (slot: Slot, stage: Stage, parts: readonly Part[], reason: Reason): Promise<void> => {
    const began = now()
    const samples = parts.reduce((n, p) => n + p.samples, 0)
    const { key, model } = parts[0] as Part
    slot.freeAt = began + rateOf(stage, key) * samples
    const inputs = joined(
      parts.map((p) => p.inputs),
      memory.room
    )
    const outputs = [...new Set(parts.flatMap((p) => p.outputs))]
    const sent = now()
    const { ms, ...given } = await guarded(slot, (worker) => run(worker, stage.key, inputs, outputs))
    memory.give(slot.worker.isProcess ? buffersOf(inputs) : given.back)
    const came = now()
    learn(stage, key, samples, ms)
    stage.done.samples += samples
    stage.done.runs++
    const waited = parts.map((p) => began - p.arrived)
    hand(parts, given.outputs, began)
    countRun(
      model.statistics,
      { samples, isFirst: stage === model.stages[0], requests: parts.length },
      { input: sent - began, infer: ms, output: now() - came },
      Date.now()
    )
    o.watch.ran(model, samples, ms, waited, reason)
  }

  const guarded = async <T>(slot: Slot, work: (worker: Worker) => Promise<T>): Promise<T> => {
    const { worker } = slot
    const guard = setTimeout(() => {
      const why = `a run took longer than ${o.hangMs} ms`
      if (!worker.isProcess) replace(slot, why, true)
      worker.abandon(why)
    }, o.hangMs)
    try {
      return await work(worker)
    } finally {
      clearTimeout(guard)
    }
  }

  const withSlot = <T>(slot: Slot, task: (worker: Worker) => Promise<T>): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      slot.tasks.push((worker) => task(worker).then(resolve, reject))
      dispatch()
    })

  return {
    get alive() {
      return slots.filter((s) => !s.worker.isLost && [...models].every((m) => s.open.has(m.key))).length
    },
    get busy() {
      return slots.filter((s) => s.isBusy).length
    },
    grow: async (count) => {
      const fresh = Array.from({ length: Math.max(0, count - slots.length) }, start)
      for (const slot of fresh) slots.push(slot)
      for (const slot of fresh)
        for (const model of models) await withSlot(slot, (worker) => prepare(slot, worker, model))
    },
    each: async (task) => {
      // One after the other: the rest goes on with what waits.
      for (let i = 0; i < slots.length; i++) await withSlot(slots[i] as Slot, task)
    },
    first: (task) => withSlot(slots[0] as Slot, task),
    add: (model) => {
      for (const slot of slots) slot.open.add(model.key)
      models.add(model)
      dispatch()
    },
    remove: async (model) => {
      models.delete(model)
      await Promise.all(
        slots.map((slot) =>
          withSlot(slot, async (worker) => {
            if (slot.open.delete(model.key)) await worker.ask({ do: 'close', key: model.key })
          })
        )
      )
    },
    queue: (part) => {
      part.stage.queues.add(part)
      dispatch()
    },
    waiting: () => {
      const at = now()
      const all = [...models]
      const running = slots.reduce((ms, s) => ms + (s.isBusy ? Math.max(0, s.freeAt - at) : 0), 0)
      const waiting = all.reduce(
        (ms, m) => ms + m.stages.reduce((own, s) => own + s.queues.samples * workOf(m, s, ''), 0),
        0
      )
      const isIdle = waiting === 0 && slots.some((s) => !s.isBusy)
      return {
        samples: all.reduce((n, m) => n + waitingIn(m), 0),
        bytes: all.reduce((n, m) => n + m.stages.reduce((own, s) => own + s.queues.bytes, 0), 0),
        waitMs: isIdle ? 0 : (running + waiting) / Math.max(1, slots.length)
      }
    },
    end: async () => {
      isEnding = true
      clearTimeout(timer)
      await Promise.all(slots.map((s) => (s.worker.isLost ? undefined : s.worker.end())))
    }
  }
}

/** Opens a model in a worker, and runs it there once in each size. */
export async function openWarm(worker: Worker, { stages }: Pick<Served, 'stages'>): Promise<void> {
  for (const { key, file, warm, outputs } of stages) {
    await worker.ask({ do: 'open', key, file })
    for (const inputs of warm) await run(worker, key, copyOf(inputs), outputs)
  }
}

/** The same in memory of its own. */
export const copyOf = (inputs: Inputs): Inputs => joined([inputs], (bytes) => new Uint8Array(bytes))

const gone = (): PareError => new PareError('E_ABORTED', 'the client has gone')

const tooLate = (waited: number): PareError =>
  new PareError('E_BUSY', `the answer would have come too late: the request waited ${Math.round(waited)} ms`, {
    facts: { 'retry after': '1' }
  })

/** Runs inputs, whose memory goes to the worker and comes back. */
export async function run(worker: Worker, key: string, inputs: Inputs, outputs: readonly string[]): Promise<Ran> {
  const feeds = [...inputs].map(
    ([name, t]): Moved => ({ name, dtype: t.dtype, shape: t.shape, data: t.strings ?? typedValues(t) })
  )
  const moved = feeds.flatMap((f) => (ArrayBuffer.isView(f.data) ? [f.data.buffer as ArrayBuffer] : []))
  return worker.ask<Ran>({ do: 'run', key, feeds, outputs }, [...new Set(moved)])
}

const buffersOf = (inputs: Inputs): readonly ArrayBuffer[] =>
  [...inputs.values()].flatMap((t) => (t.strings ? [] : [(t.bytes as Uint8Array).buffer as ArrayBuffer]))

/** What a worker gave, as tensors. */
export const tensorsOf = (outputs: readonly Moved[]): Inputs =>
  new Map(
    outputs.map(({ name, dtype, shape, data }): [string, Tensor] => [
      name,
      ArrayBuffer.isView(data)
        ? { dtype: dtype as DType, shape, bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) }
        : { dtype: 'string', shape, bytes: new Uint8Array(0), strings: data }
    ])
  )

/** Gives every part its rows. */
function hand(parts: readonly Part[], outputs: readonly Moved[], began: number): void {
  const all = tensorsOf(outputs)
  let at = 0
  for (const part of parts) {
    // The only part has all, also where results do not begin with samples.
    part.done(parts.length === 1 ? all : rowsOfAll(all, at, at + part.samples), began)
    at += part.samples
  }
}

/** ms of a sample of a shape; until it has run, by what was measured. */
export const rateOf = ({ rates }: Stage, key: string): number => rates.get(key) ?? rates.get('') ?? 0

/** ms that a sample takes from this stage on: what the later ones take, for the share that reaches them. */
export function workOf(model: Served, stage: Stage, key: string): number {
  const later = model.stages[model.stages.indexOf(stage) + 1]
  return rateOf(stage, key) + (later ? (stage.route?.goingOn ?? 0) * workOf(model, later, '') : 0)
}

/** Shapes whose times are kept. */
const mostRates = 256

/** `''` holds the mean over all shapes. */
function learn({ rates }: Stage, key: string, samples: number, ms: number): void {
  for (const k of [key, '']) {
    const old = rates.get(k)
    if (old === undefined && rates.size >= mostRates) continue
    rates.set(k, old === undefined ? ms / samples : old + follow * (ms / samples - old))
  }
}
