/**
 * Single weights, or blocks of them, become zero and stay so. What tells the least important, by weight w of output o and
 * input j of a layer (a convolution's kernel belongs to its inputs):
 * - magnitude: |w|.
 * - wanda: |w|·√E[x_j²] on samples (Sun et al., 2024); with scope layer compared in each row of outputs, otherwise after
 *   dividing by the layer's root of the sum of squares.
 * - sparsegpt: w²/U_jj² with H⁻¹ = UᵀU, H = E[xxᵀ], told block by block of columns while the weights that stay make up for
 *   the others (Frantar and Alistarh, 2023). With scope global, w²/[H⁻¹]_jj tells how many of each layer go.
 * - taylor: E[(w·∂L/∂w)²] over batches (Molchanov et al., 2019).
 */
import { z } from 'zod'
import { PareError } from '../../base/errors.ts'
import { edit } from '../../ir/edit.ts'
import { toFloats } from '../../ir/tensor.ts'
import { type Gram, grams, type LayerInput, layerInput } from '../../observe/gram.ts'
import { heldSamples } from '../../observe/held.ts'
import { opFor } from '../../ops/index.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Dataset, Model, Tensor } from '../../types.ts'
import { definePass } from '../pass.ts'
import { matcher } from '../quantize/common/select.ts'
import { refuseRounded } from '../train/loss.ts'
import type { Context } from '../types.ts'
import { eachGradient } from './gradients.ts'
import { fewOfMany, lowest, patternOf, patterns, smaller, unitsOf } from './masks.ts'
import { fromRows, groupsOf, matrixOf, rowsOf } from './matrices.ts'
import { costsAlone, sparsegpt } from './sparsegpt.ts'

const pass = 'prune-weights'

const options = {
  ratio: z
    .number()
    .gt(0)
    .lt(1)
    .optional()
    .describe('share of the weights that become zero; 2:4 and 4:8 are half by themselves'),
  threshold: z
    .number()
    .gt(0)
    .optional()
    .describe('instead: weights of a smaller magnitude, or blocks of a smaller root mean square'),
  pattern: z
    .enum(patterns)
    .default('any')
    .describe('any: single weights; N:M: N of M neighbours along the inputs stay; RxC: blocks of outputs × inputs'),
  criterion: z
    .enum(['magnitude', 'wanda', 'sparsegpt', 'taylor'])
    .default('magnitude')
    .describe('what tells the least important weights; all but magnitude look at samples, taylor at a loss'),
  scope: z
    .enum(['global', 'layer'])
    .default('global')
    .describe('global: the lowest of all layers; layer: the same share of each'),
  samples: z.int().min(1).default(256).describe('samples that are looked at, at most'),
  form: z
    .enum(['auto', 'plain'])
    .default('auto')
    .describe('how the file holds pruned weights; auto: the smallest of gap, bitmap, blocks, palette and plain'),
  include: z.array(z.string()).default([]).describe('only these nodes: operator types or name patterns with *'),
  exclude: z.array(z.string()).default([]).describe('not these nodes: operator types or name patterns with *'),
  minElements: z.int().min(1).default(128).describe('smaller weights stay as they are')
} as const

type Options = z.output<z.ZodObject<typeof options>>

/** Makes weights zero. */
export const pruneWeights = definePass({
  name: pass,
  summary: 'make the weights that matter least zero, single ones or in blocks, and store them in fewer bytes',
  group: 'pruning',
  uses: ['calibration', 'train'],
  after: ['simplify', 'fuse'],
  lossy: true,
  options,
  run: async (model, o, ctx) => {
    refuseRounded(model, pass)
    checkAsked(o)
    const typed = inferShapes(model)
    const layers = layersOf(typed, o, ctx)
    if (layers.length === 0) return model
    const made =
      o.criterion === 'sparsegpt' ? await compensated(typed, layers, o, ctx) : await masked(typed, layers, o, ctx)
    tell(layers, made, o, ctx)
    return edit(model, (d) => {
      for (const [id, data] of made) {
        const v = d.value(id)
        const form = v?.form ?? (o.form === 'auto' ? 'auto' : undefined)
        if (v) d.set({ ...v, data, sparse: o.pattern, ...(form === undefined ? {} : { form }) })
      }
    })
  }
})

