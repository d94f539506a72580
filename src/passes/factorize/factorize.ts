/**
 * Matrix products and convolutions become two or three with few channels between, where that takes less (methods.ts); tables that
 * are looked up become smaller ones with a product behind (tables.ts).
 */
import { z } from 'zod'
import { PareError, stopIfAborted } from '../../base/errors.ts'
import { edit } from '../../ir/edit.ts'
import { consumers, producer } from '../../ir/graph.ts'
import { tensor } from '../../ir/tensor.ts'
import { type Gram, grams, type LayerInput, layerInput } from '../../observe/gram.ts'
import { heldSamples } from '../../observe/held.ts'
import { costOf } from '../../ops/cost.ts'
import { opFor } from '../../ops/index.ts'
import { inferShapes } from '../../ops/infer.ts'
import { isDepthwise } from '../../ops/linear.ts'
import type { Model, Node, Tensor } from '../../types.ts'
import { shiftBiases } from '../biases.ts'
import { definePass } from '../pass.ts'
import { matcher, noteUnmatched } from '../quantize/common/select.ts'
import { canShift, centred, shiftOf } from '../quantize/weights/layerwise.ts'
import { refuseRounded } from '../train/loss.ts'
import type { Context } from '../types.ts'
import { type Bound, chosen, type Splittable } from './choose.ts'
import { products } from './matrices.ts'
import { methods, type Tools } from './methods.ts'
import { partsOf, weightOf } from './moments.ts'
import { rebuild } from './rebuild.ts'
import { type Split, splitsOf, suits } from './splits.ts'
import { splitTables } from './tables.ts'

const pass = 'factorize'

const share = (about: string) => z.number().gt(0).lt(1).optional().describe(about)

const options = {
  what: z
    .enum(['layers', 'tables'])
    .default('layers')
    .describe('layers: matrix products and convolutions; tables: rows that are looked up, such as those of tokens'),
  ratio: share('parameters that may be left in the layers looked at, after / before'),
  macs: share('instead: multiply-adds that may be left in them, after / before'),
  energy: share('instead: energy that every layer keeps, of its outputs on samples, or of its weights without samples'),
  error: share('instead: largest error of a layer’s outputs on samples, as a share of their energy'),
  ranks: z
    .record(z.string(), z.int().min(1))
    .optional()
    .describe(
      'instead: ranks of layers split by svd, by the name of the node, as `search` finds them; others stay whole'
    ),
  method: z
    .enum(['auto', ...methods])
    .default('auto')
    .describe(
      'svd: two products, or the kernel and 1×1; spatial: k×1 and 1×k; tucker: 1×1, the kernel, 1×1; auto: whichever errs least'
    ),
  scope: z
    .enum(['global', 'layer'])
    .default('global')
    .describe('of ratio and macs. global: over all layers, those that err least lose most; layer: in every layer'),
  whiten: z
    .boolean()
    .default(true)
    .describe('judge by the layers’ outputs where there are samples, not by the weights alone'),
  align: z
    .int()
    .min(1)
    .max(4096)
    .optional()
    .describe('ranks are multiples of this; by default what the target is fastest at'),
  samples: z.int().min(1).default(256).describe('samples that are looked at, at most'),
  include: z.array(z.string()).default([]).describe('only these nodes: operator types or name patterns with *'),
  exclude: z.array(z.string()).default([]).describe('not these nodes: operator types or name patterns with *')
} as const

type Options = z.output<z.ZodObject<typeof options>>

/** Layers with more inputs are judged by their weights: the moments of inputs are a square matrix. */
const mostWhitened = 8192

