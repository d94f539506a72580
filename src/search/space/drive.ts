/**
 * Runs an explorer. Proposal k follows from the trials up to k − ahead and from nothing that comes later, so that any number
 * of workers up to `ahead`, in any order of completion, makes the same trials. What the journal holds of a run is proposed
 * again and compared: a search that would go another way is refused.
 */
import { PareError, stopIfAborted } from '../../base/errors.ts'
import { type Rng, rng } from '../../base/random.ts'
import type { AskedPoint, Explorer, SeenPoint } from './explorer.ts'
import type { Goal } from './goal.ts'
import { type Guessed, hopelessHarm, meanOf } from './race.ts'
import type { Done, FailedTrial, Proposed, SearchJournal, SearchLine } from './records.ts'
import { packed, rungsOf, type Trials, unpacked } from './trial.ts'

/** A finished trial with all that is known of it. */
export interface Tried extends SeenPoint {
  readonly losses: Float32Array
  readonly drop: { readonly sum: number; readonly squares: number }
  readonly ms: number
  readonly isKnown: boolean
  /** No model was made: points whose guess is like this one's were far behind, and its one loss is the least of theirs. */
  readonly isGuessed?: true
  /** Why there are no losses. */
  readonly failed?: string
}

/** Losses by point, of all runs of a search: what was measured is not measured again. */
export type Known = Map<string, { losses: Float32Array; drop: { sum: number; squares: number } }>

export interface DriveOptions {
  /** Tells this run from others of the same search, and seeds it. */
  readonly run: string
  readonly seed: number | string
  readonly explorer: Explorer
  readonly goal: Pick<Goal, 'project' | 'part' | 'score' | 'guess' | 'allowed' | 'isOut'>
  readonly trials: number
  /** Trials in the making that a proposal does not know of, at most: no more workers are of use. */
  readonly ahead: number
  readonly problem: string
  readonly samples: number
  readonly workers: Trials
  readonly known: Known
  readonly journal: SearchJournal
  /** Of this run, as they were written. */
  readonly lines: readonly SearchLine[]
  readonly signal: AbortSignal
  /** Is there time for another trial? */
  mayGoOn?(): boolean
  /** Called with every trial once it is finished. */
  finished?(trial: Tried, all: readonly Tried[]): void
}

/** Asks and measures until all trials are done, or the explorer is. Trials by k. */
export async function drive(o: DriveOptions): Promise<readonly Tried[]> {
  const old = new Map<number, { proposed?: Proposed; ended?: Done | FailedTrial }>()
  for (const line of o.lines) {
    if (line.kind === 'fact' || line.kind === 'ended') continue
    const entry = old.get(line.k) ?? {}
    if (line.kind === 'proposed') entry.proposed = line
    else entry.ended = line
    old.set(line.k, entry)
  }
  const rungs = rungsOf(o.samples)
  const asked: AskedPoint[] = []
  const tried: (Tried | undefined)[] = []
  const running = new Set<Promise<void>>()
  const stop = new AbortController()
  const signal = AbortSignal.any([o.signal, stop.signal])
  const begin = async (a: AskedPoint): Promise<void> => {
    const ended = old.get(a.k)?.ended
    const history = finishedBefore(tried, a.k - o.ahead)
    const trial = ended ? revived(o, a, ended) : await measured(o, a, { history, rungs, signal })
    if (!ended) await o.journal.append(lineOf(o.run, trial))
    tried[a.k] = trial
    o.finished?.(
      trial,
      tried.filter((t) => t !== undefined)
    )
  }
  try {
    for (let k = 0; k < o.trials; k++) {
      stopIfAborted(o.signal)
      if (o.mayGoOn && !old.has(k) && !o.mayGoOn()) break
      while (running.size >= Math.min(o.workers.slots, o.ahead) || !isKnownUpTo(tried, k - o.ahead))
        await Promise.race(running)
      const history = finishedBefore(tried, k - o.ahead)
      const proposal = await o.explorer.next(history, asked.slice(history.length), forked(o, k))
      if (proposal === 'done') break
      const a: AskedPoint = { k, raw: proposal.map(rounded), point: o.goal.project(proposal.map(rounded)) }
      const before = old.get(k)?.proposed
      if (before) refuseOther(before, a)
      else await o.journal.append({ kind: 'proposed', run: o.run, k, raw: a.raw, point: a.point })
      asked.push(a)
      const work = begin(a).finally(() => running.delete(work))
      running.add(work)
      // What ends with an error while nobody waits for it is thrown by the race above, or below.
      work.catch(() => undefined)
    }
    await Promise.all(running)
  } catch (e) {
    stop.abort()
    await Promise.allSettled(running)
    throw e
  }
  return tried.filter((t) => t !== undefined)
}

const forked = ({ seed, run }: DriveOptions, k: number): Rng => rng(`${seed}/${run}/${k}`)

/** As the journal writes it: what is read again is the same number. */
const rounded = (u: number): number => Math.round(Math.min(1, Math.max(0, u)) * 1e6) / 1e6

/** Are trials 0 … k finished? */
function isKnownUpTo(tried: readonly (Tried | undefined)[], k: number): boolean {
  for (let i = 0; i <= k; i++) if (!tried[i]) return false
  return true
}

const finishedBefore = (tried: readonly (Tried | undefined)[], k: number): readonly Tried[] =>
  tried.slice(0, Math.max(0, k + 1)) as readonly Tried[]

