/** Two models on the same inputs as one: the ids of the second stay, those of the first get a prefix where they are in the way. */
import { PareError } from '../../base/errors.ts'
import { mapSubgraphs, takenIds } from '../../ir/edit.ts'
import { allGraphs } from '../../ir/graph.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Dim, Graph, Model, Node, Value } from '../../types.ts'

/** Both in one graph. */
export interface Joined {
  /** With the outputs of the second alone. */
  readonly model: Model
  /** What a value of the first is called. */
  readonly named: (id: string) => string
}

/** Throws `E_DATA_SHAPE` where the first cannot be given what the second is given. */
export function joinModels(first: Model, second: Model): Joined {
  const inputs = pairedInputs(first, second)
  const taken = takenIds(second)
  const names = new Map<string, string>(inputs)
  const named = (id: string): string => {
    const known = names.get(id)
    if (known !== undefined) return known
    let own = taken.has(id) ? `first/${id}` : id
    for (let i = 1; taken.has(own); i++) own = `first/${id}_${i}`
    taken.add(own)
    names.set(id, own)
    return own
  }
  for (const g of allGraphs(first)) for (const id of g.values.keys()) named(id)
  const own = renamed(first.graph, named, (name) => (taken.has(name) ? `first/${name}` : name))
  const values = new Map(second.graph.values)
  for (const v of own.values.values()) if (!values.has(v.id)) values.set(v.id, v)
  const graph: Graph = { ...second.graph, nodes: [...own.nodes, ...second.graph.nodes], values }
  const model: Model = {
    ...second,
    graph,
    opset: Math.max(first.opset, second.opset),
    domains: domainsOf(first, second)
  }
  return { model: inferShapes(model), named }
}

function domainsOf(a: Model, b: Model): Model['domains'] {
  const out: Record<string, number> = { ...a.domains }
  for (const [name, version] of Object.entries(b.domains)) out[name] = Math.max(version, out[name] ?? 0)
  return out
}

const fedBy = ({ graph }: Model): readonly Value[] =>
  graph.inputs.flatMap((id) => graph.values.get(id) ?? []).filter((v) => !v.data)

/** Inputs of the first by name, or where both have one alone, that one. */
function pairedInputs(first: Model, second: Model): ReadonlyMap<string, string> {
  const [own, other] = [fedBy(first), fedBy(second)]
  const pairs = new Map<string, string>()
  for (const v of own) {
    const like = other.find((o) => o.id === v.id) ?? (own.length === 1 && other.length === 1 ? other[0] : undefined)
    if (!like || !isAlike(v, like))
      throw new PareError('E_DATA_SHAPE', `the first model's input ${v.id} is not one of the second's`, {
        where: v.id,
        facts: { first: own.map(typeText).join(', '), second: other.map(typeText).join(', ') },
        hint: 'both stages take the same inputs: the same names (or one input each), types, order of axes and batch'
      })
    pairs.set(v.id, like.id)
  }
  return pairs
}

const typeText = (v: Value): string => `${v.id}: ${v.dtype ?? '?'}[${v.shape?.join(', ') ?? '?'}]`

function isAlike(a: Value, b: Value): boolean {
  const fits = (x: Dim, y: Dim | undefined): boolean => typeof x === typeof y && (typeof x === 'string' || x === y)
  return (
    a.dtype === b.dtype && a.shape?.length === b.shape?.length && (a.shape ?? []).every((d, i) => fits(d, b.shape?.[i]))
  )
}

/** Every id and node name anew. Shapes of values that are computed are left out: free sizes are named otherwise in the other model. */
function renamed(graph: Graph, named: (id: string) => string, nodeName: (name: string) => string): Graph {
  const node = (n: Node): Node => {
    const own = mapSubgraphs(n, (g) => renamed(g, named, nodeName))
    return {
      ...own,
      name: nodeName(own.name),
      inputs: own.inputs.map((id) => (id === null ? null : named(id))),
      outputs: own.outputs.map((id) => (id === '' ? '' : named(id)))
    }
  }
  const value = ({ shape, remarks: _, ...v }: Value): Value => ({
    ...v,
    id: named(v.id),
    ...(v.data && shape ? { shape } : {})
  })
  return {
    ...graph,
    inputs: graph.inputs.map(named),
    outputs: graph.outputs.map(named),
    nodes: graph.nodes.map(node),
    values: new Map([...graph.values.values()].map(value).map((v) => [v.id, v]))
  }
}
