/** The numbers of a server between two rounds, as bytes. */
import type { FederationRecipe, Run } from '../../federate/index.ts'
import { floatBytes, floatsOf, packRecord, unpackRecord } from '../../federate/net/store.ts'
import type { Manifest } from '../../federate/types.ts'

/** A run with what the last round came to, from which centred clipping goes on. */
export interface Kept {
  readonly run: Run
  readonly previous?: Float32Array
}

export function writeKept({ run, previous }: Kept): Uint8Array {
  const { state, support, residual, trend, round } = run
  const floats = { model: state.model, first: state.first, second: state.second, residual, trend, previous }
  const parts = Object.entries(floats).flatMap(([name, v]) => (v ? [[name, floatBytes(v)] as const] : []))
  return packRecord({ round }, { ...Object.fromEntries(parts), ...(support ? { support } : {}) })
}

export function readKept(bytes: Uint8Array, id: Uint8Array, recipe: FederationRecipe, manifest: Manifest): Kept {
  const { told, parts } = unpackRecord(bytes)
  const floats = (name: string): Record<string, Float32Array> => {
    const part = parts[name]
    return part ? { [name]: floatsOf(part) } : {}
  }
  const state = { model: floatsOf(parts['model'] as Uint8Array), ...floats('first'), ...floats('second') }
  const { support } = parts
  return {
    run: {
      ...{ id, recipe, manifest, state, round: told['round'] as number },
      ...(support ? { support } : {}),
      ...floats('residual'),
      ...floats('trend')
    },
    ...floats('previous')
  }
}
