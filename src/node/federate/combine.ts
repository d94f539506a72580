/**
 * What the updates of a round come to. They are read from their files one after another, so that rules that need a sum hold one
 * sum, whatever the number of clients; rules that need every update hold them all. The order of the files is that of the clients'
 * keys: who was first changes no bit.
 */

import { PareError } from '../../base/errors.ts'
import { addTo, decodeMessage, meanOf, mostWeight, noSums, type Round, type Run } from '../../federate/index.ts'
import { noisyMean, onGrid } from '../../federate/privacy/mechanism.ts'
import { boundedUpdate, boundOf, normOf, ruleFor } from '../../federate/robust.ts'
import type { ServerOptions } from './options.ts'

export interface Combined {
  readonly mean: Float32Array
  /** Of norms; absent where updates are not seen. */
  readonly bound?: number
  /** Updates that were longer. */
  readonly bounded: number
}

export interface Updates {
  /** Keys of clients in rising order. */
  readonly keys: readonly string[]
  read(key: string): Uint8Array
}

/** An update of the round as it came. Throws `E_CONFLICT` for another base, `E_FORMAT`, `E_DATA` for numbers that are not finite. */
export async function readUpdate(
  run: Run,
  round: Round,
  bytes: Uint8Array
): Promise<{ values: Float32Array; weight: number; norm: number }> {
  const { header, values } = await decodeMessage(bytes, {
    ...{ manifest: run.manifest, kind: 'update', mask: round.mask, run: run.id, round: run.round, base: round.base }
  })
  const norm = normOf(values)
  if (!Number.isFinite(norm)) throw new PareError('E_DATA', 'the update holds numbers that are not finite')
  return { values, weight: header.weight, norm }
}

const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[list.length >> 1] ?? 0

export async function combined(
  run: Run,
  round: Round,
  updates: Updates,
  o: ServerOptions,
  previous?: Float32Array,
  clients = updates.keys.length
): Promise<Combined> {
  const looks = []
  for (const key of updates.keys) {
    const { norm, weight } = await readUpdate(run, round, updates.read(key))
    looks.push({ norm, weight })
  }
  const bound =
    o.privacy?.bound ??
    boundOf(
      looks.map((l) => l.norm),
      o.boundFactor
    )
  const bounded = looks.filter((l) => l.norm > bound).length
  // A weight is what a client says of itself.
  const most = Math.max(1, Math.floor(o.boundFactor * median(looks.map((l) => l.weight))))
  const each = async (key: string): Promise<{ values: Float32Array; weight: number }> => {
    const { values, weight } = await readUpdate(run, round, updates.read(key))
    return { values: boundedUpdate(values, bound), weight: Math.min(most, weight) }
  }
  const mean = o.privacy
    ? await noisy(run, updates, each, o.privacy, clients)
    : await byRule(run, updates, each, o, previous)
  return { mean, bound, bounded }
}

type Each = (key: string) => Promise<{ readonly values: Float32Array; readonly weight: number }>

async function byRule(
  run: Run,
  updates: Updates,
  each: Each,
  o: ServerOptions,
  previous?: Float32Array
): Promise<Float32Array> {
  const rule = ruleFor(o.rule)
  if (rule.holds === 'updates') {
    const all = []
    for (const key of updates.keys) all.push((await each(key)).values)
    return rule.combine(all, { share: o.hostile, ...(previous ? { previous } : {}) })
  }
  const sums = noSums(run.manifest.size, { bound: run.recipe.bound, weights: updates.keys.length * mostWeight })
  for (const key of updates.keys) {
    const { values, weight } = await each(key)
    addTo(sums, values, weight)
  }
  return meanOf(sums)
}

/** Every client counts alike, and the divisor is the number that was expected: neither tells who was there. */
async function noisy(
  run: Run,
  updates: Updates,
  each: Each,
  { bound, noise }: { readonly bound: number; readonly noise: number },
  clients: number
): Promise<Float32Array> {
  const sums = new Float64Array(run.manifest.size)
  for (const key of updates.keys)
    for (const [i, x] of onGrid((await each(key)).values, bound).entries()) sums[i] = (sums[i] as number) + x
  return noisyMean(sums, { bound, noise, clients })
}
