/** Deals the samples of a job out to calibration, selection, test and training. */
import { PareError } from '../../base/errors.ts'
import type { LabelledDataset } from '../../data/arrays.ts'
import { besidesSelection, halved, type Parts, splitData } from '../../data/split.ts'
import { passFor } from '../../passes/index.ts'
import type { Recipe } from '../../passes/types.ts'
import type { Report } from '../../report/types.ts'
import type { Dataset } from '../../types.ts'
import type { DataSource, Job } from '../job.ts'
import { nameOfData, type Opened, openData } from './open.ts'
import { syntheticDataset } from './synthetic.ts'

const syntheticSamples = 64

/** The samples of a job, by purpose. */
export interface JobParts extends Parts {
  readonly synthetic: boolean
  /** Samples for passes that train; no other part holds them. */
  readonly train?: Dataset
  /** The samples from which the test part was taken. */
  readonly all: Dataset
  readonly report: NonNullable<Report['data']>
  /** Notes on inputs that were made up because there is no data. */
  readonly guessed: readonly string[]
}

/**
 * The parts of the data for a job that chooses between models. `--data` is split by the seed. A part whose own flag names
 * data takes that data instead. A job without data gets random inputs, drawn by the seed. Throws what opening data throws.
 */
export async function partsOf(job: Job, o: Opened): Promise<JobParts> {
  const { data, evaluation, calibration, train } = job.data ?? {}
  const main = data ?? calibration ?? evaluation
  if (!main) return syntheticParts(job, o)
  const training = train && (await openData(train, o, true))
  const all = await openData(main, o)
  const own = evaluation && evaluation !== main ? await openData(evaluation, o) : undefined
  const split = splitData(all, job.seed ?? 0)
  const calibrating = calibration && calibration !== main ? await openData(calibration, o) : split.calibration
  // Where --eval-data names the test part, the test share of --data, the larger one, becomes the selection part.
  const parts: Parts = own
    ? { calibration: calibrating, selection: split.test, test: own }
    : { calibration: calibrating, selection: split.selection, test: split.test }
  return {
    ...parts,
    ...(training ? { train: training } : {}),
    synthetic: false,
    guessed: [],
    all: own ?? all,
    report: described(nameOfData(evaluation && own ? evaluation : main), own ?? all, parts, false)
  }
}

async function syntheticParts(job: Job, o: Opened): Promise<JobParts> {
  if (job.maxDrop !== undefined)
    throw new PareError('E_USAGE', 'a drop can only be promised on data', { hint: '--data PATH beside --max-drop' })
  const { data: all, notes } = await syntheticDataset(o, o.rng.fork('synthetic'), syntheticSamples)
  const parts = splitData(all, job.seed ?? 0)
  return { ...parts, all, guessed: notes, synthetic: true, report: described('synthetic', all, parts, true) }
}

function described(path: string, all: Dataset, parts: Parts, synthetic: boolean): NonNullable<Report['data']> {
  return {
    path,
    ...(all.sha256 === undefined ? {} : { sha256: all.sha256 }),
    calibrationN: parts.calibration.size,
    selectionN: parts.selection.size,
    testN: parts.test.size,
    synthetic
  }
}

/** All samples for a job that only measures: `--eval-data`, else `--data`, else seeded ones. */
export async function testData(
  job: Job,
  o: Opened
): Promise<Pick<JobParts, 'all' | 'synthetic' | 'report' | 'guessed'>> {
  const wanted = job.data?.evaluation ?? job.data?.data
  if (!wanted && job.maxDrop !== undefined)
    throw new PareError('E_USAGE', 'a drop can only be checked on data', { hint: '--data PATH beside --max-drop' })
  const made = wanted ? undefined : await syntheticDataset(o, o.rng.fork('synthetic'), syntheticSamples)
  const all = made?.data ?? (await openData(wanted as DataSource, o))
  const report = {
    path: wanted ? nameOfData(wanted) : 'synthetic',
    ...(all.sha256 === undefined ? {} : { sha256: all.sha256 }),
    ...{ calibrationN: 0, selectionN: 0, testN: all.size, synthetic: !wanted }
  }
  return { all, synthetic: !wanted, guessed: made?.notes ?? [], report }
}

