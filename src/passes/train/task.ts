/** What a model is for, as far as its loss is concerned, and the samples to train and to choose by. */
import { PareError } from '../../base/errors.ts'
import { metricFor } from '../../data/metrics.ts'
import { subset } from '../../data/split.ts'
import { attrInt } from '../../ir/attrs.ts'
import { producer } from '../../ir/graph.ts'
import { isFloat } from '../../ir/tensor.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Context, Dataset, Metric, Model, Value } from '../../types.ts'

/** Class scores, or an output that is to be an input again. */
export type Task =
  | { readonly kind: 'classes'; readonly output: string; readonly logits: string }
  | { readonly kind: 'reconstruction'; readonly output: string; readonly input: string }

/** What the outputs are: an input again, or class scores; `undefined` where neither. */
export function taskOf(given: Model): Task | undefined {
  const { graph } = inferShapes(given)
  const outputs = graph.outputs.flatMap((id) => graph.values.get(id) ?? [])
  for (const id of graph.inputs) {
    const x = graph.values.get(id)
    const same = outputs.find((y) => y.shape && x?.shape && !x.data && y.shape.join() === x.shape.join())
    if (same) return { kind: 'reconstruction', output: same.id, input: id }
  }
  const scores = outputs.find(isScores)
  return scores && { kind: 'classes', output: scores.id, logits: logitsBehind(given, scores.id) }
}

const isScores = ({ dtype, shape }: Value): boolean =>
  (dtype === undefined || isFloat(dtype)) &&
  shape !== undefined &&
  shape.length >= 2 &&
  typeof shape[1] === 'number' &&
  shape[1] >= 2 &&
  shape.slice(2).every((d) => d === 1)

const views = new Set(['Reshape', 'Flatten', 'Squeeze', 'Identity'])

/** The input of the Softmax over classes that makes an output, or the output itself. */
function logitsBehind({ graph }: Model, output: string): string {
  let node = producer(graph, output)
  while (node && views.has(node.op)) node = producer(graph, node.inputs[0] ?? '')
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

/** Splits what a pass was given. Never touches the test part: passes are not given it. */
export function samplesFor(pass: string, task: Task, ctx: Context): Samples {
  const { train, selection } = ctx.data
  if (!train) throw new PareError('E_DATA', `${pass} needs training data`, { where: pass, hint: 'give --data' })
  const canScore = (d: Dataset): boolean => d.labelled || task.kind === 'reconstruction'
  const metric = metricFor(task.kind === 'classes' ? 'top1' : 'reconstruction')
  if (selection && canScore(selection)) return { train, validation: { data: selection, metric } }
  if (!canScore(train) || train.size < leastToHoldOut) return { train }
  const held = Math.min(mostHeldOut, Math.floor(train.size / 10))
  const order = ctx.rng.fork('held out').permutation(train.size)
  ctx.note(`${pass}: ${held} of ${train.size} training samples were held out to choose the best epoch by`)
  return {
    train: subset(train, order.slice(held)),
    validation: { data: subset(train, order.slice(0, held)), metric }
  }
}
