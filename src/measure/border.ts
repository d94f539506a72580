/** What cut-outs of a model are fed with: its own values at the border of the cut, batch by batch. */
import { batching, runOf, runOn } from '../runtime/batches.ts'
import type { Session } from '../runtime/types.ts'
import type { Batch, Model, Tensor } from '../types.ts'
import { prefixOf } from './cut.ts'

/** Bytes of values at the last border that are kept, at most. Values that take more are computed again each time. */
const mostHeld = 64 * 1024 * 1024

type Values = Readonly<Record<string, Tensor>>

interface Held {
  readonly model: Model
  readonly border: string
  readonly all: readonly Values[]
}

/** Gives batches with the model's values at a border. The values at the border that was asked for last are kept until `forget`. */
export function borderValues(open: (model: Model) => Promise<Session>) {
  let held: Held | undefined
  const forget = (): void => {
    held = undefined
  }
  return { of, forget }

  async function* of<B extends { readonly batch: Batch }>(
    model: Model,
    ids: readonly string[],
    seen: AsyncIterable<B>
  ): AsyncGenerator<B & { readonly values: Values }> {
    const border = ids.join('\n')
    const known = held?.model === model && held.border === border ? held.all : undefined
    if (!known) held = undefined
    const made: Values[] = []
    let bytes = 0
    let session: Session | undefined
    const taps = ids.filter((id) => !model.graph.inputs.includes(id))
    try {
      let at = 0
      for await (const s of seen) {
        let values = known?.[at++]
        if (!values) {
          if (taps.length > 0) session ??= await open(prefixOf(model, taps))
          const found = session ? await runOn(session, runOf(s.batch, batching([session], s.batch.n))) : {}
          values = Object.fromEntries(ids.map((id) => [id, (found[id] ?? s.batch.inputs[id]) as Tensor]))
          bytes += Object.values(found).reduce((n, t) => n + t.bytes.length, 0)
          if (bytes <= mostHeld) made.push(values)
        }
        yield { ...s, values }
      }
    } finally {
      await session?.close()
    }
    if (!known && bytes <= mostHeld) held = { model, border, all: made }
  }
}
