/** A model's space: its units with their harms, and what they cost, as sums of products. */
import { constant } from '../../ir/graph.ts'
import { elementCount, tensorBytes } from '../../ir/tensor.ts'
import { costOf, type Shapes } from '../../ops/cost.ts'
import type { Slice } from '../../passes/prune/groups.ts'
import { type Part, storedSize, type Way } from '../../passes/quantize/mix/types.ts'
import type { CostName } from '../../report/types.ts'
import type { Model, Node, Tensor } from '../../types.ts'
import { floatSize, formBytes, formsOf, sidesOf, splitLoads } from './form-loads.ts'
import type { Form } from './forms.ts'
import { choicesOf, type Material } from './material.ts'
import type { Factor, Load, Space, Unit } from './space.ts'
import { type BytesOf, spelledKey } from './spelled.ts'

/** What is known of the model and of the original. */
export interface Sizes {
  /** Of the original. */
  readonly original: number
  readonly bytesOf: BytesOf
  readonly shapes?: Shapes
  /** Times of nodes in ms, by name, where latency is bounded. */
  readonly kernels?: ReadonlyMap<string, number>
  /** Times of the nodes of any model, where a cost model tells them. */
  timesOf?(model: Model): ReadonlyMap<string, number>
}

/** The space of a model. `harms`: by unit and choice; choices that cost more and do more harm than another are left out by the caller. */
export function spaceOf(m: Material, harms: readonly (readonly number[])[], sizes: Sizes): Space {
  const byValue = slicesByValue(m)
  const loads = [...byteLoads(m, byValue), ...nodeLoads(m, byValue, sizes)]
  const full = (name: CostName): number => {
    const top = choicesOf(m).map((n) => n - 1)
    return loads.reduce((sum, l) => sum + (l.cost === name ? atFull(l, top) : 0), 0)
  }
  const macs = costOf(m.model, sizes.shapes).total
  const latency = [...(sizes.kernels?.values() ?? [])].reduce((a, b) => a + b, 0)
  return {
    units: unitsOf(m, harms),
    loads,
    fixed: {
      bytes: (sizes.bytesOf(m.model) ?? sizes.original) - full('bytes'),
      macs: (macs ?? 0) - full('macs'),
      latency: latency - full('latency')
    },
    original: {
      bytes: sizes.original,
      ...(macs === undefined ? {} : { macs }),
      ...(latency > 0 ? { latency } : {})
    }
  }
}

const atFull = (l: Load, top: readonly number[]): number =>
  l.factors.reduce(
    (product, f) => product * f.terms.reduce((sum, t) => sum + (t.table[top[t.unit] as number] as number), f.base),
    l.size
  )

function unitsOf(m: Material, harms: readonly (readonly number[])[]): Unit[] {
  const keeps = m.groups.map(
    ({ group, kept }, i): Unit => ({
      id: `keep ${group.name}`,
      kind: 'keep',
      choices: kept.map((k) => `${k.length} of ${group.channels}`),
      harm: harms[i] as readonly number[]
    })
  )
  const types = m.weights.map(
    (w, i): Unit => ({
      id: `type ${w.name}`,
      kind: 'type',
      choices: w.types,
      harm: harms[m.groups.length + i] as readonly number[]
    })
  )
  const forms = m.forms.map(({ kind, name, ids, forms }, i): Unit => {
    const rankOf = (f: Form): string => `rank ${f.made.get(ids[0] as string)?.rank}`
    const own = forms.map((f) => (kind === 'rank' ? rankOf(f) : `${percent(f.value)} zero`))
    return {
      ...{ id: `${kind} ${name}`, kind, choices: [...own, kind === 'rank' ? 'whole' : 'dense'] },
      harm: harms[m.groups.length + m.weights.length + i] as readonly number[]
    }
  })
  return [...keeps, ...types, ...forms]
}

const percent = (share: number): string => `${Number((100 * share).toPrecision(3))} %`

