/**
 * Nodes that stay float because of the values observed on the data: those whose values are infinite through a constant of
 * the graph (the −∞ of a mask), and those that would put values of very different ranges under one scale (boxes beside scores).
 */
import { constant } from '../../../ir/graph.ts'
import { toFloats } from '../../../ir/tensor.ts'
import type { Observed } from '../../../observe/calibrate.ts'
import type { Range } from '../../../observe/ranges.ts'
import type { Model } from '../../../types.ts'
import type { IntegerNode } from './groups.ts'
import type { Layout } from './layout.ts'
import { rangeOf, type StaticPlan, type ValuePlan } from './plan.ts'

/** Reasons, by the id of a node's first output. */
export type Left = ReadonlyMap<string, string>

/** Nodes with an infinite input or output. */
export function infiniteNodes(model: Model, made: Layout, { infinite }: Observed): Left {
  const ids = new Set(made.groups.flatMap((g) => (g.taps.some((id) => infinite.has(id)) ? g.ids : [])))
  const isInfinite = (id: string): boolean => {
    const data = constant(model.graph, id)
    return data ? toFloats(data).some((x) => !Number.isFinite(x)) : ids.has(id)
  }
  const out = new Map<string, string>()
  for (const n of made.nodes) {
    const read = [...n.data, ...n.constants].map((i) => n.node.inputs[i] as string)
    const found = [...read, ...(n.givesFloat ? [] : n.node.outputs.filter(Boolean))].find(isInfinite)
    if (found !== undefined) out.set(outputOf(n), `${found} is infinite by a constant of the graph`)
  }
  return out
}

/** Nodes under whose output scale an input would keep fewer codes than the operator needs. */
export function coarseNodes(model: Model, made: Layout, plan: StaticPlan, seen: Observed): Left {
  const byId = new Map(plan.values.flatMap((v) => v.ids.map((id) => [id, v] as const)))
  const out = new Map<string, string>()
  for (const n of made.nodes) {
    const own = byId.get(outputOf(n))
    const { fewestCodes } = n.rule
    if (fewestCodes === undefined || own === undefined || n.givesFloat) continue
    for (const i of [...n.data, ...(n.rule.sums ? [] : n.constants)]) {
      const id = n.node.inputs[i] as string
      const { low, high } = rangeAt(model, id, byId.get(id), own, seen)
      const codes = (Math.max(high, 0) - Math.min(low, 0)) / own.scale
      if (codes > 0 && codes < fewestCodes)
        out.set(
          outputOf(n),
          `${id} (${spell({ low, high })}) would keep ${Math.ceil(codes)} of 256 codes beside the others (${spell(own)})`
        )
    }
  }
  return out
}

/** The range of a node's input: the observed one where the planned one is shared with the output, else the planned one. */
function rangeAt(model: Model, id: string, planned: ValuePlan | undefined, own: ValuePlan, seen: Observed): Range {
  const data = constant(model.graph, id)
  if (data) return rangeOf(data)
  return (planned === own ? seen.values.get(id) : planned) ?? own
}

const outputOf = (n: IntegerNode): string => n.node.outputs[0] as string
const spell = ({ low, high }: Range): string => `${low.toPrecision(3)} … ${high.toPrecision(3)}`
