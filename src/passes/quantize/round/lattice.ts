/**
 * Rounds the rows of a weight so that the layer's output changes little. t is a row as it should be, v the row with every
 * element on its grid, and the error of v is (v − t) H (v − t)ᵀ with H = E[x xᵀ] (see gram.ts).
 *
 * 1. Coordinate descent. With g = H(v − t), the best value of element k alone is the grid value nearest to v_k − g_k / H_kk;
 *    a change Δ of v_k adds Δ·H_k to g. Sweeps end when no single change lowers the error.
 * 2. Pairs. In rows short enough to look at all pairs, two elements move by one grid value each where that lowers the error.
 *
 * Both start twice, from the row that was given and from the row that GPTQ makes, and the better result is kept: it is never
 * worse than either start. A scale s of elements v = s·c is fitted by the same error, s ← s − cᵀg / cᵀHc, which cannot
 * raise it. Where the layer's inputs have changed from x to x̂, t = w + w·E[(x − x̂)x̂ᵀ]·H⁻¹ gives on x̂ what w gave on x.
 */
import { assert } from '../../../base/errors.ts'
import { gptq, inverseRoot } from '../weights/gptq.ts'

/** The values that elements may take. */
export interface Grid {
  /** The nearest value that the element at `k` of row `r` may take. */
  nearest(r: number, k: number, x: number): number
  /** The distance between neighbouring values there. */
  step(r: number, k: number): number
  /** Elements that must stay 0. */
  isFixed(r: number, k: number): boolean
}

/** Rows of weights, with the second moments of the inputs that they multiply. */
export interface Rows {
  readonly k: number
  /** k × k, row-major, damped. */
  readonly h: Float64Array
  /** The rows as they should be, one after the other. */
  readonly target: Float64Array
}

/**
 * H with damp × (its mean diagonal) + 10⁻⁵ × `power` added to its diagonal. `power` is the mean square of the inputs.
 * The moments in H are sums of float32 products; their rounding error is about 10⁻⁵ of `power`.
 */
export function damped(h: Float64Array, k: number, damp: number, power: number): Float64Array {
  let mean = 0
  for (let i = 0; i < k; i++) mean += Math.max(0, h[i * k + i] as number) / k
  const out = Float64Array.from(h)
  const added = damp * mean + 1e-5 * power || 1
  for (let i = 0; i < k; i++) out[i * k + i] = Math.max(0, h[i * k + i] as number) + added
  return out
}

/** t = w + w·off·H⁻¹ for every row of `w`; `h` is damped. */
export function movedTarget(w: Float64Array, k: number, h: Float64Array, off: Float64Array): Float64Array {
  const order = Int32Array.from({ length: k }, (_, i) => i)
  const u = inverseRoot(h, k, order, 0)
  const out = Float64Array.from(w)
  const p = new Float64Array(k)
  const half = new Float64Array(k)
  for (let at = 0; at < w.length; at += k) {
    p.fill(0)
    for (let i = 0; i < k; i++) addScaled(p, 0, off, i * k, k, w[at + i] as number)
    for (let i = 0; i < k; i++) half[i] = dotFrom(u, i * k, p, i, k)
    for (let i = 0; i < k; i++)
      for (let j = i; j < k; j++) out[at + j] = (out[at + j] as number) + (half[i] as number) * (u[i * k + j] as number)
  }
  return out
}

function dotFrom(u: Float64Array, row: number, p: Float64Array, from: number, k: number): number {
  let sum = 0
  for (let j = from; j < k; j++) sum += (u[row + j] as number) * (p[j] as number)
  return sum
}

/** to[at + j] += x·from[row + j] for j < k. */
function addScaled(to: Float64Array, at: number, from: Float64Array, row: number, k: number, x: number): void {
  if (x === 0) return
  for (let j = 0; j < k; j++) to[at + j] = (to[at + j] as number) + x * (from[row + j] as number)
}

/** H(v − t) of one row. */
export function gradient(rows: Rows, v: Float64Array, r: number): Float64Array {
  const { k, h, target } = rows
  const g = new Float64Array(k)
  for (let i = 0; i < k; i++) addScaled(g, 0, h, i * k, k, (v[r * k + i] as number) - (target[r * k + i] as number))
  return g
}

/** (v − t) H (v − t)ᵀ of every row. */
export function errorsOf(rows: Rows, v: Float64Array): Float64Array {
  const { k, target } = rows
  return Float64Array.from({ length: target.length / k }, (_, r) => errorOf(rows, v, r, gradient(rows, v, r)))
}

function errorOf({ k, target }: Rows, v: Float64Array, r: number, g: Float64Array): number {
  let sum = 0
  for (let i = 0; i < k; i++) sum += ((v[r * k + i] as number) - (target[r * k + i] as number)) * (g[i] as number)
  return Math.max(0, sum)
}

