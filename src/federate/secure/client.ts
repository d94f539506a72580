/**
 * A client of a secure sum (Bonawitz 2017, ePrint 2017/281, the variant against a server that lies; with neighbours as in
 * Bell 2020). Every step takes the state and what the server sent, and gives the next state with the message to be sent.
 *
 *   y = x + PRG(b) + Σ_{v > u} PRG(s_uv) − Σ_{v < u} PRG(s_uv)  mod 2^bits
 *
 * x: the input; b: the seed of the client's own mask; s_uv: what clients u and v have in common. In the end the others give
 * shares of b where y arrived, or of the key behind the s_uv where it did not, and never both.
 *
 * A state is plain data. It must be kept **before** its message is sent: a second message of a step that differs from the first
 * would give the input away. A step that is done again gives the message that was made the first time.
 */
import { equalBytes } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import { fields } from './fields.ts'
import { packWords } from './fixed.ts'
import { addMask, ownKey, pairKey, sealKey, seedHash } from './masks.ts'
import {
  type ByClient,
  type Keys,
  keysBytes,
  keysText,
  readKeys,
  readList,
  readSet,
  type Step,
  sealedBytes,
  steps,
  survivorsText,
  writeKeys,
  writeShares,
  writeUnmask
} from './messages.ts'
import { completeUpTo, holdersOf, sharesNeeded } from './neighbours.ts'
import type { Agreed } from './setup.ts'
import { splitSecret } from './shamir.ts'
import type { SecureCrypto, Signer } from './types.ts'

/** All that a client remembers of a round. */
export interface ClientState {
  /** Steps whose message was made. */
  readonly done: number
  readonly client: number
  /** Of the last step. */
  readonly message: Uint8Array
  readonly secrets: { readonly seal: Uint8Array; readonly mask: Uint8Array; readonly seed: Uint8Array }
  /** Keys of those who sent theirs. */
  readonly keys?: ByClient
  /** Shares that this client keeps for itself: of its mask key and its seed. */
  readonly own?: Uint8Array
  /** Sealed shares of others, as they came. */
  readonly sealed?: ByClient
  /** The list of who sent an input that this client signed. */
  readonly survivors?: Uint8Array
}

interface Common {
  readonly crypto: SecureCrypto
  readonly agreed: Agreed
}

const nonce = new Uint8Array(12)

/** The holders of everyone's shares, by an order that follows from all keys. */
export async function holdersAmong(
  { crypto, agreed }: Common,
  keys: ByClient
): Promise<ReadonlyMap<number, readonly number[]>> {
  const seed = await crypto.sha256(fields(agreed.context, ...keys.values()))
  return holdersOf([...keys.keys()], seed)
}

/** Shares of a secret that give it. */
export const neededOf = (agreed: Agreed, holders: number): number =>
  agreed.keys.length <= completeUpTo ? agreed.threshold : sharesNeeded(holders)

/** Step 1: fresh keys, signed. */
export async function makeKeys(o: Common, client: number, signer: Signer): Promise<ClientState> {
  const { crypto, agreed } = o
  const secrets = { seal: crypto.random(32), mask: crypto.random(32), seed: crypto.random(32) }
  const [seal, mask] = await Promise.all([crypto.agreementKey(secrets.seal), crypto.agreementKey(secrets.mask)])
  const signature = await signer.sign(keysText(agreed.context, client, seal, mask))
  return { done: 1, client, message: writeKeys({ seal, mask, signature }), secrets }
}

/** Step 2: shares of the mask key and of the seed, sealed for each holder. `list`: keys of all who sent theirs. */
export async function makeShares(o: Common, state: ClientState, list: Uint8Array): Promise<ClientState> {
  if (state.done >= 2) return state
  const { crypto, agreed } = o
  const { client, secrets } = state
  const keys = readList(list, keysBytes, agreed.keys.length, 'the list of keys')
  enough(keys.size, agreed, 'sent keys')
  await checkKeys(o, state, keys)
  const holders = (await holdersAmong(o, keys)).get(client) as readonly number[]
  const needed = neededOf(agreed, holders.length)
  const maskShares = splitSecret(secrets.mask, needed, holders.length, crypto.random)
  const seedShares = splitSecret(secrets.seed, needed, holders.length, crypto.random)
  const pairOf = (i: number): Uint8Array =>
    fields((maskShares[i] as { bytes: Uint8Array }).bytes, (seedShares[i] as { bytes: Uint8Array }).bytes)
  const sealed = await Promise.all(
    holders.flatMap((holder, i) =>
      holder === client ? [] : [sealedFor(o, state, readKeys(keys.get(holder) as Uint8Array), holder, pairOf(i))]
    )
  )
  const own = pairOf(holders.indexOf(client))
  for (const { bytes } of [...maskShares, ...seedShares]) wipe(bytes)
  const hash = await seedHash(crypto, agreed.context, secrets.seed)
  return { ...state, done: 2, keys, own, message: writeShares({ seedHash: hash, sealed: new Map(sealed) }) }
}

