/** Runs a strategy: what it proposes is measured once, and written down before the next is asked for. */
import type { Rng } from '../base/random.ts'
import type { Journal } from './input.ts'
import type { Strategy } from './strategy.ts'
import { type Identity, keyOf, type Proposal, type Trial } from './trial.ts'

export interface RunOptions {
  readonly strategy: Strategy
  readonly rng: Rng
  /** What is searched in; part of every trial's key. */
  readonly identity: Identity
  readonly journal?: Journal
  /** Milliseconds that are left. No candidate is begun that would take longer, if it took as long as the longest so far. */
  timeLeft?(): number
  /** Makes and measures a candidate. Its failure is a trial too; `undefined`: the time was up before it ended. */
  measure(proposal: Proposal, key: string): Promise<Trial | undefined>
  /** Called with every trial once it is finished, and written down. */
  finished?(trial: Trial, all: readonly Trial[]): Promise<void>
}

export interface Run {
  readonly trials: readonly Trial[]
  /** What is to be known of the journal. */
  readonly notes: readonly string[]
}

/** Asks and measures until the strategy is done. A recipe that was measured before, here or in the journal, is not measured again. */
export async function runStrategy(o: RunOptions): Promise<Run> {
  const opened = (await o.journal?.open(o.identity)) ?? { trials: [], notes: [] }
  const known = new Map(opened.trials.map((t) => [t.key, t]))
  const unused = new Set(known.keys())
  const trials: Trial[] = []
  let longest = 0
  let isLate = false
  for (;;) {
    if (o.timeLeft && trials.length > 0 && o.timeLeft() < longest) {
      isLate = true
      break
    }
    const proposal = o.strategy.next(trials, [], o.rng.fork(`proposal ${trials.length}`))
    if (proposal === 'done') break
    const key = keyOf(o.identity, proposal)
    const before = known.get(key)
    const left = o.timeLeft?.() ?? 0
    const measured = before ? { ...before, proposal } : await o.measure(proposal, key)
    if (!measured) {
      isLate = true
      break
    }
    const trial = before ? measured : plain(measured)
    longest = Math.max(longest, left - (o.timeLeft?.() ?? 0))
    if (!before) await o.journal?.append(trial)
    known.set(key, trial)
    unused.delete(key)
    trials.push(trial)
    await o.finished?.(trial, trials)
  }
  const late = isLate
    ? [`the time allowed ended the search after ${counted(trials.length)}: others were not tried`]
    : []
  return { trials, notes: [...late, ...opened.notes, ...resumed(opened.trials.length - unused.size, unused.size)] }
}

const counted = (n: number): string => (n === 1 ? '1 candidate' : `${n} candidates`)

function resumed(used: number, unused: number): string[] {
  return [
    ...(used > 0 ? [`went on after ${counted(used)} that a run before had measured`] : []),
    ...(unused > 0 ? [`${counted(unused)} of the journal not asked for this time`] : [])
  ]
}

/** The very data that a journal would give back, so that both runs go on from the same. */
const plain = (trial: Trial): Trial => JSON.parse(JSON.stringify(trial)) as Trial
