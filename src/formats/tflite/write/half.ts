/**
 * Kernels on a CPU compute in float32: values of float16 are written so, and weights of float16 are widened when the file is loaded.
 * XNNPACK of LiteRT 2.5.3 (WebAssembly) takes plain and depthwise convolutions whose weight and bias are both float32, or both
 * float16 behind a DEQUANTIZE each. With a weight of float16 and a bias of float32 they take many times longer.
 */

import { listed } from '../../../base/listed.ts'
import { attrInt } from '../../../ir/attrs.ts'
import { codeOfDtype } from '../../../ir/dtype-code.ts'
import type { Draft } from '../../../ir/edit.ts'
import { elementCount, tensor, toFloats } from '../../../ir/tensor.ts'
import type { Node, Tensor } from '../../../types.ts'
import { domain, isLowered, narrowOf } from '../lower/site.ts'

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

/** Operators of XNNPACK that take a weight and a bias, inputs 1 and 2, of one type only. */
const alike = new Set(['CONV_2D', 'DEPTHWISE_CONV_2D'])

/** Part of the largest bias of a layer that float16 may change any of them by: its rounding is 2⁻¹¹. */
const mostRounding = 2 ** -10

/**
 * Gives convolutions with weights of float16 a bias of float16 too. Where float16 cannot hold the bias, the weight becomes float32.
 * Returns notes that name the layers whose numbers or bytes that changes.
 */
export function matchBiases(draft: Draft): readonly string[] {
  const [made, rounded, kept] = [new Map<string, string>(), [] as string[], [] as string[]]
  for (const node of draft.nodes()) {
    if (!isLowered(node) || !alike.has(node.op)) continue
    const [, weight, bias] = node.inputs
    const data = draft.constant(bias)
    const narrow = narrowOf(draft, weight ?? '')
    if (data?.dtype !== 'float32' || !narrow) continue
    const half = tensor('float16', data.shape, toFloats(data))
    const narrowed = toFloats(half)
    const error = largest(toFloats(data).map((x, i) => x - (narrowed[i] as number)))
    if (error <= mostRounding * largest(toFloats(data))) {
      if (error > 0) rounded.push(node.name)
      const id = bias as string
      const known = made.get(id) ?? behindDequantize(draft, half, id)
      made.set(id, known)
      putInput(draft, node, 2, known)
    } else {
      kept.push(node.name)
      const whole = tensor('float32', narrow.data.shape, toFloats(narrow.data))
      putInput(draft, node, 1, draft.addConstant(whole, narrow.node.inputs[0] as string))
    }
  }
  draft.sweep()
  return [
    ...(rounded.length > 0
      ? [`biases beside weights of float16 are rounded to float16 too, which XNNPACK needs: ${listed(rounded)}`]
      : []),
    ...(kept.length > 0 ? [`weights are float32, since float16 cannot hold the bias beside them: ${listed(kept)}`] : [])
  ]
}

const largest = (values: Float32Array): number => values.reduce((most, x) => Math.max(most, Math.abs(x)), 0)

function putInput(draft: Draft, node: Node, place: number, id: string): void {
  draft.replace(node, { ...node, inputs: node.inputs.map((x, i) => (i === place ? id : x)) })
}

function behindDequantize(draft: Draft, data: Tensor, hint: string): string {
  const id = draft.fresh(`${hint}_wide`)
  const stored = draft.addConstant(data, `${hint}_f16`)
  draft.set({ type: 'tensor', id, dtype: 'float32', shape: data.shape })
  draft.addNode({ name: draft.fresh(id), op: 'DEQUANTIZE', domain, inputs: [stored], outputs: [id], attrs: {} })
  return id
}
