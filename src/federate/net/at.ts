/** What a client's steps are given. */
import { PareError } from '../../base/errors.ts'
import { toHex } from '../../base/hex.ts'
import type { Runner } from '../../runtime/types.ts'
import type { Dataset, Model } from '../../types.ts'
import type { Local } from '../local.ts'
import type { FederationRecipe } from '../recipe.ts'
import type { SecureCrypto, Signer } from '../secure/types.ts'
import type { Invitation, OpenRound, RunInfo } from './forms.ts'
import type { Requests } from './http.ts'
import type { Store } from './store.ts'

export interface JoinOptions {
  /** Where the server is; by default what the invitation says. */
  readonly url?: string
  readonly invitation: Invitation
  /** Samples that stay here; or what opens them for the model that came. */
  readonly data: Dataset | ((model: Model) => Promise<Dataset>)
  readonly engine: Runner
  readonly store: Store
  readonly crypto: SecureCrypto
  /** Signs with the client's own key, which never leaves it. */
  readonly signer: Signer
  /** The client's update is never in a sum over fewer clients; 3 by default. Of runs with secure sums. */
  readonly floor?: number
  /** What training draws by; by default the client's key, so that a client that was killed makes the same update again. */
  readonly seed?: string
  readonly signal?: AbortSignal
  readonly fetch?: typeof fetch
  told?(event: JoinEvent): void
}

/** What a client tells while it takes part. */
export type JoinEvent =
  | { readonly kind: 'joined'; readonly run: RunInfo }
  | { readonly kind: 'waits'; readonly why: string }
  | { readonly kind: 'trains'; readonly round: number }
  | { readonly kind: 'sent'; readonly round: number; readonly bytes: number; readonly loss: number }
  | { readonly kind: 'left'; readonly round: number; readonly why: string }

/** What one turn needs. */
export interface At {
  readonly o: JoinOptions
  readonly requests: Requests
  readonly info: RunInfo
  readonly recipe: FederationRecipe
  readonly local: Local
  readonly run: Uint8Array
  readonly data: Dataset
}

/** The model message of a round, which must be what its hash says. */
export async function messageOf({ o, requests }: At, { base }: OpenRound): Promise<Uint8Array> {
  const message = await requests.request('GET', `/v1/message/${base}`)
  if (toHex(await o.crypto.sha256(message)) === base) return message
  throw new PareError('E_SIGNATURE', 'the model of the round is not what its hash says')
}

/** What a client's training draws by: nothing that others know. */
export const seedOf = async (o: JoinOptions): Promise<string> =>
  o.seed ?? toHex(await o.crypto.sha256(await o.signer.sign(new TextEncoder().encode('seed of training'))))
