/**
 * What all clients of a secure sum must agree on. Its hash, the context, goes into every signature, key and sealed message:
 * where the server tells two clients different things, their keys do not fit and their masks do not cancel.
 */
import { equalBytes } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import { fields, label } from './fields.ts'
import { type FixedPoint, modulusBits } from './fixed.ts'
import type { Curves, SecureCrypto } from './types.ts'

/** All who may take part in a run, by their Ed25519 keys in rising order, and the organiser's signature of that. */
export interface Roster {
  readonly keys: readonly Uint8Array[]
  readonly signature: Uint8Array
}

export interface SecureSetup {
  /** 16 bytes. */
  readonly run: Uint8Array
  readonly round: number
  /** SHA-256 of the bytes of the model that the client itself trained from. */
  readonly model: Uint8Array
  /** SHA-256 of whatever else must be alike, such as the recipe and the seed of a common mask. */
  readonly codec: Uint8Array
  readonly fixed: FixedPoint
  /** Words of an input, its weight among them. */
  readonly length: number
  readonly roster: Roster
  /** Places in the roster of those who are asked in this round, in rising order. */
  readonly cohort: readonly number[]
}

/** How many of n clients must be there to the end; no two sets of so many could be told different things by a third that lies. */
export const thresholdOf = (clients: number): number => Math.floor((2 * clients) / 3) + 1

/** Clients in one sum, at most. */
export const maxCohort = 4096

const rosterText = (run: Uint8Array, keys: readonly Uint8Array[]): Uint8Array =>
  fields(label('pare roster 1'), run, [keys.length, 4], ...keys)

const rising = (a: Uint8Array, b: Uint8Array): number => {
  for (let i = 0; i < 32; i++) if (a[i] !== b[i]) return (a[i] as number) - (b[i] as number)
  return 0
}

/** A signed roster of the keys, in rising order. Throws `E_SIGNATURE` where a key is there twice. */
export async function signRoster(
  crypto: Curves,
  organiser: Uint8Array,
  run: Uint8Array,
  keys: readonly Uint8Array[]
): Promise<Roster> {
  const sorted = [...keys].sort(rising)
  if (!areDistinct(sorted)) throw new PareError('E_SIGNATURE', 'a key stands in the roster twice')
  return { keys: sorted, signature: await crypto.sign(organiser, rosterText(run, sorted)) }
}

const areDistinct = (sorted: readonly Uint8Array[]): boolean =>
  sorted.every((k, i) => i === 0 || rising(sorted[i - 1] as Uint8Array, k) < 0)

/** Throws `E_SIGNATURE` unless the organiser signed this roster of this run. */
export async function checkRoster(
  crypto: Curves,
  organiser: Uint8Array,
  run: Uint8Array,
  { keys, signature }: Roster
): Promise<void> {
  const isWell = keys.every((k) => k.length === 32) && areDistinct(keys)
  if (!isWell || !(await crypto.verify(organiser, rosterText(run, keys), signature)))
    throw new PareError('E_SIGNATURE', 'the list of clients is not signed by the organiser of this run', {
      hint: 'ask the organiser whether the invitation is of this run'
    })
}

/** What a client itself insists on. */
export interface Terms {
  /** The organiser's Ed25519 key, from the invitation. */
  readonly organiser: Uint8Array
  /** Its own Ed25519 key. */
  readonly key: Uint8Array
  /** Its update is never in a sum over fewer clients. */
  readonly floor: number
}

/** The client's own number in the sum. Throws `E_SIGNATURE`, `E_PRIVACY` or `E_MESSAGE` where the setup is not within its terms. */
export async function checkSetup(crypto: Curves, setup: SecureSetup, terms: Terms): Promise<number> {
  await checkRoster(crypto, terms.organiser, setup.run, setup.roster)
  const { cohort, roster } = setup
  const isWell = cohort.every((c, i) => Number.isInteger(c) && c < roster.keys.length && c > (cohort[i - 1] ?? -1))
  if (!isWell || cohort.length > maxCohort)
    throw new PareError('E_MESSAGE', 'the clients of the round are no rising places of the list')
  const least = thresholdOf(cohort.length)
  if (least < terms.floor || least < 2)
    throw new PareError(
      'E_PRIVACY',
      `the sum could be over ${least} clients; this client takes part in sums of ${Math.max(2, terms.floor)} or more`,
      {
        hint: 'wait until more clients have joined, or lower --floor if you accept that'
      }
    )
  const own = cohort.findIndex((c) => equalBytes(roster.keys[c] as Uint8Array, terms.key))
  if (own < 0) throw new PareError('E_MESSAGE', 'this client was not asked in this round')
  return own
}

/** Everything that steps of the protocol ask of a setup. */
export interface Agreed {
  readonly context: Uint8Array
  readonly keys: readonly Uint8Array[]
  readonly threshold: number
  /** Bits of a word in the sum. */
  readonly bits: number
  readonly length: number
}

export async function agreedOf(crypto: SecureCrypto, setup: SecureSetup): Promise<Agreed> {
  const keys = setup.cohort.map((c) => setup.roster.keys[c] as Uint8Array)
  const threshold = thresholdOf(keys.length)
  const bits = modulusBits(setup.fixed, keys.length)
  const clip = new Uint8Array(Float64Array.of(setup.fixed.clip).buffer)
  const text = fields(
    label('pare secure sum 1'),
    setup.run,
    [setup.round, 4],
    setup.model,
    setup.codec,
    clip,
    [setup.fixed.bits, 1],
    [setup.fixed.maxWeight, 4],
    [setup.length, 4],
    [bits, 1],
    [threshold, 2],
    setup.roster.signature,
    [keys.length, 2],
    ...keys
  )
  return { context: await crypto.sha256(text), keys, threshold, bits, length: setup.length }
}
