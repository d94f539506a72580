/**
 * Losses as graph nodes; each is a mean over the samples of a batch.
 *   cross-entropy  −Σ_c q_c·log softmax(z)_c, q = 1 − s + s/C at the label and s/C elsewhere (label smoothing s);
 *                  samples whose label is negative count nothing, and the mean is over the others
 *   kl             T²·Σ_c p_c·(log p_c − log softmax(z/T)_c), p = softmax(t/T) of the teacher's logits t (Hinton 2015)
 *   mse            mean over elements of (y − t)²
 *   features       the same for a value inside the model, through a learned 1×1 map where the teacher's is wider
 */

import { PareError } from '../base/errors.ts'
import { rng } from '../base/random.ts'
import { attrInt } from '../ir/attrs.ts'
import { elementCount, scalar, tensor } from '../ir/tensor.ts'
import { algebra, indicator, range, reshape, sumOver, transpose } from '../ops/grad.ts'
import { opFor } from '../ops/index.ts'
import type { Ref } from '../ops/types.ts'
import type { Node, Tensor } from '../types.ts'
import type { TrainingGraph } from './graph.ts'
import type { Parameter } from './packing.ts'

export interface Weighted {
  /** Factor in the sum; default 1. */
  readonly weight?: number
}

/** On an output of class scores (logits, or a Softmax of them). Reads the batch's labels. */
export interface CrossEntropy extends Weighted {
  readonly kind: 'cross-entropy'
  readonly output: string
  readonly smoothing?: number
}

/** Towards targets of the output's own shape. */
export interface MeanSquared extends Weighted {
  readonly kind: 'mse'
  readonly output: string
}

/** Towards a teacher's logits. */
export interface Divergence extends Weighted {
  readonly kind: 'kl'
  readonly output: string
  readonly temperature?: number
}

/** Towards a teacher's inner value of shape `shape` `[batch, channels, …]` (`[batch, …, channels]` for rank 3 and less). */
export interface Features extends Weighted {
  readonly kind: 'features'
  readonly value: string
  readonly shape: readonly number[]
  /** Of the adapter. */
  readonly seed?: number | string
}

export type LossTerm = CrossEntropy | MeanSquared | Divergence | Features

/** A graph input that a step fills beside the data: the labels, or what `of` should be. */
export interface LossTarget {
  readonly input: string
  readonly kind: 'labels' | 'teacher'
  /** Value of the model that it is compared with. */
  readonly of: string
  readonly shape: readonly number[]
}

export interface Losses {
  readonly total: Ref
  readonly terms: readonly Ref[]
  readonly targets: readonly LossTarget[]
  /** Parameters that losses bring with them. */
  readonly parameters: readonly Parameter[]
}

/**
 * Adds the weighted sum of losses to a graph that holds the forward pass of `batch` samples. Throws `E_OPTION` where one
 * does not fit, `E_UNSUPPORTED` for class scores of another number of samples, or a value that is not float32 beside a teacher's.
 */
export function addLosses(g: TrainingGraph, terms: readonly LossTerm[], batch: number): Losses {
  if (terms.length === 0) throw new PareError('E_OPTION', 'training needs a loss')
  const targets: LossTarget[] = []
  const parameters: Parameter[] = []
  const target = (kind: LossTarget['kind'], of: string, shape: readonly number[]): Ref => {
    const old = targets.find((t) => t.kind === kind && t.of === of)
    if (old) return g.value(old.input)
    const { dtype } = g.value(of)
    if (kind === 'teacher' && dtype !== 'float32')
      throw new PareError('E_UNSUPPORTED', `${of} is ${dtype}, and a loss compares float32 with what it should be`, {
        where: of,
        hint: 'run cast-float --type float32 first'
      })
    const made = g.input(`train.${kind}`, kind === 'labels' ? 'int64' : 'float32', shape)
    targets.push({ input: made.id, kind, of, shape })
    return made
  }
  const a = algebra(g)
  const made = terms.map((term) => {
    if (term.kind === 'cross-entropy') return crossEntropy(g, term, target, batch)
    if (term.kind === 'kl') return divergence(g, term, target)
    if (term.kind === 'mse')
      return meanSquare(g, valueFor(g, term.output), target('teacher', term.output, valueFor(g, term.output).shape))
    return features(g, term, target, (p) => parameters.push(p))
  })
  const scaled = made.map((loss, i) => (terms[i]?.weight === undefined ? loss : a.mul(loss, terms[i]?.weight ?? 1)))
  return { total: scaled.reduce(a.add), terms: made, targets, parameters }
}

type MakeTarget = (kind: LossTarget['kind'], of: string, shape: readonly number[]) => Ref

function valueFor(g: TrainingGraph, id: string): Ref {
  if (!g.nodes.some((n) => n.outputs.includes(id)))
    throw new PareError('E_OPTION', `the loss names ${id}, which no node of the model makes`, { where: id })
  return g.value(id)
}

/** `[batch, classes]` logits behind an output: the input of its Softmax where it has one. */
function logitsOf(g: TrainingGraph, id: string): Ref {
  const softmax = softmaxBehind(g, id)
  const z = softmax ? g.value(softmax.inputs[0] as string) : valueFor(g, id)
  const [batch, classes, ...rest] = z.shape
  if (batch === undefined || classes === undefined || classes < 2 || rest.some((d) => d !== 1))
    throw new PareError('E_OPTION', `output ${id} of shape [${z.shape}] holds no class scores [batch, classes]`, {
      where: id,
      hint: 'name an output of logits'
    })
  return reshape(g, z, [batch, classes])
}

