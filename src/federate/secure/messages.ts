/** The messages of a secure sum, byte by byte. Clients are numbers: places among the clients that the round asks. */

import { PareError } from '../../base/errors.ts'
import { fields, label, readFields } from './fields.ts'

/** Steps of a client, in order; each is one message. */
export const steps = ['keys', 'shares', 'masked', 'consistency', 'unmask'] as const
export type Step = (typeof steps)[number]

/** A client's keys of one round: to seal messages, and to make masks; signed with the key that the roster names. */
export interface Keys {
  readonly seal: Uint8Array
  readonly mask: Uint8Array
  readonly signature: Uint8Array
}
export const keysBytes = 128

export const keysText = (context: Uint8Array, client: number, seal: Uint8Array, mask: Uint8Array): Uint8Array =>
  fields(label('keys'), context, [client, 2], seal, mask)

export const writeKeys = (k: Keys): Uint8Array => fields(k.seal, k.mask, k.signature)
export function readKeys(message: Uint8Array): Keys {
  const r = readFields(message, 'a message with keys')
  const keys = { seal: r.bytes(32), mask: r.bytes(32), signature: r.bytes(64) }
  r.end()
  return keys
}

/** Lists of what clients sent, each of the same size, by rising number. */
export type ByClient = ReadonlyMap<number, Uint8Array>

export const writeList = (list: ByClient): Uint8Array =>
  fields(
    [list.size, 2],
    ...[...list].sort(([a], [b]) => a - b).flatMap(([client, bytes]) => [[client, 2] as const, bytes])
  )

/** Throws `E_MESSAGE` for numbers that do not rise or are not below `clients`. */
export function readList(message: Uint8Array, size: number, clients: number, what: string): Map<number, Uint8Array> {
  const r = readFields(message, what)
  const count = r.number(2)
  const out = new Map<number, Uint8Array>()
  let last = -1
  for (let i = 0; i < count; i++) {
    const client = r.number(2)
    if (client <= last || client >= clients) throw new PareError('E_MESSAGE', `${what} names clients out of order`)
    last = client
    out.set(client, r.bytes(size))
  }
  r.end()
  return out
}

/** A sealed pair of shares: 2 + 2 bytes of numbers, 32 + 32 of shares, 16 of the seal. */
export const sealedBytes = 2 + 2 + 32 + 32 + 16

/** What a client sends for its holders, and the hash of the seed of its own mask, by which the server knows that it has it back. */
export interface Shares {
  readonly seedHash: Uint8Array
  readonly sealed: ByClient
}

export const writeShares = (s: Shares): Uint8Array => fields(s.seedHash, writeList(s.sealed))
export const readShares = (message: Uint8Array, clients: number): Shares => ({
  seedHash: message.slice(0, 32),
  sealed: readList(message.subarray(32), sealedBytes, clients, 'a message with shares')
})

/** Who sent a masked input, as numbers in rising order. */
export const writeSet = (clients: readonly number[]): Uint8Array =>
  writeList(new Map(clients.map((c) => [c, new Uint8Array(0)])))
export const readSet = (message: Uint8Array, clients: number): number[] => [
  ...readList(message, 0, clients, 'a list of clients').keys()
]

export const survivorsText = (context: Uint8Array, set: Uint8Array): Uint8Array =>
  fields(label('survivors'), context, set)

/** Shares that a client gives in the end: of own masks of those who sent their input, and of mask keys of those who did not. */
export interface Unmask {
  readonly seeds: ByClient
  readonly maskKeys: ByClient
}

export function writeUnmask(u: Unmask): Uint8Array {
  const seeds = writeList(u.seeds)
  return fields([seeds.length, 4], seeds, writeList(u.maskKeys))
}

export function readUnmask(message: Uint8Array, clients: number): Unmask {
  const what = 'a message with shares for the end'
  const length = readFields(message, what).number(4)
  if (length > message.length - 4) throw new PareError('E_MESSAGE', `${what} is cut short`)
  return {
    seeds: readList(message.subarray(4, 4 + length), 32, clients, what),
    maskKeys: readList(message.subarray(4 + length), 32, clients, what)
  }
}
