/** What points are made of: channel groups with the channels that stay at each choice, weights with the types of each choice. */
import { constant, consumers } from '../../ir/graph.ts'
import { elementCount, isFloat } from '../../ir/tensor.ts'
import { type Gram, grams, type LayerInput, layerInput } from '../../observe/gram.ts'
import { heldSamples } from '../../observe/held.ts'
import { inferShapes } from '../../ops/infer.ts'
import { biasPlace } from '../../passes/biases.ts'
import { blockOf } from '../../passes/prune/choose.ts'
import { type ChannelGroup, type Channels, channelGroups } from '../../passes/prune/groups.ts'
import { activationScores, weightScores } from '../../passes/prune/importance.ts'
import { freeGroups } from '../../passes/prune/narrow.ts'
import { type MixType, type Part, partsOf, type Way } from '../../passes/quantize/mix/types.ts'
import { centred } from '../../passes/quantize/weights/layerwise.ts'
import type { Context } from '../../passes/types.ts'
import type { Dataset, Model } from '../../types.ts'
import { type FormChoice, type Formed, formChoices } from './forms.ts'
import { type BytesOf, type Spelled, spelledIn } from './spelled.ts'

/** What may be chosen. */
export interface MaterialOptions {
  /** Types of weights beside float; none: channels alone. */
  readonly types: readonly MixType[]
  /** Do groups of channels have a choice? */
  readonly channels: boolean
  /** Share of its channels that a group keeps at least. */
  readonly leastKept: number
  /** Nodes whose weights stay float, and groups that stay whole. */
  readonly exclude: readonly string[]
  /** Samples that moments, means and deviations are taken of. */
  readonly samples: number
  /** Shares of a weight's elements that may be zero; absent: none. */
  readonly sparsity?: readonly number[]
  /** Shares of a layer's parameters that two layers of a rank may leave; absent: none. */
  readonly ranks?: readonly number[]
}

/** A group of channels, and which stay at each choice: the last keeps all. */
export interface GroupChoice {
  readonly group: ChannelGroup
  readonly kept: readonly (readonly number[])[]
}

/** Weights that get the same type. Types in order of bytes, `float` last. */
export interface TypeChoice {
  readonly name: string
  readonly parts: readonly Part[]
  readonly types: readonly Way['type'][]
}

/** A layer with the moments of its input. */
export interface Known {
  readonly layer: LayerInput
  /** As they are, and around the mean where a bias of its own takes up the rest. */
  readonly gram: Gram
  readonly moments: Gram
  /** The constant that is its bias, which no other node reads. */
  readonly bias?: string
}

/** All that points are made of. */
export interface Material {
  readonly model: Model
  readonly found: Channels
  readonly groups: readonly GroupChoice[]
  readonly weights: readonly TypeChoice[]
  readonly forms: readonly FormChoice[]
  /** By weight. */
  readonly layers: ReadonlyMap<string, Known>
  readonly samples: Dataset | undefined
  readonly spelled: Spelled
}

/** How many choices each unit has: groups in order, then types, then forms. */
export const choicesOf = (m: Pick<Material, 'groups' | 'weights' | 'forms'>): readonly number[] => [
  ...m.groups.map((g) => g.kept.length),
  ...m.weights.map((w) => w.types.length),
  ...m.forms.map((f) => f.forms.length + 1)
]

const minElements = 128
/** Weights below this share of all weights are one unit with others of their shape. */
const smallShare = 0.005
/** Bytes of all moments that are held. */
const mostMoments = 768 * 2 ** 20

