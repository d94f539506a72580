/**
 * `Context.measure`: compares a model with the one it came from, on the samples that choices are made by. These samples are
 * read once, and the original runs on them once, where both fit into memory.
 */
import { evaluateDim, unknownDim } from '../base/dim.ts'
import { PareError, stopIfAborted } from '../base/errors.ts'
import type { Rng } from '../base/random.ts'
import { metricFor } from '../data/metrics.ts'
import { compacted, heldBytes } from '../ir/compact.ts'
import { bitsOf } from '../ir/tensor.ts'
import { inferShapes } from '../ops/infer.ts'
import type { Context, MeasureOptions } from '../passes/types.ts'
import {
  batching,
  fedOf,
  firstRun,
  prescribed,
  runOf,
  runOn,
  runs,
  samplesWithin,
  timedRun
} from '../runtime/batches.ts'
import type { Runner, Session } from '../runtime/types.ts'
import type { Batch, Dataset, Dim, Graph, Metric, Model, Ratio, Tensor } from '../types.ts'
import { borderValues } from './border.ts'
import { type Suffix, suffixOf } from './cut.ts'
import { pairedDrop } from './intervals.ts'
import { interleave } from './latency.ts'
import { kernelFacts } from './layers.ts'

export interface BesideOptions {
  readonly engine: Runner
  /** What scores and times; where it is absent the engine scores, and nothing is timed. */
  readonly measured?: Runner
  /** Samples that choose. */
  readonly parts: readonly Dataset[]
  /** The metric that counts. */
  readonly metric: Metric
  readonly rng: Rng
  readonly threads?: number
  readonly signal?: AbortSignal
}

/** Below this many selection samples the calibration samples help to choose. */
const fewSamples = 1000

/** With fewer samples than this, calibration samples are used too, although roundings were fitted to them. */
const tooFew = 100

/** The samples that passes measure with: the selection part. A model fitted to the calibration samples scores too well on them. */
export function measuringParts(data: {
  readonly selection?: Dataset
  readonly calibration?: Dataset
}): readonly Dataset[] {
  const { selection, calibration } = data
  if (!selection) return []
  return selection.size >= tooFew || !calibration ? [selection] : [selection, calibration]
}

/** Samples that choose: the selection part, and the calibration part where that alone is small. */
export function choosingParts(data: {
  readonly selection?: Dataset
  readonly calibration?: Dataset
}): readonly Dataset[] {
  const { selection, calibration } = data
  if (!selection) return []
  return selection.size >= fewSamples || !calibration ? [selection] : [selection, calibration]
}

/** A batch with what the model beside gave for it. */
interface Seen {
  readonly batch: Batch
  readonly reference: Readonly<Record<string, Tensor>>
  /** Values of the original that a cut-out is fed with. */
  readonly values?: Readonly<Record<string, Tensor>>
}

/** Batches and outputs that take more bytes than this are not kept, but read and run again each time. */
const mostHeld = 256 * 1024 * 1024
const samplesPerRun = 32
/** Bytes of the largest value of a model in one run, at most. */
const largestValue = 8 * 1024 * 1024

const faithfulness = metricFor('relativeError')

/** The `measure` of a context over given samples. Throws `E_DATA` where there is none, `E_RUN` where a model does not run. */
export function measurer(o: BesideOptions): NonNullable<Context['measure']> {
  const held = new WeakMap<Model, Map<number, readonly Seen[]>>()
  const border = borderValues((model) => open(o, model, false))
  const all = o.parts.reduce((n, d) => n + d.size, 0)
  return async (model, what) => {
    const most = Math.min(what.samples ?? all, all)
    if (most === 0) throw new PareError('E_DATA', 'there are no samples to measure on')
    const sums = { before: [] as number[], after: [] as number[], errors: [] as number[] }
    const seen = seenBy(o, held, what.beside, most)
    const suffix = suffixIn(o, model, what)
    if (!suffix) border.forget()
    const session = await open(o, suffix?.model ?? model, what.seconds !== undefined)
    try {
      for await (const { batch, reference, values } of suffix ? border.of(what.beside, suffix.border, seen) : seen) {
        stopIfAborted(o.signal)
        const outputs = values
          ? { ...reference, ...(await session.run(values)) }
          : await runOn(session, runOf(batch, batching([session], batch.n)))
        for (const score of o.metric.scores(reference, batch, reference)) sums.before.push(score)
        for (const score of o.metric.scores(outputs, batch, reference)) sums.after.push(score)
        for (const error of faithfulness.scores(outputs, batch, reference)) sums.errors.push(error)
      }
      const { measured } = o
      const latency = measured && what.seconds !== undefined ? await timed(o, session, what, what.seconds) : undefined
      const kernels = measured && what.kernels ? await kernelsOf(measured, o, model) : undefined
      return {
        metric: o.metric.name,
        drop: pairedDrop(sums.before, sums.after, o.metric),
        error: sums.errors.reduce((n, e) => n + e * e, 0) / sums.errors.length,
        ...(latency ? { latency } : {}),
        ...(kernels ? { kernels } : {})
      }
    } finally {
      await session.close()
    }
  }
}

