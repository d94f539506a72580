/** What stays in float where passes store weights in fewer bits: bytes by node, and a reason for each. */
import { allGraphs, constant } from '../ir/graph.ts'
import { isFloat, tensorBytes } from '../ir/tensor.ts'
import { opFor } from '../ops/index.ts'
import { ownersOf } from '../ops/owners.ts'
import type { Model, Node, Refusal, Value } from '../types.ts'
import { weightUses } from './quantize/common/uses.ts'

const byOptions = 'weights that the options leave in float'
const noWeights = 'biases and other constants that are no weights stay in float'

/**
 * `told` with the bytes of the float constants of those nodes, and a line for every other node that has some. Scales of codes
 * do not count, nor constants of a form that holds few bits.
 */
export function withLeft(model: Model, told: readonly Refusal[]): Refusal[] {
  const left = floatsOf(model)
  const counted = new Set<string>()
  const sized = told.map((r): Refusal => {
    const mine = left.get(r.node)
    if (!mine || counted.has(r.node)) return r
    counted.add(r.node)
    return { ...r, bytes: mine.weights + mine.others }
  })
  const silent = [...left].flatMap(([node, { op, weights, others }]): Refusal[] => {
    if (counted.has(node)) return []
    return [
      ...(weights > 0 ? [{ node, op, reason: byOptions, bytes: weights }] : []),
      ...(others > 0 ? [{ node, op, reason: noWeights, bytes: others }] : [])
    ]
  })
  return [...sized, ...silent]
}

interface Floats {
  readonly op: string
  /** Bytes of what its operator has as a weight, and of all else. */
  weights: number
  others: number
}

/** Float constants by the name of the node that owns them. */
function floatsOf(model: Model): ReadonlyMap<string, Floats> {
  const owners = ownersOf(model)
  const weights = weightUses(model)
  const scales = scalesOf(model)
  const left = new Map<string, Floats>()
  for (const graph of allGraphs(model))
    for (const v of graph.values.values()) {
      const [data, owner] = [constant(graph, v.id), owners.get(v.id)]
      if (!data || !owner || !isFloat(data.dtype) || !isPlain(v) || scales.has(v.id)) continue
      const mine = left.get(owner.name) ?? { op: owner.op, weights: 0, others: 0 }
      left.set(owner.name, mine)
      mine[weights.has(v.id) && data.shape.length > 1 ? 'weights' : 'others'] += tensorBytes(data)
    }
  return left
}

const isPlain = ({ form }: Value): boolean => form === undefined || form === 'plain'

/** Constants that only operators on codes read. */
function scalesOf(model: Model): ReadonlySet<string> {
  const readers = new Map<string, Node[]>()
  for (const { nodes } of allGraphs(model))
    for (const node of nodes)
      for (const id of node.inputs) if (id !== null) readers.set(id, [...(readers.get(id) ?? []), node])
  const only = [...readers].filter(([, nodes]) => nodes.every((n) => opFor(n)?.codes !== undefined))
  return new Set(only.map(([id]) => id))
}
