/**
 * How data is cut into runs of a model: how many samples a run takes, what the model is fed, and which part of its
 * outputs belongs to the samples. Whatever depends on where inputs and outputs have their batch axis is decided here: the
 * first axis is the batch; a number there is the batch that the model prescribes.
 *
 *     const how = batching([session], 32)
 *     for await (const run of runs(dataset, how, { rest: 'fill' })) { const outputs = await runOn(session, run) … }
 */
import { part } from '../base/bytes.ts'
import { PareError, stopIfAborted } from '../base/errors.ts'
import { byteLength, elementCount, tensor } from '../ir/tensor.ts'
import type { Batch, Dataset, Model, Session, Tensor } from '../types.ts'

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

/**
 * The samples of a run that a model prescribes; `undefined` where it takes any number. A model whose inputs prescribe
 * different numbers has inputs without a batch axis, and takes one sample a run.
 */
export function prescribed({ inputs }: Fed): number | undefined {
  const sizes = new Set(inputs.flatMap(({ shape }) => (typeof shape?.[0] === 'number' ? [shape[0]] : [])))
  return sizes.size > 1 ? 1 : [...sizes][0]
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

/** The first run, filled up. Throws `E_DATA` when there are no samples. */
export async function firstRun(dataset: Dataset, how: Batching, indices?: readonly number[]): Promise<Run> {
  for await (const run of runs(dataset, how, { rest: 'fill', ...(indices ? { indices } : {}) })) return run
  throw new PareError('E_DATA', 'there are no samples')
}

/** Runs a model; its results are those of the samples alone. Throws `E_DATA_SHAPE` for missing inputs. */
export async function runOn(session: Session, run: Run): Promise<Record<string, Tensor>> {
  const outputs = await session.run(feedsOf(session, run))
  const { batch, size } = run
  if (batch.n >= size) return outputs
  return Object.fromEntries(Object.entries(outputs).map(([name, t]) => [name, resize(t, size, batch.n)]))
}

/** A model's inputs, by name; what else the data has is left out. Throws `E_DATA_SHAPE` for missing inputs. */
export function feedsOf({ inputs }: Fed, { batch, size }: Run): Readonly<Record<string, Tensor>> {
  const feeds: Record<string, Tensor> = {}
  for (const { name } of inputs) {
    const given = Object.hasOwn(batch.inputs, name) ? batch.inputs[name] : undefined
    if (!given)
      throw new PareError('E_DATA_SHAPE', `the data has nothing for the model's input ${name}`, {
        facts: { data: Object.keys(batch.inputs).join(', ') }
      })
    feeds[name] = batch.n < size ? resize(given, batch.n, size) : given
  }
  return feeds
}

/** A tensor of `from` samples made one of `to`: cut, or filled up with the last sample. Others are left alone. */
function resize(t: Tensor, from: number, to: number): Tensor {
  const first = t.shape[0]
  if (first === undefined || first === 0 || first % from !== 0) return t
  const rows = first / from
  const shape = [to * rows, ...t.shape.slice(1)]
  const perSample = elementCount(t.shape) / from
  if (t.strings) {
    const strings = Array.from({ length: to * perSample }, (_, i) => {
      const sample = Math.min(Math.floor(i / perSample), from - 1)
      return t.strings?.[sample * perSample + (i % perSample)] ?? ''
    })
    return tensor('string', shape, strings)
  }
  const size = byteLength(t.dtype, perSample)
  if (to <= from) return { dtype: t.dtype, shape, bytes: part(t.bytes, 0, to * size) }
  const bytes = new Uint8Array(to * size)
  bytes.set(t.bytes.slice(0, from * size))
  const last = t.bytes.slice((from - 1) * size, from * size)
  for (let i = from; i < to; i++) bytes.set(last, i * size)
  return { dtype: t.dtype, shape, bytes }
}
