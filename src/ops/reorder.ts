/** Reorderings of a constant's elements that one of its axes can be followed through. */
import { attrInt, attrInts } from '../ir/attrs.ts'
import { constant } from '../ir/graph.ts'
import { elementCount, ints } from '../ir/tensor.ts'
import type { Graph, Node } from '../types.ts'

interface Move {
  readonly id: string
  readonly shape: readonly number[]
  /** The input's axis that an output's axis comes from, if it is one whole axis. */
  back(axis: number): number | undefined
}

/** A reordering that an axis can be followed through. */
export function moveOf(node: Node, shape: readonly number[], graph: Graph): Move | undefined {
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
