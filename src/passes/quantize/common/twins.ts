/** Layers of a model with rounded numbers beside those of the float model that it came from. */

import { PareError } from '../../../base/errors.ts'
import { constant, opName, producer } from '../../../ir/graph.ts'
import { toNumbers } from '../../../ir/tensor.ts'
import { opFor } from '../../../ops/index.ts'
import type { Context, Graph, Model, Node, QuantRule, Tensor } from '../../../types.ts'

/** A layer of the rounded model and the node of the reference that it came from. */
export interface Twin {
  readonly made: Node
  readonly original: Node
  readonly rule: QuantRule & { readonly weights: NonNullable<QuantRule['weights']> }
}

/** Does a model hold numbers that were rounded to codes? */
export function isRounded(model: Model): boolean {
  return (
    model.graph.nodes.some((n) => /quantize|Integer$|^QLinear|NBits$/i.test(n.op)) ||
    [...model.graph.values.values()].some((v) => v.form === 'palette')
  )
}

/** The float model to compare with; `undefined` where nothing is rounded. Throws `E_USAGE` where it is not known. */
export function referenceOf(model: Model, pass: string, ctx: Pick<Context, 'reference'>): Model | undefined {
  if (!isRounded(model)) return undefined
  if (ctx.reference) return ctx.reference
  throw new PareError('E_USAGE', `${pass} compares a rounded model with the float model that it was made from`, {
    where: pass,
    hint: `--reference FILE names it; or start from it: a recipe such as [["quantize-weights", {}], ["${pass}", {}]]`
  })
}

/** Layers with weights that both models have, in order. Nodes are paired by name, or else by their first output. */
export function twinsOf(model: Model, reference: Model): Twin[] {
  const named = byName(reference.graph)
  return model.graph.nodes.flatMap((made) => {
    const rule = opFor(made)?.quant
    if (!rule?.weights) return []
    const original = named.get(made.name) ?? producer(reference.graph, made.outputs[0] as string)
    if (!original || opName(original) !== opName(made)) return []
    return [{ made, original, rule: { ...rule, weights: rule.weights } }]
  })
}

function byName(graph: Graph): ReadonlyMap<string, Node> {
  const out = new Map<string, Node>()
  const twice = new Set<string>()
  for (const n of graph.nodes) {
    if (out.has(n.name)) twice.add(n.name)
    out.set(n.name, n)
  }
  for (const name of ['', ...twice]) out.delete(name)
  return out
}

/** Codes, scales and zero points of a DequantizeLinear of constants. */
export interface Dequantized {
  readonly node: Node
  readonly codes: Tensor
  readonly scale: Tensor
  readonly zero: Tensor | undefined
}

/** How a value is made from constant codes; `undefined` where it is not. */
export function dequantizedConstant(graph: Graph, id: string | null | undefined): Dequantized | undefined {
  const node = id == null ? undefined : producer(graph, id)
  if (node?.op !== 'DequantizeLinear' || node.domain !== undefined) return undefined
  const [codes, scale] = [constant(graph, node.inputs[0]), constant(graph, node.inputs[1])]
  const zeroId = node.inputs[2] ?? null
  const zero = constant(graph, zeroId)
  return codes && scale && (zeroId === null || zero) ? { node, codes, scale, zero } : undefined
}

/** The scale of a value that comes out of a DequantizeLinear with one scale; `undefined` where it does not. */
export function activationScale(graph: Graph, id: string | null | undefined): number | undefined {
  const node = id == null ? undefined : producer(graph, id)
  if (node?.op !== 'DequantizeLinear' || constant(graph, node.inputs[0])) return undefined
  const scale = constant(graph, node.inputs[1])
  return scale && scale.shape.length === 0 ? toNumbers(scale)[0] : undefined
}

/** Does a layer read rounded numbers: a weight from codes, or dequantized data? */
export function isRoundedLayer(graph: Graph, t: Twin): boolean {
  return t.made.inputs.some((id) => id !== null && producer(graph, id)?.op === 'DequantizeLinear')
}
