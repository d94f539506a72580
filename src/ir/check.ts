/** Invariants that hold between passes; a broken one after a pass is a bug of that pass. */
import { PareError } from '../base/errors.ts'
import type { Graph, Model } from '../types.ts'
import { subgraphs } from './attrs.ts'
import { byteLength, elementCount } from './tensor.ts'

/** Throws `E_MODEL` on the first contradiction; returns the model. */
export function check(model: Model): Model {
  checkGraph(model.graph, new Set())
  return model
}

function checkGraph(graph: Graph, around: ReadonlySet<string>): void {
  const fail = (what: string, where: string): never => {
    throw new PareError('E_MODEL', `${what} (graph ${graph.name || 'main'})`, { where })
  }
  const known = new Set(around)
  const own = new Set<string>()
  for (const id of graph.inputs) {
    if (own.has(id)) fail(`two inputs are called ${id}`, id)
    if (!graph.values.has(id)) fail(`input ${id} has no type`, id)
    own.add(id)
    known.add(id)
  }
  for (const v of graph.values.values()) {
    if (!v.data) continue
    if (!v.data.strings && v.data.bytes.length !== byteLength(v.data.dtype, elementCount(v.data.shape)))
      fail(`constant ${v.id} does not have the bytes its shape needs`, v.id)
    own.add(v.id)
    known.add(v.id)
  }
  for (const n of graph.nodes) {
    for (const id of n.inputs)
      if (id !== null && !known.has(id)) fail(`${n.op} reads ${id}, which nothing makes before it`, n.name)
    for (const [, g] of subgraphs(n)) checkGraph(g, known)
    for (const id of n.outputs) {
      if (!id) continue
      if (own.has(id)) fail(`${id} is made twice`, n.name)
      if (!graph.values.has(id)) fail(`${id} has no entry in the value table`, n.name)
      own.add(id)
      known.add(id)
    }
  }
  for (const id of graph.outputs) if (!known.has(id)) fail(`output ${id} is never made`, id)
}
