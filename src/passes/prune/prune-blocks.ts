/**
 * Blocks between residual joins that matter least are left out, so that a network gets shallower. The harm of each is how far
 * the outputs on samples are off without it; after every block that goes, those that may be next are measured anew in the
 * model that is left, with the means and deviations of its layers put right. In the end what is left is repaired.
 */
import { z } from 'zod'
import { PareError, stopIfAborted } from '../../base/errors.ts'
import { consumers } from '../../ir/graph.ts'
import { heldSamples } from '../../observe/held.ts'
import { costOf } from '../../ops/cost.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Dataset, Model } from '../../types.ts'
import { definePass, parseOptions } from '../pass.ts'
import { simplify } from '../simplify/index.ts'
import { parameterCount } from '../train/learn.ts'
import { refuseRounded } from '../train/loss.ts'
import type { Context } from '../types.ts'
import { blockBounds, boundKinds, type Candidate, needMeasure, outOfReach, savingOf } from './block-bounds.ts'
import { type Block, blockCost, findBlocks, type HeldBlock, withoutBlocks } from './blocks.ts'
import { type Harm, harmBeside } from './harm.ts'
import { answered } from './reconstruct.ts'
import { repaired } from './repair.ts'
import { reestimated } from './statistics.ts'

const pass = 'prune-blocks'

const left = (of: string) => z.number().gt(0).lt(1).optional().describe(`${of} that may be left, after / before`)

const options = {
  count: z.int().min(1).optional().describe('blocks to leave out'),
  ratio: z.number().gt(0).lt(1).optional().describe('share of the blocks to leave out'),
  macs: left('multiply-adds'),
  parameters: left('parameters'),
  latency: left('latency'),
  maxDrop: z
    .number()
    .gt(0)
    .lt(1)
    .optional()
    .meta({ format: 'share' })
    .describe('instead: as many blocks as the metric can do without, with this drop on the samples that choose'),
  blocks: z.array(z.string()).default([]).describe('instead: these blocks, by the names of the nodes that join them'),
  exclude: z.array(z.string()).default([]).describe('blocks that stay, by the names of the nodes that join them'),
  repair: z
    .enum(['auto', 'none', 'statistics', 'weights'])
    .default('auto')
    .describe(
      'on samples, without labels: weights of the layers that are left by least squares (weights), or their means and deviations (statistics); auto: weights'
    ),
  samples: z.int().min(1).default(256).describe('samples that harm and repair are measured on, at most')
} as const

type Options = z.output<z.ZodObject<typeof options>>

/** Makes a model shallower. */
export const pruneBlocks = definePass({
  name: pass,
  summary: 'leave out the blocks between residual joins that matter least, and repair what is left: time that is gone',
  group: 'pruning',
  uses: ['calibration', 'selection', 'train'],
  lossy: true,
  options,
  run: async (given, o, ctx) => {
    refuseRounded(given, pass)
    checkBounds(o)
    const deep = inferShapes(await simplify.run(given, parseOptions(simplify, { merge: false }), ctx))
    const found = findBlocks(deep)
    const candidates = candidatesOf(deep, found, o, ctx)
    const samples = await samplesFor(o, ctx)
    const begun = {
      deep,
      blocks: found.blocks,
      candidates,
      samples,
      o,
      ctx,
      harm: await harmBeside(deep, samples, ctx)
    }
    const work: Work = { ...begun, alone: await harmAlone(begun) }
    const chosen = o.blocks.length > 0 ? candidates.filter((c) => o.blocks.includes(c.name)) : await leastHarmful(work)
    if (chosen.length === 0) return given
    const made = await finished(work, chosen)
    await tell(work, chosen, made)
    return made
  }
})

// ---------------------------------------------------------------- what is asked

function checkBounds(o: Options): void {
  const asked = boundKinds.filter((kind) => o[kind] !== undefined)
  const kinds = [asked.length > 0, o.maxDrop !== undefined, o.blocks.length > 0].filter(Boolean).length
  if (kinds === 1) return
  throw new PareError(
    'E_OPTION',
    kinds === 0
      ? `${pass} needs a bound`
      : `${pass} takes bounds on what is left, a drop, or names of blocks, and not two of these`,
    {
      where: pass,
      facts: { bounds: [...boundKinds, 'maxDrop', 'blocks'].join(', ') },
      hint: 'such as --macs 0.5; of count, ratio, macs, parameters and latency several may be given, and all will hold'
    }
  )
}

