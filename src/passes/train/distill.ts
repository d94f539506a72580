/**
 * Distillation (Hinton et al. 2015): the input is the teacher, the result a smaller student trained towards what the
 * teacher says: α·T²·KL(teacher ‖ student, at temperature T) + (1 − α)·cross-entropy; without labels the first alone.
 * Values inside may be matched as well (FitNets, Romero et al. 2015), through a learned map where widths differ.
 */
import { z } from 'zod'
import { quickHash, toArray } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import { metricFor } from '../../data/metrics.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { LossTerm } from '../../train/index.ts'
import type { Context, Dim, Model, Value } from '../../types.ts'
import { definePass } from '../pass.ts'
import { fixedBatch } from '../quantize/calibrate.ts'
import { blocksToDrop, residualBlocks, withoutBlocks } from './blocks.ts'
import { refuseRounded } from './finetune.ts'
import { learn, parameterCount } from './learn.ts'
import { trainingFields } from './options.ts'
import { type Samples, samplesFor, type Task, taskOf } from './task.ts'
import { labelledBy, openTeacher, type Pairs } from './teacher.ts'

const { patience: _, ...fields } = trainingFields

const options = {
  student: z.string().optional().describe('A model with the same inputs and outputs, trained already or not'),
  depth: z
    .number()
    .gt(0)
    .lt(1)
    .optional()
    .describe('Instead: the teacher with this share of its residual blocks, and its weights'),
  loss: z
    .strictObject({
      alpha: z.number().min(0).max(1).default(0.8).describe('Share of the teacher; the rest is of the labels'),
      temperature: z.number().min(1).max(20).default(3).describe('How much the teacher’s scores are softened'),
      features: z.array(z.string()).default([]).describe('Values inside to match: a name, or student’s=teacher’s name'),
      featureWeight: z.number().min(0).default(1).describe('Weight of each of them in the loss')
    })
    .prefault({}),
  ...fields
} as const

type Options = z.output<z.ZodObject<typeof options>>

/** Trains a smaller model to say what the given one says. */
export const distill = definePass({
  name: 'distill',
  summary:
    'Trains a smaller student (a file, or fewer residual blocks) to say what the model says; labels are optional',
  needs: ['train'],
  uses: ['selection'],
  options,
  run: async (teacher, o, ctx) => {
    const student = await studentOf(teacher, o, ctx)
    const [task, taught] = [taskOf(student), taskOf(teacher)]
    const hasClasses = task?.kind === 'classes' && taught?.kind === 'classes'
    checkFit(teacher, student)
    tellSizes(teacher, student, ctx)
    const output = hasClasses ? task.output : (student.graph.outputs[0] as string)
    const said = hasClasses ? taught.logits : (teacher.graph.outputs[0] as string)
    const pairs = new Map([[output, said], ...featurePairs(o)])
    const samples = await choose(teacher, said, hasClasses ? task : undefined, ctx)
    return train(teacher, student, { o, pairs, samples, output, hasClasses }, ctx)
  }
})

interface Plan {
  readonly o: Options
  readonly pairs: Pairs
  readonly samples: Samples
  readonly output: string
  readonly hasClasses: boolean
}

async function train(teacher: Model, student: Model, p: Plan, ctx: Context): Promise<Model> {
  const { o, pairs, samples } = p
  const { student: _file, depth: _depth, loss, ...common } = o
  const fixed = fixedBatch(teacher)
  const batch = fixed ?? Math.min(o.batch, samples.train.size)
  const cached = o.augment.kind === 'none' && loss.features.length === 0
  const asked = await openTeacher(teacher, pairs, { data: samples.train, cached }, ctx)
  try {
    const { model, ...told } = await learn(
      {
        ...{ pass: 'distill', model: student, samples, options: { ...common, batch } },
        loss: lossOf(teacher, p, batch),
        identity: [loss, contentOf(teacher)],
        targets: (training, b, at) => asked.targets(training, b, at)
      },
      ctx
    )
    const ratio = parameterCount(teacher) / parameterCount(student)
    ctx.plan({ parameters: { teacher: parameterCount(teacher), student: parameterCount(student), ratio }, ...told })
    return model
  } finally {
    await asked.close()
  }
}

function lossOf(teacher: Model, { o, samples, output, hasClasses }: Plan, batch: number): LossTerm[] {
  const { alpha, temperature, featureWeight } = o.loss
  const { values } = inferShapes(teacher).graph
  const features = featurePairs(o).map(([value, from]): LossTerm => {
    const shape = fixedShape(from, values.get(from), batch)
    return { kind: 'features', value, shape, weight: featureWeight }
  })
  if (!hasClasses) return [{ kind: 'mse', output }, ...features]
  if (!samples.train.labelled || alpha === 1) return [{ kind: 'kl', output, temperature }, ...features]
  return [
    { kind: 'kl', output, temperature, weight: alpha },
    { kind: 'cross-entropy', output, weight: 1 - alpha },
    ...features
  ]
}

