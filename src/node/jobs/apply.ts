/** `convert` and every pass on its own: read, apply, write, and say what it became. */
import { PareError } from '../../base/errors.ts'
import type { Catalog } from '../../formats/types.ts'
import { allGraphs } from '../../ir/graph.ts'
import { measurer, measuringParts } from '../../measure/beside.ts'
import { passFor } from '../../passes/index.ts'
import { applyRecipe, curvesOf } from '../../passes/recipe.ts'
import type { Context } from '../../passes/types.ts'
import type { Report } from '../../report/types.ts'
import { prescribed, runsSingly, singly, singlyNote } from '../../runtime/batches.ts'
import type { Dataset, Model } from '../../types.ts'
import { type CheckpointFiles, checkpointsBeside } from '../checkpoint.ts'
import { bytesCounter, save } from '../files.ts'
import type { Job, JobHooks, JobResult } from '../job.ts'
import { formatOf } from '../places.ts'
import { type ModelFile, runtimeNotes, scorer, sourceOf } from '../runtimes.ts'
import { tuned } from '../tunings.ts'
import { refuseCodes } from './ends.ts'
import { saturationNotes } from './host.ts'
import { factsOf, fileOf, judgingFor, type Opened, openJob, openSeen } from './open.ts'
import { passData } from './parts.ts'
import { prepared } from './prepared.ts'
import { openReference } from './reference.ts'
import { loadRunnable, refuseUnrunnable } from './runnable.ts'
import { type Look, sizedModel } from './sizes.ts'
import { stagesTold, type Told } from './staged.ts'
import { guessedShapes, runNotes } from './synthetic.ts'
import { processOf, processRatios } from './timing.ts'
import { checkOf, type WrittenCheck } from './written.ts'

type PassData = { readonly calibration?: Dataset; readonly selection?: Dataset; readonly train?: Dataset }

/** Applies a recipe and writes the result. */
export async function applyJob(job: Job, hooks: JobHooks, catalog: Catalog): Promise<JobResult> {
  const o = await openJob(job, catalog)
  if (job.data?.data ?? job.data?.calibration ?? job.data?.train) {
    refuseUnrunnable(o)
    refuseCodes(o)
  }
  const { data: given, test, report: described, notes: reading = [] } = await passData(job, o)
  const isSingly = await passesSingly(o, given)
  const data = isSingly ? mapData(given, singly) : given
  const before = {
    ...sizedModel(job.model, o.model, o.bytes, { shapes: guessedShapes(o), look: lookOf(job) }),
    metrics: {}
  }
  const report: Report = { ...o.report, ...(described ? { data: described } : {}), before }
  hooks.opened?.(report, factsOf(o, before))
  const recipe = job.recipe ?? []
  const { signal, progress } = hooks
  const checkpoints = job.out === undefined ? undefined : checkpointsBeside(job.out, { resume: job.resume ?? false })
  const { engine, measured } = o
  const surroundings = {
    ...{ engine, target: o.target, rng: o.rng, signal, progress, data },
    ...(measured ? { measured } : {})
  }
  const applied = await applyRecipe(o.model, recipe, {
    ...surroundings,
    ...(job.reference === undefined
      ? {}
      : { reference: await openReference(job.reference, o.model, surroundings, catalog.formats) }),
    load: (path) => loadRunnable(path, catalog.formats),
    // Only reports tell the bytes behind each step.
    ...(job.reports ? { fileBytes: bytesCounter(formatOf(o.target, catalog)) } : {}),
    ...(checkpoints ? { checkpoints } : {}),
    ...(await measuring(job, o, data, signal))
  })
  const notes = [
    ...o.notes,
    ...reading,
    ...applied.notes,
    ...(applied.model === o.model ? ['there was nothing to do'] : []),
    ...(described ? runNotes(o) : []),
    ...(isSingly ? [singlyNote] : []),
    ...trainingNotes(job, checkpoints),
    ...(recipe.some(([name]) => passFor(name).uses.includes('selection')) ? runtimeNotes(o, o.target) : []),
    ...saturationNotes(applied.model, o.target)
  ]
  const { steps, refusals } = applied
  const found = { recipe: applied.recipe, curves: curvesOf(steps) }
  const check = checkOf(job, o, hooks, { data: data.calibration ?? data.train, recipe: applied.recipe })
  const result = await written(job, o, applied.model, { ...report, steps, refusals, notes, ...found }, hooks, check)
  checkpoints?.clear()
  return judgedStages(job, o, applied.model, test, result, hooks)
}

/** Seconds that stages are timed. */
const stageSeconds = 3

