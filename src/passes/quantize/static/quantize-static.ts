/**
 * Static int8: ranges from calibration, QuantizeLinear and DequantizeLinear where the runtime fuses them, and proof that
 * it did.
 */

import { z } from 'zod'
import { PareError } from '../../../base/errors.ts'
import { listed } from '../../../base/listed.ts'
import { constant } from '../../../ir/graph.ts'
import { type CodeType, preferredType } from '../../../ir/rows.ts'
import { tensorBytes } from '../../../ir/tensor.ts'
import { calibrate } from '../../../observe/calibrate.ts'
import type { Histogram } from '../../../observe/histogram.ts'
import { methods } from '../../../observe/ranges.ts'
import type { ChannelMean } from '../../../observe/reductions.ts'
import { hasRoundedValues } from '../../../ops/quantized.ts'
import type { Runner } from '../../../runtime/types.ts'
import type { Target } from '../../../targets/types.ts'
import type { Model, Node, Tensor } from '../../../types.ts'
import { definePass } from '../../pass.ts'
import { withTypes } from '../../typed.ts'
import type { Context } from '../../types.ts'
import { neededMean } from '../bias/numbers.ts'
import { raiseFirst } from '../cast/raise.ts'
import { inputsText, needBins, noteFewSamples } from '../common/advice.ts'
import { channelsOf, needScalesPerChannel, peaksOf } from '../common/codes.ts'
import { matcher, noteUnmatched } from '../common/select.ts'
import { noteTwice } from '../common/twice.ts'
import { applyStatic } from './apply.ts'
import type { IntegerNode } from './groups.ts'
import { type Layout, layout, stacksLeft } from './layout.ts'
import { coarseNodes, infiniteNodes, type Left } from './leave.ts'
import { type NumberOptions, planNumbers, type StaticPlan } from './plan.ts'

const defaultBins = 2048

/** Quantizes activations and weights to 8 bits by calibration. */
export const quantizeStatic = definePass({
  name: 'quantize-static',
  summary: 'compute in int8: activations by calibration, weights per channel, in the form that the runtime fuses',
  group: 'integers',
  narrows: true,
  needs: ['calibration'],
  after: ['simplify', 'fuse'],
  options: {
    calibrator: z.enum(methods).default('mse').describe('how a range is found; best: least error per value'),
    bins: z.int().min(128).max(65_536).default(defaultBins).describe('bins of a value’s histogram'),
    percentile: z.number().gt(50).max(100).default(99.99).describe('share of values inside, in percent'),
    include: z.array(z.string()).default([]).describe('only these nodes: operator types or name patterns with *'),
    exclude: z.array(z.string()).default([]).describe('nodes that stay float: operator types or name patterns with *'),
    reduceRange: z
      .enum(['auto', 'always', 'never'])
      .default('auto')
      .describe('7-bit weights; auto: where pair sums can saturate, for targets without VNNI'),
    activations: z
      .enum(['auto', 'uint8', 'int8'])
      .default('auto')
      .describe('type of activations; auto: what the target prefers. int8 does not fuse in ONNX Runtime on x86'),
    symmetric: z
      .boolean()
      .default(false)
      .refine((is) => !is, {
        error:
          'leave it off: a zero point in the middle wastes half of the codes behind a Relu, and kernels take any zero point at the same speed'
      })
      .describe('zero point of activations in the middle of the codes: refused, with the reason'),
    bits: z
      .union([z.literal(3), z.literal(4), z.literal(5), z.literal(6), z.literal(8)])
      .default(8)
      .describe(
        'bits of a stored weight; below 8 the codes are of 2^bits − 1 values, and kernels still compute in int8'
      ),
    bitsOf: z
      .partialRecord(z.enum(['3', '4', '5', '6', '8']), z.array(z.string()))
      .optional()
      .describe('nodes whose weights have other bits, by bits; mix-precision --objective codes finds them'),
    perChannel: z.boolean().default(true).describe('a scale per output channel of a weight instead of one'),
    correctBias: z.boolean().default(true).describe('take back in the bias what rounded weights add to the mean')
  },
  run: (given, options, ctx) =>
    withTypes(given, async (model) => {
      needBins(options.calibrator, options.bins)
      needForm(options, ctx.target)
      if (hasRoundedValues(model)) {
        ctx.note('the model computes on rounded values already: quantize the float model that it came from')
        return model
      }
      noteUnmatched(model, 'include', options.include, ctx)
      noteUnmatched(model, 'exclude', options.exclude, ctx)
      noteUnmatched(model, 'bitsOf', Object.values(options.bitsOf ?? {}).flat(), ctx)
      const found = await planStatic(model, options, ctx)
      if (!found) {
        const first = raiseFirst(model)
        if (first !== undefined) ctx.note(first)
        return model
      }
      ctx.plan(found.plan)
      return found.model
    })
})

