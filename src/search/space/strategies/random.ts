import type { Rng } from '../../../base/random.ts'
import { type ExplorerRecord, fresh, keysOf, startAt, type Task } from '../explorer.ts'
import { encoded } from '../space.ts'

/** Deviation of a jitter, in shares of the range. */
const jitter = 0.25

/** A third uniform, a third around the uniform ratio, a third around the solution of the additive guess. */
export function drawn(task: Task, rng: Rng): readonly number[] {
  const way = rng.below(3)
  const start = way === 0 ? undefined : task.starts[way - 1]
  const around = start && encoded(task.space, task.project(start))
  return task.space.units.map((_, i) => {
    if (!around) return rng.next()
    return Math.min(1, Math.max(0, (around[i] as number) + jitter * rng.normal()))
  })
}

/** The yardstick. */
export const random: ExplorerRecord = {
  name: 'random',
  summary: 'drawn: uniform, around the uniform ratio, and around what solve finds; what all others are held against',
  make: (task) => ({
    next: (history, pending, rng) =>
      startAt(task, history, pending) ?? fresh(task, keysOf(history, pending), () => drawn(task, rng))
  })
}