// ---------------------------------------------------------------- one trial

async function measured(
  o: DriveOptions,
  a: AskedPoint,
  at: { readonly history: readonly Tried[]; readonly rungs: readonly number[]; readonly signal: AbortSignal }
): Promise<Tried> {
  const point = o.goal.part(a.point)
  const key = point.join()
  const known = o.known.get(key)
  // By the history alone, and not by what other trials have come to meanwhile.
  const hopeless = hopelessHarm(o.goal.guess(a.point), measuredBefore(o, at.history), o.goal.allowed)
  if (hopeless !== undefined) return guessed(o, a, Float32Array.of(hopeless))
  let losses = new Float32Array(0)
  let drop = { sum: 0, squares: 0 }
  let [ms, ran] = [0, false]
  const rivals = at.history.filter((t) => t.failed === undefined && !t.isGuessed)
  for (const [rung, to] of at.rungs.entries()) {
    if (known && known.losses.length >= to) {
      losses = known.losses.subarray(0, to) as Float32Array<ArrayBuffer>
      drop = known.drop
    } else {
      try {
        const job = { problem: o.problem, k: a.k, point, rung, from: losses.length, to }
        const made = await o.workers.run(job, at.signal)
        losses = joined(losses, unpacked(made.losses), job.to - job.from)
        drop = { sum: drop.sum + made.drop.sum, squares: drop.squares + made.drop.squares }
        ms += made.ms
        ran = true
      } catch (e) {
        if (!(e instanceof PareError) || e.code !== 'E_RUN') throw e
        return failedTrial(o, a, e.message, ms)
      }
    }
    if (to < o.samples && o.goal.isOut(losses, rivals, at.rungs.length)) break
  }
  if (!known || known.losses.length < losses.length) o.known.set(key, { losses, drop })
  return scored(o, a, { losses, drop, ms, isKnown: !ran })
}

const measuredBefore = (o: DriveOptions, history: readonly Tried[]): readonly Guessed[] =>
  history.flatMap((t) =>
    t.failed === undefined && !t.isGuessed ? [{ guess: o.goal.guess(t.point), harm: meanOf(t.losses) }] : []
  )

const guessed = (o: DriveOptions, a: AskedPoint, losses: Float32Array): Tried => ({
  ...scored(o, a, { losses, drop: { sum: 0, squares: 0 }, ms: 0, isKnown: false }),
  isGuessed: true
})

function joined(first: Float32Array, rest: Float32Array | undefined, wanted: number): Float32Array<ArrayBuffer> {
  if (!rest || rest.length !== wanted)
    throw new PareError('E_DATA', `a trial gave ${rest?.length ?? 'no'} losses for ${wanted} samples`)
  const out = new Float32Array(first.length + rest.length)
  out.set(first)
  out.set(rest, first.length)
  return out
}

function scored(o: DriveOptions, a: AskedPoint, found: Pick<Tried, 'losses' | 'drop' | 'ms' | 'isKnown'>): Tried {
  const mean = meanOf(found.losses)
  const isKnownMean = Number.isFinite(mean)
  const harm = isKnownMean ? mean : Number.MAX_VALUE
  return {
    ...a,
    ...found,
    score: o.goal.score(a.point, harm),
    values: [harm],
    isWhole: isKnownMean && found.losses.length >= o.samples
  }
}

const failedTrial = (o: DriveOptions, a: AskedPoint, failed: string, ms: number): Tried => ({
  ...scored(o, a, {
    losses: Float32Array.of(Number.POSITIVE_INFINITY),
    drop: { sum: 0, squares: 0 },
    ms,
    isKnown: false
  }),
  failed
})

// ---------------------------------------------------------------- the journal

function lineOf(run: string, t: Tried): Done | FailedTrial {
  const { k, losses, drop, isWhole, ms } = t
  if (t.failed !== undefined) return { kind: 'failed', run, k, code: 'E_RUN', message: t.failed }
  return {
    ...{ kind: 'done', run, k, losses: packed(losses), drop, isWhole },
    ...(t.isKnown ? { isKnown: true as const } : {}),
    ...(t.isGuessed ? { isGuessed: true as const } : {}),
    ms: Math.round(ms)
  }
}

function revived(o: DriveOptions, a: AskedPoint, line: Done | FailedTrial): Tried {
  if (line.kind === 'failed') return failedTrial(o, a, line.message, 0)
  const losses = unpacked(line.losses)
  if (!losses || losses.length === 0)
    throw new PareError('E_FORMAT', `trial ${line.k} of ${line.run} in the journal holds no losses`)
  if (line.isGuessed) return guessed(o, a, losses)
  const key = o.goal.part(a.point).join()
  const known = o.known.get(key)
  if (!known || known.losses.length < losses.length) o.known.set(key, { losses, drop: line.drop })
  return scored(o, a, { losses, drop: line.drop, ms: line.ms, isKnown: line.isKnown === true })
}

/** Throws `E_CONSTRAINT` where a run proposes another point than the journal says. */
function refuseOther(before: Proposed, now: AskedPoint): void {
  if (before.point.join() === now.point.join() && before.raw.join() === now.raw.join()) return
  throw new PareError('E_CONSTRAINT', `trial ${now.k} of ${before.run} would be another one than in the journal`, {
    facts: { journal: before.point.join(' '), now: now.point.join(' ') },
    hint: 'the machine or the runtime may be another one: begin anew with --force'
  })
}
