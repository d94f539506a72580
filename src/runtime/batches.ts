/**
 * How data is cut into runs of a model: how many samples a run takes, what the model is fed, and which part of its
 * outputs belongs to the samples. Whatever depends on where inputs and outputs have their batch axis is decided here.
 *
 * An input has its samples along the first axis (a number there is the batch that the model prescribes), or it takes a
 * sample as it is: scalars, states of [layers, batch, width], series with time first. A model with such inputs runs on one
 * sample at a time. Data holds samples along a first axis for either: of an input that takes a sample as it is, the data has
 * one axis more than the input.
 *
 * Of samples that are sequences (ir/steps.ts) a model with states runs on each step in turn; a state that the data has
 * nothing for starts at zero.
 *
 * Outputs are found where the samples are in them, by symbols or by what one sample alone gives, and handed on with
 * samples first: [T, N, C] as [N, T, C], [N·k, C] as [N, k, C]. Where they are nowhere, samples are run one by one.
 *
 *     const how = batching([session], 32)
 *     for await (const run of runs(dataset, how, { rest: 'fill' })) { const outputs = await runOn(session, run) … }
 */
import { evaluateDim, unknownDim } from '../base/dim.ts'
import { PareError, stopIfAborted } from '../base/errors.ts'
import { firstSample, mapAll, type Place, resize, sampleOf, samplesFirst, stacked } from '../ir/samples.ts'
import { emptyState, joinSteps, stepOf, stepsOn } from '../ir/steps.ts'
import type { Batch, Dataset, Dim, Model, Tensor } from '../types.ts'
import type { Session } from './types.ts'

/** What is known of a model before it runs: its inputs, as a session of it tells them. */
export type Fed = Pick<Session, 'inputs'>

/** Samples of a run. Fixed: a run takes exactly so many. */
export interface Batching {
  readonly size: number
  readonly isFixed: boolean
}

/** Samples of the data, and how many the model is run on: those behind the last are copies of it. */
export interface Run {
  readonly batch: Batch
  readonly size: number
}

export interface RunsOptions {
  /** Samples to use, in this order; all by default. */
  readonly indices?: readonly number[]
  /**
   * What becomes of samples that do not fill the last run of a fixed size: `fill` repeats the last sample; `leave` drops
   * them, for results that belong to no sample, such as sums over a batch.
   */
  readonly rest: 'fill' | 'leave'
  readonly signal?: AbortSignal | undefined
}

/** The inputs of a model that is not open yet. */
export function fedOf({ graph }: Model): Fed {
  const values = graph.inputs.flatMap((id) => graph.values.get(id) ?? []).filter((v) => !v.data)
  return {
    inputs: values.map(({ id, dtype, shape }) => ({
      name: id,
      ...(dtype ? { dtype } : {}),
      ...(shape ? { shape } : {})
    }))
  }
}

const isBatch = (d: Dim | undefined): boolean => typeof d === 'string' && /batch|^[bn]$/i.test(d)
const isNamed = (d: Dim | undefined): d is string => typeof d === 'string' && d !== unknownDim
const isTime = (d: Dim | undefined): boolean =>
  typeof d === 'string' && !isBatch(d) && /^t$|seq|time|frames|steps|len/i.test(d)

/**
 * Inputs that take a sample as it is, by name: scalars, those whose batch is on another axis, series that begin with time,
 * those whose first size is that of another of their axes too (nodes of a graph, beside which there is [nodes, nodes]), and
 * those whose fixed first size is not that of the others.
 */
export function wholeInputs({ inputs }: Fed): ReadonlySet<string> {
  const twice = new Set<Dim>(
    inputs.flatMap(({ shape: [d, ...rest] = [] }) => (isNamed(d) && rest.includes(d) ? [d] : []))
  )
  const isOdd = ({ shape }: Fed['inputs'][number]): boolean =>
    shape !== undefined &&
    (shape.length === 0 ||
      isTime(shape[0]) ||
      twice.has(shape[0] as Dim) ||
      (!isBatch(shape[0]) && shape.slice(1).some(isBatch)))
  const plain = inputs.filter((i) => i.shape && !isOdd(i))
  const firsts = plain.map((i) => i.shape?.[0] as Dim)
  const isOpen = firsts.some((d) => typeof d === 'string')
  const batch = firsts.includes(1) ? 1 : isOpen ? plain.find(mayBeBatch)?.shape?.[0] : firsts[0]
  const differs = (i: Fed['inputs'][number]): boolean => typeof i.shape?.[0] === 'number' && i.shape[0] !== batch
  return new Set([...inputs.filter(isOdd), ...plain.filter(differs)].map((i) => i.name))
}