/** Codes of fewer bits lose accuracy for the sake of the file, which must have a form for them. Throws `E_UNSUPPORTED`. */
function needForm({ bits, bitsOf = {} }: Pick<StaticOptions, 'bits' | 'bitsOf'>, { name, forms }: Target): void {
  const few = [bits ?? 8, ...Object.keys(bitsOf).map(Number)].find((n) => n < 8)
  if (few === undefined || forms.includes('auto')) return
  throw new PareError(
    'E_UNSUPPORTED',
    `files of target ${name} hold the codes of integer kernels in 8 bits: ${few} would save nothing`,
    {
      where: 'quantize-static',
      facts: { bits: String(few), target: name },
      hint: `leave bits away, or quantize-weights --bits ${few}, which computes in float`
    }
  )
}

export interface StaticOptions {
  readonly calibrator: NumberOptions['method']
  readonly percentile: number
  /** 2048 by default. */
  readonly bins?: number
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  readonly reduceRange: 'auto' | 'always' | 'never'
  readonly activations: 'auto' | CodeType
  /** 8 by default. */
  readonly bits?: 3 | 4 | 5 | 6 | 8
  /** Names or types of nodes whose weights have other bits, by bits. */
  readonly bitsOf?: Readonly<Partial<Record<'3' | '4' | '5' | '6' | '8', readonly string[]>>> | undefined
  readonly perChannel: boolean
  readonly correctBias: boolean
}

/** How often a plan is tried, each time without the nodes that the runtime left in float before. */
const rounds = 3

/** Finds a plan all of whose integer nodes the runtime fuses, and its model; `undefined` where nothing can be quantized. */
export async function planStatic(
  model: Model,
  o: StaticOptions,
  ctx: Context
): Promise<{ plan: StaticPlan; model: Model } | undefined> {
  const isExcluded = choice(o)
  const where = { target: ctx.target, activations: typeOf(o, ctx) }
  const left = new Set<string>()
  const isLeft = (node: Node): boolean => isExcluded(node) || left.has(node.outputs[0] as string)
  const seen: Seen = { values: new Map(), infinite: new Set(), means: new Map() }
  let made = layout(model, { ...where, isExcluded, refuse: ctx.refuse })
  if (!made.nodes.some((n) => n.rule.weights)) return undefined
  checkWeights(model, made)
  if (ctx.data.calibration) noteFewSamples(ctx.data.calibration, ctx)
  const leave = (reasons: Left, how = 'stays in float'): void => {
    for (const [output, reason] of reasons) {
      left.add(output)
      const n = made.nodes.find((p) => p.node.outputs[0] === output)
      if (n) ctx.refuse(n.node, `${reason}: ${how}`)
    }
    made = layout(model, { ...where, isExcluded: isLeft, refuse: () => {} })
  }
  for (let round = 0; made.nodes.some((n) => n.rule.weights); ) {
    await look(model, made, o, ctx, seen)
    const infinite = infiniteNodes(model, made, seen)
    const plan = infinite.size === 0 ? planNumbers(model, made, seen, numberOptions(o, ctx)) : undefined
    const lossy = plan ? coarseNodes(model, made, plan, seen) : infinite
    if (!plan || lossy.size > 0) {
      leave(lossy)
      continue
    }
    const quantized = applyStatic(model, plan)
    const { islands, kernels } = await unfused(quantized, plan, ctx)
    const isLast = islands.size === 0 || round++ === rounds
    if (islands.size > 0) leave(islands, isLast ? 'computes in float' : 'stays in float')
    if (!isLast) continue
    for (const { node, id } of stacksLeft(model, made)) ctx.refuse(node, stackText(model, id))
    ctx.note(kernels)
    tell(plan, ctx)
    noteTwice(
      quantized,
      plan.weights.map((w) => w.id),
      ctx
    )
    return { plan, model: quantized }
  }
  return undefined
}

/** Throws `E_MODEL` for a weight that is not finite, before it spoils every value behind it. */
function checkWeights(model: Model, made: Layout): void {
  needScalesPerChannel(model)
  for (const { weight, bias } of made.nodes)
    for (const id of [weight?.id, bias?.id]) {
      const data = constant(model.graph, id)
      if (id !== undefined && data) peaksOf(data, channelsOf(data.shape, undefined), id)
    }
}

interface Seen {
  readonly values: Map<string, Histogram>
  readonly infinite: Set<string>
  readonly means: Map<string, Float64Array>
}

