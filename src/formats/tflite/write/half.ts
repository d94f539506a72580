/** Kernels on a CPU compute in float32: values of float16 are written so, and weights of float16 are widened when the file is loaded. */

import { attrInt } from '../../../ir/attrs.ts'
import { codeOfDtype } from '../../../ir/dtype-code.ts'
import type { Draft } from '../../../ir/edit.ts'
import { elementCount, tensor, toFloats } from '../../../ir/tensor.ts'

/** Smaller constants take less room as float32 than with a DEQUANTIZE of their own. */
const leastElements = 256

export function widenHalf(draft: Draft): void {
  const casts = draft.nodes().filter((n) => n.op === 'Cast' && n.domain === undefined)
  const [half, single] = [codeOfDtype('float16'), codeOfDtype('float32')]
  const isHalf = (id: string | null): boolean => id !== null && draft.value(id)?.dtype === 'float16'
  const kept = new Set(
    casts.filter((n) => attrInt(n, 'to', 0) === single && isHalf(n.inputs[0] ?? null) && draft.constant(n.inputs[0]))
  )
  const widened = new Map<string, string>()
  for (const node of draft.nodes()) {
    if (kept.has(node) || !node.inputs.some((id) => isHalf(id) && draft.constant(id))) continue
    const inputs = node.inputs.map((id) => (isHalf(id) && draft.constant(id) ? wide(draft, id as string, widened) : id))
    draft.replace(node, { ...node, inputs })
  }
  for (const node of draft.nodes()) {
    if (node.op !== 'Cast' || node.domain !== undefined || kept.has(node)) continue
    const to = attrInt(node, 'to', 0)
    const from = draft.value(node.inputs[0] ?? '')?.dtype
    const isIdle = (to === half && (from === 'float32' || from === 'float16')) || (to === single && from === 'float16')
    if (isIdle && !widened.has(node.inputs[0] as string)) draft.replace(node, { ...node, op: 'Identity', attrs: {} })
    else if (to === half) draft.replace(node, { ...node, attrs: { ...node.attrs, to: { kind: 'int', value: single } } })
  }
  const ids = new Set([...draft.inputs, ...draft.nodes().flatMap((n) => n.outputs)])
  for (const id of ids) {
    const v = draft.value(id)
    if (v?.dtype === 'float16') draft.set({ ...v, dtype: 'float32' })
  }
}

function wide(draft: Draft, id: string, known: Map<string, string>): string {
  const found = known.get(id)
  if (found !== undefined) return found
  const data = draft.constant(id)
  const shape = data?.shape ?? []
  const made =
    elementCount(shape) < leastElements && data
      ? draft.addConstant(tensor('float32', shape, toFloats(data)), id)
      : draft.add('Cast', [id], {
          attrs: { to: codeOfDtype('float32') },
          name: `${id}_wide`,
          type: { type: 'tensor', dtype: 'float32', shape }
        })
  known.set(id, made)
  return made
}