/** A number in front, beside inputs that leave it free: a batch, unless what follows looks like the batch itself. */
const mayBeBatch = ({ shape }: Fed['inputs'][number]): boolean =>
  typeof shape?.[0] === 'number' && typeof shape[1] === 'number' && shape[1] > 1

/** The samples of a run that a model prescribes; `undefined` where it takes any number. */
export function prescribed(fed: Fed): number | undefined {
  const whole = wholeInputs(fed)
  const fixed = fed.inputs.find(({ name, shape }) => typeof shape?.[0] === 'number' && !whole.has(name))
  return (fixed?.shape?.[0] as number | undefined) ?? (whole.size > 0 ? 1 : undefined)
}

/** How samples are cut for models that run on the same ones. Throws `E_DATA_SHAPE` when they prescribe different numbers. */
export function batching(models: readonly Fed[], wanted: number): Batching {
  const sizes = new Set(models.flatMap((m) => prescribed(m) ?? []))
  if (sizes.size > 1)
    throw new PareError('E_DATA_SHAPE', `the models fix different batch sizes: ${[...sizes].join(', ')}`)
  const [only] = sizes
  return only === undefined ? { size: wanted, isFixed: false } : { size: only, isFixed: true }
}

/** As many samples as fit into `bytes`, at least 1 and at most `most`. */
export const samplesWithin = (bytes: number, perSample: number, most: number): number =>
  Math.max(1, Math.min(most, Math.floor(bytes / perSample)))

/** A batch as models are run on it. */
export const runOf = (batch: Batch, { size, isFixed }: Batching): Run => ({ batch, size: isFixed ? size : batch.n })

/** The data, run by run. */
export async function* runs(dataset: Dataset, how: Batching, o: RunsOptions): AsyncGenerator<Run> {
  for await (const batch of dataset.batches({ batch: how.size, ...(o.indices ? { indices: o.indices } : {}) })) {
    stopIfAborted(o.signal)
    const run = runOf(batch, how)
    if (o.rest === 'fill' || run.size === batch.n) yield run
  }
}

/**
 * The first run, filled up; of one sample that of median length, where samples differ in length. Throws `E_DATA` when there
 * are no samples.
 */
export async function firstRun(dataset: Dataset, how: Batching, indices?: readonly number[]): Promise<Run> {
  const picked = indices ?? (how.size === 1 || how.isFixed ? typical(dataset) : undefined)
  for await (const run of runs(dataset, how, { rest: 'fill', ...(picked ? { indices: picked } : {}) })) return run
  throw new PareError('E_DATA', 'there are no samples')
}

/** The first sample of median length. */
function typical({ lengths }: Dataset): readonly number[] | undefined {
  if (!lengths || lengths.length === 0) return undefined
  const sorted = [...lengths].sort((a, b) => a - b)
  return [lengths.indexOf(sorted[Math.floor((sorted.length - 1) / 2)] as number)]
}

/** A model's inputs, by name, of sequences at their first step; what else the data has is left out. Throws `E_DATA_SHAPE` for missing inputs. */
export function feedsOf({ inputs }: Fed, run: Run): Readonly<Record<string, Tensor>> {
  const { size } = run
  const batch = run.batch.stepped ? stepOf(run.batch, 0) : run.batch
  const feeds: Record<string, Tensor> = {}
  for (const input of inputs) {
    const { name, shape } = input
    const given = Object.hasOwn(batch.inputs, name) ? batch.inputs[name] : undefined
    const empty = given ? undefined : emptyState(input, size)
    if (empty) feeds[name] = empty
    if (empty) continue
    if (!given)
      throw new PareError('E_DATA_SHAPE', `the data has nothing for the model's input ${name}`, {
        facts: { data: Object.keys(batch.inputs).join(', ') }
      })
    if (given.shape.length - 1 === shape?.length) feeds[name] = firstSample(given)
    else feeds[name] = batch.n < size ? resize(given, batch.n, size) : given
  }
  return feeds
}

