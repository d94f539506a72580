/**
 * The last look at a file before it gets its name: it opens in the target's runtime, runs on one sample, and says nearly
 * what the original says. All of it happens in a process of its own.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PareError } from '../../base/errors.ts'
import { onnx } from '../../formats/onnx/format.ts'
import { elementCount, isFloat, toFloats } from '../../ir/tensor.ts'
import { inferShapes } from '../../ops/infer.ts'
import { passFor } from '../../passes/index.ts'
import type { Recipe } from '../../passes/types.ts'
import type { Runner } from '../../runtime/types.ts'
import { targetOfFile } from '../../targets/index.ts'
import type { Dataset, Model, Tensor } from '../../types.ts'
import { loadNoted, save } from '../files.ts'
import type { Job, JobHooks } from '../job.ts'
import { type Ran, type RunFilesOptions, runFiles } from '../outputs.ts'
import { formatOf } from '../places.ts'
import { opensFiles, scorer } from '../runtimes.ts'
import { areAlike, type Ends, endsOf, ownFeeds, seenOutputs } from './ends.ts'
import { saturationNotes } from './host.ts'
import type { Opened } from './open.ts'
import { guessedFeeds } from './synthetic.ts'
import { firstFeeds } from './timing.ts'

/** A file whose outputs have a smaller cosine with the original's is far off. */
const leastCosine = 0.9
/** A run of one sample that takes longer is taken for one that never ends. */
const patienceMs = 120_000

export interface WrittenCheck {
  /** Throws `E_CONSTRAINT` where the file does not open, does not run, or is far off and was not asked to be. */
  readonly check?: (path: string, signal?: AbortSignal) => Promise<void>
  /** Why a file was not looked at, or not compared; filled by `check`. */
  readonly notes: string[]
}

/** The check of what a recipe makes of the job's model. `data`: samples to run, where there are some. */
export function checkOf(
  job: Job,
  o: Opened,
  hooks: Pick<JobHooks, 'signal' | 'progress'>,
  { data, recipe = [] }: { readonly data?: Dataset | undefined; readonly recipe?: Recipe }
): WrittenCheck {
  const notes: string[] = []
  if (job.check === false) return { notes: ['the file written was not opened or compared: --no-check'] }
  const format = formatOf(o.target, o.catalog)
  const isOpened = opensFiles(scorer(o), format.name)
  if (isOpened && !o.measured) return { notes }
  if (!isOpened && (format.weightless || format.unread || !opensFiles(o.engine, onnxName)))
    return { notes: [`the file written was not opened: no runtime here reads ${format.title}`] }
  // A file that no runtime here opens is read again, and what was read is run as ONNX.
  const runner = isOpened ? scorer(o) : o.engine
  const where = { threads: o.threads, runtime: runner.name, timeoutMs: patienceMs }
  return {
    notes,
    check: async (written, signal = hooks.signal) => {
      const how = { ...where, signal }
      const compared = (tried: readonly Feeds[]): Promise<string | undefined> =>
        asOpened(o, [runner], { path: written, format: format.name }, (path) =>
          // A network in words holds no weights, and no runtime opens it: there is nothing to compare with.
          o.model.origin?.untrained
            ? openedAlone(path, { ...how, ...(tried[0] ? { feeds: tried[0] } : {}), runs: 1 })
            : asOpened(
                o,
                [runner, o.engine],
                { path: job.model, format: o.model.origin?.format, model: o.model },
                async (original, from) => {
                  const hasCodes = format.numbers || !areAlike(endsOf(o.model), o)
                  const ends = hasCodes ? await endsOfFile(written, o) : undefined
                  return looked(path, original, { ...how, tried, from, o, ends }, isNear(recipe))
                }
              )
        )
      const tried = await feedsFor(o, data)
      let told: string | undefined
      try {
        told = await compared(tried)
      } catch (error) {
        // A file that cannot be read again says nothing more about itself.
        const made = await loadNoted(written, undefined, o.catalog.formats).catch(() => undefined)
        const own = made && feedsOfItsSizes(made.model, o, tried)
        if (!own) throw made ? explained(error, made.model, o) : error
        told = await compared(own)
      }
      if (told !== undefined && !notes.includes(told)) notes.push(told)
    }
  }
}

