/** `federate simulate`: virtual clients with parts of one data set, in this process. */
import { availableParallelism } from 'node:os'
import { quickHash } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import { rng } from '../../base/random.ts'
import type { LabelledDataset } from '../../data/arrays.ts'
import { classCount, metricFor } from '../../data/metrics.ts'
import { labelsIn, subset } from '../../data/split.ts'
import {
  decodeState,
  encodeState,
  type FederationRecipe,
  type Partition,
  type PartitionOptions,
  parseRecipe,
  partition,
  type RoundEntry,
  type SimulateState,
  simulate,
  type Trainers,
  trainersHere
} from '../../federate/index.ts'
import { writeModel } from '../../formats/index.ts'
import type { Catalog } from '../../formats/types.ts'
import { evaluate, metricIntervals } from '../../measure/evaluate.ts'
import type { Federation, Report } from '../../report/types.ts'
import { initialise, meanScore } from '../../train/index.ts'
import type { Dataset, Interval, Model } from '../../types.ts'
import { checkpointsBeside } from '../checkpoint.ts'
import { trainersIn } from '../federate/pool.ts'
import { save } from '../files.ts'
import type { Job, JobHooks, JobResult } from '../job.ts'
import { isDataset } from '../job.ts'
import { refuseDistil, studentOf } from './distil.ts'
import { factsOf, nameOfData, type Opened, openData, openJob } from './open.ts'
import { sizedModel } from './sizes.ts'
import { guessedShapes } from './synthetic.ts'

/** Rounds from one state on the disk to the next. */
const keepEvery = 10

const metric = metricFor('top1')

/** Runs a federation and writes the model that comes out. */
export async function simulateJob(job: Job, hooks: JobHooks, catalog: Catalog): Promise<JobResult> {
  const { out, federation } = job
  if (out === undefined) throw new PareError('E_USAGE', 'no output is named', { hint: '--out FILE' })
  const recipe = parseRecipe(federation?.recipe ?? {})
  if (recipe.compress && !job.data?.evaluation)
    throw new PareError('E_OPTION', 'what compresses the model needs data that no client has', {
      hint: '--eval-data PATH'
    })
  const o = await openJob(job, catalog)
  const seed = job.seed ?? 0
  const { data, labels, test, open } = await dataFor(job, o, hooks.signal)
  const { clients = 100, alpha = 0.5 } = federation ?? {}
  if (recipe.clientsPerRound > clients)
    throw new PareError('E_OPTION', `${recipe.clientsPerRound} of ${clients} clients cannot take part in a round`, {
      where: 'clientsPerRound'
    })
  refuseDistil(job, recipe, clients)
  const parts = partitionOf(labels, open, { clients, alpha, seed })
  const model = o.model.origin?.untrained ? initialise(o.model, seed).model : o.model
  const before = {
    ...sizedModel(job.model, o.model, o.bytes, { shapes: guessedShapes(o), look: 'quick' }),
    metrics: await scored(model, test, o, hooks.signal)
  }
  const report: Report = { ...o.report, data: describe(job, test), before }
  hooks.opened?.(report, factsOf(o, before))
  const workers = federation?.workers ?? Math.min(availableParallelism(), recipe.clientsPerRound)
  const trainers = await trainersFor(job, o, { model, recipe, data, parts, workers })
  const checkpoints = checkpointsBeside(out, { resume: job.resume ?? false })
  const key = keyOf(job, recipe, {
    hostile: federation?.hostile,
    clients,
    alpha,
    seed,
    data: data.sha256 ?? quickHash(new Uint8Array(Int32Array.from(labels).buffer)),
    initial: trainers.initial
  })
  try {
    const kept = await checkpoints.read(key)
    const from = kept && decodeState(kept, { key, recipe, manifest: trainers.manifest })
    const { state, model: last } = await simulate(
      model,
      recipe,
      { clients, seed, ...(federation?.hostile ? { hostile: federation.hostile } : {}) },
      {
        trainers,
        signal: hooks.signal,
        score: (m) => meanScore(m, { data: test, metric }, { engine: o.engine, signal: hooks.signal }),
        onRound: async (entry, s) => {
          hooks.progress(words(entry, s), entry.round, recipe.rounds)
          if (entry.round % keepEvery === 0 && entry.round < recipe.rounds)
            await checkpoints.write(key, encodeState(key, s))
        }
      },
      from
    )
    const file = recipe.compress ? floatBeside(out) : out
    const student = recipe.distil
      ? await studentOf(job, o, hooks, { model, made: last, run: state.run, data, clients: parts.clients })
      : undefined
    const made = student?.model ?? last
    const result = await written({ job, o, out: file, made, test, hooks, report }, recipe, parts, state, student?.told)
    const ended = from ? withNote(result, `went on after round ${from.run.round}`) : result
    const whole = recipe.compress
      ? await compressed({ ...job, model: file }, recipe.compress, ended, hooks, catalog)
      : ended
    checkpoints.clear()
    return whole
  } finally {
    await trainers.close()
  }
}

