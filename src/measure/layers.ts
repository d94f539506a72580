/**
 * Layer by layer: how much each changed, what became of it, and where the time goes.
 *
 *   SQNR = 20·log10(‖x‖ / ‖x − y‖) dB over all elements of all samples; x the original's value, y the compressed one's
 *   accumulated: the compressed model from its inputs on
 *   local:       every layer of the compressed model is fed the original's values, so that only its own change shows;
 *                for a quantized layer from its float inputs (their rounding included) to its rounded output
 *
 * Sums are streamed: memory is that of one batch's values, in groups of at most `groupBytes`.
 */

import { stopIfAborted } from '../base/errors.ts'
import { constant, producer } from '../ir/graph.ts'
import { elementCount, tensorBytes, toFloats } from '../ir/tensor.ts'
import { costOf, type Shapes } from '../ops/cost.ts'
import { inferShapes } from '../ops/infer.ts'
import { isQdq } from '../ops/quantized.ts'
import type { Coverage, Layer } from '../report/types.ts'
import { batching, fedSteps, feedsOf, firstRun, runs, stepwise } from '../runtime/batches.ts'
import type { Runner, Session } from '../runtime/types.ts'
import type { Dataset, DType, Graph, Model, Node, Progress, Tensor } from '../types.ts'
import { aloneErrors } from './alone.ts'
import { grouped, localFeeds, localModel, samplesPerRun, valueBytes } from './cut.ts'
import { cutoutTimes } from './cutouts.ts'
import { quantile } from './intervals.ts'
import { type Pair, pairsOf, seenAs } from './pairs.ts'
import { countValues, coverageOf, type Tally, tallyOf, weightCoverage } from './ranges-of.ts'
import { addPair, type Sums, sqnrDb } from './sums.ts'

export interface LayersOptions {
  /** Shapes of the inputs in a run on one sample: work is counted at them. */
  readonly shapes?: Shapes
  readonly runner: Runner
  /** Without data, errors are not measured. */
  readonly dataset?: Dataset
  /** Samples to compare on; the first 32 by default. */
  readonly indices?: readonly number[]
  /** Measure also what each layer alone does to the output: opens a model once a layer. Default false. */
  readonly alone?: boolean
  /** Kernels and their times, where the runner tells them. Default true. */
  readonly kernels?: boolean
  readonly threads?: number
  readonly signal?: AbortSignal
  readonly progress?: Progress
}

/** One entry per layer of the original, in its order. Facts that cannot be told are absent. */
export async function layersOf(original: Model, compressed: Model, o: LayersOptions): Promise<readonly Layer[]> {
  const before = inferShapes(original)
  const after = inferShapes(compressed)
  const macs = costOf(before, o.shapes).byNode
  const pairs = pairsOf(before, after, macs)
  const errors = o.dataset ? await errorsOf(before, after, pairs, o.dataset, o) : new Map<string, Errors>()
  const values = pairs.flatMap(({ value }) => (value === undefined ? [] : [value]))
  const alone = o.alone && o.dataset ? await aloneErrors(before, after, values, o.dataset, o) : undefined
  const runs = o.kernels === false ? undefined : await kernelFacts(compressed, o)
  return pairs.map(({ node, made, value }) => {
    const error = value === undefined ? undefined : errors.get(value)
    const run = made && runs?.get(made.name)
    const work = macs.get(node)
    const output = value === undefined ? undefined : alone?.get(value)
    const weight = weightCoverage(after.graph, made, before.graph, node)
    return {
      node: node.name,
      op: node.op,
      ...weightFacts(after.graph, made),
      ...(run?.kernel === undefined ? {} : { kernel: run.kernel }),
      ...(error?.local === undefined ? {} : { sqnrDb: error.local }),
      ...(error?.accumulated === undefined ? {} : { accumulatedSqnrDb: error.accumulated }),
      ...(output === undefined ? {} : { outputSqnrDb: output }),
      ...(error?.activation ? { activation: error.activation } : {}),
      ...(weight ? { weight } : {}),
      ...(work === undefined ? {} : { macs: work }),
      ...(run?.ms === undefined ? {} : { ms: run.ms })
    }
  })
}

// ---------------------------------------------------------------- errors

interface Errors {
  readonly accumulated: number | undefined
  readonly local: number | undefined
  readonly activation: Coverage | undefined
}

