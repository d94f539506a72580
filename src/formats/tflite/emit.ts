/** Nodes and values of a graph in the making, under ids that no other graph of the model has. */
import { attrs as makeAttrs } from '../../ir/attrs.ts'
import { reads } from '../../ir/graph.ts'
import type { AttrInput, Graph, Node, Remarks, Tensor, Value } from '../../types.ts'

export type Inputs = readonly (string | null)[]
export type AttrsGiven = Readonly<Record<string, AttrInput | undefined>>

/** Ids of a model: which are taken, and what ids that were given for the time being are called in the end. */
export class Ids {
  private readonly taken = new Set<string>()
  private readonly final = new Map<string, string>()

  fresh(hint: string): string {
    let id = hint
    for (let i = 1; this.taken.has(id) || id === ''; i++) id = `${hint}_${i}`
    this.taken.add(id)
    return id
  }

  rename(id: string, final: string): void {
    this.final.set(id, final)
  }

  readonly of = (id: string): string => this.final.get(id) ?? id
}

export class Emitter {
  readonly ids: Ids
  private readonly nodes: Node[] = []
  private readonly values = new Map<string, Value>()

  constructor(ids: Ids) {
    this.ids = ids
  }

  /** Adds a node with fresh outputs. */
  add(
    op: string,
    inputs: Inputs,
    given: AttrsGiven,
    hints: readonly string[],
    domain?: string,
    remarks?: Remarks
  ): readonly string[] {
    const outputs = hints.map((hint) => this.ids.fresh(hint))
    for (const id of outputs) this.set({ id, type: 'tensor' })
    const attrs = makeAttrs(given)
    this.nodes.push({
      name: outputs[0] ?? op,
      op,
      ...(domain ? { domain } : {}),
      inputs,
      outputs,
      attrs,
      ...(remarks ? { remarks } : {})
    })
    return outputs
  }

  constant(data: Tensor, hint: string, sparse?: true): string {
    const id = this.ids.fresh(hint)
    this.set({ id, type: 'tensor', dtype: data.dtype, shape: data.shape, data, ...(sparse ? { sparse: 'any' } : {}) })
    return id
  }

  /** The final name of a value that this graph makes. */
  rename(id: string, final: string): void {
    const value = this.values.get(id)
    if (!value) return
    this.values.delete(id)
    this.set({ ...value, id: final })
    this.ids.rename(id, final)
  }

  set(value: Value): void {
    this.values.set(value.id, value)
  }

  /** Is a value made in this graph? */
  makes(id: string): boolean {
    return this.values.has(id) && !this.values.get(id)?.data
  }

  /** The graph, without what nothing reads. `types`: of inputs and outputs. */
  graph(name: string, inputs: readonly string[], outputs: readonly string[], types: readonly Value[] = []): Graph {
    const { of } = this.ids
    const read = new Set(outputs.map(of))
    const kept: Node[] = []
    for (const n of [...this.nodes].reverse()) {
      const named = n.outputs.map(of)
      if (!named.some((id) => read.has(id))) continue
      const node: Node = {
        ...n,
        name: shortened(named[0] ?? n.name) === named[0] ? named[0] : this.ids.fresh(shortened(named[0] ?? n.name)),
        inputs: n.inputs.map((id) => (id === null ? null : of(id))),
        outputs: named
      }
      for (const id of reads(node)) read.add(id)
      kept.push(node)
    }
    const values = new Map<string, Value>()
    const made = new Set(kept.flatMap((n) => n.outputs))
    for (const v of this.values.values()) {
      if (v.data ? read.has(v.id) : made.has(v.id)) values.set(v.id, v)
    }
    for (const v of types) values.set(v.id, v)
    return { name, inputs, outputs: outputs.map(of), nodes: kept.reverse(), values }
  }
}

/** What converters join of a fused operator's parts, by `;`: the last of them. */
export const shortened = (name: string): string => name.split(';').at(-1) || name
