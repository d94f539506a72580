/** What stays in float where passes store weights in fewer bits: bytes by node, and a reason for each. */
import { allGraphs, constant } from '../ir/graph.ts'
import { isFloat, tensorBytes } from '../ir/tensor.ts'
import { opFor } from '../ops/index.ts'
import { ownersOf } from '../ops/owners.ts'
import type { Model, Node, Value } from '../types.ts'
import { weightUses } from './quantize/common/uses.ts'
import type { Refusal } from './types.ts'

const byOptions = 'weights that the options leave in float'
const noWeights = 'biases and other constants that are no weights stay in float'

/**
 * `told` with the bytes of the float constants of those nodes, and a line for every other node that has some. Scales of codes
 * do not count, nor constants of a form that holds few bits. Nodes are those of `original`: what passes have put in place of
 * a node of it counts as that node.
 */
export function withLeft(model: Model, told: readonly Refusal[], original: Model = model): Refusal[] {
  const left = floatsOf(model, original)
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
function floatsOf(model: Model, original: Model): ReadonlyMap<string, Floats> {
  const own = originalNodes(model, original)
  const owners = ownersOf(model)
  const weights = weightUses(model)
  const scales = scalesOf(model)
  const left = new Map<string, Floats>()
  for (const graph of allGraphs(model))
    for (const v of graph.values.values()) {
      const [data, made] = [constant(graph, v.id), owners.get(v.id)]
      const owner = made && own(made)
      if (!data || !owner || !isFloat(data.dtype) || !isPlain(v) || scales.has(v.id)) continue
      const mine = left.get(owner.name) ?? { op: owner.op, weights: 0, others: 0 }
      left.set(owner.name, mine)
      mine[weights.has(v.id) && data.shape.length > 1 ? 'weights' : 'others'] += tensorBytes(data)
    }
  return left
}

/** The node of the original that a node stands for: itself, or what made the value that it, or what reads it, makes. */
function originalNodes(model: Model, original: Model): (node: Node) => Node {
  if (original === model) return (node) => node
  const all = allGraphs(original).flatMap((g) => g.nodes)
  const names = new Set(all.map((n) => n.name))
  const makers = new Map(all.flatMap((n) => n.outputs.map((id) => [id, n] as const)))
  const readers = readersOf(model)
  return (node) => {
    const seen = new Set([node])
    for (const at of seen) {
      if (names.has(at.name)) return at
      const maker = at.outputs.map((id) => makers.get(id)).find((n) => n !== undefined)
      if (maker) return maker
      for (const id of at.outputs) for (const next of readers.get(id) ?? []) seen.add(next)
    }
    return node
  }
}

export const isPlain = ({ form }: Value): boolean => form === undefined || form === 'plain'

/** Constants that only operators on codes read, or what multiplies them with a scale that is found at run time. */
function scalesOf(model: Model): ReadonlySet<string> {
  const found = new Set(
    allGraphs(model).flatMap(({ nodes }) => nodes.flatMap((n) => (isCoded(n) ? n.outputs.slice(1) : [])))
  )
  const isOfScales = (n: Node): boolean => isCoded(n) || n.inputs.some((id) => id !== null && found.has(id))
  const only = [...readersOf(model)].filter(([, nodes]) => nodes.every(isOfScales))
  return new Set(only.map(([id]) => id))
}

const isCoded = (n: Node): boolean => opFor(n)?.codes !== undefined

function readersOf(model: Model): ReadonlyMap<string, readonly Node[]> {
  const readers = new Map<string, Node[]>()
  for (const { nodes } of allGraphs(model))
    for (const node of nodes)
      for (const id of node.inputs) {
        if (id === null) continue
        const known = readers.get(id)
        if (known) known.push(node)
        else readers.set(id, [node])
      }
  return readers
}
