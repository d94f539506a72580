/** Weights of layers as matrices of outputs × inputs; a convolution's kernel belongs to its inputs. */
import { tensor, toFloats } from '../../ir/tensor.ts'
import type { Gram, LayerInput } from '../../observe/gram.ts'
import type { Tensor } from '../../types.ts'

/** A weight [outputs of all groups × K]. */
export function rowsOf({ outputs, k, outStride, inStride }: LayerInput, t: Tensor): Float64Array {
  const values = toFloats(t)
  const out = new Float64Array(outputs * k)
  for (let o = 0; o < outputs; o++)
    for (let i = 0; i < k; i++) out[o * k + i] = values[o * outStride + i * inStride] as number
  return out
}

export function fromRows({ outputs, k, outStride, inStride }: LayerInput, t: Tensor, rows: Float64Array): Tensor {
  const values = new Float32Array(toFloats(t).length)
  for (let o = 0; o < outputs; o++)
    for (let i = 0; i < k; i++) values[o * outStride + i * inStride] = rows[o * k + i] as number
  return tensor('float32', t.shape, values)
}

export const matrixOf = ({ outputs, k }: LayerInput): { rows: number; columns: number } => ({
  rows: outputs,
  columns: k
})

/** The weights of each group of a layer, with where they begin, and H of their inputs. */
export function groupsOf(
  w: Float64Array,
  { groups, k }: LayerInput,
  gram: Gram
): readonly { readonly part: Float64Array; readonly at: number; readonly h: Float64Array }[] {
  const size = w.length / groups
  return Array.from({ length: groups }, (_, g) => ({
    part: w.subarray(g * size, (g + 1) * size),
    at: g * size,
    h: gram.h.subarray(g * k * k, (g + 1) * k * k)
  }))
}
