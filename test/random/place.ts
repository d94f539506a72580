/** Puts a piece into a growing graph: its inputs from what is there, its constants renamed or shared, its nodes behind. */
import type { Rng } from '../../src/base/random.ts'
import { isFloat, tensor } from '../../src/ir/tensor.ts'
import type { Attr, Dim, Graph, Model, Node, Value } from '../../src/types.ts'
import { adapt } from './adapt.ts'
import { add, addConstant, addInput, addWeight, chance, type Growth, pick } from './growth.ts'
import type { Piece } from './pieces.ts'

type Sizes = Map<string, Dim>

/** What a piece reads, by the ids of its own inputs. */
export interface Bound {
  readonly ids: ReadonlyMap<string, string>
  readonly sizes: Sizes
}

/** Finds or makes a value for each input of a piece; `undefined` where there is none. */
export function bound(g: Growth, random: Rng, piece: Piece, model: Model): Bound | undefined {
  const sizes: Sizes = new Map([['N', g.batch]])
  const ids = new Map<string, string>()
  for (const [i, input] of model.graph.inputs.entries()) {
    const v = model.graph.values.get(input)
    if (v?.data) continue // an overridable default stays one of the piece's constants
    const id = v?.dtype && v.shape ? given(g, random, v, sizes, i) : undefined
    if (id === undefined) return undefined
    ids.set(input, within(g, id, piece.values))
  }
  return { ids, sizes }
}

function given(g: Growth, random: Rng, v: Value, sizes: Sizes, position: number): string | undefined {
  const shape = v.shape as readonly Dim[]
  const dtype = v.dtype as NonNullable<Value['dtype']>
  const fitting = g.pool.filter((id) => {
    const known = g.values.get(id)
    return known?.dtype === dtype && unified(known.shape ?? [], shape, sizes) !== undefined
  })
  if (fitting.length > 0 && chance(random, 0.75)) {
    const id = pick(random, fitting)
    const found = unified(g.values.get(id)?.shape ?? [], shape, sizes) as Sizes
    for (const [name, d] of found) sizes.set(name, d)
    return id
  }
  const fixed = shape.map((d) => sizeOf(g, random, d, sizes))
  const isWeight = position > 0 && isFloat(dtype) && fixed.every((d) => typeof d === 'number')
  if (isWeight && chance(random, 0.5)) return addWeight(g, random, dtype, fixed as number[])
  const from = g.pool.filter((id) => isFloat(g.values.get(id)?.dtype ?? 'string'))
  if (from.length > 0 && isFloat(dtype) && chance(random, 0.85)) {
    const id = adapt(g, random, pick(random, from.slice(-6)), dtype, fixed)
    if (id !== undefined) return id
  }
  return g.inputs.length < 4 && dtype !== 'string' ? addInput(g, dtype, fixed) : undefined
}

/** Sizes under which a shape is the wanted one. */
function unified(shape: readonly Dim[], wanted: readonly Dim[], sizes: Sizes): Sizes | undefined {
  if (shape.length !== wanted.length) return undefined
  const found = new Map(sizes)
  for (const [i, d] of wanted.entries()) {
    const is = shape[i] as Dim
    if (is === '?') return undefined
    const set = typeof d === 'string' ? found.get(d) : d
    if (set === undefined) found.set(d as string, is)
    else if (set !== is) return undefined
  }
  return found
}

/** A size for a symbol that nothing has set yet: seldom 0 or 1, seldom left open. */
function sizeOf(g: Growth, random: Rng, d: Dim, sizes: Sizes): Dim {
  if (typeof d === 'number') return d
  const known = sizes.get(d)
  if (known !== undefined) return known
  const isOpen = g.inputs.length === 0 && typeof g.batch === 'string' && chance(random, 0.4)
  const made = isOpen ? d : chance(random, 0.08) ? random.below(2) : pick(random, [2, 3, 4, 5, 6, 7, 8, 8, 9, 12])
  sizes.set(d, made)
  return made
}

