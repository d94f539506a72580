/**
 * A codebook that channels of different size share: w ≈ s_c·b_k, with a scale s_c per channel and 2^bits integers b_k of
 * −127 … 127. Both are found by turns, as k-means: the values b of least Σ (w/s_c − b)² over all elements, each channel
 * counting alike; then s_c = Σ w·b / Σ b² for the nearest values.
 */
import { elementCount, toFloats } from '../../../ir/tensor.ts'
import type { Tensor } from '../../../types.ts'
import { type Division, type Encoded, encodedOf, layoutOf, notFinite, scaleTypeOf } from '../common/cells.ts'
import { storedScale } from '../common/codes.ts'
import { bookCodes } from '../common/fit.ts'
import { codebook, nearestValue } from './kmeans.ts'
import type { WeightPlan } from './plan.ts'

/** The integers of a codebook, ascending, and the scale of every channel. */
export interface ScaledBook {
  readonly book: Float64Array
  readonly scales: Float64Array
}

const turns = 3

const divisionOf = ({ axis }: Pick<WeightPlan, 'axis'>): Division => (axis === undefined ? {} : { axis })

/** Finds codebook and scales. Throws `E_MODEL` where a value is not finite. */
export function scaledBook(data: Tensor, w: Pick<WeightPlan, 'id' | 'axis' | 'bits'>, holdsZero: boolean): ScaledBook {
  const values = toFloats(data)
  if (values.some((x) => !Number.isFinite(x))) throw notFinite(w.id)
  const { of } = layoutOf(data.shape, divisionOf(w))
  const peaks = new Float64Array(data.shape[w.axis ?? 0] as number)
  for (const [i, v] of values.entries()) peaks[of(i)] = Math.max(peaks[of(i)] as number, Math.abs(v))
  let scales: Float64Array = peaks.map((p) => p || 1)
  let book: Float64Array = Float64Array.of(0)
  for (let turn = 0; turn < turns; turn++) {
    const relative = Float64Array.from(values, (v, i) => v / (scales[of(i)] as number))
    book = codebook(relative, 2 ** w.bits, { holdsZero })
    scales = fitted(values, of, scales, book)
  }
  const step = book.reduce((m, b) => Math.max(m, Math.abs(b)), 0) / bookCodes.high || 1
  const whole = Float64Array.from(new Set(book.map((b) => Math.round(b / step)))).sort()
  const dtype = scaleTypeOf(data)
  const found = fitted(
    values,
    of,
    scales.map((s) => s * step),
    whole
  )
  return { book: whole, scales: found.map((s) => storedScale(s, dtype)) }
}

/** The scales of least squared error for the nearest values. A channel keeps its scale where all of them are 0. */
function fitted(
  values: Float32Array,
  of: (element: number) => number,
  scales: Float64Array,
  book: Float64Array
): Float64Array {
  const [wb, bb] = [new Float64Array(scales.length), new Float64Array(scales.length)]
  for (const [i, v] of values.entries()) {
    const c = of(i)
    const b = book[nearestValue(book, v / (scales[c] as number))] as number
    wb[c] = (wb[c] as number) + v * b
    bb[c] = (bb[c] as number) + b * b
  }
  return scales.map((s, c) => ((wb[c] as number) > 0 ? (wb[c] as number) / (bb[c] as number) : s))
}

/** The weight as codes of its codebook. */
export function storeScaled(data: Tensor, w: WeightPlan, holdsZero: boolean): Encoded {
  const { book, scales } = scaledBook(data, w, holdsZero)
  const { of } = layoutOf(data.shape, divisionOf(w))
  const codes = new Int8Array(elementCount(data.shape))
  for (const [i, v] of toFloats(data).entries())
    codes[i] = book[nearestValue(book, v / (scales[of(i)] as number))] as number
  return encodedOf(new Uint8Array(codes.buffer), data, w, bookCodes, { scales, zeros: new Float64Array(scales.length) })
}
