/**
 * Forms that a weight may have beside its own: with a share of its elements zero, or as two layers of a rank. Each is made for
 * all weights at once, so that types are planned and bytes are found as for any model; what the numbers become depends on the
 * rest of a point, and is made in trials (shaped.ts).
 */
import { edit } from '../../ir/edit.ts'
import { producer } from '../../ir/graph.ts'
import { tensorBytes } from '../../ir/tensor.ts'
import { type LayerInput, layerInput } from '../../observe/gram.ts'
import { inferShapes } from '../../ops/infer.ts'
import { firstRows, matrix, transposed } from '../../passes/factorize/matrices.ts'
import { rebuild } from '../../passes/factorize/rebuild.ts'
import { shapesOf } from '../../passes/factorize/splits.ts'
import { lowest, unitsOf } from '../../passes/prune/masks.ts'
import { fromRows, matrixOf, rowsOf } from '../../passes/prune/matrices.ts'
import { type MixType, type Part, partsOf, storedSize, type Way } from '../../passes/quantize/mix/types.ts'
import type { WeightPlan } from '../../passes/quantize/weights/plan.ts'
import type { Context } from '../../passes/types.ts'
import type { Model, Node, Tensor } from '../../types.ts'
import { type BytesOf, type Spelled, spelledKey, storedBytes } from './spelled.ts'

/** Bytes in a file: of elements, which go with channels on both sides; of what each channel has; and the rest. */
export interface FormSize {
  readonly elements: number
  readonly channels: number
  readonly rest: number
}

/** A constant that stands for a weight in a form; two of them for a rank, in the order in which they multiply. */
export interface FormPart {
  readonly layer: LayerInput
  readonly shape: readonly number[]
  readonly plans: ReadonlyMap<Way['type'], WeightPlan>
  readonly sizes: ReadonlyMap<Way['type'], FormSize>
}

/** A weight in a form. */
export interface MadeForm {
  /** Channels between the two layers; absent: one layer with zeros. */
  readonly rank?: number
  readonly parts: readonly FormPart[]
}

/** All weights in a form: a share of zeros, or the share of its parameters that a rank leaves. */
export interface Form {
  readonly value: number
  /** Of ranks: the model of split layers, whose multiply-adds and times are those of the form. */
  readonly model?: Model
  readonly made: ReadonlyMap<string, MadeForm>
}

/** Weights that get the same form. The cheapest first; the last choice, which is not among `forms`, is the weight as it is. */
export interface FormChoice {
  readonly kind: 'sparsity' | 'rank'
  readonly name: string
  readonly ids: readonly string[]
  readonly forms: readonly Form[]
}

export interface FormOptions {
  readonly types: readonly MixType[]
  readonly exclude: readonly string[]
  /** Shares of elements that may be zero. */
  readonly sparsity: readonly number[]
  /** Shares of a layer's parameters that a rank may leave. */
  readonly ranks: readonly number[]
}

/** A weight that may have a form. */
export interface Formed {
  readonly id: string
  readonly layer: LayerInput
  /** Share of channels on either side that stay at the narrowest: 1 where they have no choice. */
  readonly narrowest: { readonly in: number; readonly out: number }
}

const minElements = 128
/** A matrix with more rows and columns, or more columns, is not split: its eigenvectors would take too long in every trial. */
const [mostSide, mostColumns] = [512, 4608]
/** Weights below this share of all have a form together with others of their shape. */
const smallShare = 0.005

/** Choices of form of weights that may have one, ranks behind shares of zeros. */
export function formChoices(
  model: Model,
  weights: readonly Formed[],
  o: FormOptions,
  at: {
    readonly ctx: Pick<Context, 'target' | 'note'>
    readonly bytesOf: BytesOf
    readonly spelled: Spelled
  }
): FormChoice[] {
  const units = groupsOf(weights.filter(({ layer }) => layer.groups === 1 && layer.outputs * layer.k >= minElements))
  const making = {
    ...{ model, weights: units.flat(), bytes: sizer(o, at), align: at.ctx.target.channelMultiple },
    typed: (m: Model) => partsOf(m, { types: o.types, exclude: o.exclude, minElements }, at.ctx)
  }
  const zeros = o.sparsity.toSorted((a, b) => b - a).map((value) => sparseForm(value, making))
  const split = o.ranks.toSorted((a, b) => a - b).map((value) => rankForm(value, making))
  const choices = (kind: FormChoice['kind'], forms: readonly Form[]): FormChoice[] =>
    units.flatMap((unit) => {
      const ids = unit.map((w) => w.id)
      const own = distinct(
        forms.filter((f) => ids.every((id) => f.made.has(id))),
        ids
      )
      return own.length > 0 ? [{ kind, name: nameOf(unit), ids, forms: own }] : []
    })
  return [...choices('sparsity', zeros), ...choices('rank', split)]
}

const nameOf = ([first, ...others]: readonly Formed[]): string =>
  `${first?.layer.node.name}${others.length > 0 ? ` and ${others.length} alike` : ''}`

/** Two shares may come to the same rank: the first has it. */
const distinct = (forms: readonly Form[], [id = '']: readonly string[]): readonly Form[] =>
  forms.filter((f, i) => {
    const rank = f.made.get(id)?.rank
    return rank === undefined || !forms.slice(0, i).some((g) => g.made.get(id)?.rank === rank)
  })

/** Large weights alone, small ones with those of their shape and neighbourhood. */
function groupsOf(weights: readonly Formed[]): readonly (readonly Formed[])[] {
  const sizeOf = ({ layer }: Formed): number => layer.outputs * layer.k
  const all = weights.reduce((n, w) => n + sizeOf(w), 0)
  const byKey = new Map<string, Formed[]>()
  for (const [i, w] of weights.entries()) {
    const { layer, narrowest } = w
    const key =
      sizeOf(w) < smallShare * all ? `${layer.node.op} ${layer.outputs}×${layer.k} ${Object.values(narrowest)}` : `${i}`
    byKey.set(key, [...(byKey.get(key) ?? []), w])
  }
  return [...byKey.values()]
}

