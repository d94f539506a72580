/** Channels, heads and hidden units that matter least are taken out, with all that makes and reads them; what stays is repaired on samples. */
import { z } from 'zod'
import { PareError, stopIfAborted } from '../../base/errors.ts'
import { allGraphs } from '../../ir/graph.ts'
import { heldSamples } from '../../observe/held.ts'
import { costOf } from '../../ops/cost.ts'
import { opFor } from '../../ops/index.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Dataset, Model } from '../../types.ts'
import { definePass, parseOptions } from '../pass.ts'
import { simplify } from '../simplify/index.ts'
import { parameterCount } from '../train/learn.ts'
import { refuseRounded } from '../train/loss.ts'
import { taskOf } from '../train/task.ts'
import type { Context } from '../types.ts'
import {
  blockOf,
  byImportance,
  byShare,
  type Candidate,
  channelsSaved,
  keptAfter,
  leastThat,
  macsSaved,
  ordered,
  parametersSaved,
  type Step,
  widthOf
} from './choose.ts'
import { type Channels, channelGroups } from './groups.ts'
import { activationScores, type Criterion, criteria, type Scores, weightScores } from './importance.ts'
import { freeGroups, whyWhole } from './narrow.ts'
import { reconstructed } from './reconstruct.ts'
import { type Kept, keptIn, withoutChannels } from './remove.ts'
import { repaired } from './repair.ts'
import { reestimated } from './statistics.ts'
import { taylorScores } from './taylor.ts'

const pass = 'prune-channels'

const share = (about: string) => z.number().gt(0).lt(1).optional().describe(about)

const options = {
  ratio: share('channels to take out, as a share of those that can go'),
  macs: share('instead: multiply-adds that may be left, after / before'),
  parameters: share('instead: parameters that may be left, after / before'),
  latency: share('instead: latency that may be left, after / before; each try is measured'),
  maxDrop: z
    .number()
    .gt(0)
    .lt(1)
    .optional()
    .meta({ format: 'share' })
    .describe('instead: as many channels as the metric can do without, with this drop on the samples that choose'),
  kept: z
    .record(z.string(), z.int().min(1))
    .optional()
    .describe('instead: channels that each group keeps, by its name, as `search` finds them; others stay whole'),
  criterion: z
    .enum(['auto', ...criteria])
    .default('auto')
    .describe(
      'what tells the least important channels; auto: taylor where samples have labels, activation where there are samples, else l2'
    ),
  scope: z
    .enum(['global', 'layer'])
    .default('global')
    .describe('global: groups lose what matters least among all; layer: every group loses the same share'),
  align: z
    .int()
    .min(1)
    .max(4096)
    .optional()
    .describe('widths become multiples of this; by default what the target is fastest at'),
  leastKept: z.number().gt(0).max(1).default(0.1).describe('share of its channels that every group keeps at least'),
  repair: z
    .enum(['auto', 'none', 'statistics', 'weights'])
    .default('auto')
    .describe(
      'on samples, without labels: weights behind a removed channel by least squares (weights), or means and deviations of layers and normalizations (statistics); auto: weights where there are samples'
    ),
  samples: z.int().min(1).default(256).describe('samples that importance and repair look at, at most'),
  exclude: z.array(z.string()).default([]).describe('groups to leave whole: names that `inspect --groups` gives')
} as const

type Options = z.output<z.ZodObject<typeof options>>

/** Makes a model narrower. */
export const pruneChannels = definePass({
  name: pass,
  summary: 'take out the channels, heads and units that matter least, so that shapes shrink; repair what reads them',
  group: 'pruning',
  uses: ['calibration', 'selection', 'train'],
  lossy: true,
  options,
  run: async (given, o, ctx) => {
    refuseRounded(given, pass)
    const bound = boundOf(o)
    const wide = await simplify.run(given, parseOptions(simplify, { merge: false }), ctx)
    const found = channelGroups(wide)
    const samples = await samplesFor(o, ctx)
    const criterion = criterionOf(wide, o, samples, ctx)
    const candidates = await candidatesOf(found, o, criterion, samples, ctx)
    const steps = o.kept ? stepsTo(o.kept, candidates) : stepsFor(found, candidates, bound, o, criterion)
    const make = (n: number): Promise<Narrowing> => narrowed(found, candidates, steps.slice(0, n), o, samples, ctx)
    const n = o.kept ? steps.length : await stepsNeeded(found, candidates, steps, bound, make, ctx)
    if (n === 0) return given
    const { model, kept } = await make(n)
    tell(wide, model, { kept, candidates, criterion, bound, o }, ctx)
    return model
  }
})