async function sealedFor(
  { crypto, agreed }: Common,
  { client, secrets }: ClientState,
  theirs: Keys,
  holder: number,
  pair: Uint8Array
): Promise<readonly [number, Uint8Array]> {
  const key = await sealKey(crypto, agreed.context, secrets.seal, theirs.seal, { from: client, to: holder })
  const text = fields([client, 2], [holder, 2], pair)
  const sealed = await crypto.seal(key, nonce, agreed.context, text)
  wipe(key, pair, text)
  return [holder, sealed]
}

/**
 * Step 3: the input under its masks. `list`: what others sealed for this client. `made`: words below 2^bits, which may still be in
 * the making: masks are expanded before they are there.
 */
export async function makeMasked(
  o: Common,
  state: ClientState,
  list: Uint8Array,
  made: Promise<Uint32Array>
): Promise<ClientState> {
  if (state.done >= 3) return state
  const { crypto, agreed } = o
  const { client, secrets, keys } = expect(state, 2)
  const sealed = readList(list, sealedBytes, agreed.keys.length, 'the list of sealed shares')
  const holders = (await holdersAmong(o, keys)).get(client) as readonly number[]
  for (const from of sealed.keys())
    if (from === client || !holders.includes(from))
      throw broken('the server passes on shares of a client that is no neighbour')
  if (sealed.size + 1 < neededOf(agreed, holders.length))
    throw tooFew(sealed.size + 1, neededOf(agreed, holders.length), 'gave shares')
  const sum = new Uint32Array(agreed.length)
  const own = await ownKey(crypto, agreed.context, secrets.seed)
  await addMask(crypto, sum, agreed.bits, own, 1)
  wipe(own)
  const pairs = await Promise.all(
    [...sealed.keys()].map(async (other) => {
      const theirs = readKeys(keys.get(other) as Uint8Array)
      return { other, key: await pairKey(crypto, agreed.context, secrets.mask, theirs.mask) }
    })
  )
  for (const { other, key } of pairs) {
    await addMask(crypto, sum, agreed.bits, key, other > client ? 1 : -1)
    wipe(key)
  }
  const input = await made
  if (input.length !== agreed.length) throw broken(`the input has ${input.length} words, not ${agreed.length}`)
  const most = 2 ** agreed.bits - 1
  for (let i = 0; i < sum.length; i++) sum[i] = ((sum[i] as number) + (input[i] as number)) & most
  return { ...state, done: 3, sealed, message: packWords(sum, agreed.bits) }
}

/** Step 4: a signature of who sent an input. `set`: their numbers. One list is signed, whatever the server asks later. */
export async function makeConsistency(
  o: Common,
  state: ClientState,
  set: Uint8Array,
  signer: Signer
): Promise<ClientState> {
  if (state.done >= 4) return state
  const { agreed } = o
  const { client, sealed, keys } = expect(state, 3)
  const survivors = readSet(set, agreed.keys.length)
  enough(survivors.length, agreed, 'sent their input')
  if (!survivors.includes(client)) throw broken('the server leaves out this client, whose input it has')
  const holders = (await holdersAmong(o, keys)).get(client) as readonly number[]
  for (const other of survivors)
    if (!keys.has(other) || (other !== client && holders.includes(other) && !sealed?.has(other)))
      throw broken('the server counts a client that has given no shares')
  return { ...state, done: 4, survivors: set.slice(), message: await signer.sign(survivorsText(agreed.context, set)) }
}