/**
 * Data for a single pass. `--data` is split into calibration and selection. `--train-data` is for training; without it,
 * training gets all of `--data` but the selection, or all of it where the pass itself holds samples out.
 */
export async function passData(
  job: Job,
  o: Opened
): Promise<{
  readonly data: { calibration?: Dataset; selection?: Dataset; train?: Dataset }
  /** Samples that no pass is given. */
  readonly test?: Dataset
  readonly report?: Report['data']
  /** Notes on how samples are read where no flag says it. */
  readonly notes?: readonly string[]
}> {
  const { data, calibration, train } = job.data ?? {}
  const main = data ?? calibration
  if (!main && !train) return { data: {} }
  const recipe = job.recipe ?? []
  const partly = recipe.some(([name]) => passFor(name).needs.includes('train'))
  const training = train ? await openData(train, o, true) : undefined
  if (!main) return { data: { ...(training ? { train: training } : {}) } }
  const all = await openData(main, o, partly)
  const split = splitData(all, job.seed ?? 0)
  const calibrating = calibration ? (calibration === main ? all : await openData(calibration, o)) : split.calibration
  const used = { calibration: calibrating, selection: split.selection }
  if (promises(recipe)) return promisingData(job, o, { main, all, split, training })
  return {
    data: { ...used, train: training ?? (holdsOut(recipe) ? all : besidesSelection(all, job.seed ?? 0)) },
    report: {
      ...described(nameOfData(main), all, { ...used, test: split.test }, false),
      // All of it calibrates: what no pass chooses by is not told a second time.
      ...(calibration === main && !chooses(recipe) ? { selectionN: 0 } : {}),
      testN: 0
    },
    notes: all.notes ?? []
  }
}

/** Does a pass choose by the selection part? */
const chooses = (recipe: Recipe): boolean => recipe.some(([name]) => passFor(name).uses.includes('selection'))

/** Does a pass choose by samples that nothing may have been fitted to? */
const promises = (recipe: Recipe): boolean => recipe.some(([name]) => passFor(name).promises)

/**
 * Data for passes that promise something: half of it chooses, the rest, or `--eval-data`, judges. Training data is its own. Throws
 * `E_DATA` where a pass trains and there is none.
 */
async function promisingData(
  job: Job,
  o: Opened,
  d: {
    readonly main: DataSource
    readonly all: LabelledDataset
    readonly split: Parts
    readonly training: Dataset | undefined
  }
): ReturnType<typeof passData> {
  const trains = (job.recipe ?? []).find(([name]) => passFor(name).needs.includes('train'))
  if (trains && !d.training)
    throw new PareError('E_DATA', `${trains[0]} chooses thresholds by samples that it was not trained on`, {
      where: trains[0],
      hint: 'give --train-data to train on, and --data for the thresholds'
    })
  const evaluation = job.data?.evaluation
  const own = evaluation && (await openData(evaluation, o))
  const halves = halved(d.all, job.seed ?? 0)
  const [selection, test] = own ? [d.all, own] : halves
  const parts = { calibration: d.split.calibration, selection, test }
  const calibration = job.data?.calibration && (await openData(job.data.calibration, o))
  return {
    data: { selection, ...(calibration ? { calibration } : {}), ...(d.training ? { train: d.training } : {}) },
    test,
    report: { ...described(nameOfData(d.main), d.all, parts, false), calibrationN: calibration?.size ?? 0 },
    notes: d.all.notes ?? []
  }
}

/** Do the passes hold samples out themselves? Throws `E_OPTION` where one would choose by samples that another trains on. */
function holdsOut(recipe: Recipe): boolean {
  const holding = recipe.find(([, { holdout }]) => holdout !== undefined)
  if (!holding) return false
  const choosing = recipe.find(
    ([name, { holdout }]) => holdout === undefined && passFor(name).uses.includes('selection')
  )
  if (!choosing) return true
  throw new PareError(
    'E_OPTION',
    `${choosing[0]} would choose by samples that ${holding[0]} trains on, as that has a holdout of its own`,
    { where: `${holding[0]}, holdout`, hint: 'give holdout to every pass that trains or to none, or give --train-data' }
  )
}
