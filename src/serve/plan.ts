/** How many workers a machine has room for, by what models were measured to take. */

import { greatest } from '../base/extremes.ts'

/** ms of the main thread's time that a request costs beside the model: HTTP, reading, joining, printing. Measured: 0.06 to 0.12. */
export const aroundMs = 0.1

export interface Room {
  /** Cores that this process may use: those of the machine, or its share of them, which need not be whole. */
  readonly cores: number
  /** Bytes that may still be taken. */
  readonly freeBytes: number
}

export interface Demand {
  /** ms of a sample in batches of the chosen size. */
  readonly sampleMs: number
  /** Bytes that one more copy of the model takes. */
  readonly bytes: number
}

export interface Workers {
  readonly count: number
  readonly why: string
}

/**
 * Workers and the main thread share the cores, c·t/(t + h) of which the slowest model's t can use beside h of the main thread. Copies
 * of all models must fit in half of what is free.
 */
export function chooseWorkers({ cores, freeBytes }: Room, models: readonly Demand[]): Workers {
  const slowest = greatest(
    models.map((m) => m.sampleMs),
    0
  )
  const useful = Math.min(Math.ceil(cores), Math.max(1, Math.ceil((cores * slowest) / (slowest + aroundMs) - 0.05)))
  const each = models.reduce((n, m) => n + m.bytes, 0)
  const fitting = each === 0 ? useful : Math.max(1, Math.floor(freeBytes / 2 / each))
  if (fitting < useful)
    return {
      count: fitting,
      why: `more copies of ${Math.ceil(each / 1e6)} MB would not fit in half of the free memory`
    }
  return {
    count: useful,
    why: `${cores} ${cores === 1 ? 'core' : 'cores'}, a sample takes ${slowest.toFixed(2)} ms beside ${aroundMs} ms around it`
  }
}