function fixedShape(id: string, v: Value | undefined, batch: number): number[] {
  const shape = v?.shape?.map((d: Dim, i) => (i === 0 ? batch : d))
  if (shape?.every((d): d is number => typeof d === 'number')) return shape
  throw new PareError('E_OPTION', `the teacher has no value ${id} whose size is known`, {
    where: id,
    facts: { shape: v?.shape ? `[${v.shape.join(', ')}]` : 'unknown' },
    hint: 'pare inspect --graph lists the names'
  })
}

function featurePairs(o: Options): (readonly [string, string])[] {
  return o.loss.features.map((pair) => {
    const [own = pair, other = own] = pair.split('=')
    return [own, other] as const
  })
}

/** What the epochs are compared by: labels where there are some, else the teacher's classes. */
async function choose(teacher: Model, logits: string, task: Task | undefined, ctx: Context): Promise<Samples> {
  const { train: data, selection } = ctx.data
  if (!data) throw new PareError('E_DATA', 'distill needs training data', { where: 'distill', hint: 'give --data' })
  if (!task) return { train: data }
  if (data.labelled || selection?.labelled || !selection) return samplesFor('distill', task, ctx)
  return {
    train: data,
    validation: { data: await labelledBy(teacher, logits, selection, ctx), metric: metricFor('top1') }
  }
}

// ---------------------------------------------------------------- the student

async function studentOf(teacher: Model, { student, depth }: Options, ctx: Context): Promise<Model> {
  if ((student === undefined) === (depth === undefined))
    throw new PareError('E_OPTION', 'distill needs a student: a file, or a depth', {
      where: 'distill',
      hint: 'give one of --student FILE and --depth SHARE'
    })
  if (depth !== undefined) return shallower(teacher, depth, ctx)
  if (!ctx.load) throw new PareError('E_OPTION', 'there are no files here to open a student from', { where: 'student' })
  const opened = await ctx.load(student as string)
  refuseRounded(opened, 'distill')
  return opened
}

function shallower(teacher: Model, depth: number, ctx: Context): Model {
  refuseRounded(teacher, 'distill --depth')
  const blocks = residualBlocks(teacher)
  const dropped = blocksToDrop(blocks, depth)
  if (dropped.length === 0)
    throw new PareError('E_UNSUPPORTED', `no student of depth ${depth} can be derived from this model`, {
      where: 'depth',
      facts: { 'residual blocks': String(blocks.length) },
      hint: 'give a student of your own: --student FILE'
    })
  const names = dropped.map((b) => b.add.name || b.add.outputs[0])
  ctx.note(
    `distill: the student has ${blocks.length - dropped.length} of ${blocks.length} residual blocks, without ${names.join(', ')}`
  )
  return withoutBlocks(teacher, dropped)
}

/** Throws `E_DATA_SHAPE` where the student cannot be given what the teacher is given. */
function checkFit(teacher: Model, student: Model): void {
  const [a, b] = [teacher, student].map((m) => m.graph.inputs.filter((id) => !m.graph.values.get(id)?.data))
  const missing = b?.find((id) => !a?.includes(id))
  if (missing === undefined) return
  throw new PareError('E_DATA_SHAPE', `the student reads ${missing}, which the teacher does not`, {
    where: missing,
    facts: { teacher: a?.join(', ') ?? '', student: b?.join(', ') ?? '' },
    hint: 'name its inputs as the teacher’s'
  })
}

/** Ratios of size over which a teacher helps. */
const [leastRatio, mostRatio] = [2, 5]

function tellSizes(teacher: Model, student: Model, ctx: Context): void {
  const ratio = parameterCount(teacher) / Math.max(1, parameterCount(student))
  if (ratio > mostRatio)
    ctx.note(
      `the teacher has ${ratio.toFixed(1)} × the parameters of the student, and ${leastRatio} to ${mostRatio} × teaches best: distil a middle one of about ${Math.round(Math.sqrt(parameterCount(teacher) * parameterCount(student)))} parameters first, and let it teach`
    )
  else if (ratio < leastRatio)
    ctx.note(`the teacher has only ${ratio.toFixed(1)} × the parameters of the student: there is little to gain`)
}

/** Tells teachers apart. */
const contentOf = (model: Model): string[] =>
  [...model.graph.values.values()].flatMap((v) => (v.data ? [`${v.id} ${quickHash(toArray(v.data.bytes))}`] : []))