function checkAsked({ ratio, threshold, pattern, criterion }: Options): void {
  const bad = (message: string, hint: string): PareError => new PareError('E_OPTION', message, { where: pass, hint })
  if (pattern.includes(':')) {
    if (ratio === undefined || ratio === 0.5) if (threshold === undefined) return
    throw bad(
      `${pattern} leaves half of the weights, whatever the ratio or threshold`,
      'leave both away, or take --pattern any'
    )
  }
  if ((ratio === undefined) === (threshold === undefined))
    throw bad(`${pass} needs a ratio or a threshold`, 'such as --ratio 0.8, or --threshold 0.1')
  if (threshold !== undefined && criterion !== 'magnitude')
    throw bad(`a threshold is of magnitudes, not of ${criterion}`, 'give a ratio instead, or --criterion magnitude')
}

/** Linear layers with a float32 weight that is not small, each weight once; what is left out is told. */
function layersOf(typed: Model, o: Options, ctx: Context): LayerInput[] {
  const isIncluded = o.include.length > 0 ? matcher(o.include) : () => true
  const isExcluded = matcher(o.exclude)
  const seen = new Set<string>()
  return typed.graph.nodes.flatMap((node) => {
    if (!opFor(node)?.weights || isExcluded(node) || !isIncluded(node)) return []
    const layer = layerInput(typed, node)
    const why =
      typeof layer === 'string' ? layer : layer.dtype === 'float32' ? undefined : `its weight is ${layer.dtype}`
    if (typeof layer === 'string' || why !== undefined) {
      ctx.refuse(node, `its weights stay: ${why}`)
      return []
    }
    if (seen.has(layer.weight)) return []
    seen.add(layer.weight)
    if (layer.outputs * layer.k >= o.minElements) return [layer]
    ctx.refuse(node, `its ${layer.outputs * layer.k} weights stay: fewer than ${o.minElements}`)
    return []
  })
}

const weightOf = (typed: Model, { weight }: LayerInput): Tensor => typed.graph.values.get(weight)?.data as Tensor

// ---------------------------------------------------------------- masks

async function masked(
  typed: Model,
  layers: readonly LayerInput[],
  o: Options,
  ctx: Context
): Promise<Map<string, Tensor>> {
  const weights = layers.map((l) => rowsOf(l, weightOf(typed, l)))
  const scores = await scoresOf(typed, layers, weights, o, ctx)
  const gone = goneOf(layers, weights, scores, o)
  return new Map(
    layers.map((l, i) => {
      const left = (weights[i] as Float64Array).map((w, at) => (gone[i]?.[at] ? 0 : w))
      return [l.weight, fromRows(l, weightOf(typed, l), left)]
    })
  )
}

/** Which weights go, by the scores of each layer. */
function goneOf(
  layers: readonly LayerInput[],
  weights: readonly Float64Array[],
  scores: readonly Float64Array[],
  o: Options
): readonly Uint8Array[] {
  const pattern = patternOf(o.pattern)
  if (pattern.kind === 'n:m')
    return layers.map((l, i) => fewOfMany(scores[i] as Float64Array, matrixOf(l), pattern.keep, pattern.of))
  const parts = layers.map((l, i) => ({ scores: scores[i] as Float64Array, units: unitsOf(matrixOf(l), pattern) }))
  if (o.threshold !== undefined)
    return parts.map(({ units }, i) => smaller(weights[i] as Float64Array, units, o.threshold as number))
  const ratio = o.ratio as number
  if (o.scope === 'global') return lowest(parts, ratio)
  if (o.criterion !== 'wanda' || pattern.kind !== 'any')
    return parts.map((part) => lowest([part], ratio)[0] as Uint8Array)
  return layers.map((l, i) => byRow(scores[i] as Float64Array, l, ratio))
}

function byRow(scores: Float64Array, { outputs, k }: LayerInput, ratio: number): Uint8Array {
  const gone = new Uint8Array(scores.length)
  const units = unitsOf({ rows: 1, columns: k }, { kind: 'any' })
  for (let r = 0; r < outputs; r++)
    gone.set(lowest([{ scores: scores.subarray(r * k, (r + 1) * k), units }], ratio)[0] as Uint8Array, r * k)
  return gone
}

async function scoresOf(
  typed: Model,
  layers: readonly LayerInput[],
  weights: readonly Float64Array[],
  o: Options,
  ctx: Context
): Promise<readonly Float64Array[]> {
  if (o.criterion === 'magnitude') return weights.map((w) => w.map(Math.abs))
  if (o.criterion === 'taylor') return taylor(typed, layers, weights, o, ctx)
  const out = new Map<LayerInput, Float64Array>()
  for await (const [layer, gram] of grams(typed, layers, await samplesFor(o, ctx), ctx)) {
    const w = weights[layers.indexOf(layer)] as Float64Array
    const perGroup = layer.outputs / layer.groups
    const powers = w.map((x, at) => {
      const [row, column] = [Math.floor(at / layer.k), at % layer.k]
      return x * x * power(gram, Math.floor(row / perGroup), column)
    })
    out.set(layer, asShares(powers).map(Math.sqrt))
  }
  return layers.map((l) => out.get(l) as Float64Array)
}

