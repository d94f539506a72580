/** The training graph under construction: types are inferred as nodes are added, and all sizes are numbers. */
import { quickHash, toArray } from '../base/bytes.ts'
import { assert, PareError } from '../base/errors.ts'
import { attrs as makeAttrs } from '../ir/attrs.ts'
import { takenIds } from '../ir/edit.ts'
import { opsetOf, reads } from '../ir/graph.ts'
import { equalTensors } from '../ir/tensor.ts'
import { opFor } from '../ops/index.ts'
import { typeOnly } from '../ops/op.ts'
import type { GradBuilder, Known, NodeView, Ref } from '../ops/types.ts'
import type { DType, Model, Node, Tensor, Value } from '../types.ts'

/** A graph input that every step fills with uniform numbers. */
export interface Noise {
  readonly input: string
  readonly shape: readonly number[]
}

export interface TrainingGraph extends GradBuilder {
  readonly nodes: readonly Node[]
  readonly noises: readonly Noise[]
  /** Values whose gradient leads to a parameter. */
  readonly wanted: Set<string>
  input(hint: string, dtype: DType, shape: readonly number[]): Ref
  /** Takes an input or a constant of the model over, with its id. */
  adopt(value: Value, as: 'input' | 'constant'): void
  /** Takes a node of the model over. */
  copy(node: Node): void
  /** A node with what is known around it. */
  view(node: Node): NodeView
  /** Makes `id` another name of a value. */
  alias(value: Ref, id: string): void
  /** The same as `ops`, at the head of the graph. */
  first: GradBuilder['ops']
  /** Makes constants into values that nodes at the head of the graph make. */
  supply(
    op: string,
    inputs: readonly (Ref | null)[],
    attrs: Parameters<GradBuilder['op']>[2],
    outputs: readonly string[]
  ): void
  /** The model with only what its outputs need. */
  model(outputs: readonly string[]): Model
}

/** Constants up to this many bytes are looked for among those that exist. */
const smallBytes = 4096

/** An empty training graph for a model with inferred types, in its opset and with ids that it does not use. */
export const trainingGraph = (source: Model): TrainingGraph => new State(source)

type Adder = GradBuilder['ops']

class State implements TrainingGraph {
  readonly nodes: Node[] = []
  readonly noises: Noise[] = []
  readonly wanted = new Set<string>()
  readonly ops: Adder
  readonly first: Adder
  private readonly source: Model
  private readonly taken: Set<string>
  private readonly head: Node[] = []
  private readonly inputs: string[] = []
  private readonly values = new Map<string, Value>()
  private readonly known = new Map<string, Known>()
  private readonly constants = new Map<string, { readonly data: Tensor; readonly ref: Ref }>()

  constructor(source: Model) {
    this.source = source
    this.taken = takenIds(source)
    this.ops = this.adderTo(this.nodes)
    this.first = this.adderTo(this.head)
  }

  wants = (id: string): boolean => this.wanted.has(id)

  op: GradBuilder['op'] = (op, inputs, attributes = {}) => this.ops(op, inputs, attributes, 1)[0] as Ref

  value(id: string): Ref {
    const k = this.known.get(id)
    const isFixed = k?.shape?.every((d) => typeof d === 'number')
    if (!k?.dtype || !k.shape || !isFixed)
      throw new PareError('E_UNSUPPORTED', `the size of ${id} is not known before running`, {
        where: id,
        facts: { shape: k?.shape ? `[${k.shape.join(', ')}]` : 'unknown' },
        hint: 'training needs fixed sizes: bind every symbol of the inputs'
      })
    return { id, dtype: k.dtype, shape: k.shape as readonly number[] }
  }

  constant(data: Tensor): Ref {
    const key =
      data.bytes.length <= smallBytes ? `${data.dtype}[${data.shape}]${quickHash(toArray(data.bytes))}` : undefined
    const old = key === undefined ? undefined : this.constants.get(key)
    if (old && equalTensors(old.data, data)) return old.ref
    const id = this.fresh('train.c')
    this.adopt({ id, type: 'tensor', dtype: data.dtype, shape: data.shape, data }, 'constant')
    const made = { id, dtype: data.dtype, shape: data.shape }
    if (key !== undefined) this.constants.set(key, { data, ref: made })
    return made
  }