async function errorsOf(
  before: Model,
  after: Model,
  pairs: readonly Pair[],
  dataset: Dataset,
  o: LayersOptions
): Promise<Map<string, Errors>> {
  const values = pairs.flatMap(({ value }) => (value === undefined ? [] : [value]))
  const indices = o.indices ?? Array.from({ length: Math.min(32, dataset.size) }, (_, i) => i)
  const out = new Map<string, Errors>()
  const groups = grouped(values, (id) => valueBytes(before.graph, id))
  for (const [i, group] of groups.entries()) {
    const tallies = new Map(group.map((id) => [id, tallyOf(after.graph, seenAs(after.graph, id).by)]))
    const sums = { accumulated: zeroSums(group), local: zeroSums(group), tallies }
    const progress = (done: number): void =>
      o.progress?.('layers', i * indices.length + done, groups.length * indices.length)
    await compareGroup({ before, after, all: values, group, dataset, indices, progress, ...sums }, o)
    for (const id of group) {
      const tally = tallies.get(id)
      const activation = tally ? coverageOf(tally) : undefined
      out.set(id, { accumulated: sqnrDb(sums.accumulated.get(id)), local: sqnrDb(sums.local.get(id)), activation })
    }
  }
  return out
}

const zeroSums = (ids: readonly string[]): Map<string, Sums> => new Map(ids.map((id) => [id, { signal: 0, noise: 0 }]))

interface Comparison {
  readonly before: Model
  readonly after: Model
  /** All values that both models have; those of this group are compared. */
  readonly all: readonly string[]
  readonly group: readonly string[]
  readonly dataset: Dataset
  readonly indices: readonly number[]
  readonly accumulated: Map<string, Sums>
  readonly local: Map<string, Sums>
  readonly tallies: ReadonlyMap<string, Tally | undefined>
  progress(done: number): void
}

async function compareGroup(c: Comparison, o: LayersOptions): Promise<void> {
  const { runner, threads } = o
  const cut = localModel(c.before, c.after, c.all, c.group)
  const wanted = [...new Set([...c.group, ...cut.fed.values()])]
  const seen = new Map(c.group.map((id) => [id, seenAs(c.after.graph, id).value]))
  const open = (model: Model, outputs: readonly string[]): Promise<Session> =>
    runner.open(model, { outputs, ...(threads === undefined ? {} : { threads }) })
  const sessions: Session[] = []
  try {
    const first = await open(c.before, wanted)
    sessions.push(first)
    const second = await open(c.after, [...seen.values()])
    sessions.push(second)
    const third = cut.taps.size ? await open(cut.model, []) : undefined
    if (third) sessions.push(third)
    const how = batching([first, second], samplesPerRun)
    let done = 0
    for await (const run of runs(c.dataset, how, { rest: 'fill', indices: c.indices, signal: o.signal })) {
      // Over sequences each of the two is fed its own states, and the layers alone those of the original.
      const others = stepwise(second, run)
      for await (const { feeds, outputs: x } of fedSteps(first, run)) {
        const y = (await others.next()).value ?? {}
        for (const [id, value] of seen) {
          addPair(c.accumulated.get(id), x[id], y[value])
          count(c.tallies.get(id), x[id], y[value])
        }
        if (!third) continue
        const own = await third.run(localFeeds(third, cut, feeds, x))
        for (const [id, value] of cut.taps) addPair(c.local.get(id), x[id], own[value])
      }
      done += run.batch.n
      c.progress(done)
    }
  } finally {
    for (const s of sessions) await s.close()
  }
}

function count(tally: Tally | undefined, x: Tensor | undefined, y: Tensor | undefined): void {
  if (tally && x && y && elementCount(x.shape) === elementCount(y.shape)) countValues(tally, toFloats(x), toFloats(y))
}

// ---------------------------------------------------------------- what runs, and what it weighs

/** What became of a node, and how long that takes for one sample. */
export interface Run {
  readonly kernel?: string
  readonly ms?: number
}

const timedRuns = 15
/** Of a slow model: runs that are made in any case, and the time after which no other begins. */
const fewRuns = 3
const longestMs = 10_000

type KernelOptions = Pick<LayersOptions, 'runner' | 'dataset' | 'threads' | 'indices' | 'signal'>

/**
 * Kernels by node of the compressed model; a kernel's time is given to the node it is named after, per sample. Where the
 * runner tells no times, layers are cut out and timed alone.
 */
