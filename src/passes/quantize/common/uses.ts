/** Where constants serve as weights, also in subgraphs and behind a Transpose or Reshape. */
import { attrInt, attrInts } from '../../../ir/attrs.ts'
import { allGraphs, constant } from '../../../ir/graph.ts'
import { elementCount, ints, isFloat } from '../../../ir/tensor.ts'
import { opFor } from '../../../ops/index.ts'
import type { Graph, Model, Node, Tensor, WeightPlace } from '../../../types.ts'

/** A node that uses a constant as a weight. `axis` is the constant's own; absent: no axis is the output channels'. */
export interface WeightUse {
  readonly node: Node
  readonly axis: number | undefined
}

export interface UsedWeight {
  readonly data: Tensor
  readonly uses: readonly WeightUse[]
  /** Every node that reads it or a reordered copy of it, as a weight or not. */
  readonly readers: readonly Node[]
}

/** Where a node takes weights. */
export const weightPlaces = (node: Node): readonly WeightPlace[] => opFor(node)?.weights ?? []

/** Every float constant that some node uses as a weight, by id, outer graphs first. Overridable inputs are not constants. */
export function weightUses(model: Model): ReadonlyMap<string, UsedWeight> {
  const graphs = allGraphs(model)
  const readers = new Map<string, { node: Node; input: number; graph: Graph }[]>()
  for (const graph of graphs)
    for (const node of graph.nodes)
      for (const [input, id] of node.inputs.entries()) {
        if (id === null) continue
        const list = readers.get(id)
        if (list) list.push({ node, input, graph })
        else readers.set(id, [{ node, input, graph }])
      }
  const outputs = new Set(graphs.flatMap((g) => g.outputs))
  const out = new Map<string, UsedWeight>()
  for (const graph of graphs)
    for (const v of graph.values.values()) {
      const data = constant(graph, v.id)
      if (!data || !isFloat(data.dtype) || data.shape.length === 0 || outputs.has(v.id)) continue
      const all: Node[] = []
      const uses = usesOf(v.id, data.shape, (axis) => axis)
      if (uses.length > 0) out.set(v.id, { data, uses, readers: all })

      function usesOf(id: string, shape: readonly number[], back: (axis: number) => number | undefined): WeightUse[] {
        return (readers.get(id) ?? []).flatMap(({ node, input, graph: where }) => {
          all.push(node)
          const moved = input === 0 ? moveOf(node, shape, where) : undefined
          if (moved)
            return usesOf(moved.id, moved.shape, (axis) => {
              const from = moved.back(axis)
              return from === undefined ? undefined : back(from)
            })
          const position = weightPlaces(node).find((p) => p.input === input)
          if (!position) return []
          const axis = position.axis(node)
          const own = axis < 0 ? axis + shape.length : axis
          return [{ node, axis: shape.length > 1 && own >= 0 && own < shape.length ? back(own) : undefined }]
        })
      }
    }
  return out
}

interface Move {
  readonly id: string
  readonly shape: readonly number[]
  /** The input's axis that an output's axis comes from, if it is one whole axis. */
  back(axis: number): number | undefined
}

/** A reordering that an axis can be followed through. */
function moveOf(node: Node, shape: readonly number[], graph: Graph): Move | undefined {
  const id = node.outputs[0]
  if (!id || node.domain !== undefined) return undefined
  if (node.op === 'Identity') return { id, shape, back: (axis) => axis }
  if (node.op === 'Transpose') {
    const perm = attrInts(node, 'perm') ?? shape.map((_, i) => shape.length - 1 - i)
    return { id, shape: perm.map((i) => shape[i] as number), back: (axis) => perm[axis] }
  }
  if (node.op !== 'Reshape') return undefined
  const wanted = constant(graph, node.inputs[1])
  const made = wanted && reshaped(shape, ints(wanted), attrInt(node, 'allowzero', 0) === 1)
  return made ? { id, shape: made, back: (axis) => sameAxis(made, axis, shape) } : undefined
}

function reshaped(shape: readonly number[], wanted: readonly number[], keepsZero: boolean): number[] | undefined {
  const out = wanted.map((d, i) => (d === 0 && !keepsZero ? (shape[i] ?? 0) : d))
  const rest = elementCount(out.filter((d) => d !== -1))
  return out.map((d) => (d === -1 ? elementCount(shape) / rest : d))
}

/** The axis of `to` that has the same size and as many elements before it as `axis` of `from`. */
function sameAxis(from: readonly number[], axis: number, to: readonly number[]): number | undefined {
  const before = elementCount(from.slice(0, axis))
  const found = to.findIndex((d, i) => d === from[axis] && elementCount(to.slice(0, i)) === before)
  return found < 0 ? undefined : found
}
