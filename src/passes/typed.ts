/** Work with inferred types that leaves no trace of them in the result. */
import { mapGraphs } from '../ir/edit.ts'
import { allGraphs, isInput, isOutput } from '../ir/graph.ts'
import { inferShapes } from '../ops/infer.ts'
import type { Graph, Model, Value } from '../types.ts'

/**
 * Runs `change` on the model with all its types inferred. In the result, values that had no type have none again, so
 * that files do not grow. The very same model where `change` returned what it was given.
 */
export async function withTypes(model: Model, change: (typed: Model) => Model | Promise<Model>): Promise<Model> {
  const typed = inferShapes(model)
  const made = await change(typed)
  return made === typed ? model : forget(made, declared(model))
}

/** Types as the model came with them, for the values whose id occurs in one graph only. */
function declared(model: Model): ReadonlyMap<string, Value> {
  const out = new Map<string, Value>()
  const twice = new Set<string>()
  for (const graph of allGraphs(model))
    for (const v of graph.values.values()) {
      if (out.has(v.id)) twice.add(v.id)
      out.set(v.id, v)
    }
  for (const id of twice) out.delete(id)
  return out
}

function forget(model: Model, before: ReadonlyMap<string, Value>): Model {
  return mapGraphs(model, (graph: Graph) => {
    const values = new Map(graph.values)
    for (const v of graph.values.values()) {
      const old = before.get(v.id)
      if (old && !old.data && !v.data && !isInput(graph, v.id) && !isOutput(graph, v.id)) values.set(v.id, old)
    }
    return { ...graph, values }
  })
}