// ---------------------------------------------------------------- what is asked

interface Bound {
  readonly kind: 'ratio' | 'macs' | 'parameters' | 'latency' | 'maxDrop' | 'kept'
  readonly value: number
}

const kinds = ['ratio', 'macs', 'parameters', 'latency', 'maxDrop'] as const

function boundOf(o: Options): Bound {
  const named = o.kept ? [{ kind: 'kept' as const, value: Object.keys(o.kept).length }] : []
  const shares = kinds.flatMap((kind) => (o[kind] === undefined ? [] : [{ kind, value: o[kind] as number }]))
  const given: readonly Bound[] = [...named, ...shares]
  const [one] = given
  if (one && given.length === 1) return one
  throw new PareError('E_OPTION', `${pass} needs one bound, and was given ${given.length}`, {
    where: pass,
    facts: { bounds: [...kinds, 'kept'].join(', ') },
    hint: 'such as --ratio 0.3, or --macs 0.5'
  })
}

async function samplesFor(o: Options, ctx: Context): Promise<Dataset | undefined> {
  const data = ctx.data.calibration ?? ctx.data.train
  return data && heldSamples(data, o.samples)
}

function criterionOf(model: Model, o: Options, samples: Dataset | undefined, ctx: Context): Criterion {
  if (o.criterion === 'activation' && !samples)
    throw new PareError('E_DATA', 'activation needs samples', {
      where: `${pass}, criterion`,
      hint: 'give --data, or take a criterion of the weights alone: l1, l2, fpgm'
    })
  if (o.criterion !== 'auto') return o.criterion
  const given = ctx.data.train ?? ctx.data.calibration
  const chosen = given?.labelled && taskOf(model) ? 'taylor' : samples ? 'activation' : 'l2'
  ctx.note(`${pass}: importance by ${chosen}`)
  return chosen
}

// ---------------------------------------------------------------- who may lose channels

async function candidatesOf(
  found: Channels,
  o: Options,
  criterion: Criterion,
  samples: Dataset | undefined,
  ctx: Context
): Promise<readonly Candidate[]> {
  const align = o.align ?? ctx.target.channelMultiple
  const free = freeGroups(found).filter((g) => !o.exclude.includes(g.name))
  for (const name of o.exclude)
    if (!found.groups.some((g) => g.name === name)) ctx.note(`exclude: there is no group ${name}`)
  for (const { value, node, reason } of new Set(found.groups.flatMap(whyWhole)))
    if (node) ctx.refuse(node, `the channels of ${value} stay: ${reason}`)
  const wide = free.filter((g) => g.channels > blockOf(g, align))
  for (const g of free)
    if (!wide.includes(g))
      ctx.refuse(
        nodeOf(found.model, g.name),
        `${g.channels * widthOf(g)} channels cannot be fewer in steps of ${align}`
      )
  if (wide.length === 0) throw nothingFree(found, free.length, align)
  const scores = await scoresOf(found.model, wide, o, criterion, samples, ctx)
  const out = wide.flatMap((group): Candidate[] => {
    const own = scores.get(group)
    if (!own) ctx.refuse(nodeOf(found.model, group.name), `${criterion} tells nothing of its channels`)
    return own
      ? [{ group, scores: own, block: blockOf(group, align), least: Math.ceil(o.leastKept * group.channels) }]
      : []
  })
  if (out.length > 0) return out
  throw new PareError('E_UNSUPPORTED', `${criterion} tells nothing of the channels of this model`, {
    where: `${pass}, criterion`,
    hint: criterion === 'bn-scale' ? 'its normalizations were folded away: take taylor, activation or l2' : 'take l2'
  })
}

const nodeOf = ({ graph }: Model, value: string): { readonly name: string; readonly op: string } =>
  graph.nodes.find((n) => n.outputs.includes(value)) ?? { name: value, op: '' }

function nothingFree({ model, groups }: Channels, free: number, align: number): PareError {
  if (free > 0)
    return new PareError('E_UNSUPPORTED', `no group of channels is wider than ${align}`, {
      where: `${pass}, align`,
      facts: { groups: String(free) },
      hint: 'give a smaller --align'
    })
  const reasons = groups.flatMap(whyWhole).map((b) => `${b.node?.name || b.value} ${b.reason}`)
  return new PareError('E_UNSUPPORTED', 'no channels of this model can go', {
    where: pass,
    facts: { 'what holds them': [...new Set(reasons)].slice(0, mostTold).join('; ') || whyNone(model) }
  })
}

