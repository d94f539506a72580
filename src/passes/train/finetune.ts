/** Training that goes on: the loss of the task on the training part, the best epoch by the selection part. */
import { z } from 'zod'
import type { Context, Model } from '../../types.ts'
import { definePass } from '../pass.ts'
import { gradualFields, inRounds, roundsOf } from './gradual.ts'
import { type Fitted, learn } from './learn.ts'
import { inputTargets, neededTask, refuseRounded, taskLoss } from './loss.ts'
import { trainingFields } from './options.ts'
import { samplesFor } from './task.ts'

/** Options of training for the task itself. */
export const fitFields = {
  ...trainingFields,
  smoothing: z.number().min(0).max(0.9).default(0).describe('label smoothing: share given to the other classes')
} as const

type FitOptions = z.output<z.ZodObject<typeof fitFields>>

/** Trains a float model further; zeros that are meant stay zeros. */
export const finetune = definePass({
  name: 'finetune',
  summary: 'train the weights further on your data, or while they are pruned; pruned weights stay zero',
  group: 'training',
  needs: ['train'],
  uses: ['selection'],
  options: { ...fitFields, prune: gradualFields },
  run: async (model, { prune, ...options }, ctx) => {
    refuseRounded(model, 'finetune')
    const rounds = roundsOf(prune, options.epochs)
    if (rounds.length === 0) return fitTask(model, 'finetune', options, ctx)
    const trained = (m: Model, epochs: number): Promise<Fitted> => fitOnce(m, 'finetune', { ...options, epochs }, ctx)
    const { model: pruned, ...told } = await inRounds(model, rounds, prune, trained, ctx)
    ctx.plan(told)
    return pruned
  }
})

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
