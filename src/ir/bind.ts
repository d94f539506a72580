import { evaluateDim } from '../base/dim.ts'
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
 * Without `samples` that stays free. Throws `E_OPTION` for free axes without a size, and for sizes of symbols that no input has.
 */
export function bindInputs(
  model: Model,
  sizes: Readonly<Record<string, number>>,
  { samples: fixes = true }: { readonly samples?: boolean } = {}
): Model {
  const { samples, others } = openSizes(model)
  const symbols = [...samples, ...others.keys()]
  const unknown = Object.keys(sizes).find((name) => !symbols.includes(name))
  if (unknown !== undefined)
    throw new PareError('E_OPTION', `no input has a free axis ${unknown}`, {
      facts: { 'free axes': symbols.join(', ') || 'none' }
    })
  const isFixed = (d: string): boolean => Object.hasOwn(sizes, d) || (samples.has(d) && d !== '?')
  const left = symbols.find((d) => !isFixed(d))
  if (left !== undefined)
    throw new PareError(
      'E_OPTION',
      `axis ${left} of input ${others.get(left) ?? model.graph.inputs[0]} is free, and sizes are to be fixed`,
      {
        hint: left === '?' ? 'give the axis a name or a size in the model' : `--sizes ${left}=64`
      }
    )
  const fixed = Object.fromEntries(
    symbols
      .filter((d) => fixes || Object.hasOwn(sizes, d))
      .map((d) => [d, Object.hasOwn(sizes, d) ? (sizes[d] as number) : 1])
  )
  return bind(model, fixed)
}

/** Sizes as they are written on the command line: `T=64,N=1`. Throws `E_OPTION`. */
export function sizesIn(text: string): Readonly<Record<string, number>> {
  if (text.trim() === '') return {}
  return Object.fromEntries(
    text.split(',').map((part) => {
      const [name = '', size = ''] = part.split('=').map((s) => s.trim())
      if (name === '' || !/^[1-9]\d{0,8}$/.test(size))
        throw new PareError('E_OPTION', `sizes are written as T=64,N=1; this says ${part.trim()}`)
      return [name, Number(size)] as const
    })
  )
}
