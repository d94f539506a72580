/**
 * Random graphs. A plan (drawn by fast-check) names a batch, a type and steps; each step puts a piece behind what is there,
 * wraps one into a graph of If, Scan or Loop, joins two values, or rounds one to codes. Steps that do not fit are left out.
 */
import fc from 'fast-check'
import { PareError } from '../../src/base/errors.ts'
import { type Rng, rng } from '../../src/base/random.ts'
import { attrs as makeAttrs } from '../../src/ir/attrs.ts'
import { isFloat, tensor } from '../../src/ir/tensor.ts'
import { inferShapes } from '../../src/ops/infer.ts'
import type { Graph, Model, Node, Value } from '../../src/types.ts'
import {
  add,
  addConstant,
  addInput,
  chance,
  copyOf,
  type Growth,
  modelOf as grown,
  pick,
  settle,
  start
} from './growth.ts'
import { modelOf, type Piece, pieces, type Real } from './pieces.ts'
import { type Bound, bound, type Placed, placed } from './place.ts'

export interface Step {
  readonly kind: 'piece' | 'wrap' | 'join' | 'codes'
  readonly piece: number
  readonly seed: number
}

export interface Plan {
  readonly batch: number | 'N'
  readonly real: Real
  readonly steps: readonly Step[]
  readonly seed: number
}

export const plans: fc.Arbitrary<Plan> = fc.record({
  batch: fc.constantFrom<Plan['batch'][]>('N', 'N', 'N', 1, 2, 3),
  real: fc.constantFrom<Real[]>('f32', 'f32', 'f32', 'f32', 'f32', 'f32', 'f32', 'f16', 'f64'),
  steps: fc.array(
    fc.record({
      kind: fc.constantFrom<Step['kind'][]>(
        'piece',
        'piece',
        'piece',
        'piece',
        'piece',
        'piece',
        'wrap',
        'join',
        'codes'
      ),
      piece: fc.nat(pieces.length - 1),
      seed: fc.nat(2 ** 30)
    }),
    { minLength: 1, maxLength: 6, size: 'max' }
  ),
  seed: fc.nat(2 ** 30)
})

/** The graph of a plan; `without`: steps to leave out. `undefined` where no step fits. */
export function grow(plan: Plan, without: ReadonlySet<number> = new Set()): Model | undefined {
  let g = start(plan.batch)
  for (const [i, step] of plan.steps.entries()) {
    if (without.has(i)) continue
    const tried = copyOf(g)
    if (attempt(() => take(tried, step, plan.real, i))) g = tried
  }
  return g.nodes.length > 0 ? attempt(() => finished(g, rng(plan.seed))) || undefined : undefined
}

/** `false` where the shapes do not fit. */
function attempt<T>(make: () => T): T | false {
  try {
    return make()
  } catch (error) {
    if (error instanceof PareError && error.code !== 'E_INTERNAL') return false
    throw error
  }
}

function take(g: Growth, step: Step, real: Real, i: number): boolean {
  const random = rng(step.seed)
  if (step.kind === 'join' && joined(g, random)) return true
  if (step.kind === 'codes' && rounded(g, random)) return true
  const piece = pieces[step.piece] as Piece
  const model = modelOf(piece, chance(random, 0.9) ? real : 'f32', chance(random, 0.7)) ?? modelOf(piece, real, false)
  if (!model) return false
  g.opset = Math.max(g.opset, model.opset)
  Object.assign(g.domains, model.domains)
  const b = bound(g, random, piece, model)
  if (!b) return false
  if (step.kind === 'wrap') return wrapped(g, random, model, b, `s${i}_`)
  const p = placed(g, random, model, b, `s${i}_`, true)
  for (const v of p.values) g.values.set(v.id, v)
  g.nodes.push(...p.nodes)
  settle(
    g,
    p.nodes.flatMap((n) => n.outputs).filter((id) => id !== '')
  )
  return true
}

// ---------------------------------------------------------------- joins and codes

const joins = ['Add', 'Add', 'Add', 'Mul', 'Sub', 'Max', 'Concat', 'Min', 'Sum']

