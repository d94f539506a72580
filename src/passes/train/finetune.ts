/** Training that goes on: the loss of the task on the training part, the best epoch by the selection part. */
import { z } from 'zod'
import { PareError } from '../../base/errors.ts'
import { isRounded } from '../../ops/quantized.ts'
import type { LossTerm, Training } from '../../train/index.ts'
import type { Batch, Context, Dataset, Model, Tensor } from '../../types.ts'
import { definePass } from '../pass.ts'
import { learn, shapedLike } from './learn.ts'
import { trainingFields } from './options.ts'
import { samplesFor, type Task, taskOf } from './task.ts'

/** Options of training for the task itself. */
export const fitFields = {
  ...trainingFields,
  smoothing: z.number().min(0).max(0.9).default(0).describe('label smoothing: share given to the other classes')
} as const

type FitOptions = z.output<z.ZodObject<typeof fitFields>>

/** Trains a float model further; zeros that are meant stay zeros. */
export const finetune = definePass({
  name: 'finetune',
  summary: 'train the weights further on your data; pruned weights stay zero',
  group: 'training',
  needs: ['train'],
  uses: ['selection'],
  options: fitFields,
  run: async (model, options, ctx) => {
    refuseRounded(model, 'finetune')
    return fitTask(model, 'finetune', options, ctx)
  }
})

/** Trains a float model for its task, from the weights that it has. */
export async function fitTask(model: Model, pass: string, options: FitOptions, ctx: Context): Promise<Model> {
  const task = neededTask(model, pass, ctx.data.train)
  const samples = await samplesFor(pass, task, ctx, options)
  const { smoothing, ...common } = options
  const made = await learn(
    {
      ...{ pass, model, samples, options: common, identity: smoothing },
      loss: [taskLoss(task, smoothing)],
      targets: (training, batch) => inputTargets(training, task, batch)
    },
    ctx
  )
  const { model: trained, ...told } = made
  ctx.plan(told)
  return trained
}

/** Throws `E_USAGE` for a model whose weights are codes already. */
export function refuseRounded(model: Model, pass: string): void {
  if (!isRounded(model)) return
  throw new PareError('E_USAGE', `${pass} trains float weights, and those of this model are rounded to codes`, {
    where: pass,
    hint: `start from the float model: train first, quantize then, or use train-quantized`
  })
}

/** What the model is for. Throws where no loss fits it, or where the labels for it are missing. */
export function neededTask(model: Model, pass: string, data: Dataset | undefined): Task {
  const task = taskOf(model)
  if (!task)
    throw new PareError(
      'E_UNSUPPORTED',
      `${pass} knows losses for class scores [n, classes] and for outputs like an input`,
      {
        where: pass,
        facts: { outputs: model.graph.outputs.join(', ') }
      }
    )
  if (task.kind === 'classes' && data && !data.labelled)
    throw new PareError('E_LABELS', `${pass} needs labels for class scores, and the training data has none`, {
      where: pass,
      hint: 'distill learns from a teacher without labels'
    })
  return task
}

/** The loss of a task. */
export const taskLoss = (task: Task, smoothing: number): LossTerm =>
  task.kind === 'classes'
    ? { kind: 'cross-entropy', output: task.output, smoothing }
    : { kind: 'mse', output: task.output }

/** The inputs as what the outputs should be, for reconstruction. */
export function inputTargets(training: Training, task: Task, batch: Batch): Record<string, Tensor> {
  if (task.kind !== 'reconstruction') return {}
  const x = batch.inputs[task.input]
  return Object.fromEntries(
    training.targets.flatMap((t) =>
      x && t.kind === 'teacher' && t.of === task.output ? [[t.input, shapedLike(x, t.shape)]] : []
    )
  )
}
