/**
 * SmoothQuant (Xiao et al., 2023): x·W = (x/s)·(s·W). With s_j = max|x_j|^α / max|W_j|^(1 − α) large channels of x, which
 * would cost all others their resolution, move a part of their size into the weights. α is searched for each value by the
 * noise that int8 would bring to the outputs of the layers that read it:
 *   Σ_o [ Σ_j min(Δ²/12, E[x_j²]/s_j²)·(s_j W_jo)² + δ_o²/12·Σ_j E[x_j²]/s_j² ]
 * with Δ the step of x/s (one for all channels, over its extremes on data) and δ_o that of column o of s·W. A channel that
 * is smaller than the noise of rounding becomes 0 and loses no more than itself.
 */
import { z } from 'zod'
import { PareError, stopIfAborted } from '../../../base/errors.ts'
import { type Draft, edit } from '../../../ir/edit.ts'
import { tensor, toNumbers } from '../../../ir/tensor.ts'
import { type ChannelNumbers, observeChannels } from '../../../observe/channels.ts'
import { heldSamples } from '../../../observe/held.ts'
import { channelAt } from '../../../ops/linear.ts'
import type { Model, Node } from '../../../types.ts'
import { absorbAfter, absorbBefore, type LinearLayer } from '../../fuse/linear.ts'
import { definePass } from '../../pass.ts'
import { withTypes } from '../../typed.ts'
import type { Context } from '../../types.ts'
import { matcher } from '../common/select.ts'
import { changeLinear } from './linear-change.ts'
import { type SmoothGroup, smoothGroups, vectorPlaces } from './smooth-groups.ts'

/** Moves large channels of activations into the weights behind them, without changing what the model computes. */
export const smooth = definePass({
  name: 'smooth',
  summary: 'move the size of outlying activation channels into the weights that read them; the function stays',
  group: 'accuracy',
  needs: ['calibration'],
  options: {
    alphas: z
      .array(z.number().min(0).max(1))
      .min(1)
      .default([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1])
      .describe('shares of the activations’ size to move; each value takes the best'),
    gain: z.number().min(0).lt(1).default(0.1).describe('least share of the expected noise that must go'),
    insert: z.boolean().default(true).describe('put in a Mul where no constant before can take the factors'),
    samples: z.int().min(1).default(128).describe('calibration samples to use, at most'),
    include: z.array(z.string()).default(['MatMul', 'Gemm']).describe('only these nodes: operators or name patterns'),
    exclude: z.array(z.string()).default([]).describe('not these nodes: operators or name patterns')
  },
  run: (given, options, ctx) =>
    withTypes(given, async (model) => {
      const plan = await planSmooth(model, options, ctx)
      if (plan.length === 0) return model
      ctx.plan({ values: plan })
      return applySmooth(model, plan)
    })
})

export interface SmoothOptions {
  readonly alphas: readonly number[]
  readonly gain: number
  readonly insert: boolean
  readonly samples: number
  readonly include: readonly string[]
  readonly exclude: readonly string[]
}

/** Factors that a value is divided by. */
export interface SmoothPlan {
  readonly x: string
  /** Outputs of the layers that read it. */
  readonly readers: readonly string[]
  /** Outputs of the nodes that take the factors; none: a Mul is put in. */
  readonly fold: readonly string[]
  readonly axis: number
  readonly rank: number
  readonly alpha: number
  /** Expected noise, before and after. */
  readonly noise: readonly [before: number, after: number]
  readonly scales: readonly number[]
}

/** Finds values whose smoothing pays. */
export async function planSmooth(model: Model, o: SmoothOptions, ctx: Context): Promise<SmoothPlan[]> {
  const { calibration } = ctx.data
  if (!calibration) throw new PareError('E_DATA', 'smooth needs calibration data')
  const [isIncluded, isExcluded] = [matcher(o.include), matcher(o.exclude)]
  const groups = smoothGroups(model.graph, (n) => isIncluded(n) && !isExcluded(n), ctx.refuse)
  const usable = groups.filter((g) => {
    if (o.insert || g.fold.length > 0) return true
    for (const l of g.readers) ctx.refuse(l.node, 'no constant before it can take the factors')
    return false
  })
  const wanted = usable.map(({ x, axis, rank }) => ({ id: x, axis: rank + axis }))
  const data = await heldSamples(calibration, o.samples)
  const seen = await observeChannels(model, wanted, ['least', 'greatest', 'power'], data, ctx)
  return usable.flatMap((g, i) => {
    stopIfAborted(ctx.signal)
    ctx.progress('searching for factors', i, usable.length)
    const numbers = seen.get(g.x)
    const found = numbers ? bestScales(g, numbers, o.alphas) : undefined
    if (!found || found.after > (1 - o.gain) * found.before) return []
    return [
      {
        x: g.x,
        readers: g.readers.map((l) => l.node.outputs[0] as string),
        fold: g.fold,
        axis: g.axis,
        rank: g.rank,
        alpha: found.alpha,
        noise: [found.before, found.after] as const,
        scales: Array.from(found.scales)
      }
    ]
  })
}

// ---------------------------------------------------------------- search

/** A weight as rows per output, one number per input channel: the largest and the sum of squares over kernel positions. */
interface Sizes {
  readonly outputs: number
  readonly peak: Float64Array
  readonly power: Float64Array
}

