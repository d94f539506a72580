/**
 * Whose a constant is: constants reach operators directly, or through nodes that compute on constants alone (cut, joined,
 * reordered, expanded from codes). The first node that also reads something else owns what it gets so.
 */
import { subgraphs } from '../ir/attrs.ts'
import { allGraphs, constant } from '../ir/graph.ts'
import type { Model, Node } from '../types.ts'
import { opFor } from './index.ts'

/** The owner of every constant of all graphs, by id; those that nothing reads have none. */
export function ownersOf(model: Model): ReadonlyMap<string, Node> {
  const readers = new Map<string, Node[]>()
  const fixed = new Set<string>()
  const ids: string[] = []
  for (const graph of allGraphs(model)) {
    for (const { id } of graph.values.values()) if (constant(graph, id)) ids.push(id)
    for (const node of graph.nodes)
      for (const id of node.inputs) {
        const known = id === null ? undefined : readers.get(id)
        if (known) known.push(node)
        else if (id !== null) readers.set(id, [node])
      }
  }
  for (const id of ids) fixed.add(id)
  for (const graph of allGraphs(model))
    for (const node of graph.nodes) if (isFixed(node, fixed)) for (const id of node.outputs) if (id) fixed.add(id)
  const owners = new Map<string, Node>()
  for (const id of ids) {
    const owner = ownerOf(id, readers, fixed)
    if (owner) owners.set(id, owner)
  }
  return owners
}

const isFixed = (node: Node, fixed: ReadonlySet<string>): boolean =>
  node.inputs.length > 0 &&
  !opFor(node)?.impure &&
  subgraphs(node).length === 0 &&
  node.inputs.every((id) => id === null || fixed.has(id))

function ownerOf(
  id: string,
  readers: ReadonlyMap<string, readonly Node[]>,
  fixed: ReadonlySet<string>
): Node | undefined {
  const seen = new Set([id])
  let last: Node | undefined
  for (const at of seen)
    for (const node of readers.get(at) ?? []) {
      last = node
      const made = node.outputs.filter((out) => fixed.has(out))
      if (made.length === 0) return node
      for (const out of made) seen.add(out)
    }
  return last
}
