import { evaluateDim, unknownDim } from '../base/dim.ts'
import { PareError } from '../base/errors.ts'
import type { Dim, Graph, Model, Value } from '../types.ts'
import { mapGraphs } from './edit.ts'

/** Fixes symbolic dimensions everywhere they occur, also inside expressions. The very same model when none occurs. */
export function bind(model: Model, symbols: Readonly<Record<string, number>>): Model {
  return mapGraphs(model, (graph) => bindGraph(graph, symbols))
}

function bindGraph(graph: Graph, symbols: Readonly<Record<string, number>>): Graph {
  let values: Map<string, Value> | undefined
  for (const v of graph.values.values()) {
    const shape = v.shape?.map((d) => evaluateDim(d, symbols) ?? d)
    if (!shape || shape.every((d, i) => d === v.shape?.[i])) continue
    values ??= new Map(graph.values)
    values.set(v.id, { ...v, shape })
  }
  return values ? { ...graph, values } : graph
}

/** Free sizes of inputs: those of first axes, where samples stand, and the others, with an input that has each. */
export function openSizes({ graph }: Model): {
  readonly samples: ReadonlySet<string>
  readonly others: ReadonlyMap<string, string>
} {
  const shapes = graph.inputs.map((id) => [id, graph.values.get(id)?.shape ?? []] as const)
  const isFree = (d: Dim | undefined): d is string => typeof d === 'string'
  const samples = new Set(shapes.map(([, shape]) => shape[0]).filter(isFree))
  const others = new Map<string, string>()
  for (const [id, shape] of shapes) for (const d of shape) if (isFree(d) && !samples.has(d)) others.set(d, id)
  return { samples, others }
}

/**
 * The model with all sizes of its inputs fixed: by `sizes`, symbol to number, and a free first axis, where samples stand, as 1.
 * Without `samples` that stays free. An axis without a name is called by its input and position, `x.1`.
 * Throws `E_OPTION` for free axes without a size, and for sizes of symbols that no input has.
 */
export function bindInputs(
  model: Model,
  sizes: Readonly<Record<string, number>>,
  { samples: fixes = true }: { readonly samples?: boolean } = {}
): Model {
  const unnamed = unnamedAxes(model)
  const { samples, others } = openSizes(model)
  const symbols = [...samples, ...others.keys()].filter((d) => d !== unknownDim)
  const all = [...symbols, ...unnamed.map((u) => u.name)]
  const unknown = Object.keys(sizes).find((name) => !all.includes(name))
  if (unknown !== undefined)
    throw new PareError('E_OPTION', `no input has a free axis ${unknown}`, {
      facts: { 'free axes': all.join(', ') || 'none' }
    })
  /** `undefined`: it stays free. */
  const sizeOf = (name: string, isSample: boolean): number | undefined => {
    if (Object.hasOwn(sizes, name)) return sizes[name]
    if (isSample) return fixes ? 1 : undefined
    const input = others.get(name) ?? unnamed.find((u) => u.name === name)?.id
    throw new PareError('E_OPTION', `axis ${name} of input ${input} is free, and sizes are to be fixed`, {
      hint: `--sizes ${name}=64`
    })
  }
  const sizesOfUnnamed = unnamed.flatMap(({ id, axis, name }) => {
    const size = sizeOf(name, axis === 0)
    return size === undefined ? [] : [{ id, axis, size }]
  })
  const named = sizesOfUnnamed.reduce(withSize, model)
  const fixed = symbols.flatMap((d) => {
    const size = sizeOf(d, samples.has(d))
    return size === undefined ? [] : [[d, size] as const]
  })
  return bind(named, Object.fromEntries(fixed))
}

function withSize(model: Model, { id, axis, size }: { id: string; axis: number; size: number }): Model {
  const v = model.graph.values.get(id) as Value
  const values = new Map(model.graph.values)
  values.set(id, { ...v, shape: v.shape?.map((d, i) => (i === axis ? size : d)) ?? [] })
  return { ...model, graph: { ...model.graph, values } }
}

/** Axes of inputs whose size has neither a number nor a name. */
const unnamedAxes = ({ graph }: Model): { readonly id: string; readonly axis: number; readonly name: string }[] =>
  graph.inputs.flatMap((id) =>
    (graph.values.get(id)?.shape ?? []).flatMap((d, axis) =>
      d === unknownDim ? [{ id, axis, name: `${id}.${axis}` }] : []
    )
  )

/** Sizes as they are written on the command line: `T=64,N=1`. Throws `E_OPTION`. */
export function sizesIn(text: string): Readonly<Record<string, number>> {
  if (text.trim() === '') return {}
  return Object.fromEntries(
    text.split(',').map((part) => {
      const [name = '', size = ''] = part.split('=').map((s) => s.trim())
      if (name === '' || !/^[+-]?\d+$/.test(size))
        throw new PareError('E_OPTION', `sizes are written as T=64,N=1; this says ${part.trim()}`)
      if (Number(size) < 1 || !Number.isSafeInteger(Number(size)))
        throw new PareError('E_OPTION', `a size is a whole number from 1 to 2^53 - 1; this says ${part.trim()}`)
      return [name, Number(size)] as const
    })
  )
}
