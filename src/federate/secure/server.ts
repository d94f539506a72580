/**
 * The server of a secure sum. It takes messages step by step, holds one sum and what it takes to remove the masks, and learns the
 * sum alone. Messages that it took in the same order of steps bring it to the same state, whatever their order in a step, so
 * that a server that was killed goes on from a journal of messages.
 */
import { equalBytes } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import { holdersAmong, neededOf } from './client.ts'
import { unpackWords } from './fixed.ts'
import { addMask, ownKey, pairKey, seedHash } from './masks.ts'
import {
  keysText,
  readKeys,
  readShares,
  readUnmask,
  type Shares,
  type Step,
  steps,
  survivorsText,
  type Unmask,
  writeList,
  writeSet
} from './messages.ts'
import type { Agreed } from './setup.ts'
import { joinShares, type Share } from './shamir.ts'
import type { SecureCrypto } from './types.ts'

export interface SecureServer {
  /** The step whose messages it takes; `done`: the sum is there. */
  readonly step: Step | 'done'
  /** Who sent the messages of this step so far. */
  readonly senders: ReadonlySet<number>
  /** Who is asked in this step: those who sent the message of the last. */
  readonly asked: ReadonlySet<number>
  /** What a client is sent in this step; empty in the first. Throws `E_LATE` for one that is not asked. */
  messageFor(client: number): Uint8Array
  /** Takes the message of a client. Throws `E_LATE`, `E_CONFLICT`, `E_MESSAGE`, `E_SIGNATURE`, and then has not changed. */
  receive(client: number, message: Uint8Array): Promise<void>
  /** Ends a step with who has answered. Throws `E_PRIVACY` where too few have: then the sum can never be made. */
  advance(): Promise<void>
  /** The sum of the inputs of `clients`, of words. Throws before it is there. */
  result(): { readonly sum: Uint32Array; readonly clients: readonly number[] }
}

interface Memory {
  step: number
  asked: Set<number>
  senders: Set<number>
  /** Messages of the first step, shares, signatures, and shares for the end. */
  readonly keys: Map<number, Uint8Array>
  readonly shares: Map<number, Shares>
  readonly signatures: Map<number, Uint8Array>
  readonly unmask: Map<number, Unmask>
  holders: ReadonlyMap<number, readonly number[]>
  readonly sum: Uint32Array
  survivors: readonly number[]
}

interface Common {
  readonly crypto: SecureCrypto
  readonly agreed: Agreed
}

export function secureServer(o: Common): SecureServer {
  const n = o.agreed.keys.length
  const all = Array.from({ length: n }, (_, i) => i)
  const m: Memory = {
    step: 0,
    asked: new Set(all),
    senders: new Set(),
    keys: new Map(),
    shares: new Map(),
    signatures: new Map(),
    unmask: new Map(),
    holders: new Map(),
    sum: new Uint32Array(o.agreed.length),
    survivors: []
  }
  const now = (): Step | 'done' => steps[m.step] ?? 'done'
  // One message after another, and none while a step ends.
  let last: Promise<unknown> = Promise.resolve()
  const inTurn = (run: () => Promise<void>): Promise<void> => {
    const turn = last.then(run)
    last = turn.catch(() => undefined)
    return turn
  }
  return {
    get step() {
      return now()
    },
    get senders() {
      return m.senders
    },
    get asked() {
      return m.asked
    },
    messageFor: (client) => {
      if (!m.asked.has(client)) throw new PareError('E_LATE', `client ${client} has dropped out of this sum`)
      return messageFor(m, client)
    },
    receive: (client, message) =>
      inTurn(async () => {
        const step = now()
        if (step === 'done' || !m.asked.has(client))
          throw new PareError('E_LATE', `client ${client} is not asked in this step`)
        if (m.senders.has(client))
          throw new PareError('E_CONFLICT', `client ${client} has sent its message of this step`)
        await take[step](o, m, client, message)
        m.senders.add(client)
      }),
    advance: () => inTurn(() => advance(o, m)),
    result: () => {
      if (now() !== 'done') throw new PareError('E_PRIVACY', 'the sum is not there yet')
      return { sum: m.sum, clients: m.survivors }
    }
  }
}

async function advance(o: Common, m: Memory): Promise<void> {
  const step = steps[m.step]
  const { agreed } = o
  if (step === undefined) return
  if (m.senders.size < agreed.threshold)
    throw new PareError(
      'E_PRIVACY',
      `${m.senders.size} clients are left of ${agreed.keys.length}; ${agreed.threshold} are needed for a sum`,
      { hint: 'the round is given up; nothing was revealed' }
    )
  const rising = [...m.senders].sort((a, b) => a - b)
  if (step === 'keys') m.holders = await holdersAmong(o, new Map(rising.map((c) => [c, m.keys.get(c) as Uint8Array])))
  if (step === 'masked') m.survivors = rising
  if (step === 'unmask') await unmask(o, m)
  m.step++
  m.asked = new Set(rising)
  m.senders = new Set()
}

function messageFor(m: Memory, client: number): Uint8Array {
  const step = steps[m.step]
  if (step === 'shares') return writeList(new Map([...m.keys].filter(([c]) => m.asked.has(c))))
  if (step === 'masked') {
    const mine = [...m.shares].flatMap(([from, s]) => {
      const sealed = s.sealed.get(client)
      return sealed && m.asked.has(from) ? [[from, sealed] as const] : []
    })
    return writeList(new Map(mine))
  }
  if (step === 'consistency') return writeSet(m.survivors)
  if (step === 'unmask') return writeList(m.signatures)
  return new Uint8Array(0)
}

