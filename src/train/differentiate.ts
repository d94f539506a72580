/**
 * A model becomes a training graph: forward pass, losses, gradients, clipping and the optimizer's update, all in
 * standard operators, so that one run of a session is one step. Parameters and the optimizer's state come in and go out
 * as a few flat arrays; the batch's normalization statistics go out, their running values are kept outside.
 */
import { PareError } from '../base/errors.ts'
import { bind } from '../ir/bind.ts'
import { elementCount, tensor, toFloats } from '../ir/tensor.ts'
import { algebra, int64s, range, reshape, sumOver } from '../ops/grad.ts'
import { opFor } from '../ops/index.ts'
import { inferShapes } from '../ops/infer.ts'
import type { Ref, TrainForm } from '../ops/types.ts'
import type { Dim, Graph, Model, Node, Tensor, Value } from '../types.ts'
import { backward, follow, isOnPath, type Taped } from './backward.ts'
import { type Noise, type TrainingGraph, trainingGraph } from './graph.ts'
import { addLosses, type LossTarget, type LossTerm } from './losses.ts'
import { type Optimizer, type Rates, statesOf, update, zeroState } from './optimizers.ts'
import { type Chunk, type Parameter, packChunk, packParameters } from './packing.ts'

export interface DifferentiateOptions {
  /** Their weighted sum is minimised. */
  readonly loss: readonly LossTerm[]
  /** Samples in a step: every input's first size. */
  readonly batch: number
  /** Which float32 constants are trained; by default all of more than one element that a gradient reaches. */
  readonly parameters?: (constant: Value) => boolean
  /** Absent: the gradients themselves are the outputs. */
  readonly optimizer?: Optimizer
  /** Gradients longer than this, all together (2-norm), are scaled down to it. */
  readonly clip?: number
  /** Statistics of the batch (default), or the running ones of the model. */
  readonly normalization?: 'batch' | 'frozen'
  /** What an operator without a gradient is: an error (default), or the end of training before it. */
  readonly unsupported?: 'error' | 'freeze'
  /** Values to return beside, such as logits. */
  readonly outputs?: readonly string[]
}

/** What the gradients' operators need: reductions with axes as inputs, scatters that add. */
const minOpset = 18

/** A chunk with the graph's inputs and outputs that carry it. */
export interface PackedChunk extends Chunk {
  readonly input: string
  readonly states: readonly string[]
  /** Factor of the gradient, 1 or 0 by element, where parameters are sparse. */
  readonly mask?: string
  /** New parameters and states in the order of the inputs; without an optimizer the gradient alone. */
  readonly outputs: readonly string[]
}

/** One running statistic: a constant of the model, and its place in the output of statistics. */
export interface Statistic {
  readonly id: string
  readonly offset: number
  readonly size: number
  /** running ← momentum·running + (1 − momentum)·batch */
  readonly momentum: number
}

/** A training graph and how to feed it. */
export interface Training {
  readonly model: Model
  readonly batch: number
  readonly optimizer?: Optimizer
  readonly chunks: readonly PackedChunk[]
  /** Inputs: learning rate, then Adam's two corrections. */
  readonly rates: readonly string[]
  readonly targets: readonly LossTarget[]
  readonly noises: readonly Noise[]
  readonly statistics: readonly Statistic[]
  /** Names of outputs. `norm`: 2-norm of all gradients. */
  readonly outputs: {
    readonly loss: string
    readonly terms: readonly string[]
    readonly norm?: string
    readonly statistics?: string
  }
  /** Feeds of chunks, states and masks to begin with. */
  readonly initial: Readonly<Record<string, Tensor>>
  /** Operators at which the gradient stopped (with `unsupported: 'freeze'`). */
  readonly stopped: readonly Pick<Node, 'name' | 'op'>[]
}

/**
 * Differentiates a model. Throws `E_UNSUPPORTED` for an operator without a gradient on the way to a parameter, or where
 * sizes are only known by running; `E_OPTION` where no parameter is left to train.
 *
 *     const training = differentiate(model, {
 *       loss: [{ kind: 'cross-entropy', output: 'logits' }], batch: 64, optimizer: { kind: 'adam' } })
 */
