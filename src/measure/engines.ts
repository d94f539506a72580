/**
 * One model in two engines: do they give the same numbers?
 *
 *   difference = max |a − b| / max |a| over all elements of all samples, a the first engine's
 *
 * Kernels differ in the order of sums, which costs a float model less than 10⁻³ of its largest output. Where values are
 * rounded to codes, such a difference can move a value by a whole step, and several of them add up: there 5 % are
 * allowed. Saturating sums, missing type support and wrong kernels cost more than that.
 */

import { stopIfAborted } from '../base/errors.ts'
import { constant, consumers, isOutput, producer } from '../ir/graph.ts'
import { isFloat, toNumbers } from '../ir/tensor.ts'
import { inferShapes } from '../ops/infer.ts'
import { hasRoundedValues, isQdq } from '../ops/quantized.ts'
import type { EngineModel, EngineOutput, Engines } from '../report/types.ts'
import { batching, runOn, runs } from '../runtime/batches.ts'
import type { Runner, Session, Source } from '../runtime/types.ts'
import type { Dataset, Model, Progress, Tensor } from '../types.ts'
import { grouped, valueBytes } from './cut.ts'
import { seenAs } from './pairs.ts'
import { sqnrDb } from './sums.ts'

/** A runtime and what to call it. */
export interface Engine {
  readonly name: string
  readonly runner: Runner
}

/** A model as it is to be run, and its graph. */
export interface Compared {
  readonly model: EngineModel['model']
  readonly source: Source
  readonly graph: Model
}

export interface EnginesOptions {
  readonly engines: readonly [Engine, Engine]
  readonly dataset: Dataset
  /** Samples, the first of the data; 24 by default. */
  readonly samples?: number
  /** By default 0.001, and 0.05 where values are rounded to codes. */
  readonly tolerance?: number
  readonly signal?: AbortSignal
  readonly progress?: Progress
}

const defaultSamples = 24
/** Samples that the layers are compared on. */
const layerSamples = 4
const samplesPerRun = 8

/** Allowed difference of a model whose values are all float. */
export const floatTolerance = 1e-3
/** Allowed difference of a model that rounds values to codes. */
export const codeTolerance = 0.05

/** Runs every model in both engines. An engine that cannot run a model is told of in its entry. */
export async function compareEngines(models: readonly Compared[], o: EnginesOptions): Promise<Engines> {
  const n = Math.min(o.samples ?? defaultSamples, o.dataset.size)
  const out: EngineModel[] = []
  for (const [i, m] of models.entries()) {
    o.progress?.('comparing engines', i, models.length)
    out.push(await compareOne(m, n, o))
  }
  o.progress?.('comparing engines', models.length, models.length)
  return { names: [o.engines[0].name, o.engines[1].name], n, models: out }
}

async function compareOne(m: Compared, n: number, o: EnginesOptions): Promise<EngineModel> {
  const tolerance = o.tolerance ?? (hasRoundedValues(m.graph) ? codeTolerance : floatTolerance)
  const common = { model: m.model, tolerance }
  const [first, second] = o.engines
  const run = async (
    engine: Engine,
    source: Source,
    taps: readonly string[],
    count: number
  ): Promise<Runs | Failed> => {
    try {
      return await runAll(engine, source, taps, count, o)
    } catch (e) {
      stopIfAborted(o.signal)
      return { engine: engine.name, reason: e instanceof Error ? e.message : String(e) }
    }
  }
  const a = await run(first, m.source, [], n)
  const b = 'reason' in a ? a : await run(second, m.source, [], n)
  const failed = 'reason' in a ? a : 'reason' in b ? b : undefined
  if (failed || 'reason' in a || 'reason' in b)
    return { ...common, outputs: [], agrees: false, ...(failed ? { failed } : {}) }
  const outputs = [...a.keys()].map((name) => outputOf(name, a.get(name) ?? [], b.get(name) ?? []))
  const agrees = outputs.every((x) => x.difference <= tolerance)
  const found = agrees ? undefined : await firstApart(m.graph, tolerance, Math.min(n, layerSamples), run, o.engines)
  return { ...common, outputs, agrees, ...(found ? { first: found } : {}) }
}

/** By output, one tensor a batch. */
type Runs = ReadonlyMap<string, readonly Tensor[]>
type Failed = NonNullable<EngineModel['failed']>

async function runAll(
  engine: Engine,
  source: Source,
  taps: readonly string[],
  n: number,
  o: EnginesOptions
): Promise<Runs> {
  const session: Session = await engine.runner.open(source, taps.length > 0 ? { outputs: taps } : {})
  try {
    const how = batching([session], samplesPerRun)
    const out = new Map<string, Tensor[]>()
    const indices = Array.from({ length: n }, (_, i) => i)
    for await (const run of runs(o.dataset, how, { rest: 'fill', indices, signal: o.signal })) {
      const given = await runOn(session, run)
      for (const [name, t] of Object.entries(given)) out.set(name, [...(out.get(name) ?? []), t])
    }
    return out
  } finally {
    await session.close()
  }
}

