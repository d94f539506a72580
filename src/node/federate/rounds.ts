/**
 * From round to round. Everything that changes goes through the journal first, one change after another; a server that was
 * killed reads the journal and is where it was. What the open round holds in memory is the model and, of a secure sum, its sum.
 */
import { PareError } from '../../base/errors.ts'
import { fromHex, toHex } from '../../base/hex.ts'
import { rng } from '../../base/random.ts'
import { commitRound, openRound, type Round, type Run } from '../../federate/index.ts'
import type { RunInfo } from '../../federate/net/forms.ts'
import { fitsBudget, type Spending } from '../../federate/privacy/accountant.ts'
import { signRoster } from '../../federate/secure/setup.ts'
import type { SecureCrypto } from '../../federate/secure/types.ts'
import { type Combined, combined } from './combine.ts'
import { apply, type CommitEvent, type Event, type OpenState, type OpenTold, type Told } from './events.ts'
import type { HashedFiles, JournalFile } from './folder.ts'
import { startGroups, type ToldOf } from './groups.ts'
import type { ServerOptions } from './options.ts'
import { type Kept, writeKept } from './state.ts'
import { type SumOfRound, startSum } from './sum.ts'

export interface EngineSetup {
  readonly folder: string
  readonly crypto: SecureCrypto
  /** The organiser's secret. */
  readonly secret: Uint8Array
  readonly info: RunInfo
  readonly options: ServerOptions
  /** The run before its first round. */
  readonly first: Run
  /** The invitation of a token. */
  invitation(token: string): { readonly name: string; readonly group?: string } | undefined
  /** Score of a model's numbers on data of the server. */
  readonly score?: (run: Run) => Promise<number>
  /** What cannot be said to a client. */
  failed(thrown: unknown): void
}

/** A round that is open, in memory. */
export interface Live {
  readonly state: OpenState
  /** The same, as a client is told it. */
  readonly toldOf: ToldOf
  readonly round: Round
  readonly begun: number
  readonly until: number
  readonly sum?: SumOfRound
  /** When all inputs were there, of a secure sum. */
  sumBegun?: number
}

export interface Held {
  readonly s: EngineSetup
  readonly told: Told
  readonly journal: JournalFile
  readonly states: HashedFiles
  readonly updates: HashedFiles
  kept: Kept
  live?: Live
  version: number
  timer?: NodeJS.Timeout
  isClosed: boolean
  /** What clients sent and is on its way to the disk. */
  readonly storing: Set<Promise<void>>
  readonly waiting: Set<() => void>
  end(why: string): void
}

export const spendings = (told: Told): Spending[] => told.commits.flatMap((c) => (c.spent ? [c.spent] : []))

/** Removes states and updates that nothing names any more. */
export function tidy({ told, states, updates }: Held): void {
  states.keep(new Set(told.commits.slice(-2).map((c) => c.state)))
  updates.keep(
    new Set([
      ...(told.open?.accepted.values() ?? []),
      ...(told.open?.sum ?? []).flatMap((e) => ('sha256' in e ? [e.sha256] : []))
    ])
  )
}

type Sent = Extract<Event, { kind: 'accepted' | 'step' }>

/** Whatever happens but what clients send: on the disk before it returns. */
export function note(h: Held, e: Exclude<Event, Sent>): void {
  try {
    h.journal.append(e)
  } catch (thrown) {
    failed(h, thrown)
  }
  apply(h.told, e)
  tell(h)
}

/** What is in memory is ahead of the journal: only a new start brings them together. */
function failed(h: Held, thrown: unknown): never {
  h.isClosed = true
  h.s.failed(thrown)
  throw thrown
}

/** Counts what a client sent. It is on the disk, and then the line that makes it count, once `stored` resolves. */
export function take(h: Held, body: Uint8Array, e: Sent): void {
  apply(h.told, e)
  const storing = (async () => {
    await h.updates.put(body)
    await h.journal.add(e)
  })().catch((thrown) => failed(h, thrown))
  h.storing.add(storing)
  const over = (): void => void h.storing.delete(storing)
  storing.then(over, over)
}

/** Everything that clients sent so far is on the disk. */
export const stored = async (h: Held): Promise<void> => void (await Promise.all(h.storing))

export function tell(h: Held): void {
  h.version++
  for (const wake of h.waiting) wake()
  h.waiting.clear()
}

export function changed(h: Held, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      h.waiting.delete(done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    h.waiting.add(done)
  })
}

// ---------------------------------------------------------------- from round to round

