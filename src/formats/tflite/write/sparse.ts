/**
 * Weights of 1×1 convolutions with many zeros hold only what is not 0, in the form that LiteRT computes on without the zeros: a
 * DENSIFY in front of the convolution, all axes dense but that of the inputs, which is compressed by rows. It reaches sparse
 * kernels where the network begins with a 3×3 convolution of stride 2 on 3 channels and goes on with 1×1 and depthwise ones; elsewhere,
 * and below two thirds of zeros, the file alone is smaller.
 */
import type { Draft } from '../../../ir/edit.ts'
import { pickAlong } from '../../../ir/order.ts'
import { bitsOf, toFloats } from '../../../ir/tensor.ts'
import type { Tensor } from '../../../types.ts'
import { domain, isLowered, narrowOf } from '../lower/site.ts'
import type { Options, SparsityParameters } from '../model.ts'

/** A constant as its numbers other than 0, and where these are. */
export interface Sparse {
  readonly parameters: SparsityParameters
  readonly data: Tensor
}

/** A weight is written so where it takes at most this part of its bytes then. */
const mostBytes = 0.9

/** Adds a DENSIFY for every weight that has one; gives the sparse constants by name. */
export function thinOut(draft: Draft): ReadonlyMap<string, Sparse> {
  const found = new Map<string, Sparse>()
  for (const node of draft.nodes()) {
    const place = isLowered(node) && node.op === 'CONV_2D' ? node.inputs[1] : undefined
    if (place == null) continue
    // Weights of float16 are widened behind it.
    const narrow = narrowOf(draft, place)
    const id = narrow ? (narrow.node.inputs[0] as string) : place
    const data = draft.constant(id)
    const thin = data && sparseOf(data)
    if (!thin) continue
    const dense = draft.fresh(`${id}_dense`)
    found.set(id, thin)
    draft.set({ type: 'tensor', id: dense, dtype: data.dtype, shape: data.shape })
    for (const reader of draft.consumers(id))
      draft.replace(reader, { ...reader, inputs: reader.inputs.map((x) => (x === id ? dense : x)) })
    draft.addNode({ name: draft.fresh(dense), op: 'DENSIFY', domain, inputs: [id], outputs: [dense], attrs: {} })
  }
  return found
}

/** The weight [outputs, 1, 1, inputs] without its zeros, where that takes less. */
function sparseOf(data: Tensor): Sparse | undefined {
  const [outputs = 0, height, width, inputs = 0] = data.shape
  const isFloat = data.dtype === 'float32' || data.dtype === 'float16'
  if (!isFloat || data.shape.length !== 4 || height !== 1 || width !== 1 || outputs * inputs === 0) return undefined
  const values = toFloats(data)
  const [segments, places]: [number[], number[]] = [[0], []]
  for (let o = 0; o < outputs; o++) {
    for (let i = 0; i < inputs; i++) if (values[o * inputs + i] !== 0) places.push(o * inputs + i)
    segments.push(places.length)
  }
  const indices = places.map((p) => p % inputs)
  const size = places.length * (bitsOf(data.dtype) / 8 + widthOf(inputs)) + segments.length * widthOf(places.length)
  if (size > mostBytes * data.bytes.length) return undefined
  const dense = (dense_size: number) => ({ format: 'DENSE', dense_size })
  return {
    data: pickAlong({ ...data, shape: [values.length] }, 0, places),
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

/** Bytes of a whole number up to a largest one. */
const widthOf = (largest: number): number => (largest < 2 ** 8 ? 1 : largest < 2 ** 16 ? 2 : 4)

/** A list of whole numbers in the narrowest type. */
function listOf(values: readonly number[]): Options {
  const width = widthOf(values.reduce((a, b) => Math.max(a, b), 0))
  if (width === 1) return { table: 'Uint8Vector', values: Uint8Array.from(values) }
  return { table: width === 2 ? 'Uint16Vector' : 'Int32Vector', values }
}
