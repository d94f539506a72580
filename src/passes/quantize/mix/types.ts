/** The types that `mix-precision` chooses from, and what a weight takes and becomes in each. */
import { bitsOf, elementCount, tensor, tensorBytes, toFloats } from '../../../ir/tensor.ts'
import type { Model, Tensor } from '../../../types.ts'
import type { Context } from '../../types.ts'
import { encodedBytes, scaleTypeOf } from '../common/cells.ts'
import type { Codes } from '../common/fit.ts'
import { matcher } from '../common/select.ts'
import { weightUses } from '../common/uses.ts'
import { planWeights, type WeightOptions, type WeightPlan } from '../weights/plan.ts'

type Spelling = Pick<WeightOptions, 'bits' | 'form'> & { readonly isScaled?: true }

/**
 * Types of stored weights, as `quantize-weights` knows them; beside these, integers of odd bits with a scale a channel,
 * whose codes the file holds as a palette.
 */
export const codedTypes = {
  int8: { bits: 8, form: 'foldable' },
  int6: { bits: 6, form: 'palette', isScaled: true },
  int5: { bits: 5, form: 'palette', isScaled: true },
  int3: { bits: 3, form: 'palette', isScaled: true },
  palette6: { bits: 6, form: 'palette' },
  palette5: { bits: 5, form: 'palette' },
  palette4: { bits: 4, form: 'palette' },
  palette3: { bits: 3, form: 'palette' },
  palette2: { bits: 2, form: 'palette' },
  int4: { bits: 4, form: 'foldable' },
  int2: { bits: 2, form: 'foldable' },
  nbits8: { bits: 8, form: 'nbits' },
  nbits4: { bits: 4, form: 'nbits' }
} as const satisfies Readonly<Record<string, Spelling>>

export type CodedType = keyof typeof codedTypes
export type MixType = CodedType | 'float16' | 'dynamic'
/** Types that weights are stored in. */
export const storedTypes = ['float16', ...(Object.keys(codedTypes) as CodedType[])] as const
export const mixTypes = [...storedTypes, 'dynamic'] as const

const isCoded = (type: MixType): type is CodedType => type in codedTypes

/** How weights are rounded to codes. */
export type Method = 'rtn' | 'hqq' | 'gptq'

/** What `mix-precision` was asked for. */
export interface MixOptions {
  readonly maxDrop?: number | undefined
  readonly budget: { readonly bytes?: number | undefined; readonly latency?: number | undefined }
  readonly leastBytes: boolean
  readonly types: readonly MixType[]
  readonly method: Method
  readonly samples: number
  readonly probes: number
  readonly exclude: readonly string[]
  readonly minElements: number
}

/** Weights that share nodes, and so their type. */
export interface Part {
  readonly ids: readonly string[]
  readonly nodes: readonly string[]
  readonly elements: number
  /** Bytes as it is. */
  readonly bytes: number
  readonly ways: readonly Way[]
}

/** A part in one type; weights that the type does not suit stay float. */
export interface Way {
  readonly type: MixType | 'float'
  readonly plans: readonly WeightPlan[]
  readonly bytes: number
}

export interface PartOptions {
  readonly types: readonly MixType[]
  readonly exclude: readonly string[]
  readonly minElements: number
}

/** What `quantize-weights` would do with every weight in one type. */
export function plansFor(
  model: Model,
  type: CodedType,
  o: Omit<PartOptions, 'types'>,
  ctx: Pick<Context, 'target'>
): WeightPlan[] {
  const spelling: Spelling = codedTypes[type]
  const rest = { method: 'rtn', blockSize: 0, perChannel: true, include: [] } as const
  const options = {
    ...(spelling.isScaled ? codedTypes.int8 : spelling),
    ...rest,
    exclude: o.exclude,
    minElements: o.minElements
  }
  const plans = planWeights(model, options, { target: ctx.target, refuse: () => {} })
  if (!spelling.isScaled) return plans
  const half = 2 ** (spelling.bits - 1)
  const codes: Codes = { dtype: 'int8', low: -half, high: half - 1, hasZero: false }
  return plans.map((w) => ({ ...w, form: 'palette', bits: spelling.bits, codes }))
}

