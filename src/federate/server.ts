/**
 * The server's side of a round, as pure functions: what goes down, what comes up is summed, the sum changes the model. Its
 * memory is a fixed number of vectors of one model, whatever the number of clients.
 */
import { type Rng, rng } from '../base/random.ts'
import { moved } from './client.ts'
import { manifestHash, sha256 } from './manifest.ts'
import { type FederationRecipe, sendsDifferences } from './recipe.ts'
import { type ServerState, serverStep } from './rules.ts'
import { largest } from './sparse.ts'
import { addTo, meanOf, noSums, type Sums } from './sums.ts'
import { pruned, supportAt } from './support.ts'
import type { Codec, Manifest } from './types.ts'
import { decodeMessage, encodeMessage, mostWeight } from './wire.ts'

/** A run between two rounds. */
export interface Run {
  readonly id: Uint8Array
  readonly recipe: FederationRecipe
  readonly manifest: Manifest
  /** The next round, from 0. */
  readonly round: number
  readonly state: ServerState
  /** 1 where the model may differ from zero. */
  readonly support?: Uint8Array
  /** What coding the model lost so far. */
  readonly residual?: Float32Array
  /** The model as clients read it in the last round, where the next one goes down as a difference to it. */
  readonly sent?: Float32Array
  /** Moving mean of the changes: public, as clients see every model. */
  readonly trend?: Float32Array
}

/** A round that is open: what was sent down, and what came up so far. */
export interface Round {
  readonly message: Uint8Array
  /** SHA-256 of the message: what updates name as their base. */
  readonly base: Uint8Array
  /** The model as clients read it. */
  readonly values: Float32Array
  /** Where updates hold numbers. */
  readonly mask?: Uint8Array
  readonly residual?: Float32Array
  readonly sums: Sums
}

/** An update that was taken. */
export interface Taken {
  readonly values: Float32Array
  readonly weight: number
}

/** A run before its first round. `id`: 16 bytes that no other run has. */
export function startRun(recipe: FederationRecipe, manifest: Manifest, model: Float32Array, id: Uint8Array): Run {
  return { id, recipe, manifest, round: 0, state: { model } }
}

/** How a model goes down that is followed by differences. */
const whole: Codec = { codec: 'quantize', bits: 8 }

/** Opens the next round. What is drawn is drawn by the seed and the number of the round. */
export async function openRound(before: Run, seed: number | string): Promise<Round> {
  const { recipe, manifest, id, round, residual, trend, state } = before
  const { down } = recipe
  const { support } = before
  const random = rng(seed).fork(`round ${round}`)
  const returns = recipe.feedback && down.codec === 'quantize' && down.bits < 8
  const wanted = returns && residual ? state.model.map((w, i) => w + (residual[i] as number)) : state.model
  const mask =
    recipe.mask === undefined ? undefined : drawMask(manifest, recipe.mask, random.fork('mask'), trend, support)
  const header = {
    ...{ kind: 'model' as const, run: id, round, weight: 0, base: await manifestHash(manifest) },
    nonce: Uint8Array.from({ length: 8 }, () => random.below(256))
  }
  const { sent } = before
  const message = await encodeMessage({
    ...{ header, manifest, support, mask },
    values: sent ? wanted.map((w, i) => w - (sent[i] as number)) : wanted,
    codec: sendsDifferences(recipe) && !sent ? whole : down,
    ...(sent ? { isDifference: true } : {})
  })
  const decoded = await decodeMessage(message, { manifest, kind: 'model' })
  const values = sent ? moved(sent, decoded) : decoded.values
  const where = mask ?? support
  return {
    ...{ message, values, base: await sha256(message) },
    ...(where ? { mask: where } : {}),
    ...(returns ? { residual: wanted.map((w, i) => w - (values[i] as number)) } : {}),
    sums: noSums(manifest.size, { bound: recipe.bound, weights: 2 * recipe.clientsPerRound * mostWeight })
  }
}

/**
 * Reads an update of the round and adds it to the sums; `change` may bound it before. Throws `E_FORMAT` for bytes that are no
 * update of this round, `E_DATA` for numbers that are too large; the sums are then as before.
 */
export async function takeUpdate(
  { id, manifest, round }: Run,
  { base, mask, sums }: Round,
  bytes: Uint8Array,
  change: (values: Float32Array) => Float32Array = (values) => values
): Promise<Taken> {
  const { header, values } = await decodeMessage(bytes, { manifest, kind: 'update', mask, run: id, round, base })
  const changed = change(values)
  addTo(sums, changed, header.weight)
  return { weight: header.weight, values: changed }
}

/** Share of the old in the moving mean of changes. */
const trendDecay = 0.9

/** Ends a round: the mean changes the model, and what is pruned in the next round becomes zero. `mean`: by default that of the sums. */
export function commitRound(before: Run, { sums, residual, values }: Round, mean: Float32Array = meanOf(sums)): Run {
  const { recipe, manifest, trend } = before
  const state = serverStep(recipe.server, before.state, mean)
  const round = before.round + 1
  const support = supportAt(recipe.prune, manifest, state.model, round, before.support)
  return {
    ...before,
    round,
    ...(sendsDifferences(recipe) ? { sent: values } : {}),
    state: pruned(state, support),
    ...(support ? { support } : {}),
    ...(residual ? { residual: support ? residual.map((e, i) => e * (support[i] as number)) : residual } : {}),
    ...(recipe.mask === undefined
      ? {}
      : { trend: mean.map((d, i) => trendDecay * (trend?.[i] ?? 0) + (1 - trendDecay) * d) })
  }
}

/**
 * Which weights the updates of a round hold: half of the share are those that moved most lately, the rest is drawn. Clients
 * and server need to agree on them before anything is trained, and nothing of one client's data is in them.
 */
function drawMask(
  manifest: Manifest,
  share: number,
  random: Rng,
  trend: Float32Array | undefined,
  support: Uint8Array | undefined
): Uint8Array {
  const out = new Uint8Array(manifest.size)
  for (const { offset, size, role } of manifest.parts) {
    const open = Array.from({ length: size }, (_, i) => offset + i).filter(
      (i) => role === 'weight' && (support?.[i] ?? 1)
    )
    const count = Math.ceil(share * open.length)
    const moved = trend
      ? largest(
          Float32Array.from(open, (i) => trend[i] as number),
          Math.floor(count / 2)
        )
      : []
    for (const n of moved) out[open[n] as number] = 1
    const rest = open.filter((i) => out[i] === 0)
    const order = random.permutation(rest.length)
    for (let n = 0; n < count - moved.length; n++) out[rest[order[n] as number] as number] = 1
  }
  return out
}
