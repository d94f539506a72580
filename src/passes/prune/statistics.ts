/**
 * Running statistics of normalizations, measured anew: those that a changed model has on samples, all in one run, since each
 * normalization is given the mean and variance of what it reads while the next ones are computed.
 */
import { greatest } from '../../base/extremes.ts'
import { edit } from '../../ir/edit.ts'
import { consumers } from '../../ir/graph.ts'
import { tensor, toFloats } from '../../ir/tensor.ts'
import { sampleBytes, watch } from '../../observe/feed.ts'
import { heldSamples } from '../../observe/held.ts'
import { reduceChannels } from '../../observe/reductions.ts'
import { opFor } from '../../ops/index.ts'
import { inferShapes } from '../../ops/infer.ts'
import { fedOf, prescribed } from '../../runtime/batches.ts'
import type { Dataset, Model, Node, Tensor } from '../../types.ts'
import type { Context } from '../types.ts'

/** Samples of the run, at most and at least; and bytes of its largest value. */
const [mostSamples, leastSamples, mostBytes] = [256, 16, 64 * 2 ** 20]

/** A normalization with running statistics that only it reads. */
interface Statistics {
  readonly node: Node
  readonly x: string
  readonly mean: number
  readonly variance: number
}

/** The model with statistics of its own on the data; the very same where it has none, or where samples are too few. */
export async function reestimated(model: Model, data: Dataset, ctx: Context): Promise<Model> {
  const typed = inferShapes(model)
  const all = statisticsOf(typed)
  const largest = greatest(
    all.map(({ x }) => sampleBytes(typed, x)),
    1
  )
  const samples = Math.min(mostSamples, data.size, Math.floor(mostBytes / largest))
  if (all.length === 0 || samples < leastSamples || prescribed(fedOf(model)) !== undefined) return model
  const taps = new Map<string, string>()
  const watched = edit(typed, (d) => {
    for (const { node, x, mean, variance } of all) {
      const m = reduceChannels(d, { id: x, axis: 1 }, 'mean')
      const power = reduceChannels(d, { id: x, axis: 1 }, 'power')
      const v = d.add('Sub', [power, d.add('Mul', [m, m])])
      taps.set(node.inputs[mean] as string, m)
      taps.set(node.inputs[variance] as string, d.add('Relu', [v]))
      const inputs = node.inputs.with(mean, m).with(variance, taps.get(node.inputs[variance] as string) as string)
      const now = d.producer(node.outputs[0] as string)
      if (now) d.replace(now, { ...now, inputs })
    }
    d.setOutputs([...taps.values()])
    d.sweep()
  })
  const held = await heldSamples(data, samples)
  const found = new Map<string, Float32Array>()
  const feed = { dataset: held, batch: held.size, stage: 'watching normalizations' }
  await watch(watched, {}, feed, { ...ctx, progress: () => {} }, (given) => {
    for (const [id, tap] of taps) found.set(id, toFloats(given[tap] as Tensor))
  })
  return edit(model, (d) => {
    for (const [id, values] of found) {
      const v = d.value(id)
      if (v?.data) d.set({ ...v, data: tensor(v.data.dtype, v.data.shape, values) })
    }
  })
}

function statisticsOf({ graph }: Model): Statistics[] {
  return graph.nodes.flatMap((node): Statistics[] => {
    const { mean, variance } = opFor(node)?.normalizes ?? {}
    const [x] = node.inputs
    if (mean === undefined || variance === undefined || x == null || graph.values.get(x)?.shape === undefined) return []
    const own = [node.inputs[mean], node.inputs[variance]]
    const isOwn = own.every((id) => id != null && graph.values.get(id)?.data && consumers(graph, id).length === 1)
    return isOwn ? [{ node, x, mean, variance }] : []
  })
}
