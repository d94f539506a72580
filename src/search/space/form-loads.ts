/** What weights with a choice of form cost: zeros and ranks, on top of types and of channels that go on either side. */
import { constant } from '../../ir/graph.ts'
import { tensorBytes } from '../../ir/tensor.ts'
import type { LayerInput } from '../../observe/gram.ts'
import { costOf, type Shapes } from '../../ops/cost.ts'
import type { Way } from '../../passes/quantize/mix/types.ts'
import type { Node, Tensor } from '../../types.ts'
import { type FormChoice, type FormPart, type FormSize, nodeOfRank } from './forms.ts'
import type { Material } from './material.ts'
import type { Factor, Load } from './space.ts'

interface Chosen {
  readonly unit: number
  readonly choice: FormChoice
}

/** The units that choose the form of a weight. */
export interface FormedBy {
  readonly zeros?: Chosen
  readonly rank?: Chosen
}

export function formsOf(m: Material, id: string): FormedBy {
  const from = m.groups.length + m.weights.length
  const find = (kind: FormChoice['kind']): Chosen | undefined => {
    const at = m.forms.findIndex((f) => f.kind === kind && f.forms.length > 0 && f.ids.includes(id))
    return at < 0 ? undefined : { unit: from + at, choice: m.forms[at] as FormChoice }
  }
  const [zeros, rank] = [find('sparsity'), find('rank')]
  return { ...(zeros ? { zeros } : {}), ...(rank ? { rank } : {}) }
}

const one = (unit: number, table: readonly number[]): Factor => ({ base: 0, terms: [{ unit, table }] })

/** 1 where a layer stays whole. */
const wholeOf = (rank: Chosen | undefined): Factor[] =>
  rank ? [one(rank.unit, [...rank.choice.forms.map(() => 0), 1])] : []

/** Factors of the axes of a weight that are its inputs, and of those that are its outputs. */
export function sidesOf(
  { outStride }: LayerInput,
  shape: readonly number[],
  axes: ReadonlyMap<number, Factor>
): { readonly in: readonly Factor[]; readonly out: readonly Factor[] } {
  const isOut = (axis: number): boolean => shape.slice(axis + 1).reduce((a, b) => a * b, 1) === outStride
  const of = (wanted: boolean): Factor[] => [...axes].flatMap(([axis, f]) => (isOut(axis) === wanted ? [f] : []))
  return { in: of(false), out: of(true) }
}

interface Typed {
  readonly type: Way['type']
  /** Of the weight as it is. */
  readonly size: FormSize
}

/** A load for each type and form: those of other choices are 0 in it. */
export function formBytes(
  m: Material,
  id: string,
  axes: ReadonlyMap<number, Factor>,
  typed: { readonly unit: number | undefined; readonly types: readonly Typed[] }
): Load[] {
  const { zeros, rank } = formsOf(m, id)
  const layer = m.layers.get(id)?.layer as LayerInput
  const data = constant(m.model.graph, id) as Tensor
  const sides = sidesOf(layer, data.shape, axes)
  const load = (size: number, factors: readonly Factor[]): Load => ({ cost: 'bytes', size, factors })
  return typed.types.flatMap(({ type, size }, t): Load[] => {
    const isType =
      typed.unit === undefined
        ? []
        : [
            one(
              typed.unit,
              typed.types.map((_, i) => Number(i === t))
            )
          ]
    const whole = [...isType, ...wholeOf(rank)]
    const inForm = (chosen: Chosen, part: number, of: (s: FormSize) => number, last: number): Factor =>
      one(chosen.unit, [...chosen.choice.forms.map((f) => of(sizeIn(f.made.get(id)?.parts[part], type))), last])
    const elements = zeros ? [one(zeros.unit, formSizes(zeros, id, type, size))] : []
    const own = [
      load(zeros ? 1 : size.elements, [...whole, ...elements, ...axes.values()]),
      load(size.channels, [...whole, ...sides.out]),
      load(size.rest, whole)
    ]
    if (!rank) return own
    const halves = [0, 1].flatMap((part) => {
      const side = part === 0 ? sides.in : sides.out
      return [
        load(1, [...isType, inForm(rank, part, (s) => s.elements, 0), ...side]),
        load(1, [...isType, inForm(rank, part, (s) => s.channels, 0), ...(part === 0 ? [] : side)]),
        load(1, [...isType, inForm(rank, part, (s) => s.rest + nodeOfRank / 2, 0)])
      ]
    })
    return [...own, ...halves]
  })
}

