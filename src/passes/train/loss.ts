/** The loss of a model's task, and what it is fed. */
import { PareError } from '../../base/errors.ts'
import { isRounded } from '../../ops/quantized.ts'
import type { LossTerm, Training } from '../../train/index.ts'
import type { Batch, Dataset, Model, Tensor } from '../../types.ts'
import { type Task, taskOf } from './task.ts'

/** Throws `E_USAGE` for a model whose weights are codes already. */
export function refuseRounded(model: Model, pass: string): void {
  if (!isRounded(model)) return
  throw new PareError('E_USAGE', `${pass} changes float weights, and those of this model are rounded to codes`, {
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
      x && t.kind === 'teacher' && t.of === task.output ? [[t.input, { ...x, shape: t.shape }]] : []
    )
  )
}
