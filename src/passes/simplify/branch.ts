/** Branches whose condition is known: the one that runs takes the place of its node, the other goes. */
import { subgraphs } from '../../ir/attrs.ts'
import type { Draft } from '../../ir/edit.ts'
import { toNumbers } from '../../ir/tensor.ts'
import { opFor } from '../../ops/index.ts'
import type { Dim, Graph, Node } from '../../types.ts'
import type { Look } from './identity.ts'

/** `contents`: what is known of small integer vectors and bools, by id. Ids are unique in a whole model, so that none is in the way. */
export function inlineBranches(draft: Draft, contents: ReadonlyMap<string, readonly Dim[]>, look: Look): void {
  for (const node of draft.nodes()) {
    // Inlining renames what later nodes read: those that were replaced have their turn in the next round.
    const isThere = node.outputs.some((id) => draft.producer(id) === node)
    const taken = isThere ? takenBranch(node, contents, look) : undefined
    if (taken) inline(draft, node, taken)
  }
}

/** The branch that always runs; `undefined` where that depends on the inputs. */
function takenBranch(node: Node, contents: ReadonlyMap<string, readonly Dim[]>, look: Look): Graph | undefined {
  const branch = opFor(node)?.branch
  const [condition] = node.inputs
  if (!branch || condition == null) return undefined
  const data = look.constant(condition)
  const value = data ? toNumbers(data)[0] : contents.get(condition)?.[0]
  if (typeof value !== 'number') return undefined
  return subgraphs(node).find(([name]) => name === branch(value !== 0))?.[1]
}

function inline(draft: Draft, node: Node, graph: Graph): void {
  draft.remove(node)
  for (const v of graph.values.values()) draft.set(v)
  for (const inner of graph.nodes) draft.addNode(inner)
  for (const [i, id] of node.outputs.entries()) {
    const from = graph.outputs[i]
    if (id && from !== undefined) draft.rewire(id, from)
  }
}
