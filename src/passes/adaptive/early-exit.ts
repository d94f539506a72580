/** Early exits: heads on the model as it is, trained on what it computes anyway, at the places that save most. */
import { z } from 'zod'
import { PareError } from '../../base/errors.ts'
import { argmax } from '../../data/argmax.ts'
import { noLabel } from '../../data/labels.ts'
import { lowestKept, type Promised, type Routes, thresholdsFor } from '../../data/thresholds.ts'
import { edit } from '../../ir/edit.ts'
import type { ScoreForm } from '../../ir/stages.ts'
import { elementCount, toFloats } from '../../ir/tensor.ts'
import { outputsOn } from '../../observe/feed.ts'
import { routesOf } from '../../observe/routes.ts'
import { costOf } from '../../ops/cost.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Dataset, Model, Tensor } from '../../types.ts'
import { definePass, parseOptions } from '../pass.ts'
import { trainingFields } from '../train/options.ts'
import type { Context } from '../types.ts'
import { type CutPoint, cutPoints, narrowest } from './cuts.ts'
import { addHead, addPooled, type Head, type HeadData, pooledModel, trainHead } from './heads.ts'
import { formOf, promisedBy, promiseFields, promising, type Straight, scoresOf } from './promise.ts'
import { told } from './told.ts'

const { augment: _, holdout: _h, epochs: __, ...fields } = trainingFields

const options = {
  exits: z.int().min(1).max(8).default(2).describe('exits at most; those that save most are kept'),
  places: z
    .int()
    .min(1)
    .max(32)
    .default(6)
    .describe('places that are tried: the narrowest in so many parts of equal work'),
  hidden: z.int().min(1).max(4096).default(128).describe('width of the layer inside a head'),
  alpha: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe(
      'share of the last stage’s scores in the loss, the rest is of the labels; by default 0.5 with labels, else 1'
    ),
  temperature: z.number().min(1).max(20).default(2).describe('how much the last stage’s scores are softened'),
  epochs: z.int().min(1).max(100_000).default(15).describe('times that all training samples are seen by the heads'),
  ...promiseFields,
  ...fields
} as const

type Options = z.output<z.ZodObject<typeof options>>

/** Puts exits into a classifier; the model itself is not changed. */
export const earlyExit = definePass({
  name: 'early-exit',
  summary: 'put exits into a classifier, so that easy samples leave early; only their heads are trained',
  group: 'adaptive',
  needs: ['train', 'selection'],
  after: ['simplify', 'fuse'],
  promises: true,
  options,
  run: async (given, o, ctx) => {
    const model = inferShapes(given)
    const output = scoresOf(model, 'the model')
    const points = placesOf(model, o)
    const trained = await headsOf(model, output, points, o, ctx)
    const promised = promisedBy(o)
    const picked = bestExits(trained, promised, o.exits, costOf(model).total ?? 0)
    const straight = withHeads(model, output, picked, trained)
    const made = await promising(straight, promised, ctx.data.selection as Dataset, ctx)
    for (const h of trained.heads)
      ctx.note(
        `early-exit: behind ${percent(h.point.share)} of the work (${h.point.value}) a head is right on ${percent(h.head.accuracy)} of held-out training samples${picked.includes(h) ? '; kept' : ''}`
      )
    told(made, ctx)
    return made.model
  }
})

const percent = (x: number): string => `${(100 * x).toFixed(1)} %`

/** Earlier there is too little to judge by, later too little to save. */
const worthwhile = [0.1, 0.9] as const

function placesOf(model: Model, { places }: Options): readonly CutPoint[] {
  const all = cutPoints(model)
  const found = all && narrowest(all, places, worthwhile)
  if (found && found.length > 0) return found
  throw new PareError('E_UNSUPPORTED', 'there is no place where samples could leave this model', {
    facts: {
      why: all
        ? 'nowhere between 10 and 90 % of the work does all that follows depend on a single value [N, …] of floats'
        : 'its multiply-adds are not known'
    },
    hint: 'pare cascade puts a small model in front instead'
  })
}

// ---------------------------------------------------------------- training

interface TrainedHead {
  readonly point: CutPoint
  readonly head: Head
}

