/**
 * Regularised evolution (Real et al., 2019): the child of the best of a few random members of the youngest P, which are the
 * population. With several objectives NSGA-II (Deb et al., 2002): survivors by fronts of non-domination and crowding.
 */
import type { Rng } from '../../../base/random.ts'
import { type ExplorerRecord, fresh, keysOf, type SeenPoint, startAt, type Task } from '../explorer.ts'
import { crowding, fronts } from '../front.ts'
import { drawn } from './random.ts'

/** Members of the population, and of a tournament. */
const [population, tournament] = [32, 8]
const founders = 12
const crossed = 0.3

export const evolution: ExplorerRecord = {
  name: 'evolution',
  summary: 'regularised evolution: children of the best of a few among the youngest; NSGA-II with several objectives',
  make: (task) => ({
    next(history, pending, rng) {
      const start = startAt(task, history, pending)
      if (start) return start
      const known = keysOf(history, pending)
      const few = Math.min(founders, Math.ceil(task.trials / 4))
      if (history.length < few) return fresh(task, known, () => drawn(task, rng))
      const parents = task.objectives > 1 ? survivors(history) : history.slice(-population)
      const rank = task.objectives > 1 ? ranks(parents) : undefined
      return fresh(task, known, () => child(task, parents, rank, rng))
    }
  })
}

function child(
  task: Task,
  parents: readonly SeenPoint[],
  rank: ReadonlyMap<SeenPoint, number> | undefined,
  rng: Rng
): readonly number[] {
  const a = winner(parents, rank, rng)
  const b = rng.next() < crossed ? winner(parents, rank, rng) : a
  const mixed = task.space.units.map((_, i) => ((rng.next() < 0.5 ? a : b).point[i] as number) ?? 0)
  // A mutation is the same small move that a local search makes.
  return b === a || rng.next() < 0.5 ? step(task, mixed, rng) : cells(task, mixed, rng)
}

function winner(parents: readonly SeenPoint[], rank: ReadonlyMap<SeenPoint, number> | undefined, rng: Rng): SeenPoint {
  // Constrained domination alone decides among two; a sample of several does where scores are in one order.
  const size = rank ? 2 : Math.min(tournament, parents.length)
  let best: SeenPoint | undefined
  for (let i = 0; i < size; i++) {
    const one = parents[rng.below(parents.length)] as SeenPoint
    const isFitter = !best || (rank ? (rank.get(one) ?? 0) < (rank.get(best) ?? 0) : one.score < best.score)
    if (isFitter) best = one
  }
  return best as SeenPoint
}

/** One unit more or less by a choice or two, the others anywhere in their cells. */
function step(task: Task, point: readonly number[], rng: Rng): readonly number[] {
  const raw = cells(task, point, rng)
  const open = task.space.units.flatMap((u, i) => (u.choices.length > 1 ? [i] : []))
  const i = open[rng.below(open.length)]
  if (i === undefined) return raw
  const n = (task.space.units[i]?.choices.length ?? 1) - 1
  const by = (rng.next() < 0.2 ? 2 : 1) * (rng.next() < 0.5 ? 1 : -1)
  return raw.with(i, Math.min(1, Math.max(0, ((point[i] as number) + by) / n)))
}

const cells = ({ space }: Task, point: readonly number[], rng: Rng): number[] =>
  space.units.map((u, i) => {
    const n = u.choices.length - 1
    return n === 0 ? 1 : ((point[i] as number) + 0.9 * (rng.next() - 0.5)) / n
  })

/** The population of NSGA-II: front after front, the last by crowding. */
function survivors(history: readonly SeenPoint[]): readonly SeenPoint[] {
  const out: SeenPoint[] = []
  for (const front of fronts(history, (s) => s.values)) {
    const room = population - out.length
    if (room <= 0) break
    if (front.length <= room) for (const s of front) out.push(s)
    else {
      const distance = crowding(front.map((s) => s.values))
      const order = [...front.keys()].sort((a, b) => (distance[b] as number) - (distance[a] as number) || a - b)
      for (const i of order.slice(0, room)) out.push(front[i] as SeenPoint)
    }
  }
  return out
}

const ranks = (members: readonly SeenPoint[]): ReadonlyMap<SeenPoint, number> =>
  new Map(fronts(members, (s) => s.values).flatMap((front, rank) => front.map((s) => [s, rank] as const)))