function joined(g: Growth, random: Rng): boolean {
  const typed = g.pool.filter((id) => isFloat(g.values.get(id)?.dtype ?? 'string'))
  const pairs = typed.flatMap((a, i) => typed.slice(i + 1).flatMap((b) => (alike(g, a, b) ? [[a, b] as const] : [])))
  if (pairs.length === 0) return false
  const [a, b] = pick(random, pairs)
  const op = pick(random, joins)
  const rank = g.values.get(a)?.shape?.length ?? 0
  add(g, op === 'Concat' && rank === 0 ? 'Add' : op, [a, b], op === 'Concat' && rank > 0 ? { axis: rank - 1 } : {})
  return true
}

function alike(g: Growth, a: string, b: string): boolean {
  const [v, w] = [g.values.get(a), g.values.get(b)]
  return v?.dtype === w?.dtype && v?.shape?.join() === w?.shape?.join()
}

function rounded(g: Growth, random: Rng): boolean {
  const typed = g.pool.filter((id) => g.values.get(id)?.dtype === 'float32')
  if (typed.length === 0) return false
  const [dtype, zero] = pick(random, [
    ['uint8', 128],
    ['int8', 0],
    ['uint8', 0],
    ['int16', 0]
  ] as const)
  const s = addConstant(g, 'scale', tensor('float32', [], [pick(random, [0.02, 0.05, 0.1])]))
  const z = addConstant(g, 'zero', tensor(dtype, [], [zero]))
  add(g, 'DequantizeLinear', [add(g, 'QuantizeLinear', [pick(random, typed), s, z]), s, z])
  return true
}

// ---------------------------------------------------------------- graphs inside nodes

function wrapped(g: Growth, random: Rng, model: Model, b: Bound, prefix: string): boolean {
  const body = (name: string): { graph: Graph; made: Placed } => {
    const made = placed(g, random, model, b, `${prefix}${name}_`, false)
    const values = new Map(made.values.map((v) => [v.id, v]))
    // Constants inside the graph, or around it.
    if (chance(random, 0.5))
      for (const v of made.values)
        if (v.data) {
          g.values.set(v.id, v)
          values.delete(v.id)
        }
    return { graph: { name: `${prefix}${name}`, inputs: [], outputs: made.outputs, nodes: made.nodes, values }, made }
  }
  const kind = pick(random, ['if', 'if', 'scan', 'loop'])
  if (kind === 'if') return branched(g, random, prefix, body('a').graph, body('b').graph)
  const first = [...b.ids.entries()][0]
  if (!first) return false
  return kind === 'scan'
    ? scanned(g, first[1], prefix, body('a').graph)
    : looped(g, random, first[1], prefix, body('a').graph)
}

function emit(g: Growth, node: Omit<Node, 'outputs' | 'name'>, outputs: number, prefix: string): boolean {
  const ids = Array.from({ length: outputs }, (_, i) => `${prefix}out${i}`)
  for (const id of ids) g.values.set(id, { id, type: 'tensor' })
  g.nodes.push({ ...node, name: `${prefix}${node.op}`, outputs: ids })
  settle(g, ids)
  return true
}

function branched(g: Growth, random: Rng, prefix: string, a: Graph, b: Graph): boolean {
  const asks = chance(random, 0.6) && g.inputs.length < 4
  const condition = asks
    ? addInput(g, 'bool', [])
    : addConstant(g, `${prefix}cond`, tensor('bool', [], [random.below(2)]))
  const attrs = { then_branch: { kind: 'graph', value: a }, else_branch: { kind: 'graph', value: b } } as const
  return emit(g, { op: 'If', inputs: [condition], attrs }, a.outputs.length, prefix)
}

/** The piece over both of two copies of its first input. */
function scanned(g: Growth, first: string, prefix: string, body: Graph): boolean {
  const v = g.values.get(first) as Value
  const zero = addConstant(g, `${prefix}axis`, tensor('int64', [1], [0]))
  const one = add(g, 'Unsqueeze', [first, zero])
  const two = add(g, 'Concat', [one, add(g, 'Neg', [one])], { axis: 0 })
  const inner = `${prefix}slice`
  const graph = reading(body, first, inner, v)
  const attrs = { body: { kind: 'graph', value: graph }, ...makeAttrs({ num_scan_inputs: 1 }) } as const
  return emit(g, { op: 'Scan', inputs: [two], attrs }, body.outputs.length, prefix)
}

