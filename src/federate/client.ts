/** A client's turn: a model message in, an update message out. What coding lost is kept for the next turn. */
import { PareError } from '../base/errors.ts'
import { rng } from '../base/random.ts'
import type { Dataset } from '../types.ts'
import type { Local } from './local.ts'
import { manifestHash, sha256 } from './manifest.ts'
import { type FederationRecipe, isRoundedIn, keepsResidual } from './recipe.ts'
import type { Manifest, Message } from './types.ts'
import { decodeMessage, encodeMessage, mostWeight } from './wire.ts'

/** What a client did not send yet, and the round that it is of. */
export interface Residual {
  readonly round: number
  readonly values: Float32Array
}

export interface Turn {
  readonly local: Local
  readonly recipe: FederationRecipe
  /** The model message, as it came. */
  readonly message: Uint8Array
  /** The model of the round before, where messages hold differences to it. */
  readonly previous?: Float32Array | undefined
  readonly data: Dataset
  /** What is drawn is drawn by it: the order of samples, rounding, the nonce. */
  readonly seed: number | string
  readonly residual?: Residual | undefined
  /** A hostile client sends this many times its difference; for tests of robust rules. */
  readonly factor?: number | undefined
  readonly signal?: AbortSignal | undefined
}

export interface Turned {
  readonly message: Uint8Array
  /**
   * What to keep if the server takes the update. If it does not, the difference is not lost either: `untaken` is kept then.
   */
  readonly residual?: Residual
  readonly untaken?: Residual
  readonly samples: number
  readonly steps: number
  readonly loss: number
}

/** The model that a message holds. Throws `E_FORMAT`, and `E_CONFLICT` for a difference to a model that is not there. */
export async function readModelMessage(
  bytes: Uint8Array,
  manifest: Manifest,
  previous: Float32Array | undefined
): Promise<Message> {
  const message = await decodeMessage(bytes, { manifest, kind: 'model', base: await manifestHash(manifest) })
  if (!message.isDifference) return message
  if (!previous)
    throw new PareError('E_CONFLICT', 'the model came as a difference to one that this client does not have', {
      hint: 'differences go to clients that take part in every round'
    })
  return { ...message, values: moved(previous, message) }
}

/** The model after a difference; what left the support is zero. */
export const moved = (previous: Float32Array, { values, support }: Pick<Message, 'values' | 'support'>): Float32Array =>
  values.map((d, i) => (support?.[i] === 0 ? 0 : (previous[i] as number) + d))

/** A residual of a model this many rounds ago says nothing of today's. */
const oldest = 50

/** Trains and answers. Throws `E_FORMAT` for a message that is none, `E_DATA` where training diverged. */
export async function takeTurn(t: Turn): Promise<Turned> {
  const { local, recipe, data } = t
  const { manifest } = local
  const { header, values, support, mask } = await readModelMessage(t.message, manifest, t.previous)
  const random = rng(t.seed).fork(`round ${header.round}`)
  const trained = await local.round({
    ...{ base: values, support, data, signal: t.signal, isRounded: isRoundedIn(recipe, header.round) },
    seed: String(random.fork('samples').next())
  })
  const kept = keepsResidual(recipe)
  const old = t.residual && header.round - t.residual.round <= oldest ? t.residual.values : undefined
  const delta = trained.delta.map((d, i) => {
    if (support?.[i] === 0) return 0
    return (t.factor ?? 1) * d + (kept ? (old?.[i] ?? 0) : 0)
  })
  const where = mask ?? support
  const nonce = Uint8Array.from({ length: 8 }, () => random.below(256))
  const message = await encodeMessage({
    header: {
      ...{ kind: 'update', run: header.run, round: header.round, nonce },
      base: await sha256(t.message),
      weight: Math.min(mostWeight, data.size)
    },
    ...{ manifest, values: delta, codec: recipe.up, mask: where, random: random.fork('rounding') }
  })
  const { samples, steps, loss } = trained
  if (!kept) return { message, samples, steps, loss }
  const sent = await decodeMessage(message, { manifest, kind: 'update', mask: where })
  const residual = { round: header.round, values: delta.map((d, i) => d - (sent.values[i] as number)) }
  return { message, residual, untaken: { round: header.round, values: delta }, samples, steps, loss }
}