/** The model of the rounds, where the output is what `compress` makes of it: `small.federated.onnx` beside `small.onnx`. */
const floatBeside = (out: string): string => out.replace(/(\.[^./\\]*)?$/, (ending) => `.federated${ending}`)

/** The main job on the model of the rounds, with data that no client has; its report tells of the rounds too. */
async function compressed(
  job: Job,
  { maxDrop, objective }: NonNullable<FederationRecipe['compress']>,
  { report: rounds }: JobResult,
  hooks: JobHooks,
  catalog: Catalog
): Promise<JobResult> {
  const { federation: _f, data, ...rest } = job
  const held = data?.evaluation
  const { compressJob } = await import('./compress.ts')
  const made = await compressJob(
    { ...rest, command: 'compress', maxDrop, objective, ...(held ? { data: { data: held } } : {}) },
    { signal: hooks.signal, progress: hooks.progress },
    catalog
  )
  const { report } = made
  return {
    ...made,
    report: {
      ...report,
      ...(rounds.federation ? { federation: rounds.federation } : {}),
      notes: [...rounds.notes, ...report.notes.filter((n) => !rounds.notes.includes(n))],
      curves: { ...rounds.curves, ...report.curves }
    }
  }
}

const withNote = (r: JobResult, note: string): JobResult => ({
  ...r,
  report: { ...r.report, notes: [...r.report.notes, note] }
})

function words(entry: RoundEntry, { history }: SimulateState): string {
  const score = history.findLast((e) => e.score !== undefined)?.score
  return `round ${entry.round}, loss ${entry.loss.toPrecision(3)}${score === undefined ? '' : `, ${(100 * score).toFixed(1)} %`}`
}

interface SimulationData {
  readonly data: LabelledDataset
  /** Of every sample of `data`. */
  readonly labels: readonly number[]
  /** Samples that no client has. */
  readonly test: LabelledDataset
  /** Numbers of the samples of `data` that clients may have. */
  readonly open: readonly number[]
}

/** The samples of the clients, and others to test on: `--eval-data`, or else a fifth of `--data`. */
async function dataFor(job: Job, o: Opened, signal: AbortSignal): Promise<SimulationData> {
  const { data: source, evaluation } = job.data ?? {}
  if (!source) throw new PareError('E_DATA', 'there is no data for the clients', { hint: '--data PATH' })
  const data = await openData(source, o)
  if (!data.labelled)
    throw new PareError('E_LABELS', 'clients learn from labels, and the data has none', {
      hint: 'folders by class, labels.csv, an array y, or a data module that is labelled'
    })
  const labels = await labelsIn(data, signal)
  if (evaluation) return { data, labels, test: await openData(evaluation, o), open: labels.map((_, i) => i) }
  const drawn = rng(job.seed ?? 0)
    .fork('held out')
    .permutation(data.size)
  const held = Math.round(data.size / 5)
  const open = drawn.slice(held).sort((a, b) => a - b)
  return { data, labels, test: subset(data, drawn.slice(0, held)), open }
}

function partitionOf(labels: readonly number[], open: readonly number[], o: PartitionOptions): Partition {
  const made = partition(
    open.map((i) => labels[i] as number),
    o
  )
  return { ...made, clients: made.clients.map((samples) => samples.map((i) => open[i] as number)) }
}

interface Setup {
  readonly model: Model
  readonly recipe: FederationRecipe
  readonly data: LabelledDataset
  readonly parts: Partition
  readonly workers: number
}

async function trainersFor(job: Job, o: Opened, { model, recipe, data, parts, workers }: Setup): Promise<Trainers> {
  const source = job.data?.data
  if (workers <= 1 || !source || isDataset(source))
    return trainersHere(model, recipe, { data, clients: parts.clients, engine: o.engine })
  const classes = classCount(o.outputs)
  return trainersIn(workers, {
    ...{
      model: writeModel(model).bytes,
      recipe,
      data: source,
      inputs: o.inputs,
      path: job.model,
      clients: parts.clients
    },
    ...(classes === undefined ? {} : { classes })
  })
}

function keyOf(
  job: Job,
  recipe: FederationRecipe,
  what: { readonly initial: Float32Array } & Record<string, unknown>
): string {
  const { initial, ...rest } = what
  const start = quickHash(new Uint8Array(initial.buffer))
  const text = JSON.stringify([job.model, recipe, rest, start])
  return `federate-${quickHash(new TextEncoder().encode(text)).replace(':', '-')}`
}

