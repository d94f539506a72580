/** Where the fastest split loses too much: its layers are made more precise, those first that change the output most for the time they save. */
import type { Model } from '../../../types.ts'
import type { Context } from '../../types.ts'
import { applyStatic } from '../static/apply.ts'
import type { NodePlan, StaticPlan } from '../static/plan.ts'
import { type Choice, type Point, paretoFront } from './knapsack.ts'
import { dynamicAlone, layersOf, mostBuilds, type Split, type SplitJob, sidesOf } from './split.ts'
import type { MixOptions } from './types.ts'
import { walk } from './walk.ts'

/** A layer of a split with the sides that it may go to, the split's own first. */
interface Movable {
  readonly node: string
  readonly ways: readonly { readonly side: 'static' | 'dynamic' | 'float'; readonly choice: Choice }[]
}

/** Splits with more precise layers than `from`, which loses too much. The layers of the greatest e² are changed first. */
export async function giveBack(
  { model, able, measure, look }: SplitJob,
  from: Split,
  o: MixOptions & { readonly maxDrop: number },
  ctx: Context
): Promise<readonly Split[]> {
  const { plan } = from
  const fixed = plan ? layersOf(plan) : []
  const mayBeDynamic = new Set(able.layers)
  const total = fixed.length + fixed.filter((n) => mayBeDynamic.has(n.node)).length + from.dynamic.length
  let done = 0
  const alone = async (made: Model): Promise<number> => {
    ctx.progress('measuring layers', done++, total)
    return (await measure(made, { beside: model, samples: o.probes })).error
  }
  const inDynamic = async (node: string): Promise<number> => alone(await dynamicAlone(model, node, able, ctx))
  // The time that int8 saves in a single layer is within the noise of a profile: all layers count alike.
  const movable: Movable[] = []
  for (const n of fixed) {
    const harm = await alone(applyStatic(model, onlyOne(plan as StaticPlan, n, model)))
    const between = mayBeDynamic.has(n.node) ? await inDynamic(n.node) : undefined
    movable.push({
      node: n.node,
      ways: [
        { side: 'static', choice: { cost: 0, harm } },
        ...(between !== undefined && between < harm
          ? [{ side: 'dynamic' as const, choice: { cost: 0.5, harm: between } }]
          : []),
        { side: 'float', choice: { cost: 1, harm: 0 } }
      ]
    })
  }
  for (const node of from.dynamic)
    movable.push({
      node,
      ways: [
        { side: 'dynamic', choice: { cost: 0, harm: await inDynamic(node) } },
        { side: 'float', choice: { cost: 1, harm: 0 } }
      ]
    })
  const front = paretoFront(movable.map((m) => m.ways.map((w) => w.choice)))
  const on = (p: Point, side: 'dynamic' | 'float'): readonly string[] =>
    movable.flatMap((m, i) => (m.ways[p.picks[i] as number]?.side === side ? [m.node] : []))
  const found: Split[] = []
  await walk(
    // The first split changes no layer; it was measured before.
    front.slice(1),
    async (p: Point) => {
      const sides = { ...sidesOf(from), float: [...from.float, ...on(p, 'float')], dynamic: on(p, 'dynamic') }
      const split = await look(sides)
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
    symmetric: plan.symmetric,
    takesOver: plan.takesOver,
    cannotMove: plan.cannotMove
  }
}
