/** What every job begins with: the model, its data by role, and the Report as far as it is known. */
import { PareError } from '../../base/errors.ts'
import { type Rng, rng } from '../../base/random.ts'
import type { LabelledDataset } from '../../data/arrays.ts'
import { classCount, metricFor } from '../../data/metrics.ts'
import type { AnyFormat, Catalog } from '../../formats/types.ts'
import { allGraphs } from '../../ir/graph.ts'
import { statePairs } from '../../ir/states.ts'
import type { CostModel } from '../../measure/cost-model.ts'
import { type Judging, judgingOf } from '../../measure/judging.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Report } from '../../report/types.ts'
import { measurementText } from '../../report/words.ts'
import type { Session } from '../../runtime/types.ts'
import type { Target } from '../../targets/types.ts'
import type { Dataset, Measurement, Metric, Model } from '../../types.ts'
import { outputFormat } from '../catalog.ts'
import { fileBytes, loadNoted, sha256File } from '../files.ts'
import type { DataSource, Job } from '../job.ts'
import { machineOf } from '../machine.ts'
import { checkedDataset, checkedMetric, loadMetric } from '../modules.ts'
import { targetOf } from '../places.ts'
import { type ModelFile, type Runners, runnersFor, scorer, sourceOf, threadNotes, threadsOf } from '../runtimes.ts'
import { version } from '../version.ts'
import { areAlike, type Ends, endsOf, inNumbers, seenAs } from './ends.ts'

/** A model out of a file. */
export interface OpenedModel {
  readonly model: Model
  /** What of the file was left behind. */
  readonly notes: readonly string[]
  /** Of the file and the weights beside it. */
  readonly bytes: number
  readonly inputs: Session['inputs']
  readonly outputs: Session['outputs']
}

/** An open model, and what every job needs beside it. */
export interface Opened extends OpenedModel, Runners {
  readonly target: Target
  readonly catalog: Catalog
  readonly rng: Rng
  readonly threads: number
  /** Predicts times of the target, where one was given. */
  readonly cost?: CostModel
  /** The Report without a measurement, ready to be filled. */
  readonly report: Omit<Report, 'before'>
}

/** Opens a model. Throws `E_FILE`, `E_FORMAT`, … */
export async function openModel(
  path: string,
  formats: readonly AnyFormat[],
  choices?: Job['read']
): Promise<OpenedModel> {
  let bytes = fileBytes(path).length
  const read = await loadNoted(
    path,
    (file) => {
      bytes += file.length
    },
    formats,
    choices
  )
  const model = inferShapes(read.model)
  const ends = endsOf(model)
  const format = formats.find((f) => f.name === model.origin?.format)
  return {
    model,
    notes: [...read.notes, ...notAsked(model)],
    bytes,
    ...(format?.numbers ? inNumbers(ends) : ends)
  }
}

const isTensor = ({ graph }: Model, id: string): boolean => (graph.values.get(id)?.type ?? 'tensor') === 'tensor'

/** Outputs that are no tensors are never asked for: who reads a report should know. */
function notAsked(model: Model): readonly string[] {
  const others = model.graph.outputs.filter((id) => !isTensor(model, id))
  if (others.length === 0) return []
  const [is, it] = others.length === 1 ? ['is no tensor', 'it is'] : ['are no tensors', 'they are']
  return [
    `${others.join(', ')} ${is} (a sequence, a map or optional): ${it} kept in the model, but neither run nor compared`
  ]
}

/** Opens a job's model and target. Throws `E_FILE`, `E_FORMAT`, `E_USAGE`, … */
export async function openJob(job: Job, catalog: Catalog): Promise<Opened> {
  const target = targetOf(job.target, job.model, catalog, job.out)
  if (job.out !== undefined) outputFormat(job.out, target, catalog, job.write)
  const opened = await openModel(job.model, catalog.formats, job.read)
  const seed = job.seed ?? 0
  const threads = job.threads ?? 1
  const runners = await runnersFor(target)
  const cost = job.costModel === undefined ? undefined : await costModelOf(job.costModel, target)
  const notes = [...opened.notes, ...threadNotes(runners, threads)]
  return {
    ...opened,
    ...runners,
    notes,
    target,
    catalog,
    threads,
    ...(cost ? { cost } : {}),
    rng: rng(seed),
    report: {
      pare: version,
      reportVersion: 1,
      command: job.line,
      model: { path: job.model, sha256: await sha256File(job.model), ...formatOfModel(opened.model) },
      target: target.name,
      seed,
      threads: threadsOf(runners, threads),
      candidates: [],
      steps: [],
      refusals: [],
      notes,
      curves: {},
      layers: [],
      recipe: [],
      machine: machineOf(runners)
    }
  }
}

