/**
 * A compressed model, cut at the values that the original has too. At the cuts it is fed the original's values, so that the
 * output of a layer differs from the original's by the change of this layer alone.
 */
import { evaluateDim } from '../base/dim.ts'
import { edit, renameReads } from '../ir/edit.ts'
import { constant, reads } from '../ir/graph.ts'
import { bitsOf, tensor, toNumbers } from '../ir/tensor.ts'
import type { Session } from '../runtime/types.ts'
import type { Graph, Model, Node, Tensor, Value } from '../types.ts'
import { seenAs } from './pairs.ts'

const groupBytes = 64 * 1024 * 1024
/** Samples that are run together. */
export const samplesPerRun = 4

/** A model cut at values. */
export interface Cut {
  readonly model: Model
  /** Input of the cut model → value of the original that it is fed. */
  readonly fed: ReadonlyMap<string, string>
  /** Compared value → output of the cut model. */
  readonly taps: ReadonlyMap<string, string>
}

/** The compressed model with every compared value fed from outside to its readers, and the group's values as outputs. */
export function localModel(before: Model, after: Model, all: readonly string[], group: readonly string[]): Cut {
  const fed = new Map<string, string>()
  const taps = new Map<string, string>()
  const model = edit(after, (d) => {
    for (const id of all) {
      const known = before.graph.values.get(id)
      const dtype = after.graph.values.get(id)?.dtype ?? known?.dtype
      if (!known || dtype === undefined) continue
      const { by } = seenAs(after.graph, id)
      const readers = d.consumers(id)
      const input = d.fresh(`${id}_fed`)
      const { data: _, form: _f, sparse: _s, ...type } = known
      d.set({ ...type, id: input, dtype })
      fed.set(input, id)
      for (const n of readers) d.replace(n, renameReads(n, id, input))
      if (!group.includes(id)) continue
      let own = id
      for (const n of by) own = d.add(n.op, [own, ...n.inputs.slice(1)], { attrs: n.attrs })
      taps.set(id, own)
    }
    d.setOutputs([...taps.values()])
    d.sweep()
    const isRead = (id: string): boolean => d.consumers(id).length > 0
    for (const id of [...fed.keys()]) if (!isRead(id)) fed.delete(id)
    d.setInputs([...d.inputs.filter(isRead), ...fed.keys()])
  })
  return { model, fed, taps }
}

/** What a cut model is fed: what the original was, states too, and the original's values where it was cut. */
export function localFeeds(
  session: Session,
  cut: Cut,
  original: Readonly<Record<string, Tensor>>,
  values: Readonly<Record<string, Tensor>>
): Readonly<Record<string, Tensor>> {
  const feeds: Record<string, Tensor> = {}
  for (const { name } of session.inputs) {
    const given = cut.fed.has(name) ? undefined : original[name]
    if (given) feeds[name] = given
  }
  for (const { name, dtype } of session.inputs) {
    const value = values[cut.fed.get(name) ?? '']
    if (value)
      feeds[name] = dtype === undefined || dtype === value.dtype ? value : tensor(dtype, value.shape, toNumbers(value))
  }
  return feeds
}

/** Values in groups that fit into memory together. */
export function grouped(ids: readonly string[], bytesOf: (id: string) => number): string[][] {
  const out: string[][] = []
  let room = 0
  for (const id of ids) {
    const bytes = bytesOf(id)
    const last = out.at(-1)
    if (last && bytes <= room) {
      last.push(id)
      room -= bytes
    } else {
      out.push([id])
      room = groupBytes - bytes
    }
  }
  return out
}

/** Bytes of a value for one run; open dimensions count as that many samples, unknown shapes as 1 MB. */
export function valueBytes(graph: Graph, id: string): number {
  const { dtype, shape } = graph.values.get(id) ?? {}
  if (dtype === undefined || !shape) return 1024 * 1024
  const elements = shape.reduce<number>((n, d) => n * (evaluateDim(d, {}) ?? samplesPerRun), 1)
  return (elements * bitsOf(dtype)) / 8
}

/** Some nodes of a model and all that follow them. */
export interface Suffix {
  readonly model: Model
  /** Values that it is fed with, and their types: made before, or inputs of the whole model. */
  readonly border: ReadonlyMap<string, Value>
}

/**
 * The part of a model that can differ from the model it was made of: what follows nodes that are not the other's very own, and
 * nodes that read constants with other data. `types`: the other's graph with inferred types. `undefined` where nothing differs or
 * all does, outputs have other names, or values at the border have no known type.
 */
export function suffixOf({ graph, ...rest }: Model, beside: Graph, types: Graph): Suffix | undefined {
  if (graph.inputs.some((id) => graph.values.get(id)?.data)) return undefined
  if (String(graph.outputs) !== String(beside.outputs)) return undefined
  const kept = new Set(beside.nodes)
  const differs = (id: string): boolean => graph.values.get(id)?.data !== beside.values.get(id)?.data
  const found = behind({ graph, ...rest }, (n) => !kept.has(n) || reads(n).some(differs), types)
  return found && found.model.graph.nodes.length < graph.nodes.length ? found : undefined
}

/** The part of a model that follows a value; `undefined` where no output does, or a value at the border has no known type. */
export const tailOf = (model: Model, value: string, types: Graph): Suffix | undefined =>
  behind(model, (n) => reads(n).includes(value), types)

function behind({ graph, ...rest }: Model, isFirst: (n: Node) => boolean, types: Graph): Suffix | undefined {
  const follows = new Set<string>()
  const nodes = graph.nodes.filter((n) => {
    if (!isFirst(n) && !reads(n).some((id) => follows.has(id))) return false
    for (const id of n.outputs) follows.add(id)
    return true
  })
  const border = new Map<string, Value>()
  for (const id of nodes.flatMap(reads)) {
    if (follows.has(id) || constant(graph, id)) continue
    const v = types.values.get(id)
    if (v?.type !== 'tensor' || v.dtype === undefined || v.data) return undefined
    border.set(id, v)
  }
  const read = new Set([...nodes.flatMap(reads), ...nodes.flatMap((n) => n.outputs)])
  const values = new Map([...[...graph.values].filter(([id]) => read.has(id)), ...border])
  const outputs = graph.outputs.filter((id) => follows.has(id))
  if (border.size === 0 || outputs.length === 0) return undefined
  return { model: { ...rest, graph: { ...graph, inputs: [...border.keys()], outputs, nodes, values } }, border }
}

/** The part of a model that makes some values, from its inputs or, where those are nearer, from given values. */
export function prefixOf(
  { graph, ...rest }: Model,
  outputs: readonly string[],
  given: ReadonlyMap<string, Value> = new Map()
): Model {
  const needed = new Set(outputs)
  const nodes = graph.nodes
    .toReversed()
    .filter((n) => {
      if (!n.outputs.some((id) => needed.has(id) && !given.has(id))) return false
      for (const id of reads(n)) needed.add(id)
      return true
    })
    .reverse()
  const made = new Set(nodes.flatMap((n) => n.outputs))
  const inputs = [...needed].filter((id) => !made.has(id) && (given.has(id) || graph.inputs.includes(id)))
  const values = new Map([...graph.values].filter(([id]) => needed.has(id) || made.has(id)))
  for (const id of inputs) values.set(id, given.get(id) ?? (values.get(id) as Value))
  return { ...rest, graph: { ...graph, inputs, outputs, nodes, values } }
}
