/** Channels by the squared first-order change of the loss without them: E[(Σ w·∂L/∂w)²], the sum over the weights that read them. */
import { PareError } from '../../base/errors.ts'
import { toFloats } from '../../ir/tensor.ts'
import type { Model } from '../../types.ts'
import type { Context } from '../types.ts'
import { eachGradient } from './gradients.ts'
import type { ChannelGroup } from './groups.ts'
import { byChannel, readingWeights, type Scores, sumsAlong } from './importance.ts'

/** Scores of groups that the loss depends on. Throws `E_UNSUPPORTED` where it depends on none. */
export async function taylorScores(
  model: Model,
  groups: readonly ChannelGroup[],
  o: { readonly samples: number; readonly pass: string },
  ctx: Context
): Promise<Scores> {
  const weights = new Map(groups.map((g) => [g, readingWeights(model, g)]))
  const wanted = new Set([...weights.values()].flat().map(({ slice }) => slice.value))
  const out = new Map<ChannelGroup, Float64Array>()
  let batches = 0
  await eachGradient(model, wanted, o, ctx, (gradients) => {
    batches++
    for (const [group, own] of weights) {
      const change = new Float64Array(group.channels)
      let isKnown = false
      for (const { slice, data } of own) {
        const gradient = gradients.get(slice.value)
        if (!gradient) continue
        isKnown = true
        const g = toFloats(gradient)
        const sums = byChannel(
          sumsAlong(data, slice.axis, (w, i) => w * (g[i] as number)),
          slice
        )
        for (const [c, s] of sums.entries()) change[c] = (change[c] as number) + s
      }
      if (!isKnown) continue
      const sums = out.get(group) ?? new Float64Array(group.channels)
      for (const [c, s] of change.entries()) sums[c] = (sums[c] as number) + s * s
      out.set(group, sums)
    }
  })
  if (out.size === 0)
    throw new PareError('E_UNSUPPORTED', 'the loss depends on no weight that reads channels which could go', {
      where: `${o.pass}, criterion`
    })
  return new Map([...out].map(([g, sums]) => [g, sums.map((s) => s / batches)]))
}