/** Why there are no groups at all. */
function whyNone(model: Model): string {
  const inside = allGraphs(model)
    .slice(1)
    .flatMap((g) => g.nodes)
    .filter((n) => opFor(n)?.linear)
  if (inside.length === 0) return 'there are no layers'
  const count = inside.length === 1 ? '1 layer is' : `${inside.length} layers are`
  return `${count} in branches or loops, where none are taken out: ${inside[0]?.name || inside[0]?.op}, …`
}

function scoresOf(
  model: Model,
  groups: Parameters<typeof weightScores>[1],
  o: Options,
  criterion: Criterion,
  samples: Dataset | undefined,
  ctx: Context
): Scores | Promise<Scores> {
  if (criterion === 'taylor') return taylorScores(model, groups, { samples: o.samples, pass }, ctx)
  if (criterion !== 'activation') return weightScores(model, groups, criterion, ctx)
  return activationScores(inferShapes(model), groups, samples as Dataset, { centred: o.repair !== 'none' }, ctx)
}

// ---------------------------------------------------------------- how many

/** The steps that may be taken, in order; those of a share of every group only as far as that share. */
function stepsFor(
  { model }: Channels,
  candidates: readonly Candidate[],
  { kind, value }: Bound,
  o: Options,
  criterion: Criterion
): readonly Step[] {
  if (o.scope === 'layer') {
    const steps = ordered(candidates, byShare)
    return kind === 'ratio' ? steps.filter((_, i) => shareAt(steps, i) <= value) : steps
  }
  const groups = candidates.map((c) => c.group)
  const isLoss = criterion === 'taylor' || criterion === 'activation'
  const saving = !isLoss
    ? channelsSaved
    : kind === 'parameters'
      ? parametersSaved(model, groups)
      : kind === 'ratio'
        ? channelsSaved
        : macsSaved(inferShapes(model), groups, costOf(model))
  return ordered(candidates, byImportance(candidates, isLoss ? saving : channelsSaved))
}

/** One step for every group that is to keep fewer channels than it has. Throws `E_OPTION` for one that is not there or has fewer. */
function stepsTo(kept: Readonly<Record<string, number>>, candidates: readonly Candidate[]): readonly Step[] {
  const byName = new Map(candidates.map((c) => [c.group.name, c]))
  return Object.entries(kept).flatMap(([name, n]): Step[] => {
    const found = byName.get(name)
    if (!found || n > found.group.channels)
      throw new PareError(
        'E_OPTION',
        `kept names ${found ? `${n} of ${found.group.channels} channels of` : 'no group that could lose channels:'} ${name}`,
        {
          where: `${pass}, kept`,
          hint: 'inspect --groups lists the groups; the numbers fit the model that they were found for'
        }
      )
    const { group, scores } = found
    const order = Array.from(scores.keys()).sort((a, b) => (scores[a] as number) - (scores[b] as number) || a - b)
    const channels = order.slice(0, group.channels - n)
    return channels.length > 0 ? [{ group, channels }] : []
  })
}

/** Share of its group that is gone in the middle of a step. */
function shareAt(steps: readonly Step[], at: number): number {
  const { group, channels } = steps[at] as Step
  const before = steps.slice(0, at).reduce((n, s) => n + (s.group === group ? s.channels.length : 0), 0)
  return (before + channels.length / 2) / group.channels
}

interface Narrowing {
  readonly model: Model
  readonly kept: Kept
}

async function stepsNeeded(
  found: Channels,
  candidates: readonly Candidate[],
  steps: readonly Step[],
  bound: Bound,
  make: (n: number) => Promise<Narrowing>,
  ctx: Context
): Promise<number> {
  const { model } = found
  const { kind, value } = bound
  const bare = (n: number): Model => withoutChannels(found, keptAfter(candidates, steps.slice(0, n)))
  if (kind === 'maxDrop') {
    const measure = needMeasure(ctx, kind)
    const tooMany = await leastThat(steps.length, async (n) => {
      stopIfAborted(ctx.signal)
      return n > 0 && (await measure((await make(n)).model, { beside: model })).drop.value > value
    })
    return tooMany === undefined ? steps.length : tooMany - 1
  }
  const before = kind === 'macs' ? knownMacs(model) : kind === 'parameters' ? parameterCount(model) : 0
  const reached = async (n: number): Promise<number> => {
    if (kind === 'macs') return knownMacs(bare(n)) / before
    if (kind === 'parameters') return parameterCount(bare(n)) / before
    const measure = needMeasure(ctx, kind)
    const { latency } = await measure(bare(n), { beside: model, samples: 1, seconds: 4 })
    if (!latency) throw new PareError('E_UNSUPPORTED', 'nothing was timed', { where: `${pass}, latency` })
    return latency.median
  }
  if (kind === 'ratio') return forRatio(candidates, steps, value)
  const n = await leastThat(steps.length, async (k) => (await reached(k)) <= value)
  if (n !== undefined) return n
  throw outOfReach(bound, await reached(steps.length))
}

