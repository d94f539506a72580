/**
 * Times of layers in a runtime that tells no times. A layer is cut out of the model together with the nodes that runtimes
 * fuse into it, and timed alone on the values that the model has there. A run also takes time to hand over inputs and
 * outputs. A twin with the same inputs and outputs, and no work, is timed in turns with the layer, and its time taken off:
 *
 *   ms = median of the layer's runs − median of the twin's
 */
import { PareError } from '../base/errors.ts'
import { rng } from '../base/random.ts'
import { constant, consumers, isOutput, producer, soleConsumer } from '../ir/graph.ts'
import { isFloat, isInteger } from '../ir/tensor.ts'
import { opFor } from '../ops/index.ts'
import { inferShapes } from '../ops/infer.ts'
import { batching, feedsOf, firstRun } from '../runtime/batches.ts'
import type { Runner, Session } from '../runtime/types.ts'
import type { Dataset, Graph, Model, Node, Tensor, Value } from '../types.ts'
import { interleave } from './latency.ts'

export interface CutoutOptions {
  readonly runner: Runner
  /** The first sample, or those of `indices` as far as the model takes them in one run, is what is run. */
  readonly dataset: Dataset
  readonly indices?: readonly number[]
  readonly threads?: number
  readonly signal?: AbortSignal
}

/** A layer with what is fused into it. */
interface Cutout {
  /** The node whose time it is. */
  readonly heart: Node
  readonly nodes: ReadonlySet<Node>
  /** Values that it is fed. */
  readonly fed: readonly string[]
  readonly output: string
}

/** Rounds of a layer and its twin, after a few that do not count. */
const rounds = 15
const warmup = 3
/** A round repeats a run until the round takes about this many ms: clocks of browsers are coarse. */
const roundMs = 1
const mostRepeats = 50

/**
 * Times in ms for one sample, by the node's name: of every node with weights, and of every conversion between codes and
 * floats that is not fused into such a node. Layers that cannot be cut out, or do not run alone, are left out.
 */
export async function cutoutTimes(given: Model, o: CutoutOptions): Promise<ReadonlyMap<string, number>> {
  const model = inferShapes(given)
  const cuts = cutoutsOf(model.graph)
  const { values, samples } = await valuesOf(model, [...new Set(cuts.flatMap((c) => [...c.fed, c.output]))], o)
  const out = new Map<string, number>()
  for (const cut of cuts) {
    const ms = await timeOf(model, cut, values, o)
    if (ms !== undefined) out.set(cut.heart.name, ms / samples)
  }
  return out
}

// ---------------------------------------------------------------- cutting out

function cutoutsOf(graph: Graph): readonly Cutout[] {
  const fixed = fixedNodes(graph)
  const hearts = graph.nodes.filter((n) => !fixed.has(n) && hasWeight(graph, n, fixed))
  const cuts = hearts.map((n) => cutoutOf(graph, n, fixed))
  const taken = new Set(cuts.flatMap((c) => [...c.nodes]))
  const loose = graph.nodes.filter((n) => !fixed.has(n) && !taken.has(n) && isConversion(graph, n, fixed))
  return [...cuts, ...loose.map((n) => around(graph, n, new Set([n]), n.outputs[0] as string, fixed))]
}

/** Does a node turn codes into floats or back, other than around a layer that a runtime computes on codes? */
function isConversion(graph: Graph, n: Node, fixed: ReadonlySet<Node>): boolean {
  const onCodes = (m: Node): boolean =>
    moving(graph, m, fixed).every((id) => {
      const maker = producer(graph, id)
      return maker !== undefined && decodes(graph, maker)
    }) &&
    m.outputs.every((id) => consumers(graph, id).length > 0 && consumers(graph, id).every((c) => encodes(graph, c)))
  if (decodes(graph, n)) return !consumers(graph, n.outputs[0] as string).some(onCodes)
  if (!encodes(graph, n)) return false
  const maker = producer(graph, n.inputs[0] as string)
  return !maker || !onCodes(maker)
}