// ---------------------------------------------------------------- outputs

/** Runs a model; its results are those of the samples alone, samples first. Throws `E_DATA_SHAPE` for missing inputs. */
export async function runOn(session: Session, run: Run): Promise<Record<string, Tensor>> {
  const { batch, size } = run
  if (batch.stepped) return oneByOne(session, batch)
  if (size === 1) return alone(session, batch)
  if (places.get(session) === 'none') return oneByOne(session, batch)
  const outputs = await together(session, run)
  if (outputs === undefined) return oneByOne(session, batch)
  return batch.n < size ? mapAll(outputs, (t) => resize(t, size, batch.n)) : outputs
}

/** A run of a session as an entry of what is timed interleaved. */
export const timedRun = (
  name: string,
  session: Session,
  run: Run
): { readonly name: string; run(): Promise<unknown>; spentMs?(): number } => ({
  name,
  run: () => runOn(session, run),
  ...(session.spentMs ? { spentMs: session.spentMs } : {})
})

/** Did the session turn out to give what belongs to a sample only on that sample alone? */
const isSingle = (session: Session): boolean => places.get(session) === 'none'

/** The same samples, at most `most` in a batch. */
export const atMost = (dataset: Dataset, most: number): Dataset => ({
  ...dataset,
  batches: ({ batch, indices }) => dataset.batches({ batch: Math.min(batch, most), ...(indices ? { indices } : {}) })
})

/** The same samples, each in a batch of its own. */
export const singly = (dataset: Dataset): Dataset => atMost(dataset, 1)

/** What is said of a model whose samples are run one by one, although its inputs take several. */
export const singlyNote =
  'the model gives the results of a sample only when it is run on that sample alone: samples run one by one'

/** One run of a model: for samples that are sequences, one step of one. */
export interface FedStep {
  readonly feeds: Readonly<Record<string, Tensor>>
  readonly outputs: Readonly<Record<string, Tensor>>
}

/** What the model gives for a run as it gives it: at once, or for each step of each sample that is a sequence. */
export async function* stepwise(session: Session, run: Run): AsyncGenerator<Readonly<Record<string, Tensor>>> {
  for await (const { outputs } of fedSteps(session, run)) yield outputs
}

/** The same with what the model is fed, states that it gave itself at the step before among it. */
export async function* fedSteps(session: Session, run: Run): AsyncGenerator<FedStep> {
  const { batch } = run
  if (!batch.stepped) {
    const feeds = feedsOf(session, run)
    yield { feeds, outputs: await session.run(feeds) }
  } else
    for (let i = 0; i < batch.n; i++)
      yield* stepsOn(session, sampleOf(batch, i), (step) => feedsOf(session, { batch: step, size: 1 }))
}

/** Must samples be run one by one, although the inputs take several? Tried on the first two. */
export async function runsSingly(session: Session, dataset: Dataset): Promise<boolean> {
  if (prescribed(session) !== undefined || dataset.size < 2) return false
  await runOn(session, await firstRun(dataset, { size: 2, isFixed: false }, [0, 1]))
  return isSingle(session)
}

/** What was found of sessions that do not tell it by symbols; `none`: their samples run one by one. */
const places = new WeakMap<Session, ReadonlyMap<string, Place> | 'none'>()

/** All samples in one run; `undefined` where that cannot be. */
async function together(session: Session, run: Run): Promise<Record<string, Tensor> | undefined> {
  const isFree = prescribed(session) === undefined
  let outputs: Record<string, Tensor>
  try {
    outputs = await session.run(feedsOf(session, run))
  } catch (e) {
    if (!isFree) throw e
    await alone(session, sampleOf(run.batch, 0)).catch(() => {
      throw e
    })
    places.set(session, 'none')
    return undefined
  }
  const known = places.get(session) ?? (await placesIn(session, run, outputs, isFree))
  if (known === 'none') {
    places.set(session, 'none')
    return undefined
  }
  const placed = Object.entries(outputs).map(([name, t]) => [name, known.get(name), t] as const)
  const isSound = placed.every(([, p, t]) => !p || t.shape[p.axis] === p.each * run.size)
  if (isFree && !isSound) {
    places.set(session, 'none')
    return undefined
  }
  return Object.fromEntries(placed.map(([name, p, t]) => [name, p ? samplesFirst(t, p, run.size) : t]))
}

