/**
 * Layers split among three ways to compute: int8 with ranges from calibration (static), int8 with ranges of the inputs taken
 * at run time (dynamic), and float over weights of 8 bits. A split is a recipe, which is built and measured.
 */
import { allGraphs, graphView, opName } from '../../../ir/graph.ts'
import { linearOf } from '../../../ops/ask.ts'
import { opFor } from '../../../ops/index.ts'
import type { Target } from '../../../targets/types.ts'
import type { Graph, Model, Node } from '../../../types.ts'
import { type AnyPass, parseOptions } from '../../pass.ts'
import type { Comparison, Context, Recipe } from '../../types.ts'
import { weightKind } from '../common/uses.ts'
import type { DynamicPlan } from '../dynamic/plan.ts'
import { quantizeDynamic } from '../dynamic/quantize-dynamic.ts'
import { round } from '../round/round.ts'
import type { NodePlan, StaticPlan } from '../static/plan.ts'
import { quantizeStatic } from '../static/quantize-static.ts'
import { quantizeWeights } from '../weights/quantize-weights.ts'
import type { MixOptions } from './types.ts'

/** How layers compute, by names of nodes; those that are not named are static int8. */
export interface Sides {
  /** Is anything static at all? */
  readonly isStatic: boolean
  readonly float: readonly string[]
  readonly dynamic: readonly string[]
  /** Are the codes of static layers chosen by each layer's output on data? */
  readonly isRounded?: boolean
}

/** A split that was built and measured. */
export interface Split extends Comparison, Sides {
  readonly model: Model
  /** Of the static layers, where there are some. */
  readonly plan: StaticPlan | undefined
}

/** Layers that can be dynamic, and what goes with them. */
export interface DynamicLayers {
  readonly layers: readonly string[]
  /** Nodes that look up rows, whose tables are stored as integers too. */
  readonly tables: readonly string[]
  /** Only ONNX Runtime's own operators will do. */
  readonly microsoft: boolean
}

const none: DynamicLayers = { layers: [], tables: [], microsoft: false }

/** Products and recurrent layers that have a dynamic form on the target. */
export async function dynamicLayers(model: Model, o: MixOptions, ctx: Context): Promise<DynamicLayers> {
  const able = allGraphs(model).flatMap((g) =>
    g.nodes.flatMap((n) => {
      const kind = hasRow(ctx.target, n) ? kindOf(g, n) : undefined
      return kind ? [{ name: n.name, kind }] : []
    })
  )
  const named = able.map((n) => n.name)
  if (named.length === 0) return none
  const microsoft = able.some((n) => n.kind === 'recurrent')
  const plans: DynamicPlan[] = []
  const options = parseOptions(quantizeDynamic, { include: named, exclude: o.exclude, microsoft, correctBias: false })
  await quantizeDynamic.run(model, options, { ...quiet(ctx), plan: (p) => plans.push(p as DynamicPlan) })
  const planned = new Set(plans.flatMap((p) => p.nodes.map((n) => n.node)))
  const of = (isTable: boolean): readonly string[] =>
    able.flatMap(({ name, kind }) => (planned.has(name) && (kind === 'table') === isTable ? [name] : []))
  return { layers: of(false), tables: of(true), microsoft }
}

const hasRow = (target: Target, node: Node): boolean => target.dynamic.some((row) => row.op === opName(node))

/** Layers with weights for data and state are recurrent; convolutions have no fast dynamic kernel. */
function kindOf(graph: Graph, node: Node): 'product' | 'recurrent' | 'table' | undefined {
  if (opFor(node)?.linear) return linearOf(graphView(graph), node)?.patch ? undefined : 'product'
  return weightKind(node) === 'recurrent' ? 'recurrent' : 'table'
}

/** The passes that make a split. */
export function recipeOf(s: Sides, able: DynamicLayers, o: Pick<MixOptions, 'exclude'>): Recipe {
  const microsoft = able.microsoft ? { microsoft: true } : {}
  return [
    ...(s.isStatic ? [['quantize-static', { exclude: [...o.exclude, ...s.float, ...s.dynamic] }] as const] : []),
    ...(s.isRounded ? [['round', {}] as const] : []),
    ...(s.dynamic.length > 0
      ? [['quantize-dynamic', { include: [...s.dynamic, ...able.tables], ...microsoft }] as const]
      : []),
    ['quantize-weights', {}]
  ]
}

const passes: Readonly<Record<string, AnyPass>> = Object.fromEntries(
  [quantizeStatic, round, quantizeDynamic, quantizeWeights].map((p) => [p.name, p as AnyPass])
)

export type Look = (sides: Sides, how?: { readonly kernels?: boolean }) => Promise<Split>

/** Seconds that a split is timed for. */
const seconds = 1

/** Builds and measures splits of a model. */
export function splitter(
  model: Model,
  able: DynamicLayers,
  o: MixOptions,
  ctx: Context,
  measure: NonNullable<Context['measure']>
): Look {
  let built = 0
  return async (sides, { kernels = false } = {}) => {
    ctx.progress('timing splits', built++, undefined)
    let [made, plan]: [Model, StaticPlan | undefined] = [model, undefined]
    for (const [name, options] of recipeOf(sides, able, o)) {
      const pass = passes[name] as AnyPass
      const watched = {
        ...quiet(ctx),
        reference: model,
        plan: (p: unknown) => {
          if (pass.name === quantizeStatic.name) plan = p as StaticPlan
        }
      }
      made = await pass.run(made, parseOptions(pass, options), watched)
    }
    const measured = await measure(made, { beside: model, samples: o.samples, seconds, kernels })
    return { ...measured, ...sides, model: made, plan }
  }
}

/** The model with one layer dynamic. */
export async function dynamicAlone(model: Model, name: string, able: DynamicLayers, ctx: Context): Promise<Model> {
  const options = { include: [name], microsoft: able.microsoft, correctBias: false }
  return quantizeDynamic.run(model, parseOptions(quantizeDynamic, options), quiet(ctx))
}

const quiet = (ctx: Context): Context => ({ ...ctx, refuse: () => {}, note: () => {}, plan: () => {} })

/** What splits are made of and measured with. */
export interface SplitJob {
  readonly model: Model
  readonly able: DynamicLayers
  readonly measure: NonNullable<Context['measure']>
  readonly look: Look
}

export const sidesOf = ({ isStatic, float, dynamic, isRounded }: Split): Sides => ({
  ...{ isStatic, float, dynamic },
  ...(isRounded ? { isRounded } : {})
})

/** The layers with weights of a static plan. */
export const layersOf = (plan: StaticPlan): readonly NodePlan[] => plan.nodes.filter((n) => n.weight)

/** Splits that are built in one stage of the search, at most. */
export const mostBuilds = 6
