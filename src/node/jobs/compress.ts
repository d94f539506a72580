/** `compress`: the ladder over a user's file, and the file that it writes. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PareError } from '../../base/errors.ts'
import type { Report } from '../../report/types.ts'
import { type CompressResult, compress } from '../../search/compress.ts'
import type { CompressInput, Staged } from '../../search/input.ts'
import type { Measurement, Model, Source } from '../../types.ts'
import { fileBytes, save } from '../files.ts'
import type { Job, JobHooks, JobResult } from '../job.ts'
import { temporaryError } from '../runner.ts'
import { runtimeNotes } from '../runtimes.ts'
import { candidateNotes } from './host.ts'
import { comparedLayers } from './layers.ts'
import { factsOf, metricsOf, type Opened, openJob } from './open.ts'
import { type JobParts, partsOf } from './parts.ts'
import { loadRunnable, refuseUnrunnable, tryOut } from './runnable.ts'
import { sizedModel } from './sizes.ts'
import { guessedSizes } from './synthetic.ts'
import { firstFeeds, processOf } from './timing.ts'

/** Finds the best candidate and writes it; writes nothing when none keeps the promise. */
export async function compressJob(job: Job, hooks: JobHooks): Promise<JobResult> {
  const { out } = job
  if (out === undefined) throw new PareError('E_USAGE', 'no output is named', { hint: '--out FILE' })
  const o = await openJob(job)
  refuseUnrunnable(o)
  const parts = await partsOf(job, o)
  const metrics = await metricsOf(job, o, parts.all)
  const sizes = { ...sizedModel(job.model, o.model, o.bytes), metrics: {} }
  const objective = job.objective ?? 'balanced'
  const known: Report = { ...o.report, data: parts.report, objective, before: sizes }
  hooks.opened?.(known, factsOf(o.model, sizes))
  await tryOut(job, o, job.model, parts.selection, hooks)
  const scratch = await mkdtemp(join(tmpdir(), 'pare-'))
  try {
    const result = await compress({ ...inputOf(job, o, parts, hooks, scratch), metrics, objective })
    const before = { ...sizes, ...result.report.before }
    const guessed = parts.synthetic ? guessedSizes(o.inputs) : []
    const noted = runtimeNotes(o, o.target)
    const notes = [...guessed, ...noted, ...result.report.notes, ...candidateNotes(result.report.candidates, o.target)]
    if (!result.chosen) return { unmet: true, report: { ...known, ...result.report, notes, before } }
    return {
      unmet: false,
      report: await write(job, o, parts, hooks, { ...known, ...result.report, notes, before }, result, out)
    }
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

function inputOf(
  job: Job,
  o: Opened,
  parts: JobParts,
  hooks: JobHooks,
  scratch: string
): Omit<CompressInput, 'metrics' | 'objective'> {
  let staged = 0
  const { signal, progress } = hooks
  return {
    model: o.model,
    original: { source: { path: job.model }, bytes: o.bytes },
    data: parts,
    ...(parts.train ? { train: parts.train } : {}),
    load: loadRunnable,
    synthetic: parts.synthetic,
    engine: o.engine,
    ...(o.measured ? { measured: o.measured } : {}),
    ...{ target: o.target, rng: o.rng, threads: o.threads, signal, progress },
    ...(job.maxDrop === undefined ? {} : { maxDrop: job.maxDrop }),
    ...(job.recipe === undefined ? {} : { recipe: job.recipe }),
    stage: async (model) => {
      const path = join(scratch, `${staged++}.onnx`)
      const { bytes } = await save(model, path, { signal, ...opsetOf(job) }).catch((e) => temporaryError(path, e))
      return { source: { path }, bytes }
    },
    process: async (source) => {
      const path = pathOf(source)
      return processOf(path, await firstFeeds(o, parts.selection), o, hooks)
    }
  }
}

/** Everything staged here is a file. */
function pathOf(source: Source): string {
  if ('path' in source) return source.path
  throw new PareError('E_INTERNAL', 'a candidate that is no file')
}

async function write(
  job: Job,
  o: Opened,
  parts: JobParts,
  hooks: JobHooks,
  report: Report,
  result: CompressResult,
  out: string
): Promise<Report> {
  const chosen = result.chosen as { readonly model: Model; readonly staged: Staged }
  const layers = await comparedLayers(o, chosen.model, parts.test, hooks)
  hooks.progress('writing', 0, undefined)
  const made = await save(chosen.model, out, { force: job.force ?? false, signal: hooks.signal, ...opsetOf(job) })
  if (made.bytes !== chosen.staged.bytes)
    throw new PareError('E_INTERNAL', 'what was written is not what was measured', {
      facts: { measured: `${chosen.staged.bytes} bytes`, written: `${made.bytes} bytes` }
    })
  const after: Measurement = {
    ...sizedModel(out, chosen.model, fileBytes(out).length),
    metrics: {},
    ...result.report.after
  }
  return { ...report, after, layers, output: { path: out, sha256: made.sha256 } }
}

const opsetOf = (job: Job): { readonly opset?: number } => (job.opset === undefined ? {} : { opset: job.opset })