interface Trained {
  readonly heads: readonly TrainedHead[]
  readonly form: ScoreForm
  /** What all heads and the last stage say of held-out training samples. */
  readonly held: Routes
}

/** Samples that choose epochs and exits. */
const heldShare = 0.1
/** Bytes of features that are kept in memory. */
const mostBytes = 2 * 1024 ** 3

async function headsOf(
  model: Model,
  output: string,
  points: readonly CutPoint[],
  o: Options,
  ctx: Context
): Promise<Trained> {
  const train = ctx.data.train as Dataset
  const form = await formOn(model, output, ctx)
  const seen = await features(model, output, points, train, ctx)
  const order = ctx.rng.fork('held out').permutation(train.size)
  const cut = Math.max(1, Math.floor(heldShare * order.length))
  const held = { choose: order.slice(0, cut), fit: order.slice(cut) }
  const {
    exits: _e,
    places: _p,
    maxDisagreement: _d,
    maxDrop: _m,
    sure: _s,
    hidden,
    alpha,
    temperature,
    ...training
  } = o
  const rows = await labelsOf(train, seen)
  const how = {
    ...{ hidden, temperature, alpha: alpha ?? (train.labelled ? 0.5 : 1) },
    training: { ...parseOptions({ name: 'early-exit', options: z.object(trainingFields) }, {}), ...training }
  }
  const heads: TrainedHead[] = []
  for (const [i, point] of points.entries()) {
    const data = { ...seen.heads[i], labels: rows } as HeadData
    const quiet: Context = {
      ...ctx,
      note: () => {},
      rng: ctx.rng.fork(`head ${i}`),
      progress: (stage, ...rest) => ctx.progress(`head ${i + 1} of ${points.length}, ${stage}`, ...rest)
    }
    heads.push({ point, head: await trainHead(data, held, how, quiet) })
  }
  return { heads, form, held: routesOfHeads(heads, seen, rows, held.choose) }
}

async function formOn(model: Model, output: string, ctx: Context): Promise<ScoreForm> {
  const data = ctx.data.selection as Dataset
  const indices = Array.from({ length: Math.min(64, data.size) }, (_, i) => i)
  const few: Dataset = { ...data, size: indices.length, batches: (b) => data.batches({ indices, ...b }) }
  const { scores } = await routesOf(model, { confidence: [], scores: [output] }, few, {
    ...ctx,
    stage: 'looking at the model'
  })
  const [seen] = scores
  if (!seen) throw new PareError('E_INTERNAL', 'a model was run, and nothing was seen')
  return formOf(seen, 'the model')
}

interface Features {
  readonly heads: readonly Omit<HeadData, 'labels'>[]
  readonly scores: Float32Array
  readonly classes: number
}

/** One run of the trunk over all training samples. */
async function features(
  model: Model,
  output: string,
  points: readonly CutPoint[],
  train: Dataset,
  ctx: Context
): Promise<Features> {
  const { model: tapped, pooled } = pooledModel(model, points)
  const shapes = [...pooled, output].map((id) => (tapped.graph.values.get(id)?.shape ?? []).slice(1).map(Number))
  const widths = shapes.map((shape) => elementCount(shape))
  const bytes = widths.reduce((a, b) => a + b, 0) * train.size * 4
  if (bytes > mostBytes)
    throw new PareError('E_LIMIT', `what the heads read of ${train.size} samples does not fit into 2 GB`, {
      hint: 'fewer --places, or fewer training samples'
    })
  const all = widths.map((w) => new Float32Array(w * train.size))
  const session = await ctx.engine.open(tapped, { outputs: [...pooled, output], plansMemory: false })
  let done = 0
  try {
    for await (const { outputs, n } of outputsOn(
      session,
      { dataset: train, batch: 32, stage: 'running the trunk' },
      ctx
    )) {
      for (const [k, id] of [...pooled, output].entries())
        all[k]?.set(toFloats(outputs[id] as Tensor), done * (widths[k] as number))
      done += n
    }
  } finally {
    await session.close()
  }
  const [scores, classes] = [all.at(-1) as Float32Array, widths.at(-1) as number]
  const heads = points.map((_, k) => ({
    ...{ n: done, features: all[k] as Float32Array, shape: shapes[k] as readonly number[], scores, classes }
  }))
  return { heads, scores, classes }
}

