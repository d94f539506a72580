/**
 * What each layer alone does to the model's output: the compressed layer, fed the original's values, inside the original.
 *
 *   SQNR = 20·log10(‖o‖ / ‖o − p‖) dB over all elements of all float outputs; p with this layer's values in place of its own
 */
import { stopIfAborted } from '../base/errors.ts'
import { edit, renameReads } from '../ir/edit.ts'
import { allGraphs, isOutput } from '../ir/graph.ts'
import { stepsIn } from '../ir/steps.ts'
import { isFloat, tensorBytes } from '../ir/tensor.ts'
import { batching, fedSteps, runs } from '../runtime/batches.ts'
import type { Dataset, Model, Progress, Runner, Tensor } from '../types.ts'
import { grouped, localFeeds, localModel, samplesPerRun, valueBytes } from './cut.ts'
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
/** Bytes of weights that may be handed to the engine, summed over all layers: each layer opens the model once. */
const mostBytes = 16e9

/** By compared value; empty where the models are too large to be opened once a layer. */
export async function aloneErrors(
  before: Model,
  after: Model,
  values: readonly string[],
  dataset: Dataset,
  o: AloneOptions
): Promise<ReadonlyMap<string, number>> {
  const out = new Map<string, number>()
  if (weightBytes(before) * values.length > mostBytes) return out
  const indices = (o.indices ?? Array.from({ length: dataset.size }, (_, i) => i)).slice(0, samples)
  let done = 0
  for (const group of grouped(values, (id) => valueBytes(before.graph, id))) {
    const seen = await localValues(before, after, values, group, dataset, indices, o)
    for (const id of group) {
      stopIfAborted(o.signal)
      const db = seen.some((s) => s.own[id]) ? await outputError(before, id, seen, o) : undefined
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

/** One run: what the original is fed, its outputs, and each layer's own values. */
interface Seen {
  readonly feeds: Readonly<Record<string, Tensor>>
  readonly outputs: Readonly<Record<string, Tensor>>
  readonly own: Readonly<Record<string, Tensor>>
}

async function localValues(
  before: Model,
  after: Model,
  all: readonly string[],
  group: readonly string[],
  dataset: Dataset,
  indices: readonly number[],
  o: AloneOptions
): Promise<readonly Seen[]> {
  const cut = localModel(before, after, all, group)
  if (cut.taps.size === 0) return []
  const { outputs } = before.graph
  const first = await o.runner.open(before, { outputs: [...new Set(cut.fed.values())], threads: o.threads ?? 1 })
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
          seen.push({ feeds, outputs: pick(x, outputs), own })
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

/** The original with one value given from outside. */
function tailOf(before: Model, id: string): { readonly model: Model; readonly input: string } {
  let input = ''
  const model = edit(before, (d) => {
    const known = d.value(id)
    input = d.fresh(`${id}_alone`)
    const { data: _, form: _f, sparse: _s, ...type } = known ?? { type: 'tensor' as const, id }
    d.set({ ...type, id: input })
    for (const n of d.consumers(id)) d.replace(n, renameReads(n, id, input))
    d.sweep()
    const isRead = (i: string): boolean => d.consumers(i).length > 0
    d.setInputs([...d.inputs.filter(isRead), ...(isRead(input) ? [input] : [])])
  })
  return { model, input }
}

async function outputError(
  before: Model,
  id: string,
  seen: readonly Seen[],
  o: AloneOptions
): Promise<number | undefined> {
  const { model, input } = tailOf(before, id)
  const sums = { signal: 0, noise: 0 }
  const session = await o.runner.open(model, { threads: o.threads ?? 1 })
  try {
    for (const { feeds, outputs, own } of seen) {
      stopIfAborted(o.signal)
      const given = own[id]
      if (!given) continue
      const all: Readonly<Record<string, Tensor>> = { ...feeds, [input]: given }
      const y = await session.run(
        pick(
          all,
          session.inputs.map((i) => i.name)
        )
      )
      for (const [name, x] of Object.entries(outputs))
        if (isFloat(x.dtype)) addPair(sums, x, name === id && isOutput(before.graph, id) ? given : y[name])
    }
  } finally {
    await session.close()
  }
  return sqnrDb(sums)
}
