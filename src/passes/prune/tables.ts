/** Tables whose rows are looked up by ids that a model is given, such as those of tokens. */
import { edit } from '../../ir/edit.ts'
import { consumers, factsOf, graphView } from '../../ir/graph.ts'
import { ints, isInteger } from '../../ir/tensor.ts'
import { watch } from '../../observe/feed.ts'
import { opFor } from '../../ops/index.ts'
import type { Lookup } from '../../ops/types.ts'
import type { Dataset, Model, Node, Tensor } from '../../types.ts'
import type { Context } from '../types.ts'

/**
 * A float table [rows, width]. `lookups`: the nodes that look rows up, with the input that holds the ids, and the graph input
 * that these come from; whether they are its numbers, or computed of them, only data tells.
 */
export interface Table {
  readonly id: string
  readonly rows: number
  readonly width: number
  readonly lookups: readonly {
    readonly node: Node
    readonly input: number
    readonly ids: string
    readonly given: string
  }[]
}

/** Why a table stays whose indices are no ids that the model is given. */
export const computed = 'its indices are computed, not given'

/** The tables of the outermost graph (types inferred), and those that only look so, with the reason. */
export function tablesOf(typed: Model): {
  readonly tables: readonly Table[]
  readonly others: readonly { readonly node: Node; readonly reason: string }[]
} {
  const { graph } = typed
  const g = graphView(graph)
  const found = new Map<string, Table>()
  const others: { node: Node; reason: string }[] = []
  for (const node of graph.nodes) {
    const place = lookupOf(typed, node)
    const [id, ids] = [node.inputs[place?.table ?? -1], node.inputs[place?.ids ?? -1]]
    const data = g.constant(id)
    if (!place || !id || !ids || data?.shape.length !== 2 || g.constant(ids)) continue
    const reason = whyNot(typed, id, ids)
    if (reason !== undefined) {
      others.push({ node, reason })
      continue
    }
    const [rows, width] = data.shape as [number, number]
    const given = givenBy(typed, ids) as string
    const lookups = [...(found.get(id)?.lookups ?? []), { node, input: place.ids, ids, given }]
    found.set(id, { id, rows, width, lookups })
  }
  return { tables: [...found.values()], others }
}

const lookupOf = ({ graph }: Model, node: Node): Lookup | undefined =>
  opFor(node)?.lookup?.(factsOf(graphView(graph), node))

function whyNot(typed: Model, id: string, ids: string): string | undefined {
  const { graph } = typed
  const dtype = graph.values.get(id)?.dtype
  if (dtype !== 'float32') return `its table is ${dtype}`
  const other = consumers(graph, id).find((n) => n.inputs[lookupOf(typed, n)?.table ?? -1] !== id)
  if (other) return `its table is read by ${other.name} too`
  if (graph.outputs.includes(id)) return 'its table is an output of the model'
  return givenBy(typed, ids) === undefined ? computed : undefined
}

/** The graph input of integers that a value comes from, through nodes that read nothing else but constants. */
function givenBy({ graph }: Model, id: string): string | undefined {
  const g = graphView(graph)
  for (let at: string | undefined = id; at !== undefined; ) {
    const v = graph.values.get(at)
    if (!v?.dtype || !isInteger(v.dtype)) return undefined
    if (graph.inputs.includes(at)) return v.data ? undefined : at
    const from: readonly (string | null)[] = (g.producer(at)?.inputs ?? []).filter((x) => x !== null && !g.constant(x))
    at = from.length === 1 ? (from[0] as string) : undefined
  }
  return undefined
}

/** Adds how often each row is looked up; false where the indices are not the numbers that the model is given. */
export async function countLookups(
  typed: Model,
  table: Table,
  dataset: Dataset,
  uses: Float64Array,
  ctx: Context
): Promise<boolean> {
  const taps: { readonly ids: string; readonly given: string }[] = []
  const model = edit(typed, (d) => {
    for (const { ids, given } of table.lookups)
      taps.push({ ids: d.add('Identity', [ids]), given: d.add('Identity', [given]) })
    d.setOutputs(taps.flatMap((t) => [t.ids, t.given]))
    d.sweep()
  })
  let isGiven = true
  await watch(model, {}, { dataset, batch: 32, stage: 'counting rows' }, ctx, (outputs) => {
    const sorted = (name: string): number[] => ints(outputs[name] as Tensor).sort((a, b) => a - b)
    for (const { ids, given } of taps) {
      const [found, asked] = [sorted(ids), sorted(given)]
      isGiven &&= found.length === asked.length && found.every((id, i) => id === asked[i])
      for (const id of found) {
        const row = id < 0 ? id + table.rows : id
        uses[row] = (uses[row] as number) + 1
      }
    }
  })
  return isGiven
}
