/** `compress`: the ladder over a user's file, and the file that it writes. */
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { PareError } from '../../base/errors.ts'
import type { Catalog } from '../../formats/types.ts'
import type { Report } from '../../report/types.ts'
import { singly } from '../../runtime/batches.ts'
import { type CompressResult, compress } from '../../search/compress.ts'
import type { CompressInput, Staged } from '../../search/input.ts'
import type { Identity } from '../../search/trial.ts'
import type { Measurement, Model } from '../../types.ts'
import { bestBeside } from '../best-so-far.ts'
import { checkpointsBeside } from '../checkpoint.ts'
import { bytesCounter, fileBytes, type SaveOptions, save, sha256File } from '../files.ts'
import type { Job, JobHooks, JobResult } from '../job.ts'
import { journalBeside } from '../journal.ts'
import { formatOf } from '../places.ts'
import { temporaryError } from '../runner.ts'
import { opensFiles, runtimeNotes, scorer, sourceOf } from '../runtimes.ts'
import { version } from '../version.ts'
import { type Allowed, allowedFor, layerData, whileAllowed } from './allowed.ts'
import { refuseCodes } from './ends.ts'
import { candidateNotes } from './host.ts'
import { comparedLayers } from './layers.ts'
import { factsOf, fileOf, judgingFor, type Opened, openJob } from './open.ts'
import { type JobParts, partsOf } from './parts.ts'
import { loadRunnable, refuseUnrunnable, tryOut } from './runnable.ts'
import { sizedModel } from './sizes.ts'
import { stagesTold } from './staged.ts'
import { runNotes, shapesOn } from './synthetic.ts'
import { firstFeeds, processOf } from './timing.ts'
import { checkOf, type WrittenCheck } from './written.ts'

