/** Layers of a model with rounded numbers beside those of the float model that it came from. */

import { PareError } from '../../../base/errors.ts'
import { opName, producer } from '../../../ir/graph.ts'
import { opFor } from '../../../ops/index.ts'
import { dequantizer, isRounded } from '../../../ops/quantized.ts'
import type { QuantRule } from '../../../ops/types.ts'
import type { Graph, Model, Node } from '../../../types.ts'
import type { Context } from '../../types.ts'

/** A layer of the rounded model and the node of the reference that it came from. */
export interface Twin {
  readonly made: Node
  readonly original: Node
  readonly rule: QuantRule & { readonly weights: NonNullable<QuantRule['weights']> }
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

/** Does a layer read rounded numbers: a weight from codes, or dequantized data? */
export function isRoundedLayer(graph: Graph, t: Twin): boolean {
  return t.made.inputs.some((id) => dequantizer(graph, id) !== undefined)
}
