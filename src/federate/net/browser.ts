/**
 * A client of a federation in a browser: in a page or, better, in a worker of it. Its key is one that the browser keeps and does
 * not give away, and what is kept between rounds lies in IndexedDB, so that a tab that was closed goes on where it was.
 */
import { PareError } from '../../base/errors.ts'
import type { Runner } from '../../runtime/types.ts'
import type { Dataset, Model } from '../../types.ts'
import { secureCrypto, signerOf } from '../secure/crypto.ts'
import type { SecureCrypto, Signer } from '../secure/types.ts'
import type { JoinEvent } from './at.ts'
import { type Invitation, invitationForm } from './forms.ts'
import { type Joined, takePartIn } from './join.ts'
import type { Store } from './store.ts'

export interface FederationOptions {
  /** Where the server is; by default what the invitation says. */
  readonly url?: string
  /** The content of an invitation, as `pare federate serve` wrote it. */
  readonly invitation: Invitation
  /** Labelled samples, which stay here; or what opens them for the model that comes. */
  readonly data: Dataset | ((model: Model) => Promise<Dataset>)
  /** `ortRunner(ort)` */
  readonly engine: Runner
  /** Take part in no secure sum that could be over fewer clients; 3 by default. */
  readonly floor?: number
  readonly signal?: AbortSignal
  /** Told of every step, among them what was sent. */
  told?(event: JoinEvent): void
}

/**
 * Takes part in a federation until it is over. Nothing but updates leaves. Throws `E_OPTION` for something that is no invitation,
 * and what `pare federate join` would end with.
 */
export async function joinFederation(o: FederationOptions): Promise<Joined> {
  const invitation = invitationForm.safeParse(o.invitation)
  if (!invitation.success)
    throw new PareError('E_OPTION', 'this is no invitation to a federation', {
      hint: 'give the parsed content of its file'
    })
  const { run, token } = invitation.data
  const db = await opened(`pare-federation-${run}-${token.slice(0, 8)}`)
  const crypto = await secureCrypto()
  try {
    return await takePartIn({
      ...o,
      invitation: invitation.data,
      crypto,
      signer: await ownSigner(db, crypto),
      store: storeIn(db)
    })
  } finally {
    db.close()
  }
}

const [keys, kept] = ['keys', 'kept'] as const

function opened(name: string): Promise<IDBDatabase> {
  const request = indexedDB.open(name, 1)
  request.onupgradeneeded = () => {
    for (const table of [keys, kept]) request.result.createObjectStore(table)
  }
  return settled(request)
}

const settled = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })

/** Settles once the change is on the disk. */
async function change(db: IDBDatabase, table: string, make: (store: IDBObjectStore) => unknown): Promise<void> {
  const transaction = db.transaction(table, 'readwrite', { durability: 'strict' })
  make(transaction.objectStore(table))
  await new Promise<void>((resolve, reject) => {
    transaction.oncomplete = () => resolve()
    transaction.onabort = () => reject(transaction.error)
  })
}

const read = (db: IDBDatabase, table: string, name: string): Promise<unknown> =>
  settled(db.transaction(table).objectStore(table).get(name))

const storeIn = (db: IDBDatabase): Store => ({
  read: async (name) => (await read(db, kept, name)) as Uint8Array | undefined,
  write: (name, bytes) => change(db, kept, (store) => store.put(bytes, name)),
  remove: (name) => change(db, kept, (store) => store.delete(name))
})

/** Signs with the key of this database: one that cannot be read where the platform signs, and else a seed. */
async function ownSigner(db: IDBDatabase, crypto: SecureCrypto): Promise<Signer> {
  const old = await read(db, keys, 'own')
  if (old instanceof Uint8Array) return signerOf(crypto, old)
  const pair = old as CryptoKeyPair | undefined
  if (pair) return signerWith(pair)
  try {
    const made = (await globalThis.crypto.subtle.generateKey('Ed25519', false, ['sign', 'verify'])) as CryptoKeyPair
    await change(db, keys, (store) => store.put(made, 'own'))
    return await signerWith(made)
  } catch {
    const seed = crypto.random(32)
    await change(db, keys, (store) => store.put(seed, 'own'))
    return signerOf(crypto, seed)
  }
}

async function signerWith({ publicKey, privateKey }: CryptoKeyPair): Promise<Signer> {
  const { subtle } = globalThis.crypto
  return {
    key: new Uint8Array(await subtle.exportKey('raw', publicKey)),
    sign: async (message) =>
      new Uint8Array(await subtle.sign('Ed25519', privateKey, message as Uint8Array<ArrayBuffer>))
  }
}