/** Nodes that depend on constants alone, as those that decode weights do. */
function fixedNodes(graph: Graph): ReadonlySet<Node> {
  const out = new Set<Node>()
  for (const n of graph.nodes) if (n.inputs.length > 0 && n.inputs.every((id) => isFixed(graph, id, out))) out.add(n)
  return out
}

function isFixed(graph: Graph, id: string | null, fixed: ReadonlySet<Node>): boolean {
  if (id === null || constant(graph, id)) return true
  const maker = producer(graph, id)
  return maker !== undefined && fixed.has(maker)
}

const hasWeight = (graph: Graph, n: Node, fixed: ReadonlySet<Node>): boolean =>
  n.inputs.some((id) => id !== null && isFixed(graph, id, fixed) && isMatrix(graph.values.get(id)))

const isMatrix = (v: Value | undefined): boolean =>
  (v?.shape ?? v?.data?.shape ?? []).length >= 2 && v?.dtype !== undefined && isFloat(v.dtype)

/** Values of a node that are neither constants nor made of them. */
const moving = (graph: Graph, n: Node, fixed: ReadonlySet<Node>): string[] =>
  n.inputs.flatMap((id) => (id === null || isFixed(graph, id, fixed) ? [] : [id]))

/** A layer with what decodes its inputs, the clamps behind it, and what encodes its output. */
function cutoutOf(graph: Graph, heart: Node, fixed: ReadonlySet<Node>): Cutout {
  const nodes = new Set([heart])
  for (const id of moving(graph, heart, fixed)) {
    const maker = producer(graph, id)
    if (maker && decodes(graph, maker)) nodes.add(maker)
  }
  let output = heart.outputs[0] as string
  for (let next = soleConsumer(graph, output); next && !isOutput(graph, output); next = soleConsumer(graph, output)) {
    const isEncoder = encodes(graph, next)
    if (!isEncoder && !opFor(next)?.quant?.clamp) break
    nodes.add(next)
    output = next.outputs[0] as string
    if (isEncoder) break
  }
  return around(graph, heart, nodes, output, fixed)
}

/** The cut around some nodes: what it is fed, and the fixed nodes before it. */
function around(
  graph: Graph,
  heart: Node,
  inside: ReadonlySet<Node>,
  output: string,
  fixed: ReadonlySet<Node>
): Cutout {
  const nodes = new Set<Node>()
  const fed = new Set<string>()
  const take = (n: Node): void => {
    if (nodes.has(n)) return
    nodes.add(n)
    for (const id of n.inputs) {
      if (id === null || constant(graph, id)) continue
      const maker = producer(graph, id)
      if (maker && (inside.has(maker) || fixed.has(maker))) take(maker)
      else fed.add(id)
    }
  }
  for (const n of inside) take(n)
  return { heart, nodes, fed: [...fed], output }
}

const dtypeAt = (graph: Graph, id: string | null | undefined): Value['dtype'] =>
  id == null ? undefined : graph.values.get(id)?.dtype

/** Does a node with scales turn codes into floats? */
function decodes(graph: Graph, n: Node): boolean {
  const [from, to] = [dtypeAt(graph, n.inputs[0]), dtypeAt(graph, n.outputs[0])]
  return from !== undefined && to !== undefined && isInteger(from) && isFloat(to) && isScaled(graph, n)
}

/** Does a node with scales turn floats into codes? */
function encodes(graph: Graph, n: Node): boolean {
  const [from, to] = [dtypeAt(graph, n.inputs[0]), dtypeAt(graph, n.outputs[0])]
  return from !== undefined && to !== undefined && isFloat(from) && isInteger(to) && isScaled(graph, n)
}

const isScaled = (graph: Graph, n: Node): boolean =>
  n.inputs.length > 1 && n.inputs.slice(1).every((id) => id === null || constant(graph, id) !== undefined)

// ---------------------------------------------------------------- running

