/** What a model is for, as far as its loss is concerned, and the samples to train and to choose by. */

import { unknownDim } from '../../base/dim.ts'
import { PareError, stopIfAborted } from '../../base/errors.ts'
import type { LabelledDataset } from '../../data/arrays.ts'
import { noLabel } from '../../data/labels.ts'
import { metricFor } from '../../data/metrics.ts'
import { subset } from '../../data/split.ts'
import { attrInt } from '../../ir/attrs.ts'
import { producer } from '../../ir/graph.ts'
import { isFloat } from '../../ir/tensor.ts'
import { opFor } from '../../ops/index.ts'
import { inferShapes } from '../../ops/infer.ts'
import { fedOf, wholeInputs } from '../../runtime/batches.ts'
import type { Dataset, Dim, Metric, Model, Value } from '../../types.ts'
import type { Context } from '../types.ts'

/** Class scores, or an output that is to be an input again. */
export type Task =
  | { readonly kind: 'classes'; readonly output: string; readonly logits: string }
  | { readonly kind: 'reconstruction'; readonly output: string; readonly input: string }

/** What the outputs are: an input again, or class scores; `undefined` where neither. */
export function taskOf(given: Model): Task | undefined {
  const { graph } = inferShapes(given)
  // What holds no elements tells nothing.
  const outputs = graph.outputs.flatMap((id) => graph.values.get(id) ?? []).filter((y) => !y.shape?.includes(0))
  for (const id of graph.inputs) {
    const x = graph.values.get(id)
    const same = outputs.find((y) => y.shape && x?.shape && !x.data && y.shape.join() === x.shape.join())
    if (same) return { kind: 'reconstruction', output: same.id, input: id }
  }
  const samples = samplesOf(given)
  const scores = outputs.find((y) => isScores(y) && (samples === undefined || y.shape?.[0] === samples))
  return scores && { kind: 'classes', output: scores.id, logits: logitsBehind(given, scores.id) }
}

/** The size along which the inputs hold their samples; `undefined` where they do not tell it. */
function samplesOf(model: Model): Dim | undefined {
  const fed = fedOf(model)
  const whole = wholeInputs(fed)
  const first = fed.inputs.find(({ name }) => !whole.has(name))?.shape?.[0]
  return first === unknownDim ? undefined : first
}

const isScores = ({ dtype, shape }: Value): boolean =>
  (dtype === undefined || isFloat(dtype)) &&
  shape !== undefined &&
  shape.length >= 2 &&
  typeof shape[1] === 'number' &&
  shape[1] >= 2 &&
  shape.slice(2).every((d) => d === 1)

/** The input of the Softmax over classes that makes an output, or the output itself. */
function logitsBehind({ graph }: Model, output: string): string {
  let node = producer(graph, output)
  while (node && opFor(node)?.elements === 'inOrder') node = producer(graph, node.inputs[0] ?? '')
  const isSoftmax = node && /^(Log)?Softmax$/.test(node.op) && [1, -1].includes(attrInt(node, 'axis', -1))
  return (isSoftmax && node?.inputs[0]) || output
}

/** What is trained on, and what chooses the epoch. */
export interface Samples {
  readonly train: Dataset
  readonly validation?: { readonly data: Dataset; readonly metric: Metric }
}

/** Without a selection part, a tenth of the training samples, at most so many, is held out to choose by. */
const mostHeldOut = 2000
const leastToHoldOut = 100

interface SampleOptions {
  /** Share of the labelled training samples that chooses, instead of the selection part; 0: none. */
  readonly holdout?: number | undefined
  /** Gives samples the classes of a teacher, which choose where few have a label; those without one are trained on too. */
  teacher?(d: Dataset): Promise<Dataset>
}

/**
 * Splits what a pass was given; samples that choose have a label where the task needs one. Never touches the test part:
 * passes are not given it. Throws `E_LABELS` where no sample has a label that is needed.
 */