const onnxName = onnx.name

interface Kept {
  readonly path: string
  readonly format: string | undefined
  /** What is in the file; absent: it is read. */
  readonly model?: Model
}

/**
 * A file, and the first of the runtimes that opens it: as it is, or its model in a format that the first opens, in a folder that
 * lasts as long.
 */
async function asOpened<T>(
  o: Opened,
  runners: readonly [Runner, ...Runner[]],
  file: Kept,
  use: (path: string, runtime: string) => Promise<T>
): Promise<T> {
  const opener = runners.find((runner) => opensFiles(runner, file.format))
  if (opener) return use(file.path, opener.name)
  const [runner] = runners
  const folder = await mkdtemp(join(tmpdir(), 'pare-looked-'))
  try {
    const model = file.model ?? (await loadNoted(file.path, undefined, o.catalog.formats)).model
    const target = opensFiles(runner, o.target.format) ? o.target : targetOfFile(`.${onnxName}`, o.catalog.targets)
    const path = join(folder, `model${formatOf(target, o.catalog).extensions[0]}`)
    await save(model, path, { target, catalog: o.catalog })
    return await use(path, runner.name)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** The ends of a file, which may be codes where the job's model has numbers. */
async function endsOfFile(path: string, { catalog }: Opened): Promise<Ends> {
  return endsOf(inferShapes((await loadNoted(path, undefined, catalog.formats)).model))
}

type Feeds = Readonly<Record<string, Tensor>>

/** Inputs of one run, to be tried one after the other; none where the model takes what cannot be made up. */
async function feedsFor(o: Opened, data: Dataset | undefined): Promise<readonly Feeds[]> {
  if (data) return [await firstFeeds(o, data)]
  if (o.inputs.some((i) => i.dtype === undefined || i.dtype === 'string' || i.shape === undefined)) return []
  return guessedFeeds(o, o.rng.fork('check'))
}

/** Elements of inputs that are made up for the look at a file, at most. */
const mostElements = 2 ** 24

/** Made-up inputs where the result fixes other sizes than those of what was tried; none where they would be too large to make. */
function feedsOfItsSizes(made: Model, o: Opened, [tried]: readonly Feeds[]): readonly Feeds[] | undefined {
  const { inputs } = endsOf(made)
  const fixed = o.inputs.map((i) => ({ ...i, ...inputs.find((own) => own.name === i.name && isFixed(own.shape)) }))
  const isOther = fixed.some(
    ({ name, shape }) => isFixed(shape) && tried?.[name] && `${shape}` !== `${tried[name].shape}`
  )
  if (!isOther) return undefined
  const isLarge = fixed.some(({ shape }) => isFixed(shape) && elementCount(shape as readonly number[]) > mostElements)
  return isLarge ? [] : guessedFeeds({ ...o, inputs: fixed }, o.rng.fork('check of sizes'))
}

const isFixed = (shape: readonly unknown[] | undefined): boolean => shape?.every((d) => typeof d === 'number') ?? false

/** A result that is refused, with what this processor has to do with it where sums saturate. */
function explained(error: unknown, made: Model, { target }: Opened): unknown {
  if (!(error instanceof PareError) || error.code !== 'E_CONSTRAINT') return error
  const [saturation] = saturationNotes(made, target)
  if (saturation === undefined) return error
  const { where } = error
  return new PareError(error.code, error.message, {
    ...(where === undefined ? {} : { where }),
    facts: error.facts,
    hint: saturation
  })
}

/** Is the result meant to say what the original says? Not where a recipe trains, prunes, or stores weights in 3 bits or fewer. */
function isNear(recipe: Recipe): boolean {
  return recipe.every(([name, options]) => {
    const { needs, lossy } = passFor(name)
    if (lossy || needs.includes('train')) return false
    const { bits } = options as { readonly bits?: number }
    return bits === undefined || bits > 3
  })
}

/** `from`: the runtime that opens the original; `ends`: of the result, where they may differ from those of the job's model. */
type How = Omit<RunFilesOptions, 'runs' | 'feeds'> & {
  readonly tried: readonly Feeds[]
  readonly from: string
  readonly o: Opened
  readonly ends: Ends | undefined
}

/** Why the file could only be looked at in part; `undefined` where it was in full. */
async function looked(
  path: string,
  original: string,
  { tried, from, o, ends, ...how }: How,
  isNear: boolean
): Promise<string | undefined> {
  let reason = 'its inputs cannot be made up'
  for (const feeds of tried) {
    const run = { ...how, feeds, runs: isNear ? 2 : 1 }
    const [was, is] =
      from === how.runtime && !ends
        ? await runFiles([original, path], run)
        : [
            ...(await runFiles([original], { ...run, feeds: ownFeeds(feeds, endsOf(o.model), o), runtime: from })),
            ...(await runFiles([path], { ...run, feeds: ends ? ownFeeds(feeds, ends, o) : feeds }))
          ]
    if (was?.runs) {
      refuseFailed(is, 'open and run')
      const seen = (runs: readonly Outputs[], own: Ends): readonly Outputs[] =>
        ends ? runs.map((r) => seenOutputs(r, own, o)) : runs
      refuseFar(seen(was.runs, endsOf(o.model)), seen(is?.runs ?? [], ends ?? o), isNear)
      return undefined
    }
    reason = `the original does not run on the sample: ${was?.failed ?? 'no outputs'}`
  }
  await openedAlone(path, { ...how, runs: 1 })
  return `the file written was opened, but not compared: ${reason}`
}

async function openedAlone(path: string, how: RunFilesOptions): Promise<undefined> {
  const [made] = await runFiles([path], how)
  refuseFailed(made, how.feeds ? 'open and run' : 'open')
}

function refuseFailed(made: Ran | undefined, what: string): void {
  if (made?.failed === undefined) return
  throw new PareError('E_CONSTRAINT', `the result does not ${what} in the target's runtime: nothing was written`, {
    facts: { why: made.failed },
    hint: '--no-check writes the file all the same; where a layer is named, --exclude leaves it as it is'
  })
}

type Outputs = Readonly<Record<string, Tensor>>

function refuseFar(was: readonly Outputs[], is: readonly Outputs[], isNear: boolean): void {
  const [first = {}, again = first] = was
  for (const [name, before] of Object.entries(first)) {
    const after = is[0]?.[name]
    if (!after || !isFloat(before.dtype) || elementCount(before.shape) === 0) continue
    if (elementCount(after.shape) !== elementCount(before.shape))
      throw far(name, `its shape is [${after.shape}] where the original's is [${before.shape}]`)
    const [x, y] = [toFloats(before), toFloats(after)]
    const broken = x.findIndex((v, i) => Number.isFinite(v) && !Number.isFinite(y[i]))
    if (broken >= 0) throw far(name, `element ${broken} is ${y[broken]} where the original has ${x[broken]}`)
    // Outputs that are drawn anew at every run are not alike themselves.
    if (!isNear || cosine(x, toFloats(again[name] ?? before)) < leastCosine) continue
    const alike = cosine(x, y)
    if (alike < leastCosine) throw far(name, `its cosine with the original's is ${alike.toFixed(3)} on one sample`)
  }
}

const far = (name: string, why: string): PareError =>
  new PareError('E_CONSTRAINT', `output ${name} of the result is far from the original's: nothing was written`, {
    where: name,
    facts: { why },
    hint: '--no-check writes the file all the same; pare verify --layers then tells which layer does it'
  })

/** Of the finite elements; 1 where both are zero. */
function cosine(x: Float32Array, y: Float32Array): number {
  let [xx, yy, xy] = [0, 0, 0]
  for (let i = 0; i < x.length; i++) {
    const [a, b] = [x[i] as number, y[i] as number]
    if (!Number.isFinite(a) || !Number.isFinite(b)) continue
    xx += a * a
    yy += b * b
    xy += a * b
  }
  if (xx === 0 && yy === 0) return 1
  return xx === 0 || yy === 0 ? 0 : xy / Math.sqrt(xx * yy)
}
