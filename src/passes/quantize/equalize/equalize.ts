/**
 * Cross-layer equalization (Nagel et al., Data-Free Quantization, 2019, sections 4.1 and 4.2.1). Of two layers with only
 * a positively homogeneous f between, W₂·f(W₁x + b₁) = (W₂S)·f(S⁻¹(W₁x + b₁)) for diagonal S > 0. With r₁, r₂ the largest
 * weights of channel c before and behind, s = √(r₁/r₂) makes both √(r₁r₂). Pairs are repeated until nothing changes; in
 * a chain conv → depthwise → conv that is (r₁r₂r₃)^⅓ for all three.
 * High biases: where b₁ keeps a channel above c > 0 on all data, Relu passes it: f(y) = f(y − c) + c, so b₁ ← b₁ − c and
 * b₂ ← b₂ + W₂c, which lowers the range between. Behind padding that is not so, and it is left.
 */
import { z } from 'zod'
import { type Draft, edit } from '../../../ir/edit.ts'
import { elementCount, tensor, toNumbers } from '../../../ir/tensor.ts'
import { type ChannelNumbers, observeChannels } from '../../../observe/channels.ts'
import { heldSamples } from '../../../observe/held.ts'
import { isClamp, linearOf } from '../../../ops/ask.ts'
import { channelAt, isUnpadded } from '../../../ops/linear.ts'
import type { Model } from '../../../types.ts'
import { absorbAfter, absorbBefore, type LinearLayer, takesBias } from '../../fuse/linear.ts'
import { definePass } from '../../pass.ts'
import { withTypes } from '../../typed.ts'
import type { Context } from '../../types.ts'
import { type Edge, edgesOf } from './edges.ts'
import { changeLinear } from './linear-change.ts'

/** Gives the channels between two layers weights of like size, without changing what the model computes. */
export const equalize = definePass({
  name: 'equalize',
  summary: 'even out the weights of channels across layers, so that few scales fit them all; the function stays',
  group: 'accuracy',
  uses: ['calibration'],
  options: {
    clip: z
      .enum(['auto', 'keep', 'relu', 'min', 'skip'])
      .default('auto')
      .describe(
        'clip(0, h) between: keep it and scale as far as no value crosses h; drop h; give each channel its own h'
      ),
    absorb: z
      .boolean()
      .default(true)
      .describe('with data: move biases that keep a channel above 0 into the next layer'),
    rounds: z.int().min(1).max(1000).default(100).describe('times that all pairs are evened out, at most'),
    samples: z.int().min(1).default(128).describe('calibration samples to use, at most')
  },
  run: (given, options, ctx) =>
    withTypes(given, async (model) => {
      const plan = await planEqualize(model, options, ctx)
      if (plan.edges.length === 0) return model
      ctx.plan(plan)
      return applyEqualize(model, plan)
    })
})

export interface EqualizeOptions {
  readonly clip: 'auto' | 'keep' | 'relu' | 'min' | 'skip'
  readonly absorb: boolean
  readonly rounds: number
  readonly samples: number
}

/** Channels between two layers, each named by its node's output; they are divided by `scales` there. */
export interface EdgePlan {
  readonly from: string
  readonly to: string
  readonly scales: readonly number[]
  /** What is taken from the first bias, in the units before scaling. */
  readonly absorbed?: readonly number[]
  /** What becomes of a Clip between, by its output. */
  readonly clip?: { readonly id: string; readonly becomes: 'Clip' | 'Relu' | 'Min'; readonly high: number }
}

export interface EqualizePlan {
  readonly edges: readonly EdgePlan[]
  readonly rounds: number
}

/** Finds the scales. Uses calibration data, where there is any, for biases and Clips. */
export async function planEqualize(model: Model, o: EqualizeOptions, ctx: Context): Promise<EqualizePlan> {
  const edges = edgesOf(model, ctx.refuse)
  const mode = o.clip === 'auto' ? (ctx.data.calibration ? 'keep' : 'min') : o.clip
  const usable = edges.filter((e) => {
    if (!e.bound || (mode !== 'skip' && (mode !== 'keep' || ctx.data.calibration))) return true
    ctx.refuse(e.from.node, mode === 'skip' ? 'a Clip follows' : 'a Clip follows, and no data tells what crosses it')
    return false
  })
  const seen = await observe(model, usable, mode, o, ctx)
  const { scales, rounds } = evenOut(usable, o.rounds, (e) =>
    e.bound && mode === 'keep' ? floorOf(e, seen) : undefined
  )
  const plans = usable.map((e, i) => edgePlan(e, scales[i] as Float64Array, seen, mode, o))
  return { edges: plans.filter((p) => p.scales.some((s) => Math.abs(s - 1) > even) || p.absorbed), rounds }
}

const outputOf = (l: LinearLayer): string => l.node.outputs[0] as string

type Seen = ReadonlyMap<string, ChannelNumbers>