/** Throws `E_CONSTRAINT` for a cost model of another target. */
async function costModelOf(path: string, target: Target): Promise<CostModel> {
  const { readCostModel } = await import('../calibrate.ts')
  const cost = readCostModel(path)
  if (cost.target === target.name) return cost
  throw new PareError('E_CONSTRAINT', `this cost model is of ${cost.target}, and the model is for ${target.name}`, {
    where: path,
    hint: `calibrate-target ${target.name}`
  })
}

/**
 * A session of a file in the runtime that scores it, told in numbers under the ends of the job's model: where those of the file are
 * codes, have other names or their channels last, what goes in and comes out is converted.
 */
export async function openSeen(o: Runners & { readonly threads: number }, file: ModelFile, as: Ends): Promise<Session> {
  const session = await scorer(o).open(sourceOf(scorer(o), file), { threads: o.threads })
  const own = endsOf(file.model)
  return areAlike(own, as) ? session : seenAs(session, own, as)
}

/** The job's file. */
export const fileOf = (job: Pick<Job, 'model'>, { model }: Pick<Opened, 'model'>): ModelFile => ({
  path: job.model,
  model
})

/** `ONNX 13 · 86 nodes · 0.27 M parameters · 40.8 M MACs · 1.09 MB`; the opset is the file's own. */
export function factsOf({ model, catalog }: Pick<Opened, 'model' | 'catalog'>, m: Measurement): string {
  const nodes = allGraphs(model).reduce((n, g) => n + g.nodes.length, 0)
  return `${formatText(model, catalog.formats)} · ${nodes} node${nodes === 1 ? '' : 's'} · ${measurementText(m)}`
}

const formatOfModel = ({ origin }: Model): { readonly format?: string } => (origin ? { format: origin.format } : {})

/** `ONNX 13`: the format that the model was read in, and the file's own version of it. */
function formatText({ origin }: Model, formats: readonly AnyFormat[]): string {
  const title = formats.find((f) => f.name === origin?.format)?.title ?? origin?.format ?? 'made here'
  return origin?.version === undefined ? title : `${title} ${origin.version}`
}

// ---------------------------------------------------------------- data

/** What errors and the report call data. */
export const nameOfData = (d: DataSource): string => ('path' in d ? d.path : 'a Dataset of the program')

/** Opens data for a model; `partly` labelled where samples may lack one. Only what the user typed may be a module. */
export async function openData(d: DataSource, o: Opened, partly = false): Promise<LabelledDataset> {
  const classes = classCount(o.outputs)
  if (!('path' in d)) {
    const { labels, lengths, notes, marks }: LabelledDataset = d
    const checked = checkedDataset(d, nameOfData(d), o.inputs, { classes, partly })
    return {
      ...checked,
      ...(labels && { labels }),
      ...(lengths && { lengths }),
      ...(notes && { notes }),
      ...(marks && { marks })
    }
  }
  // Loaded only where there is data: `inspect` starts without the readers of data.
  const { openDataset } = await import('../dataset.ts')
  return openDataset(d, o.inputs, {
    ...{ classes, partly, modules: true },
    states: new Set(statePairs(o).map((p) => p.input)),
    model: o.report.model.path
  })
}

/** What a job judges by: the asked metric or the one that fits, first; with labels of class scores, top-5 beside top-1. */
export async function judgingFor(job: Job, o: Opened, data: Dataset): Promise<Judging> {
  const asked = job.metric === undefined ? undefined : await namedMetric(job.metric)
  if (asked?.needs.labels && !data.labelled)
    throw new PareError('E_LABELS', `${asked.name} needs labels, and the data has none`, {
      hint: 'sub-folders by class, labels.csv, or an array y; or --metric agreement'
    })
  return judgingOf({
    ...{ model: o.model, outputs: o.outputs, dataset: data, asked, picked: job.judged },
    open: () => openSeen(o, fileOf(job, o), o)
  })
}

async function namedMetric(given: string | Metric): Promise<Metric> {
  if (typeof given !== 'string') return checkedMetric(given, `metric ${given.name}`)
  return /\.[cm]?js$/.test(given) ? loadMetric(given) : metricFor(given)
}
