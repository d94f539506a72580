/** A client's part in a secure sum from beginning to end, with a state that outlives the process. */
import { PareError } from '../../base/errors.ts'
import {
  type ClientState,
  forget,
  makeConsistency,
  makeKeys,
  makeMasked,
  makeShares,
  makeUnmask,
  stepOf
} from './client.ts'
import { type Step, steps } from './messages.ts'
import { agreedOf, checkSetup, type SecureSetup, type Terms } from './setup.ts'
import type { SecureCrypto, Signer } from './types.ts'

/** To the server and back. */
export interface SecureChannel {
  /** Resolves once the message is accepted; the same bytes may be sent again. */
  send(step: Step, message: Uint8Array): Promise<void>
  /** What the server has for this client in a step, as soon as there is something. Throws `E_LATE` once the client has dropped out. */
  receive(step: Step): Promise<Uint8Array>
}

/** A place for one state, of which a reader sees the old or the new one whole, also after a loss of power. */
export interface Vault {
  read(): Promise<Uint8Array | undefined>
  write(bytes: Uint8Array): Promise<void>
  remove(): Promise<void>
}

export interface Part {
  readonly crypto: SecureCrypto
  readonly setup: SecureSetup
  readonly terms: Omit<Terms, 'key'>
  readonly signer: Signer
  /** Words of this client. Keys and shares are exchanged while they are made. */
  readonly input: Promise<Uint32Array>
  readonly channel: SecureChannel
  readonly vault: Vault
}

/**
 * Takes part in one sum. Every message is kept before it is first sent, and a client that was killed sends the very same
 * again. Throws `E_PRIVACY` or `E_SIGNATURE` where it leaves because of what the server did, `E_LATE` where it was too slow.
 */
export async function takePart(o: Part): Promise<void> {
  const { crypto, setup, signer, channel, vault } = o
  const client = await checkSetup(crypto, setup, { ...o.terms, key: signer.key })
  const agreed = await agreedOf(crypto, setup)
  const common = { crypto, agreed }
  const next: Readonly<Record<Step, (state: ClientState, told: Uint8Array) => Promise<ClientState>>> = {
    keys: async () => makeKeys(common, client, signer),
    shares: (state, told) => makeShares(common, state, told),
    masked: (state, told) => makeMasked(common, state, told, o.input),
    consistency: (state, told) => makeConsistency(common, state, told, signer),
    unmask: (state, told) => makeUnmask(common, state, told)
  }
  const kept = await vault.read()
  let state = kept ? readState(kept, agreed.context) : undefined
  try {
    if (state) await channel.send(stepOf(state), state.message)
    for (const step of steps.slice(state?.done ?? 0)) {
      const told: Uint8Array = step === 'keys' ? new Uint8Array(0) : await channel.receive(step)
      state = await next[step](state as ClientState, told)
      await vault.write(writeState(state, agreed.context))
      await channel.send(step, state.message)
    }
  } finally {
    if (state) forget(state)
  }
  await vault.remove()
}

// ---------------------------------------------------------------- a state as bytes

const encode = (bytes: Uint8Array): string => {
  let text = ''
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192))
  return btoa(text)
}
const decode = (text: string): Uint8Array => Uint8Array.from(atob(text), (c) => c.charCodeAt(0))

/** The state with the context that it belongs to. */
export function writeState(state: ClientState, context: Uint8Array): Uint8Array {
  const text = JSON.stringify({ context, ...state }, (_, value: unknown) => {
    if (value instanceof Uint8Array) return { $bytes: encode(value) }
    return value instanceof Map ? { $map: [...value] } : value
  })
  return new TextEncoder().encode(text)
}

/** Throws `E_CONFLICT` where the state is of a sum in which something else was agreed. */
export function readState(bytes: Uint8Array, context: Uint8Array): ClientState {
  const { context: its, ...state } = JSON.parse(new TextDecoder().decode(bytes), (_, value: unknown) => {
    if (typeof value !== 'object' || value === null) return value
    if ('$bytes' in value) return decode(value.$bytes as string)
    return '$map' in value ? new Map(value.$map as [number, Uint8Array][]) : value
  }) as ClientState & { readonly context: Uint8Array }
  if (its.join() === context.join()) return state
  throw new PareError('E_CONFLICT', 'what this client has kept is of a sum in which something else was agreed', {
    hint: 'the server has changed the round; this client takes no part in it'
  })
}
