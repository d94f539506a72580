/** Training that goes on: the loss of the task on the training part, the best epoch by the selection part. */
import { z } from 'zod'
import { PareError } from '../../base/errors.ts'
import type { Model } from '../../types.ts'
import { definePass } from '../pass.ts'
import type { Context } from '../types.ts'
import { gradualFields, inRounds, roundsOf } from './gradual.ts'
import { type Fitted, learn } from './learn.ts'
import { inputTargets, neededTask, refuseRounded, taskLoss } from './loss.ts'
import { trainingFields } from './options.ts'
import { samplesFor } from './task.ts'
import { taught, teachingFields } from './taught.ts'

/** Options of training for the task itself. */
export const fitFields = {
  ...trainingFields,
  smoothing: z.number().min(0).max(0.9).default(0).describe('label smoothing: share given to the other classes')
} as const

type FitOptions = z.output<z.ZodObject<typeof fitFields>>

/** Trains a float model further; zeros that are meant stay zeros. */
export const finetune = definePass({
  name: 'finetune',
  summary: 'train the weights further on your data, also while pruning or beside a teacher; zeros that are meant stay',
  group: 'training',
  needs: ['train'],
  uses: ['selection'],
  options: {
    ...fitFields,
    teacher: z
      .string()
      .optional()
      .describe(
        'a model with the same inputs and outputs to learn from beside the labels; itself: the given one as it is'
      ),
    loss: z.strictObject(teachingFields).prefault({}),
    prune: gradualFields
  },
  run: async (model, { prune, teacher, loss, ...options }, ctx) => {
    refuseRounded(model, 'finetune')
    const rounds = roundsOf(prune, options.epochs)
    const from = teacher === undefined ? undefined : await teacherOf(teacher, model, ctx)
    const { smoothing, ...common } = options
    const trained = (m: Model, epochs: number): Promise<Fitted> =>
      from
        ? taught(from, m, { pass: 'finetune', options: { ...common, epochs }, smoothing, ...loss }, ctx)
        : fitOnce(m, 'finetune', { ...options, epochs }, ctx)
    const fitted = rounds.length > 0 ? inRounds(model, rounds, prune, trained, ctx) : trained(model, options.epochs)
    const { model: made, ...told } = await fitted
    ctx.plan(told)
    return made
  }
})

async function teacherOf(name: string, model: Model, ctx: Context): Promise<Model> {
  if (name === 'itself') return model
  if (ctx.load) return ctx.load(name)
  throw new PareError('E_OPTION', 'there are no files here to open a teacher from', {
    where: 'teacher',
    hint: 'itself: the given model teaches'
  })
}

/** Trains a float model for its task, from the weights that it has. */
export async function fitTask(model: Model, pass: string, options: FitOptions, ctx: Context): Promise<Model> {
  const { model: trained, ...told } = await fitOnce(model, pass, options, ctx)
  ctx.plan(told)
  return trained
}

async function fitOnce(model: Model, pass: string, options: FitOptions, ctx: Context): Promise<Fitted> {
  const task = neededTask(model, pass, ctx.data.train)
  const samples = await samplesFor(pass, task, ctx, options)
  const { smoothing, ...common } = options
  return learn(
    {
      ...{ pass, model, samples, options: common, identity: smoothing },
      loss: [taskLoss(task, smoothing)],
      targets: (training, batch) => inputTargets(training, task, batch)
    },
    ctx
  )
}
