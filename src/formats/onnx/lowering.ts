/** Lowering a model: applies the changes of lower.ts in reverse order of opsets, and names everything that has no older form. */
import { PareError } from '../../base/errors.ts'
import { editGraph, mapGraphs, takenIds } from '../../ir/edit.ts'
import { allGraphs, constant } from '../../ir/graph.ts'
import type { DType, Graph, Model, Node, Tensor, Value } from '../../types.ts'
import { byOperator, type Change, changing, type Raising } from './raise.ts'

/** What lowering knows of opsets, as data. */
export interface Lowerings {
  /** From opset `since` on an operator has the newer form; `rule` makes the older one of it. Nodes that a rule adds are of the newest form. */
  readonly changes: readonly Change[]
  /** Operators by the opset that brought them. Those that a change takes apart need not be here. */
  readonly introduced: Readonly<Record<string, number>>
  /** Element types by the opset that brought them. */
  readonly dtypes: Partial<Readonly<Record<DType, number>>>
  /** Element types that an operator's inputs may have from an opset on. */
  readonly inputs: readonly {
    readonly op: readonly string[]
    readonly dtypes: readonly DType[]
    readonly since: number
  }[]
}

/** A node that stays as it is: the reason goes into the error at the end. */
class NoOlderForm {
  readonly why: string
  constructor(why: string) {
    this.why = why
  }
}

/** Said by a rule where the older form cannot say it. */
export function cannotLower(why: string): never {
  throw new NoOlderForm(why)
}

/** Most reasons that an error lists. */
const mostFacts = 8

/** The model at an older opset; its types should have been inferred. Throws `E_OPSET` that names every node which has no form there. */
export function lowerWith(l: Lowerings, model: Model, target: number): Model {
  const s: State = { l, from: model.opset, target, table: byOperator(l.changes), left: new Map() }
  findNewTypes(s, model)
  const taken = takenIds(model)
  const made = mapGraphs(model, (graph, around) => lowerGraph(s, graph, around, taken))
  if (s.left.size > 0)
    throw new PareError('E_OPSET', `the model cannot be written at opset ${target}`, {
      facts: Object.fromEntries([...s.left].slice(0, mostFacts)),
      hint: `${s.left.size} in all have no form there; a newer opset may do`
    })
  return { ...made, opset: target }
}

interface State {
  readonly l: Lowerings
  readonly from: number
  readonly target: number
  readonly table: ReadonlyMap<string, readonly Change[]>
  /** Reasons by the node or value concerned. */
  readonly left: Map<string, string>
}

function findNewTypes(s: State, model: Model): void {
  for (const g of allGraphs(model))
    for (const v of g.values.values()) {
      const dtype = v.data?.dtype ?? v.dtype
      const since = dtype === undefined ? undefined : s.l.dtypes[dtype]
      if (since !== undefined && since > s.target) s.left.set(v.id, `${dtype} came with opset ${since}`)
    }
}

function lowerGraph(s: State, graph: Graph, around: readonly Graph[], taken: Set<string>): Graph {
  return editGraph(
    graph,
    (d) => {
      const known = (id: string): Value | undefined => {
        if (d.inputs.includes(id)) return withoutData(d.value(id))
        if (d.value(id)) return d.value(id)
        const outer = around.findLast((g) => g.values.has(id))
        const v = outer?.values.get(id)
        return outer && v?.data && !constant(outer, id) ? withoutData(v) : v
      }
      const surroundings = {
        value: known,
        fresh: (hint: string) => d.fresh(hint),
        name: (hint: string) => d.fresh(hint),
        constant: (data: Tensor, hint: string) => d.addConstant(data, hint),
        soleFloat: undefined
      }
      for (const node of graph.nodes) {
        const made = lowered(s, node, surroundings)
        if (made.length === 1 && made[0] === node) continue
        d.remove(node)
        for (const n of made) d.addNode(n)
      }
    },
    taken
  )
}

function withoutData(v: Value | undefined): Value | undefined {
  if (!v) return v
  const { data: _, ...type } = v
  return type
}

/** A node in the form of the target, with the nodes around it; the node itself where that has no form there. */
function lowered(s: State, node: Node, around: Parameters<typeof changing>[1]): readonly Node[] {
  if (node.domain !== undefined) return [node]
  try {
    return chain(s, node, around)
  } catch (e) {
    if (!(e instanceof NoOlderForm)) throw e
    s.left.set(node.name || (node.outputs[0] ?? ''), `${node.op}: ${e.why}`)
    return [node]
  }
}

function chain(s: State, node: Node, around: Parameters<typeof changing>[1]): readonly Node[] {
  const [before, after]: [Node[], Node[]] = [[], []]
  const c = changing(node, around, before, after)
  let made = node
  for (let at = s.from; ; ) {
    checkInputs(s, made, c)
    const op = made.op
    const next = s.table.get(op)?.findLast((change) => change.since <= at && change.since > s.target)
    if (!next) break
    made = next.rule(made, c)
    at = made.op === op ? next.since - 1 : s.from
  }
  const since = s.l.introduced[made.op]
  if (since !== undefined && since > s.target) cannotLower(`it came with opset ${since}`)
  return [...before, made, ...after].flatMap((n) => (n === made ? [n] : chain(s, n, around)))
}

function checkInputs(s: State, node: Node, c: Raising): void {
  for (const { op, dtypes, since } of s.l.inputs) {
    if (since <= s.target || !op.includes(node.op)) continue
    const found = node.inputs.map((id) => c.value(id)?.dtype).find((d) => d !== undefined && dtypes.includes(d))
    if (found) cannotLower(`it takes ${found} only from opset ${since} on`)
  }
}