export function differentiate(model: Model, o: DifferentiateOptions): Training {
  if (model.opset < minOpset)
    throw new PareError('E_OPSET', `training needs opset ${minOpset}, the model is of ${model.opset}`, {
      hint: 'read it from its file again: reading raises models'
    })
  const typed = typedFor(model, o.batch)
  const g = trainingGraph(typed)
  const candidates = o.parameters ?? ((v: Value) => elementCount(v.data?.shape ?? []) > 1)
  const { tape, statistics, parameters: all } = forward(g, typed.graph, candidates, o.normalization ?? 'batch')
  const before = g.nodes.length
  const losses = addLosses(g, o.loss, o.batch)
  const added = g.nodes.slice(before)
  for (const node of added) follow(g, node)
  const gradients = backward(g, [...tape, ...added.map((node) => ({ node }))], losses.total, o.unsupported === 'freeze')
  const parameters = [...all, ...losses.parameters].filter((p) => gradients.of.has(p.id))
  if (parameters.length === 0)
    throw new PareError('E_OPTION', 'no parameter to train: the loss depends on none of them', {
      hint: hasFloat32(typed.graph)
        ? 'name an output that weights lead to'
        : 'weights of float32 are trained: run cast-float --type float32 first where the model has another type'
    })
  const made = step(g, parameters, (id) => gradients.of.get(id) as Ref, o)
  const collected = collect(g, statistics)
  const outputs = [
    losses.total.id,
    ...losses.terms.map((t) => t.id),
    ...(made.norm ? [made.norm.id] : []),
    ...(collected ? [collected.id] : []),
    ...made.chunks.flatMap((c) => c.outputs),
    ...(o.outputs ?? []).map((id) => g.value(id).id)
  ]
  return {
    model: g.model([...new Set(outputs)]),
    batch: o.batch,
    ...(o.optimizer ? { optimizer: o.optimizer } : {}),
    chunks: made.chunks,
    rates: made.rates,
    targets: losses.targets,
    noises: g.noises,
    statistics: statistics.map(({ batch: _, ...s }) => s),
    outputs: {
      loss: losses.total.id,
      terms: losses.terms.map((t) => t.id),
      ...(made.norm ? { norm: made.norm.id } : {}),
      ...(collected ? { statistics: collected.id } : {})
    },
    initial: made.initial,
    stopped: gradients.stopped
  }
}

/** The model for this many samples, with all types. */
function typedFor(model: Model, batch: number): Model {
  const sized = withBatch(model, batch)
  try {
    return inferShapes(sized)
  } catch (e) {
    if (!(e instanceof PareError) || e.code !== 'E_SHAPE') throw e
    throw new PareError('E_UNSUPPORTED', `the model cannot be given batches of ${batch}: ${e.message}`, {
      ...(e.where === undefined ? {} : { where: e.where }),
      facts: e.facts,
      hint: 'it is fixed to another batch inside: train with that one',
      cause: e
    })
  }
}

/** Inputs of this many samples: symbols are bound, fixed sizes replaced, and then nothing declared in between is believed. */
function withBatch(model: Model, batch: number): Model {
  const { graph } = model
  const inputs = graph.inputs.flatMap((id) => {
    const v = graph.values.get(id)
    return v?.shape?.length && !v.data ? [v as Value & { readonly shape: readonly Dim[] }] : []
  })
  const symbols = inputs.flatMap((v) => (typeof v.shape[0] === 'string' ? [v.shape[0]] : []))
  const bound = bind(model, Object.fromEntries(symbols.map((symbol) => [symbol, batch])))
  const others = inputs.filter((v) => typeof v.shape[0] === 'number' && v.shape[0] !== batch)
  if (others.length === 0) return bound
  const values = new Map(bound.graph.values)
  for (const v of values.values())
    if (!v.data && !graph.inputs.includes(v.id)) values.set(v.id, { id: v.id, type: 'tensor' })
  for (const v of others) values.set(v.id, { ...v, shape: [batch, ...v.shape.slice(1)] })
  return { ...bound, graph: { ...bound.graph, values } }
}

// ---------------------------------------------------------------- forward

interface BatchStatistic extends Statistic {
  readonly batch: Ref
}

