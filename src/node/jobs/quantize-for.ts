/**
 * `quantize-for`: the files that a library loads by name, for every model of a folder, each checked against its original.
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { PareError, stopIfAborted } from '../../base/errors.ts'
import { rng } from '../../base/random.ts'
import { splitData } from '../../data/split.ts'
import { elementCount } from '../../ir/tensor.ts'
import type { Engine } from '../../measure/engines.ts'
import { inferShapes } from '../../ops/infer.ts'
import { applyRecipe } from '../../passes/recipe.ts'
import type { FamilyFile, FamilyRun, Report } from '../../report/types.ts'
import { bytesText } from '../../report/words.ts'
import type { Runner } from '../../runtime/types.ts'
import { askedInputs, preparedInputs } from '../../search/made-inputs.ts'
import { dtypes, dtypesFor, isHalf, type PresetDtype, recipeFor, suffixes } from '../../search/presets.ts'
import { targetFor } from '../../targets/index.ts'
import type { Dataset, Model, Tensor } from '../../types.ts'
import { openDataset } from '../dataset.ts'
import { fileBytes, load, save, sha256File } from '../files.ts'
import { isDataset, type Job, type JobHooks, type JobResult } from '../job.ts'
import { machineOf } from '../machine.ts'
import { checkedDataset } from '../modules.ts'
import { comparedWith, outputsOf, type Reference } from '../presets/compare.ts'
import {
  configIn,
  type FolderConfig,
  type FolderModel,
  modelsIn,
  refuseExisting,
  type Staging,
  stagingIn
} from '../presets/folder.ts'
import { type Runners, runnersFor, threadNotes } from '../runtimes.ts'
import { version } from '../version.ts'
import { webHint } from '../web-runner.ts'

/** How many samples a file is compared with its original on. */
const sampleCount = 6

interface Loaded extends FolderModel {
  readonly model: Model
  /** Bytes of the file and of the weights beside it. */
  readonly bytes: number
  readonly isExternal: boolean
}

interface Work {
  readonly job: Job
  readonly hooks: JobHooks
  readonly config: FolderConfig
  readonly staging: Staging
  readonly runners: Runners
  readonly engines: readonly Engine[]
  readonly data: ReadonlyMap<Loaded, Dataset>
  readonly notes: string[]
}

/** Makes all types of every model. The files that passed their check are put in place together, at the end. */
export async function quantizeForJob(job: Job, hooks: JobHooks): Promise<JobResult> {
  const folder = job.model
  const found = modelsIn(folder)
  const wanted = dtypesFor(job.only ?? dtypes)
  const into = join(job.out ?? folder, 'onnx')
  const force = job.force ?? false
  refuseExisting(
    into,
    found.flatMap((m) => wanted.map((d) => fileOf(m, d))),
    force
  )
  const config = configIn(folder)
  const models: Loaded[] = []
  for (const m of found) models.push(await loaded(m))
  const notes: string[] = []
  const data = await dataFor(job, models, notes)
  const runners = await runnersFor(target)
  const engines = enginesOf(runners, job.threads ?? 1, notes)
  const report = await reportOf(job, models, runners)
  hooks.opened?.(report, `${models.length} model${models.length === 1 ? '' : 's'} · ${bytesText(report.before.bytes)}`)
  const staging = stagingIn(into)
  try {
    const work: Work = { job, hooks, config, staging, runners, engines, data, notes }
    const files: Made[] = []
    for (const m of models) files.push(...(await familyOf(m, wanted, work)))
    const good = files.filter((f) => f.failed === undefined)
    stopIfAborted(hooks.signal)
    staging.place(
      good.flatMap((f) => [...(f.isExternal ? [`${f.path}_data`] : []), f.path]),
      force
    )
    const shown = files.map(({ isExternal: _, ...f }) => ({ ...f, path: join('onnx', f.path) }))
    const family = { preset: 'transformers-js', folder: job.out ?? folder, samples: sampleCount, files: shown }
    return {
      unmet: good.length < files.length,
      report: { ...report, notes: [...new Set([...notes, ...weightNotes(good, config)])], family }
    }
  } finally {
    staging.remove()
  }
}

const fileOf = (m: FolderModel, dtype: PresetDtype): string => `${m.name}${suffixes[dtype]}.onnx`

async function loaded(m: FolderModel): Promise<Loaded> {
  const own = fileBytes(m.path).length
  let beside = 0
  const model = await load(m.path, (file) => {
    beside += file.length
  })
  return { ...m, model: inferShapes(model), bytes: own + beside, isExternal: beside > 0 }
}