const open = (o: BesideOptions, model: Model, plansMemory: boolean): Promise<Session> =>
  (o.measured ?? o.engine).open(model, { plansMemory, ...(o.threads === undefined ? {} : { threads: o.threads }) })

/** The cut-out that tells all; `undefined` where the whole model has to run, as what is timed must. */
function suffixIn(o: BesideOptions, model: Model, { beside, seconds, kernels }: MeasureOptions): Suffix | undefined {
  if (seconds !== undefined || kernels || prescribed(fedOf(beside)) !== undefined) return undefined
  if (o.parts.some((d) => d.isStepped)) return undefined
  const { graph } = inferShapes(beside)
  const suffix = suffixOf(model, beside.graph, graph)
  return suffix && [...suffix.border.keys(), ...graph.outputs].every(isBySample(graph)) ? suffix : undefined
}

/** Does a value hold the samples along its first axis, as the inputs do? What does not is handed on in another shape. */
function isBySample(graph: Graph): (id: string) => boolean {
  const first = (id: string): Dim | undefined => graph.values.get(id)?.shape?.[0]
  const symbol = graph.inputs.map(first).find((d) => typeof d === 'string' && d !== unknownDim)
  return (id) => symbol !== undefined && first(id) === symbol
}

/** Batches with the outputs of `beside`, kept for the next time where they fit. */
async function* seenBy(
  o: BesideOptions,
  held: WeakMap<Model, Map<number, readonly Seen[]>>,
  beside: Model,
  most: number
): AsyncGenerator<Seen> {
  const models = held.get(beside) ?? new Map<number, readonly Seen[]>()
  for (const known of models.values()) {
    const first = firstSamples(known, most)
    if (first) return yield* first
  }
  const kept: Seen[] = []
  let bytes = 0
  const session = await open(o, beside, false)
  try {
    const how = batching([session], samplesWithin(largestValue, largestPerSample(beside), samplesPerRun))
    let left = most
    for (const dataset of o.parts) {
      const indices = Array.from({ length: Math.min(left, dataset.size) }, (_, i) => i)
      left -= indices.length
      if (indices.length === 0) continue
      for await (const run of runs(dataset, how, { rest: 'fill', indices })) {
        const { batch } = run
        const reference = await runOn(session, run)
        if (bytes <= mostHeld) {
          const inputs = Object.fromEntries(Object.entries(batch.inputs).map(([name, t]) => [name, compacted(t)]))
          bytes += bytesOf(inputs) + bytesOf(reference)
          kept.push({ batch: { ...batch, inputs }, reference })
        }
        yield { batch, reference }
      }
    }
  } finally {
    await session.close()
  }
  if (bytes > mostHeld) return
  for (const fewer of models.keys()) if (firstSamples(kept, fewer)) models.delete(fewer)
  held.set(beside, models.set(most, kept))
}

/** The batches that together hold exactly the first `count` samples; `undefined` where no batch ends with the last of them. */
function firstSamples(seen: readonly Seen[], count: number): readonly Seen[] | undefined {
  let n = 0
  for (const [i, { batch }] of seen.entries()) {
    n += batch.n
    if (n >= count) return n === count ? seen.slice(0, i + 1) : undefined
  }
  return undefined
}

const bytesOf = (tensors: Readonly<Record<string, Tensor>>): number =>
  Object.values(tensors).reduce((n, t) => n + heldBytes(t), 0)

/** Bytes of the largest value for one sample; open dimensions count as 1. */
function largestPerSample(model: Model): number {
  let most = 1
  for (const { dtype, shape, data } of inferShapes(model).graph.values.values()) {
    if (data || dtype === undefined || !shape) continue
    const elements = shape.reduce<number>((n, d, axis) => n * (axis === 0 ? 1 : (evaluateDim(d, {}) ?? 1)), 1)
    most = Math.max(most, (elements * bitsOf(dtype)) / 8)
  }
  return most
}

async function kernelsOf(runner: Runner, o: BesideOptions, model: Model): Promise<ReadonlyMap<string, number>> {
  const { threads, signal } = o
  const dataset = o.parts.find((d) => d.size > 0)
  const given = { runner, ...(threads === undefined ? {} : { threads }), ...(signal ? { signal } : {}) }
  const facts = await kernelFacts(model, { ...given, ...(dataset ? { dataset } : {}) })
  return new Map([...facts].flatMap(([node, { ms }]) => (ms === undefined ? [] : [[node, ms] as const])))
}

async function timed(
  o: BesideOptions,
  session: Session,
  { beside }: MeasureOptions,
  minSeconds: number
): Promise<Ratio | undefined> {
  const other = await open(o, beside, true)
  try {
    const dataset = o.parts.find((d) => d.size > 0)
    if (!dataset) return undefined
    const run = await firstRun(dataset, batching([other, session], 1))
    const [, after] = await interleave(
      [timedRun('before', other, run), timedRun('after', session, run)],
      o.rng.fork('measure'),
      { minSeconds, ...(o.signal ? { signal: o.signal } : {}) }
    )
    return after?.ratio
  } finally {
    await other.close()
  }
}
