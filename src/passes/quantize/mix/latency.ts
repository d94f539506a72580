/**
 * Which layers compute in int8. Kernel times of the float and of the whole int8 model say what each layer gains or loses;
 * where int8 meets float a value is converted, which takes time by its elements. The fastest split is then a minimum cut
 * (min-cut.ts). Kernel times under a profiler are rough, so splits for dearer and cheaper conversions are built and timed
 * against each other. Where the fastest loses too much, layers go back to float by e² for the time they save.
 */

import { PareError } from '../../../base/errors.ts'
import { cheapestSides, type Link } from '../../../base/min-cut.ts'
import { consumers, isOutput } from '../../../ir/graph.ts'
import { isQdq } from '../../../ops/quantized.ts'
import type { Comparison, Context, Dim, Model, Node } from '../../../types.ts'
import { parseOptions } from '../../pass.ts'
import { round } from '../round/round.ts'
import { applyStatic } from '../static/apply.ts'
import type { NodePlan, StaticPlan } from '../static/plan.ts'
import { quantizeStatic } from '../static/quantize-static.ts'
import { quantizeWeights } from '../weights/quantize-weights.ts'
import { type Point, paretoFront } from './knapsack.ts'
import type { MixOptions } from './types.ts'
import { isSafe, walk } from './walk.ts'

/** A split that was built and measured. */
interface Split extends Comparison {
  /** Were codes chosen by each layer's output on data? */
  readonly isRounded: boolean
  readonly float: readonly string[]
  readonly model: Model
  readonly plan: StaticPlan | undefined
}

/** Seconds that a split is timed for. */
const seconds = 1
/** Conversions cost about what the profile says, or this many times as much. */
const conversionScales = [0.5, 1, 2, 4]
const mostBuilds = 6

/** The fastest split into int8 and float layers whose loss is within the bound. Throws `E_CONSTRAINT` where none reaches the budget. */
export async function mixLatency(model: Model, o: MixOptions, ctx: Context): Promise<Model> {
  const { measure } = ctx
  if (!measure || !ctx.data.calibration)
    throw new PareError('E_DATA', 'mix-precision for latency calibrates and measures: it needs samples', {
      hint: '--data PATH'
    })
  if (o.budget.bytes !== undefined)
    throw new PareError('E_OPTION', 'for latency the budget is of latency', {
      where: 'budget.bytes',
      hint: '--budget.latency'
    })
  const look = splitter(model, o, ctx, measure)
  const full = await look([], { kernels: true })
  if (!full.plan) return model
  const splits = [full]
  for (const float of await splitsFor(model, full, measure)) splits.push(await look(float, {}))
  const isKept = (s: Split): boolean => o.maxDrop === undefined || isSafe(s, splits, o.maxDrop)
  const first = fastest(splits)
  if (o.maxDrop !== undefined && ratioOf(first) < 1 && !isKept(first)) {
    // Better codes cost no time.
    const rounded = await look(first.float, { isRounded: true })
    splits.push(rounded)
    if (!isKept(rounded)) splits.push(...(await giveBack(model, rounded, look, { ...o, maxDrop: o.maxDrop }, ctx)))
  }
  const best = fastest(splits.filter((s) => isKept(s) && ratioOf(s) < 1))
  return finish(model, best, splits, o, ctx)
}

const ratioOf = (s: Split): number => s.latency?.median ?? Number.POSITIVE_INFINITY

function fastest(splits: readonly Split[]): Split {
  return splits.toSorted((a, b) => ratioOf(a) - ratioOf(b))[0] as Split
}

type Look = (
  float: readonly string[],
  how: { readonly kernels?: boolean; readonly isRounded?: boolean }
) => Promise<Split>

