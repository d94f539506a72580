/**
 * Which layers compute in integers, and how. Kernel times of the float, of the whole static and of the whole dynamic model say
 * what each layer gains or loses; where static int8 meets anything else a value is converted, which takes time by its
 * elements. Dynamic layers take and give float: beside static ones they and float layers are one side, each with the faster
 * of the two kernels. The fastest split into these sides is a minimum cut (min-cut.ts). Kernel times under a profiler are
 * rough, so splits for dearer and cheaper conversions are built and timed against each other. Where the fastest loses too
 * much, layers are made more precise by e² for the time they save.
 */

import { PareError } from '../../../base/errors.ts'
import { cheapestSides, type Link } from '../../../base/min-cut.ts'
import { consumers, isOutput } from '../../../ir/graph.ts'
import { isQdq } from '../../../ops/quantized.ts'
import type { Dim, Model, Node } from '../../../types.ts'
import type { Context } from '../../types.ts'
import type { NodePlan, StaticPlan } from '../static/plan.ts'
import { giveBack } from './give-back.ts'
import {
  type DynamicLayers,
  dynamicLayers,
  layersOf,
  mostBuilds,
  recipeOf,
  type Sides,
  type Split,
  type SplitJob,
  sidesOf,
  splitter
} from './split.ts'
import type { MixOptions } from './types.ts'
import { isSafe } from './walk.ts'

/** Conversions cost about what the profile says, or this many times as much. */
const conversionScales = [0.5, 1, 2, 4]

/** The fastest split whose loss is within the bound. Throws `E_CONSTRAINT` where none reaches the budget. */
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
  const unable: DynamicLayers = { layers: [], tables: [], microsoft: false }
  const able = o.types.includes('dynamic') ? await dynamicLayers(model, o, ctx) : unable
  const job: SplitJob = { model, able, measure, look: splitter(model, able, o, ctx, measure) }
  const splits = await firstSplits(job, o.types.includes('int8'))
  if (splits.length === 0) return model
  const isKept = (s: Split): boolean => o.maxDrop === undefined || isSafe(s, splits, o.maxDrop)
  const first = fastest(splits)
  if (o.maxDrop !== undefined && ratioOf(first) < 1 && !isKept(first)) {
    // Better codes cost no time.
    const start = first.isStatic ? await job.look({ ...sidesOf(first), isRounded: true }) : first
    if (start !== first) splits.push(start)
    if (!isKept(start)) splits.push(...(await giveBack(job, start, { ...o, maxDrop: o.maxDrop }, ctx)))
  }
  const best = fastest(splits.filter((s) => isKept(s) && ratioOf(s) < 1))
  return finish(job, best, splits, o, ctx)
}

const ratioOf = (s: Split): number => s.latency?.median ?? Number.POSITIVE_INFINITY

function fastest(splits: readonly Split[]): Split {
  return splits.toSorted((a, b) => ratioOf(a) - ratioOf(b))[0] as Split
}

function finish(
  { model, able }: SplitJob,
  best: Split | undefined,
  splits: readonly Split[],
  o: MixOptions,
  ctx: Context
): Model {
  const spell = (s: Split): string =>
    `${waysOf(s)}: ${ratioOf(s).toFixed(2)} × at ${(100 * s.drop.value).toFixed(1)} points (e² ${s.error.toExponential(1)})`
  ctx.note(`mix-precision: layers by how they compute, latency and loss, as measured: ${splits.map(spell).join(' · ')}`)
  ctx.plan({
    splits: splits.map(({ float, dynamic, latency, drop, error }) => ({ float, dynamic, latency, drop, error })),
    float: best?.float,
    dynamic: best?.dynamic,
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
  if (!best) ctx.note('mix-precision: no split into integer and float layers is faster than float within the bound')
  ctx.replay?.(best ? recipeOf(best, able, o) : [])
  return best ? best.model : model
}

/** `12 static, 30 dynamic, 0 in float`. */
function waysOf({ plan, dynamic, float, isRounded }: Split): string {
  const fixed = plan ? layersOf(plan).length : 0
  return `${fixed} static${isRounded ? ' with codes by data' : ''}, ${dynamic.length} dynamic, ${float.length} in float`
}

// ---------------------------------------------------------------- splits

/** All static, all dynamic, and what kernel times make of these and float. */
async function firstSplits({ model, able, measure, look }: SplitJob, mayBeStatic: boolean): Promise<Split[]> {
  const fixed = mayBeStatic ? await look({ isStatic: true, float: [], dynamic: [] }, { kernels: true }) : undefined
  const full = fixed?.plan ? fixed : undefined
  const moving =
    able.layers.length > 0
      ? await look({ isStatic: false, float: [], dynamic: able.layers }, { kernels: true })
      : undefined
  const splits = [full, moving].flatMap((s) => s ?? [])
  if (splits.length === 0) return []
  const float = (await measure(model, { beside: model, samples: 1, kernels: true })).kernels
  if (!float) return splits
  const others = full
    ? sidesFor(model, full, float, moving?.kernels, able)
    : slowerLeftOut(able.layers, float, moving?.kernels)
  for (const sides of others) splits.push(await look(sides))
  return splits
}

type Times = ReadonlyMap<string, number> | undefined

/** All dynamic but for layers whose float kernel is faster. */
function slowerLeftOut(layers: readonly string[], float: Times, dynamic: Times): readonly Sides[] {
  const slow = layers.filter((n) => (dynamic?.get(n) ?? 0) > (float?.get(n) ?? Number.POSITIVE_INFINITY))
  if (slow.length === 0 || slow.length === layers.length) return []
  return [{ isStatic: false, float: slow, dynamic: layers.filter((n) => !slow.includes(n)) }]
}

/** The sides of layers for every price of a conversion; without doubles. */
function sidesFor(
  model: Model,
  full: Split,
  float: NonNullable<Times>,
  dynamic: Times,
  able: DynamicLayers
): readonly Sides[] {
  const layers = layersOf(full.plan as StaticPlan)
  const integer = full.kernels
  if (!integer) return []
  const mayBeDynamic = new Set(able.layers)
  const otherwise = (node: string): { readonly ms: number; readonly isDynamic: boolean } => {
    const [inFloat, ms] = [float.get(node) ?? 0, dynamic?.get(node)]
    return mayBeDynamic.has(node) && ms !== undefined && ms < inFloat
      ? { ms, isDynamic: true }
      : { ms: inFloat, isDynamic: false }
  }
  const sides = layers.map(({ node }) => ({ first: integer.get(node) ?? 0, second: otherwise(node).ms }))
  const { links, ends } = conversions(model, layers)
  const rate = conversionMs(full.model, integer)
  const out = new Map<string, Sides>()
  const add = (isOther: (i: number) => boolean): void => {
    const chosen = layers.flatMap((n, i) => (isOther(i) ? [n.node] : []))
    if (chosen.length === 0 || chosen.length === layers.length) return
    const [moved, kept] = [chosen.filter((n) => otherwise(n).isDynamic), chosen.filter((n) => !otherwise(n).isDynamic)]
    out.set(chosen.join('\n'), { isStatic: true, float: kept, dynamic: moved })
  }
  for (const scale of conversionScales) {
    const each = rate * scale
    const priced = sides.map((s, i) => ({ first: s.first + (ends[i] as number) * each, second: s.second }))
    const isOther = cheapestSides(
      priced,
      links.map((l) => ({ ...l, cost: l.cost * each }))
    )
    add((i) => isOther[i] === true)
  }
  add((i) => (sides[i]?.first ?? 0) > (sides[i]?.second ?? 0))
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
