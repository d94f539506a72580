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
import { fixedOf, type OpenRound, type RunInfo, type SecureOptions } from './forms.ts'
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
    fixed: fixedOf(info.secure),
    // One more word is the sum of weights.
    length: numbers + 1,
    roster: { keys: roster.map(fromHex), signature: fromHex(signature) },
    cohort
  }
}

/** The numbers of an update that are summed: those of the mask, in order. */
export const masked = (values: Float32Array, mask: Uint8Array | undefined): Float32Array =>
  mask ? values.filter((_, i) => mask[i] === 1) : values

/** Trains, and puts the update into the sum of the round; keys and shares are exchanged while it trains. */
export async function inSecureSum(at: At, told: OpenRound): Promise<void> {
  const { o, requests, info } = at
  const { crypto, store } = o
  const place = `/v1/secure/${told.round}/${told.attempt}`
  const message = await messageOf(at, told)
  const { manifest } = at.local
  const { mask, support } = await decodeMessage(message, { manifest, kind: 'model' })
  const where = mask ?? support
  const numbers = masked(new Float32Array(manifest.size), where).length
  const setup = await setupOf(crypto, { ...info, secure: info.secure as SecureOptions }, told, numbers)
  const stop = new AbortController()
  const signal = o.signal ? AbortSignal.any([o.signal, stop.signal]) : stop.signal
  const made = inputOf({ ...at, o: { ...o, signal } }, told, message, where)
  const input = made.then((m) => m.input)
  // A client that leaves the sum asks for it no more.
  input.catch(() => undefined)
  let bytes = 0
  try {
    await takePart({
      ...{ crypto, setup, signer: o.signer, input },
      terms: { organiser: fromHex(info.organiser), floor: o.floor ?? 3 },
      vault: vaultIn(store, `sum-${told.round}-${told.attempt}`),
      channel: {
        send: async (step, body) => {
          await requests.request('PUT', `${place}/${step}`, body)
          bytes += body.length
        },
        receive: (step) => requests.request('GET', `${place}/${step}`)
      }
    })
  } finally {
    // Where the client leaves the sum, training ends before the next round begins.
    stop.abort()
    await made.catch(() => undefined)
  }
  await store.remove('input')
  o.told?.({ kind: 'sent', round: told.round, bytes, loss: (await made).loss })
}

interface Input {
  readonly input: Uint32Array
  readonly loss: number
}

/** The words of this client's update, the same after an end in between. */
async function inputOf(
  at: At,
  { round, attempt, base }: OpenRound,
  message: Uint8Array,
  where: Uint8Array | undefined
): Promise<Input> {
  const { o, local, info } = at
  const kept = await o.store.read('input')
  const old = kept ? unpackRecord(kept) : undefined
  if (old && old.told['base'] === base && old.told['attempt'] === attempt) {
    const words = old.parts['words'] as Uint8Array
    return {
      input: new Uint32Array(words.buffer, words.byteOffset, words.length / 4),
      loss: old.told['loss'] as number
    }
  }
  o.told?.({ kind: 'trains', round })
  // As floats and without a residual: the sum rounds by itself, and what it loses it loses without bias.
  const recipe = { ...at.recipe, up: { codec: 'float' as const }, feedback: false }
  const seed = await seedOf(o)
  const turned = await takeTurn({ local, recipe, message, data: at.data, seed, signal: o.signal })
  const { manifest } = local
  const { values } = await decodeMessage(turned.message, { manifest, kind: 'update', mask: where })
  const fixed = fixedOf(info.secure as SecureOptions)
  const batches = Math.round(turned.samples / at.recipe.local.batch)
  const weight = Math.min(fixed.maxWeight, Math.max(1, batches))
  const update = masked(info.bound === undefined ? values : boundedUpdate(values, info.bound), where)
  const input = toWords(update, weight, fixed, secureWords())
  const bytes = new Uint8Array(input.buffer, input.byteOffset, input.byteLength)
  await o.store.write('input', packRecord({ base, attempt, loss: turned.loss }, { words: bytes }))
  return { input, loss: turned.loss }
}

const vaultIn = (store: Store, name: string): Vault => ({
  read: () => store.read(name),
  write: (bytes) => store.write(name, bytes),
  remove: () => store.remove(name)
})
