/**
 * Reverse-mode differentiation: the nodes of the tape from the last to the first, each handing the gradients of its
 * outputs to its inputs by the `grad` of its operator; gradients of a value that is read more than once are added.
 */
import { assert, PareError } from '../base/errors.ts'
import { opName } from '../ir/graph.ts'
import { algebra, constantLike, sameSizes } from '../ops/grad.ts'
import { opFor } from '../ops/index.ts'
import type { Ref, TrainForm } from '../ops/types.ts'
import type { Node } from '../types.ts'
import type { TrainingGraph } from './graph.ts'

/** A node whose gradient may be asked for; `form`: what runs in its place while training. */
export interface Taped {
  readonly node: Node
  readonly form?: TrainForm | undefined
}

export interface Gradients {
  /** By value; only of values that were wanted. */
  readonly of: ReadonlyMap<string, Ref>
  /** Nodes without a gradient at which it stopped. */
  readonly stopped: readonly Node[]
}

/** Does a node read a value whose gradient leads to a parameter? */
export const isOnPath = (g: TrainingGraph, node: Node): boolean => node.inputs.some((id) => id !== null && g.wants(id))

/** What a node makes of wanted values is wanted too. */
export function follow(g: TrainingGraph, node: Node): void {
  if (isOnPath(g, node)) for (const id of node.outputs) if (id) g.wanted.add(id)
}

/**
 * Adds the gradients of a scalar. A node on the way without a gradient is an `E_UNSUPPORTED` that names it, or, with
 * `freeze`, where the gradient ends.
 */
export function backward(g: TrainingGraph, tape: readonly Taped[], loss: Ref, freeze: boolean): Gradients {
  const parts = new Map<string, Ref[]>([[loss.id, [one(g, loss)]]])
  const of = new Map<string, Ref>()
  const stopped: Node[] = []
  const a = algebra(g)
  const take = (id: string): Ref | null => {
    const list = id ? parts.get(id) : undefined
    if (!list) return null
    const sum = of.get(id) ?? list.reduce(a.add)
    of.set(id, sum)
    return sum
  }
  for (const taped of [...tape].reverse()) {
    const { node } = taped
    if (!isOnPath(g, node)) continue
    const dy = node.outputs.map(take)
    if (dy.every((d) => d === null)) continue
    const dx = gradientsOf(g, taped, dy)
    if (!dx) {
      if (!freeze) throw unsupported(g, node)
      stopped.push(node)
      continue
    }
    for (const [i, id] of node.inputs.entries()) {
      const d = dx[i]
      if (id === null || !d || !g.wants(id)) continue
      checkShape(g, node, id, d)
      const list = parts.get(id)
      if (list) list.push(d)
      else parts.set(id, [d])
    }
  }
  for (const id of parts.keys()) take(id)
  return { of, stopped }
}

function one(g: TrainingGraph, loss: Ref): Ref {
  assert(loss.shape.length === 0, `a loss of shape [${loss.shape}]`)
  return constantLike(g, loss, 1)
}

function gradientsOf(
  g: TrainingGraph,
  { node, form }: Taped,
  dy: readonly (Ref | null)[]
): readonly (Ref | null)[] | undefined {
  return form ? form.grad(dy) : opFor(node)?.grad?.(g, g.view(node), dy)
}

function checkShape(g: TrainingGraph, node: Node, id: string, d: Ref): void {
  const x = g.value(id)
  assert(sameSizes(d.shape, x.shape), `the gradient of ${node.op} by ${id} is [${d.shape}], not [${x.shape}]`)
}

function unsupported(g: TrainingGraph, node: Node): PareError {
  const from = node.inputs.filter((id): id is string => id !== null && g.wants(id))
  return new PareError('E_UNSUPPORTED', `${opName(node)} has no gradient, and parameters are trained through it`, {
    where: node.name,
    facts: { operator: opName(node), 'parameters behind': from.join(', ') },
    hint: 'freeze what lies before it, or choose parameters behind it'
  })
}
