/**
 * Codebooks: the k values of least Σ w·(x − nearest value)² for numbers x of importance w. In one dimension clusters are
 * intervals of the sorted numbers, so the best cut is found by dynamic programming, D[k][j] = min_i D[k−1][i] + cost(i, j),
 * by divide and conquer since the best i grows with j. (Wang & Song, Ckmeans.1d.dp, The R Journal 2011; Grønlund et al.,
 * 2017.) No randomness. More than 2,048 numbers are first merged into as many runs, which leaves the result within a hair.
 */

/** Numbers in runs: mean, importance, and their order. */
interface Runs {
  readonly n: number
  /** Sums up to each run: importance, w·x and w·x². */
  readonly w: Float64Array
  readonly wx: Float64Array
  readonly wxx: Float64Array
}

const maxRuns = 2048

/**
 * At most `k` values, ascending. `importance`: of each number; all alike by default. `holdsZero`: one of the values is
 * exactly 0, and numbers that are 0 do not weigh on the others.
 */
export function codebook(
  numbers: ArrayLike<number>,
  k: number,
  o: { readonly importance?: ArrayLike<number>; readonly holdsZero?: boolean } = {}
): Float64Array {
  const isKept = o.holdsZero ? (i: number) => numbers[i] !== 0 : () => true
  const order = Float64Array.from({ length: numbers.length }, (_, i) => i).filter(isKept)
  if (order.length === 0) return Float64Array.of(0)
  const runs = runsOf(numbers, sorted(order, numbers), o.importance)
  const values = best(runs, o.holdsZero ? k - 1 : k)
  return o.holdsZero ? Float64Array.from(new Set([...values, 0])).sort() : values
}

const sorted = (order: Float64Array, numbers: ArrayLike<number>): Float64Array =>
  order.sort((a, b) => (numbers[a] as number) - (numbers[b] as number))

function runsOf(numbers: ArrayLike<number>, order: Float64Array, importance: ArrayLike<number> | undefined): Runs {
  const n = Math.min(maxRuns, order.length)
  const make = (): Float64Array => new Float64Array(n + 1)
  const runs = { n, w: make(), wx: make(), wxx: make() }
  for (let r = 0, i = 0; r < n; r++) {
    let [w, wx, wxx] = [0, 0, 0]
    for (const end = Math.floor(((r + 1) * order.length) / n); i < end; i++) {
      const at = order[i] as number
      const x = numbers[at] as number
      const weight = importance ? (importance[at] as number) : 1
      w += weight
      wx += weight * x
      wxx += weight * x * x
    }
    runs.w[r + 1] = (runs.w[r] as number) + w
    runs.wx[r + 1] = (runs.wx[r] as number) + wx
    runs.wxx[r + 1] = (runs.wxx[r] as number) + wxx
  }
  return runs
}

/** Importance-weighted squared error of runs from … to − 1 around their mean. */
function cost({ w, wx, wxx }: Runs, from: number, to: number): number {
  const weight = (w[to] as number) - (w[from] as number)
  if (weight <= 0) return 0
  const sum = (wx[to] as number) - (wx[from] as number)
  return Math.max(0, (wxx[to] as number) - (wxx[from] as number) - (sum * sum) / weight)
}

function best(runs: Runs, k: number): Float64Array {
  const { n } = runs
  const clusters = Math.min(k, n)
  const cuts: Int32Array[] = []
  let before = Float64Array.from({ length: n + 1 }, (_, j) => (j === 0 ? 0 : cost(runs, 0, j)))
  for (let c = 1; c < clusters; c++) {
    const now = new Float64Array(n + 1).fill(Number.POSITIVE_INFINITY)
    const cut = new Int32Array(n + 1)
    fill(runs, before, now, cut, { from: c + 1, to: n, low: c, high: n - 1 })
    cuts.push(cut)
    before = now
  }
  const values: number[] = []
  let to = n
  for (let c = clusters - 1; c >= 0; c--) {
    const from = c === 0 ? 0 : ((cuts[c - 1] as Int32Array)[to] as number)
    values.push(centre(runs, from, to))
    to = from
  }
  return Float64Array.from(new Set(values)).sort()
}

function centre({ w, wx }: Runs, from: number, to: number): number {
  const weight = (w[to] as number) - (w[from] as number)
  return weight > 0 ? ((wx[to] as number) - (wx[from] as number)) / weight : 0
}

interface Span {
  readonly from: number
  readonly to: number
  /** Where the best cuts of the span lie. */
  readonly low: number
  readonly high: number
}

function fill(
  runs: Runs,
  before: Float64Array,
  now: Float64Array,
  cut: Int32Array,
  { from, to, low, high }: Span
): void {
  if (from > to) return
  const j = (from + to) >> 1
  let at = low
  for (let i = low; i <= Math.min(high, j - 1); i++) {
    const d = (before[i] as number) + cost(runs, i, j)
    if (d < (now[j] as number)) {
      now[j] = d
      at = i
    }
  }
  cut[j] = at
  fill(runs, before, now, cut, { from, to: j - 1, low, high: at })
  fill(runs, before, now, cut, { from: j + 1, to, low: at, high })
}

/** Index of the value nearest to x; `values` ascending. */
export function nearestValue(values: Float64Array, x: number): number {
  let [low, high] = [0, values.length - 1]
  while (low < high) {
    const mid = (low + high) >> 1
    if (x > ((values[mid] as number) + (values[mid + 1] as number)) / 2) low = mid + 1
    else high = mid
  }
  return low
}
