/**
 * GPTQ: rounds a row w of weights column by column, and lets the columns not yet rounded make up for the error, so that
 * (ŵ − w) H (ŵ − w)ᵀ becomes small. With H⁻¹ = UᵀU, U upper triangular: q = round(w_i), e = (w_i − q)/U_ii, and
 * w_j −= e·U_ij for j > i. (Frantar et al., 2023, algorithm 1, columns in the order of falling H_ii.) H is damped by a
 * share of its mean diagonal. Columns of inputs that were always 0 are rounded to nearest and change no other.
 * U comes without an inverse: H = RRᵀ with R upper (Cholesky from the last row up), U = R⁻¹.
 */
import { PareError } from '../../../base/errors.ts'

/** Rounds element (row, column) of a layer: keeps its code and returns the value it stands for. */
export type Rounder = (row: number, column: number, value: number) => number

export interface GptqOptions {
  /** Added to the diagonal of H, as a share of its mean. */
  readonly damp: number
  /** Columns in the order of falling H_ii instead of their own. */
  readonly actOrder: boolean
}

export const gptqDefaults: GptqOptions = { damp: 0.01, actOrder: true }

/** Columns that are rounded before what they were off by is taken to those behind them. */
export const blockColumns = 128

/**
 * Rounds rows of `k` weights under H (k × k, row-major). `w` holds the rows, afterwards rounded; returned is what was
 * rounded: w itself, or with `shift` (k × k) = E[(x − x̂)x̂ᵀ], where the inputs have moved from x to x̂ and H is theirs,
 * w + w·shift·H⁻¹, which answers x̂ as w answered x.
 */
export function gptq(
  w: Float64Array,
  k: number,
  h: Float64Array,
  round: Rounder,
  o: GptqOptions = gptqDefaults,
  shift?: Float64Array,
  { order, u } = rootOf(h, k, o)
): Float64Array {
  const rows = w.length / k
  const turned = new Float64Array(w.length)
  for (let r = 0; r < rows; r++)
    for (let i = 0; i < k; i++) turned[r * k + i] = w[r * k + (order[i] as number)] as number
  if (shift) compensate(turned, k, shift, u, order)
  const wanted = new Float64Array(w.length)
  const back = (to: Float64Array): void => {
    for (let r = 0; r < rows; r++)
      for (let i = 0; i < k; i++) to[r * k + (order[i] as number)] = turned[r * k + i] as number
  }
  back(wanted)
  roundColumns(turned, k, { order, u }, round)
  back(w)
  return wanted
}

/** U and the order of its columns: all that is taken of H. */
export interface Root {
  readonly order: Int32Array
  readonly u: Float64Array
}

/** What `gptq` takes of H; the same for all weights under it. */
export function rootOf(h: Float64Array, k: number, o: GptqOptions = gptqDefaults): Root {
  const order = columnOrder(h, k, o.actOrder)
  return { order, u: inverseRoot(h, k, order, o.damp) }
}

function columnOrder(h: Float64Array, k: number, byUse: boolean): Int32Array {
  const order = Int32Array.from({ length: k }, (_, i) => i)
  const use = (i: number): number => h[i * k + i] as number
  return byUse ? order.sort((a, b) => use(b) - use(a) || a - b) : order
}

/** Columns that are worked on together. */
export interface ColumnBlocks {
  readonly columns: number
  /** Called before columns from ≤ j < to are rounded, when `w` has all that the columns before them were off by. */
  readonly begin?: (from: number, to: number) => void
}

/** Rounds the rows in `w`, whose columns are in the order of the root, and lets later columns make up for earlier ones. */
export function roundColumns(
  w: Float64Array,
  k: number,
  { u, order }: Root,
  round: Rounder,
  { columns, begin }: ColumnBlocks = { columns: blockColumns }
): void {
  const rows = w.length / k
  const errors = new Float64Array(columns)
  for (let from = 0; from < k; from += columns) {
    const to = Math.min(k, from + columns)
    begin?.(from, to)
    for (let r = 0; r < rows; r++) {
      const at = r * k
      for (let i = from; i < to; i++) {
        const x = w[at + i] as number
        const q = round(r, order[i] as number, x)
        const e = (x - q) / (u[i * k + i] as number)
        w[at + i] = q
        errors[i - from] = e
        subtract(w, at, u, i * k, i + 1, to, e)
      }
      for (let i = from; i < to; i++) subtract(w, at, u, i * k, to, k, errors[i - from] as number)
    }
  }
}