function enginesOf(runners: Runners, threads: number, notes: string[]): readonly Engine[] {
  const { engine, measured } = runners
  const named = (runner: Runner): Engine => ({ name: runner.name, runner })
  notes.push(...threadNotes(runners, threads))
  if (measured) return [named(engine), named(measured)]
  notes.push(`${target.runtime} is not installed, so the files were not run in it: ${webHint}`)
  return [named(engine)]
}

async function reportOf(job: Job, models: readonly Loaded[], runners: Runners): Promise<Report> {
  const hash = createHash('sha256')
  for (const m of models) hash.update(`${await sha256File(m.path)}\n`)
  return {
    pare: version,
    reportVersion: 1,
    command: job.line,
    model: { path: job.model, sha256: hash.digest('hex') },
    target: target.name,
    seed: job.seed ?? 0,
    threads: job.threads ?? 1,
    before: { bytes: models.reduce((n, m) => n + m.bytes, 0), metrics: {} },
    ...{ candidates: [], steps: [], refusals: [], notes: [], curves: {}, layers: [], recipe: [] },
    machine: machineOf(runners)
  }
}

const target = targetFor('ort-wasm')

// ---------------------------------------------------------------- one model

interface Made extends FamilyFile {
  readonly isExternal: boolean
}

type Values = Readonly<Record<string, Tensor>>

async function familyOf(m: Loaded, wanted: readonly PresetDtype[], work: Work): Promise<Made[]> {
  const { job, hooks, config } = work
  const data = work.data.get(m)
  const random = rng(job.seed ?? 0).fork(m.name)
  const samples = data
    ? await firstSamples(data)
    : preparedInputs(m.model, askedInputs(m.model), { facts: config.inputs, rng: random, count: sampleCount })
  const references = await referencesOf(m, samples, work)
  const calibration = data ? splitData(data, job.seed ?? 0).calibration : datasetOf(samples)
  const out: Made[] = []
  for (const [i, dtype] of wanted.entries()) {
    hooks.progress(m.name, i, wanted.length)
    stopIfAborted(hooks.signal)
    const made =
      typeof references === 'string'
        ? unmade(m, dtype, `the original does not run on ${data ? 'the data' : 'made-up inputs'}: ${references}`)
        : await oneFile(m, dtype, references, { own: data !== undefined, calibration }, work)
    out.push(made)
  }
  hooks.progress(m.name, wanted.length, wanted.length)
  return out
}

const unmade = (m: FolderModel, dtype: PresetDtype, failed: string): Made => ({
  ...{ model: m.name, dtype, path: fileOf(m, dtype), isExternal: false },
  ...{ recipe: [], runs: [], refusals: [], notes: [], failed }
})

/** The user's data, for each model whose inputs it holds. Throws the reason where it fits no model. */
async function dataFor(job: Job, models: readonly Loaded[], notes: string[]): Promise<ReadonlyMap<Loaded, Dataset>> {
  const given = job.data?.data
  const out = new Map<Loaded, Dataset>()
  if (!given) return out
  const misfits: PareError[] = []
  for (const m of models)
    try {
      const asked = askedInputs(m.model)
      out.set(
        m,
        isDataset(given)
          ? checkedDataset(given, 'data', asked)
          : await openDataset(given, asked, { modules: true, model: m.path })
      )
    } catch (error) {
      if (!(error instanceof PareError) || (error.code !== 'E_DATA_SHAPE' && error.code !== 'E_DATA')) throw error
      misfits.push(error)
      notes.push(`the data does not fit ${m.name} (${error.message}): it was checked on made-up inputs`)
    }
  if (out.size === 0 && misfits[0]) throw misfits[0]
  return out
}

async function firstSamples(data: Dataset): Promise<Values[]> {
  const out: Values[] = []
  const indices = Array.from({ length: Math.min(sampleCount, data.size) }, (_, i) => i)
  for await (const b of data.batches({ batch: 1, indices })) out.push(b.inputs)
  return out
}

/** Made inputs, each run alone because its shape is its own. Runs without elements are left out where others have some. */
function datasetOf(samples: readonly Values[]): Dataset {
  const isFull = (x: Values): boolean => Object.values(x).every((t) => elementCount(t.shape) > 0)
  const used = samples.some(isFull) ? samples.filter(isFull) : samples
  const firsts = new Set(Object.values(used[0] ?? {}).map((t) => t.shape[0]))
  const [n = 1] = firsts.size === 1 ? firsts : []
  return {
    size: used.length,
    labelled: false,
    async *batches({ indices }) {
      for (const i of indices ?? used.keys()) yield { n, inputs: used[i] as Values }
    }
  }
}