/** Brings a value into the range that a piece asks for. */
function within(g: Growth, id: string, values: Piece['values']): string {
  const dtype = g.values.get(id)?.dtype
  if (!dtype || !isFloat(dtype) || values === undefined || values === 'normal' || values === 'zeros too') return id
  const number = (x: number): string => addConstant(g, 'c', tensor(dtype, [], [x]))
  if (values === 'positive') return add(g, 'Add', [add(g, 'Sigmoid', [id]), number(0.25)])
  if (values === 'unit') return add(g, 'Mul', [add(g, 'Tanh', [id]), number(0.75)])
  if (values === 'above one') return add(g, 'Add', [add(g, 'Sigmoid', [id]), number(1.25)])
  return id
}

export interface Placed {
  readonly nodes: readonly Node[]
  readonly values: readonly Value[]
  readonly outputs: readonly string[]
}

/** The nodes of a piece under names of their own. `share`: constants of the graph may stand for those of the piece. */
export function placed(g: Growth, random: Rng, model: Model, b: Bound, prefix: string, share: boolean): Placed {
  const names = new Map(b.ids)
  const values: Value[] = []
  const { graph } = model
  for (const v of graph.values.values()) {
    if (names.has(v.id)) continue
    const shared = share ? sharedFor(g, random, v) : undefined
    const id = shared ?? `${prefix}${v.id}`
    names.set(v.id, id)
    if (shared === undefined)
      values.push({ ...v, id, ...(v.shape && { shape: v.shape.map((d) => b.sizes.get(String(d)) ?? d) }) })
  }
  const nodes = graph.nodes.map((n) => renamed(n, names, prefix, b.sizes))
  // What a node makes is inferred anew: the sizes are other ones now.
  const made = new Set(nodes.flatMap((n) => n.outputs))
  return {
    nodes,
    values: values.map((v) => (made.has(v.id) ? { id: v.id, type: 'tensor' } : v)),
    outputs: graph.outputs.map((id) => names.get(id) ?? id)
  }
}

/** A drawn constant of the graph of the same type, for a drawn constant of a piece. */
function sharedFor(g: Growth, random: Rng, v: Value): string | undefined {
  if (!v.data || v.data.bytes.length < 36 || !chance(random, 0.25)) return undefined
  const alike = [...g.values.values()].filter(
    (w) => w.data && w.dtype === v.dtype && w.shape?.join() === v.shape?.join() && !g.inputs.includes(w.id)
  )
  return alike.length > 0 ? pick(random, alike).id : undefined
}

function renamed(n: Node, names: ReadonlyMap<string, string>, prefix: string, sizes: Sizes): Node {
  const attrs: Record<string, Attr> = {}
  for (const [key, a] of Object.entries(n.attrs))
    attrs[key] = a.kind === 'graph' ? { kind: 'graph', value: inside(a.value, names, prefix, sizes) } : a
  return {
    ...n,
    name: `${prefix}${n.name}`,
    inputs: n.inputs.map((id) => (id === null ? null : (names.get(id) ?? id))),
    outputs: n.outputs.map((id) => (id === '' ? '' : (names.get(id) ?? id))),
    attrs
  }
}

function inside(graph: Graph, around: ReadonlyMap<string, string>, prefix: string, sizes: Sizes): Graph {
  const names = new Map(around)
  const values = new Map<string, Value>()
  for (const v of graph.values.values()) {
    const id = `${prefix}${v.id}`
    names.set(v.id, id)
    const shape = v.shape?.map((d) => sizes.get(String(d)) ?? d)
    values.set(id, { ...v, id, ...(shape && { shape }) })
  }
  const to = (id: string): string => names.get(id) ?? id
  return {
    name: `${prefix}${graph.name}`,
    inputs: graph.inputs.map(to),
    outputs: graph.outputs.map(to),
    nodes: graph.nodes.map((n) => renamed(n, names, prefix, sizes)),
    values
  }
}