function forRatio(candidates: readonly Candidate[], steps: readonly Step[], ratio: number): number {
  const all = candidates.reduce((n, c) => n + c.group.channels * widthOf(c.group), 0)
  let gone = 0
  for (const [i, { group, channels }] of steps.entries()) {
    gone += channels.length * widthOf(group)
    if (gone >= ratio * all - 1e-9) return i + 1
  }
  // Of every group as much as comes nearest to the share.
  return steps.length
}

function knownMacs(model: Model): number {
  const { total } = costOf(model)
  if (total !== undefined) return total
  throw new PareError('E_UNSUPPORTED', 'the multiply-adds of this model are not known', {
    where: `${pass}, macs`,
    hint: 'bound the parameters, or the share of channels: --parameters, --ratio'
  })
}

function needMeasure(ctx: Context, kind: string): NonNullable<Context['measure']> {
  if (ctx.measure) return ctx.measure
  throw new PareError('E_DATA', `${kind} needs samples to measure on`, {
    where: `${pass}, ${kind}`,
    hint: 'give --data'
  })
}

const outOfReach = ({ kind, value }: Bound, reached: number): PareError =>
  new PareError('E_UNSUPPORTED', `${kind} of ${value} cannot be reached`, {
    where: `${pass}, ${kind}`,
    facts: { 'least that can be left': reached.toPrecision(3) },
    hint: 'allow narrower groups by --leastKept or --align, or ask for less'
  })

// ---------------------------------------------------------------- the narrow model

async function narrowed(
  found: Channels,
  candidates: readonly Candidate[],
  steps: readonly Step[],
  o: Options,
  samples: Dataset | undefined,
  ctx: Context
): Promise<Narrowing> {
  const kept = keptAfter(candidates, steps)
  const { model } = found
  if (kept.size === 0) return { model, kept }
  const by = o.repair === 'auto' ? (samples ? 'weights' : 'none') : o.repair
  if (by === 'none') return { model: withoutChannels(found, kept), kept }
  if (!samples)
    throw new PareError('E_DATA', 'a repair needs samples', {
      where: `${pass}, repair`,
      hint: 'give --data, or --repair none'
    })
  if (by === 'statistics') {
    const narrow = await repaired(withoutChannels(found, kept), model, kept, samples, ctx)
    return { model: await reestimated(narrow, samples, ctx), kept }
  }
  // A bias may have come, or have another name: what goes with the channels is looked for anew.
  const full = channelGroups(await reconstructed(model, kept, samples, ctx))
  return { model: withoutChannels(full, keptIn(full, kept)), kept }
}

// ---------------------------------------------------------------- what is said

const mostTold = 6

interface Told {
  readonly kept: Kept
  readonly candidates: readonly Candidate[]
  readonly criterion: Criterion
  readonly bound: Bound
  readonly o: Options
}

function tell(before: Model, after: Model, { kept, candidates, criterion, bound, o }: Told, ctx: Context): void {
  const groups = candidates.map(({ group }) => ({
    name: group.name,
    channels: group.channels,
    kept: kept.get(group)?.length ?? group.channels
  }))
  const macs = { before: costOf(before).total, after: costOf(after).total }
  const parameters = { before: parameterCount(before), after: parameterCount(after) }
  ctx.plan({ criterion, bound, scope: o.scope, macs, parameters, groups })
  const told = groups.filter((g) => g.kept < g.channels).map((g) => `${g.kept} of ${g.channels} in ${g.name}`)
  const rest = told.length > mostTold ? ` and so on for ${told.length - mostTold} more groups` : ''
  const share = (a: number, b: number): string => (a / b).toPrecision(2)
  const work = macs.before && macs.after ? `, ${share(macs.after, macs.before)} of the multiply-adds` : ''
  ctx.note(
    `${pass}: ${share(parameters.after, parameters.before)} of the parameters${work} are left; channels: ${told.slice(0, mostTold).join(', ')}${rest}`
  )
}
