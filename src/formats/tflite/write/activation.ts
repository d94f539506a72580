/** Clamps right behind an operator become its fused activation. */
import type { Draft } from '../../../ir/edit.ts'
import { isLowered } from '../lower/site.ts'

/** Operators with a fused activation that the kernels of all types honour. */
const fusing = new Set([
  'ADD',
  'AVERAGE_POOL_2D',
  'CONV_2D',
  'DEPTHWISE_CONV_2D',
  'DIV',
  'FULLY_CONNECTED',
  'MAX_POOL_2D',
  'MUL',
  'SUB',
  'TRANSPOSE_CONV'
])
const activations = new Set(['RELU', 'RELU6', 'RELU_N1_TO_1'])

export function fuseActivations(draft: Draft): void {
  for (const node of draft.nodes()) {
    const [y = ''] = node.outputs
    const next = isLowered(node) && fusing.has(node.op) ? draft.soleConsumer(y) : undefined
    if (!next || !isLowered(next) || !activations.has(next.op)) continue
    draft.remove(next)
    draft.replace(node, {
      ...node,
      outputs: next.outputs,
      attrs: { ...node.attrs, fused_activation_function: { kind: 'string', value: next.op } }
    })
  }
}
