/** A linear layer with the second moments of its inputs: what ways of splitting it are judged by. */
import { toFloats } from '../../ir/tensor.ts'
import type { Gram, LayerInput } from '../../observe/gram.ts'
import type { Tensor } from '../../types.ts'
import { type Matrix, matrix } from './matrices.ts'

/** One group of a layer: `w` [outputs × K], and H = E[xxᵀ] [K × K] of its inputs; absent without samples, as if it were 1. */
export interface Part {
  readonly w: Matrix
  readonly h: Matrix | undefined
}

/** The groups of a layer. */
export function partsOf({ groups, outputs, k, outStride, inStride }: LayerInput, t: Tensor, gram?: Gram): Part[] {
  const values = toFloats(t)
  const perGroup = outputs / groups
  return Array.from({ length: groups }, (_, g) => {
    const w = matrix(perGroup, k)
    for (let o = 0; o < perGroup; o++)
      for (let i = 0; i < k; i++) w.data[o * k + i] = values[(g * perGroup + o) * outStride + i * inStride] as number
    return { w, h: gram && damped(matrix(k, k, gram.h.slice(g * k * k, (g + 1) * k * k))) }
  })
}

/** Inputs that were always 0 count a little: else anything would do for their weights. As a share of H's mean diagonal. */
const damp = 1e-6

function damped(h: Matrix): Matrix {
  let mean = 0
  for (let i = 0; i < h.rows; i++) mean += (h.data[i * h.rows + i] as number) / h.rows
  const added = damp * (mean > 0 ? mean : 1)
  for (let i = 0; i < h.rows; i++) h.data[i * h.rows + i] = (h.data[i * h.rows + i] as number) + added
  return h
}

/** A weight of the shape of `t` from the matrices of its groups. */
export function weightOf(
  { groups, outputs, k, outStride, inStride }: LayerInput,
  shape: readonly number[],
  parts: readonly Matrix[]
): Float32Array {
  const perGroup = outputs / groups
  const out = new Float32Array(shape.reduce((a, b) => a * b, 1))
  for (const [g, { data }] of parts.entries())
    for (let o = 0; o < perGroup; o++)
      for (let i = 0; i < k; i++) out[(g * perGroup + o) * outStride + i * inStride] = data[o * k + i] as number
  return out
}
