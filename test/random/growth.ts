/** A graph that grows: nodes, values and the pool of results that later pieces may read. */
import type { Rng } from '../../src/base/random.ts'
import { attrs as makeAttrs } from '../../src/ir/attrs.ts'
import { isFloat, tensor } from '../../src/ir/tensor.ts'
import { inferShapes } from '../../src/ops/infer.ts'
import type { AttrInput, Dim, DType, Model, Node, Tensor, Value } from '../../src/types.ts'

export interface Growth {
  readonly nodes: Node[]
  readonly values: Map<string, Value>
  readonly inputs: string[]
  /** Results and inputs of known type, for later pieces to read. */
  readonly pool: string[]
  /** The size of a batch: a number, or `N`. */
  readonly batch: Dim
  readonly domains: Record<string, number>
  opset: number
}

export const start = (batch: Dim): Growth => ({
  nodes: [],
  values: new Map(),
  inputs: [],
  pool: [],
  batch,
  domains: {},
  opset: 21
})

/** What grows, to be restored where a piece does not fit. */
export const copyOf = (g: Growth): Growth => ({
  ...g,
  nodes: [...g.nodes],
  values: new Map(g.values),
  inputs: [...g.inputs],
  pool: [...g.pool],
  domains: { ...g.domains }
})

export const pick = <T>(random: Rng, all: readonly T[]): T => all[random.below(all.length)] as T
export const chance = (random: Rng, p: number): boolean => random.next() < p

export function fresh(g: Growth, hint: string): string {
  let id = hint
  for (let i = 1; g.values.has(id); i++) id = `${hint}_${i}`
  return id
}

export function addConstant(g: Growth, hint: string, data: Tensor): string {
  const id = fresh(g, hint)
  g.values.set(id, { id, type: 'tensor', dtype: data.dtype, shape: data.shape, data })
  return id
}

/** A constant whose numbers the text form draws by its name. */
export function addWeight(g: Growth, random: Rng, dtype: DType, shape: readonly number[]): string {
  const count = shape.reduce((a, b) => a * b, 1)
  const values = Array.from({ length: count }, () => (isFloat(dtype) ? random.normal() / 4 : random.below(2)))
  return addConstant(g, 'w', tensor(dtype, shape, values))
}

export const ints = (g: Growth, values: readonly number[]): string =>
  addConstant(g, 'k', tensor('int64', [values.length], values))

export function addInput(g: Growth, dtype: DType, shape: readonly Dim[]): string {
  const id = fresh(g, `in${g.inputs.length}`)
  g.values.set(id, { id, type: 'tensor', dtype, shape })
  g.inputs.push(id)
  g.pool.push(id)
  return id
}

/** Adds a node with its type; its result joins the pool. */
export function add(
  g: Growth,
  op: string,
  inputs: readonly (string | null)[],
  attrs: Readonly<Record<string, AttrInput | undefined>> = {}
): string {
  const id = fresh(g, op.toLowerCase())
  g.values.set(id, { id, type: 'tensor' })
  g.nodes.push({ name: `${op}_${g.nodes.length}`, op, inputs, outputs: [id], attrs: makeAttrs(attrs) })
  settle(g, [id])
  return id
}

/** Finds the types of new results; those that are known join the pool. Throws `E_SHAPE` where something does not fit. */
export function settle(g: Growth, ids: readonly string[]): void {
  const inferred = inferShapes(modelOf(g, ids)).graph.values
  for (const id of ids) {
    const v = inferred.get(id)
    if (v?.type !== 'tensor') continue
    g.values.set(id, v)
    if (v.dtype && v.shape && !v.shape.includes('?')) g.pool.push(id)
  }
}

export const modelOf = (g: Growth, outputs: readonly string[]): Model => ({
  graph: { name: 'random', inputs: [...g.inputs], outputs, nodes: [...g.nodes], values: new Map(g.values) },
  opset: g.opset,
  domains: { ...g.domains },
  meta: {}
})
