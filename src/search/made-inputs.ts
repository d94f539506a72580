/**
 * Made-up inputs that a model can run on: dimensions of several inputs go together (a mask is as long as the past and the
 * tokens), token ids stay inside the vocabulary, masks are open, states start at zero, series are as long as the model
 * looks, pictures have a usual size. Enough to compare and to time two models, never to judge accuracy.
 */
import { evaluateDim } from '../base/dim.ts'
import type { Rng } from '../base/random.ts'
import { allGraphs, constant } from '../ir/graph.ts'
import { looksLikeState, statePairs } from '../ir/states.ts'
import { elementCount, isFloat, tensor } from '../ir/tensor.ts'
import { opFor } from '../ops/index.ts'
import { reachOf } from '../ops/reach.ts'
import type { Session } from '../runtime/types.ts'
import type { Dim, Graph, Model, Tensor } from '../types.ts'

/** What the folder's configuration says of inputs. */
export interface InputFacts {
  readonly vocabulary?: number
  readonly imageSize?: number
  readonly channels?: number
  readonly melBins?: number
}

type Input = Session['inputs'][number]

const tokens = 8
const pastTokens = 6
const encoderTokens = 12
const waveSamples = 16000
const leastSeries = 16
const sampleRate = 16000

/** How inputs are made. */
export interface MakeOptions {
  readonly facts?: InputFacts
  readonly rng: Rng
  readonly count: number
  /** All sets of the same sizes: merged decoders are run behind a past alone. */
  readonly alike?: boolean
  /** Positions of a series whose length is free. */
  readonly series?: number
}

/** `count` sets of inputs of one sample each; the merged decoders' `use_cache_branch` takes turns. */
export function preparedInputs(model: Model, inputs: readonly Input[], o: MakeOptions): Record<string, Tensor>[] {
  const states = new Set(statePairs({ inputs, outputs: portsOf(model.graph, model.graph.outputs) }).map((p) => p.input))
  return Array.from({ length: o.count }, (_, i) => {
    const isFirst = !o.alike && inputs.some((x) => x.name === 'use_cache_branch') && i % 2 === 0
    const { shapes, past } = shapesOf(inputs, { ...o, isFirst })
    const random = o.rng.fork(`inputs ${i}`)
    const filling = { past, states, usesCache: !isFirst, facts: o.facts ?? {}, random }
    return Object.fromEntries(inputs.map((x) => [x.name, filled(model, x, shapes[x.name] ?? [], filling)]))
  })
}

/** The shapes that inputs are made in, of one sample each. */
export const madeShapes = (inputs: readonly Input[], series?: number): Shapes =>
  shapesOf(inputs, { isFirst: false, ...(series === undefined ? {} : { series }) }).shapes

/** By input. */
export type Shapes = Readonly<Record<string, readonly number[]>>

/**
 * Lengths for a free axis of a series, the most plausible first: twice what one result looks at, rounded up to whole
 * steps from one result to the next; one step; and some that exporters fix. One only where nothing slides over the input.
 */
export function seriesLengths(model: Model): readonly number[] {
  const { field, step } = reachOf(model)
  if (field <= 1) return [leastSeries]
  const whole = (n: number): number => Math.max(leastSeries, Math.ceil(n / step) * step)
  return [...new Set([whole(2 * field), whole(field), whole(step), 512, 576, 256, waveSamples])]
}

const isPast = (name: string): boolean => name.startsWith('past')

function shapesOf(
  inputs: readonly Input[],
  o: { readonly facts?: InputFacts; readonly series?: number; readonly isFirst: boolean }
): { readonly shapes: Shapes; readonly past: number } {
  const past = inputs.some((x) => isPast(x.name)) && !o.isFirst ? pastTokens : 0
  const ids = inputs.find((x) => x.name === 'input_ids')?.shape?.[1]
  const lengths = {
    length: typeof ids === 'number' ? ids : tokens,
    series: o.series ?? leastSeries,
    past,
    facts: o.facts ?? {}
  }
  const sizes: Record<string, number> = {}
  for (const input of inputs)
    for (const [at, d] of (input.shape ?? []).entries())
      for (const symbol of typeof d === 'string' ? (d.match(/[A-Za-z_][\w.]*/g) ?? []) : [])
        sizes[symbol] ??= sizeOf(symbol, at, input, lengths)
  const shapeOf = (x: Input): readonly number[] =>
    (x.shape ?? []).map((d: Dim, i, all) => {
      // Exporters write one symbol for two axes, [batch, batch]: the first is what it says.
      const isAgain = typeof d === 'string' && all.indexOf(d) < i
      return (isAgain ? undefined : evaluateDim(d, sizes)) ?? sizeOf('', i, x, lengths)
    })
  return { shapes: Object.fromEntries(inputs.map((x) => [x.name, shapeOf(x)])), past }
}