/** Looks at a model, which is simplified already. Moments are taken of the calibration samples, where there are some. */
export async function materialOf(
  given: Model,
  o: MaterialOptions,
  ctx: Context,
  bytesOf: BytesOf = () => undefined
): Promise<Material> {
  const model = inferShapes(given)
  const data = ctx.data.calibration
  const samples = data && (await heldSamples(data, o.samples))
  const found = channelGroups(model)
  const groups = o.channels ? await groupChoices(found, o, samples, ctx) : []
  const weights = o.types.length > 0 ? typeChoices(model, o, ctx) : []
  const isFormed = (o.sparsity?.length ?? 0) + (o.ranks?.length ?? 0) > 0
  const ids = new Set([
    ...groups.flatMap(({ group }) => group.slices.filter((s) => s.isSummed).map((s) => s.value)),
    ...weights.flatMap((w) => w.parts.flatMap((p) => p.ids)),
    ...(isFormed ? linearWeights(model) : [])
  ])
  const layers = samples ? await knownLayers(model, ids, samples, ctx) : new Map<string, Known>()
  const spelled = spelledIn(
    model,
    weights.flatMap((w) => w.parts),
    bytesOf
  )
  const { sparsity = [], ranks = [] } = o
  const forms = isFormed
    ? formChoices(model, formedIn(groups, layers, o), { ...o, sparsity, ranks }, { ctx, bytesOf, spelled })
    : []
  return { model, found, groups, weights, forms, layers, samples, spelled }
}

const linearWeights = (model: Model): readonly string[] =>
  model.graph.nodes.flatMap((node) => {
    const layer = layerInput(model, node)
    return typeof layer === 'string' ? [] : [layer.weight]
  })

/** Layers whose moments are known may have forms. */
function formedIn(
  groups: readonly GroupChoice[],
  layers: ReadonlyMap<string, Known>,
  o: MaterialOptions
): readonly Formed[] {
  const slices = groups.flatMap(({ group }) => group.slices)
  const narrow = (id: string, isSummed: boolean): number =>
    slices.some((s) => s.value === id && s.isSummed === isSummed) ? narrowest : 1
  return [...layers].flatMap(([id, { layer }]) =>
    o.exclude.includes(layer.node.name)
      ? []
      : [{ id, layer, narrowest: { in: narrow(id, true), out: narrow(id, false) } }]
  )
}

async function groupChoices(
  found: Channels,
  o: MaterialOptions,
  samples: Dataset | undefined,
  ctx: Context
): Promise<GroupChoice[]> {
  const align = ctx.target.channelMultiple
  const wide = freeGroups(found).filter((g) => g.channels > blockOf(g, align) && !o.exclude.includes(g.name))
  if (wide.length === 0) return []
  const scores = samples
    ? await activationScores(found.model, wide, samples, { centred: true }, ctx)
    : weightScores(found.model, wide, 'l2', ctx)
  return wide.flatMap((group) => {
    const own = scores.get(group)
    if (!own) return []
    const order = Array.from(own.keys()).sort((a, b) => (own[b] as number) - (own[a] as number) || a - b)
    const block = blockOf(group, align)
    const least = Math.ceil(o.leastKept * group.channels)
    const counts = new Set([group.channels])
    for (let n = Math.floor(group.channels / block) * block; n >= Math.max(1, least); n -= block) counts.add(n)
    const kept = [...counts].sort((a, b) => a - b).map((n) => order.slice(0, n).sort((a, b) => a - b))
    return kept.length > 1 ? [{ group, kept }] : []
  })
}

/** Types by rising bytes. Weights that are a small part of the whole share a unit with those of the same shape. */
function typeChoices(model: Model, o: MaterialOptions, ctx: Pick<Context, 'target'>): TypeChoice[] {
  const parts = partsOf(model, { types: o.types, exclude: o.exclude, minElements }, ctx).filter(
    (p) => p.ways.length > 1
  )
  const all = parts.reduce((n, p) => n + p.elements, 0)
  const byKey = new Map<string, Part[]>()
  for (const [i, p] of parts.entries()) {
    const shapes = p.ids.map((id) => model.graph.values.get(id)?.data?.shape.join('×')).join()
    const key = p.elements < smallShare * all ? `${shapes} ${p.ways.map((w) => w.type)}` : String(i)
    byKey.set(key, [...(byKey.get(key) ?? []), p])
  }
  return [...byKey.values()].map((own) => {
    const bytes = (type: Way['type']): number =>
      own.reduce((n, p) => n + (p.ways.find((w) => w.type === type)?.bytes ?? 0), 0)
    const types = (own[0] as Part).ways.map((w) => w.type).sort((a, b) => bytes(a) - bytes(b))
    const [first] = (own[0] as Part).nodes
    return { name: own.length > 1 ? `${first} and ${own.length - 1} alike` : String(first), parts: own, types }
  })
}

