/**
 * Weights as a choice makes them: answered by least squares where channels that they read are gone, and rounded to a type by
 * the moments of the layer's input in the float model. Such a weight depends on nothing else that a point chooses, so that
 * each is made once and kept.
 */
import { tensor, toFloats } from '../../ir/tensor.ts'
import type { Gram } from '../../observe/gram.ts'
import { answering } from '../../passes/prune/reconstruct.ts'
import { asHalf, type Way } from '../../passes/quantize/mix/types.ts'
import { expanded, storeAlone } from '../../passes/quantize/weights/apply.ts'
import { storeByMoments } from '../../passes/quantize/weights/gptq-store.ts'
import { shiftOf } from '../../passes/quantize/weights/layerwise.ts'
import type { WeightPlan } from '../../passes/quantize/weights/plan.ts'
import type { Tensor } from '../../types.ts'
import type { FormPart } from './forms.ts'
import type { Known, Material } from './material.ts'
import { formAt, type Given, type Left, leftOf, ofRank, withZeros } from './shaped.ts'
import type { Point } from './space.ts'

/** A weight in the shape of the original's, with zeros for channels that are gone, and the bias that goes with it. */
export interface MadeWeight {
  readonly data: Tensor
  readonly bias?: Tensor
}

/** Makes weights by the choices of a point. */
export interface Maker {
  /** Ids of weights that a point changes. */
  changed(point: Point): readonly string[]
  of(id: string, point: Point): MadeWeight
  /** Index of the unit that chooses the type of a weight, and of the first one of types. */
  readonly typeUnit: ReadonlyMap<string, number>
}

/** Bytes of made weights that are kept. */
const mostHeld = 768 * 2 ** 20

/** Weights that were made, of any material of the same model. */
export type HeldWeights = Map<string, MadeWeight>

/** Units are the groups in order, then the types in order. */
export function weightMaker(m: Material, held: HeldWeights = new Map()): Maker {
  const typeUnit = new Map(
    m.weights.flatMap((w, i) => w.parts.flatMap((p) => p.ids.map((id) => [id, m.groups.length + i] as const)))
  )
  const readers = readersOf(m)
  const plans = new Map(m.weights.flatMap((w) => w.parts.flatMap((p) => p.ids.map((id) => [id, p.ways] as const))))
  let bytes = [...held.values()].reduce((n, w) => n + w.data.bytes.length, 0)
  const keep = (key: string, made: () => MadeWeight): MadeWeight => {
    const known = held.get(key)
    if (known) return known
    const one = made()
    held.set(key, one)
    bytes += one.data.bytes.length
    for (const [old, w] of held) {
      if (bytes <= mostHeld) break
      held.delete(old)
      bytes -= w.data.bytes.length
    }
    return one
  }
  const typeOf = (id: string, point: Point): Way['type'] => {
    const unit = typeUnit.get(id)
    if (unit === undefined) return 'float'
    return m.weights[unit - m.groups.length]?.types[point[unit] as number] ?? 'float'
  }
  const goneIn = (id: string, point: Point): readonly Read[] =>
    (readers.get(id) ?? []).filter(({ unit }) => (point[unit] as number) < lastOf(m, unit))
  const formed = new Set(m.forms.flatMap((f) => f.ids))
  return {
    typeUnit,
    changed: (point) =>
      [...new Set([...typeUnit.keys(), ...readers.keys(), ...formed])].filter(
        (id) =>
          typeOf(id, point) !== 'float' ||
          goneIn(id, point).length > 0 ||
          (formed.has(id) && formAt(m, id, point) !== undefined)
      ),
    of: (id, point) => {
      const type = typeOf(id, point)
      const read = goneIn(id, point)
      const key = `${id}\n${read.map((g) => keptKey(m, g.unit, point))}\n`
      const gone = goneColumns(m, read, point)
      const given = formed.has(id) ? formAt(m, id, point) : undefined
      if (given) {
        const left = leftOf(m, id, point)
        const own = `${key}${given.kind} ${given.value} of ${left.rows}\n${type}`
        return keep(own, () => {
          const float = answered(m, id, gone)
          const { data, steps } = inForm(m, id, float, { given, left, type })
          return withBias(m, id, data, [[originalOf(m, id), float], ...steps])
        })
      }
      const float = (): MadeWeight => keep(key, () => withBias(m, id, answered(m, id, gone)))
      if (type === 'float') return float()
      return keep(key + type, () => {
        const plan = plans
          .get(id)
          ?.find((w) => w.type === type)
          ?.plans.find((p) => p.id === id)
        return withBias(m, id, typed(m, id, float().data, { type, plan, isSparse: gone.size > 0 }))
      })
    }
  }
}

