/** What a journal of a run says, and what follows from it. */
import type { OpenRound } from '../../federate/net/forms.ts'
import type { Spending } from '../../federate/privacy/accountant.ts'
import type { Step } from '../../federate/secure/messages.ts'

/** One line. Clients are their keys in hex. */
export type Event =
  | { readonly kind: 'joined'; readonly key: string; readonly invitation: string; readonly group?: string }
  | OpenEvent
  | {
      readonly kind: 'accepted'
      readonly round: number
      readonly attempt: number
      readonly key: string
      readonly sha256: string
    }
  | {
      readonly kind: 'step'
      readonly attempt: number
      readonly step: Step
      readonly client: number
      readonly sha256: string
    }
  | { readonly kind: 'advanced'; readonly attempt: number; readonly step: Step }
  | CommitEvent
  | { readonly kind: 'abandoned'; readonly round: number; readonly attempt: number; readonly why: string }
  | { readonly kind: 'ended'; readonly why: string }

export interface OpenEvent {
  readonly kind: 'open'
  readonly round: number
  /** Counted over the run: no two tries of a round have the same. */
  readonly attempt: number
  /** SHA-256 of the model message. */
  readonly base: string
  readonly cohort: readonly string[]
  /** How many had joined: the first so many are the roster. */
  readonly members: number
}

export interface CommitEvent {
  readonly kind: 'commit'
  readonly round: number
  readonly attempt: number
  /** SHA-256 of the state after it. */
  readonly state: string
  readonly clients: readonly string[]
  readonly entry: RoundFigures
  readonly spent?: Spending
}

/** What is shown of a round. Norms are of updates before they were bounded. */
export interface RoundFigures {
  readonly ms: number
  /** Of a secure sum, once all inputs were there. */
  readonly sumMs?: number
  readonly bound?: number
  readonly bounded?: number
  readonly score?: number
  readonly rule: string
}

export interface Member {
  readonly key: string
  readonly invitation: string
  readonly group?: string
}

/** A round that is not over. */
export interface OpenState extends OpenEvent {
  /** SHA-256 of the update by client. */
  readonly accepted: Map<string, string>
  /** Messages of a secure sum in the order in which they came, and where a step ended. */
  readonly sum: (Extract<Event, { kind: 'step' }> | Extract<Event, { kind: 'advanced' }>)[]
}

/** All that a journal tells. */
export interface Told {
  readonly members: Member[]
  readonly commits: CommitEvent[]
  open?: OpenState
  attempts: number
  /** By client: the last update that was taken, and whether it is in the model. */
  readonly last: Map<string, { readonly round: number; readonly attempt: number; readonly isIncluded: boolean }>
  /** Updates that were taken, as `attempt key`, and their hashes: the same again gets the same receipt. */
  readonly receipts: Map<string, string>
  ended?: string
}

export const nothingTold = (): Told => ({
  members: [],
  commits: [],
  attempts: 0,
  last: new Map(),
  receipts: new Map()
})

/** Receipts of so many attempts are remembered. */
const remembered = 8

/** Adds what an event changes. */
export function apply(t: Told, e: Event): void {
  if (e.kind === 'joined') t.members.push(e)
  if (e.kind === 'open') {
    t.open = { ...e, accepted: new Map(), sum: [] }
    t.attempts = e.attempt + 1
    for (const place of t.receipts.keys())
      if (Number(place.split(' ')[0]) < e.attempt - remembered) t.receipts.delete(place)
  }
  if (e.kind === 'accepted' && t.open?.attempt === e.attempt) {
    t.open.accepted.set(e.key, e.sha256)
    t.receipts.set(`${e.attempt} ${e.key}`, e.sha256)
  }
  if ((e.kind === 'step' || e.kind === 'advanced') && t.open?.attempt === e.attempt) t.open.sum.push(e)
  if (e.kind === 'commit' || e.kind === 'abandoned') {
    const included = new Set(e.kind === 'commit' ? e.clients : [])
    for (const key of t.open?.accepted.keys() ?? [])
      t.last.set(key, { round: e.round, attempt: e.attempt, isIncluded: included.has(key) })
    delete t.open
  }
  if (e.kind === 'commit') t.commits.push(e)
  if (e.kind === 'ended') t.ended = e.why
}

/** A round that is open, as clients are told it. */
export type OpenTold = Omit<OpenRound, 'state' | 'version' | 'leftMs' | 'bytes' | 'mine'>