export async function kernelFacts(compressed: Model, o: KernelOptions): Promise<ReadonlyMap<string, Run>> {
  if (o.runner.can.profile) return profiled(compressed, o)
  const { dataset } = o
  const times = dataset ? await cutoutTimes(compressed, { ...o, dataset }) : new Map<string, number>()
  return new Map([...times].map(([node, ms]) => [node, { ms }]))
}

async function profiled(compressed: Model, o: KernelOptions): Promise<ReadonlyMap<string, Run>> {
  const session = await o.runner.open(compressed, {
    keepOptimized: true,
    profile: o.dataset !== undefined,
    ...(o.threads === undefined ? {} : { threads: o.threads })
  })
  try {
    const kernels = (await session.kernels?.())?.byNode
    const times = o.dataset ? await timesOf(session, o.dataset, o) : new Map<string, number>()
    const given = new Set<string>()
    const out = new Map<string, Run>()
    // The node at a fused kernel's heart first: its time is a convolution's rather than that of its Relu or weights.
    for (const n of compressed.graph.nodes.toSorted((a, b) => rank(compressed.graph, a) - rank(compressed.graph, b))) {
      const k = kernels?.get(n.name)
      if (!k || out.has(n.name)) continue
      const ms = k.at === undefined || given.has(k.at) ? undefined : times.get(k.at)
      if (k.at !== undefined && ms !== undefined) given.add(k.at)
      out.set(n.name, { kernel: k.kernel, ...(ms === undefined ? {} : { ms }) })
    }
    return out
  } finally {
    await session.close()
  }
}

/** Median ms by the engine's node name, for one sample. */
async function timesOf(
  session: Session,
  dataset: Dataset,
  o: Pick<LayersOptions, 'indices' | 'signal'>
): Promise<ReadonlyMap<string, number>> {
  const how = batching([session], 1)
  const run = await firstRun(dataset, how, (o.indices ?? [0]).slice(0, how.size))
  const feeds = feedsOf(session, run)
  const start = performance.now()
  let ran = 0
  while (ran < timedRuns && (ran < fewRuns || performance.now() - start < longestMs)) {
    stopIfAborted(o.signal)
    await session.run(feeds)
    ran++
  }
  const all = new Map<string, number[]>()
  for (const { node, ms } of (await session.profile?.()) ?? []) {
    const list = all.get(node)
    if (list) list.push(ms)
    else all.set(node, [ms])
  }
  const out = new Map<string, number>()
  for (const [node, list] of all) {
    const perRun = Math.max(1, list.length / ran)
    out.set(
      node,
      (quantile(
        list.sort((a, b) => a - b),
        0.5
      ) *
        perRun) /
        how.size
    )
  }
  return out
}

function rank(graph: Graph, node: Node): number {
  if (isQdq(node)) return 2
  return weightFacts(graph, node).bytes === undefined ? 1 : 0
}

/** Bytes of a node's constants as the file holds them, and the type of the largest. */
function weightFacts(graph: Graph, node: Node | undefined): { bytes?: number; dtype?: DType } {
  let bytes = 0
  let largest: { bytes: number; dtype: DType } | undefined
  for (const id of node?.inputs ?? []) {
    if (id === null) continue
    const maker = producer(graph, id)
    // Through what decodes them: DequantizeLinear, Cast.
    const isDecoded = maker?.inputs.every((i) => i === null || constant(graph, i) !== undefined)
    const held = maker && isDecoded ? maker.inputs : [id]
    for (const c of held) {
      const stored = storedAs(graph, c)
      if (stored === 'unknown') return {}
      if (!stored) continue
      bytes += stored.bytes
      if (!largest || stored.bytes > largest.bytes) largest = stored
    }
  }
  return largest && largest.bytes >= smallestWeight ? { bytes, dtype: largest.dtype } : {}
}

/** Constants below this are scales, shapes and bounds. */
const smallestWeight = 16

function storedAs(graph: Graph, id: string | null): { bytes: number; dtype: DType } | 'unknown' | undefined {
  const data = constant(graph, id)
  if (!data || id === null) return undefined
  const form = graph.values.get(id)?.form ?? 'plain'
  const isAsHeld = form === 'plain' || form === 'qdq' || form === 'foldable'
  return isAsHeld ? { bytes: tensorBytes(data), dtype: data.dtype } : 'unknown'
}
