/** What a run answers to clients, on top of its rounds. */
import { join } from 'node:path'
import { PareError } from '../../base/errors.ts'
import { fromHex, toHex } from '../../base/hex.ts'
import type { Run } from '../../federate/index.ts'
import type { RoundInfo } from '../../federate/net/forms.ts'
import { type Receipt, signReceipt } from '../../federate/net/signing.ts'
import { epsilonOf, type Spent } from '../../federate/privacy/accountant.ts'
import type { Step } from '../../federate/secure/messages.ts'
import { refuseLarge } from '../../federate/sums.ts'
import { readHeader } from '../../federate/wire.ts'
import { readUpdate } from './combine.ts'
import { apply, type Event, nothingTold, type Told } from './events.ts'
import { hashedFiles, openJournal, sha256Of } from './folder.ts'
import {
  changed,
  type EngineSetup,
  type Held,
  next,
  note,
  resume,
  settle,
  spendings,
  stored,
  take,
  tell,
  tidy,
  timeIsUp
} from './rounds.ts'
import { readKept } from './state.ts'
import type { SumOfRound } from './sum.ts'

export interface Engine {
  readonly told: Told
  readonly run: () => Run
  /** Grows with every change; clients ask what came after one. */
  readonly version: () => number
  /** Settles at the next change, or after `ms`. */
  changed(ms: number): Promise<void>
  joinClient(key: string, token: string): Promise<void>
  roundFor(key: string): RoundInfo
  message(base: string): Uint8Array
  accept(key: string, round: number, attempt: number, body: Uint8Array): Promise<Receipt>
  /** What a client is sent in a step of a secure sum; nothing until the step has begun. */
  sumMessage(key: string, attempt: number, step: Step): Uint8Array | undefined
  sumAccept(key: string, attempt: number, step: Step, body: Uint8Array): Promise<void>
  spent(): Spent | undefined
  /** When the run is over. */
  readonly ended: Promise<string>
  /** Lets what is being changed end, and takes no more. */
  close(): Promise<void>
}

export async function openEngine(s: EngineSetup): Promise<Engine> {
  const { lines, journal } = openJournal(join(s.folder, 'journal'))
  const told = nothingTold()
  for (const line of lines) apply(told, line as Event)
  const [states, updates] = [hashedFiles(join(s.folder, 'states')), hashedFiles(join(s.folder, 'updates'))]
  const last = told.commits.at(-1)
  const kept = last ? readKept(states.read(last.state), s.first.id, s.first.recipe, s.first.manifest) : { run: s.first }
  let end: (why: string) => void = () => undefined
  const ended = new Promise<string>((resolve) => {
    end = resolve
  })
  const h: Held = {
    s,
    told,
    journal,
    states,
    updates,
    kept,
    version: 0,
    isClosed: false,
    storing: new Set(),
    waiting: new Set(),
    end
  }
  tidy(h)
  let tail: Promise<unknown> = Promise.resolve()
  const inTurn = <T>(run: () => Promise<T>): Promise<T> => {
    const turn = tail.then(() => {
      if (h.isClosed) throw new PareError('E_BUSY', 'the server ends')
      return run()
    })
    tail = turn.catch(() => undefined)
    return turn
  }
  const onTime = (): void => void inTurn(() => timeIsUp(h, onTime)).catch(s.failed)
  // What ends a round comes behind the answer to the last update of it.
  const whole = (): void => void inTurn(() => settle(h, onTime)).catch(s.failed)
  const answered = async <T>(run: () => Promise<T>): Promise<T> => {
    try {
      const answer = await inTurn(run)
      await stored(h)
      return answer
    } finally {
      if (!h.isClosed) whole()
    }
  }
  await inTurn(() => resume(h, onTime))
  return {
    told,
    ended,
    run: () => h.kept.run,
    version: () => h.version,
    changed: (ms) => changed(h, ms),
    joinClient: (key, token) => inTurn(() => joinClient(h, key, token, onTime)),
    roundFor: (key) => roundFor(h, key),
    message: (base) => {
      if (h.live?.state.base === base) return h.live.round.message
      throw new PareError('E_LATE', 'the round of this model is over')
    },
    accept: (key, round, attempt, body) => answered(() => accept(h, { key, round, attempt, body })),
    sumMessage: (key, attempt, step) => sumOf(h, attempt).messageFor(key, step),
    sumAccept: (key, attempt, step, body) => answered(() => sumAccept(h, { key, attempt, step, body })),
    spent: () => (s.options.privacy ? epsilonOf(spendings(told), s.options.privacy.delta) : undefined),
    close: async () => {
      h.isClosed = true
      tell(h)
      await tail
      await Promise.allSettled(h.storing)
      clearTimeout(h.timer)
      journal.close()
    }
  }
}

