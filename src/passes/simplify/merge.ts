/** One of several constants with the same content, and one of several nodes that compute the same. */

import { equalBytes, largeBytes, quickHash, toArray } from '../../base/bytes.ts'
import { subgraphs } from '../../ir/attrs.ts'
import type { Draft } from '../../ir/edit.ts'
import { opName } from '../../ir/graph.ts'
import { equalTensors } from '../../ir/tensor.ts'
import { opFor } from '../../ops/index.ts'
import { isQdq } from '../../ops/quantized.ts'
import type { Attr, Graph, Node, Tensor, Value } from '../../types.ts'

type Constant = Value & { readonly data: Tensor }

/**
 * Makes readers of equal constants read the same one. Those of the graphs around come first. Constants above 64 MB are
 * left alone, and no other is read beyond its first bytes unless those agree.
 */
export function mergeConstants(draft: Draft, graph: Graph, around: readonly Graph[]): void {
  const outer = around.flatMap((g) => [...g.values.values()].filter((v) => !g.inputs.includes(v.id)))
  const own = [...graph.values.values()].filter((v) => draft.constant(v.id))
  const groups = new Map<string, Constant[]>()
  for (const v of [...outer, ...own]) {
    if (!isConstant(v) || v.data.bytes.length > largeBytes || v.data.strings) continue
    const key = glance(v)
    const group = groups.get(key)
    if (group) group.push(v)
    else groups.set(key, [v])
  }
  const mine = new Set(own.map((v) => v.id))
  for (const group of groups.values()) if (group.length > 1) mergeGroup(draft, group, mine)
}

function mergeGroup(draft: Draft, group: readonly Constant[], own: ReadonlySet<string>): void {
  const firsts = new Map<string, Constant[]>()
  for (const v of group) {
    const hash = v.data.bytes.length <= 64 ? '' : quickHash(toArray(v.data.bytes))
    const known = firsts.get(hash) ?? []
    const same = known.find((w) => w.id !== v.id && equalTensors(v.data, w.data))
    if (!same) firsts.set(hash, [...known, v])
    else if (own.has(v.id) && !draft.isOutput(v.id) && draft.consumers(v.id).length > 0) draft.rewire(v.id, same.id)
  }
}

const isConstant = (v: Value): v is Constant => v.data !== undefined

/** What two equal constants must have in common, cheaply: type, shape, marks and the first bytes. */
function glance(v: Constant): string {
  const head = v.data.bytes.slice(0, Math.min(64, v.data.bytes.length))
  return [v.data.dtype, v.data.shape, v.data.bytes.length, v.form, v.sparse, head].join('|')
}

/** Makes readers of equal computations read the same one. Only known, pure operators without subgraphs. */
export function mergeNodes(draft: Draft): void {
  const seen = new Map<string, Node[]>()
  for (const node of draft.nodes()) {
    const op = opFor(node)
    // Quantization stays one node per reader: engines fuse it with what it surrounds.
    if (!op || op.impure || isQdq(node) || subgraphs(node).length > 0) continue
    // Merging renames what later nodes read, so the node at hand may have been replaced.
    const now = draft.producer(node.outputs.find((id) => id !== '') ?? '')
    if (!now) continue
    const key = [opName(now), now.outputs.map((id) => id !== ''), ...now.inputs.map((id) => JSON.stringify(id))].join(
      '|'
    )
    const group = seen.get(key) ?? []
    const same = group.find((n) => sameAttrs(n, now))
    if (same && !now.outputs.some((id) => id !== '' && draft.isOutput(id))) {
      draft.remove(now)
      for (const [i, id] of now.outputs.entries()) if (id !== '') draft.rewire(id, same.outputs[i] as string)
    } else seen.set(key, [...group, now])
  }
}

function sameAttrs(a: Node, b: Node): boolean {
  const [x, y] = [Object.entries(a.attrs), b.attrs]
  return (
    x.length === Object.keys(y).length && x.every(([name, v]) => Object.hasOwn(y, name) && sameAttr(v, y[name] as Attr))
  )
}

function sameAttr(a: Attr, b: Attr): boolean {
  if (a === b) return true
  if (a.kind === 'tensor' && b.kind === 'tensor') return equalTensors(a.value, b.value)
  if (a.kind === 'raw' && b.kind === 'raw') return equalBytes(a.value, b.value)
  if (a.kind === 'int' || a.kind === 'float' || a.kind === 'string')
    return a.kind === b.kind && Object.is(a.value, b.value)
  const isList = a.kind === 'ints' || a.kind === 'floats' || a.kind === 'strings'
  if (!isList || a.kind !== b.kind) return false
  const other: readonly (number | string)[] = b.value
  return a.value.length === other.length && a.value.every((x, i) => Object.is(x, other[i]))
}