async function observe(
  model: Model,
  edges: readonly Edge[],
  mode: EqualizeOptions['clip'],
  o: EqualizeOptions,
  ctx: Context
): Promise<Seen> {
  const wanted = edges.filter((e) => (e.bound && mode === 'keep') || (o.absorb && canAbsorb(e, mode)))
  if (!ctx.data.calibration || wanted.length === 0) return new Map()
  const ids = wanted.flatMap(({ from }) => {
    const rank = model.graph.values.get(outputOf(from))?.shape?.length
    return rank === undefined ? [] : [{ id: outputOf(from), axis: rank + from.axis }]
  })
  const data = await heldSamples(ctx.data.calibration, o.samples)
  return observeChannels(model, ids, ['least', 'greatest'], data, ctx)
}

// ---------------------------------------------------------------- scales

/**
 * Largest magnitudes of a weight by pairs of an output and an input channel, row after row: all that evening out needs to
 * know of it. A row is an index of the weight's first axis, a pair one of its first two.
 */
interface Sizes {
  readonly size: Float32Array | Float64Array
  readonly perRow: number
  readonly out: Numbering
  readonly in: Numbering
}

/** Channel of pair `j` of row `i`: `start[i] + j·step`. */
interface Numbering {
  readonly start: Int32Array
  readonly step: number
}

function sizesOf(l: LinearLayer): Sizes {
  const { data } = l.weight
  const [rows = 0, perRow = 0] = data.shape
  const kernel = elementCount(data.shape.slice(2))
  const values = toNumbers(data)
  const size = data.dtype === 'float64' ? new Float64Array(rows * perRow) : new Float32Array(rows * perRow)
  if (kernel === 1) for (let i = 0; i < size.length; i++) size[i] = Math.abs(values[i] as number)
  else
    for (let pair = 0, i = 0; pair < size.length; pair++)
      for (const end = i + kernel; i < end; i++) {
        const x = Math.abs(values[i] as number)
        if (x > (size[pair] as number)) size[pair] = x
      }
  const numbered = (side: 'out' | 'in'): Numbering => {
    const channel = channelAt(l.linear, side)
    const start = Int32Array.from({ length: rows }, (_, i) => channel(i * perRow * kernel))
    return { start, step: perRow > 1 ? channel(kernel) - channel(0) : 0 }
  }
  return { size, perRow, out: numbered('out'), in: numbered('in') }
}

/** Changes of a scale below this share end the rounds. */
const still = 1e-4
/** Channels whose scales are all this near to 1 are left alone. */
const even = 1e-3

/** Scales per edge, by turns over all edges. `floorOf`: per channel the least scale, and 1 where it must stay 1. */
function evenOut(
  edges: readonly Edge[],
  rounds: number,
  floorOf: (e: Edge) => Float64Array | undefined
): { readonly scales: readonly Float64Array[]; readonly rounds: number } {
  const scales = edges.map((e) => new Float64Array(e.channels).fill(1))
  const floors = edges.map(floorOf)
  const sizes = new Map<string, Sizes>()
  for (const e of edges) for (const l of [e.from, e.to]) if (!sizes.has(outputOf(l))) sizes.set(outputOf(l), sizesOf(l))
  const into = new Map(edges.map((e, i) => [outputOf(e.to), i]))
  const outOf = new Map(edges.map((e, i) => [outputOf(e.from), i]))
  const measured = new Map<string, Float64Array>()
  const peaks = (l: LinearLayer, side: 'in' | 'out'): Float64Array => {
    const id = outputOf(l)
    const before = scales[into.get(id) ?? -1]
    const after = scales[outOf.get(id) ?? -1]
    // Where the other side has no scales, the peaks are those of the weight, scaled: they are looked for once.
    const other = side === 'in' ? after : before
    if (other) return peaksOf(sizes.get(id) as Sizes, l, side, before, after)
    const key = `${side} ${id}`
    const own = measured.get(key) ?? peaksOf(sizes.get(id) as Sizes, l, side)
    measured.set(key, own)
    return side === 'in' ? own.map((x, c) => x * (before?.[c] ?? 1)) : own.map((x, c) => x / (after?.[c] ?? 1))
  }
  let round = 0
  for (let isStill = false; !isStill && round < rounds; round++) {
    isStill = true
    for (const [i, e] of edges.entries()) {
      const [r1, r2] = [peaks(e.from, 'out'), peaks(e.to, 'in')]
      const s = scales[i] as Float64Array
      for (let c = 0; c < s.length; c++) {
        const made = bounded((s[c] as number) * ratio(r1[c] as number, r2[c] as number), floors[i]?.[c])
        if (Math.abs(made / (s[c] as number) - 1) > still) isStill = false
        s[c] = made
      }
    }
  }
  return { scales, rounds: round }
}