/** Finds the best candidate and writes it; writes nothing when none keeps the promise. */
export async function compressJob(job: Job, hooks: JobHooks, catalog: Catalog): Promise<JobResult> {
  const { out } = job
  if (out === undefined) throw new PareError('E_USAGE', 'no output is named', { hint: '--out FILE' })
  const allowed = allowedFor(job)
  const o = await openJob(job, catalog)
  refuseUnrunnable(o)
  refuseCodes(o)
  const parts = await partsOf(job, o)
  const shapes = await shapesOn(o, parts.all)
  const sizes = { ...sizedModel(job.model, o.model, o.bytes, { shapes, cost: o.cost }), metrics: {} }
  const objective = job.objective ?? 'balanced'
  const known: Report = { ...o.report, data: parts.report, objective, before: sizes }
  hooks.opened?.(known, factsOf(o, sizes))
  await tryOut(job, o, job.model, parts.selection, hooks)
  const { metrics, notes: said } = await judgingFor(job, o, parts.all)
  const scratch = await mkdtemp(join(tmpdir(), 'pare-'))
  const [resume, identity] = [job.resume ?? false, await identityOf(job, o)]
  const [journal, checkpoints] = [journalBeside(out, { resume }), checkpointsBeside(out, { resume })]
  const best = bestBeside(out, hooks.signal)
  try {
    const { ends } = allowed
    const looked = checkOf(job, o, hooks, { data: parts.calibration, recipe: job.recipe ?? [] })
    const input = {
      ...inputOf(job, o, parts, hooks, { scratch, ...looked }),
      shapes,
      ...(ends ? { timeLeft: () => ends.left() } : {})
    }
    const onBest = best.hold
    const result = await compress({ ...input, metrics, objective, identity, journal, checkpoints, onBest })
    const before = { ...sizes, ...result.report.before }
    const guessed = [...parts.guessed, ...runNotes(o)]
    const noted = runtimeNotes(o, o.target)
    const notes = [
      ...o.notes,
      ...(parts.all.notes ?? []),
      ...said,
      ...guessed,
      ...noted,
      ...result.report.notes,
      ...looked.notes,
      ...candidateNotes(result.report.candidates, o.target)
    ]
    const found = { ...known, ...result.report, notes, before }
    const report = result.chosen ? await write(job, o, allowed, parts, hooks, found, result, out) : found
    journal.clear()
    checkpoints.clear()
    if (resume) best.clear()
    return { unmet: !result.chosen, report }
  } catch (error) {
    throw await best.keep(error, howToWrite(job, o))
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

/** What trials depend on beside what the search is given: contents of files, versions, the machine. */
export async function identityOf(job: Job, o: Opened): Promise<Identity> {
  const { machine, model } = o.report
  return {
    pare: version,
    model: model.sha256,
    bytes: o.bytes,
    seed: job.seed ?? 0,
    write: JSON.stringify(job.write ?? {}),
    metric: await metricIdentity(job.metric),
    machine: `${machine.cpu}, ${machine.cores} cores, Node ${machine.node}`
  }
}

/** A module by its content; a metric of Pare or of the program by its name. */
async function metricIdentity(metric: Job['metric']): Promise<string> {
  if (typeof metric === 'object') return `of the program: ${metric.name}`
  return metric !== undefined && existsSync(metric) ? sha256File(metric) : 'known by name'
}

/** What `compress` is given of a job. */
export function inputOf(
  job: Job,
  o: Opened,
  parts: JobParts,
  hooks: JobHooks,
  { scratch, check }: { readonly scratch: string } & Pick<WrittenCheck, 'check'>
): Omit<CompressInput, 'metrics' | 'objective'> {
  let staged = 0
  const how = howToWrite(job, o)
  const format = formatOf(o.target, o.catalog)
  const { signal: asked, progress } = hooks
  return {
    model: o.model,
    original: { source: sourceOf(scorer(o), fileOf(job, o)), bytes: o.bytes },
    data: parts,
    ...(parts.train ? { train: parts.train } : {}),
    load: (path) => loadRunnable(path, o.catalog.formats),
    fileBytes: bytesCounter(format),
    synthetic: parts.synthetic,
    engine: o.engine,
    ...(o.measured ? { measured: o.measured } : {}),
    ...{ target: o.target, rng: o.rng, threads: o.threads, signal: asked, progress },
    ...(job.maxDrop === undefined ? {} : { maxDrop: job.maxDrop }),
    ...(job.recipe === undefined ? {} : { recipe: job.recipe }),
    ...(job.strategy === undefined ? {} : { strategy: job.strategy }),
    ...(job.adaptive ? { adaptive: true } : {}),
    stage: async (model, signal = asked) => {
      // In a folder of its own, which takes the weights beside it along, and under the name of the output: the name of
      // weights beside a model is part of the model's bytes.
      const folder = join(scratch, String(staged++))
      const path = join(folder, basename(job.out ?? `model${format.extensions[0]}`))
      await mkdir(folder).catch((e) => temporaryError(path, e))
      progress('writing a candidate and trying it', 0, undefined)
      const look = check ? { check: (at: string) => check(at, signal) } : {}
      const made = await save(model, path, { signal, ...how, ...look }).catch((e) => temporaryError(path, e))
      if (opensFiles(scorer(o), format.name)) return { source: { path }, ...made }
      await rm(folder, { recursive: true, force: true })
      return { source: model, ...made }
    },
    discard: async ({ source }) => {
      if ('path' in source) await rm(dirname(source.path), { recursive: true, force: true })
    },
    // What no runtime here opens as a file has no process of its own.
    process: async (source, signal) => processOf(source, await firstFeeds(o, parts.selection), o, { ...hooks, signal })
  }
}

/** Seconds that stages are timed. */
const stageSeconds = 2

/** Writes the choice, and gives the report with it. */
export async function write(
  job: Job,
  o: Opened,
  allowed: Allowed,
  parts: JobParts,
  hooks: JobHooks,
  report: Report,
  result: CompressResult,
  out: string
): Promise<Report> {
  const chosen = result.chosen as { readonly model: Model; readonly staged: Staged }
  const test = result.isSingly ? singly(parts.test) : parts.test
  const layers = await whileAllowed(allowed, 'layers were not compared', hooks, (h) =>
    comparedLayers(o, chosen.model, layerData(job, allowed, test, result.sampleMs), h)
  )
  const staged = await whileAllowed(allowed, 'stages were not looked at', hooks, (h) =>
    stagesTold(o, chosen.model, undefined, test, h, stageSeconds)
  )
  hooks.progress('writing', 0, undefined)
  const made = await save(chosen.model, out, { force: job.force ?? false, signal: hooks.signal, ...howToWrite(job, o) })
  if (made.bytes !== chosen.staged.bytes)
    throw new PareError('E_INTERNAL', 'what was written is not what was measured', {
      facts: { measured: `${chosen.staged.bytes} bytes`, written: `${made.bytes} bytes` }
    })
  const after: Measurement = {
    ...sizedModel(out, chosen.model, fileBytes(out).length, { shapes: await shapesOn(o, parts.all), cost: o.cost }),
    metrics: {},
    ...result.report.after
  }
  const notes = [...report.notes, ...allowed.notes, ...made.notes, ...(staged?.notes ?? [])]
  return {
    ...report,
    notes,
    after,
    layers: layers ?? [],
    ...(staged?.stages ? { stages: staged.stages } : {}),
    output: { path: out, sha256: made.sha256, format: o.target.format }
  }
}

const howToWrite = (job: Job, { target, catalog }: Opened): Pick<SaveOptions, 'target' | 'catalog' | 'write'> => ({
  ...{ target, catalog },
  write: job.write ?? {}
})