export async function samplesFor(pass: string, task: Task, ctx: Context, o: SampleOptions): Promise<Samples> {
  const { train: given, selection } = ctx.data
  if (!given) throw new PareError('E_DATA', `${pass} needs training data`, { where: pass, hint: 'give --data' })
  const metric = metricFor(task.kind === 'classes' ? 'top1' : 'reconstruction')
  const labelled = await usable(given, task, ctx)
  const train = trainable(pass, given, labelled, ctx, o.teacher !== undefined)
  const chosen = o.holdout === undefined && selection ? await choosing(pass, selection, task, ctx, o) : undefined
  if (chosen) return { train, validation: { data: chosen, metric } }
  const teacher = hasFew(labelled, given) ? o.teacher : undefined
  const order = ctx.rng.fork('held out').permutation(train.size)
  const can = new Set(teacher || train.size < given.size ? order : labelled)
  const count = heldOutCount(pass, can.size, o.holdout)
  if (count === 0) return { train }
  ctx.note(
    `${pass}: ${count} of ${train.size} training samples were held out to choose the best epoch by${teacher ? ', by the teacher’s classes' : ''}`
  )
  const held = order.filter((i) => can.has(i)).slice(0, count)
  const out = new Set(held)
  const chooses = subset(train, held)
  return {
    train: subset(
      train,
      order.filter((i) => !out.has(i))
    ),
    validation: { data: teacher ? await teacher(chooses) : chooses, metric }
  }
}

/** Are there too few labels to choose an epoch by, and more samples without one? */
const hasFew = (labelled: readonly number[], d: Dataset): boolean => labelled.length < Math.min(leastToHoldOut, d.size)

/** The samples of the selection part that choose; `undefined` where none can. */
async function choosing(
  pass: string,
  selection: Dataset,
  task: Task,
  ctx: Context,
  { teacher }: SampleOptions
): Promise<Dataset | undefined> {
  const labelled = await usable(selection, task, ctx)
  if (hasFew(labelled, selection)) {
    const count = `${labelled.length} of ${selection.size} samples to choose the epoch by have a label`
    ctx.note(`${pass}: ${count}${teacher ? ': the teacher’s classes choose it' : ''}`)
    if (teacher) return teacher(selection)
  }
  return labelled.length > 0 ? picked(selection, labelled) : undefined
}

/** Numbers of the samples that a task can be scored on. */
export async function usable(d: LabelledDataset, task: Task, ctx: Context): Promise<readonly number[]> {
  const all = Array.from({ length: d.size }, (_, i) => i)
  if (task.kind === 'reconstruction') return all
  if (!d.labelled) return []
  const labels = d.labels ?? (await readLabels(d, ctx))
  return all.filter((i) => labels[i] !== noLabel)
}

async function readLabels(d: Dataset, ctx: Context): Promise<readonly number[]> {
  const labels: number[] = []
  for await (const b of d.batches({ batch: 256 })) {
    stopIfAborted(ctx.signal)
    for (const label of b.labels ?? []) labels.push(label)
    ctx.progress('reading labels', labels.length, d.size)
  }
  return labels
}

/** The very same data where all samples are meant. */
const picked = (d: Dataset, indices: readonly number[]): Dataset => (indices.length === d.size ? d : subset(d, indices))

/** What teaches: all samples, or where those without a label teach nothing, the others. */
function trainable(
  pass: string,
  given: Dataset,
  labelled: readonly number[],
  ctx: Context,
  unlabelled: boolean
): Dataset {
  if (unlabelled && labelled.length === 0) return { ...given, labelled: false }
  if (labelled.length === 0)
    throw new PareError('E_LABELS', `${pass} needs labels, and no training sample has one`, {
      where: pass,
      facts: { samples: String(given.size), label: `${noLabel} (none)` },
      hint: 'distill learns from a teacher without labels'
    })
  if (labelled.length < given.size)
    ctx.note(
      `${pass}: ${labelled.length} of ${given.size} training samples have a label; the others ${unlabelled ? 'teach by what the teacher says' : 'were left out'}`
    )
  return unlabelled ? given : picked(given, labelled)
}

function heldOutCount(pass: string, from: number, holdout: number | undefined): number {
  if (holdout === undefined) return from < leastToHoldOut ? 0 : Math.min(mostHeldOut, Math.floor(from / 10))
  const count = Math.floor(from * holdout)
  if (holdout === 0 || count > 0) return count
  throw new PareError('E_OPTION', `a share of ${holdout} holds out none of ${from} training samples that can choose`, {
    where: `${pass}, holdout`,
    hint: 'hold out more, or nothing: --holdout 0'
  })
}