/** Splits layers into such of low rank. */
export const factorize = definePass({
  name: pass,
  summary: 'split matrix products, convolutions and tables into smaller ones, by low rank, where that takes less',
  group: 'pruning',
  uses: ['calibration', 'train'],
  after: ['simplify'],
  lossy: true,
  options,
  run: async (model, o, ctx) => {
    refuseRounded(model, pass)
    const bound = boundOf(o)
    const typed = inferShapes(model)
    for (const kind of ['include', 'exclude'] as const) noteUnmatched(model, kind, o[kind], ctx)
    const tools = { products: products(ctx.engine), rng: ctx.rng.fork(pass) }
    try {
      if (o.what === 'tables') return await ofTables(model, typed, o, bound, tools, ctx)
      const layers = o.ranks ? rankedLayers(typed, o.ranks, o, ctx) : layersOf(typed, o, ctx)
      const all = await lookedAt(typed, layers, o, tools, ctx)
      const picks = chosen(all.map(sizedFor(bound)), bound)
      if (!picks) throw outOfReach(o)
      return written(model, all, picks, ctx)
    } finally {
      await tools.products.close()
    }
  }
})

async function ofTables(
  model: Model,
  typed: Model,
  o: Options,
  bound: Bound,
  tools: Tools,
  ctx: Context
): Promise<Model> {
  if (bound.kind === 'macs' || o.method !== 'auto')
    throw new PareError('E_OPTION', 'a lookup multiplies nothing: tables have no multiply-adds and no method', {
      where: pass,
      hint: 'bound --ratio, --energy or --error'
    })
  const given = o.whiten ? (ctx.data.calibration ?? ctx.data.train) : undefined
  const [align, data] = [o.align ?? ctx.target.channelMultiple, given && (await heldSamples(given, o.samples))]
  const made = await splitTables(model, typed, { bound, align, isMeant: meant(o), data }, tools, ctx)
  if (!made) throw outOfReach(o)
  return made
}

function meant(o: Options): (node: Node) => boolean {
  const isIncluded = o.include.length > 0 ? matcher(o.include) : () => true
  const isExcluded = matcher(o.exclude)
  return (node) => isIncluded(node) && !isExcluded(node)
}

// ---------------------------------------------------------------- what is asked

const kinds = ['ratio', 'macs', 'energy', 'error'] as const

function boundOf(o: Options): Bound {
  if (o.ranks && o.what === 'tables')
    throw new PareError('E_OPTION', 'ranks are of layers, by the name of the node', { where: `${pass}, ranks` })
  const given = kinds.flatMap((kind) => (o[kind] === undefined ? [] : [{ kind, value: o[kind] as number }]))
  const [one] = given
  if (given.length + Number(o.ranks !== undefined) !== 1)
    throw new PareError(
      'E_OPTION',
      `${pass} needs one bound, and was given ${given.length + Number(o.ranks !== undefined)}`,
      {
        where: pass,
        facts: { bounds: [...kinds, 'ranks'].join(', ') },
        hint: 'such as --ratio 0.5, or --energy 0.95'
      }
    )
  // Of given ranks every layer has one split, which is taken whatever it errs.
  if (!one) return { kind: 'error', most: Number.POSITIVE_INFINITY }
  const { kind, value } = one
  if (kind === 'energy') return { kind: 'error', most: 1 - value }
  if (kind === 'error') return { kind, most: value }
  return { kind: kind === 'ratio' ? 'parameters' : 'macs', share: value, scope: o.scope }
}

const outOfReach = (o: Options): PareError =>
  new PareError(
    'E_UNSUPPORTED',
    `${o.ratio === undefined ? `macs of ${o.macs}` : `a ratio of ${o.ratio}`} cannot be reached`,
    {
      where: pass,
      hint: 'ask for less, give a smaller --align, or leave layers out with --exclude'
    }
  )

/** Linear layers with a float32 weight of their own; what is left out is told. */
function layersOf(typed: Model, o: Options, ctx: Context): LayerInput[] {
  const isMeant = meant(o)
  return typed.graph.nodes.flatMap((node) => {
    if (!opFor(node)?.linear || !isMeant(node)) return []
    const layer = layerInput(typed, node)
    const why = typeof layer === 'string' ? layer : whyWhole(typed, layer, o)
    if (typeof layer !== 'string' && why === undefined) return [layer]
    ctx.refuse(node, `stays whole: ${why}`)
    return []
  })
}

