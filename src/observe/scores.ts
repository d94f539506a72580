/**
 * What the end of a network does with its scores.
 *
 * The scores that the Softmax at the end of a network reads: only their order counts. A range that clips the scores, for a
 * smaller mean error, would make the highest of them equal; so their range goes from the least to the greatest.
 */
import { consumers, isOutput, producer } from '../ir/graph.ts'
import { opFor } from '../ops/index.ts'
import type { Graph, Model, Node } from '../types.ts'

/** Values that reach the outputs of the model through one of these operators alone, and through moves of data. */
export function finalScores({ graph }: Model): ReadonlySet<string> {
  const found = new Set<string>()
  for (const output of graph.outputs) {
    const ordering = producer(graph, beforeMoves(graph, output).at(-1) as string)
    const scores = ordering && opFor(ordering)?.ranks ? ordering.inputs[0] : undefined
    for (const id of scores == null ? [] : beforeMoves(graph, scores)) {
      if (!isReadOnce(graph, id)) break
      found.add(id)
    }
  }
  return found
}

/**
 * Values that are compared with thresholds: what an operator of `thresholds` reads where no layer comes behind it, and what
 * that was moved from. Codes have one for 0 itself, so that what lies within half a step above 0, the threshold 0.5 of a
 * Sigmoid, would count as not above it.
 */
export function thresholdValues({ graph }: Model): ReadonlySet<string> {
  const found = new Set<string>()
  const beforeLayers = new Set<Node>()
  for (const node of graph.nodes.toReversed()) {
    const readers = node.outputs.flatMap((id) => consumers(graph, id))
    if (readers.some((r) => beforeLayers.has(r) || opFor(r)?.quant?.weights)) beforeLayers.add(node)
    else if (opFor(node)?.quant?.thresholds) for (const id of beforeMoves(graph, node.inputs[0] ?? '')) found.add(id)
  }
  return found
}

/** A value, and those that it was moved from, the nearest first. */
function beforeMoves(graph: Graph, id: string): string[] {
  const out = [id]
  for (let at = producer(graph, id); at && isMove(at); at = producer(graph, out.at(-1) as string)) {
    const source = at.inputs[0]
    if (source == null) break
    out.push(source)
  }
  return out
}

const isMove = (node: Node): boolean => opFor(node)?.quant?.output === 'same'

const isReadOnce = (graph: Graph, id: string): boolean => consumers(graph, id).length === 1 && !isOutput(graph, id)
