import { evaluateDim } from '../base/dim.ts'
import { PareError } from '../base/errors.ts'
import type { Graph, Model, Value } from '../types.ts'
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

/**
 * The model with all sizes of its inputs fixed: by `sizes`, symbol to number, and a free first axis, where samples stand, as 1.
 * Throws `E_OPTION` for free axes without a size, and for sizes of symbols that no input has.
 */
export function bindInputs(model: Model, sizes: Readonly<Record<string, number>>): Model {
  const { graph } = model
  const fixed: Record<string, number> = {}
  const free = new Map<string, string>()
  const symbols = new Set<string>()
  for (const id of graph.inputs)
    graph.values.get(id)?.shape?.forEach((d, axis) => {
      if (typeof d === 'number') return
      symbols.add(d)
      if (Object.hasOwn(sizes, d)) fixed[d] = sizes[d] as number
      else if (axis === 0 && d !== '?') fixed[d] ??= 1
      else free.set(d, id)
    })
  const unknown = Object.keys(sizes).find((name) => !symbols.has(name))
  if (unknown !== undefined)
    throw new PareError('E_OPTION', `no input has a free axis ${unknown}`, {
      facts: { 'free axes': [...symbols].join(', ') || 'none' }
    })
  const [left, input] = [...free].find(([name]) => !Object.hasOwn(fixed, name)) ?? []
  if (left !== undefined)
    throw new PareError('E_OPTION', `axis ${left} of input ${input} is free, and sizes are to be fixed`, {
      hint: left === '?' ? 'give the axis a name or a size in the model' : `--sizes ${left}=64`
    })
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
