/** Documentation and metadata of graphs, nodes, functions and values ⇄ `Remarks`. */
import { create } from '@bufbuild/protobuf'
import { type StringStringEntryProto, StringStringEntryProtoSchema } from 'onnx-buf'
import type { Graph, Node, Remarks } from '../../types.ts'

/** The fields of a message that remarks are read from and written to. */
interface Remarked {
  readonly docString: string
  readonly metadataProps: StringStringEntryProto[]
}

/** Object with the field `remarks`, or empty where a message has none, to be spread. */
export function remarksOf(p: Remarked): { readonly remarks?: Remarks } {
  const facts = p.metadataProps.map(({ key, value }) => [key, value] as const)
  if (p.docString === '' && facts.length === 0) return {}
  return { remarks: { ...(p.docString === '' ? {} : { doc: p.docString }), ...(facts.length > 0 ? { facts } : {}) } }
}

/** The fields of a message that hold remarks. An empty documentation would be written as a field of its own. */
export const remarkFields = (r: Remarks | undefined): Partial<Remarked> => ({
  ...(r?.doc === undefined ? {} : { docString: r.doc }),
  metadataProps: (r?.facts ?? []).map(([key, value]) => create(StringStringEntryProtoSchema, { key, value }))
})

/** The first one's remarks; of the others, what it says nothing about. */
function joined(all: readonly (Remarks | undefined)[]): Remarks | undefined {
  const doc = all.find((r) => r?.doc !== undefined)?.doc
  const facts = new Map(all.flatMap((r) => r?.facts ?? []).toReversed())
  if (doc === undefined && facts.size === 0) return undefined
  return { ...(doc === undefined ? {} : { doc }), ...(facts.size > 0 ? { facts: [...facts].toReversed() } : {}) }
}

/**
 * A function's body stands in place of its call: the nodes from `from` on that make the call's outputs are given the remarks
 * of call and function beside their own.
 */
export function passOn(
  nodes: Node[],
  from: number,
  outputs: ReadonlySet<string>,
  remarks: readonly (Remarks | undefined)[]
): void {
  if (remarks.every((r) => r === undefined)) return
  for (let i = from; i < nodes.length; i++) {
    const node = nodes[i] as Node
    const found = node.outputs.some((id) => outputs.has(id)) ? joined([node.remarks, ...remarks]) : undefined
    if (found) nodes[i] = { ...node, remarks: found }
  }
}

/** The model's graph without any remarks, for files that need none. */
export function withoutRemarks(graph: Graph): Graph {
  const { remarks: _, ...rest } = graph
  const values = new Map([...graph.values].map(([id, { remarks: _r, ...v }]) => [id, v] as const))
  return { ...rest, values, nodes: graph.nodes.map(({ remarks: _n, ...n }) => n) }
}
