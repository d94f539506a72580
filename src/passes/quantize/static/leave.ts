/**
 * Nodes that stay float because of the values observed on the data: those whose values are infinite through a constant of
 * the graph (the −∞ of a mask), and those that would put values of very different ranges under one scale (boxes beside scores).
 */
import { constant } from '../../../ir/graph.ts'
import { toFloats } from '../../../ir/tensor.ts'
import type { Observed } from '../../../observe/calibrate.ts'
import type { Histogram } from '../../../observe/histogram.ts'
import { percentileRange, type Range } from '../../../observe/ranges.ts'
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

/**
 * Nodes under whose output scale an input would keep fewer codes than the operator needs, and sums whose bulk would: a few
 * values of single tokens, a hundred times as large as all others, would leave those no resolution before the normalization
 * that makes them alike (massive activations, Sun et al. 2024).
 */
export function coarseNodes(model: Model, made: Layout, plan: StaticPlan, seen: Observed): Left {
  const byId = new Map(plan.values.flatMap((v) => v.ids.map((id) => [id, v] as const)))
  const out = new Map<string, string>()
  for (const n of made.nodes) {
    const own = byId.get(outputOf(n))
    const { fewestCodes } = n.rule
    if (fewestCodes === undefined || own === undefined || n.givesFloat) continue
    const bulk = n.rule.sums && own.low < 0 ? bulkOf(seen.values.get(outputOf(n))) : undefined
    const kept = bulk ? (bulk.high - bulk.low) / own.scale : Number.POSITIVE_INFINITY
    if (bulk && kept < fewestOfBulk)
      out.set(
        outputOf(n),
        `99 % of its values (${spell(bulk)}) would keep ${Math.ceil(kept)} of 256 codes beside the others (${spell(own)})`
      )
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

/** Codes that 99 % of the values of a sum must at least keep. Those of normal values keep about 130. */
const fewestOfBulk = 16

/** The range of 99 % of the values; `undefined` where they were not counted. */
const bulkOf = (h: Histogram | undefined): Range | undefined =>
  h && h.counts.length > 0 ? percentileRange(h, 99) : undefined

/** The range of a node's input: the observed one where the planned one is shared with the output, else the planned one. */
function rangeAt(model: Model, id: string, planned: ValuePlan | undefined, own: ValuePlan, seen: Observed): Range {
  const data = constant(model.graph, id)
  if (data) return rangeOf(data)
  return (planned === own ? seen.values.get(id) : planned) ?? own
}

const outputOf = (n: IntegerNode): string => n.node.outputs[0] as string
const spell = ({ low, high }: Range): string => `${low.toPrecision(3)} … ${high.toPrecision(3)}`
