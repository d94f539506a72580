import { editGraph } from '../../ir/edit.ts'
import { reads } from '../../ir/graph.ts'
import type { Graph } from '../../types.ts'

/** The graph without nodes and constants that nothing reads; the very same graph where there are none. */
export function dropUnused(graph: Graph, taken: Set<string>): Graph {
  const swept = editGraph(graph, (draft) => draft.sweep(), taken)
  const used = new Set<string>([...swept.inputs, ...swept.outputs])
  for (const node of swept.nodes) {
    for (const id of reads(node)) used.add(id)
    for (const id of node.outputs) used.add(id)
  }
  const values = new Map([...swept.values].filter(([id]) => used.has(id)))
  return values.size === swept.values.size ? swept : { ...swept, values }
}
