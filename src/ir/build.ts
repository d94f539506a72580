/** Building a model from nothing: used by tests, by passes that need a graph of their own, and by importers. */
import type { AttrInput, Dim, DType, Graph, Model, Node, Tensor, Value } from '../types.ts'
import { attrs as makeAttrs } from './attrs.ts'

export interface Builder {
  input(id: string, dtype: DType, shape: readonly Dim[]): string
  constant(data: Tensor, id?: string): string
  /** Adds a node; returns the id of its first output. `attrs` as for `attrs()`; `o.outputs` names several. */
  op(
    op: string,
    inputs: readonly (string | null)[],
    attrs?: Readonly<Record<string, AttrInput | undefined>>,
    o?: { readonly domain?: string; readonly outputs?: readonly string[]; readonly name?: string }
  ): string
  graph(outputs: readonly string[], name?: string): Graph
  model(outputs: readonly string[], o?: { opset?: number; domains?: Record<string, number> }): Model
}

/** Opset that Pare works in. */
export const defaultOpset = 21

export function builder(): Builder {
  const values = new Map<string, Value>()
  const inputs: string[] = []
  const nodes: Node[] = []
  const fresh = (hint: string): string => {
    let id = hint
    for (let i = 1; values.has(id); i++) id = `${hint}_${i}`
    return id
  }
  const graph = (outputs: readonly string[], name = 'graph'): Graph => ({ name, inputs, outputs, nodes, values })
  return {
    input: (id, dtype, shape) => {
      values.set(id, { id, type: 'tensor', dtype, shape })
      inputs.push(id)
      return id
    },
    constant: (data, id = fresh('c')) => {
      values.set(id, { id, type: 'tensor', dtype: data.dtype, shape: data.shape, data })
      return id
    },
    op: (op, ins, attrs = {}, o = {}) => {
      const outputs = o.outputs ?? [fresh(`${op}_${nodes.length}`)]
      for (const id of outputs) if (id) values.set(id, { id, type: 'tensor' })
      nodes.push({
        name: o.name ?? `${op}_${nodes.length}`,
        op,
        ...(o.domain === undefined ? {} : { domain: o.domain }),
        inputs: ins,
        outputs,
        attrs: makeAttrs(attrs)
      })
      return outputs[0] as string
    },
    graph,
    model: (outputs, o = {}) => ({
      graph: graph(outputs),
      opset: o.opset ?? defaultOpset,
      domains: o.domains ?? {},
      meta: {}
    })
  }
}