interface Making {
  readonly model: Model
  readonly weights: readonly Formed[]
  readonly align: number
  readonly bytes: Sizer
  /** Weights of a model in their types. */
  typed(model: Model): readonly Part[]
}

// ---------------------------------------------------------------- bytes

type Sizer = (variant: Model, id: string, part: Part | undefined, own: string) => Pick<FormPart, 'plans' | 'sizes'>

/** Bytes of a constant in every type. What weights of a type share is not counted. */
function sizer(o: FormOptions, { bytesOf, spelled }: { readonly bytesOf: BytesOf; readonly spelled: Spelled }): Sizer {
  return (variant, id, part, own) => {
    const data = variant.graph.values.get(id)?.data as Tensor
    const float = storedBytes(variant, id, undefined, bytesOf) ?? tensorBytes(data)
    const plans = new Map<Way['type'], WeightPlan>()
    const sizes = new Map<Way['type'], FormSize>([['float', { elements: float, channels: 0, rest: 0 }]])
    for (const type of o.types) {
      const plan = part?.ways.find((w) => w.type === type)?.plans.find((p) => p.id === id)
      if (!plan) continue
      const guess = storedSize(plan, data)
      const written = storedBytes(variant, id, plan, bytesOf)
      const shared = spelled.shared.find((s) => s.by.has(spelledKey(type, own)))?.bytes ?? 0
      const elements = written === undefined ? guess.elements : written - shared - guess.channels - guess.rest
      plans.set(type, plan)
      sizes.set(type, { ...guess, elements: Math.max(0, elements) })
    }
    return { plans, sizes }
  }
}

const partIn = (parts: readonly Part[], id: string): Part | undefined => parts.find((p) => p.ids.includes(id))

// ---------------------------------------------------------------- zeros

/** Weights with the elements of least magnitude zero: which go is told otherwise in trials, how many is the same. */
function sparseForm(value: number, { model, weights, bytes, typed }: Making): Form {
  const variant = edit(model, (d) => {
    for (const { id, layer } of weights) {
      const v = d.value(id)
      if (v?.data) d.set({ ...v, data: withZeros(layer, v.data, value), sparse: 'any', form: v.form ?? 'auto' })
    }
  })
  const parts = typed(variant)
  return {
    value,
    made: new Map(
      weights.map(({ id, layer }) => {
        const shape = variant.graph.values.get(id)?.data?.shape ?? []
        return [id, { parts: [{ layer, shape, ...bytes(variant, id, partIn(parts, id), id) }] }]
      })
    )
  }
}

function withZeros(layer: LayerInput, data: Tensor, share: number): Tensor {
  const w = rowsOf(layer, data)
  const units = unitsOf(matrixOf(layer), { kind: 'any' })
  const [gone] = lowest([{ scores: w.map(Math.abs), units }], share)
  return fromRows(
    layer,
    data,
    w.map((x, i) => (gone?.[i] ? 0 : x))
  )
}

// ---------------------------------------------------------------- ranks

/** Channels between two layers that leave a share of a layer's parameters; `undefined` where that is no rank, or none that takes less where channels go. */
function rankOf({ layer, narrowest }: Formed, share: number, align: number): number | undefined {
  const [o, k] = [layer.outputs, layer.k]
  if (Math.min(o, k) > mostSide || k > mostColumns) return undefined
  const rank = Math.floor((share * o * k) / (o + k) / align) * align
  const isLess = rank * (k * narrowest.in + o * narrowest.out) < o * k * narrowest.in * narrowest.out
  return rank >= 1 && rank < Math.min(o, k) && isLess ? rank : undefined
}

function rankForm(value: number, { model, weights, bytes, typed, align }: Making): Form {
  const ranked = weights.flatMap((w) => {
    const rank = rankOf(w, value, align)
    return rank === undefined ? [] : [{ ...w, rank }]
  })
  const split = edit(model, (d) => {
    for (const { id, layer, rank } of ranked) {
      const { outputs: o, k } = layer
      const w = matrix(o, k, rowsOf(layer, model.graph.values.get(id)?.data as Tensor))
      const layers = [firstRows(w, rank), transposed(firstRows(transposed(w), rank))]
      rebuild(d, layer.node, layer, shapesOf('svd', layer, [rank]), [{ layers, whole: w }])
    }
  })
  const variant = inferShapes(split)
  const parts = typed(variant)
  const made = ranked.flatMap(({ id, layer, rank }): [string, MadeForm][] => {
    const halves = halvesOf(variant, layer)
    if (!halves) return []
    const own = halves.map((half): FormPart => {
      const shape = variant.graph.values.get(half.weight)?.data?.shape ?? []
      return { layer: half, shape, ...bytes(variant, half.weight, partIn(parts, half.weight), id) }
    })
    return [[id, { rank, parts: own }]]
  })
  return { value, model: variant, made: new Map(made) }
}

/** The two layers in the place of one. */
function halvesOf(variant: Model, { node, linear }: LayerInput): readonly [LayerInput, LayerInput] | undefined {
  const last = producer(variant.graph, node.outputs[0] as string)
  const first = last && producer(variant.graph, last.inputs[linear.data] as string)
  const halves = [first, last].map((n) => n && layerInput(variant, n as Node))
  const [a, b] = halves
  return a && b && typeof a !== 'string' && typeof b !== 'string' ? [a, b] : undefined
}

/** Bytes that the second layer adds to a file beside its weight: a node and two names. */
export const nodeOfRank = 160