/** The layers that have a rank. Throws `E_OPTION` for a name of none that can be split. */
function rankedLayers(typed: Model, ranks: Readonly<Record<string, number>>, o: Options, ctx: Context): LayerInput[] {
  if (o.method !== 'auto' && o.method !== 'svd')
    throw new PareError('E_OPTION', 'ranks are of layers that svd splits', { where: `${pass}, ranks` })
  const layers = layersOf(typed, o, ctx).filter(
    (l) => (ranks[l.node.name] ?? Number.POSITIVE_INFINITY) < largestRank(l)
  )
  const known = new Set(layers.map((l) => l.node.name))
  for (const name of Object.keys(ranks))
    if (!known.has(name))
      throw new PareError('E_OPTION', `ranks name no layer that can be split into ranks of ${ranks[name]}: ${name}`, {
        where: `${pass}, ranks`,
        hint: 'ranks fit the model that they were found for, after the same passes'
      })
  return layers
}

/** Fewer channels than this between two layers are a rank. */
const largestRank = (l: LayerInput): number => Math.min(l.outputs / l.groups, l.k)

function whyWhole({ graph }: Model, layer: LayerInput, o: Options): string | undefined {
  const { linear, weight, dtype } = layer
  if (dtype !== 'float32') return `its weight is ${dtype}`
  if (consumers(graph, weight).length > 1 || graph.outputs.includes(weight)) return 'its weight is read elsewhere too'
  if (graph.values.get(weight)?.sparse) return 'its weight is pruned, and the zeros would be gone: factorize first'
  if (linear.alpha === 0) return 'it multiplies by 0'
  if (isDepthwise(layer.linear)) return 'every channel has a kernel of its own'
  if (o.method !== 'auto' && !suits(o.method, layer)) return `${o.method} needs a kernel, and it has none`
  return undefined
}

// ---------------------------------------------------------------- what the layers could become

interface Looked {
  readonly layer: LayerInput
  readonly splits: readonly Split[]
  readonly parameters: number
  readonly macs: number | undefined
  /** Moments of its inputs are known; `gram`: the means alone are held, where a bias can take up a shift. */
  readonly onSamples: boolean
  readonly gram: Gram | undefined
}

async function lookedAt(
  typed: Model,
  layers: readonly LayerInput[],
  o: Options,
  tools: Tools,
  ctx: Context
): Promise<readonly Looked[]> {
  const data = o.whiten ? (ctx.data.calibration ?? ctx.data.train) : undefined
  if (!data && o.error !== undefined)
    throw new PareError('E_DATA', 'a bound of the error needs samples', {
      where: `${pass}, error`,
      hint: o.whiten ? 'give --data, or bound the --energy of the weights' : 'leave --no-whiten away'
    })
  const cost = costOf(typed)
  const align = o.align ?? ctx.target.channelMultiple
  const wanted = o.ranks ? (['svd'] as const) : o.method === 'auto' ? methods : [o.method]
  const out = new Map<LayerInput, Looked>()
  const look = async (layer: LayerInput, given: Gram | undefined): Promise<void> => {
    stopIfAborted(ctx.signal)
    const isCentred = given !== undefined && canShift(typed, layer)
    const gram = given && isCentred ? centred(given) : given
    const parts = partsOf(layer, constantOf(typed, layer), gram)
    const shapeOf = (id: string | undefined) => typed.graph.values.get(id ?? '')?.shape
    const sizes = { data: shapeOf(layer.x), output: shapeOf(layer.node.outputs[0]) }
    const rank = o.ranks?.[layer.node.name]
    const asked = rank === undefined ? {} : { rank }
    const splits = await splitsOf(layer, parts, { methods: wanted, align, ...sizes, ...asked }, tools)
    const parameters = layer.outputs * layer.k
    const node = typed.graph.nodes.indexOf(layer.node)
    const macs = cost.byNode.get(typed.graph.nodes[node] as Node)
    const held = given && isCentred ? { ...given, h: new Float64Array(0) } : undefined
    out.set(layer, { layer, splits, parameters, macs, onSamples: given !== undefined, gram: held })
    ctx.progress('splitting layers', out.size, layers.length)
  }
  const whitened = data ? layers.filter((l) => l.k <= mostWhitened) : []
  for (const layer of layers) if (!whitened.includes(layer)) await look(layer, undefined)
  if (data && whitened.length < layers.length)
    ctx.note(
      `${pass}: ${layers.length - whitened.length} layers of more than ${mostWhitened} inputs were judged by their weights`
    )
  if (data && whitened.length > 0) {
    const held = await heldSamples(data, o.samples)
    for await (const [layer, gram] of grams(typed, whitened, held, ctx)) await look(layer, gram)
  }
  return layers.map((layer) => out.get(layer) as Looked)
}

