/** Are two graphs the same network: the same operators on the same values and constants, whatever those are called? */
import { equalTensors, isFloat, toFloats } from '../../ir/tensor.ts'
import type { Attr, Graph, Node, Tensor, Value } from '../../types.ts'

/** What stands in the way: a node of the second graph that the first does not have, or the other way round. */
export interface Difference {
  readonly node: Node
  readonly side: 'first' | 'second'
}

/** Numbers that are computed on the way may differ by this share. */
const tolerance = 1e-6

/** The first difference; `undefined` where there is none. `outer`: values around a subgraph, first to second. */
export function difference(a: Graph, b: Graph, outer: ReadonlyMap<string, string> = new Map()): Difference | undefined {
  /** Ids of the first graph in the second. */
  const known = new Map(outer)
  a.inputs.forEach((id, i) => {
    const other = b.inputs[i]
    if (other !== undefined) known.set(id, other)
  })
  const constant = (g: Graph, id: string): Value | undefined => {
    const v = g.values.get(id)
    return v?.data && !g.inputs.includes(id) ? v : undefined
  }
  const isSame = (x: string | null, y: string | null): boolean => {
    if (x === null || y === null) return x === y
    const [p, q] = [constant(a, x), constant(b, y)]
    if (p || q) return p?.data !== undefined && q?.data !== undefined && near(p.data, q.data)
    return (known.get(x) ?? x) === y
  }
  const key = (op: string, inputs: readonly (string | null)[]): string =>
    `${op} ${inputs.filter((id) => id !== null).join(' ')}`
  const byKey = new Map<string, Node[]>()
  for (const node of b.nodes) {
    const k = key(
      node.op,
      node.inputs.map((id) => (id === null || constant(b, id) ? null : id))
    )
    byKey.set(k, [...(byKey.get(k) ?? []), node])
  }
  const taken = new Set<Node>()
  for (const node of a.nodes) {
    const inputs = node.inputs.map((id) => (id === null || constant(a, id) ? null : (known.get(id) ?? id)))
    const found = (byKey.get(key(node.op, inputs)) ?? []).find(
      (n) =>
        !taken.has(n) &&
        n.inputs.length === node.inputs.length &&
        node.inputs.every((id, i) => isSame(id, n.inputs[i] ?? null)) &&
        sameAttrs(node, n, known)
    )
    if (!found) {
      const extra = b.nodes.find((n) => !taken.has(n))
      return extra ? { node: extra, side: 'second' } : { node, side: 'first' }
    }
    taken.add(found)
    node.outputs.forEach((id, i) => {
      const other = found.outputs[i]
      if (id !== '' && other !== undefined) known.set(id, other)
    })
  }
  const extra = b.nodes.find((n) => !taken.has(n))
  if (extra) return { node: extra, side: 'second' }
  const wrong = a.outputs.findIndex((id, i) => (known.get(id) ?? id) !== b.outputs[i])
  const maker = b.nodes.find((n) => n.outputs.includes(b.outputs[wrong] ?? ''))
  return wrong >= 0 && maker ? { node: maker, side: 'second' } : undefined
}

function near(a: Tensor, b: Tensor): boolean {
  if (equalTensors(a, b)) return true
  if (a.dtype !== b.dtype || !isFloat(a.dtype) || a.shape.join() !== b.shape.join()) return false
  const [x, y] = [toFloats(a), toFloats(b)]
  return x.every((v, i) => Math.abs(v - (y[i] as number)) <= tolerance * Math.abs(v))
}

function sameAttrs(a: Node, b: Node, known: ReadonlyMap<string, string>): boolean {
  const names = new Set([...Object.keys(a.attrs), ...Object.keys(b.attrs)])
  return [...names].every((name) => sameAttr(a.attrs[name], b.attrs[name], known))
}

function sameAttr(a: Attr | undefined, b: Attr | undefined, known: ReadonlyMap<string, string>): boolean {
  if (!a || !b || a.kind !== b.kind) return false
  if (a.kind === 'graph' && b.kind === 'graph') return difference(a.value, b.value, known) === undefined
  if (a.kind === 'float' && b.kind === 'float') return Math.fround(a.value) === Math.fround(b.value)
  if (a.kind === 'floats' && b.kind === 'floats')
    return (
      a.value.length === b.value.length && a.value.every((x, i) => Math.fround(x) === Math.fround(b.value[i] as number))
    )
  return String(a.value) === String(b.value)
}
