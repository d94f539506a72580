/** Residual blocks: y = x + f(x), where f is all between. Without its block a network is shallower and still fits together. */

import { edit } from '../../ir/edit.ts'
import { constant, consumers, isOutput, producer, reads } from '../../ir/graph.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Graph, Model, Node } from '../../types.ts'
import { sameShape } from '../shapes.ts'

/** A block that can be left out: `add` makes x + f(x). */
export interface Block {
  readonly add: Node
  readonly skip: string
  readonly branch: ReadonlySet<Node>
}

/** The innermost blocks whose skip connection is the value itself, in order. */
export function residualBlocks(given: Model): Block[] {
  const { graph } = inferShapes(given)
  const all = graph.nodes.flatMap((add): Block[] => {
    if (add.op !== 'Add' || add.domain !== undefined || add.inputs.length !== 2) return []
    const [a, b] = add.inputs as readonly [string, string]
    const one = blockOf(graph, add, a, b) ?? blockOf(graph, add, b, a)
    return one ? [one] : []
  })
  return all.filter((block) => !all.some((other) => block.branch.has(other.add)))
}

function blockOf(graph: Graph, add: Node, skip: string, end: string): Block | undefined {
  const [x, y] = [graph.values.get(skip), graph.values.get(add.outputs[0] as string)]
  if (skip === end || constant(graph, skip) || !sameShape(x?.shape, y?.shape)) return undefined
  const branch = new Set<Node>()
  const open = [end]
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    if (id === skip || constant(graph, id)) continue
    const maker = producer(graph, id)
    if (!maker || isOutput(graph, id)) return undefined
    if (branch.has(maker)) continue
    branch.add(maker)
    for (const read of reads(maker)) open.push(read)
  }
  const isInside = (n: Node): boolean => branch.has(n) || n === add
  const isClosed = [...branch].every((n) =>
    n.outputs.every((id) => !id || (!isOutput(graph, id) && consumers(graph, id).every(isInside)))
  )
  const readsSkip = [...branch].some((n) => n.inputs.includes(skip))
  return branch.size > 0 && isClosed && readsSkip ? { add, skip, branch } : undefined
}

/** The blocks to leave out so that about a share of them is kept: every so many, never the first. */
export function blocksToDrop(blocks: readonly Block[], keep: number): readonly Block[] {
  const kept = Math.max(1, Math.round(keep * blocks.length))
  const places = new Set(Array.from({ length: kept }, (_, i) => Math.floor((i * blocks.length) / kept)))
  return blocks.filter((_, i) => !places.has(i))
}

/** The model without some blocks; all else keeps its weights and names. */
export function withoutBlocks(model: Model, dropped: readonly Block[]): Model {
  return edit(model, (d) => {
    // From the last to the first: the skip of a later block is the output of an earlier one.
    for (const { add, skip, branch } of [...dropped].reverse()) {
      const output = add.outputs[0] as string
      const node = d.producer(output)
      if (node) d.remove(node)
      for (const n of branch) {
        const now = d.producer(n.outputs[0] as string)
        if (now) d.remove(now)
      }
      d.rewire(output, skip)
    }
  })
}