/** Descends from two starts for every row, the given one and GPTQ's, and keeps the better result. */
export function roundRows(rows: Rows, start: Float64Array, grid: Grid, sweeps: number): Float64Array {
  const { k, h, target } = rows
  assert(start.length === target.length && h.length === k * k, `rows of ${k} with ${h.length} moments`)
  const other = Float64Array.from(target)
  gptq(other, k, h, (r, i, x) => (grid.isFixed(r, i) ? 0 : grid.nearest(r, i, x)), { damp: 0, actOrder: true })
  const out = Float64Array.from(start)
  for (let r = 0; r < target.length / k; r++) {
    const [a, b] = [descend(rows, out, grid, r, sweeps), descend(rows, other, grid, r, sweeps)]
    if (b < a) out.set(other.subarray(r * k, (r + 1) * k), r * k)
  }
  return out
}

/** Pairs are tried in layers of at most so many rows × k² (k: elements of a row). */
const mostPairs = 2 ** 20

/** Descent on one row in place; returns its error. */
function descend(rows: Rows, v: Float64Array, grid: Grid, r: number, sweeps: number): number {
  const { k, target } = rows
  const g = gradient(rows, v, r)
  singles(rows, v, grid, r, g, sweeps)
  if (target.length * k <= mostPairs)
    for (let sweep = 0; sweep < sweeps && pairs(rows, v, grid, r, g); sweep++) singles(rows, v, grid, r, g, sweeps)
  return errorOf(rows, v, r, g)
}

/** Coordinate descent; keeps the gradient g up to date. */
function singles({ k, h }: Rows, v: Float64Array, grid: Grid, r: number, g: Float64Array, sweeps: number): void {
  for (let sweep = 0; sweep < sweeps; sweep++) {
    let moved = 0
    for (let i = 0; i < k; i++) {
      if (grid.isFixed(r, i)) continue
      const was = v[r * k + i] as number
      const d = h[i * k + i] as number
      const now = grid.nearest(r, i, was - (g[i] as number) / d)
      const step = now - was
      // Less error by step·(2g + step·d); the bound keeps rounding of floats from going in circles.
      if (step === 0 || step * (2 * (g[i] as number) + step * d) >= -1e-12 * d * step * step) continue
      v[r * k + i] = now
      addScaled(g, 0, h, i * k, k, step)
      moved++
    }
    if (moved === 0) break
  }
}

/**
 * Moves each element together with the partner that lowers the error most, one grid value each. Returns whether any
 * moved.
 */
function pairs({ k, h }: Rows, v: Float64Array, grid: Grid, r: number, g: Float64Array): boolean {
  // Two steps for each element, up and down; 0 where there is no value.
  const steps = new Float64Array(2 * k)
  const costs = new Float64Array(2 * k)
  const look = (i: number): void => {
    const was = v[r * k + i] as number
    for (const side of [0, 1]) {
      const wanted = grid.isFixed(r, i) ? 0 : (1 - 2 * side) * grid.step(r, i)
      const d = wanted === 0 ? 0 : grid.nearest(r, i, was + wanted) - was
      steps[2 * i + side] = d
      costs[2 * i + side] =
        d === 0 ? Number.POSITIVE_INFINITY : d * (2 * (g[i] as number) + d * (h[i * k + i] as number))
    }
  }
  for (let i = 0; i < k; i++) look(i)
  let moved = false
  for (let a = 0; a < 2 * k; a++) {
    const b = partner(a, k, h, steps, costs)
    if (b < 0) continue
    moved = true
    for (const at of [a, b]) {
      const i = at >> 1
      const d = steps[at] as number
      v[r * k + i] = (v[r * k + i] as number) + d
      addScaled(g, 0, h, i * k, k, d)
    }
    for (let i = 0; i < k; i++) look(i)
  }
  return moved
}

/** The step that lowers the error most together with step `a`; −1 where none lowers it. */
function partner(a: number, k: number, h: Float64Array, steps: Float64Array, costs: Float64Array): number {
  const [i, d, cost] = [a >> 1, steps[a] as number, costs[a] as number]
  if (d === 0) return -1
  let [best, least] = [-1, -1e-9 * cost]
  for (let j = i + 1, at = i * k + i + 1; j < k; j++, at++) {
    const cross = 2 * d * (h[at] as number)
    for (let b = 2 * j; b < 2 * j + 2; b++) {
      const e = cost + (costs[b] as number) + cross * (steps[b] as number)
      if (e < least) {
        least = e
        best = b
      }
    }
  }
  return best
}

/**
 * Sums that fit a scale: cᵀg and cᵀHc over the elements of a row that share it, with c = v / s. `isIn`: does column k
 * belong?
 */
export function scaleSums(
  rows: Rows,
  v: Float64Array,
  r: number,
  s: number,
  isIn: (k: number) => boolean
): { readonly slope: number; readonly curve: number } {
  const { k, h } = rows
  const g = gradient(rows, v, r)
  const c = Float64Array.from({ length: k }, (_, i) => (isIn(i) ? (v[r * k + i] as number) / s : 0))
  let [slope, curve] = [0, 0]
  const hc = new Float64Array(k)
  for (let i = 0; i < k; i++) addScaled(hc, 0, h, i * k, k, c[i] as number)
  for (let i = 0; i < k; i++) {
    slope += (c[i] as number) * (g[i] as number)
    curve += (c[i] as number) * (hc[i] as number)
  }
  return { slope, curve }
}
