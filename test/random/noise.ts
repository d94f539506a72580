/**
 * How far the outputs of a graph move where all its numbers are disturbed as a pass may disturb them: rounded to 8 bits
 * between nodes, to half floats, or by the last bits. A pass is judged against that, since some graphs (a Round, an
 * ArgMax, a difference of near values) answer the smallest change with a large one.
 */
import { rng } from '../../src/base/random.ts'
import { attrs as makeAttrs } from '../../src/ir/attrs.ts'
import { codeOfDtype } from '../../src/ir/dtype-code.ts'
import { isFloat, tensor, toNumbers } from '../../src/ir/tensor.ts'
import { inferShapes } from '../../src/ops/infer.ts'
import type { DType, Model, Node, Tensor, Value } from '../../src/types.ts'
import { type Outputs, runOf, type Subject } from './subject.ts'

/** How much a pass may lose, from nothing to everything. */
export const kinds = ['lossless', 'float16', 'bfloat16', 'int8', 'int4', 'any'] as const
export type Kind = (typeof kinds)[number]

/** Outputs of the disturbed graph; the message where it does not run. */
export function disturbed(s: Subject, kind: Kind, seed: number): Promise<Outputs | string> {
  return runOf(noisy(inferShapes(s.model), kind, seed), shaken(s.feeds, kind, seed), { optimization: 'disabled' })
}

/** Share of a value that is lost in one rounding. */
const shares: Readonly<Record<Kind, number>> = {
  lossless: 2e-6,
  float16: 5e-4,
  bfloat16: 4e-3,
  int8: 4e-3,
  int4: 6e-2,
  any: 0
}

function shaken(feeds: Outputs, kind: Kind, seed: number): Outputs {
  return Object.fromEntries(Object.entries(feeds).map(([id, t]) => [id, shake(t, shares[kind], `${id}${seed}`)]))
}

/** Each element moved by a share of the largest; of lossless kinds, by a share of itself. */
function shake(t: Tensor, share: number, seed: string): Tensor {
  if (!isFloat(t.dtype)) return t
  const random = rng(seed)
  const values = Array.from(toNumbers(t))
  const largest = values.reduce((a, x) => (Number.isFinite(x) ? Math.max(a, Math.abs(x)) : a), 0)
  const by = (x: number): number => (share > 1e-3 ? largest : x) * share * (2 * random.next() - 1)
  return tensor(
    t.dtype,
    t.shape,
    values.map((x) => (Number.isFinite(x) ? x + by(x) : x))
  )
}

/** The model with something behind every float that a node makes, and with every float constant moved. */
function noisy(model: Model, kind: Kind, seed: number): Model {
  const { graph } = model
  const values = new Map<string, Value>()
  const nodes: Node[] = []
  const moved = new Map<string, string>()
  for (const v of graph.values.values()) {
    const isWeight = v.data && !graph.inputs.includes(v.id) && v.data.bytes.length > 16
    values.set(v.id, isWeight && v.data ? { ...v, data: shake(v.data, shares[kind], `${v.id}${seed}`) } : v)
  }
  const random = rng(seed)
  for (const n of graph.nodes) {
    nodes.push({ ...n, inputs: n.inputs.map((id) => (id === null ? null : (moved.get(id) ?? id))) })
    for (const id of n.outputs) {
      const dtype = graph.values.get(id)?.dtype
      if (id === '' || !dtype || !isFloat(dtype) || captured(graph.nodes, id)) continue
      const behind = noiseBehind(id, dtype, kind, 1 + shares[kind] * (2 * random.next() - 1))
      for (const m of behind.nodes) nodes.push(m)
      for (const v of behind.values) values.set(v.id, v)
      moved.set(id, behind.id)
    }
  }
  // Outputs keep their names: what is behind them is read through an Identity.
  const outputs = graph.outputs.map((id) => moved.get(id) ?? id)
  return renamedOutputs({ ...model, graph: { ...graph, nodes, values, outputs } }, graph.outputs)
}

/** Is a value read by a graph inside a node? */
const captured = (nodes: readonly Node[], id: string): boolean =>
  nodes.some((n) =>
    Object.values(n.attrs).some((a) => a.kind === 'graph' && JSON.stringify(readsOf(a.value)).includes(`"${id}"`))
  )

const readsOf = (g: Model['graph']): unknown => [
  g.outputs,
  g.nodes.map((n) => [n.inputs, Object.values(n.attrs).map((a) => (a.kind === 'graph' ? readsOf(a.value) : 0))])
]

interface Behind {
  readonly id: string
  readonly nodes: readonly Node[]
  readonly values: readonly Value[]
}

function noiseBehind(from: string, dtype: DType, kind: Kind, factor: number): Behind {
  const nodes: Node[] = []
  const values: Value[] = []
  const op = (name: string, inputs: readonly string[], attrs = {}, outputs = 1): string[] => {
    const ids = Array.from({ length: outputs }, (_, i) => `${from}~${nodes.length}.${i}`)
    for (const id of ids) values.push({ id, type: 'tensor' })
    nodes.push({ name: `${from}~${nodes.length}`, op: name, inputs, outputs: ids, attrs: makeAttrs(attrs) })
    return ids
  }
  const cast = (id: string, to: DType): string => op('Cast', [id], { to: codeOfDtype(to) })[0] as string
  const done = (id: string): Behind => ({ id, nodes, values })
  if (kind === 'float16' || kind === 'bfloat16') return done(cast(cast(from, kind), dtype))
  if (kind === 'lossless' || kind === 'any') {
    const share = dtype === 'float16' || dtype === 'bfloat16' ? factor + 1e-3 : factor
    const scale = `${from}~factor`
    values.push({ id: scale, type: 'tensor', dtype, shape: [], data: tensor(dtype, [], [share]) })
    return done(op('Mul', [from, scale])[0] as string)
  }
  const float = dtype === 'float32' ? from : cast(from, 'float32')
  const [q, s, z] = op('DynamicQuantizeLinear', [float], {}, 3) as [string, string, string]
  const real = op('DequantizeLinear', [q, s, z])[0] as string
  return done(dtype === 'float32' ? real : cast(real, dtype))
}

function renamedOutputs(model: Model, names: readonly string[]): Model {
  const { graph } = model
  const values = new Map(graph.values)
  const nodes = [...graph.nodes]
  const outputs = graph.outputs.map((id, i) => {
    const wanted = `${names[i]}`
    if (id === wanted) return id
    const end = `${wanted}~end`
    values.set(end, { id: end, type: 'tensor' })
    nodes.push({ name: end, op: 'Identity', inputs: [id], outputs: [end], attrs: {} })
    return end
  })
  return { ...model, graph: { ...graph, nodes, values, outputs } }
}

/** The name of an output of the original, from that of the disturbed graph. */
export const originalName = (id: string): string => id.replace(/~end$/, '')
