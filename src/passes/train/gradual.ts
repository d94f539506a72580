/**
 * Pruning while training goes on: weights become zero in rounds, with epochs of training after each. A round is a training run
 * of its own, with its own schedule of the learning rate and its own checkpoint, so that a stopped run goes on where it was.
 * `steps`: the same share more in every round. `cubic`: s·(1 − (1 − i/n)³) in round i of n, most of it early (Zhu and Gupta,
 * 2017). `once`: all of it before the first epoch.
 */
import { z } from 'zod'
import { PareError } from '../../base/errors.ts'
import type { Context, Model } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import { patterns } from '../prune/masks.ts'
import { pruneWeights } from '../prune/prune-weights.ts'
import type { Fitted } from './learn.ts'

/** Options of pruning beside training; none is given: nothing is pruned. */
export const gradualFields = z
  .strictObject({
    to: z.number().gt(0).lt(1).optional().describe('share of the weights that are zero in the end'),
    step: z.number().gt(0).lt(1).optional().describe('share that becomes zero in each round (default 0.1)'),
    every: z.int().min(1).optional().describe('epochs from one round to the next (default 1)'),
    schedule: z
      .enum(['steps', 'cubic', 'once'])
      .optional()
      .describe('steps: the same share in each round (default); cubic: most of it early; once: before the first epoch'),
    criterion: z
      .enum(['magnitude', 'wanda', 'sparsegpt', 'taylor'])
      .optional()
      .describe('as in prune-weights (default magnitude)'),
    pattern: z.enum(patterns).optional().describe('as in prune-weights (default any)'),
    scope: z.enum(['global', 'layer']).optional().describe('as in prune-weights (default global)')
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
    throw new PareError('E_OPTION', 'pruning needs the share of the weights that are zero in the end', {
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
  { criterion, pattern, scope }: Gradual,
  train: (model: Model, epochs: number) => Promise<Fitted>,
  ctx: Context
): Promise<Fitted & { readonly rounds: readonly Round[] }> {
  const asked = Object.fromEntries(
    Object.entries({ criterion, pattern, scope }).filter(([, value]) => value !== undefined)
  )
  let model = given
  let done = 0
  let curves: Fitted['curves'] = {}
  let last: Fitted | undefined
  for (const { ratio, epochs } of rounds) {
    const options = parseOptions(pruneWeights, { ...asked, ratio })
    const pruned = await pruneWeights.run(model, options, { ...ctx, plan: () => {} })
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
