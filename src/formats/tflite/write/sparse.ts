/**
 * Weights of 1×1 convolutions that are mostly zeros hold only what is not 0, in the form that LiteRT computes on without the zeros: a
 * DENSIFY in front of the convolution, all axes dense but that of the inputs, which is compressed by rows. It reaches sparse
 * kernels where the network begins with a 3×3 convolution of stride 2 on 3 channels and goes on with 1×1 and depthwise ones; elsewhere
 * the file is smaller.
 */
import type { Draft } from '../../../ir/edit.ts'
import { tensor, toFloats } from '../../../ir/tensor.ts'
import type { Tensor } from '../../../types.ts'
import { domain, isLowered } from '../lower/site.ts'
import type { Options, SparsityParameters } from '../model.ts'

/** A constant as its numbers other than 0, and where these are. */
export interface Sparse {
  readonly parameters: SparsityParameters
  readonly data: Tensor
}

/** Below this share of zeros, dense kernels are as fast. */
const leastZeros = 2 / 3

/** Adds a DENSIFY for every weight that has one; gives the sparse constants by name. */
export function thinOut(draft: Draft): ReadonlyMap<string, Sparse> {
  const found = new Map<string, Sparse>()
  const widened = new Map<string, string>()
  for (const node of draft.nodes()) {
    const id = node.inputs[1]
    const data = isLowered(node) && node.op === 'CONV_2D' ? draft.constant(id) : undefined
    const thin = data && id != null && sparseOf(data)
    if (!thin) continue
    const known = widened.get(id)
    const dense = known ?? draft.fresh(`${id}_dense`)
    if (known === undefined) {
      widened.set(id, dense)
      found.set(id, thin)
      draft.set({ type: 'tensor', id: dense, dtype: data.dtype, shape: data.shape })
      draft.addNode({ name: draft.fresh(dense), op: 'DENSIFY', domain, inputs: [id], outputs: [dense], attrs: {} })
    }
    draft.replace(node, { ...node, inputs: node.inputs.with(1, dense) })
  }
  return found
}

/** The weight [outputs, 1, 1, inputs] without its zeros, where there are enough of them. */
function sparseOf(data: Tensor): Sparse | undefined {
  const [outputs = 0, height, width, inputs = 0] = data.shape
  if (data.dtype !== 'float32' || height !== 1 || width !== 1 || outputs * inputs === 0) return undefined
  const values = toFloats(data)
  const zeros = values.reduce((n, v) => (v === 0 ? n + 1 : n), 0)
  if (zeros <= leastZeros * values.length) return undefined
  const [segments, indices, kept]: [number[], number[], number[]] = [[0], [], []]
  for (let o = 0; o < outputs; o++) {
    for (let i = 0; i < inputs; i++) {
      const v = values[o * inputs + i] as number
      if (v === 0) continue
      indices.push(i)
      kept.push(v)
    }
    segments.push(indices.length)
  }
  const dense = (dense_size: number) => ({ format: 'DENSE', dense_size })
  return {
    data: tensor('float32', [kept.length], kept),
    parameters: {
      traversal_order: [0, 1, 2, 3],
      dim_metadata: [
        dense(outputs),
        dense(1),
        dense(1),
        { format: 'SPARSE_CSR', dense_size: inputs, array_segments: listOf(segments), array_indices: listOf(indices) }
      ]
    }
  }
}

/** A list of whole numbers in the narrowest type. */
function listOf(values: readonly number[]): Options {
  const largest = values.reduce((a, b) => Math.max(a, b), 0)
  if (largest < 2 ** 8) return { table: 'Uint8Vector', values: Uint8Array.from(values) }
  return largest < 2 ** 16 ? { table: 'Uint16Vector', values } : { table: 'Int32Vector', values }
}