/** Places of all outputs: as declared, or else as one sample alone tells. */
async function placesIn(
  session: Session,
  run: Run,
  outputs: Readonly<Record<string, Tensor>>,
  isFree: boolean
): Promise<ReadonlyMap<string, Place> | 'none'> {
  const found = new Map<string, Place>()
  const open: [string, Tensor][] = []
  for (const [name, t] of Object.entries(outputs)) {
    const place = isFree ? declaredPlace(session, name, t, run.size) : prescribedPlace(t, run.size)
    if (place) found.set(name, place)
    else open.push([name, t])
  }
  if (open.length === 0 || !isFree) return found
  const single = await session.run(feedsOf(session, { batch: sampleOf(run.batch, 0), size: 1 }))
  for (const [name, t] of open) {
    const place = grownAxis(single[name]?.shape ?? [], t.shape, run.size)
    if (!place) return 'none'
    found.set(name, place)
  }
  places.set(session, found)
  return found
}

/** The axis that holds the symbol which the inputs begin with. */
function declaredPlace(session: Session, name: string, t: Tensor, size: number): Place | undefined {
  const symbol = session.inputs.map((i) => i.shape?.[0]).find((d) => typeof d === 'string' && d !== '?')
  const shape = session.outputs.find((o) => o.name === name)?.shape
  if (typeof symbol !== 'string' || !shape) return undefined
  for (const [axis, d] of shape.entries()) {
    const each = typeof d === 'string' ? evaluateDim(d, { [symbol]: 1 }) : undefined
    const isLinear = each && evaluateDim(d, { [symbol]: 2 }) === 2 * each
    if (isLinear && t.shape[axis] === each * size) return { axis, each }
  }
  return undefined
}

/** In a model that prescribes its batch, only sizes tell: the first axis, or else the only one of that size. */
function prescribedPlace({ shape }: Tensor, size: number): Place | undefined {
  if (shape[0] === size) return { axis: 0, each: 1 }
  const axes = shape.flatMap((d, axis) => (d === size ? [axis] : []))
  if (axes.length === 1) return { axis: axes[0] as number, each: 1 }
  return shape[0] && shape[0] % size === 0 ? { axis: 0, each: shape[0] / size } : undefined
}

/** The only axis in which `many` samples and one differ, where it is so many times as long. */
function grownAxis(one: readonly number[], many: readonly number[], size: number): Place | undefined {
  const axes = many.flatMap((d, axis) => (d === one[axis] ? [] : [axis]))
  const [axis] = axes
  const each = axis === undefined ? undefined : one[axis]
  if (one.length !== many.length || axes.length !== 1 || axis === undefined || !each) return undefined
  return many[axis] === each * size ? { axis, each } : undefined
}

/** One sample's outputs: all of them are that sample's. */
async function alone(session: Session, batch: Batch): Promise<Record<string, Tensor>> {
  const steps: Readonly<Record<string, Tensor>>[] = []
  for await (const given of stepwise(session, { batch, size: 1 })) steps.push(given)
  const outputs = batch.stepped ? joinSteps(session, steps) : (steps[0] ?? {})
  return mapAll(outputs, (t) => (t.shape[0] === 1 ? t : { ...t, shape: [1, ...t.shape] }))
}

async function oneByOne(session: Session, batch: Batch): Promise<Record<string, Tensor>> {
  const given: Record<string, Tensor>[] = []
  for (let i = 0; i < batch.n; i++) given.push(await alone(session, sampleOf(batch, i)))
  return mapAll(given[0] ?? {}, (_, name) =>
    stacked(
      given.map((g) => g[name] as Tensor),
      name
    )
  )
}