/** The piece two or three times, its first input carried along and its results stacked. */
function looped(g: Growth, random: Rng, first: string, prefix: string, body: Graph): boolean {
  const v = g.values.get(first) as Value
  const trips = addConstant(g, `${prefix}trips`, tensor('int64', [], [2 + random.below(2)]))
  const on = addConstant(g, `${prefix}on`, tensor('bool', [], [1]))
  const [i, c, again, state, next] = ['i', 'c', 'again', 'state', 'next'].map((n) => `${prefix}${n}`) as [
    string,
    string,
    string,
    string,
    string
  ]
  const graph = reading(body, first, state, v)
  const values = new Map(graph.values)
  values.set(i, { id: i, type: 'tensor', dtype: 'int64', shape: [] })
  values.set(c, { id: c, type: 'tensor', dtype: 'bool', shape: [] })
  values.set(again, { id: again, type: 'tensor' })
  values.set(next, { id: next, type: 'tensor' })
  const identity = (from: string, to: string): Node => ({
    name: to,
    op: 'Identity',
    inputs: [from],
    outputs: [to],
    attrs: {}
  })
  const step = isFloat(v.dtype ?? 'string') ? { ...identity(state, next), op: 'Neg' } : identity(state, next)
  const whole: Graph = {
    ...graph,
    inputs: [i, c, state],
    outputs: [again, next, ...graph.outputs],
    nodes: [...graph.nodes, identity(c, again), step],
    values
  }
  const attrs = { body: { kind: 'graph', value: whole } } as const
  return emit(g, { op: 'Loop', inputs: [trips, on, first], attrs }, body.outputs.length + 1, prefix)
}

/** A graph that reads an input of its own where it read a value around it. */
function reading(body: Graph, outer: string, inner: string, v: Value): Graph {
  const values = new Map(body.values)
  values.set(inner, {
    id: inner,
    type: 'tensor',
    ...(v.dtype && { dtype: v.dtype }),
    ...(v.shape && { shape: v.shape })
  })
  const nodes = body.nodes.map((n) => ({ ...n, inputs: n.inputs.map((id) => (id === outer ? inner : id)) }))
  return { ...body, inputs: [inner], nodes, values }
}

// ---------------------------------------------------------------- the end

/** Outputs: what nothing reads, and some values that something reads. Types inside are told or not. */
function finished(g: Growth, random: Rng): Model {
  const all = g.nodes.flatMap((n) => n.outputs).filter((id) => g.values.get(id)?.dtype !== undefined)
  const read = new Set(g.nodes.flatMap((n) => [...n.inputs, ...captured(n)]))
  const ends = all.filter((id) => !read.has(id))
  const more = all.filter((id) => read.has(id) && chance(random, 0.08))
  const outputs = [...ends.slice(-5), ...more.slice(0, 2)]
  if (outputs.length === 0) throw new PareError('E_MODEL', 'no outputs')
  if (chance(random, 0.03) && g.inputs[0]) outputs.push(g.inputs[0])
  const told = chance(random, 0.3)
  const values = new Map(g.values)
  for (const id of all) if (!told && !outputs.includes(id)) values.set(id, { id, type: 'tensor' })
  const defaults = [...values.values()].filter((v) => v.data && isFloat(v.data.dtype))
  const inputs = [...g.inputs]
  if (defaults.length > 0 && chance(random, 0.05)) inputs.push(pick(random, defaults).id)
  const model = inferShapes(grown({ ...g, inputs }, outputs))
  return {
    ...model,
    graph: {
      ...model.graph,
      values: new Map([...values].map(([id, v]) => [id, outputs.includes(id) ? (model.graph.values.get(id) ?? v) : v]))
    }
  }
}

const captured = (n: Node): string[] =>
  Object.values(n.attrs).flatMap((a) =>
    a.kind === 'graph'
      ? [...a.value.outputs, ...a.value.nodes.flatMap((m) => [...m.inputs.filter((id) => id !== null), ...captured(m)])]
      : []
  )
