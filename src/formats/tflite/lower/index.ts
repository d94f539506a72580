/**
 * ONNX's operators → TensorFlow Lite's. Those whose operands have an order of axes of their own are lowered first, between
 * Transposes; once these have met and cancelled, all others are.
 */
import { PareError } from '../../../base/errors.ts'
import type { Draft } from '../../../ir/edit.ts'
import { opName } from '../../../ir/graph.ts'
import type { Node } from '../../../types.ts'
import { convRules } from './conv.ts'
import { elementwiseRules } from './elementwise.ts'
import { moveRules } from './move.ts'
import { normRules } from './norm.ts'
import { poolRules } from './pool.ts'
import { productRules } from './product.ts'
import { reduceRules } from './reduce.ts'
import { isLowered, type Rules, siteOf } from './site.ts'
import { spaceRules } from './space.ts'

const ordered: Rules = { ...convRules, ...poolRules, ...spaceRules, ...normRules }
const plain: Rules = { ...elementwiseRules, ...moveRules, ...reduceRules, ...productRules }

/** Nodes that have no counterpart, with the reason. */
export type Unmapped = Map<string, { readonly node: Node; readonly reason: string }>

/** Lowers what has its own order of axes. `open`: values whose first size is an open batch. */
export const lowerOrdered = (draft: Draft, open: Set<string>, unmapped: Unmapped): void =>
  lower(draft, ordered, open, unmapped)

/** Lowers all else; what is left then is in `unmapped`. */
export function lowerPlain(draft: Draft, open: Set<string>, unmapped: Unmapped): void {
  lower(draft, plain, open, unmapped)
  for (const node of draft.nodes())
    if (!isLowered(node) && !isRounding(node) && !unmapped.has(node.name))
      unmapped.set(node.name, { node, reason: `TensorFlow Lite has no operator ${opName(node)}` })
}

/** Quantizing and back becomes part of tensors. */
export const isRounding = (node: Node): boolean =>
  node.domain === undefined && (node.op === 'QuantizeLinear' || node.op === 'DequantizeLinear')

/** Rules may write operators of ONNX, which are lowered in the next round. */
function lower(draft: Draft, rules: Rules, open: Set<string>, unmapped: Unmapped): void {
  for (let isNew = true; isNew; ) {
    isNew = false
    for (const node of draft.nodes()) {
      const rule = isLowered(node) ? undefined : rules[opName(node)]
      const isThere = node.outputs.every((id) => id === '' || draft.producer(id) === node)
      if (!rule || !isThere || unmapped.has(node.name)) continue
      try {
        draft.remove(node)
        rule(siteOf(draft, node, open))
        isNew = true
      } catch (error) {
        if (!(error instanceof PareError) || error.code !== 'E_UNSUPPORTED') throw error
        for (const id of node.outputs) {
          const made = draft.producer(id)
          if (made) draft.remove(made)
        }
        draft.addNode(node)
        unmapped.set(node.name, { node, reason: error.message })
      }
    }
  }
}
