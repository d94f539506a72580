/** Which weights may differ from zero, for all clients alike: chosen by the server's model, fewer from step to step. */

import { isMatrix } from './local.ts'
import type { FederationRecipe } from './recipe.ts'
import type { ServerState } from './rules.ts'
import type { Manifest } from './types.ts'

type Prune = NonNullable<FederationRecipe['prune']>

/** Share of zeros in a round: s·(1 − (1 − i/n)³) at step i of n (Zhu and Gupta 2017). */
export function zerosAt({ to, from, until, every }: Prune, round: number): number {
  if (round < from) return 0
  const steps = Math.floor((until - from) / every) + 1
  const step = round >= until ? steps : Math.floor((round - from) / every) + 1
  return to * (1 - (1 - step / steps) ** 3)
}

/**
 * The support of a round: of all matrices and kernels together the weights of least magnitude go, and what went stays away.
 * The very same array where nothing changes; `undefined` before the first step.
 */
export function supportAt(
  prune: Prune | undefined,
  { parts, size }: Manifest,
  model: Float32Array,
  round: number,
  before: Uint8Array | undefined
): Uint8Array | undefined {
  const zeros = prune ? zerosAt(prune, round) : 0
  if (!prune || zeros === 0 || (before && zeros === zerosAt(prune, round - 1))) return before
  const places = parts
    .filter((p) => p.role === 'weight' && isMatrix(p.shape))
    .flatMap((p) => Array.from({ length: p.size }, (_, i) => p.offset + i))
  const gone = Math.round(zeros * places.length)
  const rank = (i: number): number => (before?.[i] === 0 ? -1 : Math.abs(model[i] as number))
  const order = places.sort((a, b) => rank(a) - rank(b) || a - b)
  const out = new Uint8Array(size).fill(1)
  for (const i of order.slice(0, gone)) out[i] = 0
  return out
}

/** The state with zeros outside the support, its moments too. */
export function pruned(state: ServerState, support: Uint8Array | undefined): ServerState {
  if (!support) return state
  const within = (v: Float32Array): Float32Array => v.map((x, i) => (support[i] === 1 ? x : 0))
  const { model, first, second } = state
  return { model: within(model), ...(first ? { first: within(first) } : {}), ...(second ? { second } : {}) }
}
