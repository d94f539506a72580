/**
 * Made-up inputs that transformers can run on: the dimensions of several inputs go together (a mask is as long as the
 * past and the tokens), token ids stay inside the vocabulary, masks are open. Enough to compare two models, never to
 * judge accuracy.
 */

import { evaluateDim } from '../base/dim.ts'
import type { Rng } from '../base/random.ts'
import { allGraphs, constant } from '../ir/graph.ts'
import { elementCount, isFloat, tensor } from '../ir/tensor.ts'
import { opFor } from '../ops/index.ts'
import type { Dim, Model, Session, Tensor, Value } from '../types.ts'

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

/** `count` sets of inputs; the merged decoders' `use_cache_branch` takes turns. */
export function preparedInputs(
  model: Model,
  inputs: readonly Input[],
  o: { readonly facts: InputFacts; readonly rng: Rng; readonly count: number }
): Record<string, Tensor>[] {
  return Array.from({ length: o.count }, (_, i) => {
    const hasPast = inputs.some((x) => isPast(x.name))
    const isFirst = inputs.some((x) => x.name === 'use_cache_branch') && i % 2 === 0
    const past = hasPast && !isFirst ? pastTokens : 0
    const sizes = sizesOf(inputs, past, o.facts)
    const random = o.rng.fork(`inputs ${i}`)
    return Object.fromEntries(
      inputs.map((x) => [x.name, filled(model, x, { sizes, past, usesCache: !isFirst, facts: o.facts, random })])
    )
  })
}

const isPast = (name: string): boolean => name.startsWith('past')

/** A size for every symbol of the inputs' shapes. */
function sizesOf(inputs: readonly Input[], past: number, facts: InputFacts): Readonly<Record<string, number>> {
  const ids = inputs.find((x) => x.name === 'input_ids')?.shape?.[1]
  const length = typeof ids === 'number' ? ids : tokens
  const sizes: Record<string, number> = {}
  for (const { shape } of inputs)
    for (const [at, d] of (shape ?? []).entries())
      for (const symbol of typeof d === 'string' ? (d.match(/[A-Za-z_][\w.]*/g) ?? []) : [])
        sizes[symbol] ??= sizeOf(symbol, at, { length, past, facts })
  return sizes
}

interface Lengths {
  readonly length: number
  readonly past: number
  readonly facts: InputFacts
}

function sizeOf(symbol: string, at: number, { length, past, facts }: Lengths): number {
  const has = (pattern: RegExp): boolean => pattern.test(symbol.toLowerCase())
  if (has(/batch/)) return 1
  if (has(/encoder/) && !has(/decoder/)) return encoderTokens
  if (has(/past.*\+|total|kv_/)) return past + length
  if (has(/past/)) return past
  if (has(/height|width/)) return facts.imageSize ?? 224
  if (has(/channel/)) return facts.channels ?? 3
  if (has(/mel|feature/)) return facts.melBins ?? 80
  if (has(/sample|audio|wave/)) return waveSamples
  return at === 0 ? 1 : length
}

interface Filling {
  readonly sizes: Readonly<Record<string, number>>
  readonly past: number
  readonly usesCache: boolean
  readonly facts: InputFacts
  readonly random: Rng
}

function filled(model: Model, input: Input, o: Filling): Tensor {
  const { name, dtype = 'float32' } = input
  const shape = (input.shape ?? []).map((d: Dim, i) => evaluateDim(d, o.sizes) ?? (i === 0 ? 1 : o.past + tokens))
  const count = elementCount(shape)
  const own = o.random.fork(name)
  const value = ((): ((i: number) => number) => {
    if (name === 'use_cache_branch') return () => Number(o.usesCache)
    if (isFloat(dtype)) return () => own.normal()
    if (/mask$/.test(name)) return () => 1
    if (/token_type|segment/.test(name)) return () => 0
    if (/position/.test(name)) return (i) => o.past + (i % (shape.at(-1) ?? 1))
    if (!/ids$|tokens?$/.test(name)) return () => 1
    const rows = Math.min(rowsRead(model, name), o.facts.vocabulary ?? Number.POSITIVE_INFINITY)
    return () => own.below(Number.isFinite(rows) ? rows : 2)
  })()
  return tensor(
    dtype,
    shape,
    Array.from({ length: count }, (_, i) => value(i))
  )
}

/** Rows of the smallest table that ids are looked up in. */
function rowsRead(model: Model, id: string): number {
  let rows = Number.POSITIVE_INFINITY
  const graphs = allGraphs(model)
  for (const graph of graphs)
    for (const n of graph.nodes) {
      if (opFor(n)?.quant?.output !== 'same' || !opFor(n)?.weights || n.inputs[1] !== id) continue
      const table = graphs.flatMap((g) => constant(g, n.inputs[0]) ?? [])[0]
      rows = Math.min(rows, table?.shape[0] ?? rows)
    }
  return rows
}

/** A model's inputs without those that have a default. */
export function askedInputs(model: Model): Input[] {
  const { graph } = model
  return graph.inputs
    .flatMap((id) => graph.values.get(id) ?? [])
    .filter((v) => !v.data)
    .map(({ id, dtype, shape }: Value) => ({ name: id, ...(dtype ? { dtype } : {}), ...(shape ? { shape } : {}) }))
}
