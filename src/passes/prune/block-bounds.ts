/** How many blocks have to go: bounds on what is left, and what each block saves of what is still missing. */
import { PareError } from '../../base/errors.ts'
import { costOf } from '../../ops/cost.ts'
import type { Model } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import { simplify } from '../simplify/index.ts'
import { parameterCount } from '../train/learn.ts'
import type { Context } from '../types.ts'
import type { Block, BlockCost } from './blocks.ts'

const pass = 'prune-blocks'

/** A block that may go. */
export interface Candidate extends BlockCost {
  /** Of the node that joins it. */
  readonly name: string
  readonly block: Block
}

/** Bounds that hold together. */
export const boundKinds = ['count', 'ratio', 'macs', 'parameters', 'latency'] as const

type Asked = { readonly [K in (typeof boundKinds)[number] | 'maxDrop']?: number | undefined }

/** A bound that does not hold yet. */
export interface Missing {
  readonly kind: string
  readonly reached: number
  /** What has to be saved still, and what a block saves, in the same unit. */
  readonly lacking: number
  saved(c: Candidate): number
}

/** Share of what is missing that a block saves, summed over bounds. */
export const savingOf = (c: Candidate, missing: readonly Missing[]): number =>
  Math.max(
    Number.EPSILON,
    missing.reduce((sum, m) => sum + Math.min(1, m.saved(c) / m.lacking), 0)
  )

/** Tells of a model without some blocks which bounds do not hold yet. A drop is a bound that never holds by itself. */
export function blockBounds(
  deep: Model,
  candidates: readonly Candidate[],
  o: Asked,
  ctx: Context
): (bare: Model, gone: number) => Promise<readonly Missing[]> {
  const all = o.macs === undefined ? costOf(deep).total : knownMacs(deep)
  const before = parameterCount(deep)
  const work = {
    whole: all ?? candidates.length,
    saved: (c: Candidate): number => (all === undefined ? 1 : (c.macs ?? 0))
  }
  const wanted = Math.max(
    o.count ?? 0,
    o.ratio === undefined ? 0 : Math.max(1, Math.round(o.ratio * candidates.length))
  )
  return async (bare, gone) => {
    const above = (kind: string, limit: number | undefined, reached: number, whole: number, saved: Missing['saved']) =>
      limit !== undefined && reached > limit ? [{ kind, reached, lacking: (reached - limit) * whole, saved }] : []
    const macs = o.macs === undefined ? 0 : knownMacs(bare) / (all as number)
    const latency = o.latency === undefined ? 0 : gone === 0 ? 1 : await latencyOf(deep, bare, ctx)
    return [
      ...(o.maxDrop === undefined ? [] : [{ kind: 'maxDrop', reached: 0, lacking: work.whole, saved: work.saved }]),
      ...(wanted > gone ? [{ kind: 'count', reached: gone, lacking: wanted - gone, saved: () => 1 }] : []),
      ...above('macs', o.macs, macs, work.whole, work.saved),
      ...above('parameters', o.parameters, parameterCount(bare) / before, 4 * before, (c) => c.bytes),
      ...above('latency', o.latency, latency, work.whole, work.saved)
    ]
  }
}

function knownMacs(model: Model): number {
  const { total } = costOf(model)
  if (total !== undefined) return total
  throw new PareError('E_UNSUPPORTED', 'the multiply-adds of this model are not known', {
    where: `${pass}, macs`,
    hint: 'bound the parameters or the share of blocks: --parameters, --ratio'
  })
}

async function latencyOf(deep: Model, bare: Model, ctx: Context): Promise<number> {
  const measure = needMeasure(ctx, 'latency')
  const clean = await simplify.run(bare, parseOptions(simplify, { merge: false }), ctx)
  const { latency } = await measure(clean, { beside: deep, samples: 1, seconds: 4 })
  if (latency) return latency.median
  throw new PareError('E_UNSUPPORTED', 'nothing was timed', { where: `${pass}, latency` })
}

/** What compares models. Throws `E_DATA` where there are no samples for it. */
export function needMeasure(ctx: Context, kind: string): NonNullable<Context['measure']> {
  if (ctx.measure) return ctx.measure
  throw new PareError('E_DATA', `${kind} needs samples to measure on`, {
    where: `${pass}, ${kind}`,
    hint: 'give --data'
  })
}

/** Bounds that do not hold though every block is gone that can go. */
export const outOfReach = (missing: readonly Missing[]): PareError =>
  new PareError('E_UNSUPPORTED', `${missing.map((m) => m.kind).join(' and ')} cannot be reached`, {
    where: pass,
    facts: Object.fromEntries(
      missing.map((m) => [`${m.kind} without any block that can go`, m.reached.toPrecision(3)])
    ),
    hint: 'ask for less, or prune channels too: prune-channels'
  })
