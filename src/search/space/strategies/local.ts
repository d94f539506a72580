/** Local search: the best point with a few units moved by a choice or two; what the budget then lacks, others pay, drawn anew each time. */
import type { Rng } from '../../../base/random.ts'
import { bestOf, type ExplorerRecord, fresh, keysOf, type SeenPoint, startAt, type Task } from '../explorer.ts'

/** Failures in a row, as a multiple of the number of units, after which it goes on from another good point. */
const patience = 3
/** Points that it may go on from then. */
const elders = 8

export const local: ExplorerRecord = {
  name: 'local',
  summary: 'the best point so far with a few units changed, against each other where a budget is tight',
  make: (task) => ({
    next(history, pending, rng) {
      const start = startAt(task, history, pending)
      if (start) return start
      const from = centre(history, task, rng)
      if (!from) return task.space.units.map(() => rng.next())
      return fresh(task, keysOf(history, pending), () => moved(task, from.point, rng))
    }
  })
}

/** The best, or after many failures one of the best few. */
function centre(history: readonly SeenPoint[], task: Task, rng: Rng): SeenPoint | undefined {
  const best = bestOf(history)
  if (!best) return undefined
  const failures = history.length - 1 - history.indexOf(best)
  if (failures < patience * task.space.units.length) return best
  const good = history.filter((s) => s.isWhole).toSorted((a, b) => a.score - b.score || a.k - b.k)
  return good[rng.below(Math.min(elders, good.length))] ?? best
}

/**
 * A raw point near a point: 1 + Geometric(½) units move by one choice, or two with probability 0.2; the others lie anywhere
 * in the cell of their choice, which settles who gives way first.
 */
export function moved({ space }: Task, point: readonly number[], rng: Rng): readonly number[] {
  const open = space.units.flatMap((u, i) => (u.choices.length > 1 ? [i] : []))
  const order = rng.permutation(open.length).map((i) => open[i] as number)
  let count = 1
  while (count < order.length && rng.next() < 0.5) count++
  const chosen = new Set(order.slice(0, count))
  return space.units.map((u, i) => {
    const [n, now] = [u.choices.length - 1, point[i] as number]
    if (n === 0) return 1
    if (!chosen.has(i)) return (now + 0.9 * (rng.next() - 0.5)) / n
    const by = (rng.next() < 0.2 ? 2 : 1) * (now === 0 ? 1 : now === n ? -1 : rng.next() < 0.5 ? 1 : -1)
    return Math.min(1, Math.max(0, (now + by) / n))
  })
}
