/**
 * Which values of a compressed model stand for which of the original, layer by layer.
 *
 * Passes keep the names of values whose meaning they keep. A layer is compared after the clamps and
 * constants that follow it (Conv → BatchNormalization → Relu), or, where a pass merged operators, at the first value after it that both models have.
 */

import { consumers, isOutput, producer } from '../ir/graph.ts'
import { isFloat } from '../ir/tensor.ts'
import { opFor } from '../ops/index.ts'
import { viewOf } from '../ops/infer.ts'
import { isDequantize, isQuantize } from '../ops/quantized.ts'
import type { Dim, Graph, Model, Node } from '../types.ts'

/** A layer of the original and the value at which it is compared. */
export interface Pair {
  readonly node: Node
  /** The node that does its work in the compressed model. */
  readonly made: Node | undefined
  /** The value in both models; `undefined` where the compressed model has none that can be compared. */
  readonly value: string | undefined
}

/** Layers of the original's outermost graph: operators that compute on activations. Both models have inferred types. */
export function pairsOf(original: Model, compressed: Model, macs: ReadonlyMap<Node, number | undefined>): Pair[] {
  const out: Pair[] = []
  const taken = new Set<string>()
  for (const node of original.graph.nodes) {
    if (!isLayer(original.graph, node, macs.get(node))) continue
    const chain = endOf(original, compressed.graph, node)
    const last = chain.at(-1)
    const value = last !== undefined && isComparable(original.graph, compressed.graph, last) ? last : undefined
    // A clamp or normalisation that was compared with the layer before it.
    if (last !== undefined && taken.has(last)) continue
    if (last !== undefined) taken.add(last)
    out.push({ node, made: workerOf(compressed.graph, node, chain), value })
  }
  return out
}

function isLayer(graph: Graph, node: Node, macs: number | undefined): boolean {
  const { dtype } = graph.values.get(node.outputs[0] ?? '') ?? {}
  if (dtype === undefined || !isFloat(dtype)) return false
  const computes = (macs ?? 0) > 0 || (opFor(node)?.quant?.output ?? 'same') !== 'same'
  return computes && node.inputs.some((id) => id !== null && !isFixed(graph, id))
}

/** Depends on no input of the graph, directly or by one node; deeper constants are folded away by `simplify`. */
function isFixed(graph: Graph, id: string): boolean {
  if (graph.values.get(id)?.data) return true
  const maker = producer(graph, id)
  return maker?.inputs.every((i) => i !== null && graph.values.get(i)?.data !== undefined) ?? false
}

const longestChain = 6

/** Values from a node's output to the one where it is compared. */
function endOf(original: Model, compressed: Graph, node: Node): readonly string[] {
  const { graph } = original
  const chain = [node.outputs[0] ?? '']
  for (let i = 0; i < longestChain; i++) {
    const at = chain.at(-1) as string
    const [next, ...others] = consumers(graph, at)
    const value = next?.outputs[0]
    if (!next || !value || others.length || isOutput(graph, at)) break
    if (compressed.values.has(at) && !isAttached(original, next)) break
    chain.push(value)
  }
  while (chain.length > 1 && !compressed.values.has(chain.at(-1) as string)) chain.pop()
  return chain
}

/** Arithmetic with constants that runtimes and passes fold into the operator before it. */
const folding: ReadonlySet<string> = new Set(['Add', 'BatchNormalization', 'Div', 'Mul', 'Sub'])

function isAttached(model: Model, node: Node): boolean {
  if (opFor(node)?.quant?.clamp?.(viewOf(model, model.graph, node)) !== undefined) return true
  return folding.has(node.op) && node.inputs.filter((id) => id !== null && !isFixed(model.graph, id)).length === 1
}

function isComparable(original: Graph, compressed: Graph, id: string): boolean {
  const { dtype, shape } = original.values.get(id) ?? {}
  if (dtype === undefined || !isFloat(dtype) || producer(compressed, id) === undefined) return false
  return canBeSame(shape, compressed.values.get(id)?.shape)
}

/** Networks of their own, such as a teacher and its student, use one name for values of different sizes. */
function canBeSame(a: readonly Dim[] | undefined, b: readonly Dim[] | undefined): boolean {
  if (!a || !b) return true
  return a.length === b.length && a.every((d, i) => d === b[i] || typeof d === 'string' || typeof b[i] === 'string')
}

function workerOf(compressed: Graph, node: Node, chain: readonly string[]): Node | undefined {
  const named = compressed.nodes.find((n) => n.name === node.name && n.op === node.op)
  if (named) return named
  for (const id of chain) {
    const maker = producer(compressed, id)
    if (maker) return maker
  }
  return undefined
}

/** The value that readers of `id` see: dequantized where it is quantized for any of them. */
export function seenAs(graph: Graph, id: string): { readonly value: string; readonly by: readonly Node[] } {
  for (const quantize of consumers(graph, id)) {
    if (!isQuantize(quantize) || quantize.inputs[0] !== id) continue
    const dequantize = consumers(graph, quantize.outputs[0] ?? '').find(isDequantize)
    if (dequantize) return { value: dequantize.outputs[0] as string, by: [quantize, dequantize] }
  }
  return { value: id, by: [] }
}