const power = ({ h, k }: Gram, group: number, column: number): number =>
  Math.max(0, h[group * k * k + column * k + column] as number)

async function samplesFor(o: Options, ctx: Context): ReturnType<typeof heldSamples> {
  const data = ctx.data.calibration ?? ctx.data.train
  if (data) return heldSamples(data, o.samples)
  throw new PareError('E_DATA', `${o.criterion} needs samples`, {
    where: `${pass}, criterion`,
    hint: 'give --data, or take --criterion magnitude'
  })
}

async function taylor(
  typed: Model,
  layers: readonly LayerInput[],
  weights: readonly Float64Array[],
  { samples }: Options,
  ctx: Context
): Promise<readonly Float64Array[]> {
  const out = layers.map((_, i) => new Float64Array((weights[i] as Float64Array).length))
  await eachGradient(typed, new Set(layers.map((l) => l.weight)), { samples, pass }, ctx, (gradients) => {
    for (const [i, l] of layers.entries()) {
      const found = gradients.get(l.weight)
      if (!found) continue
      const [g, w, sums] = [rowsOf(l, found), weights[i] as Float64Array, out[i] as Float64Array]
      for (let at = 0; at < g.length; at++)
        sums[at] = (sums[at] as number) + ((w[at] as number) * (g[at] as number)) ** 2
    }
  })
  return out
}

// ---------------------------------------------------------------- with what stays making up for it

async function compensated(
  typed: Model,
  layers: readonly LayerInput[],
  o: Options,
  ctx: Context
): Promise<Map<string, Tensor>> {
  const data = await samplesFor(o, ctx)
  const shares = await sharesOf(typed, layers, data, o, ctx)
  const out = new Map<string, Tensor>()
  for await (const [layer, gram] of grams(typed, layers, data, ctx)) {
    const w = rowsOf(layer, weightOf(typed, layer))
    for (const { part, h } of groupsOf(w, layer, gram))
      sparsegpt(part, layer.k, h, patternOf(o.pattern), shares.get(layer) as number)
    out.set(layer.weight, fromRows(layer, weightOf(typed, layer), w))
  }
  return out
}

/** The share of each layer's weights that goes: the same of all, or by what single weights cost, as shares of their layer's sum. */
async function sharesOf(
  typed: Model,
  layers: readonly LayerInput[],
  data: Dataset,
  o: Options,
  ctx: Context
): Promise<ReadonlyMap<LayerInput, number>> {
  const { ratio = 0.5 } = o
  if (o.scope === 'layer' || o.pattern.includes(':')) return new Map(layers.map((l) => [l, ratio]))
  const weights = layers.map((l) => rowsOf(l, weightOf(typed, l)))
  const costs: Float64Array[] = []
  for await (const [layer, gram] of grams(typed, layers, data, ctx)) {
    const i = layers.indexOf(layer)
    const all = new Float64Array((weights[i] as Float64Array).length)
    for (const { part, h, at } of groupsOf(weights[i] as Float64Array, layer, gram))
      all.set(costsAlone(part, layer.k, h), at)
    costs[i] = asShares(all)
  }
  const gone = goneOf(layers, weights, costs, o)
  return new Map(layers.map((l, i) => [l, shareOf(gone[i] as Uint8Array)]))
}

function asShares(all: Float64Array): Float64Array {
  const total = all.reduce((a, b) => a + b, 0)
  return total > 0 ? all.map((x) => x / total) : all
}

const shareOf = (gone: Uint8Array): number => gone.reduce((n, x) => n + x, 0) / gone.length

// ---------------------------------------------------------------- what is said

function tell(layers: readonly LayerInput[], made: ReadonlyMap<string, Tensor>, o: Options, ctx: Context): void {
  const told = layers.map((l) => {
    const values = toFloats(made.get(l.weight) as Tensor)
    return { node: l.node.name, weights: values.length, zeros: values.reduce((n, x) => n + Number(x === 0), 0) }
  })
  const [weights, zeros] = [told.reduce((n, l) => n + l.weights, 0), told.reduce((n, l) => n + l.zeros, 0)]
  ctx.plan({ criterion: o.criterion, pattern: o.pattern, weights, zeros, layers: told })
  ctx.note(
    `${pass}: ${((100 * zeros) / weights).toFixed(1)} % of ${weights} weights in ${layers.length} layers are zero`
  )
}
