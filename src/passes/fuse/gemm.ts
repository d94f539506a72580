import { isFloat } from '../../ir/tensor.ts'
import type { Node } from '../../types.ts'
import { broadcastsTo } from '../shapes.ts'
import { defineRule, usedElsewhere } from './rule.ts'

/** MatMul of matrices + Add → Gemm, whose bias may be computed too. Quantized ones stay. */
export const matMulAdd = defineRule<{ first: Node; second: Node; bias: string; used: string | undefined }>({
  name: 'matmul-add',
  chain: [['MatMul'], ['Add']],
  match: ([first, second], site) => {
    if (!first || !second) return undefined
    const [x, w, out] = [first.inputs[0], first.inputs[1], first.outputs[0]].map(site.value)
    const bias = second.inputs[second.inputs[0] === first.outputs[0] ? 1 : 0]
    if (bias == null || bias === first.outputs[0]) return undefined
    const [rows, columns] = [x?.shape?.[0], w?.shape?.[1]]
    if (x?.shape?.length !== 2 || w?.shape?.length !== 2 || rows === undefined || columns === undefined)
      return undefined
    // Engines look for a MatMul behind DequantizeLinear.
    if (first.inputs.some((id) => id !== null && site.draft.producer(id)?.op === 'DequantizeLinear')) return undefined
    const dtype = x.dtype ?? w.dtype ?? out?.dtype
    const shape = site.value(bias)?.shape
    if (!dtype || !isFloat(dtype) || dtype === 'bfloat16' || !shape || !broadcastsTo(shape, [rows, columns]))
      return undefined
    return { first, second, bias, used: usedElsewhere(first, site) }
  },
  check: (found) => found.used,
  build: ({ first, second, bias }, site) => {
    site.draft.remove(second)
    site.draft.replace(first, {
      ...first,
      op: 'Gemm',
      inputs: [...first.inputs, bias],
      outputs: [second.outputs[0] ?? '']
    })
  }
})