/** Stages are judged on samples that no pass was given. */
async function judgedStages(
  job: Job,
  o: Opened,
  model: Model,
  test: Dataset | undefined,
  result: JobResult,
  hooks: JobHooks
): Promise<JobResult> {
  if (!test) return result
  const original = o.measured ? await openSeen(o, fileOf(job, o), o) : undefined
  try {
    const { stages, notes }: Told = await stagesTold(o, model, original, test, hooks, stageSeconds)
    const { report } = result
    return { ...result, report: { ...report, notes: [...notes, ...report.notes], ...(stages ? { stages } : {}) } }
  } finally {
    await original?.close()
  }
}

/** Sizes under gzip and brotli and the count of zeros take longer than most passes: they are for reports. */
const lookOf = (job: Job): Look => (job.reports ? 'whole' : 'quick')

/** Must the passes run samples one by one? */
async function passesSingly(o: Opened, { calibration, selection }: PassData): Promise<boolean> {
  const data = calibration ?? selection
  if (!data || data.size < 2 || prescribed(o) !== undefined) return false
  const session = await o.engine.open(o.model)
  try {
    return await runsSingly(session, data)
  } finally {
    await session.close()
  }
}

const mapData = (data: PassData, change: (d: Dataset) => Dataset): PassData =>
  Object.fromEntries(Object.entries(data).map(([role, d]) => [role, change(d)]))

/** What else is to be known of passes that train. */
function trainingNotes(job: Job, checkpoints: CheckpointFiles | undefined): string[] {
  const isTraining = (job.recipe ?? []).some(([name]) => passFor(name).needs.includes('train'))
  if (!isTraining) return []
  const isShared = job.data?.train === undefined
  return [
    ...(isShared ? ['trained on samples of --data: what --eval-data holds should be others'] : []),
    ...(job.resume && !checkpoints?.found()
      ? ['no checkpoint of this run was found beside the output: it began anew']
      : [])
  ]
}

/** What a pass measures by: the asked metric or the default one, on the samples that choose. */
async function measuring(job: Job, o: Opened, data: PassData, signal: AbortSignal): Promise<Pick<Context, 'measure'>> {
  const parts = measuringParts(data)
  if (!data.selection || parts.length === 0) return {}
  const [metric] = (await judgingFor(job, o, data.selection)).metrics
  const { engine, measured, threads, rng } = o
  const runners = { engine, ...(measured ? { measured } : {}) }
  return { measure: measurer({ ...runners, threads, rng: rng.fork('measure'), signal, parts, metric }) }
}

/** Reads a model in any format and writes it in that of its target. */
export async function convertJob(job: Job, hooks: JobHooks, catalog: Catalog): Promise<JobResult> {
  const o = await openJob(job, catalog)
  const before = {
    ...sizedModel(job.model, o.model, o.bytes, { shapes: guessedShapes(o), look: lookOf(job) }),
    metrics: {}
  }
  const report: Report = { ...o.report, before }
  hooks.opened?.(report, factsOf(o, before))
  const { model, steps, refusals } = await prepared(o, hooks)
  return written(job, o, model, { ...report, steps, refusals }, hooks, checkOf(job, o, hooks, {}))
}

async function written(
  job: Job,
  o: Opened,
  model: Model,
  report: Report,
  hooks: JobHooks,
  { check, notes }: WrittenCheck
): Promise<JobResult> {
  const { signal } = hooks
  const { out, force = false, write = {} } = job
  if (out === undefined) throw new PareError('E_USAGE', 'no output is named', { hint: '--out FILE' })
  const measured = job.tune ? await tuned(formatOf(o.target, o.catalog), model) : undefined
  const made = await save(model, out, {
    ...{ force, signal, write, ...(measured ? { tunings: measured.tunings } : {}) },
    ...{ target: o.target, catalog: o.catalog },
    ...(check ? { check } : {})
  })
  const sized = { ...sizedModel(out, model, made.bytes, { shapes: guessedShapes(o), look: lookOf(job) }), metrics: {} }
  // What holds pruned weights in few bytes makes them whole when it is opened.
  const isOpened = job.reports === true && isPruned(model)
  const opened = async (file: ModelFile): ReturnType<typeof processOf> =>
    isOpened ? processOf(sourceOf(scorer(o), file), undefined, o, hooks) : {}
  const before = { ...report.before, ...(await opened(fileOf(job, o))) }
  const after = { ...sized, ...(await opened({ path: out, model })) }
  return {
    unmet: false,
    report: {
      ...report,
      before,
      notes: [...report.notes, ...(measured?.notes ?? []), ...notes, ...made.notes],
      output: { path: out, sha256: made.sha256, format: o.target.format },
      after,
      // The bytes of a file without weights are not those of a model.
      ...(model.origin?.untrained
        ? {}
        : { ratios: { bytes: after.bytes / before.bytes, ...processRatios(before, after) } }),
      target: o.target.name
    }
  }
}

/** Does the model hold zeros that are to stay? */
const isPruned = (model: Model): boolean =>
  allGraphs(model).some((g) => [...g.values.values()].some((v) => v.sparse !== undefined))