interface Forward {
  readonly tape: Taped[]
  readonly parameters: readonly Parameter[]
  readonly statistics: readonly BatchStatistic[]
}

/** Copies the model, with the training form of operators that have one; notes which values lead back to a candidate. */
function forward(
  g: TrainingGraph,
  graph: Graph,
  isCandidate: (v: Value) => boolean,
  normalization: 'batch' | 'frozen'
): Forward {
  const parameters: Parameter[] = []
  const statistics: BatchStatistic[] = []
  const adopt = (v: Value): void => {
    g.adopt(v, 'constant')
    if (v.data?.dtype !== 'float32' || !isCandidate(v)) return
    g.wanted.add(v.id)
    parameters.push({ id: v.id, shape: v.data.shape, dtype: 'float32', data: v.data, mask: v.sparse && maskOf(v.data) })
  }
  for (const v of graph.values.values()) if (v.data) adopt(v)
  for (const id of graph.inputs) {
    const v = graph.values.get(id)
    if (v && !v.data) g.adopt(v, 'input')
  }
  const tape: Taped[] = []
  const running = new Set<string>()
  for (const node of graph.nodes) {
    const folded = constantMade(g, node)
    if (folded) {
      adopt(folded)
      continue
    }
    const made = opFor(node)?.train?.(g, g.view(node))
    // Running statistics are no weights, whatever becomes of the node.
    for (const s of made?.statistics ?? []) running.add(node.inputs[s.running] as string)
    for (const id of running) g.wanted.delete(id)
    const form = made?.statistics && (normalization === 'frozen' || !isOnPath(g, node)) ? undefined : made
    run(g, node, form)
    tape.push({ node, form })
    statistics.push(...statisticsOf(node, form, statistics.at(-1)))
  }
  return { tape, parameters: parameters.filter((p) => !running.has(p.id)), statistics }
}

/** What a node without inputs holds, as a constant of the graph. */
function constantMade(g: TrainingGraph, node: Node): Value | undefined {
  if (node.inputs.length > 0 || node.outputs.length !== 1) return undefined
  const made = opFor(node)?.infer(g.view(node))[0]
  if (!made?.data) return undefined
  const { data } = made
  return { id: node.outputs[0] as string, type: 'tensor', dtype: data.dtype, shape: data.shape, data }
}

/** The node, or what runs in its place while training. */
function run(g: TrainingGraph, node: Node, form: TrainForm | undefined): void {
  if (!form) g.copy(node)
  for (const [i, ref] of (form?.outputs ?? []).entries()) if (node.outputs[i]) g.alias(ref, node.outputs[i])
  follow(g, node)
}

/** Places in the output of statistics, behind those before. */
function statisticsOf(
  node: Node,
  form: TrainForm | undefined,
  last: BatchStatistic | undefined
): readonly BatchStatistic[] {
  let offset = last ? last.offset + last.size : 0
  return (form?.statistics ?? []).map(({ batch, running, momentum }) => {
    const size = elementCount(batch.shape)
    const made = { id: node.inputs[running] as string, offset, size, momentum, batch }
    offset += size
    return made
  })
}

/** 1 where a sparse parameter may differ from zero. */
const maskOf = (data: Tensor): Tensor =>
  tensor(
    'float32',
    data.shape,
    Float32Array.from(toFloats(data), (x) => (x === 0 ? 0 : 1))
  )

// ---------------------------------------------------------------- the step

interface StepNodes {
  readonly chunks: readonly PackedChunk[]
  readonly rates: readonly string[]
  readonly norm?: Ref
  readonly initial: Readonly<Record<string, Tensor>>
}