/** All weights that have a choice, in groups that are treated alike. A type that only some weights of a group have counts for those. */
export function partsOf(model: Model, o: PartOptions, ctx: Pick<Context, 'target'>): Part[] {
  const data = new Map([...weightUses(model)].map(([id, w]) => [id, w.data]))
  const isExcluded = matcher(o.exclude)
  const coded = o.types.flatMap((type) => (isCoded(type) ? [{ type, plans: plansFor(model, type, o, ctx) }] : []))
  const nodesOf = new Map<string, readonly string[]>()
  for (const { plans } of coded) for (const w of plans) nodesOf.set(w.id, w.nodes)
  if (o.types.includes('float16'))
    for (const [id, w] of weightUses(model))
      if (elementCount(w.data.shape) >= o.minElements && !w.readers.some(isExcluded) && !nodesOf.has(id))
        nodesOf.set(id, [...new Set(w.readers.map((n) => n.name))])
  return groups(nodesOf).map(({ ids, nodes }) => {
    const sizes = new Map(ids.map((id) => [id, tensorBytes(data.get(id) as Tensor)]))
    const total = [...sizes.values()].reduce((a, b) => a + b, 0)
    const way = (type: Way['type'], plans: readonly WeightPlan[], bytes: (id: string) => number | undefined): Way => ({
      type,
      plans,
      bytes: ids.reduce((n, id) => n + (bytes(id) ?? (sizes.get(id) as number)), 0)
    })
    const ways = coded.flatMap(({ type, plans }) => {
      const own = plans.filter((w) => ids.includes(w.id))
      const sized = new Map(own.map((w) => [w.id, plannedBytes(w, data.get(w.id) as Tensor)]))
      return own.length > 0 ? [way(type, own, (id) => sized.get(id))] : []
    })
    const fitting = new Set(ids.filter((id) => o.types.includes('float16') && fitsHalf(data.get(id) as Tensor)))
    const halved = (id: string): number | undefined =>
      fitting.has(id) ? tensorBytes(data.get(id) as Tensor) / 2 + nodeBytes(16) : undefined
    const all = [way('float', [], () => undefined), ...(fitting.size > 0 ? [way('float16', [], halved)] : []), ...ways]
    return {
      ids,
      nodes,
      bytes: total,
      elements: ids.reduce((n, id) => n + elementCount((data.get(id) as Tensor).shape), 0),
      ways: all.filter((w) => w.type === 'float' || w.bytes < total)
    }
  })
}

/** Weights that are read by the same nodes, directly or through others. */
function groups(nodesOf: ReadonlyMap<string, readonly string[]>): { ids: string[]; nodes: string[] }[] {
  const out: { ids: string[]; nodes: Set<string> }[] = []
  for (const [id, nodes] of nodesOf) {
    const same = out.filter((g) => nodes.some((n) => g.nodes.has(n)))
    const merged = {
      ids: [...same.flatMap((g) => g.ids), id],
      nodes: new Set([...same.flatMap((g) => [...g.nodes]), ...nodes])
    }
    for (const g of same) out.splice(out.indexOf(g), 1)
    out.push(merged)
  }
  return out.map(({ ids, nodes }) => ({ ids, nodes: [...nodes] }))
}

/** What a stored constant adds to a file beside its numbers: nodes and their names, more of them to unpack bits. */
export const nodeBytes = (bits: number): number => (bits >= 8 ? 150 : bits === 4 || bits === 2 ? 320 : 630)

/** Bytes of a planned weight in a file, about. */
function plannedBytes(w: WeightPlan, data: Tensor): number {
  const { elements, channels, rest } = storedSize(w, data)
  return elements + channels + rest
}

/** Bytes of a planned weight in a file, about: of its elements, of scales or codebooks, and of what spells it. */
export function storedSize(
  w: WeightPlan,
  data: Tensor
): { readonly elements: number; readonly channels: number; readonly rest: number } {
  const elements = (w.elements * w.bits) / 8
  const rest = nodeBytes(w.bits)
  if (w.codes) {
    const codes = (w.elements * bitsOf(w.codes.dtype)) / 8
    return { elements, channels: encodedBytes(data.shape, w, w.codes, scaleTypeOf(data)) - codes, rest }
  }
  const channels = w.axis === undefined ? 1 : (data.shape[w.axis] as number)
  return { elements, channels: 2 ** w.bits * (w.axis === undefined ? 4 : 2 * channels), rest }
}

/** Has a float32 weight a float16 for each of its values? */
const fitsHalf = (t: Tensor): boolean => t.dtype === 'float32' && toFloats(t).every((x) => Math.abs(x) < 65520)

/** A float32 weight rounded to float16; `undefined` where that has no place for a value, or it is of 16 bits already. */
export function asHalf(t: Tensor): Tensor | undefined {
  return fitsHalf(t) ? tensor('float32', t.shape, toFloats(tensor('float16', t.shape, toFloats(t)))) : undefined
}
