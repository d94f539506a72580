/** Weights in a form, as a point makes them: zeros by SparseGPT, ranks by the whitened singular vectors of what is left of the channels. */
import { tensor } from '../../ir/tensor.ts'
import type { Gram, LayerInput } from '../../observe/gram.ts'
import { type Matrix, matrix, times, transposed } from '../../passes/factorize/matrices.ts'
import { svdFactors } from '../../passes/factorize/methods.ts'
import { partsOf, weightOf } from '../../passes/factorize/moments.ts'
import { layerWeight } from '../../passes/factorize/rebuild.ts'
import { evened, shapesOf } from '../../passes/factorize/splits.ts'
import { fromRows, rowsOf } from '../../passes/prune/matrices.ts'
import { sparsegpt } from '../../passes/prune/sparsegpt.ts'
import type { Tensor } from '../../types.ts'
import { formsOf } from './form-loads.ts'
import type { Form, FormPart, MadeForm } from './forms.ts'
import type { Known, Material } from './material.ts'
import type { Point } from './space.ts'

/** The form that a point gives a weight. */
export interface Given {
  readonly kind: 'sparsity' | 'rank'
  readonly value: number
  readonly made: MadeForm
}

/** Rows and columns of a weight's matrix that stay. */
export interface Left {
  readonly rows: readonly number[]
  readonly columns: readonly number[]
}

/** Of rows and columns that belong to channels of groups. */
export function leftOf(m: Material, id: string, point: Point): Left {
  const layer = m.layers.get(id)?.layer as LayerInput
  const gone = { rows: new Set<number>(), columns: new Set<number>() }
  for (const [unit, { group, kept }] of m.groups.entries()) {
    const stays = new Set(kept[point[unit] as number])
    for (const { value, isSummed, indices } of group.slices)
      if (value === id)
        for (const [c, at] of indices.entries())
          if (!stays.has(c)) for (const i of at) gone[isSummed ? 'columns' : 'rows'].add(i)
  }
  const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
  return {
    rows: upTo(layer.outputs).filter((r) => !gone.rows.has(r)),
    columns: upTo(layer.k).filter((c) => !gone.columns.has(Math.floor(c / layer.perChannel)))
  }
}

/** A rank comes before zeros, which are of layers that stay whole; a rank that takes no less of what is left of a layer is none. */
export function formAt(m: Material, id: string, point: Point): Given | undefined {
  const { zeros, rank } = formsOf(m, id)
  const chosen = (one: typeof rank): Form | undefined => one?.choice.forms[point[one.unit] as number]
  const [split, sparse] = [chosen(rank), chosen(zeros)]
  const made = split?.made.get(id)
  if (split && made?.rank !== undefined) {
    const { rows, columns } = leftOf(m, id, point)
    const isLess = made.rank * (rows.length + columns.length) < rows.length * columns.length
    if (isLess) return { kind: 'rank', value: split.value, made }
  }
  const own = sparse?.made.get(id)
  return sparse && own ? { kind: 'sparsity', value: sparse.value, made: own } : undefined
}

/** A weight with a share of what is left of it zero, and the others making up for that; as `prune-weights` does it, with no help of a bias. */
export function withZeros({ layer, gram }: Known, data: Tensor, share: number, { rows, columns }: Left): Tensor {
  const all = rowsOf(layer, data)
  const n = columns.length
  const w = new Float64Array(rows.length * n)
  for (const [r, row] of rows.entries())
    for (const [c, column] of columns.entries()) w[r * n + c] = all[row * layer.k + column] as number
  const h = new Float64Array(n * n)
  for (const [i, a] of columns.entries())
    for (const [j, b] of columns.entries()) h[i * n + j] = gram.h[a * layer.k + b] as number
  sparsegpt(w, n, h, { kind: 'any' }, share)
  for (const [r, row] of rows.entries())
    for (const [c, column] of columns.entries()) all[row * layer.k + column] = w[r * n + c] as number
  return fromRows(layer, data, all)
}

/** Rounds a half to its type, by the moments of its input. */
export type RoundHalf = (part: FormPart, data: Tensor, moments: Gram) => Tensor

/** The product of the two layers of a rank, each rounded, in the shape of the weight. */
export function ofRank({ layer, moments }: Known, data: Tensor, made: MadeForm, left: Left, round: RoundHalf): Tensor {
  const [part] = partsOf(layer, data, moments)
  if (!part) return data
  const stays = new Set(left.rows)
  for (let r = 0; r < layer.outputs; r++) if (!stays.has(r)) part.w.data.fill(0, r * layer.k, (r + 1) * layer.k)
  const rank = made.rank as number
  const { layers } = evened(svdFactors(part, rank))
  const shapes = shapesOf('svd', layer, [rank])
  const halves = layers.map((m, i) => layerWeight(layer, shapes[i] as (typeof shapes)[number], [m], 1))
  const [a, b] = made.parts as readonly [FormPart, FormPart]
  const first = asMatrix(a.layer, round(a, halves[0] as Tensor, moments))
  const inner = times(times(first, matrix(layer.k, layer.k, moments.h.slice(0, layer.k ** 2))), transposed(first))
  const between: Gram = { groups: 1, k: rank, rows: moments.rows, h: inner.data, mean: new Float64Array(rank) }
  const last = asMatrix(b.layer, round(b, halves[1] as Tensor, between))
  return tensor('float32', data.shape, weightOf(layer, data.shape, [times(last, first)]))
}

const asMatrix = (layer: LayerInput, data: Tensor): Matrix => matrix(layer.outputs, layer.k, rowsOf(layer, data))