/** The largest magnitude of each channel on a side, with the inputs' channels times `before` and the outputs' divided by `after`. */
function peaksOf(
  s: Sizes,
  l: LinearLayer,
  side: 'in' | 'out',
  before?: Float64Array,
  after?: Float64Array
): Float64Array {
  const found = new Float64Array(side === 'in' ? l.inChannels : l.outChannels)
  for (let i = 0, pair = 0; i < s.out.start.length; i++)
    for (let j = 0; j < s.perRow; j++, pair++) {
      const [a, b] = [(s.in.start[i] as number) + j * s.in.step, (s.out.start[i] as number) + j * s.out.step]
      const size =
        ((s.size[pair] as number) * (before ? (before[a] as number) : 1)) / (after ? (after[b] as number) : 1)
      const c = side === 'in' ? a : b
      if (size > (found[c] as number)) found[c] = size
    }
  return found
}

/** √(r₁/r₂), and 1 for channels of zeros. */
function ratio(r1: number, r2: number): number {
  const s = Math.sqrt(r1 / r2)
  return Number.isFinite(s) && s > 0 ? s : 1
}

const bounded = (s: number, floor: number | undefined): number =>
  floor === undefined ? s : floor >= 1 ? 1 : Math.max(s, floor)

/** With the Clip kept: a channel whose values reach up to p may grow to the bound h, so s ≥ p/h; one that crosses it stays. */
function floorOf(e: Edge, seen: Seen): Float64Array {
  const greatest = seen.get(outputOf(e.from))?.greatest
  const high = e.bound?.high ?? Number.POSITIVE_INFINITY
  if (!greatest) return new Float64Array(e.channels).fill(1)
  return greatest.map((p) => (Math.max(p, 0) / high) * headroom)
}

/** Values that calibration did not see may be this much larger. */
const headroom = 1.1

// ---------------------------------------------------------------- biases

/** Only Relu (or a Clip that keeps its work) between, and nothing padded behind. */
function canAbsorb(e: Edge, mode: EqualizeOptions['clip']): boolean {
  const only = e.between.length === 1 ? e.between[0] : undefined
  if (![e.from, e.to].every(takesBias)) return false
  return only !== undefined && isClamp(only) && (!e.bound || mode === 'relu') && isUnpadded(e.to.linear)
}

function edgePlan(
  e: Edge,
  scales: Float64Array,
  seen: Seen,
  mode: EqualizeOptions['clip'],
  o: EqualizeOptions
): EdgePlan {
  const least = o.absorb && canAbsorb(e, mode) ? seen.get(outputOf(e.from))?.least : undefined
  const high = least?.map((m) => Math.max(0, m))
  const becomes = ({ relu: 'Relu', min: 'Min' } as const)[mode as 'relu' | 'min'] ?? 'Clip'
  return {
    from: outputOf(e.from),
    to: outputOf(e.to),
    scales: Array.from(scales),
    ...(high?.some((c) => c > 0) ? { absorbed: Array.from(high) } : {}),
    ...(e.bound ? { clip: { id: e.bound.node.outputs[0] as string, becomes, high: e.bound.high } } : {})
  }
}

// ---------------------------------------------------------------- applying

/** Writes scales and absorbed biases into weights and biases. */
export function applyEqualize(model: Model, plan: EqualizePlan): Model {
  return edit(model, (d) => {
    for (const e of plan.edges) {
      const scale = Float64Array.from(e.scales)
      const shift = Float64Array.from(e.absorbed ?? scale.map(() => 0))
      changeLinear(d, e.from, undefined, (l, site) =>
        absorbAfter(l, { scale: scale.map((s) => 1 / s), shift: shift.map((c, i) => -c / (scale[i] as number)) }, site)
      )
      changeLinear(d, e.to, undefined, (l, site) => absorbBefore(l, { scale, shift }, site))
      if (e.clip && e.clip.becomes !== 'Clip') loosen(d, e.clip.id, e, scale)
    }
  })
}

/** Clip → Relu, and for `Min` its bound per channel behind it. */
function loosen(d: Draft, id: string, e: EdgePlan, scale: Float64Array): void {
  const clip = d.producer(id)
  if (!clip || !e.clip) return
  const relu = { ...clip, op: 'Relu', inputs: clip.inputs.slice(0, 1), attrs: {} }
  if (e.clip.becomes === 'Relu') {
    d.replace(clip, relu)
    return
  }
  const { high } = e.clip
  const value = d.value(id)
  const to = d.producer(e.to)
  const axis = (to && linearOf(d, to)?.axes.in) ?? -1
  const shape = [scale.length, ...Array<number>(-1 - axis).fill(1)]
  const bound = d.addConstant(
    tensor(
      value?.dtype ?? 'float32',
      shape,
      scale.map((s) => high / s)
    ),
    `${id}_max`
  )
  const open = d.fresh(`${id}_relu`)
  d.replace(clip, { ...relu, outputs: [open] })
  d.add('Min', [open, bound], { outputs: [id], name: `Min_${id}` })
}
