/** How far a model's outputs are from those of the model that it was made from: ‖y − r‖² / ‖r‖² over samples, mean over outputs. */
import { PareError } from '../../base/errors.ts'
import { isFloat, toFloats } from '../../ir/tensor.ts'
import { outputsOn } from '../../observe/feed.ts'
import type { Dataset, Model } from '../../types.ts'
import type { Context } from '../types.ts'

/** Outputs of the original that are held; samples beyond are not looked at. */
const mostBytes = 256 * 2 ** 20
const batch = 32

/** Squared difference to the original's outputs, as a share of their square; infinite where a model gives no numbers. */
export type Harm = (model: Model) => Promise<number>

/** Runs the original once; what it returns runs a model on the same samples. */
export async function harmBeside(original: Model, dataset: Dataset, ctx: Context): Promise<Harm> {
  const quiet = { signal: ctx.signal, progress: () => {} }
  const feed = { dataset, batch, stage: 'measuring' }
  const held: ReadonlyMap<string, Float32Array>[] = []
  let bytes = 0
  const first = await ctx.engine.open(original, { plansMemory: false })
  try {
    for await (const { outputs } of outputsOn(first, feed, quiet)) {
      const own = Object.entries(outputs).filter(([, t]) => isFloat(t.dtype))
      if (own.length === 0)
        throw new PareError('E_UNSUPPORTED', 'no output of the model is a float tensor that could be compared', {
          where: original.graph.outputs.join(', ')
        })
      const floats = new Map(own.map(([id, t]) => [id, toFloats(t)]))
      bytes += [...floats.values()].reduce((n, v) => n + v.byteLength, 0)
      if (held.length > 0 && bytes > mostBytes) break
      held.push(floats)
    }
  } finally {
    await first.close()
  }
  return async (model) => {
    const sums = new Map<string, { error: number; power: number }>()
    const session = await ctx.engine.open(model, { plansMemory: false })
    try {
      let at = 0
      for await (const { outputs } of outputsOn(session, feed, quiet)) {
        const reference = held[at++]
        if (!reference) break
        for (const [id, r] of reference) {
          const y = outputs[id]
          const sum = sums.get(id) ?? { error: 0, power: 0 }
          sums.set(id, y ? added(sum, toFloats(y), r) : { error: Number.POSITIVE_INFINITY, power: 1 })
        }
      }
    } finally {
      await session.close()
    }
    const shares = [...sums.values()].map(({ error, power }) => (error === 0 ? 0 : error / power))
    const mean = shares.reduce((a, b) => a + b, 0) / shares.length
    return Number.isNaN(mean) ? Number.POSITIVE_INFINITY : mean
  }
}

function added(
  { error, power }: { readonly error: number; readonly power: number },
  y: Float32Array,
  r: Float32Array
): { error: number; power: number } {
  let [e, p] = [error, power]
  for (let i = 0; i < r.length; i++) {
    const x = r[i] as number
    if (!Number.isFinite(x)) continue
    e += ((y[i] as number) - x) ** 2
    p += x * x
  }
  return { error: e, power: p }
}