const lastOf = (m: Material, unit: number): number => (m.groups[unit]?.kept.length ?? 1) - 1

const keptKey = ({ groups }: Material, unit: number, point: Point): string =>
  `${groups[unit]?.group.name}:${groups[unit]?.kept[point[unit] as number]?.length}`

/** Where a weight reads the channels of a group. */
interface Read {
  readonly unit: number
  readonly indices: readonly (readonly number[])[]
}

/** By weight. */
function readersOf(m: Material): ReadonlyMap<string, readonly Read[]> {
  const out = new Map<string, Read[]>()
  for (const [unit, { group }] of m.groups.entries())
    for (const { value, isSummed, indices } of group.slices)
      if (isSummed) out.set(value, [...(out.get(value) ?? []), { unit, indices }])
  return out
}

/** Indices along the axis that reads channels. */
function goneColumns(m: Material, gone: readonly Read[], point: Point): ReadonlySet<number> {
  const out = new Set<number>()
  for (const { unit, indices } of gone) {
    const stays = new Set(m.groups[unit]?.kept[point[unit] as number])
    for (const [c, at] of indices.entries()) if (!stays.has(c)) for (const i of at) out.add(i)
  }
  return out
}

/** The float weight that makes up for the channels that are gone. */
function answered(m: Material, id: string, gone: ReadonlySet<number>): Tensor {
  const own = m.model.graph.values.get(id)?.data as Tensor
  const known = m.layers.get(id)
  if (!known || gone.size === 0) return own
  const { layer, moments } = known
  const isGone = Array.from({ length: layer.k }, (_, i) => gone.has(Math.floor(i / layer.perChannel)))
  return answering(layer, own, moments, isGone)
}

interface Wanted {
  readonly type: Way['type']
  readonly plan: WeightPlan | undefined
  readonly isSparse: boolean
}

/** A weight rounded to a type, as float numbers. */
function typed(m: Material, id: string, data: Tensor, { type, plan, ...o }: Wanted): Tensor {
  if (!plan) return type === 'float16' ? (asHalf(data) ?? data) : data
  const isSparse = o.isSparse || m.model.graph.values.get(id)?.sparse !== undefined
  const known = m.layers.get(id)
  const stored = known
    ? storeByMoments(plan, data, known.layer, known.moments, isSparse, { isPolished: false })
    : storeAlone(plan, data, { hqq: false, isSparse })
  return expanded(stored, data, plan)
}

/** What a weight was before a step, and after it. */
type Step = readonly [Tensor, Tensor]

/** A weight in a form and a type, with the steps whose shift of means a bias takes up. A half that the type does not suit stays float. */
function inForm(
  m: Material,
  id: string,
  data: Tensor,
  { given, left, type }: { readonly given: Given; readonly left: Left; readonly type: Way['type'] }
): { readonly data: Tensor; readonly steps: readonly Step[] } {
  const known = m.layers.get(id) as Known
  const round = ({ layer, plans }: FormPart, t: Tensor, moments: Gram, isSparse: boolean): Tensor => {
    const plan = plans.get(type)
    if (!plan) return type === 'float16' ? (asHalf(t) ?? t) : t
    return expanded(storeByMoments(plan, t, layer, moments, isSparse, { isPolished: false }), t, plan)
  }
  if (given.kind === 'rank') {
    const made = ofRank(known, data, given.made, left, (part, t, moments) => round(part, t, moments, false))
    return { data: made, steps: [[data, made]] }
  }
  const sparse = withZeros(known, data, given.value, left)
  const made = round(given.made.parts[0] as FormPart, sparse, known.moments, true)
  return { data: made, steps: [[sparse, made]] }
}

const originalOf = (m: Material, id: string): Tensor => m.model.graph.values.get(id)?.data as Tensor

/** With the bias that takes up what the mean of the layer's output moved by, in all steps together. */
function withBias(
  m: Material,
  id: string,
  data: Tensor,
  steps: readonly Step[] = [[originalOf(m, id), data]]
): MadeWeight {
  const known = m.layers.get(id)
  if (known?.bias === undefined) return { data }
  const b = originalOf(m, known.bias)
  const shifts = steps.map(([before, after]) => shiftOf(known.layer, before, after, known.gram))
  return {
    data,
    bias: tensor(
      b.dtype,
      b.shape,
      toFloats(b).map((x, c) => shifts.reduce((left, shift) => left - (shift[c] as number), x))
    )
  }
}
