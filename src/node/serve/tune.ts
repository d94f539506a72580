/**
 * How a model, or a stage of one, is run: how many samples together, and whether at all. It is timed with 1, 2, 4 … samples, and asked
 * whether a sample's results are its own.
 */
import { least } from '../../base/extremes.ts'
import { type Fed, prescribed, wholeInputs } from '../../runtime/batches.ts'
import { chooseBatch, difference, type Inputs, joined, pieceSize, rowsOfAll, sameWithin } from '../../serve/batching.ts'
import { cut, lengthSymbol, padded } from '../../serve/padding.ts'
import type { Signature } from '../../serve/types.ts'
import type { Tensor } from '../../types.ts'
import type { Tuning } from './model.ts'

export interface TuneOptions {
  /** The time that measuring may take, ms. */
  readonly budgetMs: number
  /** Batches of more samples are not tried. */
  readonly mostBatch: number
  /** A run may take no longer, ms. */
  readonly mostMs: number
  /** An input that says which positions count: requests of different lengths are filled up and run together. */
  readonly mask?: string
}

/** What a copy of the model takes, and how long it took to open. */
export interface Weight {
  readonly bytes: number
  readonly loadMs: number
}

/** Runs inputs; ms as the model alone takes. */
export type Runs = (inputs: Inputs) => Promise<{ readonly outputs: Inputs; readonly ms: number }>

/** A choice, and what other workers are warmed up with. */
export interface Tuned {
  readonly tuning: Tuning
  readonly warm: readonly Inputs[]
}

/** Measures a model on samples of its own. */
export async function tuned(
  signature: Signature,
  samples: readonly Inputs[],
  runs: Runs,
  weight: Weight,
  o: TuneOptions
): Promise<Tuned> {
  const one = samples[0] as Inputs
  const facts = { sampleBytes: bytesOf(one), ...weight }
  const reason = unbatched(signature, samples) ?? (await independent(samples, runs, signature))
  if (reason !== undefined) {
    const times = await timed(samples, runs, { ...o, mostBatch: 1, budgetMs: o.budgetMs / 4 })
    return { tuning: { ...{ isBatched: false, size: 1, piece: 1, times, why: reason }, ...facts }, warm: [one] }
  }
  const times = await timed(samples, runs, o)
  const { size, why } = chooseBatch(times, o.mostMs)
  const filled = o.mask === undefined ? undefined : await paddable(one, runs, signature, o.mask)
  const tuning = {
    ...{ isBatched: true, size, piece: pieceSize(times, size), times, ...facts },
    why: filled ? `${why}; ${filled.why}` : why,
    ...(filled?.symbol === undefined ? {} : { padded: filled.symbol })
  }
  return { tuning, warm: [one, ...(size > 1 ? [many(samples, size)] : [])] }
}

const sizes = [1, 2, 4, 8, 16, 32, 64] as const

/** Samples that are run alone and in company. */
export const proofSamples = 8

/** Neighbours so much larger show scales that are taken over a whole batch. */
const loud = 50

const fedOf = ({ inputs }: Signature): Fed => ({ inputs })

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

/** A difference for a reader. */
export const words = (d: number): string =>
  d === Number.POSITIVE_INFINITY ? 'shapes or whole values' : d.toExponential(1)

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
async function timed(made: readonly Inputs[], runs: Runs, o: TuneOptions): Promise<ReadonlyMap<number, number>> {
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