async function samplesFor(o: Options, ctx: Context): Promise<Dataset> {
  const data = ctx.data.calibration ?? ctx.data.train
  if (data) return heldSamples(data, o.samples)
  throw new PareError('E_DATA', `${pass} measures on samples what each block is good for`, {
    where: pass,
    hint: 'give --data; labels are not needed'
  })
}

// ---------------------------------------------------------------- who may go

function candidatesOf(
  deep: Model,
  { blocks, held }: ReturnType<typeof findBlocks>,
  o: Options,
  ctx: Context
): readonly Candidate[] {
  for (const { add, reason } of held) ctx.refuse(add, reason)
  const cost = costOf(deep)
  const all = blocks.map((block) => ({ name: nameOf(block.add), block, ...blockCost(deep, block, cost) }))
  for (const [kind, names] of [
    ['exclude', o.exclude],
    ['blocks', o.blocks]
  ] as const)
    for (const name of names)
      if (!all.some((c) => c.name === name))
        throw new PareError('E_OPTION', `there is no block that ${name} joins`, {
          where: `${pass}, ${kind}`,
          facts: { blocks: all.map((c) => c.name).join(', ') || 'none' }
        })
  const free = all.filter((c) => {
    if (o.exclude.includes(c.name)) return false
    const unread = unreadWithout(deep, c.block)
    if (unread !== undefined) ctx.refuse(c.block.add, `nothing else reads the input ${unread}`)
    return unread === undefined
  })
  if (free.length > 0) return free
  throw new PareError('E_UNSUPPORTED', 'no block of this model can be left out', {
    where: pass,
    facts: { 'what holds them': reasonsOf(held) },
    hint: 'prune channels or weights instead: prune-channels, prune-weights'
  })
}

const nameOf = (add: HeldBlock['add']): string => add.name || (add.outputs[0] as string)

const reasonsOf = (held: readonly HeldBlock[]): string =>
  held.length > 0 ? held.map((h) => `${nameOf(h.add)} ${h.reason}`).join('; ') : 'there are no residual joins'

function unreadWithout(deep: Model, block: Block): string | undefined {
  const { graph } = withoutBlocks(deep, [block])
  return graph.inputs.find((id) => consumers(deep.graph, id).length > 0 && consumers(graph, id).length === 0)
}

// ---------------------------------------------------------------- which go

interface Work {
  readonly deep: Model
  /** All of them, also those that stay in any case. */
  readonly blocks: readonly Block[]
  readonly candidates: readonly Candidate[]
  readonly samples: Dataset
  readonly o: Options
  readonly ctx: Context
  readonly harm: Harm
  /** Harm without each block alone. */
  readonly alone: ReadonlyMap<Candidate, number>
}

const without = (deep: Model, chosen: readonly Candidate[]): Model =>
  withoutBlocks(
    deep,
    chosen.map((c) => c.block)
  )

async function harmAlone({
  deep,
  candidates,
  harm,
  ctx
}: Omit<Work, 'alone'>): Promise<ReadonlyMap<Candidate, number>> {
  const alone = new Map<Candidate, number>()
  for (const c of candidates) {
    stopIfAborted(ctx.signal)
    ctx.progress('measuring blocks', alone.size, candidates.length)
    alone.set(c, await harm(without(deep, [c])))
  }
  return alone
}

/** Blocks in the order in which they go, until the bounds hold. */
async function leastHarmful(work: Work): Promise<readonly Candidate[]> {
  const { deep, candidates, o, ctx, harm } = work
  const bounds = blockBounds(deep, candidates, o, ctx)
  const chosen: Candidate[] = []
  const last = new Map(work.alone)
  let now = deep
  for (;;) {
    stopIfAborted(ctx.signal)
    ctx.progress('leaving out blocks', chosen.length, candidates.length)
    const missing = await bounds(without(deep, chosen), chosen.length)
    if (missing.length === 0) return chosen
    const base = chosen.length === 0 ? 0 : await harm(now)
    const price = (c: Candidate): number => ((last.get(c) as number) - base) / savingOf(c, missing)
    const rest = candidates.filter((c) => !chosen.includes(c))
    const next = await cheapest(rest, price, async (c) => {
      if (chosen.length > 0) last.set(c, await harm(withoutBlocks(now, [c.block])))
    })
    if (!next && o.maxDrop !== undefined) return chosen
    if (!next) throw outOfReach(missing)
    if (o.maxDrop !== undefined && (await dropOf(work, [...chosen, next])) > o.maxDrop) return chosen
    chosen.push(next)
    now = await repaired(without(deep, chosen), deep, new Map(), work.samples, ctx)
  }
}

