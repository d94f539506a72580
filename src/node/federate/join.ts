/** A client in Node: its key and what it keeps are files in a folder of its own. */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { toArray } from '../../base/bytes.ts'
import { fromHex, toHex } from '../../base/hex.ts'
import type { JoinEvent } from '../../federate/net/at.ts'
import { invitationForm, readForm } from '../../federate/net/forms.ts'
import { type Joined, takePartIn } from '../../federate/net/join.ts'
import type { Store } from '../../federate/net/store.ts'
import { secureCrypto, signerOf } from '../../federate/secure/crypto.ts'
import type { Dataset } from '../../types.ts'
import { fileBytes } from '../files.ts'
import { nodeRunner } from '../runner.ts'
import { openDataFor } from './data.ts'
import { readWhole, writeWhole } from './folder.ts'

export interface FederateJoinOptions {
  /** Path of the invitation. */
  readonly invitation: string
  readonly url?: string
  /** Samples, or the path of data that is opened for the model that comes. */
  readonly data: Dataset | string
  /** What the client keeps; by default beside the invitation. */
  readonly folder?: string
  readonly floor?: number
  readonly seed?: string
  readonly signal?: AbortSignal
  told?(event: JoinEvent): void
}

/** Takes part in the run of an invitation until it is over. */
export async function joinFromFile(o: FederateJoinOptions): Promise<Joined> {
  const invitation = readForm(invitationForm, toArray(fileBytes(o.invitation)), 'the invitation')
  const folder = o.folder ?? `${o.invitation}.client`
  if (!existsSync(folder)) mkdirSync(folder, { recursive: true, mode: 0o700 })
  const crypto = await secureCrypto()
  const keyPath = join(folder, 'key')
  if (!existsSync(keyPath)) writeWhole(keyPath, new TextEncoder().encode(`${toHex(crypto.random(32))}\n`), 0o600)
  const signer = await signerOf(crypto, fromHex(readFileSync(keyPath, 'utf8').trim()))
  const { data } = o
  return takePartIn({
    ...{
      invitation,
      crypto,
      signer,
      data: typeof data === 'string' ? (model) => openDataFor(model, data) : data,
      engine: nodeRunner(),
      store: storeIn(folder)
    },
    ...(o.url === undefined ? {} : { url: o.url }),
    ...(o.floor === undefined ? {} : { floor: o.floor }),
    ...(o.seed === undefined ? {} : { seed: o.seed }),
    ...(o.signal ? { signal: o.signal } : {}),
    ...(o.told ? { told: o.told } : {})
  })
}

const storeIn = (folder: string): Store => ({
  read: async (name) => readWhole(join(folder, name)),
  write: async (name, bytes) => writeWhole(join(folder, name), bytes, 0o600),
  remove: async (name) => rmSync(join(folder, name), { force: true })
})