type Take = (o: Common, m: Memory, client: number, message: Uint8Array) => Promise<void>

const isSigned = (
  { crypto, agreed }: Common,
  client: number,
  text: Uint8Array,
  signature: Uint8Array
): Promise<boolean> => crypto.verify(agreed.keys[client] as Uint8Array, text, signature)

const forged = (client: number, what: string): PareError =>
  new PareError('E_SIGNATURE', `client ${client}: ${what}`, {
    hint: 'it may have been told another model or other clients'
  })

const odd = (client: number, what: string): PareError => new PareError('E_MESSAGE', `client ${client}: ${what}`)

/** Checks and keeps a message, by step. */
const take: Readonly<Record<Step, Take>> = {
  keys: async (o, m, client, message) => {
    const { seal, mask, signature } = readKeys(message)
    if (!(await isSigned(o, client, keysText(o.agreed.context, client, seal, mask), signature)))
      throw forged(client, 'its keys are not signed for this round')
    m.keys.set(client, message.slice())
  },
  shares: async (o, m, client, message) => {
    const shares = readShares(message, o.agreed.keys.length)
    const expected = (m.holders.get(client) as readonly number[]).filter((h) => h !== client)
    if (expected.length !== shares.sealed.size || expected.some((h) => !shares.sealed.has(h)))
      throw odd(client, 'its shares are not for its neighbours')
    m.shares.set(client, shares)
  },
  masked: async (o, m, _, message) => {
    const { bits, length } = o.agreed
    const words = unpackWords(message, bits, length)
    const most = 2 ** bits - 1
    for (let i = 0; i < length; i++) m.sum[i] = ((m.sum[i] as number) + (words[i] as number)) & most
  },
  consistency: async (o, m, client, message) => {
    if (message.length !== 64) throw odd(client, 'a signature has 64 bytes')
    if (!(await isSigned(o, client, survivorsText(o.agreed.context, writeSet(m.survivors)), message)))
      throw forged(client, 'it has not signed the list of inputs')
    m.signatures.set(client, message.slice())
  },
  unmask: async (o, m, client, message) => {
    const given = readUnmask(message, o.agreed.keys.length)
    const there = new Set(m.survivors)
    const isWell = (owner: number, isThere: boolean): boolean =>
      m.shares.has(owner) && there.has(owner) === isThere && (m.holders.get(owner)?.includes(client) ?? false)
    for (const owner of given.seeds.keys())
      if (!isWell(owner, true)) throw odd(client, 'a share of a seed that was not asked for')
    for (const owner of given.maskKeys.keys())
      if (!isWell(owner, false)) throw odd(client, 'a share of a key that was not asked for')
    m.unmask.set(client, given)
  }
}

// ---------------------------------------------------------------- the end

/** Takes the own masks of those who are there out of the sum, and what masks of those who are not have left in it. */
async function unmask(o: Common, m: Memory): Promise<void> {
  const { crypto, agreed } = o
  const sum = m.sum.slice()
  const own = await Promise.all(
    m.survivors.map(async (client) => {
      const hash = (m.shares.get(client) as Shares).seedHash
      const seed = await rebuilt(o, m, client, 'seeds', async (s) =>
        equalBytes(await seedHash(crypto, agreed.context, s), hash)
      )
      const key = await ownKey(crypto, agreed.context, seed)
      seed.fill(0)
      return key
    })
  )
  for (const key of own) await addMask(crypto, sum, agreed.bits, key, -1)
  for (const client of m.shares.keys()) {
    if (m.survivors.includes(client)) continue
    const key = readKeys(m.keys.get(client) as Uint8Array).mask
    const secret = await rebuilt(o, m, client, 'maskKeys', async (s) => equalBytes(await crypto.agreementKey(s), key))
    for (const other of m.survivors) {
      if (!m.holders.get(client)?.includes(other)) continue
      const theirs = readKeys(m.keys.get(other) as Uint8Array).mask
      const mask = await pairKey(crypto, agreed.context, secret, theirs)
      // The other had added this where the client's number is the greater, and taken it off where it is not.
      await addMask(crypto, sum, agreed.bits, mask, client > other ? -1 : 1)
    }
    secret.fill(0)
  }
  m.sum.set(sum)
}

/** A secret of its shares; where one of them is wrong, it is found by leaving each out. Throws `E_PRIVACY`. */
async function rebuilt(
  o: Common,
  m: Memory,
  owner: number,
  of: 'seeds' | 'maskKeys',
  isRight: (secret: Uint8Array) => Promise<boolean>
): Promise<Uint8Array> {
  const holders = m.holders.get(owner) as readonly number[]
  const shares = [...m.unmask].flatMap(([holder, given]): Share[] => {
    const bytes = given[of].get(owner)
    return bytes ? [{ x: holders.indexOf(holder) + 1, bytes }] : []
  })
  const needed = neededOf(o.agreed, holders.length)
  if (shares.length < needed)
    throw new PareError(
      'E_PRIVACY',
      `${shares.length} shares of a secret of client ${owner} came back; ${needed} are needed`,
      {
        hint: 'the round is given up; nothing was revealed'
      }
    )
  for (let out = -1; out < shares.length; out++) {
    const chosen = shares.filter((_, i) => i !== out).slice(0, needed)
    if (chosen.length < needed) break
    const secret = joinShares(chosen)
    if (await isRight(secret)) return secret
  }
  throw new PareError('E_PRIVACY', `shares of a secret of client ${owner} do not fit together`, {
    hint: 'a client did not follow the protocol; the round is given up'
  })
}