async function knownLayers(
  model: Model,
  ids: ReadonlySet<string>,
  samples: Dataset,
  ctx: Context
): Promise<ReadonlyMap<string, Known>> {
  const { graph } = model
  let bytes = 0
  const layers = graph.nodes.flatMap((node) => {
    const layer = layerInput(model, node)
    if (typeof layer === 'string' || layer.dtype !== 'float32' || !ids.has(layer.weight)) return []
    bytes += 8 * layer.groups * layer.k ** 2
    const isSole = consumers(graph, layer.weight).length === 1 && layer.linear.alpha === 1
    return isSole && bytes <= mostMoments ? [layer] : []
  })
  const out = new Map<string, Known>()
  let done = 0
  for await (const [layer, gram] of grams(model, layers, samples, { ...ctx, progress: () => {} })) {
    const bias = ownBias(model, layer)
    const moments = bias === undefined ? gram : centred(gram)
    out.set(layer.weight, { layer, gram, moments, ...(bias === undefined ? {} : { bias }) })
    ctx.progress('looking at the inputs of layers', ++done, layers.length)
  }
  if (layers.length < ids.size)
    ctx.note(`search: ${ids.size - layers.length} of ${ids.size} weights are rounded without data`)
  return out
}

/** The float constant that is a layer's bias and no other's, one number a channel. */
function ownBias({ graph }: Model, { node }: LayerInput): string | undefined {
  const place = biasPlace(graph, node)
  if (typeof place === 'string' || place.kind !== 'float' || place.linear.bias?.beta !== 1) return undefined
  const id = node.inputs[place.linear.bias.input]
  const data = id == null ? undefined : constant(graph, id)
  if (id == null || !data || !isFloat(data.dtype) || elementCount(data.shape) !== place.channels) return undefined
  return consumers(graph, id).length === 1 ? id : undefined
}

/**
 * Without choices that another beats in both bytes and harm, so that harm falls from each choice to the next; `harms` by unit
 * and choice. Types are compared at full width and where a group keeps its least.
 */
export function undominated(
  m: Material,
  harms: readonly (readonly number[])[],
  sizeOf: (unit: number, choice: number, share: number) => number
): { readonly material: Material; readonly harms: readonly (readonly number[])[] } {
  const kept = harms.map((own, unit) => {
    const out: number[] = []
    const isDearer = (a: number, b: number): boolean =>
      [1, narrowest].every((share) => sizeOf(unit, a, share) > sizeOf(unit, b, share))
    // From the last, the model as it is, down: what is cheaper may do more harm, but not more than what is cheaper still.
    for (let c = own.length - 1; c >= 0; c--) {
      const beaten = own.some((h, other) => other < c && h <= (own[c] as number) && isDearer(c, other))
      const last = out.at(-1)
      if (c === own.length - 1 || (!beaten && (last === undefined || isDearer(last, c)))) out.push(c)
    }
    return out.reverse()
  })
  const of = <T>(all: readonly T[], unit: number): T[] => (kept[unit] as number[]).map((c) => all[c] as T)
  return {
    material: {
      ...m,
      groups: m.groups.map((g, i) => ({ ...g, kept: of(g.kept, i) })),
      weights: m.weights.map((w, i) => ({ ...w, types: of(w.types, m.groups.length + i) })),
      forms: m.forms.map((f, i) => {
        const left = kept[m.groups.length + m.weights.length + i] as number[]
        return { ...f, forms: f.forms.filter((_, c) => left.includes(c)) }
      })
    },
    harms: harms.map((own, unit) => of(own, unit))
  }
}

/** Share of a layer's channels on either side that stay at the narrowest. */
const narrowest = 0.6
