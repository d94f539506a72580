/**
 * What waits to be run, one queue a shape. Nothing here knows of threads or clocks: times are ms of whatever clock the caller has.
 */
import { PareError } from '../base/errors.ts'

/** Samples that stay together in one run. */
export interface Waiting {
  readonly key: string
  readonly samples: number
  readonly bytes: number
  readonly arrived: number
  /** It is of no use afterwards. */
  readonly due: number
  /** Nobody waits for it any more. */
  isGone(): boolean
}

/** Why a run was begun with what it has. */
export type Reason = 'full' | 'free' | 'delay'

export interface Taken<W> {
  readonly run: readonly W[]
  /** Those that are not run: their time would be up before they are answered, or nobody waits any more. */
  readonly late: readonly W[]
  readonly reason: Reason
}

export interface Queues<W extends Waiting> {
  readonly samples: number
  readonly bytes: number
  add(w: W): void
  /** What is due first. */
  head(): W | undefined
  /** Parts of one shape, the earliest due first, of `most` samples at most. One part is always taken whole. */
  take(most: number, now: number, runMs: (key: string, samples: number) => number): Taken<W>
  /** All that waits; nothing does afterwards. */
  drain(): readonly W[]
}

/** Empty queues. */
export function queues<W extends Waiting>(): Queues<W> {
  const all = new Map<string, W[]>()
  let [samples, bytes] = [0, 0]
  const remove = (list: W[], key: string): W => {
    const w = list.shift() as W
    samples -= w.samples
    bytes -= w.bytes
    if (list.length === 0) all.delete(key)
    return w
  }
  const earliest = (): W[] | undefined => {
    let best: W[] | undefined
    for (const list of all.values()) if (!best || (list[0] as W).due < (best[0] as W).due) best = list
    return best
  }
  return {
    get samples() {
      return samples
    },
    get bytes() {
      return bytes
    },
    add: (w) => {
      const list = all.get(w.key) ?? []
      if (list.length === 0) all.set(w.key, list)
      const before = list.findLastIndex((other) => other.due <= w.due)
      list.splice(before + 1, 0, w)
      samples += w.samples
      bytes += w.bytes
    },
    head: () => earliest()?.[0],
    take: (most, now, runMs) => {
      const list = earliest() ?? []
      const key = list[0]?.key ?? ''
      const [run, late]: [W[], W[]] = [[], []]
      let taken = 0
      while (list.length > 0) {
        const [next] = list as [W]
        if (next.isGone() || now + runMs(key, next.samples) > next.due) late.push(remove(list, key))
        else if (taken > 0 && taken + next.samples > most) break
        else {
          taken += next.samples
          run.push(remove(list, key))
          if (taken >= most) break
        }
      }
      return { run, late, reason: taken >= most ? 'full' : 'free' }
    },
    drain: () => {
      const left = [...all.values()].flat()
      all.clear()
      samples = 0
      bytes = 0
      return left
    }
  }
}

/** What a server takes at most. */
export interface Limits {
  readonly queuedSamples: number
  readonly queuedBytes: number
}

/** What a request that comes now would meet. */
export interface Outlook {
  readonly samples: number
  readonly bytes: number
  /** ms until a worker takes it up, by measured times. */
  readonly waitMs: number
  /** ms that it will then run. */
  readonly runMs: number
  /** ms that the client waits. */
  readonly patienceMs: number
}

/** Throws `E_BUSY` where a request would not be answered in time, with the seconds after which to try again. */
export function admit(o: Outlook, added: { readonly samples: number; readonly bytes: number }, limits: Limits): void {
  const isFull = o.samples + added.samples > limits.queuedSamples || o.bytes + added.bytes > limits.queuedBytes
  if (!isFull && o.waitMs + o.runMs <= o.patienceMs) return
  const again = Math.max(1, Math.ceil((o.waitMs + o.runMs - (isFull ? 0 : o.patienceMs)) / 1000))
  const [ms, left] = [Math.ceil(o.waitMs + o.runMs), Math.floor(o.patienceMs)]
  const late =
    left < 1
      ? `the answer would come in ${ms} ms, and no time remains for it`
      : `the answer would come in ${ms} ms, later than the ${left} ms that remain`
  throw new PareError('E_BUSY', isFull ? `${o.samples} samples wait already` : late, {
    facts: { 'retry after': String(again) },
    ...(!isFull && left < 1 ? { hint: '"timeout" of a request is in µs' } : {})
  })
}
