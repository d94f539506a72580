/** A model looked at as a whole, across its subgraphs: what a form's spelling needs to know and gives back. */
import { takenIds } from '../../ir/edit.ts'
import { allGraphs, isInput } from '../../ir/graph.ts'
import type { Graph, Model, Node, Tensor, Value } from '../../types.ts'

/** Nodes to replace, with the values that come along, and constants that become others under the same id. */
export interface Rewrite {
  readonly replaced: ReadonlyMap<Node, { readonly nodes: readonly Node[]; readonly values: readonly Value[] }>
  readonly changed: ReadonlyMap<string, Value>
}

export type Constant = Value & { readonly data: Tensor }

export interface Whole {
  readonly graphs: readonly Graph[]
  /** A constant, wherever it lies; `undefined` for overridable defaults. */
  constant(id: string | null | undefined): Constant | undefined
  /** How often an id is read by nodes or listed as a graph output, in all graphs. */
  readCount(id: string): number
  /** The nodes that read an id, in all graphs. */
  readers(id: string): readonly Node[]
  /** The node that makes an id, wherever it lies. */
  maker(id: string | null): Node | undefined
  fresh(hint: string): string
}

export function wholeOf(model: Model): Whole {
  const graphs = allGraphs(model)
  const constants = new Map<string, Constant>()
  const counts = new Map<string, number>()
  const count = (id: string): void => {
    counts.set(id, (counts.get(id) ?? 0) + 1)
  }
  for (const g of graphs) {
    for (const v of g.values.values()) if (v.data && !isInput(g, v.id)) constants.set(v.id, v as Constant)
    for (const n of g.nodes) for (const id of n.inputs) if (id !== null) count(id)
    for (const id of g.outputs) count(id)
  }
  let taken: Set<string> | undefined
  let readers: Map<string, Node[]> | undefined
  let makers: Map<string, Node> | undefined
  return {
    graphs,
    constant: (id) => (id == null ? undefined : constants.get(id)),
    readCount: (id) => counts.get(id) ?? 0,
    readers: (id) => {
      readers ??= readersOf(graphs)
      return readers.get(id) ?? []
    },
    maker: (id) => {
      makers ??= new Map(graphs.flatMap((g) => g.nodes.flatMap((n) => n.outputs.map((out) => [out, n] as const))))
      return makers.get(id ?? '')
    },
    fresh: (hint) => {
      taken ??= takenIds(model)
      let id = hint
      for (let i = 1; taken.has(id); i++) id = `${hint}_${i}`
      taken.add(id)
      return id
    }
  }
}

function readersOf(graphs: readonly Graph[]): Map<string, Node[]> {
  const out = new Map<string, Node[]>()
  for (const g of graphs)
    for (const n of g.nodes)
      for (const id of new Set(n.inputs)) {
        if (id === null) continue
        const list = out.get(id)
        if (list) list.push(n)
        else out.set(id, [n])
      }
  return out
}

export const constantValue = (id: string, data: Tensor): Value => ({
  id,
  type: 'tensor',
  dtype: data.dtype,
  shape: data.shape,
  data
})
