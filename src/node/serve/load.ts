/**
 * A file becomes a served model: it is opened, run, timed with 1, 2, 4 … samples, and asked whether a sample's results are its own. What
 * it is measured on is made up, or what stands in `samples.npz` beside it, which then also says what must come out.
 */
import { existsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { PareError } from '../../base/errors.ts'
import { least } from '../../base/extremes.ts'
import { rng } from '../../base/random.ts'
import { readNpz } from '../../data/npz.ts'
import { type Fed, prescribed, wholeInputs } from '../../runtime/batches.ts'
import { askedInputs, preparedInputs, seriesLengths } from '../../search/made-inputs.ts'
import {
  chooseBatch,
  difference,
  type Inputs,
  joined,
  pieceSize,
  rowsOf,
  rowsOfAll,
  sameWithin
} from '../../serve/batching.ts'
import { datatypeOf } from '../../serve/datatypes.ts'
import { cut, lengthSymbol, padded } from '../../serve/padding.ts'
import type { Port, Signature } from '../../serve/types.ts'
import type { Dim, DType, Model, Tensor } from '../../types.ts'
import { fileBytes, load } from '../files.ts'
import type { Tuning } from './model.ts'
import { copyOf, run, tensorsOf } from './pool.ts'
import type { Opened, Told } from './program.ts'
import type { Worker } from './worker.ts'

export interface LoadOptions {
  /** The time that measuring may take, ms. */
  readonly budgetMs: number
  /** Batches of more samples are not tried. */
  readonly mostBatch: number
  /** A run may take no longer, ms. */
  readonly mostMs: number
  /** An input that says which positions count: requests of different lengths are filled up and run together. */
  readonly mask?: string
}

export interface Loaded {
  readonly signature: Signature
  readonly tuning: Tuning
  /** What other workers are warmed up with. */
  readonly warm: readonly Inputs[]
  /** What its results were held against. */
  readonly checked: string
}

const sizes = [1, 2, 4, 8, 16, 32, 64] as const

/** Samples that are run alone and in company. */
const proofSamples = 8

/** Neighbours so much larger show scales that are taken over a whole batch. */
const loud = 50

/** Does something with a worker; what waits for it may run between two calls. */
export type Using = <T>(task: (worker: Worker) => Promise<T>) => Promise<T>

/** Throws `E_RUN` where the model does not open or run, `E_UNSUPPORTED` for types that requests cannot have, `E_DATA` where stored samples say otherwise. */
export async function loadModel(path: string, key: string, using: Using, o: LoadOptions): Promise<Loaded> {
  const opened = await using((worker) => worker.ask<Opened>({ do: 'open', key, path }))
  const model = await load(path)
  const signature = signatureOf(model, opened)
  const names = signature.outputs.map((p) => p.name)
  const runs = async (inputs: Inputs): Promise<{ outputs: Inputs; ms: number }> => {
    const { outputs, ms, cpuMs } = await using((worker) => run(worker, key, copyOf(inputs), names))
    // Where other programs hold the processor, long runs would seem slower than short ones.
    return { outputs: tensorsOf(outputs), ms: Math.min(ms, cpuMs) }
  }
  const stored = storedSamples(path, signature)
  const made = stored?.inputs ?? (await madeSamples(model, signature, runs))
  const first = await runs(made[0] as Inputs)
  const checked = stored ? await checkStored(stored, runs) : 'ran on made-up inputs; there is no samples.npz beside it'
  const facts = {
    sampleBytes: bytesOf(made[0] as Inputs),
    bytes: Math.max(opened.bytes, statSync(path).size),
    loadMs: opened.loadMs
  }
  const alone = (why: string): Loaded['tuning'] => ({
    ...{ isBatched: false, size: 1, piece: 1, times: new Map([[1, first.ms]]), why },
    ...facts
  })
  const reason = unbatched(signature, made)
  if (reason !== undefined)
    return { signature, checked, warm: made.slice(0, 1), tuning: await timedAlone(alone(reason), made, runs, o) }
  const proof = await independent(made, runs, signature)
  if (proof !== undefined)
    return { signature, checked, warm: made.slice(0, 1), tuning: await timedAlone(alone(proof), made, runs, o) }
  const times = await timed(made, runs, o)
  const { size, why } = chooseBatch(times, o.mostMs)
  const filled = o.mask === undefined ? undefined : await paddable(made[0] as Inputs, runs, signature, o.mask)
  const tuning = {
    ...{ isBatched: true, size, piece: pieceSize(times, size), times, ...facts },
    why: filled ? `${why}; ${filled.why}` : why,
    ...(filled?.symbol === undefined ? {} : { padded: filled.symbol })
  }
  return { signature, checked, tuning, warm: [made[0] as Inputs, ...(size > 1 ? [many(made, size)] : [])] }
}

type Runs = (inputs: Inputs) => Promise<{ outputs: Inputs; ms: number }>

/** Sizes and types as the file has them; the engine tells no scalar from a value of any rank. */
function signatureOf(model: Model, { inputs, outputs }: Opened): Signature {
  const known = new Map(askedInputs(model).map((i) => [i.name, i]))
  const asked = inputs.filter((i) => known.size === 0 || known.has(i.name))
  return {
    inputs: asked.map((i) => port(i, known.get(i.name)?.shape)),
    outputs: outputs.map((o) => port(o, model.graph.values.get(o.name)?.shape))
  }
}

function port({ name, dtype, shape }: Told, declared: readonly Dim[] | undefined): Port {
  if (dtype === undefined || datatypeOf(dtype as DType) === undefined)
    throw new PareError('E_UNSUPPORTED', `${dtype ?? 'an unknown type'} cannot be sent in requests`, { where: name })
  const sizes = declared ?? (shape?.length ? shape.map((d) => (d === '' ? '?' : d)) : undefined)
  return { name, dtype: dtype as DType, ...(sizes ? { shape: sizes } : {}) }
}

const fedOf = ({ inputs }: Signature): Fed => ({ inputs })

/** Samples that the model runs on: where a length is free, the first of the plausible ones. Throws what the runtime says of the last. */
async function madeSamples(model: Model, signature: Signature, runs: Runs): Promise<readonly Inputs[]> {
  let reason: unknown
  for (const series of [undefined, ...seriesLengths(model)]) {
    const o = { rng: rng(0), count: proofSamples, alike: true, ...(series === undefined ? {} : { series }) }
    const made = preparedInputs(model, signature.inputs, o).map((inputs) => new Map(Object.entries(inputs)))
    try {
      await runs(made[0] as Inputs)
      return made
    } catch (error) {
      reason = error
    }
  }
  throw reason
}

const bytesOf = (inputs: Inputs): number => [...inputs.values()].reduce((n, t) => n + t.bytes.length, 0)

/** Samples one behind the other, repeated up to `n`. */
const many = (made: readonly Inputs[], n: number): Inputs =>
  joined(
    Array.from({ length: n }, (_, i) => made[i % made.length] as Inputs),
    (bytes) => new Uint8Array(bytes)
  )

/** Why requests of this model cannot be joined, by its signature. */
function unbatched(signature: Signature, made: readonly Inputs[]): string | undefined {
  const fed = fedOf(signature)
  const whole = [...wholeInputs(fed)]
  if (whole.length) return `requests are run alone: input ${whole[0]} does not begin with the samples`
  const fixed = prescribed(fed)
  if (fixed !== undefined) return `requests are run alone: the model fixes its batch at ${fixed}`
  if (made.some((inputs) => [...inputs.values()].some((t) => t.shape[0] !== 1)))
    return 'requests are run alone: not every input begins with the samples'
  return undefined
}

/**
 * Why a sample's results depend on its company, or `undefined` where they do not: every sample is run alone, all together, and all
 * beside one whose numbers are 50 times as large.
 */
async function independent(made: readonly Inputs[], runs: Runs, { outputs }: Signature): Promise<string | undefined> {
  const samples = Array.from({ length: proofSamples }, (_, i) => made[i % made.length] as Inputs)
  const alone: Inputs[] = []
  for (const sample of samples) alone.push((await runs(sample)).outputs)
  const louder = new Map([...(samples[0] as Inputs)].map(([name, t]) => [name, amplified(t)]))
  for (const company of [samples, [louder, ...samples.slice(1)]]) {
    let together: Inputs
    try {
      together = (await runs(many(company, company.length))).outputs
    } catch (error) {
      return `requests are run alone: the model does not run on ${company.length} samples (${error instanceof Error ? error.message.slice(0, 200) : error})`
    }
    for (const { name } of outputs) {
      const [one, all] = [alone[0]?.get(name)?.shape ?? [], together.get(name)?.shape ?? []]
      if (one[0] !== 1 || all[0] !== company.length)
        return `requests are run alone: output ${name} does not begin with the samples`
    }
    for (let i = 1; i < company.length; i++) {
      const d = difference(alone[i] as Inputs, rowsOfAll(together, i, i + 1))
      if (d > sameWithin)
        return `requests are run alone: a sample’s results depend on its company (they differ by ${words(d)})`
    }
  }
  return undefined
}

/** Filled up by the mask, results may differ by so much: softmax over more positions adds up in another order. */
const filledWithin = 1e-4

/** Does what is filled up by the mask leave the results as they are? Models without that input are run as they are. */
async function paddable(
  sample: Inputs,
  runs: Runs,
  signature: Signature,
  mask: string
): Promise<{ readonly symbol?: string; readonly why: string } | undefined> {
  if (!signature.inputs.some((p) => p.name === mask)) return undefined
  const symbol = lengthSymbol(signature, mask)
  const shorter = cut(sample, { ...signature, outputs: signature.inputs }, symbol, 5)
  const { inputs, length } = padded(shorter, signature, symbol)
  const d = difference((await runs(shorter)).outputs, cut((await runs(inputs)).outputs, signature, symbol, length))
  if (d <= filledWithin) return { symbol, why: `requests are filled up to 8, 12, 16, 24 … ${symbol} by ${mask}` }
  return {
    why: `requests are not filled up: ${mask} does not keep what is added out of the results (they differ by ${words(d)})`
  }
}

const words = (d: number): string => (d === Number.POSITIVE_INFINITY ? 'shapes or whole values' : d.toExponential(1))

/** Numbers that are not indices, made larger. */
function amplified(t: Tensor): Tensor {
  if (t.dtype !== 'float32') return t
  const bytes = new Uint8Array(t.bytes as Uint8Array)
  const values = new Float32Array(bytes.buffer)
  for (const [i, v] of values.entries()) values[i] = v * loud
  return { ...t, bytes }
}

/**
 * ms by number of samples, as far as the budget goes. Sizes take turns, and the lower quartile counts: whatever else the machine does
 * makes runs longer and never shorter.
 */
async function timed(made: readonly Inputs[], runs: Runs, o: LoadOptions): Promise<ReadonlyMap<number, number>> {
  const all = new Map<number, number[]>()
  const began = performance.now()
  // The first round tells how far the budget goes.
  for (const size of sizes) {
    const last = least(all.get(size / 2) ?? [0])
    if (all.size > 0 && (size > o.mostBatch || (performance.now() - began + 4 * last) * leastRounds > o.budgetMs)) break
    await runs(many(made, size))
    all.set(size, [(await runs(many(made, size))).ms])
  }
  for (let round = 1; round < mostRounds && (round < leastRounds || performance.now() - began < o.budgetMs); round++)
    for (const [size, ms] of all) ms.push((await runs(many(made, size))).ms)
  return new Map([...all].map(([size, ms]) => [size, lowerQuartile(ms)]))
}

const [leastRounds, mostRounds] = [3, 50]

const lowerQuartile = (all: readonly number[]): number =>
  all.toSorted((a, b) => a - b)[Math.floor(all.length / 4)] as number

const timedAlone = async (tuning: Tuning, made: readonly Inputs[], runs: Runs, o: LoadOptions): Promise<Tuning> => ({
  ...tuning,
  times: await timed(made, runs, { ...o, mostBatch: 1, budgetMs: o.budgetMs / 4 })
})

/** Samples of a user's own, and what must come out. */
interface Stored {
  readonly file: string
  readonly inputs: readonly Inputs[]
  readonly outputs: readonly Inputs[]
}

const samplesFile = 'samples.npz'

/** `samples.npz` beside the model: an array for each input, and for as many outputs as are to be checked. Throws `E_DATA`. */
function storedSamples(path: string, { inputs, outputs }: Signature): Stored | undefined {
  const file = join(dirname(path), samplesFile)
  if (!existsSync(file)) return undefined
  const arrays = readNpz(fileBytes(file), samplesFile)
  const missing = inputs.find((p) => !arrays.has(p.name))
  if (missing) throw new PareError('E_DATA', `there is no array for input ${missing.name}`, { where: samplesFile })
  const all = (ports: readonly Port[]): Inputs =>
    new Map(
      ports.flatMap(({ name, dtype }) => {
        const t = arrays.get(name)?.()
        return t ? [[name, typed(t, dtype, name)]] : []
      })
    )
  const [given, expected] = [all(inputs), all(outputs)]
  const n = least([proofSamples, ...[...given.values(), ...expected.values()].map((t) => t.shape[0] ?? 0)])
  if (!(n >= 1)) throw new PareError('E_DATA', 'there are no samples in it', { where: samplesFile })
  const rows = (from: Inputs): Inputs[] =>
    Array.from({ length: n }, (_, i) => new Map([...from].map(([name, t]) => [name, rowsOf(t, i, i + 1)])))
  return { file, inputs: rows(given), outputs: rows(expected) }
}

function typed(t: Tensor, dtype: DType, name: string): Tensor {
  if (t.dtype !== dtype)
    throw new PareError('E_DATA', `the array ${name} is ${t.dtype}, the model has ${dtype}`, { where: samplesFile })
  return t
}

/** Stored results may come from another machine or another form of the model. */
const storedWithin = 1e-2

async function checkStored({ inputs, outputs }: Stored, runs: Runs): Promise<string> {
  const names = [...(outputs[0]?.keys() ?? [])]
  let worst = 0
  for (const [i, sample] of inputs.entries()) {
    const given = (await runs(sample)).outputs
    const d = difference(outputs[i] as Inputs, given)
    worst = Math.max(worst, d)
    if (d > storedWithin)
      throw new PareError('E_DATA', `sample ${i} gives other results than ${samplesFile} says`, {
        facts: {
          difference: words(d),
          allowed: String(storedWithin)
        }
      })
  }
  return names.length
    ? `${inputs.length} stored samples give what they should (largest difference ${worst.toExponential(1)})`
    : `ran on ${inputs.length} stored samples, which say no results`
}
