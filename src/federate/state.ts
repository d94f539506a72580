/**
 * A simulation after a round, as bytes: `PARE-FS1`, the length of a JSON header (uint32, little-endian), the header, then
 * vectors one after another, little-endian. The header names each vector, and ends with a hash of all of them.
 */
import { concat } from '../base/bytes.ts'
import { PareError } from '../base/errors.ts'
import { seal, unseal } from '../base/sealed.ts'
import { bytesOf } from '../ir/tensor.ts'
import type { Residual } from './client.ts'
import type { FederationRecipe } from './recipe.ts'
import type { RoundEntry, SimulateState } from './simulate.ts'
import type { Manifest } from './types.ts'

interface Entry {
  /** `client 7` for what a client did not send yet. */
  readonly name: string
  /** Of residuals. */
  readonly round?: number
  readonly type: 'float32' | 'uint8'
  readonly length: number
}

interface Header {
  readonly key: string
  readonly id: readonly number[]
  readonly round: number
  readonly history: readonly RoundEntry[]
  readonly vectors: readonly Entry[]
}

const kind = 'PARE-FS1'

/** `key`: what was simulated; only the same may go on. */
export function encodeState(key: string, { run, residuals, previous, history }: SimulateState): Uint8Array {
  const vectors: Entry[] = []
  const parts: Uint8Array[] = []
  const put = (name: string, v: Float32Array | Uint8Array | undefined, round?: number): void => {
    if (!v) return
    const type = v instanceof Float32Array ? 'float32' : 'uint8'
    vectors.push({ name, type, length: v.length, ...(round === undefined ? {} : { round }) })
    parts.push(bytesOf(v))
  }
  put('model', run.state.model)
  put('first', run.state.first)
  put('second', run.state.second)
  put('support', run.support)
  put('residual', run.residual)
  put('sent', run.sent)
  put('trend', run.trend)
  put('previous', previous)
  for (const [client, { round, values }] of residuals) put(`client ${client}`, values, round)
  const body = concat(parts)
  const header: Header = { key, id: [...run.id], round: run.round, history, vectors }
  return seal(kind, header, body)
}

/** Reads a state. Throws `E_FORMAT` for what `encodeState` did not write, or for a state of something else. */
export function decodeState(
  bytes: Uint8Array,
  of: { readonly key: string; readonly recipe: FederationRecipe; readonly manifest: Manifest }
): SimulateState {
  const { header, body } = unseal<Header>(kind, bytes, broken)
  if (header.key !== of.key)
    throw new PareError('E_FORMAT', 'this is the state of another federation', {
      hint: 'go on with the same model, data and recipe, or begin anew'
    })
  const found = new Map<string, Float32Array | Uint8Array>()
  const residuals = new Map<number, Residual>()
  let at = 0
  for (const { name, type, length, round } of header.vectors) {
    const end = at + length * (type === 'float32' ? 4 : 1)
    const raw = body.slice(at, end)
    const v = type === 'float32' ? new Float32Array(raw.buffer) : raw
    if (end > body.length || (name !== 'previous' && v.length !== of.manifest.size))
      throw broken('a vector has another length')
    at = end
    const client = /^client (\d+)$/.exec(name)?.[1]
    if (client === undefined) found.set(name, v)
    else residuals.set(Number(client), { round: round ?? 0, values: v as Float32Array })
  }
  const floats = (name: string): Record<string, Float32Array> => {
    const v = found.get(name)
    return v instanceof Float32Array ? { [name]: v } : {}
  }
  const [model, support] = [found.get('model'), found.get('support')]
  if (!(model instanceof Float32Array)) throw broken('it holds no model')
  return {
    run: {
      ...{ recipe: of.recipe, manifest: of.manifest, id: Uint8Array.from(header.id), round: header.round },
      state: { model, ...floats('first'), ...floats('second') },
      ...(support instanceof Uint8Array ? { support } : {}),
      ...floats('residual'),
      ...floats('sent'),
      ...floats('trend')
    },
    ...{ residuals, history: header.history },
    ...floats('previous')
  }
}

const broken = (why: string, cause?: unknown): PareError =>
  new PareError('E_FORMAT', `this is no whole state of a federation: ${why}`, {
    hint: 'begin anew, without --resume',
    ...(cause === undefined ? {} : { cause })
  })