// ---------------------------------------------------------------- what clients ask

async function joinClient(h: Held, key: string, token: string, onTime: () => void): Promise<void> {
  const known = h.told.members.find((m) => m.key === key)
  const invitation = h.s.invitation(token)
  if (!invitation) throw new PareError('E_SIGNATURE', 'the invitation is not of this run')
  if (known?.invitation === invitation.name) return
  if (known || h.told.members.some((m) => m.invitation === invitation.name))
    throw new PareError('E_CONFLICT', `invitation ${invitation.name} was used by another client`, {
      hint: 'every client needs one of its own'
    })
  const { name, group } = invitation
  note(h, { kind: 'joined', key, invitation: name, ...(group === undefined ? {} : { group }) })
  if (!h.live && h.told.ended === undefined) await next(h, onTime)
}

export const isMember = (told: Told, key: string): boolean => told.members.some((m) => m.key === key)

function roundFor(h: Held, key: string): RoundInfo {
  const { told, live, version } = h
  const mine = told.last.get(key)
  const common = { version, ...(mine ? { mine } : {}) }
  if (told.ended !== undefined) return { state: 'done', why: told.ended, ...common }
  if (!live) {
    const { minClients } = h.s.options
    return { state: 'wait', why: `${told.members.length} of ${minClients} clients have joined`, ...common }
  }
  const { state } = live
  if (!state.cohort.includes(key)) return { state: 'wait', why: `round ${state.round} asks others`, ...common }
  if (live.sum ? live.sum.isOver(key) : state.accepted.has(key))
    return { state: 'wait', why: `round ${state.round} waits for others`, ...common }
  return {
    ...{ state: 'open', bytes: live.round.message.length, leftMs: live.until - Date.now() },
    ...live.toldOf(key),
    ...common
  }
}

interface Upload {
  readonly key: string
  readonly round: number
  readonly attempt: number
  readonly body: Uint8Array
}

async function accept(h: Held, u: Upload): Promise<Receipt> {
  const { told, live, s } = h
  const sha256 = sha256Of(u.body)
  const receipt = (): Promise<Receipt> =>
    signReceipt(s.crypto, s.secret, fromHex(s.info.run), { round: u.round, attempt: u.attempt, key: u.key, sha256 })
  const before = told.receipts.get(`${u.attempt} ${u.key}`)
  if (before === sha256) return receipt()
  if (before !== undefined)
    throw new PareError('E_CONFLICT', `another update of this client was taken in round ${u.round}`, {
      hint: 'the first one counts'
    })
  if (live?.state.round !== u.round || live.state.attempt !== u.attempt)
    throw new PareError('E_LATE', `round ${u.round} is over`, {
      facts: { now: live ? `round ${live.state.round}` : 'no round' }
    })
  if (live.sum) throw new PareError('E_PRIVACY', 'this run takes updates in secure sums alone')
  if (!live.state.cohort.includes(u.key)) throw new PareError('E_LATE', `this client is not asked in round ${u.round}`)
  if (toHex(readHeader(u.body).base) !== live.state.base)
    throw new PareError('E_CONFLICT', 'the update was trained from another model than that of the round')
  const { values } = await readUpdate(h.kept.run, live.round, u.body)
  refuseLarge(values, h.s.first.recipe.bound)
  take(h, u.body, { kind: 'accepted', round: u.round, attempt: u.attempt, key: u.key, sha256 })
  return receipt()
}

interface StepUpload {
  readonly key: string
  readonly attempt: number
  readonly step: Step
  readonly body: Uint8Array
}

function sumOf({ live }: Held, attempt: number): SumOfRound {
  if (live?.sum && live.state.attempt === attempt) return live.sum
  throw new PareError('E_LATE', 'this sum is over')
}

async function sumAccept(h: Held, u: StepUpload): Promise<void> {
  const sum = sumOf(h, u.attempt)
  const sha256 = sha256Of(u.body)
  const client = sum.clientOf(u.key)
  if (!(await sum.receive(client, u.step, u.body, sha256))) return
  take(h, u.body, { kind: 'step', attempt: u.attempt, step: u.step, client, sha256 })
}
