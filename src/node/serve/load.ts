/**
 * A file becomes a served model: it is opened (of another format than ONNX: written as ONNX in memory first), run, parted into its stages where it has any, and measured. What it is run on is made up,
 * or what stands in `samples.npz` beside it, which then also says what must come out.
 */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { hasEnding } from '../../base/endings.ts'
import { PareError } from '../../base/errors.ts'
import { least } from '../../base/extremes.ts'
import { rng } from '../../base/random.ts'
import { readNpz } from '../../data/npz.ts'
import { onnx } from '../../formats/onnx/format.ts'
import { preparedInputs, seriesLengths } from '../../search/made-inputs.ts'
import { difference, type Inputs, rowsOf } from '../../serve/batching.ts'
import type { Port, Signature } from '../../serve/types.ts'
import type { DType, Model, Tensor } from '../../types.ts'
import { fileBytes, load } from '../files.ts'
import type { Route, Stage } from './model.ts'
import { contentOf, type OpenFile, opener, type Using } from './open.ts'
import { partedStages } from './parting.ts'
import { proofSamples, type Runs, type TuneOptions, tuned, words } from './tune.ts'

/** A stage as it was measured; `goingOn` is the share of samples that went on where the threshold was chosen. */
export type LoadedStage = Pick<Stage, 'name' | 'key' | 'file' | 'inputs' | 'outputs' | 'tuning' | 'warm'> & {
  readonly route?: Omit<Route, 'answered'>
}

export interface Loaded {
  readonly signature: Signature
  readonly stages: readonly [LoadedStage, ...LoadedStage[]]
  /** What its results were held against. */
  readonly checked: string
}

/**
 * `key`: what the keys of all that is opened begin with. Throws `E_RUN` where the model does not open or run, `E_UNSUPPORTED` for types
 * that requests cannot have, `E_DATA` where stored samples say otherwise.
 */
export async function loadModel(path: string, key: string, using: Using, o: TuneOptions): Promise<Loaded> {
  const open = opener(key, using)
  const model = await load(path)
  const isOwn = hasEnding(path, onnx.extensions)
  const whole = await open('whole', isOwn ? path : contentOf(model), model)
  const { signature, runs } = whole
  const stored = storedSamples(path, signature)
  const made = stored?.inputs ?? (await madeSamples(model, signature, runs))
  const checked = stored ? await checkStored(stored, runs) : 'ran on made-up inputs; there is no samples.npz beside it'
  const parted = await partedStages(model, signature, made, open)
  if (!parted?.stages) {
    const { tuning, warm } = await tuned(signature, made, runs, whole.weight, o)
    const why = parted ? `${tuning.why}; ${parted.why}` : tuning.why
    return { signature, checked, stages: [{ ...loaded('model', whole), tuning: { ...tuning, why }, warm }] }
  }
  await whole.close()
  const { mask: _, ...rest } = o
  const stages: LoadedStage[] = []
  for (const { name, opened, samples, route } of parted.stages) {
    const budgetMs = o.budgetMs / parted.stages.length
    const measured = await tuned(opened.signature, samples, opened.runs, opened.weight, { ...rest, budgetMs })
    stages.push({ ...loaded(name, opened), ...measured, route })
  }
  return { signature, checked: `${checked}; ${parted.why}`, stages: stages as [LoadedStage, ...LoadedStage[]] }
}

const loaded = (
  name: string,
  { key, file, signature }: OpenFile
): Pick<Stage, 'name' | 'key' | 'file' | 'inputs' | 'outputs'> => ({
  ...{ name, key, file },
  inputs: signature.inputs.map((p) => p.name),
  outputs: signature.outputs.map((p) => p.name)
})

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
