/** Sums of clients in one process, for tests: every message goes through bytes, and any of them can be lost or changed. */
import { rng } from '../../base/random.ts'
import { type ClientState, forget, makeConsistency, makeKeys, makeMasked, makeShares, makeUnmask } from './client.ts'
import { signerOf } from './crypto.ts'
import { modulusBits } from './fixed.ts'
import { type Step, steps } from './messages.ts'
import { type SecureServer, secureServer } from './server.ts'
import { agreedOf, type SecureSetup, signRoster } from './setup.ts'
import type { SecureCrypto, Signer } from './types.ts'

export interface Case {
  readonly crypto: SecureCrypto
  readonly setup: SecureSetup
  readonly signers: readonly Signer[]
  readonly inputs: readonly Uint32Array[]
  readonly organiser: Uint8Array
}

/** `random` of the crypto by a seed, so that two implementations can be held against each other. */
export function withSeed(crypto: SecureCrypto, seed: string): SecureCrypto {
  const random = rng(seed)
  return { ...crypto, random: (count) => Uint8Array.from({ length: count }, () => random.below(256)) }
}

export async function caseOf(crypto: SecureCrypto, n: number, length: number, bits = 8): Promise<Case> {
  const random = rng(`case ${n} ${length}`)
  const seeds = Array.from({ length: n }, () => Uint8Array.from({ length: 32 }, () => random.below(256)))
  const organiserSeed = Uint8Array.from({ length: 32 }, () => random.below(256))
  const unsorted = await Promise.all(seeds.map((s) => signerOf(crypto, s)))
  const run = new Uint8Array(16).fill(7)
  const roster = await signRoster(
    crypto,
    organiserSeed,
    run,
    unsorted.map((s) => s.key)
  )
  const signers = roster.keys.map((k) => unsorted.find((s) => s.key.join() === k.join()) as Signer)
  const fixed = { clip: 1, bits, maxWeight: 1 }
  const top = 2 ** bits - 1
  return {
    crypto,
    signers,
    organiser: await crypto.signingKey(organiserSeed),
    setup: {
      ...{ run, round: 3, model: new Uint8Array(32).fill(1), codec: new Uint8Array(32).fill(2), fixed, length, roster },
      cohort: roster.keys.map((_, i) => i)
    },
    inputs: Array.from({ length: n }, () => Uint32Array.from({ length }, () => random.below(top + 1)))
  }
}

export interface Ran {
  readonly server: SecureServer
  /** By step and client, what was sent. */
  readonly sent: ReadonlyMap<Step, ReadonlyMap<number, Uint8Array>>
  readonly states: readonly (ClientState | undefined)[]
}

/** Runs the protocol; `drops(step, client)`: the client is gone from this step on. */
export async function runSum(c: Case, drops: (step: Step, client: number) => boolean = () => false): Promise<Ran> {
  const { crypto, setup } = c
  const agreed = await agreedOf(crypto, setup)
  const common = { crypto, agreed }
  const server = secureServer(common)
  const states: (ClientState | undefined)[] = []
  const sent = new Map<Step, Map<number, Uint8Array>>()
  const gone = new Set<number>()
  for (const step of steps) {
    const messages = new Map<number, Uint8Array>()
    for (const client of setup.cohort) {
      if (drops(step, client)) gone.add(client)
      if (gone.has(client)) continue
      const told = server.messageFor(client)
      const signer = c.signers[client] as Signer
      const next = await {
        keys: () => makeKeys(common, client, signer),
        shares: () => makeShares(common, states[client] as ClientState, told),
        masked: () =>
          makeMasked(common, states[client] as ClientState, told, Promise.resolve(c.inputs[client] as Uint32Array)),
        consistency: () => makeConsistency(common, states[client] as ClientState, told, signer),
        unmask: () => makeUnmask(common, states[client] as ClientState, told)
      }[step]()
      states[client] = next
      messages.set(client, next.message)
      await server.receive(client, next.message)
    }
    sent.set(step, messages)
    await server.advance()
  }
  for (const state of states) if (state) forget(state)
  return { server, sent, states }
}

/** The plain sum of the inputs of some clients, mod 2^b. */
export function plainSum(c: Case, clients: readonly number[]): Uint32Array {
  const most = 2 ** modulusBits(c.setup.fixed, c.setup.cohort.length) - 1
  const sum = new Uint32Array(c.setup.length)
  for (const k of clients)
    for (let i = 0; i < sum.length; i++)
      sum[i] = ((sum[i] as number) + ((c.inputs[k] as Uint32Array)[i] as number)) & most
  return sum
}