/**
 * The candidate of the least price. Prices of before are taken to have grown at most: candidates are measured anew from the
 * cheapest on, until one of those is cheaper than all that are not.
 */
async function cheapest(
  all: readonly Candidate[],
  price: (c: Candidate) => number,
  measure: (c: Candidate) => Promise<void>
): Promise<Candidate | undefined> {
  const fresh = new Set<Candidate>()
  for (;;) {
    const [best] = [...all].sort((a, b) => price(a) - price(b))
    if (!best || fresh.has(best)) return best
    await measure(best)
    fresh.add(best)
  }
}

async function dropOf(work: Work, chosen: readonly Candidate[]): Promise<number> {
  const measure = needMeasure(work.ctx, 'maxDrop')
  return (await measure(await finished(work, chosen), { beside: work.deep })).drop.value
}

// ---------------------------------------------------------------- the shallow model

const simplified = (model: Model, ctx: Context): Promise<Model> =>
  simplify.run(model, parseOptions(simplify, { merge: false }), ctx)

async function finished({ deep, blocks, samples, o, ctx }: Work, chosen: readonly Candidate[]): Promise<Model> {
  const bare = without(deep, chosen)
  const by = o.repair === 'auto' ? 'weights' : o.repair
  if (by === 'none') return simplified(bare, ctx)
  if (by === 'statistics')
    return reestimated(await simplified(await repaired(bare, deep, new Map(), samples, ctx), ctx), samples, ctx)
  const values = new Set(chosen.map((c) => c.block.output))
  const joins = new Map(blocks.map(({ add, skip }) => [add.inputs.find((id) => id !== skip) as string, skip]))
  return simplified(await answered(deep, bare, { values, joins }, samples, ctx), ctx)
}

// ---------------------------------------------------------------- what is said

const mostTold = 8
/** The drop is told of so many samples that choose, at most. */
const toldSamples = 1000

async function tell(work: Work, chosen: readonly Candidate[], made: Model): Promise<void> {
  const { deep, candidates, o, ctx, harm, alone } = work
  const blocks = candidates.map((c) => ({
    name: c.name,
    harm: alone.get(c),
    ...(c.macs === undefined ? {} : { macs: c.macs }),
    bytes: c.bytes,
    ...(chosen.includes(c) ? { leftOut: chosen.indexOf(c) + 1 } : {})
  }))
  const macs = { before: costOf(deep).total, after: costOf(made).total }
  const parameters = { before: parameterCount(deep), after: parameterCount(made) }
  const change = { bare: await harm(without(deep, chosen)), repaired: await harm(made) }
  const measured = ctx.measure && (await ctx.measure(made, { beside: deep, samples: toldSamples }))
  const drop = measured && { metric: measured.metric, drop: measured.drop }
  ctx.plan({ macs, parameters, harm: change, ...(drop ?? {}), blocks })
  const share = (a: number, b: number): string => (a / b).toPrecision(2)
  const ofMacs = macs.before && macs.after ? ` and ${share(macs.after, macs.before)} of the multiply-adds` : ''
  const names = chosen.slice(0, mostTold).map((c) => c.name)
  const rest = chosen.length > mostTold ? ` and ${chosen.length - mostTold} more` : ''
  ctx.note(
    `${pass}: ${chosen.length} of ${candidates.length} blocks are left out, ${share(parameters.after, parameters.before)} of the parameters${ofMacs} are left; without ${names.join(', ')}${rest}; ‖change of the outputs‖² ${change.bare.toPrecision(2)}, ${change.repaired.toPrecision(2)} once repaired`
  )
  if (o.latency !== undefined || o.maxDrop !== undefined) {
    const { repair, samples } = o
    ctx.replay?.([[pass, { blocks: chosen.map((c) => c.name), repair, samples }]])
  }
}