function bestScales(
  g: SmoothGroup,
  x: ChannelNumbers,
  alphas: readonly number[]
): { alpha: number; scales: Float64Array; before: number; after: number } | undefined {
  const weights = g.readers.map((l) => sizesOf(l, g.channels))
  const peaks = x.greatest.map((high, j) => Math.max(high, -(x.least[j] as number)))
  if (!peaks.every(Number.isFinite)) return undefined
  const before = noise(x, weights, new Float64Array(g.channels).fill(1))
  let best: { alpha: number; scales: Float64Array; after: number } | undefined
  for (const alpha of alphas) {
    const scales = scalesFor(peaks, weights, alpha)
    const after = noise(x, weights, scales)
    if (after < (best?.after ?? before)) best = { alpha, scales, after }
  }
  return best && { ...best, before }
}

function sizesOf(l: LinearLayer, channels: number): Sizes {
  const { data } = l.weight
  const [out, into] = [channelAt(l.linear, 'out'), channelAt(l.linear, 'in')]
  const values = toNumbers(data)
  const made = {
    outputs: l.outChannels,
    peak: new Float64Array(l.outChannels * channels),
    power: new Float64Array(l.outChannels * channels)
  }
  for (let i = 0; i < values.length; i++) {
    const at = out(i) * channels + into(i)
    const w = Math.abs(values[i] as number)
    made.peak[at] = Math.max(made.peak[at] as number, w)
    made.power[at] = (made.power[at] as number) + w * w
  }
  return made
}

const leastPeak = 1e-5

/** s_j = max|x_j|^α / max|W_j|^(1 − α), around 1 by their geometric mean; 1 for channels that are always 0. */
function scalesFor(peaks: Float64Array, weights: readonly Sizes[], alpha: number): Float64Array {
  const out = peaks.map((p, j) => {
    let w = leastPeak
    for (const { outputs, peak } of weights)
      for (let o = 0; o < outputs; o++) w = Math.max(w, peak[o * peaks.length + j] as number)
    return p > 0 ? Math.max(p, leastPeak) ** alpha / w ** (1 - alpha) : 0
  })
  const used = out.filter((s) => s > 0)
  const middle = Math.exp(used.reduce((sum, s) => sum + Math.log(s), 0) / Math.max(1, used.length))
  return out.map((s) => (s > 0 ? s / middle : 1))
}

function noise(x: ChannelNumbers, weights: readonly Sizes[], scales: Float64Array): number {
  let [low, high] = [0, 0]
  for (let j = 0; j < scales.length; j++) {
    low = Math.min(low, (x.least[j] as number) / (scales[j] as number))
    high = Math.max(high, (x.greatest[j] as number) / (scales[j] as number))
  }
  const rounding = ((high - low) / 255) ** 2 / 12
  let power = 0
  const lost = scales.map((s, j) => {
    const own = (x.power[j] as number) / (s * s)
    power += own
    return Math.min(rounding, own) * s * s
  })
  let sum = 0
  for (const w of weights)
    for (let o = 0; o < w.outputs; o++) {
      let peak = 0
      for (let j = 0, at = o * scales.length; j < scales.length; j++, at++) {
        sum += (lost[j] as number) * (w.power[at] as number)
        peak = Math.max(peak, (scales[j] as number) * (w.peak[at] as number))
      }
      sum += ((peak / 127) ** 2 / 12) * power
    }
  return sum
}

// ---------------------------------------------------------------- applying

/** Divides the planned values by their factors and multiplies the weights that read them. */
export function applySmooth(model: Model, plan: readonly SmoothPlan[]): Model {
  return edit(model, (d) => {
    for (const p of plan) {
      const scale = Float64Array.from(p.scales)
      const shift = new Float64Array(scale.length)
      const inverse = scale.map((s) => 1 / s)
      const from = p.fold.length > 0 ? p.x : inserted(d, p, inverse)
      for (const output of p.fold) foldInto(d, output, inverse)
      for (const output of p.readers)
        changeLinear(d, output, from, (l, site) => absorbBefore(l, { scale, shift }, site))
    }
  })
}

/** A Mul by the inverse factors, for the readers of the plan only. */
function inserted(d: Draft, { x, axis }: SmoothPlan, inverse: Float64Array): string {
  const like = d.value(x)
  const shape = [inverse.length, ...Array<number>(-1 - axis).fill(1)]
  const constant = d.addConstant(tensor(like?.dtype ?? 'float32', shape, inverse), `${x}_smooth`)
  const { data: _data, id: _id, ...type } = like ?? { id: x, type: 'tensor' as const }
  return d.add('Mul', [x, constant], { outputs: [d.fresh(`${x}_smoothed`)], name: `Mul_${x}_smooth`, type })
}

function foldInto(d: Draft, output: string, inverse: Float64Array): void {
  const node = d.producer(output)
  if (!node) return
  const vectors = vectorPlaces(d, node, inverse.length)
  if (vectors.length > 0) scaleConstants(d, node, vectors, inverse)
  else {
    const zero = new Float64Array(inverse.length)
    changeLinear(d, output, undefined, (l, site) => absorbAfter(l, { scale: inverse, shift: zero }, site))
  }
}

function scaleConstants(d: Draft, node: Node, positions: readonly number[], factor: Float64Array): void {
  const inputs = [...node.inputs]
  for (const i of positions) {
    const id = inputs[i] ?? null
    const data = id === null ? undefined : d.constant(id)
    if (id === null || !data) continue
    const values = Float64Array.from(toNumbers(data), (v, j) => v * (factor[j % factor.length] as number))
    inputs[i] = d.addConstant(tensor(data.dtype, data.shape, values), id)
  }
  d.replace(node, { ...node, inputs })
}