/** Bytes of a unit's own weights at a choice, or what rises with them, where the share `share` of channels is left on either side of them. */
export function sizeAlone(m: Material, unit: number, choice: number, share: number): number {
  const w = m.weights[unit - m.groups.length]
  // Forms are in order of what they take.
  if (unit >= m.groups.length + m.weights.length) return choice
  if (!w) return m.groups[unit]?.kept[choice]?.length ?? 0
  const type = w.types[choice] as Way['type']
  return w.parts.reduce((sum, part) => {
    const sizes = part.ids.map((id) => sizeAs(m, type, part, id))
    return sum + sizes.reduce((n, s) => n + share ** 2 * s.elements + share * s.channels + s.rest, 0)
  }, 0)
}

// ---------------------------------------------------------------- axes

type Owned = { readonly slice: Slice; readonly unit: number }

function slicesByValue(m: Material): ReadonlyMap<string, readonly Owned[]> {
  const out = new Map<string, Owned[]>()
  for (const [unit, { group }] of m.groups.entries())
    for (const slice of group.slices) out.set(slice.value, [...(out.get(slice.value) ?? []), { slice, unit }])
  return out
}

/** How much of each axis is left: 1 − Σ over groups that lie along it of what is gone of each. */
function axisFactors(
  m: Material,
  owned: readonly Owned[],
  shape: readonly (number | string)[]
): ReadonlyMap<number, Factor> {
  const out = new Map<number, Factor>()
  for (const { slice, unit } of owned) {
    const length = shape[slice.axis]
    if (typeof length !== 'number') continue
    const { group, kept } = m.groups[unit] as Material['groups'][number]
    const each = (slice.indices[0]?.length ?? 0) / length
    const term = { unit, table: kept.map((k) => -each * (group.channels - k.length)) }
    out.set(slice.axis, { base: 1, terms: [...(out.get(slice.axis)?.terms ?? []), term] })
  }
  return out
}

// ---------------------------------------------------------------- bytes

function byteLoads(m: Material, byValue: ReadonlyMap<string, readonly Owned[]>): Load[] {
  const { graph } = m.model
  const typed = new Map<
    string,
    { readonly unit: number; readonly part: Part; readonly types: readonly Way['type'][] }
  >()
  for (const [i, w] of m.weights.entries())
    for (const part of w.parts)
      for (const id of part.ids) typed.set(id, { unit: m.groups.length + i, part, types: w.types })
  const ids = new Set([...typed.keys(), ...byValue.keys(), ...m.forms.flatMap((f) => f.ids)])
  const own = [...ids].flatMap((id): Load[] => {
    const data = constant(graph, id)
    if (!data) return []
    const axes = axisFactors(m, byValue.get(id) ?? [], data.shape)
    const own = typed.get(id)
    const formed = formsOf(m, id)
    if (formed.zeros || formed.rank) {
      const types = own
        ? own.types.map((type) => ({ type, size: sizeAs(m, type, own.part, id) }))
        : [{ type: 'float' as const, size: floatSize(data) }]
      return formBytes(m, id, axes, { unit: own?.unit, types })
    }
    if (!own) return [{ cost: 'bytes', size: tensorBytes(data), factors: [...axes.values()] }]
    const sizes = own.types.map((type) => sizeAs(m, type, own.part, id))
    const by = (of: (s: (typeof sizes)[number]) => number): Factor => ({
      base: 0,
      terms: [{ unit: own.unit, table: sizes.map(of) }]
    })
    const channelAxis = own.part.ways.flatMap((w) => w.plans).find((p) => p.id === id)?.axis
    const along = channelAxis === undefined ? undefined : axes.get(channelAxis)
    return [
      { cost: 'bytes', size: 1, factors: [by((s) => s.elements), ...axes.values()] },
      { cost: 'bytes', size: 1, factors: [by((s) => s.channels), ...(along ? [along] : [])] },
      { cost: 'bytes', size: 1, factors: [by((s) => s.rest)] }
    ]
  })
  return [...own, ...sharedLoads(m)]
}

