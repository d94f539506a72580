/** What values are per channel on data: least, greatest, mean and mean square over samples and positions, reduced inside the engine. */
import { edit } from '../ir/edit.ts'
import { samplesWithin } from '../runtime/batches.ts'
import type { Dataset, Model, Tensor } from '../types.ts'
import { asFloat, type Surroundings, sampleBytes, watch, watchedOutputs } from './feed.ts'
import { type ChannelMean, type ChannelReduction, type Joined, joining, reduceChannels } from './reductions.ts'

/** Numbers of one value, one per channel, by what was asked. */
export type ChannelNumbers = Readonly<Record<ChannelReduction, Float64Array>>

const memoryBytes = 64 * 1024 * 1024

/**
 * The numbers of each value, by its id; a reduction that was not asked for has an empty list. Only the nodes that lead to
 * the values run. Throws `E_DATA` where no sample ran.
 */
export async function observeChannels(
  model: Model,
  wanted: readonly ChannelMean[],
  asked: readonly ChannelReduction[],
  data: Dataset,
  ctx: Surroundings
): Promise<ReadonlyMap<string, ChannelNumbers>> {
  if (wanted.length === 0) return new Map()
  const joined = new Map(wanted.map(({ id }) => [id, new Map<ChannelReduction, Joined>()]))
  const taps = new Map<string, Joined>()
  const reduced = edit(model, (d) => {
    for (const w of wanted)
      for (const r of asked) {
        const all = joining(r)
        joined.get(w.id)?.set(r, all)
        taps.set(reduceChannels(d, w, r), all)
      }
    d.setOutputs(watchedOutputs(model, [...taps.keys()]))
    d.sweep()
  })
  const perSample = wanted.reduce((n, w) => n + sampleBytes(model, w.id), 0)
  const feed = { dataset: data, batch: samplesWithin(memoryBytes, perSample, 32), stage: 'watching channels' }
  await watch(reduced, asFloat, feed, ctx, (outputs, n) => {
    for (const [tap, all] of taps) all.take(outputs[tap] as Tensor, n)
  })
  const numbers = (id: string, r: ChannelReduction): Float64Array =>
    joined.get(id)?.get(r)?.numbers() ?? new Float64Array(0)
  return new Map(
    wanted.map(({ id }) => [
      id,
      {
        least: numbers(id, 'least'),
        greatest: numbers(id, 'greatest'),
        mean: numbers(id, 'mean'),
        power: numbers(id, 'power')
      }
    ])
  )
}
