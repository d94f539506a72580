/**
 * Gradients of the loss by weights, batch by batch, with the statistics of the model as they are. Labels are those of the
 * data; where it has none, the classes that the model itself says (the empirical Fisher information at its own predictions).
 */
import { PareError, stopIfAborted } from '../../base/errors.ts'
import { subset } from '../../data/split.ts'
import { tensor } from '../../ir/tensor.ts'
import { runs } from '../../runtime/batches.ts'
import type { Session } from '../../runtime/types.ts'
import { differentiate, openTraining, type Training } from '../../train/index.ts'
import { unpackChunk } from '../../train/packing.ts'
import type { Dataset, Model, Tensor } from '../../types.ts'
import { inputTargets, neededTask, taskLoss } from '../train/loss.ts'
import { type Task, usable } from '../train/task.ts'
import { labelledBy } from '../train/teacher.ts'
import type { Context } from '../types.ts'

/** Samples of a batch: squared means of larger batches say less of single samples. */
const batchSize = 16

/**
 * Gives `take` the gradients of the loss by the wanted constants, one batch after the other, over at most so many samples.
 * Constants that the loss does not depend on are left out. Throws `E_DATA` where there are no samples, and what
 * `differentiate` throws.
 */
export async function eachGradient(
  model: Model,
  wanted: ReadonlySet<string>,
  { samples, pass }: { readonly samples: number; readonly pass: string },
  ctx: Context,
  take: (gradients: ReadonlyMap<string, Tensor>) => void
): Promise<void> {
  const given = ctx.data.train ?? ctx.data.calibration
  if (!given)
    throw new PareError('E_DATA', 'taylor needs samples: gradients are those of a loss', {
      where: `${pass}, criterion`,
      hint: 'give --data or --train-data, or take a criterion of the weights alone (l1, l2, magnitude)'
    })
  const task = neededTask(model, `${pass} by taylor`, undefined)
  const data = await teaching(model, task, given, { samples, pass }, ctx)
  const batch = Math.min(batchSize, data.size)
  const training = differentiate(model, {
    loss: [taskLoss(task, 0)],
    batch,
    normalization: 'frozen',
    unsupported: 'freeze',
    parameters: ({ id }) => wanted.has(id)
  })
  const session = await openTraining(training, ctx)
  try {
    let done = 0
    for await (const { batch: b } of runs(
      data,
      { size: batch, isFixed: true },
      { rest: 'leave', signal: ctx.signal }
    )) {
      const labels = labelFeeds(training, b.labels)
      const feeds = { ...b.inputs, ...training.initial, ...labels, ...inputTargets(training, task, b) }
      take(gradientsOf(training, await run(session, feeds)))
      done += b.n
      ctx.progress('gathering gradients', done, data.size)
    }
  } finally {
    await session.close()
  }
}

/** Samples with a label that the loss can be had for, drawn by the seed. */
async function teaching(
  model: Model,
  task: Task,
  given: Dataset,
  { samples, pass }: { readonly samples: number; readonly pass: string },
  ctx: Context
): Promise<Dataset> {
  const labelled = await usable(given, task, ctx)
  const from = labelled.length > 0 ? labelled : Array.from({ length: given.size }, (_, i) => i)
  const order = ctx.rng.fork('gradients').permutation(from.length).slice(0, samples)
  const data = subset(
    given,
    order.map((i) => from[i] as number)
  )
  stopIfAborted(ctx.signal)
  if (labelled.length > 0 || task.kind !== 'classes') return data
  ctx.note(`${pass}: no sample has a label, so that gradients are those of the loss of the model’s own classes`)
  return labelledBy(model, task.logits, data, { ...ctx, progress: () => {} })
}

function labelFeeds(training: Training, labels: readonly number[] | undefined): Record<string, Tensor> {
  return Object.fromEntries(
    training.targets.flatMap((t) =>
      t.kind === 'labels' && labels ? [[t.input, tensor('int64', [labels.length], labels)] as const] : []
    )
  )
}

const run = (session: Session, feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>> =>
  session.run(Object.fromEntries(session.inputs.flatMap(({ name }) => (feeds[name] ? [[name, feeds[name]]] : []))))

function gradientsOf(training: Training, made: Readonly<Record<string, Tensor>>): Map<string, Tensor> {
  const out = new Map<string, Tensor>()
  for (const chunk of training.chunks)
    for (const [id, t] of unpackChunk(chunk, made[chunk.outputs[0] as string] as Tensor)) out.set(id, t)
  return out
}