/** Builds and measures: these nodes stay float, the weights of all are 8 bits. */
function splitter(model: Model, o: MixOptions, ctx: Context, measure: NonNullable<Context['measure']>): Look {
  const quiet = { ...ctx, refuse: () => {}, note: () => {}, plan: () => {} }
  let built = 0
  return async (float, { kernels = false, isRounded = false }) => {
    ctx.progress('timing splits', built++, undefined)
    let plan: StaticPlan | undefined
    const split = {
      ...quiet,
      plan: (p: unknown) => {
        plan = p as StaticPlan
      }
    }
    const integer = await quantizeStatic.run(model, parseOptions(quantizeStatic, staticOptions(float, o)), split)
    const better = isRounded
      ? await round.run(integer, parseOptions(round, {}), { ...quiet, reference: model })
      : integer
    const made = await quantizeWeights.run(better, parseOptions(quantizeWeights, {}), quiet)
    const measured = await measure(made, { beside: model, samples: o.samples, seconds, kernels })
    return { ...measured, float, isRounded, model: made, plan }
  }
}

const staticOptions = (float: readonly string[], o: MixOptions) => ({ exclude: [...o.exclude, ...float] })

function finish(model: Model, best: Split | undefined, splits: readonly Split[], o: MixOptions, ctx: Context): Model {
  const spell = (s: Split): string =>
    `${s.float.length} in float${s.isRounded ? ', codes by data' : ''}: ${ratioOf(s).toFixed(2)} × at ${(100 * s.drop.value).toFixed(1)} points (e² ${s.error.toExponential(1)})`
  ctx.note(`mix-precision: layers that stay float, latency and loss, as measured: ${splits.map(spell).join(' · ')}`)
  ctx.plan({
    splits: splits.map(({ float, latency, drop, error }) => ({ float, latency, drop, error })),
    float: best?.float,
    curves: {
      'layers in float against latency': splits
        .map((s) => [s.float.length, ratioOf(s)] as const)
        .sort((a, b) => a[0] - b[0])
    }
  })
  if (o.budget.latency !== undefined && !(best && ratioOf(best) <= o.budget.latency))
    throw new PareError(
      'E_CONSTRAINT',
      `no split reaches ${o.budget.latency} of the latency; the fastest within the bound: ${best ? ratioOf(best).toFixed(2) : 'float'}`,
      {
        where: 'budget.latency'
      }
    )
  if (!best) ctx.note('mix-precision: no split into int8 and float layers is faster than float within the bound')
  ctx.replay?.(
    best
      ? [
          ['quantize-static', staticOptions(best.float, o)],
          ...(best.isRounded ? [['round', {}] as const] : []),
          ['quantize-weights', {}]
        ]
      : []
  )
  return best ? best.model : model
}

// ---------------------------------------------------------------- splits

const layersOf = (plan: StaticPlan): readonly NodePlan[] => plan.nodes.filter((n) => n.weight)

/** Node names to leave in float, for every price of a conversion; without doubles. */
async function splitsFor(
  model: Model,
  full: Split,
  measure: NonNullable<Context['measure']>
): Promise<readonly (readonly string[])[]> {
  const layers = layersOf(full.plan as StaticPlan)
  const float = (await measure(model, { beside: model, samples: 1, kernels: true })).kernels
  const integer = full.kernels
  if (!float || !integer) return []
  const names = new Set(layers.map((n) => n.node))
  const sides = layers.map(({ node }) => ({ first: integer.get(node) ?? 0, second: float.get(node) ?? 0 }))
  const { links, ends } = conversions(model, layers)
  const rate = conversionMs(full.model, integer)
  const out = new Map<string, readonly string[]>()
  for (const scale of conversionScales) {
    const each = rate * scale
    const priced = sides.map((s, i) => ({ first: s.first + (ends[i] as number) * each, second: s.second }))
    const isFloat = cheapestSides(
      priced,
      links.map((l) => ({ ...l, cost: l.cost * each }))
    )
    const chosen = layers.flatMap((n, i) => (isFloat[i] ? [n.node] : []))
    if (chosen.length > 0 && chosen.length < names.size) out.set(chosen.join('\n'), chosen)
  }
  const slower = layers.flatMap((n, i) => ((sides[i]?.first ?? 0) > (sides[i]?.second ?? 0) ? [n.node] : []))
  if (slower.length > 0 && slower.length < names.size) out.set(slower.join('\n'), slower)
  return [...out.values()].slice(0, mostBuilds)
}