/** Values of one run, and its samples. */
async function valuesOf(
  model: Model,
  wanted: readonly string[],
  o: CutoutOptions
): Promise<{ readonly values: ReadonlyMap<string, Tensor>; readonly samples: number }> {
  const { runner, threads = 1 } = o
  const inner = wanted.filter((id) => producer(model.graph, id))
  const session = await runner.open(model, { threads, outputs: inner })
  try {
    const how = batching([session], 1)
    const run = await firstRun(o.dataset, how, (o.indices ?? [0]).slice(0, how.size))
    const feeds = feedsOf(session, run)
    return { values: new Map(Object.entries({ ...feeds, ...(await session.run(feeds)) })), samples: how.size }
  } finally {
    await session.close()
  }
}

/** ms of one run of a layer, without the time to hand over inputs and outputs; `undefined` where it does not run alone. */
async function timeOf(
  model: Model,
  cut: Cutout,
  values: ReadonlyMap<string, Tensor>,
  { runner, threads = 1, signal }: CutoutOptions
): Promise<number | undefined> {
  const made = values.get(cut.output)
  const feeds = Object.fromEntries(cut.fed.flatMap((id) => (values.has(id) ? [[id, values.get(id) as Tensor]] : [])))
  if (!made || Object.keys(feeds).length < cut.fed.length) return undefined
  const sessions: Session[] = []
  try {
    for (const m of [twinOf(model, cut, feeds, made), cutModel(model, cut, feeds)])
      sessions.push(await runner.open(m, { threads }))
    const entries: { name: string; repeats: number; run(): Promise<void> }[] = []
    for (const [i, session] of sessions.entries()) {
      const repeats = await repeatsOf(session, feeds)
      entries.push({ name: String(i), repeats, run: () => repeated(session, feeds, repeats) })
    }
    const timed = await interleave(entries, rng(`cutout ${cut.heart.name}`), {
      ...{ minSeconds: 0, minRuns: rounds, maxRuns: rounds, warmup },
      ...(signal ? { signal } : {})
    })
    const [twin = 0, own = 0] = timed.map((t, i) => t.latency.p50 / (entries[i]?.repeats ?? 1))
    return Math.max(0, own - twin)
  } catch (e) {
    if (e instanceof PareError && e.code === 'E_RUN') return undefined
    throw e
  } finally {
    for (const s of sessions) await s.close()
  }
}

type Feeds = Readonly<Record<string, Tensor>>

async function repeated(session: Session, feeds: Feeds, times: number): Promise<void> {
  for (let i = 0; i < times; i++) await session.run(feeds)
}

async function repeatsOf(session: Session, feeds: Feeds): Promise<number> {
  await session.run(feeds)
  const start = performance.now()
  await repeated(session, feeds, warmup)
  const ms = (performance.now() - start) / warmup
  return Math.max(1, Math.min(mostRepeats, Math.ceil(roundMs / Math.max(ms, roundMs / mostRepeats))))
}

const inputOf = (id: string, { dtype, shape }: Tensor): Value => ({ id, type: 'tensor', dtype, shape })

function cutModel(model: Model, cut: Cutout, feeds: Feeds): Model {
  const { graph } = model
  const nodes = graph.nodes.filter((n) => cut.nodes.has(n))
  const used = new Set(nodes.flatMap((n) => [...n.inputs, ...n.outputs]))
  const values = new Map([...graph.values].filter(([id]) => used.has(id)))
  for (const [id, t] of Object.entries(feeds)) values.set(id, inputOf(id, t))
  return { ...model, graph: { ...graph, inputs: cut.fed, outputs: [cut.output], nodes, values } }
}

/** The same inputs and output without the work: the output is a constant. */
function twinOf(model: Model, cut: Cutout, feeds: Feeds, made: Tensor): Model {
  const held = `${cut.output}_held`
  const values = new Map<string, Value>(Object.entries(feeds).map(([id, t]) => [id, inputOf(id, t)]))
  values.set(held, { ...inputOf(held, made), data: made })
  values.set(cut.output, inputOf(cut.output, made))
  const node: Node = { name: 'held', op: 'Identity', inputs: [held], outputs: [cut.output], attrs: {} }
  return { ...model, graph: { ...model.graph, inputs: cut.fed, outputs: [cut.output], nodes: [node], values } }
}