// ---------------------------------------------------------------- outputs

function outputOf(name: string, a: readonly Tensor[], b: readonly Tensor[]): EngineOutput {
  const sums = { signal: 0, noise: 0, peak: 0, apart: 0, same: 0, rows: 0 }
  for (const [i, x] of a.entries()) {
    const y = b[i]
    if (!y || y.dtype !== x.dtype || y.shape.join() !== x.shape.join()) return { name, difference: Number.MAX_VALUE }
    if (x.strings) sums.apart = x.strings.join('\n') === y.strings?.join('\n') ? sums.apart : Number.MAX_VALUE
    else add(sums, x, y)
  }
  const db = sqnrDb(sums)
  const { peak, apart, rows, same } = sums
  return {
    name,
    difference: apart === 0 ? 0 : Math.min(Number.MAX_VALUE, apart / (peak || 1)),
    ...(db === undefined ? {} : { sqnrDb: db }),
    ...(rows === 0 ? {} : { agreement: same / rows })
  }
}

interface Sums {
  signal: number
  noise: number
  peak: number
  apart: number
  same: number
  rows: number
}

function add(sums: Sums, x: Tensor, y: Tensor): void {
  const [a, b] = [toNumbers(x), toNumbers(y)]
  for (let i = 0; i < a.length; i++) {
    const [v, w] = [a[i] as number, b[i] as number]
    if (v === w || (Number.isNaN(v) && Number.isNaN(w))) {
      if (Number.isFinite(v)) {
        sums.signal += v * v
        sums.peak = Math.max(sums.peak, Math.abs(v))
      }
      continue
    }
    const d = Math.abs(v - w)
    sums.apart = Math.max(sums.apart, Number.isFinite(d) ? d : Number.MAX_VALUE)
    if (!Number.isFinite(d)) continue
    sums.signal += v * v
    sums.noise += d * d
    sums.peak = Math.max(sums.peak, Math.abs(v))
  }
  const [rows = 0, classes = 0, ...rest] = x.shape
  if (!isFloat(x.dtype) || classes < 2 || rest.some((d) => d !== 1)) return
  for (let r = 0; r < rows; r++) if (greatest(a, r, classes) === greatest(b, r, classes)) sums.same++
  sums.rows += rows
}

function greatest(values: ArrayLike<number>, row: number, classes: number): number {
  let best = row * classes
  for (let i = best + 1; i < (row + 1) * classes; i++) if ((values[i] as number) > (values[best] as number)) best = i
  return best - row * classes
}

// ---------------------------------------------------------------- the first layer

type Run = (engine: Engine, source: Source, taps: readonly string[], n: number) => Promise<Runs | Failed>

/** The first layer, in the graph's order, whose value differs. Watching a value can keep an engine from fusing around it. */
async function firstApart(
  given: Model,
  tolerance: number,
  n: number,
  run: Run,
  [first, second]: EnginesOptions['engines']
): Promise<EngineModel['first']> {
  const model = inferShapes(given)
  const layers = watched(model)
  const byValue = new Map(layers.map((l) => [l.value, l]))
  for (const group of grouped([...byValue.keys()], (id) => valueBytes(model.graph, id))) {
    const a = await run(first, model, group, n)
    const b = 'reason' in a ? a : await run(second, model, group, n)
    if ('reason' in a || 'reason' in b) return undefined
    for (const id of group) {
      const { difference } = outputOf(id, a.get(id) ?? [], b.get(id) ?? [])
      const layer = byValue.get(id)
      if (layer && difference > tolerance) return { ...layer, difference }
    }
  }
  return undefined
}

/** Float values that nodes make, each as its readers see it: dequantized where it is rounded. */
function watched({ graph }: Model): { node: string; op: string; value: string }[] {
  const out: { node: string; op: string; value: string }[] = []
  for (const node of graph.nodes) {
    if (isQdq(node)) continue
    for (const id of node.outputs) {
      const type = id === '' ? undefined : graph.values.get(id)
      if (type?.dtype !== 'float32' || type.type !== 'tensor') continue
      if (!isOutput(graph, id) && consumers(graph, id).length === 0) continue
      if (node.inputs.every((i) => i === null || constant(graph, i) || producer(graph, i)?.op === 'Constant')) continue
      out.push({ node: node.name, op: node.op, value: seenAs(graph, id).value })
    }
  }
  return out
}