/** What some weights in some types share: there unless no unit chooses one of these, 1 − Π over units of (is it another one?). */
const sharedLoads = (m: Material): Load[] =>
  m.spelled.shared.flatMap(({ by, bytes: size }): Load[] => {
    const factors = m.weights.flatMap(({ types, parts }, i): Factor[] => {
      const ids = parts.flatMap((p) => p.ids)
      const table = types.map((t) => Number(!ids.some((id) => by.has(spelledKey(t, id)))))
      return table.includes(0) ? [{ base: 0, terms: [{ unit: m.groups.length + i, table }] }] : []
    })
    if (factors.length === 0) return []
    return [
      { cost: 'bytes', size, factors: [] },
      { cost: 'bytes', size: -size, factors }
    ]
  })

function sizeAs(
  { model, spelled }: Material,
  type: Way['type'],
  part: Part,
  id: string
): { readonly elements: number; readonly channels: number; readonly rest: number } {
  const data = constant(model.graph, id) as Tensor
  const plan = part.ways.find((w) => w.type === type)?.plans.find((p) => p.id === id)
  if (plan) {
    const size = storedSize(plan, data)
    return { ...size, rest: spelled.own.get(spelledKey(type, id)) ?? size.rest }
  }
  return type === 'float16'
    ? { elements: 2 * elementCount(data.shape), channels: 0, rest: halfNode }
    : { elements: tensorBytes(data), channels: 0, rest: 0 }
}

/** Bytes of the Cast of a weight in float16. */
const halfNode = 150

// ---------------------------------------------------------------- multiply-adds and time

function nodeLoads(m: Material, byValue: ReadonlyMap<string, readonly Owned[]>, sizes: Sizes): Load[] {
  const { byNode } = costOf(m.model, sizes.shapes)
  const splits = splitLoads(m, {
    ...sizes,
    macs: byNode,
    sides: (layer) => {
      const shape = constant(m.model.graph, layer.weight)?.shape ?? []
      return sidesOf(layer, shape, axisFactors(m, byValue.get(layer.weight) ?? [], shape))
    }
  })
  return m.model.graph.nodes.flatMap((node): Load[] => {
    const factors = loadFactors(m, byValue, node)
    const macs = byNode.get(node)
    const ms = sizes.kernels?.get(node.name)
    const split = splits.get(node)
    if (split) return [...split]
    if (factors.length === 0) return []
    return [
      ...(macs ? [{ cost: 'macs' as const, size: macs, factors }] : []),
      ...(ms ? [{ cost: 'latency' as const, size: ms, factors }] : [])
    ]
  })
}

/** Nodes with a weight shrink by the axes of the weight, others by those of what they read and make. */
function loadFactors(m: Material, byValue: ReadonlyMap<string, readonly Owned[]>, node: Node): readonly Factor[] {
  const { graph } = m.model
  const weight = node.inputs.find((id) => (constant(graph, id)?.shape.length ?? 0) > 1)
  if (weight != null) return [...axisFactors(m, byValue.get(weight) ?? [], shapeOf(m.model, weight)).values()]
  const [x, y] = [node.inputs[0], node.outputs[0]]
  const seen = new Set<string>()
  return [x, y].flatMap((id) =>
    id == null
      ? []
      : [...axisFactors(m, byValue.get(id) ?? [], shapeOf(m.model, id)).values()].filter((f) => {
          // What goes through a node unchanged counts once.
          const key = f.terms.map((t) => t.unit).join()
          return seen.has(key) ? false : seen.add(key)
        })
  )
}

const shapeOf = (model: Model, id: string): readonly (number | string)[] => {
  const v = model.graph.values.get(id)
  return v?.data?.shape ?? v?.shape ?? []
}