function describe(job: Job, test: Dataset): NonNullable<Report['data']> {
  const { data, evaluation } = job.data ?? {}
  const source = evaluation ?? data
  return {
    path: source ? nameOfData(source) : '?',
    ...(test.sha256 === undefined ? {} : { sha256: test.sha256 }),
    ...{ calibrationN: 0, selectionN: 0, testN: test.size, synthetic: false }
  }
}

async function scored(model: Model, test: Dataset, o: Opened, signal: AbortSignal): Promise<Record<string, Interval>> {
  const session = await o.engine.open(model, { threads: o.threads })
  try {
    const [scores] = await evaluate([session], { dataset: test, metrics: [metric], batch: 256, signal })
    return scores ? { ...metricIntervals(scores, [metric]) } : {}
  } finally {
    await session.close()
  }
}

// ---------------------------------------------------------------- what came out

interface Ending {
  readonly job: Job
  readonly o: Opened
  readonly out: string
  readonly made: Model
  readonly test: Dataset
  readonly hooks: JobHooks
  readonly report: Report
}

async function written(
  { job, o, out, made, test, hooks, report }: Ending,
  recipe: FederationRecipe,
  parts: Partition,
  state: SimulateState,
  distilled: Federation['distilled']
): Promise<JobResult> {
  const file = await save(made, out, {
    ...{ force: job.force ?? false, signal: hooks.signal, write: job.write ?? {} },
    ...{ target: o.target, catalog: o.catalog }
  })
  const metrics = await scored(made, test, o, hooks.signal)
  const after = { ...sizedModel(out, made, file.bytes, { shapes: guessedShapes(o), look: 'quick' }), metrics }
  const federation = { ...federationOf(recipe, parts, state), ...(distilled ? { distilled } : {}) }
  return {
    unmet: false,
    report: {
      ...report,
      federation,
      notes: [...report.notes, ...notesOf(federation, recipe, job), ...file.notes],
      curves: curvesOf(state.history),
      output: { path: out, sha256: file.sha256, format: o.target.format },
      after
    }
  }
}

function federationOf(recipe: FederationRecipe, parts: Partition, { run, history }: SimulateState): Federation {
  const sum = (of: (e: RoundEntry) => number): number => history.reduce((n, e) => n + of(e), 0)
  const messages = sum((e) => e.clients.length)
  const last = history.slice(-10).flatMap((e) => e.score ?? [])
  return {
    recipe,
    clients: {
      count: parts.clients.length,
      smallest: parts.smallest,
      largest: parts.largest,
      variation: parts.variation
    },
    rounds: history.length,
    clientsPerRound: recipe.clientsPerRound,
    steps: sum((e) => e.steps),
    refused: sum((e) => e.refused ?? 0),
    bytes: {
      up: sum((e) => e.up),
      upPayload: sum((e) => e.upPayload),
      down: sum((e) => e.down),
      downPayload: sum((e) => e.downPayload),
      floats: 4 * run.manifest.size * messages
    },
    ...(last.length > 0 ? { lastRounds: { n: last.length, top1: last.reduce((a, b) => a + b, 0) / last.length } } : {})
  }
}

const times = (x: number): string => `${x.toPrecision(3)} ×`
const megabytes = (n: number): string => `${(n / 1e6).toPrecision(3)} MB`

function notesOf(f: Federation, { bound }: FederationRecipe, job: Job): string[] {
  const { clients, bytes, rounds, refused, lastRounds, distilled } = f
  const { up, upPayload, down, floats } = bytes
  const { count, smallest, largest, variation } = clients
  const percent = (100 * variation).toFixed(0)
  return [
    `${rounds} ${rounds === 1 ? 'round' : 'rounds'} of ${f.clientsPerRound} of ${count} clients with ${smallest} to ${largest} samples; a client's shares of the classes differ by ${percent} % from those of all`,
    `sent up ${megabytes(up)}, ${times(floats / up)} less than floats (numbers alone ${times(floats / upPayload)}); down ${megabytes(down)}, ${times(floats / down)} less; together ${times((2 * floats) / (up + down))} less`,
    ...(lastRounds
      ? [`top1 ${(100 * lastRounds.top1).toFixed(2)} %, the mean of ${lastRounds.n} of the last 10 rounds`]
      : []),
    ...(distilled
      ? [
          `then ${distilled.clients} clients sent up ${megabytes(distilled.up)}, the class scores that their models give ${distilled.samples} public samples, and the model that is written learned their mean`
        ]
      : []),
    ...(refused > 0 ? [`${refused} updates were refused: a number was not finite, or above ${bound}`] : []),
    ...(job.data?.evaluation ? [] : ['tested on a fifth of --data, drawn by the seed, which no client has'])
  ]
}

const curvesOf = (history: readonly RoundEntry[]): Report['curves'] => ({
  'loss by round': history.map((e) => [e.round, e.loss] as const),
  'top1 by round': history.flatMap((e) => (e.score === undefined ? [] : [[e.round, e.score] as const]))
})
