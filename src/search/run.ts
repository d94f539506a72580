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
  /** Makes and measures a candidate. Its failure is a trial too. */
  measure(proposal: Proposal, key: string): Promise<Trial>
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
  for (;;) {
    const proposal = o.strategy.next(trials, [], o.rng.fork(`proposal ${trials.length}`))
    if (proposal === 'done') break
    const key = keyOf(o.identity, proposal.recipe)
    const before = known.get(key)
    const trial = before ? { ...before, proposal } : plain(await o.measure(proposal, key))
    if (!before) await o.journal?.append(trial)
    known.set(key, trial)
    unused.delete(key)
    trials.push(trial)
    await o.finished?.(trial, trials)
  }
  return { trials, notes: [...opened.notes, ...resumed(opened.trials.length - unused.size, unused.size)] }
}

function resumed(used: number, unused: number): string[] {
  const candidates = (n: number): string => (n === 1 ? '1 candidate' : `${n} candidates`)
  return [
    ...(used > 0 ? [`went on after ${candidates(used)} that a run before had measured`] : []),
    ...(unused > 0 ? [`${candidates(unused)} of the journal not asked for this time`] : [])
  ]
}

/** The very data that a journal would give back, so that both runs go on from the same. */
const plain = (trial: Trial): Trial => JSON.parse(JSON.stringify(trial)) as Trial
