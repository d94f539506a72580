/**
 * Resampling of some axes, written for all of them. ONNX Runtime computes convolutions on integers with channels last and
 * moves the transposition through what follows; a node that names its axes it then gives sizes of too few axes, and the
 * model does not open.
 */
import type { Draft } from '../../../ir/edit.ts'
import { tensor } from '../../../ir/tensor.ts'
import { opFor } from '../../../ops/index.ts'
import { viewOf } from '../../../ops/infer.ts'
import type { Model } from '../../../types.ts'

export function nameEveryAxis(d: Draft, model: Model): void {
  for (const node of model.graph.nodes) {
    const made = opFor(node)?.everyAxis?.(viewOf(model, model.graph, node))
    if (!made) continue
    const { factors, input, attrs } = made
    const id = d.addConstant(tensor('float32', [factors.length], factors), `${node.outputs[0]}_factors`)
    d.replace(node, { ...node, attrs, inputs: [node.inputs[0] ?? null, ...Array(input - 1).fill(null), id] })
  }
}