/** Elements that are converted where two layers are on different sides, and where an int8 layer meets inputs or outputs of the model. */
function conversions(model: Model, layers: readonly NodePlan[]): { links: readonly Link[]; ends: readonly number[] } {
  const index = new Map(layers.map((n, i) => [n.output, i]))
  const ends = layers.map(() => 0)
  const links: Link[] = []
  const { graph } = model
  const size = (id: string): number => elementsOf(graph.values.get(id)?.shape)
  const follow = (id: string, from: number, seen: Set<string>): void => {
    if (seen.has(id)) return
    seen.add(id)
    if (from >= 0 && isOutput(graph, id)) ends[from] = (ends[from] as number) + size(id)
    for (const node of consumers(graph, id)) {
      const to = index.get(node.outputs[0] ?? '')
      if (to === undefined) for (const next of outputsOf(node)) follow(next, from, seen)
      else if (from < 0) ends[to] = (ends[to] as number) + size(id)
      else links.push({ a: from, b: to, cost: size(id) })
    }
  }
  for (const id of graph.inputs) follow(id, -1, new Set())
  for (const [i, n] of layers.entries()) follow(n.output, i, new Set())
  return { links, ends }
}

const outputsOf = (node: Node): readonly string[] => node.outputs.filter(Boolean)

/** Elements of one sample; 0 where unknown. */
const elementsOf = (shape: readonly Dim[] | undefined): number =>
  shape?.slice(1).reduce<number>((n, d) => n * (typeof d === 'number' ? d : 0), 1) ?? 0

/** What a conversion takes where the profile shows none. */
const usualMs = 5e-7

/** ms to convert one element, as the conversions in a model took. */
function conversionMs(made: Model, kernels: ReadonlyMap<string, number>): number {
  let [ms, elements] = [0, 0]
  for (const n of made.graph.nodes) {
    if (!isQdq(n)) continue
    const took = kernels.get(n.name)
    const size = elementsOf(made.graph.values.get(n.outputs[0] ?? '')?.shape)
    if (took === undefined || size === 0) continue
    ms += took
    elements += size
  }
  return elements > 0 ? ms / elements : usualMs
}

// ---------------------------------------------------------------- giving precision back

/** Splits with more float layers than `from`, which loses too much. The layers of the greatest e² go back to float first. */
async function giveBack(
  model: Model,
  from: Split,
  look: Look,
  o: MixOptions & { readonly maxDrop: number },
  ctx: Context
): Promise<readonly Split[]> {
  const plan = from.plan as StaticPlan
  const layers = layersOf(plan)
  const errors: number[] = []
  for (const n of layers) {
    ctx.progress('measuring layers', errors.length, layers.length)
    const alone = applyStatic(model, onlyOne(plan, n, model))
    errors.push((await ctx.measure?.(alone, { beside: model, samples: o.probes }))?.error ?? 0)
  }
  // The time that int8 saves in a single layer is within the noise of a profile: all layers count alike.
  const front = paretoFront(
    layers.map((_, i) => [
      { cost: 0, harm: errors[i] as number },
      { cost: 1, harm: 0 }
    ])
  )
  const found: Split[] = []
  await walk(
    // The first split gives no layer back; it was measured before.
    front.slice(1),
    async (p: Point) => {
      const split = await look([...from.float, ...layers.flatMap((n, i) => (p.picks[i] === 1 ? [n.node] : []))], {
        isRounded: from.isRounded
      })
      found.push(split)
      return split
    },
    { maxDrop: o.maxDrop, start: 0, stride: 2, prior: [from], most: mostBuilds, near: 0 }
  )
  return found
}

/** A plan for one layer: its inputs and output quantized, nothing else. */
function onlyOne(plan: StaticPlan, n: NodePlan, model: Model): StaticPlan {
  const node = model.graph.nodes.find((m) => m.outputs[0] === n.output)
  const own = new Set([n.output, ...n.data.flatMap((i) => node?.inputs[i] ?? [])])
  return {
    values: plan.values
      .filter((v) => v.ids.some((id) => own.has(id)))
      .map((v) => ({ ...v, ids: v.ids.filter((id) => own.has(id)) })),
    nodes: [n],
    weights: plan.weights.filter((w) => w.id === n.weight?.id),
    clamps: [],
    takesOver: plan.takesOver,
    cannotMove: plan.cannotMove
  }
}
