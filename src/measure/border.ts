/** What cut-outs of a model are fed with: its own values at the border of the cut, batch by batch. */
import { batching, runOf, runOn } from '../runtime/batches.ts'
import type { Session } from '../runtime/types.ts'
import type { Batch, Model, Tensor, Value } from '../types.ts'
import { prefixOf } from './cut.ts'

/** Bytes of values at the last border that are kept, at most. Values that take more are computed again each time. */
const mostHeld = 64 * 1024 * 1024

type Values = Readonly<Record<string, Tensor>>
type Border = ReadonlyMap<string, Value>

interface Held {
  readonly model: Model
  readonly border: Border
  /** Batches in the order of the samples. */
  readonly all: readonly { readonly n: number; readonly values: Values }[]
}

const nothing: Border = new Map()

/**
 * Gives batches with the model's values at a border. The values at the border that was asked for last are kept until `forget`:
 * those at the next one are computed from them.
 */
export function borderValues(open: (model: Model) => Promise<Session>) {
  let held: Held | undefined
  const forget = (): void => {
    held = undefined
  }
  return { of, forget }

  async function* of<B extends { readonly batch: Batch }>(
    model: Model,
    border: Border,
    seen: AsyncIterable<B>
  ): AsyncGenerator<B & { readonly values: Values }> {
    const known = held?.model === model ? held : undefined
    // Values of a batch at the last border are let go as soon as those at this one are made.
    const left = [...(known?.all ?? [])]
    held = undefined
    const made: Held['all'][number][] = []
    const sessions = new Map<Border, Session>()
    /** Values of a batch at the border, of which values at another border are given. */
    const valuesOf = async (batch: Batch, from: Border, given: Values): Promise<Values> => {
      const inputs = { ...batch.inputs, ...given }
      const taps = [...border.keys()].filter((id) => !Object.hasOwn(inputs, id))
      const session = sessions.get(from) ?? (taps.length > 0 ? await open(prefixOf(model, taps, from)) : undefined)
      if (session) sessions.set(from, session)
      const found = session ? await runOn(session, runOf({ ...batch, inputs }, batching([session], batch.n))) : {}
      return Object.fromEntries([...border.keys()].map((id) => [id, (found[id] ?? inputs[id]) as Tensor]))
    }
    let bytes = 0
    let isAlike = true
    try {
      for await (const s of seen) {
        const { batch } = s
        const last = left.shift()
        isAlike &&= last?.n === batch.n
        const values = await (isAlike && known && last
          ? valuesOf(batch, known.border, last.values)
          : valuesOf(batch, nothing, {}))
        for (const [id, t] of Object.entries(values)) bytes += Object.hasOwn(batch.inputs, id) ? 0 : t.bytes.length
        made.push({ n: batch.n, values: bytes <= mostHeld ? values : {} })
        yield { ...s, values }
      }
    } finally {
      for (const session of sessions.values()) await session.close()
    }
    held = bytes <= mostHeld ? { model, border, all: made } : undefined
  }
}