function softmaxBehind(g: TrainingGraph, id: string): Node | undefined {
  let node = g.nodes.find((n) => n.outputs.includes(id))
  for (let i = 0; node && opFor(node)?.elements === 'inOrder' && i < 4; i++)
    node = g.nodes.find((n) => n.outputs[0] === node?.inputs[0])
  if (!node || (node.op !== 'Softmax' && node.op !== 'LogSoftmax')) return undefined
  const shape = g.value(node.inputs[0] as string).shape
  const axis = attrInt(node, 'axis', -1)
  return (axis < 0 ? axis + shape.length : axis) === 1 ? node : undefined
}

const meanOfSamples = (g: TrainingGraph, perElement: Ref, samples: number): Ref =>
  algebra(g).mul(sumOver(g, perElement, range(perElement.shape.length)), 1 / samples)

function crossEntropy(g: TrainingGraph, term: CrossEntropy, target: MakeTarget, batch: number): Ref {
  const a = algebra(g)
  const z = logitsOf(g, term.output)
  const [rows, classes] = z.shape as [number, number]
  if (rows !== batch)
    throw new PareError('E_UNSUPPORTED', `output ${term.output} has ${rows} rows for a batch of ${batch} samples`, {
      where: term.output,
      hint: 'train an output with one row of class scores for each sample'
    })
  const smoothing = term.smoothing ?? 0
  const values = tensor(z.dtype, [2], [smoothing / classes, 1 - smoothing + smoothing / classes])
  const depth = g.constant(scalar('int64', classes))
  const labels = target('labels', term.output, [batch])
  const q = g.op('OneHot', [labels, depth, g.constant(values)], { axis: -1 })
  const weighed = a.mul(q, reshape(g, labelWeights(g, labels, z.dtype), [batch, 1]))
  return meanOfSamples(g, a.neg(a.mul(g.op('LogSoftmax', [z], { axis: 1 }), weighed)), batch)
}

/** B/n for each of the n samples of B that have a label, 0 for the others: exactly 1 where all have one. */
function labelWeights(g: TrainingGraph, labels: Ref, dtype: Ref['dtype']): Ref {
  const a = algebra(g)
  const [batch] = labels.shape as [number]
  const has = indicator(g, g.op('GreaterOrEqual', [labels, g.constant(scalar('int64', 0))]), dtype)
  const count = g.op('Max', [sumOver(g, has, [0]), g.constant(scalar(dtype, 1))])
  return a.div(a.mul(has, batch), count)
}

function divergence(g: TrainingGraph, term: Divergence, target: MakeTarget): Ref {
  const a = algebra(g)
  const z = logitsOf(g, term.output)
  const [batch] = z.shape as [number, number]
  const temperature = term.temperature ?? 1
  const logs = (x: Ref): Ref => g.op('LogSoftmax', [temperature === 1 ? x : a.mul(x, 1 / temperature)], { axis: 1 })
  const teacher = logs(target('teacher', term.output, z.shape))
  const each = a.mul(a.exp(teacher), a.sub(teacher, logs(z)))
  return a.mul(meanOfSamples(g, each, batch), temperature * temperature)
}

function meanSquare(g: TrainingGraph, y: Ref, t: Ref): Ref {
  const d = algebra(g).sub(y, t)
  return meanOfSamples(g, algebra(g).mul(d, d), elementCount(y.shape))
}

function features(g: TrainingGraph, term: Features, target: MakeTarget, add: (p: Parameter) => void): Ref {
  const y = valueFor(g, term.value)
  const wanted = target('teacher', term.value, term.shape)
  const isLast = y.shape.length <= 3
  const axis = isLast ? y.shape.length - 1 : 1
  const others = (s: readonly number[]): string => s.filter((_, i) => i !== axis).join()
  if (y.shape.length !== term.shape.length || others(y.shape) !== others(term.shape))
    throw new PareError('E_OPTION', `features [${y.shape}] cannot be matched with [${term.shape}]`, {
      where: term.value,
      hint: 'only the number of channels may differ'
    })
  const [from, to] = [y.shape[axis] as number, term.shape[axis] as number]
  if (from === to) return meanSquare(g, y, wanted)
  const id = `adapter.${term.value}`
  const data = adapter(term.seed ?? 0, id, from, to)
  add({ id, shape: data.shape, dtype: 'float32', data })
  g.adopt({ id, type: 'tensor', dtype: 'float32', shape: data.shape, data }, 'constant')
  g.wanted.add(id)
  const last = range(y.shape.length).filter((i) => i !== axis)
  const rows = isLast ? y : transpose(g, y, [...last, axis])
  const mapped = g.op('MatMul', [rows, g.value(id)])
  const back = isLast ? mapped : transpose(g, mapped, [0, y.shape.length - 1, ...range(y.shape.length - 2, 1)])
  return meanSquare(g, back, wanted)
}

/** `[from, to]`, normal with the variance that keeps that of its input. */
function adapter(seed: number | string, id: string, from: number, to: number): Tensor {
  const random = rng(`${seed}/${id}`)
  const values = Float32Array.from({ length: from * to }, () => random.normal() / Math.sqrt(from))
  return tensor('float32', [from, to], values)
}