/** Observes the values that a layout needs and that were not observed before. */
async function look(model: Model, made: Layout, o: StaticOptions, ctx: Context, seen: Seen): Promise<void> {
  const { calibration } = ctx.data
  if (!calibration)
    throw new PareError('E_DATA', 'quantize-static needs calibration data', {
      where: 'quantize-static',
      facts: { inputs: inputsText(model) },
      hint: 'give --data with samples of what the model will see: 100 or more'
    })
  const taps = made.groups.flatMap((g) => g.taps).filter((id) => !seen.values.has(id) && !seen.infinite.has(id))
  const needed = made.nodes.flatMap((n) => (o.correctBias && n.weight ? (meanFor(model, n) ?? []) : []))
  const means = [...new Map(needed.map((m) => [m.id, m])).values()].filter((m) => !seen.means.has(m.id))
  const found = await calibrate(
    model,
    calibration,
    { taps, means, bins: o.calibrator === 'minmax' ? 0 : (o.bins ?? defaultBins) },
    ctx
  )
  for (const [id, h] of found.values) seen.values.set(id, h)
  for (const id of found.infinite) seen.infinite.add(id)
  for (const [id, m] of found.means) seen.means.set(id, m)
}

function meanFor(model: Model, n: IntegerNode): ChannelMean | undefined {
  const weight = constant(model.graph, n.weight?.id)
  return weight && neededMean(model, n.node, n.rule, weight)
}

function choice(o: StaticOptions): (node: Node) => boolean {
  const isIncluded = o.include.length > 0 ? matcher(o.include) : () => true
  const isExcluded = matcher(o.exclude)
  return (node) => isExcluded(node) || !isIncluded(node)
}

function bitsFor({ bits = 8, bitsOf = {} }: StaticOptions): (node: Node) => number {
  const others = Object.entries(bitsOf).map(([n, names]) => ({ bits: Number(n), isMeant: matcher(names) }))
  return (node) => others.find(({ isMeant }) => isMeant(node))?.bits ?? bits
}

const typeOf = ({ activations }: StaticOptions, { target }: Pick<Context, 'target'>): CodeType =>
  activations === 'auto' ? preferredType(target) : activations

function numberOptions(o: StaticOptions, ctx: Pick<Context, 'target'>): NumberOptions {
  const narrow = { always: 'all', never: 'none', auto: ctx.target.saturates ? 'saturating' : 'none' } as const
  return {
    method: o.calibrator,
    percentile: o.percentile,
    levels: 256,
    activations: typeOf(o, ctx),
    perChannel: o.perChannel,
    bits: bitsFor(o),
    correctBias: o.correctBias,
    narrow: narrow[o.reduceRange],
    symmetric: ctx.target.integer.some((row) => row.symmetric),
    takesOver: ctx.target.takesOver,
    cannotMove: ctx.target.cannotMove
  }
}

/**
 * Which planned nodes the runtime still computes in float (id of the first output → reason), and the runtime's integer
 * kernels as a sentence. Where no runtime tells its kernels, the map is empty.
 */
async function unfused(
  quantized: Model,
  plan: StaticPlan,
  ctx: Context
): Promise<{ readonly islands: ReadonlyMap<string, string>; readonly kernels: string }> {
  const { runtime } = ctx.target
  const teller = tellerOf(ctx)
  const session = await teller?.open(quantized, { optimization: 'extended', keepOptimized: true })
  try {
    const found = await session?.kernels?.()
    const out = new Map<string, string>()
    if (!found || !teller) return { islands: out, kernels: `not proven fused: ${runtime} does not tell its kernels` }
    const names = new Map(plan.nodes.map((n) => [n.node, n.output]))
    for (const island of found.islands) {
      const output = names.get(island.node.name)
      // Not found: optimised away, as two Transposes in a row are.
      if (output !== undefined && island.kernel !== '?') out.set(output, island.reason)
    }
    const where = teller.name === runtime ? '' : ` in ${teller.name}, which fuses as ${runtime} does`
    return { islands: out, kernels: `integer kernels${where}: ${spell(found.integer)}` }
  } finally {
    await session?.close()
  }
}

/** The runtime that tells its kernels: the target's own, or one that fuses alike. */
const tellerOf = ({ engine, measured, target }: Context): Runner | undefined =>
  [measured, engine].find((r) => r?.can.kernels && [target.runtime, ...target.fusesLike].includes(r.name))

const spell = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .map(([op, n]) => `${n} ${op}`)
    .join(', ') || 'none'

function stackText(model: Model, id: string): string {
  const bytes = tensorBytes(constant(model.graph, id) as Tensor)
  return `${id} (${(bytes / 1000).toFixed(1)} kB), which it picks from, stays in float: quantize-weights can store it`
}

function tell(plan: StaticPlan, ctx: Context): void {
  const narrowed = plan.weights.filter((w) => w.levels && w.bits === undefined)
  if (narrowed.length > 0) ctx.note(`7-bit weights where pair sums can saturate: ${listed(narrowed.map((w) => w.id))}`)
}
