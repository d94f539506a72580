/**
 * Sparse constants: levels of dense and compressed axes, the format of the TACO compiler (Kjolstad et al., 2017), with blocks as
 * further axes inside.
 */
import { PareError } from '../../base/errors.ts'
import { bitsOf, elementCount } from '../../ir/tensor.ts'
import type { DType, Tensor } from '../../types.ts'
import type { DimensionMetadata, SparsityParameters } from './model.ts'

/** Times that a sparse constant grows at most when it is spread out. */
const maxGrowth = 1024

/** All elements, those that are not stored being 0. */
export function dense(
  { traversal_order: order = [], block_map: blocks = [], dim_metadata: levels = [] }: SparsityParameters,
  dtype: DType,
  shape: readonly number[],
  values: Uint8Array,
  where: string
): Tensor {
  const fail = (what: string): never => {
    throw new PareError('E_FORMAT', `a sparse constant ${dtype}[${shape}] ${what}`, { where })
  }
  const size = bitsOf(dtype) / 8
  const count = elementCount(shape)
  if (size < 1) throw new PareError('E_UNSUPPORTED', `a sparse constant of ${dtype}`, { where })
  if (count * size > maxGrowth * values.length)
    throw new PareError('E_LIMIT', `a sparse constant ${dtype}[${shape}]`, { where })
  const rank = shape.length
  if (order.length !== levels.length || order.length !== rank + blocks.length || rank === 0) fail('has no such axes')
  const sizes = levels.map(sizeAlong)
  // Place of an element = sum of index · stride over the levels.
  const blockOf = (axis: number): number => {
    const k = blocks.indexOf(axis)
    return k < 0 ? 1 : (sizes[order.indexOf(rank + k)] ?? 1)
  }
  const strideOf = (axis: number): number => elementCount(shape.slice(axis + 1))
  const strides = order.map((o) => (o < rank ? blockOf(o) * strideOf(o) : strideOf(blocks[o - rank] ?? 0)))
  const bytes = new Uint8Array(count * size)
  let read = 0
  const walk = (level: number, parent: number, at: number): void => {
    if (level === levels.length) {
      if (at >= count || (read + 1) * size > values.length) fail(`does not have the values its axes need`)
      bytes.set(values.subarray(read * size, (read + 1) * size), at * size)
      read++
      return
    }
    const stride = strides[level] as number
    const n = sizes[level]
    if (n !== undefined) {
      for (let i = 0; i < n; i++) walk(level + 1, parent * n + i, at + i * stride)
      return
    }
    const segments = indices(levels[level], 'array_segments')
    const places = indices(levels[level], 'array_indices')
    const [from, to] = [segments[parent] ?? fail('is cut off'), segments[parent + 1] ?? fail('is cut off')]
    for (let i = from; i < to; i++) walk(level + 1, i, at + (places[i] ?? fail('is cut off')) * stride)
  }
  // Levels that are all dense are bounded by their product, others by their lists.
  if (elementCount(sizes.map((n) => n ?? 1)) > count) fail('has larger axes than its shape')
  walk(0, 0, 0)
  return { dtype, shape, bytes }
}

const sizeAlong = (level: DimensionMetadata): number | undefined =>
  level.format === 'SPARSE_CSR' ? undefined : (level.dense_size ?? 0)

function indices(level: DimensionMetadata | undefined, field: 'array_segments' | 'array_indices'): ArrayLike<number> {
  const values = level?.[field]?.['values']
  return (values ?? []) as ArrayLike<number>
}
