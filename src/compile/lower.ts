/**
 * A model as a program: routines over one memory, its constants, and where inputs and outputs lie. Sizes are fixed. What has
 * no loops is refused by name, all of it, before any code is made.
 */
import { elementCount } from '../ir/tensor.ts'
import { opFor } from '../ops/index.ts'
import { settleShapes, viewOf } from '../ops/infer.ts'
import type { Model, Node } from '../types.ts'
import { codedOf, madeBy } from './integer/codes.ts'
import { type DotsUsed, formsOf, quantizeStep } from './integer/context.ts'
import { layerOnCodes } from './integer/layers.ts'
import { otherOnCodes } from './integer/others.ts'
import { chooser } from './kernels/tiles.ts'
import { linearStep, type Made } from './linear.ts'
import { loopsStep, plainCopy } from './moves.ts'
import { type Lowered, placed, sizesOf } from './place.ts'
import type { Program } from './program.ts'
import { type Refused, refusal } from './refusals.ts'
import { cells, type Step } from './steps.ts'
import { floatConstant, isStoredOtherwise } from './stored.ts'

export interface LowerOptions {
  /**
   * Weights in codes, or that all are float16, stay so and are expanded to floats at the start: fewer bytes, and as much memory.
   * Off, they are floats among the constants.
   */
  readonly compact?: boolean
  /** How codes are multiplied: see `DotsUsed`. */
  readonly dots?: DotsUsed
  /** Ways of kernels that were measured to be fastest, by key. */
  readonly fastest?: Readonly<Record<string, string>>
}

/**
 * A model, or the same model with several sizes of its inputs. Throws `E_UNSUPPORTED` with every node that cannot be compiled and why,
 * `E_LIMIT` where values take more than 2 GB.
 */
export function lower(given: Model | readonly [Model, ...Model[]], o: LowerOptions = {}): Program {
  const models = 'graph' in given ? [given] : given
  const all = models.map((m) => stepsOf(m, models.length > 1, o)) as [Lowered, ...Lowered[]]
  return placed(all, o.compact ?? true)
}

/** `shares`: weights lie so that runs for other sizes read them too. */
function stepsOf(given: Model, shares: boolean, { dots = 'pairs', fastest }: LowerOptions): Lowered {
  const model = settleShapes(given)
  const { graph } = model
  const refused: Refused[] = []
  const steps: Step[] = []
  const root = new Map<string, string>()
  const made = new Set<string>(graph.inputs)
  const done = new Set<Node>()
  const sizes = new Map<string, number>()
  const choose = chooser(fastest)
  const forms = formsOf(model, dots, choose, { push: (s) => steps.push(s), ready: made, same: root, bytes: sizes })
  const rootOf = (id: string): string => {
    const up = root.get(id)
    return up === undefined ? id : rootOf(up)
  }
  for (const id of [...graph.inputs, ...graph.outputs]) {
    const why = unfit(model, id)
    if (why) refused.push({ of: 'values', name: id, reason: why })
  }
  for (const node of graph.nodes) {
    if (done.has(node)) continue
    if (isStored(node)) {
      for (const id of node.outputs) made.add(id)
      continue
    }
    const why = node.outputs
      .filter((id) => id !== '')
      .map((id) => unfit(model, id))
      .find((w) => w !== undefined)
    const result: Taken = why ? { reason: why } : stepOf(node)
    if ('done' in result) for (const n of result.done) done.add(n)
    else if ('reason' in result)
      refused.push({ of: node.op, name: node.name || node.outputs[0] || node.op, reason: result.reason })
    else if ('same' in result) root.set(node.outputs[0] as string, result.same)
    else {
      steps.push(result.step)
      for (const n of result.with) done.add(n)
      for (const id of result.step.writes) made.add(id)
    }
    for (const id of node.outputs) if (!('step' in result || 'done' in result)) made.add(id)
  }
  for (const id of graph.outputs) forms.settle(id)
  for (const id of graph.outputs)
    if (!made.has(id) || graph.inputs.includes(id))
      refused.push({ of: 'values', name: id, reason: 'an output that no node computes' })
  if (refused.length > 0) throw refusal(refused)
  return { model, steps, rootOf, sizes }

  /** Floats that a node makes of constant codes or of narrower floats are constants. */
  function isStored(node: Node): boolean {
    const [to = ''] = node.outputs
    return !graph.outputs.includes(to) && isStoredOtherwise(graph, to)
  }

  /** Kernels of layers compute on float32. */
  function isFloats(node: Node): boolean {
    return [...node.inputs, ...node.outputs].every((id) => !id || graph.values.get(id)?.dtype === 'float32')
  }

  /** On whole numbers, where all that a node reads and gives are codes. */
  function onCodes(node: Node): Taken | undefined {
    if (codedOf(graph, node.outputs[0])) return { done: [] }
    const coded = madeBy(graph, node)
    const [from] = node.inputs
    if (coded && from) {
      forms.settle(from)
      return { with: [], step: quantizeStep(forms, from, coded, node.name) }
    }
    return layerOnCodes(forms, node) ?? otherOnCodes(forms, node)
  }

  function stepOf(node: Node): Taken {
    const coded = onCodes(node)
    if (coded) return coded
    for (const id of node.inputs) if (id) forms.settle(id)
    const op = opFor(node)
    const [from, to] = [node.inputs[0], node.outputs[0]]
    const isGiven = op?.elements === 'inOrder' || (op?.idle && node.inputs.slice(1).every((id) => id === null))
    if (from && to && isGiven && !node.outputs[1]) {
      const isFixed =
        graph.inputs.includes(rootOf(from)) ||
        floatConstant(graph, rootOf(from)) ||
        graph.outputs.includes(rootOf(from))
      if (!graph.outputs.includes(to) || !isFixed) return { same: from }
      const cell = cells[graph.values.get(to)?.dtype ?? 'float32'] ?? 'f32'
      return { with: [], step: plainCopy(from, to, elementCount(sizesOf(model, to) ?? []), cell, node.name) }
    }
    const ready = (id: string): boolean => made.has(id)
    const linear = isFloats(node) ? linearStep(model, node, { ready, choose, shares }) : undefined
    if (linear) return linear
    const loops = op?.loops?.(viewOf(model, graph, node))
    if (loops && (isFloats(node) || (loops.is !== 'pool' && loops.is !== 'matrices')))
      return loopsStep(model, node, loops, ready)
    return { reason: op?.loops ? 'no loops for these attributes or types' : 'no loops for this operator' }
  }
}

/** What becomes of a node: a step, the same bytes, nothing of its own, or why it cannot be. */
type Taken = Made | { readonly same: string } | { readonly done: readonly Node[] }

/** Why a value cannot lie in memory. */
function unfit(model: Model, id: string): string | undefined {
  const { dtype } = model.graph.values.get(id) ?? {}
  const shape = sizesOf(model, id)
  if (!shape) return 'sizes that are not numbers'
  if (shape.includes(0)) return 'no elements'
  if (dtype === undefined || !cells[dtype]) return `element type ${dtype ?? 'unknown'}`
  return undefined
}