/** Goes on where the journal ends. */
export async function resume(h: Held, onTime: () => void): Promise<void> {
  const { open } = h.told
  if (h.told.ended !== undefined) return h.end(h.told.ended)
  if (!open) return next(h, onTime)
  const round = await openRound(h.kept.run, h.s.options.seed)
  if (toHex(round.base) !== open.base)
    throw new PareError('E_FORMAT', 'the journal is of another run: its round began with another model', {
      where: h.s.folder
    })
  await live(h, open, round, onTime)
  for (const e of open.sum) await h.live?.sum?.replay(e, (sha256) => h.updates.read(sha256))
  if (h.live) timed(h, msFor(h, h.live), onTime)
  await settle(h, onTime)
}

export async function next(h: Held, onTime: () => void): Promise<void> {
  const { told, s } = h
  const { recipe } = s.first
  const { round } = h.kept.run
  const { privacy, minClients } = s.options
  if (round >= recipe.rounds)
    return finish(h, recipe.rounds === 1 ? 'the one round is done' : `all ${recipe.rounds} rounds are done`)
  if (told.members.length < minClients) return
  const sampling = Math.min(1, recipe.clientsPerRound / told.members.length)
  if (privacy && !fitsBudget(spendings(told), { sampling, noise: privacy.noise }, privacy))
    return finish(h, `the next round would pass the budget of ε = ${privacy.epsilon} at δ = ${privacy.delta}`)
  const opened = await openRound(h.kept.run, s.options.seed)
  const cohort = cohortOf(h, round, sampling)
  const members = told.members.length
  note(h, { kind: 'open', round, attempt: told.attempts, base: toHex(opened.base), cohort, members })
  await live(h, told.open as OpenState, opened, onTime)
}

function finish(h: Held, why: string): void {
  note(h, { kind: 'ended', why })
  h.end(why)
}

/** Keys in rising order. Under privacy everyone is drawn by itself with a chance that the accountant knows, and by no seed. */
function cohortOf({ told, s }: Held, round: number, sampling: number): string[] {
  const keys = told.members.map((m) => m.key).sort()
  if (s.options.privacy) {
    const drawn = new Uint32Array(keys.length)
    for (let from = 0; from < keys.length; from += 16384) crypto.getRandomValues(drawn.subarray(from, from + 16384))
    return keys.filter((_, i) => (drawn[i] as number) / 4294967296 < sampling)
  }
  const asked = Math.min(keys.length, Math.ceil(s.options.overSelect * s.first.recipe.clientsPerRound))
  const order = rng(s.options.seed).fork(`cohort of round ${round}, attempt ${told.attempts}`).permutation(keys.length)
  return order
    .slice(0, asked)
    .map((i) => keys[i] as string)
    .sort()
}

async function live(h: Held, state: OpenState, round: Round, onTime: () => void): Promise<void> {
  const begun = Date.now()
  const ms = patience(h)
  const told = await openTold(h, state)
  const { secure } = h.s.options
  const setup = secure && {
    ...{ crypto: h.s.crypto, info: { ...h.s.info, secure }, told, run: h.kept.run, round, cohort: state.cohort }
  }
  const { groups } = h.s.options
  if (setup && groups !== undefined) {
    try {
      h.live = { state, round, begun, until: begun + ms, ...(await startGroups(setup, groups)) }
    } catch (thrown) {
      if (!(thrown instanceof PareError && thrown.code === 'E_PRIVACY')) throw thrown
      return finish(h, thrown.message)
    }
  } else
    h.live = {
      state,
      toldOf: () => told,
      round,
      begun,
      until: begun + ms,
      ...(setup ? { sum: await startSum(setup) } : {})
    }
  timed(h, msFor(h, h.live), onTime)
  tell(h)
}

/** A round is given half as long again as nine of ten of the last took, and no longer than was asked. */
function patience({ told, s }: Held): number {
  const most = s.options.deadline * 1000
  const took = told.commits.slice(-20).map((c) => c.entry.ms)
  if (took.length < 5) return most
  took.sort((a, b) => a - b)
  return Math.min(most, Math.max(15_000, 1.5 * (took[Math.ceil(0.9 * took.length) - 1] as number)))
}

function timed(h: Held, ms: number, onTime: () => void): void {
  clearTimeout(h.timer)
  // A timer that is too long fires at once.
  if (!h.isClosed) h.timer = setTimeout(onTime, Math.min(ms, 2 ** 31 - 1))
}

export async function timeIsUp(h: Held, onTime: () => void): Promise<void> {
  const { live } = h
  if (!live) return
  await stored(h)
  if (live.sum) return stepEnds(h, live, onTime)
  const { accepted } = live.state
  if (accepted.size >= h.s.options.minUpdates) return commit(h, live, onTime)
  await abandon(h, `${accepted.size} of at least ${h.s.options.minUpdates} updates came in time`, onTime)
}

