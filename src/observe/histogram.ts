/**
 * Histograms of values whose range is not known beforehand, in one pass.
 *
 * Bins are w = 2^k wide and their edges multiples of w, so that two bins of one width are one of the next, exactly. When
 * the range outgrows the bins, w doubles and they are added in pairs. w depends on the extremes alone, w ≤ (high − low) /
 * bins < 2w; so what comes out does not depend on the order of the values (up to those that a float64 cannot tell from
 * an edge).
 */

/** Counts of values in bins of equal width from `from` on, and the exact extremes. No bins: only the extremes are known. */
export interface Histogram {
  readonly low: number
  readonly high: number
  readonly from: number
  readonly width: number
  readonly counts: Float64Array
}

export interface Counter {
  /** Counts all values; false where one of them is not finite. */
  add(values: Float32Array): boolean
  histogram(): Histogram
}

/** What was counted so far: `first` is the number of the first bin, its edge over the width. */
interface Grid {
  readonly low: number
  readonly high: number
  readonly width: number
  readonly first: number
  /** Two counts a bin, side by side. */
  readonly pairs: Float64Array
}

/**
 * The width of the bins while all values are equal. It is smaller than the distance between any two float32 numbers
 * (2⁻¹⁴⁹), so that the width of every later bin is a multiple of it.
 */
const finest = 2 ** -170

/** Starts a histogram of at least `bins` bins (where two values differ), of at most twice as many. */
export function counter(bins: number): Counter {
  let grid: Grid | undefined
  return {
    add: (values) => {
      let at = grid ? addTo(grid, values, 0) : 0
      if (at === values.length) return true
      const range = extremes(values, at)
      if (!range) return false
      grid = grown(grid, range, bins)
      at = addTo(grid, values, at)
      return true
    },
    histogram: () => finished(grid)
  }
}

/**
 * Counts values, beginning at index `from`, up to the first value outside of the grid; returns the index of that value.
 * Values are counted in two tables by turns: with a single table, the count of a value that equals the value before it
 * (zeros behind a Relu) waits until the earlier count is stored. The loop holds the arithmetic itself, since calling a
 * closure takes several times as long.
 */
function addTo({ low, high, width, first, pairs }: Grid, values: Float32Array, from: number): number {
  const perUnit = 1 / width
  let i = from
  for (const end = values.length - 3; i < end; i += 4) {
    const a = values[i] as number
    const b = values[i + 1] as number
    const c = values[i + 2] as number
    const d = values[i + 3] as number
    if (!(a >= low && a <= high && b >= low && b <= high && c >= low && c <= high && d >= low && d <= high)) return i
    ;(pairs[(a * perUnit - first) << 1] as number)++
    ;(pairs[((b * perUnit - first) << 1) + 1] as number)++
    ;(pairs[(c * perUnit - first) << 1] as number)++
    ;(pairs[((d * perUnit - first) << 1) + 1] as number)++
  }
  for (; i < values.length; i++) {
    const x = values[i] as number
    if (!(x >= low && x <= high)) return i
    ;(pairs[(x * perUnit - first) << 1] as number)++
  }
  return i
}

/** Least and greatest from the `from`-th on; `undefined` where one is not finite. */
function extremes(values: Float32Array, from: number): { low: number; high: number } | undefined {
  let low = Number.POSITIVE_INFINITY
  let high = Number.NEGATIVE_INFINITY
  for (let i = from; i < values.length; i++) {
    const x = values[i] as number
    if (!Number.isFinite(x)) return undefined
    if (x < low) low = x
    if (x > high) high = x
  }
  return { low, high }
}

/** The grid that holds a range too, with all that was counted. */
function grown(old: Grid | undefined, range: { low: number; high: number }, bins: number): Grid {
  const low = Math.min(range.low, old?.low ?? range.low)
  const high = Math.max(range.high, old?.high ?? range.high)
  const width = high > low ? 2 ** Math.floor(Math.log2((high - low) / bins)) : finest
  const first = Math.floor(low / width)
  const pairs = new Float64Array(2 * (Math.floor(high / width) - first + 1))
  if (old)
    for (let i = 0; i < old.pairs.length; i++) {
      const bin = Math.floor(((old.first + (i >> 1)) * old.width) / width) - first
      pairs[2 * bin] = (pairs[2 * bin] as number) + (old.pairs[i] as number)
    }
  return { low, high, width, first, pairs }
}

function finished(grid: Grid | undefined): Histogram {
  if (!grid) return extremesOnly(Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY)
  const { low, high, width, first, pairs } = grid
  const counts = Float64Array.from(
    { length: pairs.length / 2 },
    (_, i) => (pairs[2 * i] as number) + (pairs[2 * i + 1] as number)
  )
  return { low, high, from: first * width, width, counts }
}

/** What is known of a value whose extremes alone were looked for. */
export const extremesOnly = (low: number, high: number): Histogram => ({
  low,
  high,
  from: low,
  width: 0,
  counts: new Float64Array(0)
})
