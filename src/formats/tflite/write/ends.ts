/** Inputs and outputs: images with channels last where that saves a TRANSPOSE, and codes where a model is quantized inside. */

import { attrInts } from '../../../ir/attrs.ts'
import type { Draft } from '../../../ir/edit.ts'
import { sameOrder } from '../../../ir/order.ts'
import type { Dim, Node } from '../../../types.ts'
import { isRounding } from '../lower/index.ts'
import { toFirst, toLast } from '../lower/site.ts'
import { isPerTensor, parametersOf } from './parameters.ts'

const isTranspose = (node: Node | undefined, order: readonly number[]): node is Node =>
  node?.op === 'Transpose' && sameOrder(attrInts(node, 'perm'), order)

/** Inputs whose only reader brings the channels last get them so, and outputs the other way round. Names of those. */
export function turnEnds(draft: Draft): readonly string[] {
  const inputs = draft.inputs.filter((id) => turnInput(draft, id, id))
  const outputs = draft.outputs.filter((id) => turnOutput(draft, id))
  return [...inputs, ...outputs]
}

/** Images at inputs and outputs that a TRANSPOSE stands at. */
export function transposedEnds(draft: Draft): readonly string[] {
  const at = (id: string): boolean => {
    const next = draft.soleConsumer(id)
    const behind = next && isRounding(next) ? draft.soleConsumer(next.outputs[0] as string) : next
    return isTranspose(behind, toLast(4))
  }
  return [...draft.inputs.filter(at), ...draft.outputs.filter((id) => isTranspose(draft.producer(id), toFirst(4)))]
}

const turnedShape = (draft: Draft, id: string, order: readonly number[]): readonly Dim[] =>
  order.map((a) => draft.value(id)?.shape?.[a] as Dim)

/** Follows a rounding on the way; `from`: the value that is turned first. */
function turnInput(draft: Draft, from: string, id: string): boolean {
  const next = draft.soleConsumer(id)
  if (next && isRounding(next) && isPerTensor(parametersOf(draft, next)) && from === id) {
    const y = next.outputs[0] as string
    if (!turnInput(draft, from, y)) return false
    retype(draft, id, toLast(4))
    return true
  }
  if (!isTranspose(next, toLast(4))) return false
  retype(draft, id, toLast(4))
  draft.remove(next)
  draft.rewire(next.outputs[0] as string, id)
  return true
}

function turnOutput(draft: Draft, id: string): boolean {
  const made = draft.producer(id)
  const x = made?.inputs[0] as string
  if (!isTranspose(made, toFirst(4)) || draft.consumers(id).length > 0 || !draft.producer(x) || draft.isOutput(x))
    return false
  draft.remove(made)
  draft.rewire(id, x)
  retype(draft, id, toLast(4))
  return true
}

function retype(draft: Draft, id: string, order: readonly number[]): void {
  const v = draft.value(id)
  if (v) draft.set({ ...v, shape: turnedShape(draft, id, order) })
}

/** Inputs that are rounded first and outputs that are made of codes become the codes. Names of those that changed. */
export function codeEnds(draft: Draft): readonly string[] {
  const inputs = draft.inputs.filter((id) => {
    const next = draft.soleConsumer(id)
    const by = next?.op === 'QuantizeLinear' ? parametersOf(draft, next) : undefined
    if (!next || !isPerTensor(by)) return false
    const v = draft.value(id)
    draft.remove(next)
    draft.rewire(next.outputs[0] as string, id)
    if (v) draft.set({ ...v, dtype: by.dtype })
    return true
  })
  const outputs = draft.outputs.filter((id) => {
    const made = draft.producer(id)
    const by = made?.op === 'DequantizeLinear' ? parametersOf(draft, made) : undefined
    const codes = made?.inputs[0] as string
    if (!made || !isPerTensor(by) || draft.consumers(id).length > 0 || !draft.producer(codes)) return false
    const v = draft.value(id)
    draft.remove(made)
    draft.rewire(id, codes)
    if (v) draft.set({ ...v, dtype: by.dtype })
    return true
  })
  return [...inputs, ...outputs]
}