const constantOf = (typed: Model, { weight }: LayerInput): Tensor => typed.graph.values.get(weight)?.data as Tensor

/** Layers of unknown multiply-adds do not count where those are bounded, and stay. */
const sizedFor =
  (bound: Bound) =>
  ({ splits, parameters, macs }: Looked): Splittable =>
    bound.kind === 'macs' ? { splits: macs === undefined ? [] : splits, size: macs ?? 0 } : { splits, size: parameters }

// ---------------------------------------------------------------- the model

function written(model: Model, all: readonly Looked[], picks: readonly (Split | undefined)[], ctx: Context): Model {
  const shifts = new Map<string, Float64Array>()
  const made = all.flatMap((looked, i) => {
    const split = picks[i]
    if (!split) return []
    const { layer, gram } = looked
    const groups = split.factors()
    const own = constantOf(model, layer)
    if (gram) {
      const whole = weightOf(
        layer,
        own.shape,
        groups.map((g) => g.whole)
      )
      shifts.set(layer.node.outputs[0] as string, shiftOf(layer, own, tensor('float32', own.shape, whole), gram))
    }
    return [{ layer, split, groups }]
  })
  tell(all, picks, ctx)
  if (made.length === 0) return model
  const shifted = edit(model, (d) => shiftBiases(d, model.graph, shifts))
  return edit(shifted, (d) => {
    for (const { layer, split, groups } of made) {
      const node = producer(shifted.graph, layer.node.outputs[0] as string)
      if (node) rebuild(d, node, layer, split.shapes, groups)
    }
  })
}

// ---------------------------------------------------------------- what is said

function tell(all: readonly Looked[], picks: readonly (Split | undefined)[], ctx: Context): void {
  const [before, after] = [
    { parameters: 0, macs: 0 },
    { parameters: 0, macs: 0 }
  ]
  const layers = all.flatMap(({ layer, splits, parameters, macs, onSamples }, i) => {
    const split = picks[i]
    if (!split) {
      ctx.refuse(layer.node, `stays whole: ${whyStays(splits)}`)
      return []
    }
    const left = { parameters: Math.round(split.cost.parameters * parameters), macs: split.cost.macs * (macs ?? 0) }
    before.parameters += parameters
    before.macs += macs ?? 0
    after.parameters += left.parameters
    after.macs += left.macs
    return [
      {
        node: layer.node.name,
        ...{ method: split.method, ranks: split.ranks },
        parameters: { before: parameters, after: left.parameters },
        bytes: { before: 4 * parameters, after: 4 * left.parameters },
        ...(macs === undefined ? {} : { macs: { before: macs, after: Math.round(left.macs) } }),
        ...{ error: split.error, errorOf: onSamples ? 'outputs' : 'weights' }
      }
    ]
  })
  ctx.plan({ layers })
  const share = (a: number, b: number): string => (a / b).toPrecision(2)
  const work = before.macs > 0 ? ` and ${share(after.macs, before.macs)} of the multiply-adds` : ''
  ctx.note(
    layers.length === 0
      ? `${pass}: no layer was split`
      : `${pass}: ${share(after.parameters, before.parameters)} of the parameters${work} are left in ${layers.length} of ${all.length} layers`
  )
}

function whyStays(splits: readonly Split[]): string {
  if (splits.length === 0) return 'no rank takes fewer parameters and multiply-adds'
  const best = splits.reduce((a, b) => (b.error < a.error ? b : a))
  const { parameters, macs } = best.cost
  const figures = `${best.method} of rank ${best.ranks.join(' and ')} takes ${parameters.toFixed(2)} of its parameters and ${macs.toFixed(2)} of its multiply-adds`
  return `${figures}, at an error of ${(100 * best.error).toPrecision(2)} %`
}
