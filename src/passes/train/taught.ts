/**
 * Training towards what a teacher says (Hinton et al. 2015): α·T²·KL(teacher ‖ student, at temperature T) + (1 − α)·
 * cross-entropy; without labels the first alone, and where some samples have one, KL over all and the cross-entropy's mean
 * over those. Values inside may be matched as well (FitNets, Romero et al. 2015), through a learned map where widths differ.
 */
import { z } from 'zod'
import { quickHash, toArray } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import { inferShapes } from '../../ops/infer.ts'
import { fedOf, prescribed } from '../../runtime/batches.ts'
import type { LossTerm } from '../../train/index.ts'
import type { Dim, Model, Value } from '../../types.ts'
import type { Context } from '../types.ts'
import { type Fitted, learn } from './learn.ts'
import type { TrainingOptions } from './options.ts'
import { type Samples, samplesFor, type Task, taskOf } from './task.ts'
import { labelledBy, openTeacher } from './teacher.ts'

/** Options of what the student is to say. */
export const teachingFields = {
  alpha: z.number().min(0).max(1).default(0.8).describe('share of the teacher; the rest is of the labels'),
  temperature: z.number().min(1).max(20).default(3).describe('how much the teacher’s scores are softened')
} as const

/** How a teacher teaches. */
export interface Teaching {
  readonly pass: string
  readonly options: TrainingOptions
  readonly alpha: number
  readonly temperature: number
  /** Label smoothing. */
  readonly smoothing?: number
  /** Values inside to match: the student's and the teacher's. */
  readonly features?: readonly (readonly [own: string, other: string])[]
  readonly featureWeight?: number
}

/** Trains a student. Throws `E_DATA_SHAPE` where it cannot be given what the teacher is given. */
export async function taught(teacher: Model, student: Model, t: Teaching, ctx: Context): Promise<Fitted> {
  const [task, said] = [taskOf(student), taskOf(teacher)]
  const scores = task?.kind === 'classes' && said?.kind === 'classes' ? { task, logits: said.logits } : undefined
  checkFit(teacher, student)
  const output = scores?.task.output ?? (student.graph.outputs[0] as string)
  const from = scores?.logits ?? (teacher.graph.outputs[0] as string)
  const { features = [], options, pass, ...rest } = t
  const samples = await choose(teacher, from, scores?.task, t, ctx)
  const batch = prescribed(fedOf(teacher)) ?? Math.min(options.batch, samples.train.size)
  const loss = [...outputLoss(t, samples, output, scores !== undefined), ...featureLoss(teacher, t, batch)]
  const cached = options.augment.kind === 'none' && features.length === 0
  const pairs = new Map([[output, from], ...features])
  const asked = await openTeacher(teacher, pairs, { data: samples.train, cached }, ctx)
  try {
    return await learn(
      {
        ...{ pass, model: student, samples, options: { ...options, batch }, loss },
        identity: [rest, features, contentOf(teacher)],
        targets: (training, b, at) => asked.targets(training, b, at)
      },
      ctx
    )
  } finally {
    await asked.close()
  }
}

function outputLoss(t: Teaching, samples: Samples, output: string, hasClasses: boolean): readonly LossTerm[] {
  const { alpha, temperature, smoothing } = t
  if (!hasClasses) return [{ kind: 'mse', output }]
  if (!samples.train.labelled || alpha === 1) return [{ kind: 'kl', output, temperature }]
  return [
    { kind: 'kl', output, temperature, weight: alpha },
    { kind: 'cross-entropy', output, weight: 1 - alpha, ...(smoothing ? { smoothing } : {}) }
  ]
}

function featureLoss(teacher: Model, { features = [], featureWeight = 1 }: Teaching, batch: number): LossTerm[] {
  const { values } = inferShapes(teacher).graph
  return features.map(([value, from]) => {
    const shape = fixedShape(from, values.get(from), batch)
    return { kind: 'features', value, shape, weight: featureWeight }
  })
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

/** What the epochs are compared by: labels where there are enough, else the teacher's classes. */
async function choose(
  teacher: Model,
  logits: string,
  task: Task | undefined,
  { pass, options: { holdout } }: Teaching,
  ctx: Context
): Promise<Samples> {
  const { train: data } = ctx.data
  if (!data) throw new PareError('E_DATA', `${pass} needs training data`, { where: pass, hint: 'give --data' })
  if (task) return samplesFor(pass, task, ctx, { holdout, teacher: (d) => labelledBy(teacher, logits, d, ctx) })
  if (!holdout) return { train: data }
  throw new PareError('E_OPTION', 'outputs that are no class scores have no score to choose an epoch by', {
    where: `${pass}, holdout`,
    hint: 'leave holdout away: the last epoch is kept'
  })
}

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

/** Tells teachers apart. */
const contentOf = (model: Model): string[] =>
  [...model.graph.values.values()].flatMap((v) => (v.data ? [`${v.id} ${quickHash(toArray(v.data.bytes))}`] : []))