  noise(shape: readonly number[]): Ref {
    const made = this.input('train.noise', 'float32', shape)
    this.noises.push({ input: made.id, shape })
    return made
  }

  input(hint: string, dtype: DType, shape: readonly number[]): Ref {
    const id = this.fresh(hint)
    this.adopt({ id, type: 'tensor', dtype, shape }, 'input')
    return { id, dtype, shape }
  }

  adopt(value: Value, as: 'input' | 'constant'): void {
    if (as === 'input') this.inputs.push(value.id)
    this.values.set(value.id, value)
    this.known.set(value.id, value)
  }

  copy(node: Node): void {
    this.append(node, this.nodes)
  }

  view(node: Node): NodeView {
    return {
      node,
      opset: opsetOf(this.source, node),
      inputs: node.inputs.map((id) => (id === null ? undefined : this.known.get(id))),
      outputs: node.outputs.map((id) => (id ? this.known.get(id) : undefined)),
      inferGraph: (graph) => graph.outputs.map(() => undefined)
    }
  }

  alias(value: Ref, id: string): void {
    this.copy({ name: this.fresh(`Identity_${id}`), op: 'Identity', inputs: [value.id], outputs: [id], attrs: {} })
  }

  supply(
    op: string,
    inputs: readonly (Ref | null)[],
    attributes: Parameters<Adder>[2],
    outputs: readonly string[]
  ): void {
    for (const id of outputs) {
      const { data: _data, form: _form, sparse: _sparse, ...type } = this.values.get(id) as Value
      this.values.set(id, type)
    }
    const name = this.fresh(`train.${op}_head`)
    this.head.push({ name, op, inputs: inputs.map((r) => r?.id ?? null), outputs, attrs: makeAttrs(attributes) })
  }

  model(outputs: readonly string[]): Model {
    const { source, inputs, values } = this
    return assemble(source, { nodes: [...this.head, ...this.nodes], inputs, values }, outputs)
  }

  private fresh(hint: string): string {
    let id = hint
    for (let i = 1; this.taken.has(id); i++) id = `${hint}_${i}`
    this.taken.add(id)
    return id
  }

  private adderTo(list: Node[]): Adder {
    return (op, inputs, attributes, count) => {
      const name = this.fresh(`train.${op}_${list.length}`)
      const outputs = Array.from({ length: count }, (_, i) => this.fresh(`${name}_${i}`))
      const attrs = makeAttrs(attributes)
      this.append({ name, op, inputs: inputs.map((r) => r?.id ?? null), outputs, attrs }, list)
      return outputs.map((id) => this.value(id))
    }
  }

  private append(node: Node, list: Node[]): void {
    const types = opFor(node)?.infer({ ...this.view(node), outputs: [] }) ?? []
    for (const [i, id] of node.outputs.entries()) {
      if (!id) continue
      const type = types[i]?.shape ? types[i] : (this.source.graph.values.get(id) ?? types[i])
      if (type) this.known.set(id, type)
      this.values.set(id, { ...(typeOnly(type) ?? { type: 'tensor' }), id })
    }
    list.push(node)
  }
}

interface Parts {
  readonly nodes: readonly Node[]
  readonly inputs: readonly string[]
  readonly values: ReadonlyMap<string, Value>
}

function assemble(source: Model, { nodes, inputs, values }: Parts, outputs: readonly string[]): Model {
  const used = new Set(outputs)
  const kept: Node[] = []
  for (const node of [...nodes].reverse()) {
    if (!node.outputs.some((id) => used.has(id))) continue
    kept.push(node)
    for (const id of reads(node)) used.add(id)
    for (const id of node.outputs) if (id) used.add(id)
  }
  for (const id of outputs) assert(values.has(id), `training output ${id}`)
  return {
    graph: {
      name: 'training',
      inputs: inputs.filter((id) => used.has(id)),
      outputs,
      nodes: kept.reverse(),
      values: new Map([...values].filter(([id]) => used.has(id)))
    },
    opset: source.opset,
    domains: source.domains,
    meta: {}
  }
}
