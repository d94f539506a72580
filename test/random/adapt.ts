/** Makes a value of one type and shape from one of another, by what networks do: products, convolutions, moves, means. */
import type { Rng } from '../../src/base/random.ts'
import { codeOfDtype } from '../../src/ir/dtype-code.ts'
import { isFloat } from '../../src/ir/tensor.ts'
import type { Dim, DType } from '../../src/types.ts'
import { add, addWeight, chance, type Growth, ints, pick } from './growth.ts'

const most = 4096

/** The id of a value of this type and shape made from `from`; `undefined` where there is no way. */
export function adapt(g: Growth, random: Rng, from: string, dtype: DType, shape: readonly Dim[]): string | undefined {
  const v = g.values.get(from)
  if (!v?.dtype || !v.shape || !isFloat(v.dtype) || !isFloat(dtype)) return undefined
  const wanted = fixedOf(shape, g.batch)
  if (!wanted) return undefined
  let id = v.dtype === dtype ? from : add(g, 'Cast', [from], { to: codeOfDtype(dtype) })
  if (chance(random, 0.3)) id = add(g, pick(random, ['Tanh', 'Sigmoid', 'Relu', 'Softsign']), [id])
  const at = shape.indexOf(g.batch)
  if (!wanted.batched) return withoutBatch(g, id, shape as number[])
  if (v.shape[0] !== g.batch || !fixedOf(v.shape, g.batch)) return undefined
  const front = [g.batch, ...shape.filter((_, i) => i !== at)]
  const made = channelsOf(g, random, id, front, dtype) ?? flatOf(g, random, id, front, dtype)
  if (made === undefined || at === 0) return made
  const perm = shape.map((_, i) => (i === at ? 0 : i < at ? i + 1 : i))
  return add(g, 'Transpose', [made], { perm })
}

/** The sizes beside the batch, where all of them are numbers. */
function fixedOf(shape: readonly Dim[], batch: Dim): { batched: boolean } | undefined {
  const batched = typeof batch === 'string' ? shape.includes(batch) : shape[0] === batch
  const rest = shape.filter((d) => d !== batch)
  return rest.every((d) => typeof d === 'number') ? { batched } : undefined
}

/** [N, C, H, W] → [N, D, H, W] by a convolution of one position, where only the channels differ. */
function channelsOf(g: Growth, random: Rng, id: string, to: readonly Dim[], dtype: DType): string | undefined {
  const from = g.values.get(id)?.shape ?? []
  if (dtype === 'float64' || to.length !== 4 || from.length !== 4) return undefined
  if (from[2] !== to[2] || from[3] !== to[3] || from[1] === 0 || to[1] === 0) return undefined
  const weight = addWeight(g, random, dtype, [Number(to[1]), Number(from[1]), 1, 1])
  return add(g, 'Conv', [id, weight])
}

/** Through [N, k] → [N, m]. */
function flatOf(g: Growth, random: Rng, id: string, to: readonly Dim[], dtype: DType): string | undefined {
  const from = g.values.get(id)?.shape ?? []
  const size = (shape: readonly Dim[]): number => shape.slice(1).reduce<number>((a, d) => a * Number(d), 1)
  const [k, m] = [size(from), size(to)]
  if (!(k <= most && m <= most) || k === 0) return undefined
  let flat =
    from.length === 2 ? id : chance(random, 0.5) ? add(g, 'Flatten', [id], { axis: 1 }) : reshaped(g, id, [0, k])
  if (k !== m) flat = resized(g, random, flat, k, m, dtype)
  if (to.length === 2) return flat
  const front = typeof g.batch === 'string' ? -1 : pick(random, [g.batch, -1])
  return reshaped(g, flat, [m === 0 ? 0 : front, ...to.slice(1).map(Number)])
}

const reshaped = (g: Growth, id: string, shape: readonly number[]): string => add(g, 'Reshape', [id, ints(g, shape)])

function resized(g: Growth, random: Rng, flat: string, k: number, m: number, dtype: DType): string {
  if (k * m <= most && m > 0 && chance(random, 0.6)) {
    const weight = addWeight(g, random, dtype, [k, m])
    if (chance(random, 0.5)) return add(g, 'Gemm', [flat, weight, addWeight(g, random, dtype, [m])])
    const product = add(g, 'MatMul', [flat, weight])
    return chance(random, 0.5) ? add(g, 'Add', [product, addWeight(g, random, dtype, [m])]) : product
  }
  if (k > m) return add(g, 'Slice', [flat, ints(g, [0]), ints(g, [m]), ints(g, [1])])
  return add(g, 'Pad', [flat, ints(g, [0, 0, 0, m - k])], {
    mode: k > 1 && m - k < k && chance(random, 0.3) ? 'reflect' : 'constant'
  })
}

/** A value without the batch: its mean over an open batch, cut or filled up. */
function withoutBatch(g: Growth, id: string, to: readonly number[]): string | undefined {
  const isOpen = typeof g.batch === 'string'
  const from = g.values.get(id)?.shape ?? []
  const rest = isOpen ? from.slice(1) : from
  if ((isOpen && from[0] !== g.batch) || rest.some((d) => typeof d !== 'number')) return undefined
  const k = rest.reduce<number>((a, d) => a * Number(d), 1)
  const m = to.reduce((a, b) => a * b, 1)
  if (k === 0 || k > most || m === 0 || m > most) return undefined
  const mean = isOpen ? add(g, 'ReduceMean', [id, ints(g, [0])], { keepdims: 0 }) : id
  let flat = reshaped(g, mean, [k])
  if (k > m) flat = add(g, 'Slice', [flat, ints(g, [0]), ints(g, [m])])
  else if (k < m) flat = add(g, 'Pad', [flat, ints(g, [0, m - k])])
  return reshaped(g, flat, to)
}
