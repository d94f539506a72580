/** Stores a layer's weight by GPTQ, then polishes codes and scales or codebooks. */
import { elementCount, tensor, toFloats } from '../../../ir/tensor.ts'
import type { Gram, LayerInput } from '../../../observe/gram.ts'
import type { Tensor } from '../../../types.ts'
import { encodedOf, fitCells, layoutOf, scaleTypeOf } from '../common/cells.ts'
import { type Codes, type Scales, stored } from '../common/fit.ts'
import { codebooksOf, type Stored } from './apply.ts'
import { gptq, gptqDefaults, type Root, rootOf } from './gptq.ts'
import { nearestValue } from './kmeans.ts'
import type { WeightPlan } from './plan.ts'
import { type Grid, polish, type Shared } from './polish.ts'
import { type ScaledBook, scaledBook } from './scaled.ts'

/** A grid over the elements of a tensor; `done` is the stored weight once all are rounded. */
interface TensorGrid {
  /** Rounds an element. */
  round(element: number, value: number): number
  shared(elements: Int32Array): readonly Shared[]
  done(): Stored
}

/** Roots of moments, which all types of a weight share. */
const roots = new WeakMap<Gram, Root[]>()

function rootIn(gram: Gram, group: number, h: Float64Array): Root {
  const own = roots.get(gram) ?? []
  roots.set(gram, own)
  own[group] ??= rootOf(h, gram.k)
  return own[group] as Root
}

/** Codes (or palette) of a weight that least disturb the layer's output; without polish a little worse, in a fraction of the time. */
export function storeByMoments(
  w: WeightPlan,
  data: Tensor,
  layer: LayerInput,
  gram: Gram,
  isSparse: boolean,
  o: { readonly isPolished: boolean } = { isPolished: true }
): Stored {
  const grid = w.codes ? affine(w, data, w.codes, isSparse) : palette(w, data, isSparse)
  const { k, groups, outputs, outStride, inStride } = layer
  const all = toFloats(data)
  const rows = outputs / groups
  for (let group = 0; group < groups; group++) {
    const element = (row: number, column: number): number => (group * rows + row) * outStride + column * inStride
    const target = new Float64Array(rows * k)
    for (let r = 0; r < rows; r++) for (let i = 0; i < k; i++) target[r * k + i] = all[element(r, i)] as number
    const part = (m: Float64Array): Float64Array => m.subarray(group * k * k, (group + 1) * k * k)
    const h = part(gram.h)
    const own: Grid = {
      round: (row, column, value) =>
        grid.round(element(row, column), isSparse && all[element(row, column)] === 0 ? 0 : value),
      shared: (row) => grid.shared(Int32Array.from({ length: k }, (_, i) => element(row, i)))
    }
    const made = target.slice()
    const root = rootIn(gram, group, h)
    const wanted = gptq(made, k, h, own.round, gptqDefaults, gram.off && part(gram.off.h), root)
    if (o.isPolished) polish(made, wanted, k, h, own)
  }
  return grid.done()
}

interface Rounding {
  readonly s: Scales
  /** The code of a value over its scale. */
  nearest(relative: number, zero: number): number
}

const ofRange = (s: Scales, { low, high }: Codes): Rounding => ({
  s,
  nearest: (x, zero) => Math.min(high, Math.max(low, Math.round(x) + zero))
})

const ofBook = ({ book, scales }: ScaledBook): Rounding => ({
  s: { scales, zeros: new Float64Array(scales.length) },
  nearest: (x) => book[nearestValue(book, x)] as number
})

function affine(w: WeightPlan, data: Tensor, codes: Codes, isSparse: boolean): TensorGrid {
  const layout = layoutOf(data.shape, w)
  const { s, nearest } = w.hasCodebook
    ? ofBook(scaledBook(data, w, isSparse))
    : ofRange(fitCells(data, w, codes), codes)
  const dtype = scaleTypeOf(data)
  const all = new Uint8Array(elementCount(data.shape))
  const exact = new Float64Array(all.length)
  return {
    round: (element, value) => {
      const c = layout.of(element)
      const [scale, zero] = [s.scales[c] as number, s.zeros[c] as number]
      const q = nearest(value / scale, zero)
      all[element] = q
      exact[element] = q - zero
      return (q - zero) * scale
    },
    shared: (elements) => {
      if (w.axis === undefined) return []
      const cells = new Map<number, number[]>()
      for (const [i, e] of elements.entries()) {
        const c = layout.of(e)
        const list = cells.get(c)
        if (list) list.push(i)
        else cells.set(c, [i])
      }
      return [...cells].map(([c, columns]) => ({
        columns: Int32Array.from(columns),
        coefficients: Float64Array.from(columns, (i) => exact[elements[i] as number] as number),
        move: (by: number) => {
          const before = s.scales[c] as number
          const next = before + by
          // A scale keeps its sign and its order of magnitude: the codes were chosen for it.
          if (!(next / before > 0.5 && next / before < 2)) return 0
          s.scales[c] = stored(next, dtype)
          return (s.scales[c] as number) - before
        }
      }))
    },
    done: () => encodedOf(all, data, w, codes, s)
  }
}

function palette(w: WeightPlan, data: Tensor, isSparse: boolean): TensorGrid {
  const layout = layoutOf(data.shape, w.axis === undefined ? {} : { axis: w.axis })
  const books = codebooksOf(data, w, isSparse)
  const chosen = new Uint8Array(elementCount(data.shape))
  const bookOf = (element: number): Float64Array => books[layout.of(element)] as Float64Array
  return {
    round: (element, value) => {
      const book = bookOf(element)
      let best = 0
      for (let e = 1; e < book.length; e++)
        if (Math.abs((book[e] as number) - value) < Math.abs((book[best] as number) - value)) best = e
      chosen[element] = best
      return book[best] as number
    },
    shared: (elements) => {
      if (w.axis === undefined) return []
      const book = bookOf(elements[0] as number)
      const entries = Array.from(book, (): number[] => [])
      for (const [i, e] of elements.entries()) (entries[chosen[e] as number] as number[]).push(i)
      return entries.flatMap((columns, e) =>
        columns.length === 0 || (isSparse && book[e] === 0)
          ? []
          : [
              {
                columns: Int32Array.from(columns),
                coefficients: new Float64Array(columns.length).fill(1),
                move: (by: number) => {
                  const before = book[e] as number
                  book[e] = half(before + by)
                  return (book[e] as number) - before
                }
              }
            ]
      )
    },
    done: () =>
      tensor(
        data.dtype,
        data.shape,
        Float64Array.from(chosen, (e, i) => bookOf(i)[e] as number)
      )
  }
}

const half = (x: number): number => toFloats(tensor('float16', [1], [x]))[0] as number
