/** Where constants serve as weights, also in subgraphs and behind what only moves, cuts and joins their elements. */
import { allGraphs, constant, opName } from '../../../ir/graph.ts'
import { isFloat } from '../../../ir/tensor.ts'
import { opFor } from '../../../ops/index.ts'
import { moveOf } from '../../../ops/reorder.ts'
import type { WeightPlace } from '../../../ops/types.ts'
import type { Model, Node, Tensor } from '../../../types.ts'

/** A node that uses a constant as a weight. `axis` is the constant's own; absent: no axis is the output channels'. */
export interface WeightUse {
  readonly node: Node
  readonly axis: number | undefined
}

export interface UsedWeight {
  readonly data: Tensor
  readonly uses: readonly WeightUse[]
  /** Every node that reads it or a moved copy of it, as a weight or not. */
  readonly readers: readonly Node[]
}

/** Where a node takes weights. */
export const weightPlaces = (node: Node): readonly WeightPlace[] => opFor(node)?.weights ?? []

/** Is the constant the right matrix of a product without bias and transposition, of which forms in blocks exist? */
export const isBlockMatrix = ({ node, axis }: WeightUse): boolean => opName(node) === 'MatMul' && axis === 1

/** How a node uses its weights: layers with weights for data and state are recurrent, tables are read by row. */
export function weightKind(node: Node): 'layer' | 'recurrent' | 'table' {
  const op = opFor(node)
  if (op?.lookup) return 'table'
  return !op?.linear && new Set(op?.weights?.map((w) => w.input)).size > 1 ? 'recurrent' : 'layer'
}

interface Read {
  readonly node: Node
  readonly input: number
}

type Back = (axis: number) => number | undefined

/** Every float constant that some node uses as a weight, by id, outer graphs first. Overridable inputs are not constants. */
export function weightUses(model: Model): ReadonlyMap<string, UsedWeight> {
  const graphs = allGraphs(model)
  const { readers, constants } = indexOf(model)
  const find = (id: string | null | undefined): Tensor | undefined => (id == null ? undefined : constants.get(id))
  const outputs = new Set(graphs.flatMap((g) => g.outputs))
  const out = new Map<string, UsedWeight>()
  for (const [id, data] of constants) {
    if (!isFloat(data.dtype) || data.shape.length === 0 || outputs.has(id)) continue
    const all = new Set<Node>()
    const seen = new Set<string>()
    const uses = usesOf(id, data.shape, (axis) => axis)
    if (uses.length > 0) out.set(id, { data, uses, readers: [...all] })

    function usesOf(at: string, shape: readonly number[], back: Back): WeightUse[] {
      return (readers.get(at) ?? []).flatMap(({ node, input }) => {
        all.add(node)
        const moved = moveOf(node, shape, find, input)
        if (moved) return moved.ids.flatMap((next) => through(next, moved, back))
        const position = weightPlaces(node).find((p) => p.input === input)
        if (!position) return []
        const axis = position.axis(node)
        const own = axis < 0 ? axis + shape.length : axis
        return [{ node, axis: shape.length > 1 && own >= 0 && own < shape.length ? back(own) : undefined }]
      })
    }

    /** Pieces that were cut and are joined again come through once. */
    function through(next: string, moved: { shape: readonly number[]; back: Back }, back: Back): WeightUse[] {
      if (seen.has(next)) return []
      seen.add(next)
      return usesOf(next, moved.shape, (axis) => {
        const from = moved.back(axis)
        return from === undefined ? undefined : back(from)
      })
    }
  }
  return out
}

/** Who reads what, and the constants, in all graphs: ids are unique in a whole model. */
function indexOf(model: Model): {
  readonly readers: ReadonlyMap<string, readonly Read[]>
  readonly constants: ReadonlyMap<string, Tensor>
} {
  const readers = new Map<string, Read[]>()
  const constants = new Map<string, Tensor>()
  for (const graph of allGraphs(model)) {
    for (const node of graph.nodes)
      for (const [input, id] of node.inputs.entries()) {
        if (id === null) continue
        const list = readers.get(id)
        if (list) list.push({ node, input })
        else readers.set(id, [{ node, input }])
      }
    for (const { id } of graph.values.values()) {
      const data = constant(graph, id)
      if (data) constants.set(id, data)
    }
  }
  return { readers, constants }
}
