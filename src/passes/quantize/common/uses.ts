/** Where constants serve as weights, also in subgraphs and behind a Transpose or Reshape. */
import { allGraphs, constant } from '../../../ir/graph.ts'
import { isFloat } from '../../../ir/tensor.ts'
import { opFor } from '../../../ops/index.ts'
import { moveOf } from '../../../ops/reorder.ts'
import type { WeightPlace } from '../../../ops/types.ts'
import type { Graph, Model, Node, Tensor } from '../../../types.ts'

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