interface Lengths {
  readonly length: number
  readonly series: number
  readonly past: number
  readonly facts: InputFacts
}

function sizeOf(symbol: string, at: number, { name, dtype, shape }: Input, o: Lengths): number {
  const has = (pattern: RegExp): boolean => pattern.test(symbol.toLowerCase())
  if (has(/batch/)) return 1
  if (has(/encoder/) && !has(/decoder/)) return encoderTokens
  if (has(/past.*\+|total|kv_/)) return o.past + o.length
  if (has(/past/)) return o.past
  if (has(/height|width/)) return o.facts.imageSize ?? 224
  if (has(/channel/)) return o.facts.channels ?? 3
  if (has(/mel|feature/)) return o.facts.melBins ?? 80
  const rank = shape?.length ?? 0
  if (looksLikeState(name)) return isPast(name) && rank === 4 && at === 2 ? o.past : 1
  if (at === 0 && rank > 1) return 1
  if (dtype !== undefined && !isFloat(dtype) && rank < 4) return o.length
  if (has(/sample|audio|wave/)) return o.series > leastSeries ? o.series : waveSamples
  if (rank === 4) return at === 1 && shape?.[3] !== 3 && shape?.[3] !== 1 ? 3 : (o.facts.imageSize ?? 224)
  return at === 0 ? 1 : o.series
}

interface Filling {
  readonly past: number
  readonly states: ReadonlySet<string>
  readonly usesCache: boolean
  readonly facts: InputFacts
  readonly random: Rng
}

function filled(model: Model, { name, dtype = 'float32' }: Input, shape: readonly number[], o: Filling): Tensor {
  const own = o.random.fork(name)
  if (dtype === 'string')
    return tensor(
      dtype,
      shape,
      Array.from({ length: elementCount(shape) }, () => `text ${own.below(1000)}`)
    )
  const value = ((): ((i: number) => number) => {
    if (name === 'use_cache_branch') return () => Number(o.usesCache)
    if (/^sr$|sampl(e|ing)_?rate/i.test(name)) return () => sampleRate
    // Past keys and values are those of tokens that were read, where there are any.
    if (o.states.has(name) && !isPast(name)) return () => 0
    if (isFloat(dtype)) return /mask$/.test(name) ? () => 1 : () => own.normal()
    if (/mask$/.test(name)) return () => 1
    if (/token_type|segment/.test(name)) return () => 0
    if (/position/.test(name)) return (i) => o.past + (i % (shape.at(-1) ?? 1))
    const rows = Math.min(rowsRead(model, name), o.facts.vocabulary ?? Number.POSITIVE_INFINITY)
    if (Number.isFinite(rows)) return () => own.below(rows)
    return shape.length === 0 ? () => 1 : () => own.below(2)
  })()
  return tensor(
    dtype,
    shape,
    Array.from({ length: elementCount(shape) }, (_, i) => value(i))
  )
}

/** Rows of the smallest table that ids are looked up in, through nodes of one input (a change of type) too. */
function rowsRead(model: Model, id: string): number {
  let rows = Number.POSITIVE_INFINITY
  const graphs = allGraphs(model)
  const names = new Set([id])
  for (const graph of graphs)
    for (const n of graph.nodes) {
      if (n.inputs.length === 1 && names.has(n.inputs[0] ?? '')) names.add(n.outputs[0] ?? '')
      const op = opFor(n)
      if (op?.quant?.output !== 'same' || !op.weights || !names.has(n.inputs[1] ?? '')) continue
      const table = graphs.flatMap((g) => constant(g, n.inputs[0]) ?? [])[0]
      rows = Math.min(rows, table?.shape[0] ?? rows)
    }
  return rows
}

/** A model's inputs without those that have a default. */
export const askedInputs = ({ graph }: Model): Input[] =>
  portsOf(
    graph,
    graph.inputs.filter((id) => !graph.values.get(id)?.data)
  )

const portsOf = (graph: Graph, ids: readonly string[]): Input[] =>
  ids.flatMap((id) => {
    const v = graph.values.get(id)
    if (!v) return []
    return [{ name: id, ...(v.dtype ? { dtype: v.dtype } : {}), ...(v.shape ? { shape: v.shape } : {}) }]
  })