/** Step 5: shares, of the seeds of those who sent an input, and of the mask keys of others. `list`: signatures of step 4. */
export async function makeUnmask(o: Common, state: ClientState, list: Uint8Array): Promise<ClientState> {
  if (state.done >= 5) return state
  const { crypto, agreed } = o
  const { client, secrets, keys, sealed = new Map<number, Uint8Array>(), survivors, own } = expect(state, 4)
  await checkSignatures(o, readList(list, 64, agreed.keys.length, 'the list of signatures'), survivors as Uint8Array)
  const there = new Set(readSet(survivors as Uint8Array, agreed.keys.length))
  const seeds = new Map([[client, (own as Uint8Array).slice(32)]])
  const maskKeys = new Map<number, Uint8Array>()
  const texts = await Promise.all(
    [...sealed].map(async ([from, bytes]) => {
      const theirs = readKeys(keys.get(from) as Uint8Array)
      const key = await sealKey(crypto, agreed.context, secrets.seal, theirs.seal, { from, to: client })
      const text = await opened(crypto, key, agreed.context, bytes, fields([from, 2], [client, 2]))
      wipe(key)
      return { from, text }
    })
  )
  for (const { from, text } of texts) {
    // Where a neighbour sealed nonsense, its share is missing, as if this client had dropped out for it.
    if (!text) continue
    if (there.has(from)) seeds.set(from, text.slice(36))
    else maskKeys.set(from, text.slice(4, 36))
    wipe(text)
  }
  wipe(secrets.seal, secrets.mask, secrets.seed, own as Uint8Array)
  return { ...state, done: 5, message: writeUnmask({ seeds, maskKeys }) }
}

/** Overwrites what must not be read again. What garbage collection copied before is beyond reach. */
export function forget(state: ClientState): void {
  wipe(state.secrets.seal, state.secrets.mask, state.secrets.seed)
  if (state.own) wipe(state.own)
}

/** The step whose message a state holds. */
export const stepOf = (state: ClientState): Step => steps[state.done - 1] as Step

// ---------------------------------------------------------------- what a client checks

const broken = (what: string): PareError =>
  new PareError('E_PRIVACY', `${what}: this client leaves the round`, { hint: 'nothing about its data was revealed' })

const tooFew = (count: number, least: number, what: string): PareError =>
  new PareError('E_PRIVACY', `${count} clients ${what}; ${least} are the fewest`, {
    hint: 'nothing about the data of this client was revealed; the round is over for it'
  })

function enough(count: number, agreed: Agreed, what: string): void {
  if (count < agreed.threshold) throw tooFew(count, agreed.threshold, what)
}

type Reached = ClientState & { readonly keys: ByClient }

function expect(state: ClientState, done: number): Reached {
  if (state.done === done && state.keys) return state as Reached
  throw broken(`the server asks for a step out of order (${state.done} are done)`)
}

async function checkKeys({ crypto, agreed }: Common, state: ClientState, keys: ByClient): Promise<void> {
  const mine = keys.get(state.client)
  if (!mine || !equalBytes(mine, state.message)) throw broken('the list of keys does not hold the keys of this client')
  const all = [...keys].map(([client, bytes]): [number, Keys] => [client, readKeys(bytes)])
  const distinct = new Set(all.flatMap(([, k]) => [k.seal.join(), k.mask.join()]))
  if (distinct.size !== 2 * all.length) throw broken('two clients have the same key')
  const signed = await Promise.all(
    all.map(([client, k]) =>
      crypto.verify(agreed.keys[client] as Uint8Array, keysText(agreed.context, client, k.seal, k.mask), k.signature)
    )
  )
  for (const [i, [client]] of all.entries())
    if (!signed[i])
      throw new PareError(
        'E_SIGNATURE',
        `the keys of client ${client} are not signed for what this client was told: another model, other clients or another round`,
        {
          hint: 'the server may have given different models to different clients; nothing was revealed'
        }
      )
}

async function checkSignatures({ crypto, agreed }: Common, signatures: ByClient, set: Uint8Array): Promise<void> {
  const survivors = new Set(readSet(set, agreed.keys.length))
  const text = survivorsText(agreed.context, set)
  const checked = await Promise.all(
    [...signatures].map(async ([client, signature]) => ({
      client,
      isSigned: await crypto.verify(agreed.keys[client] as Uint8Array, text, signature)
    }))
  )
  for (const { client, isSigned } of checked)
    if (!survivors.has(client) || !isSigned)
      throw new PareError('E_SIGNATURE', `client ${client} has not signed the list of inputs that this client signed`, {
        hint: 'the server told clients different things; nothing was revealed'
      })
  enough(signatures.size, agreed, 'signed the same list of inputs')
}

async function opened(
  crypto: SecureCrypto,
  key: Uint8Array,
  context: Uint8Array,
  sealed: Uint8Array,
  head: Uint8Array
): Promise<Uint8Array | undefined> {
  try {
    const text = await crypto.open(key, nonce, context, sealed)
    return equalBytes(text.subarray(0, 4), head) ? text : undefined
  } catch {
    return undefined
  }
}

function wipe(...secrets: readonly Uint8Array[]): void {
  for (const secret of secrets) secret.fill(0)
}
