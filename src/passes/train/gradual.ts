/**
 * Pruning while training goes on: weights become zero, or channels or blocks go, in rounds, with epochs of training after each. A round is a training run
 * of its own, with its own schedule of the learning rate and its own checkpoint, so that a stopped run goes on where it was.
 * `steps`: the same share more in every round. `cubic`: s·(1 − (1 − i/n)³) in round i of n, most of it early (Zhu and Gupta,
 * 2017). `once`: all of it before the first epoch.
 */
import { z } from 'zod'
import { PareError } from '../../base/errors.ts'
import { costOf } from '../../ops/cost.ts'
import type { Model } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import { patterns } from '../prune/masks.ts'
import { pruneBlocks } from '../prune/prune-blocks.ts'
import { pruneChannels } from '../prune/prune-channels.ts'
import { pruneWeights } from '../prune/prune-weights.ts'
import type { Context } from '../types.ts'
import type { Fitted } from './learn.ts'

/** Options of pruning beside training; none is given: nothing is pruned. */
export const gradualFields = z
  .strictObject({
    what: z
      .enum(['weights', 'channels', 'blocks'])
      .optional()
      .describe('weights become zero (default); channels or blocks go, as in prune-channels and prune-blocks'),
    to: z
      .number()
      .gt(0)
      .lt(1)
      .optional()
      .describe(
        'share of the weights that are zero in the end; of channels and blocks, of the multiply-adds that are gone'
      ),
    step: z.number().gt(0).lt(1).optional().describe('share that goes in each round (default 0.1)'),
    every: z.int().min(1).optional().describe('epochs from one round to the next (default 1)'),
    schedule: z
      .enum(['steps', 'cubic', 'once'])
      .optional()
      .describe('steps: the same share in each round (default); cubic: most of it early; once: before the first epoch'),
    criterion: z.string().optional().describe('as in prune-weights or prune-channels, with the default of these'),
    pattern: z.enum(patterns).optional().describe('of weights, as in prune-weights (default any)'),
    scope: z.enum(['global', 'layer']).optional().describe('as in prune-weights and prune-channels (default global)'),
    align: z.int().min(1).max(4096).optional().describe('of channels, as in prune-channels')
  })
  .prefault({})

type Gradual = z.output<typeof gradualFields>

/** A round: the share that is zero after it, and the epochs behind it. */
export interface Round {
  readonly ratio: number
  readonly epochs: number
}

/** The rounds that were asked for; none where nothing is to be pruned. Throws `E_OPTION` where the epochs are too few. */
export function roundsOf({ to, step = 0.1, every = 1, schedule = 'steps', ...rest }: Gradual, epochs: number): Round[] {
  if (to === undefined) {
    const isGiven = [
      step !== 0.1,
      every !== 1,
      schedule !== 'steps',
      ...Object.values(rest).map((v) => v !== undefined)
    ]
    if (!isGiven.includes(true)) return []
    throw new PareError('E_OPTION', 'pruning needs the share that is gone in the end', {
      where: 'prune.to',
      hint: '--prune.to 0.9'
    })
  }
  const count = schedule === 'once' ? 1 : Math.max(1, Math.ceil(to / step - 1e-9))
  const needed = (count - 1) * every + 1
  if (epochs < needed)
    throw new PareError('E_OPTION', `${count} rounds of pruning need ${needed} epochs, and there are ${epochs}`, {
      where: 'prune',
      hint: `--epochs ${count * every}, a larger --prune.step, or --prune.every 1`
    })
  return Array.from({ length: count }, (_, i): Round => {
    const share = (i + 1) / count
    const ratio = schedule === 'cubic' ? to * (1 - (1 - share) ** 3) : Math.min(to, (i + 1) * step)
    return {
      ratio: schedule === 'once' ? to : ratio,
      epochs: i === count - 1 ? epochs - (count - 1) * every : every
    }
  })
}

/** Prunes and trains, round by round; what is told is of all rounds, epochs counted through. */
export async function inRounds(
  given: Model,
  rounds: readonly Round[],
  gradual: Gradual,
  train: (model: Model, epochs: number) => Promise<Fitted>,
  ctx: Context
): Promise<Fitted & { readonly rounds: readonly Round[] }> {
  const prune = pruner(given, gradual, { ...ctx, plan: () => {} })
  let model = given
  let done = 0
  let curves: Fitted['curves'] = {}
  let last: Fitted | undefined
  for (const { ratio, epochs } of rounds) {
    const pruned = await prune(model, ratio)
    const begun = done
    last = await train(pruned, epochs)
    model = last.model
    const shifted = Object.entries(last.curves ?? {}).map(
      ([name, points]) =>
        [name, [...(curves?.[name] ?? []), ...points.map(([x, y]) => [x + begun, y] as const)]] as const
    )
    curves = Object.fromEntries(shifted)
    done += epochs
  }
  const { model: _, ...told } = last as Fitted
  return { ...told, model, curves, epochs: done, rounds }
}

type Prune = (model: Model, ratio: number) => Promise<Model>

/** Prunes a model on to a share of the given one. Throws `E_OPTION` for options that what is pruned does not have. */
function pruner(given: Model, { what = 'weights', criterion, pattern, scope, align }: Gradual, ctx: Context): Prune {
  const asked = Object.fromEntries(
    Object.entries({ criterion, pattern, scope, align }).filter(([, v]) => v !== undefined)
  )
  if (what === 'weights') {
    const options = (ratio: number) => parseOptions(pruneWeights, { ...asked, ratio })
    options(0.5)
    return (model, ratio) => pruneWeights.run(model, options(ratio), ctx)
  }
  const before = costOf(given).total
  if (before === undefined)
    throw new PareError('E_UNSUPPORTED', 'the multiply-adds of this model are not known', {
      where: 'prune.what',
      hint: 'prune it beforehand, bounded by parameters: prune-channels, prune-blocks'
    })
  const channels = (macs: number) => parseOptions(pruneChannels, { ...asked, macs })
  const blocks = (macs: number) => parseOptions(pruneBlocks, { ...asked, macs })
  const isWide = what === 'channels'
  if (isWide) channels(0.5)
  else blocks(0.5)
  return async (model, ratio) => {
    const left = ((1 - ratio) * before) / (costOf(model).total ?? before)
    if (left >= 1) return model
    return isWide ? pruneChannels.run(model, channels(left), ctx) : pruneBlocks.run(model, blocks(left), ctx)
  }
}
