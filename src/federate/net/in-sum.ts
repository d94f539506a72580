/** A client's round where the server learns the sum alone. */
import { fromHex } from '../../base/hex.ts'
import { takeTurn } from '../client.ts'
import { secureWords } from '../privacy/gaussian.ts'
import { boundedUpdate } from '../robust.ts'
import { fields } from '../secure/fields.ts'
import { toWords } from '../secure/fixed.ts'
import { takePart, type Vault } from '../secure/part.ts'
import type { SecureSetup } from '../secure/setup.ts'
import type { SecureCrypto } from '../secure/types.ts'
import { decodeMessage } from '../wire.ts'
import { type At, messageOf, seedOf } from './at.ts'
import type { OpenRound, RunInfo, SecureOptions } from './forms.ts'
import { packRecord, type Store, unpackRecord } from './store.ts'

/** What clients and server agree on in a round, each made from what it knows itself. */
export async function setupOf(
  crypto: SecureCrypto,
  info: Pick<RunInfo, 'run' | 'recipe'> & { readonly secure: SecureOptions },
  told: Omit<OpenRound, 'state' | 'version' | 'leftMs' | 'bytes' | 'mine'>,
  numbers: number
): Promise<SecureSetup> {
  const { roster, signature, cohort } = told.secure as NonNullable<OpenRound['secure']>
  const recipe = new TextEncoder().encode(JSON.stringify(info.recipe))
  return {
    run: fromHex(info.run),
    round: told.round,
    model: fromHex(told.base),
    codec: await crypto.sha256(fields([told.attempt, 4], recipe)),
    fixed: { clip: info.secure.clip, bits: info.secure.bits, maxWeight: 1 },
    // One more word counts the clients.
    length: numbers + 1,
    roster: { keys: roster.map(fromHex), signature: fromHex(signature) },
    cohort
  }
}

/** The numbers of an update that are summed: those of the mask, in order. */
export const masked = (values: Float32Array, mask: Uint8Array | undefined): Float32Array =>
  mask ? values.filter((_, i) => mask[i] === 1) : values

/** Trains, and puts the update into the sum of the round. */
export async function inSecureSum(at: At, told: OpenRound): Promise<void> {
  const { o, requests, info } = at
  const { crypto, store } = o
  const place = `/v1/secure/${told.round}/${told.attempt}`
  const { input, loss } = await inputOf(at, told)
  const setup = await setupOf(crypto, { ...info, secure: info.secure as SecureOptions }, told, input.length - 1)
  let bytes = 0
  await takePart({
    ...{ crypto, setup, signer: o.signer, input },
    terms: { organiser: fromHex(info.organiser), floor: o.floor ?? 3 },
    vault: vaultIn(store, `sum-${told.round}-${told.attempt}`),
    channel: {
      send: async (step, message) => {
        await requests.request('PUT', `${place}/${step}`, message)
        bytes += message.length
      },
      receive: (step) => requests.request('GET', `${place}/${step}`)
    }
  })
  await store.remove('input')
  o.told?.({ kind: 'sent', round: told.round, bytes, loss })
}

/** The words of this client's update, the same after an end in between. */
async function inputOf(at: At, told: OpenRound): Promise<{ readonly input: Uint32Array; readonly loss: number }> {
  const { o, local, info } = at
  const { round, attempt, base } = told
  const kept = await o.store.read('input')
  const old = kept ? unpackRecord(kept) : undefined
  if (old && old.told['base'] === base && old.told['attempt'] === attempt) {
    const words = old.parts['words'] as Uint8Array
    return {
      input: new Uint32Array(words.buffer, words.byteOffset, words.length / 4),
      loss: old.told['loss'] as number
    }
  }
  const message = await messageOf(at, told)
  o.told?.({ kind: 'trains', round })
  // As floats and without a residual: the sum rounds by itself, and what it loses it loses without bias.
  const recipe = { ...at.recipe, up: { codec: 'float' as const }, feedback: false }
  const seed = await seedOf(o)
  const turned = await takeTurn({ local, recipe, message, data: at.data, seed, signal: o.signal })
  const { manifest } = local
  const { mask, support } = await decodeMessage(message, { manifest, kind: 'model' })
  const where = mask ?? support
  const { values } = await decodeMessage(turned.message, { manifest, kind: 'update', mask: where })
  const { clip, bits } = info.secure as SecureOptions
  const update = masked(info.bound === undefined ? values : boundedUpdate(values, info.bound), where)
  const input = toWords(update, 1, { clip, bits, maxWeight: 1 }, secureWords())
  const bytes = new Uint8Array(input.buffer, input.byteOffset, input.byteLength)
  await o.store.write('input', packRecord({ base, attempt, loss: turned.loss }, { words: bytes }))
  return { input, loss: turned.loss }
}

const vaultIn = (store: Store, name: string): Vault => ({
  read: () => store.read(name),
  write: (bytes) => store.write(name, bytes),
  remove: () => store.remove(name)
})
