/**
 * How far a model looks along the axis that its windows slide over. Of a chain of windows of kernel k, stride s and
 * dilation d, field = 1 + Σ (k − 1)·d·Π(strides before), step = Π s. Of several paths the farthest counts.
 */
import { attrInts } from '../ir/attrs.ts'
import { allGraphs } from '../ir/graph.ts'
import type { Model, Node, Value } from '../types.ts'
import { opFor } from './index.ts'

/** Positions of the input that one position of the result depends on, and input positions from one result to the next. */
export interface Reach {
  readonly field: number
  readonly step: number
}

const start: Reach = { field: 1, step: 1 }

/** The farthest reach of a model along the last axis of its windows. */
export function reachOf(model: Model): Reach {
  const reached = new Map<string, Reach>()
  const graphs = allGraphs(model)
  // Ids are unique in a whole model: a branch reads weights of the graphs around it.
  const values = new Map(graphs.flatMap((g) => [...g.values]))
  let most = start
  for (const graph of graphs)
    for (const node of graph.nodes) {
      const before = node.inputs.flatMap((id) => (id === null ? [] : (reached.get(id) ?? []))).reduce(farther, start)
      const after = through(values, node, before)
      for (const id of node.outputs) reached.set(id, after)
      most = farther(most, after)
    }
  return most
}

const farther = (a: Reach, b: Reach): Reach => ({
  field: Math.max(a.field, b.field),
  step: Math.max(a.step, b.step)
})

function through(values: ReadonlyMap<string, Value>, node: Node, { field, step }: Reach): Reach {
  const inputs = node.inputs.map((id) => (id === null ? undefined : values.get(id)))
  const patch = opFor(node)?.linear?.({ node, inputs, outputs: [] })?.patch
  if (patch?.transposed) return { field, step }
  const last = patch?.axes.at(-1)
  const kernel = last?.kernel ?? attrInts(node, 'kernel_shape')?.at(-1) ?? 1
  const stride = last?.stride ?? attrInts(node, 'strides')?.at(-1) ?? 1
  const dilation = last?.dilation ?? attrInts(node, 'dilations')?.at(-1) ?? 1
  return { field: field + (kernel - 1) * dilation * step, step: step * stride }
}