function step(
  g: TrainingGraph,
  parameters: readonly Parameter[],
  gradientOf: (id: string) => Ref,
  o: DifferentiateOptions
): StepNodes {
  const byId = new Map(parameters.map((p) => [p.id, p]))
  const packed = packParameters(parameters, { decay: (o.optimizer?.weightDecay ?? 0) > 0 })
  const initial: Record<string, Tensor> = {}
  const fed = packed.map((chunk, i) => {
    const parameter = g.input(`train.p${i}`, 'float32', [chunk.size])
    initial[parameter.id] = packChunk(chunk, (id) => byId.get(id)?.data)
    supplyParts(g, chunk, parameter)
    const mask = chunk.masked ? g.input(`train.mask${i}`, 'float32', [chunk.size]) : undefined
    if (mask) initial[mask.id] = packChunk(chunk, (id) => byId.get(id)?.mask)
    const gradient = joined(g, chunk, gradientOf)
    return { chunk, parameter, mask, gradient: mask ? algebra(g).mul(gradient, mask) : gradient }
  })
  const norm =
    o.clip === undefined
      ? undefined
      : normOf(
          g,
          fed.map((f) => f.gradient)
        )
  const factor = norm && o.clip !== undefined ? algebra(g).div(o.clip, algebra(g).max(norm, o.clip)) : undefined
  const { optimizer } = o
  const rates = optimizer && ratesFor(g, optimizer)
  const chunks = fed.map(({ chunk, parameter, mask, gradient }, i): PackedChunk => {
    const clipped = factor ? algebra(g).mul(gradient, factor) : gradient
    const carried = { ...chunk, input: parameter.id, ...(mask ? { mask: mask.id } : {}) }
    if (!optimizer || !rates) return { ...carried, states: [], outputs: [clipped.id] }
    const states = statesOf(optimizer).map((s) => g.input(`train.${s}${i}`, 'float32', [chunk.size]))
    for (const s of states) initial[s.id] = zeroState(chunk.size)
    const made = update(g, optimizer, { parameter, gradient: clipped, states, decays: chunk.decays }, rates)
    return {
      ...carried,
      states: states.map((s) => s.id),
      outputs: [made.parameter.id, ...made.states.map((s) => s.id)]
    }
  })
  return {
    chunks,
    rates: rates ? [rates.rate.id, ...rates.corrections.map((c) => c.id)] : [],
    ...(norm ? { norm } : {}),
    initial
  }
}

/** The parameters of a chunk, cut out of it at the head of the graph. */
function supplyParts(g: TrainingGraph, chunk: Chunk, parameter: Ref): void {
  const [first] = chunk.parts
  if (chunk.parts.length === 1 && first) {
    g.supply('Reshape', [parameter, int64s(g, first.shape)], {}, [first.id])
    return
  }
  const sizes = chunk.parts.map((p) => elementCount(p.shape))
  const cut = g.first('Split', [parameter, int64s(g, sizes)], { axis: 0 }, chunk.parts.length)
  for (const [i, part] of chunk.parts.entries())
    g.supply('Reshape', [cut[i] as Ref, int64s(g, part.shape)], {}, [part.id])
}

/** The gradients of a chunk's parameters, one after the other. */
function joined(g: TrainingGraph, chunk: Chunk, gradientOf: (id: string) => Ref): Ref {
  const flat = chunk.parts.map((p) => reshape(g, gradientOf(p.id), [elementCount(p.shape)]))
  return flat.length === 1 ? (flat[0] as Ref) : g.op('Concat', flat, { axis: 0 })
}

function normOf(g: TrainingGraph, gradients: readonly Ref[]): Ref {
  const a = algebra(g)
  const squares = gradients.map((d) => sumOver(g, a.mul(d, d), range(d.shape.length)))
  return a.sqrt(squares.reduce(a.add))
}

function ratesFor(g: TrainingGraph, o: Optimizer): Rates {
  const names = o.kind === 'sgd' ? [] : ['train.correction1', 'train.correction2']
  return { rate: g.input('train.rate', 'float32', []), corrections: names.map((n) => g.input(n, 'float32', [])) }
}

/** All statistics of the batch in one output. */
function collect(g: TrainingGraph, statistics: readonly BatchStatistic[]): Ref | undefined {
  if (statistics.length === 0) return undefined
  const flat = statistics.map((s) => reshape(g, s.batch, [s.size]))
  return flat.length === 1 ? (flat[0] as Ref) : g.op('Concat', flat, { axis: 0 })
}

const hasFloat32 = (graph: Graph): boolean =>
  [...graph.values.values()].some((v) => v.dtype === 'float32' && v.data && elementCount(v.data.shape) > 1)