async function abandon(h: Held, why: string, onTime: () => void): Promise<void> {
  const { state } = h.live as Live
  delete h.live
  note(h, { kind: 'abandoned', round: state.round, attempt: state.attempt, why })
  tidy(h)
  // Those who are there ask again at once; the next try must not spin where nobody is.
  await new Promise((resolve) => setTimeout(resolve, 200))
  await next(h, onTime)
}

/** Ends what has all it waits for. */
export async function settle(h: Held, onTime: () => void): Promise<void> {
  const { live } = h
  if (!live || !isWhole(h, live)) return
  await stored(h)
  await (live.sum ? stepEnds(h, live, onTime) : commit(h, live, onTime))
}

function isWhole({ s }: Held, { sum, state: { cohort, accepted } }: Live): boolean {
  if (sum) return sum.isWhole()
  return accepted.size >= (s.options.privacy ? cohort.length : Math.min(cohort.length, s.first.recipe.clientsPerRound))
}

async function commit(h: Held, live: Live, onTime: () => void): Promise<void> {
  const { accepted } = live.state
  const keys = [...accepted.keys()].sort()
  const updates = { keys, read: (key: string) => h.updates.read(accepted.get(key) as string) }
  const { run, previous } = h.kept
  const made = await combined(run, live.round, updates, h.s.options, previous, h.s.first.recipe.clientsPerRound)
  await close(h, live, keys, made, onTime)
}

async function close(
  h: Held,
  live: Live,
  clients: readonly string[],
  made: Combined,
  onTime: () => void
): Promise<void> {
  const { options, first } = h.s
  const { state } = live
  const kept: Kept = {
    run: commitRound(h.kept.run, live.round, made.mean),
    ...(options.rule === 'centred-clipping' ? { previous: made.mean } : {})
  }
  const score = await h.s.score?.(kept.run)
  const event: CommitEvent = {
    ...{ kind: 'commit', round: state.round, attempt: state.attempt, clients },
    state: h.states.write(writeKept(kept)),
    entry: {
      ms: Date.now() - live.begun,
      ...(live.sumBegun === undefined ? {} : { sumMs: Date.now() - live.sumBegun }),
      ...(made.bound === undefined ? {} : { bound: made.bound, bounded: made.bounded }),
      ...{
        rule: options.secure ? (options.groups ? `secure sums of groups, ${options.rule}` : 'secure sum') : options.rule
      },
      ...(score === undefined ? {} : { score })
    },
    ...(options.privacy
      ? {
          spent: {
            sampling: Math.min(1, first.recipe.clientsPerRound / state.members),
            noise: options.privacy.noise,
            rounds: 1
          }
        }
      : {})
  }
  h.kept = kept
  delete h.live
  note(h, event)
  tidy(h)
  await next(h, onTime)
}

async function openTold({ told, s }: Held, { round, attempt, base, cohort, members }: OpenState): Promise<OpenTold> {
  if (!s.options.secure) return { round, attempt, base }
  const keys = told.members.slice(0, members).map((m) => fromHex(m.key))
  const signed = await signRoster(s.crypto, s.secret, fromHex(s.info.run), keys)
  const roster = signed.keys.map(toHex)
  const places = cohort.map((key) => roster.indexOf(key))
  return { round, attempt, base, secure: { roster, signature: toHex(signed.signature), cohort: places } }
}

// ---------------------------------------------------------------- secure sums

/** Ends a step of a sum with those who have answered: the next begins, or the sum is there, or the round is given up. */
async function stepEnds(h: Held, live: Live, onTime: () => void): Promise<void> {
  const sum = live.sum as SumOfRound
  try {
    const step = sum.step()
    await sum.advance()
    if (step === 'masked') live.sumBegun = Date.now()
    if (step !== 'done') note(h, { kind: 'advanced', attempt: live.state.attempt, step })
  } catch (thrown) {
    if (thrown instanceof PareError && thrown.code === 'E_PRIVACY') return abandon(h, thrown.message, onTime)
    throw thrown
  }
  if (sum.step() === 'done') return close(h, live, sum.clients(), sum.combined(h.s.options, h.kept.previous), onTime)
  timed(h, msFor(h, live), onTime)
}

/** Time for what the round waits for now: clients train until they send their masked input, all other steps are short. */
function msFor(h: Held, { sum }: Live): number {
  const isShort = sum !== undefined && sum.step() !== 'masked'
  return isShort ? Math.min(shortMs, h.s.options.deadline * 1000) : patience(h)
}

const shortMs = 60_000