/** Labels of the data; where there is none, what the last stage says. */
async function labelsOf(train: Dataset, { scores, classes }: Features): Promise<Int32Array> {
  const out = Int32Array.from({ length: scores.length / classes }, (_, i) => argmax(scores, i * classes, classes))
  if (!train.labelled) return out
  let at = 0
  for await (const b of train.batches({ batch: 256 })) {
    for (const [k, label] of (b.labels ?? []).entries())
      if (label !== noLabel && at + k < out.length) out[at + k] = label
    at += b.n
  }
  return out
}

function routesOfHeads(
  heads: readonly TrainedHead[],
  { scores, classes }: Features,
  labels: Int32Array,
  rows: readonly number[]
): Routes {
  const answers = heads.map(({ head }) => Int32Array.from(rows, (_, i) => argmax(head.held, i * classes, classes)))
  const confidence = heads.map(({ head }, k) =>
    Float32Array.from(rows, (_, i) => {
      const row = head.held.subarray(i * classes, (i + 1) * classes)
      const top = row[answers[k]?.[i] as number] as number
      return 1 / row.reduce((sum, z) => sum + Math.exp(z - top), 0)
    })
  )
  return {
    n: rows.length,
    confidence,
    answers: [...answers, Int32Array.from(rows, (r) => argmax(scores, r * classes, classes))],
    labels: Int32Array.from(rows, (r) => labels[r] as number)
  }
}

// ---------------------------------------------------------------- choosing

/** The exits that leave least work on held-out training samples under the promise, their own counted; at least one. */
function bestExits({ heads, held }: Trained, promised: Promised, most: number, macs: number): readonly TrainedHead[] {
  const shares = [...heads.map((h) => h.point.share), 1]
  const own = [...heads.map((h) => (costOf(h.head.model).total ?? 0) / macs), 0]
  const last = heads.length
  const workOf = (picked: readonly number[]): number => {
    const routes: Routes = {
      ...held,
      confidence: picked.map((i) => held.confidence[i] as Float32Array),
      answers: [...picked, last].map((i) => held.answers[i] as Int32Array)
    }
    const kept = lowestKept(routes, promised, thresholdsFor(held.answers.length + 1))
    if (!kept) return 1
    let [work, before] = [0, 0]
    for (const [k, i] of [...picked, last].entries()) {
      before += own[i] as number
      work += (((shares[i] as number) + before) * (kept.counts[k] as number)) / held.n
    }
    return work
  }
  let best: readonly number[] = []
  let work = Number.POSITIVE_INFINITY
  // One more at a time, as long as that saves work.
  while (best.length < Math.min(most, heads.length)) {
    const tried = heads.flatMap((_, i) => {
      if (best.includes(i)) return []
      const picked = [...best, i].sort((a, b) => a - b)
      return [{ picked, work: workOf(picked) }]
    })
    const found = tried.reduce((a, b) => (b.work < a.work ? b : a))
    if (found.work >= work) break
    best = found.picked
    work = found.work
  }
  return best.map((i) => heads[i] as TrainedHead)
}

function withHeads(model: Model, output: string, picked: readonly TrainedHead[], { form }: Trained): Straight {
  const exits: string[] = []
  const { dtype } = model.graph.values.get(output) ?? {}
  const made = edit(model, (d) => {
    for (const { point, head } of picked) {
      const logits = addHead(d, addPooled(d, point), head)
      exits.push(form === 'probabilities' ? d.add('Softmax', [logits], { attrs: { axis: 1 } }) : logits)
    }
  })
  if (dtype !== 'float32')
    throw new PareError(
      'E_UNSUPPORTED',
      `heads give float32, and the model's scores are ${dtype ?? 'of unknown type'}`,
      { where: output }
    )
  const place = (p: CutPoint): string => `exit behind ${percent(p.share)} of the work`
  return {
    ...{ kind: 'early-exit', model: inferShapes(made), exits, form },
    stages: [...picked.map((h) => place(h.point)), 'all of it']
  }
}
