/**
 * What each layer alone does to the model's output: the compressed layer, fed the original's values, inside the original.
 *
 *   SQNR = 20·log10(‖o‖ / ‖o − p‖) dB over all elements of all float outputs; p with this layer's values in place of its own
 */
import { stopIfAborted } from '../base/errors.ts'
import { allGraphs, isOutput } from '../ir/graph.ts'
import { stepsIn } from '../ir/steps.ts'
import { isFloat, tensorBytes } from '../ir/tensor.ts'
import { batching, fedSteps, runs } from '../runtime/batches.ts'
import type { Runner } from '../runtime/types.ts'
import type { Dataset, Model, Progress, Tensor } from '../types.ts'
import { grouped, localFeeds, localModel, type Suffix, samplesPerRun, tailOf, valueBytes } from './cut.ts'
import { addPair, sqnrDb } from './sums.ts'

/** How the models are run. */
export interface AloneOptions {
  readonly runner: Runner
  readonly indices?: readonly number[]
  readonly threads?: number
  readonly signal?: AbortSignal
  readonly progress?: Progress
}

/** Samples that the outputs are compared on. */
const samples = 8
/** Of samples that are sequences: steps that are looked at, spread over the sequence. */
const mostSteps = 8
/** Bytes of weights that may be handed to the engine, summed over all layers: each layer opens what follows it once. */
const mostBytes = 16e9

/** By compared value; empty where what follows the layers is too large to be opened for each of them. */
export async function aloneErrors(
  before: Model,
  after: Model,
  values: readonly string[],
  dataset: Dataset,
  o: AloneOptions
): Promise<ReadonlyMap<string, number>> {
  const out = new Map<string, number>()
  const tails = new Map(values.map((id) => [id, tailOf(before, id, before.graph)] as const))
  let bytes = 0
  for (const tail of tails.values()) bytes += tail ? weightBytes(tail.model) : 0
  if (bytes > mostBytes) return out
  const heldBytes = (id: string): number =>
    [id, ...(tails.get(id)?.border.keys() ?? [])].reduce((n, v) => n + valueBytes(before.graph, v), 0)
  const indices = (o.indices ?? Array.from({ length: dataset.size }, (_, i) => i)).slice(0, samples)
  let done = 0
  for (const group of grouped(values, heldBytes)) {
    const border = [...new Set(group.flatMap((id) => [...(tails.get(id)?.border.keys() ?? [])]))]
    const seen = await localValues(before, after, { all: values, group, border }, dataset, indices, o)
    for (const id of group) {
      stopIfAborted(o.signal)
      const db = seen.some((s) => s.own[id]) ? await outputError(before, id, tails.get(id), seen, o) : undefined
      if (db !== undefined) out.set(id, db)
      o.progress?.('one layer at a time', ++done, values.length)
    }
  }
  return out
}

function weightBytes(model: Model): number {
  let bytes = 0
  for (const g of allGraphs(model)) for (const v of g.values.values()) bytes += v.data ? tensorBytes(v.data) : 0
  return bytes
}

/** One run: the original's outputs, its values in front of what follows the layers, and each layer's own values. */
interface Seen {
  readonly border: Readonly<Record<string, Tensor>>
  readonly outputs: Readonly<Record<string, Tensor>>
  readonly own: Readonly<Record<string, Tensor>>
}

async function localValues(
  before: Model,
  after: Model,
  { all, group, border }: Readonly<Record<'all' | 'group' | 'border', readonly string[]>>,
  dataset: Dataset,
  indices: readonly number[],
  o: AloneOptions
): Promise<readonly Seen[]> {
  const cut = localModel(before, after, all, group)
  if (cut.taps.size === 0) return []
  const { outputs } = before.graph
  const made = border.filter((id) => !before.graph.inputs.includes(id))
  const first = await o.runner.open(before, {
    outputs: [...new Set([...cut.fed.values(), ...made])],
    threads: o.threads ?? 1
  })
  try {
    const second = await o.runner.open(cut.model, { threads: o.threads ?? 1 })
    try {
      const how = batching([first], samplesPerRun)
      const seen: Seen[] = []
      for await (const run of runs(dataset, how, { rest: 'fill', indices, signal: o.signal })) {
        const every = Math.ceil(stepsIn(run.batch) / mostSteps)
        let at = 0
        for await (const { feeds, outputs: x } of fedSteps(first, run)) {
          if (at++ % every > 0) continue
          const y = await second.run(localFeeds(second, cut, feeds, x))
          const own = Object.fromEntries([...cut.taps].flatMap(([id, tap]) => (y[tap] ? [[id, y[tap]] as const] : [])))
          seen.push({ border: pick({ ...feeds, ...x }, border), outputs: pick(x, outputs), own })
        }
      }
      return seen
    } finally {
      await second.close()
    }
  } finally {
    await first.close()
  }
}

const pick = (all: Readonly<Record<string, Tensor>>, names: readonly string[]): Record<string, Tensor> =>
  Object.fromEntries(names.flatMap((n) => (all[n] ? [[n, all[n]] as const] : [])))

/** How far the outputs are off that follow a value; the others are as they were. */
async function outputError(
  before: Model,
  id: string,
  tail: Suffix | undefined,
  seen: readonly Seen[],
  o: AloneOptions
): Promise<number | undefined> {
  const sums = { signal: 0, noise: 0 }
  const session = tail && (await o.runner.open(tail.model, { threads: o.threads ?? 1 }))
  try {
    for (const { outputs, own, border } of seen) {
      stopIfAborted(o.signal)
      const given = own[id]
      if (!given) continue
      const feeds = Object.fromEntries(
        [...(tail?.border.keys() ?? [])].map((b) => [b, b === id ? given : (border[b] as Tensor)])
      )
      const y = { ...outputs, ...(await session?.run(feeds)), ...(isOutput(before.graph, id) ? { [id]: given } : {}) }
      for (const [name, x] of Object.entries(outputs)) if (isFloat(x.dtype)) addPair(sums, x, y[name])
    }
  } finally {
    await session?.close()
  }
  return sqnrDb(sums)
}