/** w[at + j] −= e·u[row + j] for from ≤ j < to. */
function subtract(
  w: Float64Array,
  at: number,
  u: Float64Array,
  row: number,
  from: number,
  to: number,
  e: number
): void {
  if (e === 0) return
  for (let j = from; j < to; j++) w[at + j] = (w[at + j] as number) - e * (u[row + j] as number)
}

/** w += w·shift·UᵀU, in the given order of columns. */
function compensate(w: Float64Array, k: number, shift: Float64Array, u: Float64Array, order: Int32Array): void {
  const rows = w.length / k
  const moved = new Float64Array(k)
  const half = new Float64Array(k)
  for (let r = 0; r < rows; r++) {
    const at = r * k
    moved.fill(0)
    for (let i = 0; i < k; i++) {
      const x = w[at + i] as number
      const row = (order[i] as number) * k
      for (let j = 0; j < k; j++) moved[j] = (moved[j] as number) + x * (shift[row + (order[j] as number)] as number)
    }
    for (let i = 0; i < k; i++) {
      let sum = 0
      for (let j = i; j < k; j++) sum += (u[i * k + j] as number) * (moved[j] as number)
      half[i] = sum
    }
    for (let i = 0; i < k; i++) subtract(w, at, u, i * k, i, k, -(half[i] as number))
  }
}

/** U, upper triangular, with UᵀU = (H + damp)⁻¹, columns in the given order. */
export function inverseRoot(h: Float64Array, k: number, order: Int32Array, damp: number): Float64Array {
  let mean = 0
  for (let i = 0; i < k; i++) mean += (h[i * k + i] as number) / k
  const scale = mean > 0 ? mean : 1
  for (let added = damp; added <= 1; added = Math.max(10 * added, 1e-6)) {
    const l = new Float64Array(k * k)
    for (let i = 0; i < k; i++)
      for (let j = 0; j <= i; j++)
        l[i * k + j] = h[(order[k - 1 - i] as number) * k + (order[k - 1 - j] as number)] as number
    for (let i = 0; i < k; i++) l[i * k + i] = (l[i * k + i] || scale) + added * scale
    if (cholesky(l, k)) return flipped(inverted(l, k), k)
  }
  throw new PareError('E_DATA', 'the inputs of a layer have no usable second moments', {
    hint: 'look for constant or broken calibration samples'
  })
}

/** Replaces the lower half of a symmetric matrix by its Cholesky factor; false where it is not positive definite. */
export function cholesky(a: Float64Array, k: number): boolean {
  for (let i = 0; i < k; i++) {
    for (let j = 0; j < i; j++)
      a[i * k + j] = ((a[i * k + j] as number) - dot(a, i * k, j * k, j)) / (a[j * k + j] as number)
    const d = (a[i * k + i] as number) - dot(a, i * k, i * k, i)
    if (!(d > 0)) return false
    a[i * k + i] = Math.sqrt(d)
  }
  return true
}

/** Four sums at once: one would wait for each addition. */
function dot(a: Float64Array, p: number, q: number, n: number): number {
  let [s, t, u, v] = [0, 0, 0, 0]
  let i = 0
  for (; i + 3 < n; i += 4) {
    s += (a[p + i] as number) * (a[q + i] as number)
    t += (a[p + i + 1] as number) * (a[q + i + 1] as number)
    u += (a[p + i + 2] as number) * (a[q + i + 2] as number)
    v += (a[p + i + 3] as number) * (a[q + i + 3] as number)
  }
  for (; i < n; i++) s += (a[p + i] as number) * (a[q + i] as number)
  return s + t + u + v
}

/** Inverse of a lower triangular matrix. */
function inverted(l: Float64Array, k: number): Float64Array {
  const out = new Float64Array(k * k)
  for (let i = 0; i < k; i++) {
    out[i * k + i] = 1
    for (let j = 0; j < i; j++) subtract(out, i * k, out, j * k, 0, j + 1, l[i * k + j] as number)
    const d = l[i * k + i] as number
    for (let j = 0; j <= i; j++) out[i * k + j] = (out[i * k + j] as number) / d
  }
  return out
}

/** Rows and columns in reverse. */
const flipped = (a: Float64Array, _k: number): Float64Array => a.reverse()
