/** A way to explore a space: the next raw point as a function of what was measured. */
import type { Rng } from '../../base/random.ts'
import type { Runner } from '../../runtime/types.ts'
import type { Goal } from './goal.ts'
import type { Point } from './space.ts'

/** A proposal: numbers in [0, 1] by unit, and the choices that they became. */
export interface AskedPoint {
  readonly k: number
  readonly raw: readonly number[]
  readonly point: Point
}

/** A finished trial. */
export interface SeenPoint extends AskedPoint {
  /** What is minimised. */
  readonly score: number
  /** With several objectives: each of them, to be minimised. */
  readonly values: readonly number[]
  /** Measured on all samples; others were dropped on fewer. */
  readonly isWhole: boolean
}

/** What explorers are made for. */
export interface Task extends Pick<Goal, 'space' | 'project' | 'starts' | 'solved'> {
  /** Trials that it will be asked for. */
  readonly trials: number
  readonly objectives: number
  /** Runs the networks of those that have some. */
  readonly engine: Runner
}

/**
 * `history`: finished trials by k; `pending`: proposals that are still measured. What is proposed follows from these and from
 * `rng`, which is seeded by the number of the proposal, alone: so a search that was stopped proposes the same again. An
 * explorer may keep what it computed of a history, for the next call. `done`: nothing more comes.
 */
export interface Explorer {
  next(
    history: readonly SeenPoint[],
    pending: readonly AskedPoint[],
    rng: Rng
  ): readonly number[] | 'done' | Promise<readonly number[] | 'done'>
  /** Lets go of sessions. */
  close?(): Promise<void>
}

/** An explorer by its name on the command line. */
export interface ExplorerRecord {
  readonly name: string
  readonly summary: string
  make(task: Task): Explorer
}

/** The start whose turn it is. */
export const startAt = (
  task: Task,
  history: readonly SeenPoint[],
  pending: readonly AskedPoint[]
): readonly number[] | undefined => task.starts[history.length + pending.length]

/** Points that were proposed, as keys. */
export const keysOf = (...all: readonly (readonly AskedPoint[])[]): ReadonlySet<string> =>
  new Set(all.flatMap((some) => some.map((a) => a.point.join())))

/** Tries until a proposal becomes a point that is new; the last one where none does. */
export function fresh(task: Task, known: ReadonlySet<string>, draw: () => readonly number[]): readonly number[] {
  let raw = draw()
  for (let i = 0; i < mostDraws && known.has(task.project(raw).join()); i++) raw = draw()
  return raw
}

const mostDraws = 20

/** The best so far: those measured on all samples first. */
export const bestOf = (history: readonly SeenPoint[]): SeenPoint | undefined =>
  history.reduce<SeenPoint | undefined>((best, s) => (!best || isBetter(s, best) ? s : best), undefined)

const isBetter = (a: SeenPoint, b: SeenPoint): boolean => (a.isWhole === b.isWhole ? a.score < b.score : a.isWhole)