/** The original's outputs in each engine that runs it, or the reason why onnxruntime-node does not run it. */
async function referencesOf(m: Loaded, samples: readonly Values[], work: Work): Promise<readonly Reference[] | string> {
  const { engines, hooks, notes, job } = work
  const out: Reference[] = []
  for (const [i, engine] of engines.entries()) {
    const how = { threads: job.threads ?? 1, signal: hooks.signal }
    const outputs = await outputsOf(engine, { path: m.path }, samples, how)
    if (typeof outputs !== 'string') out.push({ engine, samples, outputs })
    else if (i === 0) return outputs
    else notes.push(`${engine.name} does not run ${m.name} itself, so its files were not run there: ${outputs}`)
  }
  return out
}

async function oneFile(
  m: Loaded,
  dtype: PresetDtype,
  references: readonly Reference[],
  data: { readonly own: boolean; readonly calibration: Dataset },
  work: Work
): Promise<Made> {
  const { job, hooks, staging } = work
  const recipe = recipeFor(dtype, m.model, data.own)
  try {
    const applied = await applyRecipe(m.model, recipe, {
      ...work.runners,
      data: { calibration: data.calibration },
      target,
      rng: rng(job.seed ?? 0).fork(`${m.name} ${dtype}`),
      signal: hooks.signal,
      progress: () => {}
    })
    const file = fileOf(m, dtype)
    const said = work.config.weightFiles(file, m.name)
    const saved = await save(applied.model, staging.path(file), {
      target,
      write: { external: said === undefined ? m.isExternal : said > 0, ...job.write },
      weightsName: `${file}_data`,
      signal: hooks.signal
    })
    const isExternal = saved.bytes > fileBytes(staging.path(file)).length
    const runs = await runsOf(dtype, staging.path(file), references, work)
    const failed = runs.find((r) => r.failed !== undefined)
    const isChanged = applied.steps.slice(1).some((s) => s.after.bytes !== s.before.bytes)
    return {
      ...{ model: m.name, dtype, path: file, bytes: saved.bytes, sha256: saved.sha256, ratio: saved.bytes / m.bytes },
      ...{ isExternal, recipe: applied.recipe, runs, refusals: applied.refusals },
      notes: [
        ...applied.notes,
        ...(isHalf(dtype) && !data.own
          ? ['values beyond float16 were looked for on made-up inputs: --data is better']
          : []),
        ...(isChanged ? [] : ['nothing in this model has a form in this type'])
      ],
      ...(failed ? { failed: `${failed.engine}: ${failed.failed}` } : {})
    }
  } catch (error) {
    if (!(error instanceof PareError) || !isOfTheModel(error)) throw error
    return unmade(m, dtype, error.message)
  }
}

/** Errors that concern one file only; full disks, interrupts and bugs end the whole command. */
const isOfTheModel = ({ code }: PareError): boolean =>
  code === 'E_OPSET' ||
  code === 'E_UNSUPPORTED' ||
  code === 'E_MODEL' ||
  code === 'E_RUN' ||
  code === 'E_DATA' ||
  code === 'E_DATA_SHAPE'

/**
 * Compares a file with its original in each engine that ran the original. A float16 file is also run as a processor with
 * float16 arithmetic would run it.
 */
async function runsOf(
  dtype: PresetDtype,
  path: string,
  references: readonly Reference[],
  { engines, job, hooks }: Work
): Promise<FamilyRun[]> {
  const runs: FamilyRun[] = []
  for (const reference of references) {
    const how = { threads: job.threads ?? 1, signal: hooks.signal }
    const run = await comparedWith(reference, { path }, how)
    const isRounded = isHalf(dtype) && run.failed === undefined && reference.engine === engines[0]
    runs.push(isRounded ? await comparedWith(reference, { path }, { ...how, optimization: 'disabled' }) : run)
  }
  return runs
}

/** The note for transformers.js, which reads only in `config.json` how many files of weights lie beside a model. */
function weightNotes(files: readonly Made[], config: FolderConfig): string[] {
  const wrong = files.flatMap((f): [string, number][] => {
    const is = f.isExternal ? 1 : 0
    return (config.weightFiles(f.path, f.model) ?? 0) === is ? [] : [[f.path, is]]
  })
  if (wrong.length === 0) return []
  const entry = JSON.stringify({ use_external_data_format: Object.fromEntries(wrong) })
  return [`config.json should say "transformers.js_config": ${entry}`]
}
