import { evaluateDim } from '../base/dim.ts'
import type { Graph, Model, Value } from '../types.ts'
import { mapGraphs } from './edit.ts'

/** Fixes symbolic dimensions everywhere they occur, also inside expressions. The very same model when none occurs. */
export function bind(model: Model, symbols: Readonly<Record<string, number>>): Model {
  return mapGraphs(model, (graph) => bindGraph(graph, symbols))
}

function bindGraph(graph: Graph, symbols: Readonly<Record<string, number>>): Graph {
  let values: Map<string, Value> | undefined
  for (const v of graph.values.values()) {
    const shape = v.shape?.map((d) => evaluateDim(d, symbols) ?? d)
    if (!shape || shape.every((d, i) => d === v.shape?.[i])) continue
    values ??= new Map(graph.values)
    values.set(v.id, { ...v, shape })
  }
  return values ? { ...graph, values } : graph
}