/** Bytes of elements at every share of zeros; those of a type that gains nothing by zeros do not rise from one to the next. */
function formSizes({ choice }: Chosen, id: string, type: Way['type'], dense: FormSize): readonly number[] {
  const sizes = choice.forms.map((f) => sizeIn(f.made.get(id)?.parts[0], type))
  // What the form spells beside its elements is that of the weight as it is, but for what it has more.
  const own = sizes.map((s) => Math.max(0, s.elements + s.channels + s.rest - dense.channels - dense.rest))
  return [...own, dense.elements]
}

const nothing: FormSize = { elements: 0, channels: 0, rest: 0 }

/** A type that a form does not suit leaves it float. */
const sizeIn = (part: FormPart | undefined, type: Way['type']): FormSize =>
  part?.sizes.get(type) ?? part?.sizes.get('float') ?? nothing

/** A weight in float. */
export const floatSize = (data: Tensor): FormSize => ({ elements: tensorBytes(data), channels: 0, rest: 0 })

/** Multiply-adds and times of the layers that have a choice of rank, by node. */
export function splitLoads(
  m: Material,
  at: {
    readonly shapes?: Shapes
    /** Times of single layers in ms; absent: as many as they have multiply-adds. */
    timesOf?(model: Material['model']): ReadonlyMap<string, number>
    sides(layer: LayerInput): ReturnType<typeof sidesOf>
    readonly macs: ReadonlyMap<Node, number | undefined>
    readonly kernels?: ReadonlyMap<string, number>
  }
): ReadonlyMap<Node, readonly Load[]> {
  const out = new Map<Node, readonly Load[]>()
  const known = new Map<
    Material['model'],
    { macs: ReadonlyMap<Node, number | undefined>; ms?: ReadonlyMap<string, number> }
  >()
  const lookedAt = (
    model: Material['model']
  ): { macs: ReadonlyMap<Node, number | undefined>; ms?: ReadonlyMap<string, number> } => {
    const own = known.get(model) ?? {
      macs: costOf(model, at.shapes).byNode,
      ...(at.timesOf ? { ms: at.timesOf(model) } : {})
    }
    known.set(model, own)
    return own
  }
  for (const id of new Set(m.forms.flatMap((f) => (f.kind === 'rank' ? f.ids : [])))) {
    const { rank } = formsOf(m, id)
    const layer = m.layers.get(id)?.layer
    if (!rank || !layer) continue
    const sides = at.sides(layer)
    const whole = [...wholeOf(rank), ...sides.in, ...sides.out]
    const macs = at.macs.get(layer.node) ?? 0
    const ms = at.kernels?.get(layer.node.name) ?? 0
    const halves = (part: 0 | 1): { readonly macs: readonly number[]; readonly ms: readonly number[] } => {
      const of = rank.choice.forms.map((f) => {
        const node = f.made.get(id)?.parts[part]?.layer.node
        const all = f.model && lookedAt(f.model)
        const own = (node && all?.macs.get(node)) ?? 0
        const timed = node && all?.ms?.get(node.name)
        return { macs: own, ms: timed ?? (macs > 0 ? (ms * own) / macs : 0) }
      })
      return { macs: [...of.map((x) => x.macs), 0], ms: [...of.map((x) => x.ms), 0] }
    }
    const load = (cost: Load['cost'], size: number, factors: readonly Factor[]): Load[] =>
      size > 0 ? [{ cost, size, factors }] : []
    const [first, last] = [halves(0), halves(1)]
    out.set(layer.node, [
      ...load('macs', macs, whole),
      ...load('latency', ms, whole),
      ...(macs > 0
        ? [first, last].flatMap((h, i) =>
            load('macs', 1, [one(rank.unit, h.macs), ...(i === 0 ? sides.in : sides.out)])
          )
        : []),
      ...(ms > 0
        ? [first, last].flatMap((h, i) =>
            load('latency', 1, [one(rank.unit, h.ms), ...(i === 0 ? sides.in : sides.out)])
          )
        : [])
    ])
  }
  return out
}
