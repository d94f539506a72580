/**
 * Eigenvalues and eigenvectors of symmetric matrices.
 *
 * Small ones whole: Householder reflections to a tridiagonal matrix, then QL steps with implicit shifts (Golub and Van Loan,
 * Matrix Computations, 8.3); vectors are rows, so that all inner loops run along memory. 512 × 512 takes about a second.
 * Of large ones the largest, by a random subspace (Halko, Martinsson and Tropp, 2011, algorithms 4.4 and 5.3): Q starts as
 * random columns, Q ← orthonormal(A·Q) a few times, then the small matrix QᵀAQ is taken whole. Its products are the engine's.
 */
import { greatest } from '../../base/extremes.ts'
import type { Rng } from '../../base/random.ts'
import { cholesky } from '../quantize/weights/gptq.ts'
import { firstRows, type Matrix, matrix, type Products, transposed } from './matrices.ts'

/** `values` fall; row i of `vectors` belongs to value i. `total`: the sum of all eigenvalues, also of those left out. */
export interface Spectrum {
  readonly values: Float64Array
  readonly vectors: Matrix
  readonly total: number
}

/** Matrices up to this size are taken whole. */
const wholeUpTo = 512
/** A subspace of a larger share costs more than the whole. */
const mostWanted = 0.6
/** Rounds of the subspace; each multiplies the error by (λ_beyond / λ_wanted)². */
const rounds = 4
const oversampling = 16

/** At least the `most` largest eigenvalues of a symmetric matrix, with their vectors. */
export async function eigen(a: Matrix, most: number, { times }: Products, rng: Rng): Promise<Spectrum> {
  const n = a.rows
  const wanted = Math.min(n, most + oversampling)
  if (n <= wholeUpTo || wanted > mostWanted * n) return symmetricEigen(a)
  let q = matrix(wanted, n)
  for (let i = 0; i < q.data.length; i++) q.data[i] = rng.normal()
  const orthonormal = async (rows: Matrix): Promise<Matrix> => {
    let now = rows
    // Once more: after one Cholesky step the rows are orthogonal to half of the digits only.
    for (let i = 0; i < 2; i++) now = await times(inverseOfRoot(await times(now, transposed(now))), now)
    return now
  }
  for (let i = 0; i < rounds; i++) q = await orthonormal(await times(await orthonormal(q), a))
  const small = symmetricEigen(await times(await times(q, a), transposed(q)))
  return {
    values: small.values.subarray(0, Math.min(most, wanted)),
    vectors: firstRows(await times(small.vectors, q), Math.min(most, wanted)),
    total: trace(a)
  }
}

function trace({ rows, data }: Matrix): number {
  let sum = 0
  for (let i = 0; i < rows; i++) sum += data[i * rows + i] as number
  return sum
}

/** L⁻¹ with LLᵀ = a; rows that hardly stand out of the others are damped. */
function inverseOfRoot({ rows: n, data }: Matrix): Matrix {
  const l = rootOf(matrix(n, n, data.slice()))
  const out = matrix(n, n)
  for (let i = 0; i < n; i++) {
    out.data[i * n + i] = 1
    for (let k = 0; k < i; k++) {
      const x = l.data[i * n + k] as number
      if (x !== 0)
        for (let j = 0; j <= k; j++)
          out.data[i * n + j] = (out.data[i * n + j] as number) - x * (out.data[k * n + j] as number)
    }
    const d = l.data[i * n + i] as number
    for (let j = 0; j <= i; j++) out.data[i * n + j] = (out.data[i * n + j] as number) / d
  }
  return out
}

/** L with LLᵀ = a + δ, in place of the lower half of `a`, and 0 above; δ is as small as makes it possible. */
export function rootOf(a: Matrix): Matrix {
  const n = a.rows
  const scale = greatest(
    Array.from({ length: n }, (_, i) => a.data[i * n + i] as number),
    Number.MIN_VALUE
  )
  for (let damp = 1e-13; ; damp *= 100) {
    const l = a.data.slice()
    for (let i = 0; i < n; i++) l[i * n + i] = (l[i * n + i] as number) + damp * scale
    if (!cholesky(l, n) && damp < 1) continue
    for (let i = 0; i < n; i++) l.fill(0, i * n + i + 1, (i + 1) * n)
    return matrix(n, n, l)
  }
}

/** All eigenvalues and eigenvectors of a symmetric matrix; only its lower half is read. */
export function symmetricEigen(a: Matrix): Spectrum {
  const n = a.rows
  const { work, diagonal, off, gains } = tridiagonal(a)
  const z = turned(n, diagonalized(diagonal, off))
  const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => (diagonal[j] as number) - (diagonal[i] as number))
  const vectors = matrix(n, n)
  for (const [to, from] of order.entries()) vectors.data.set(z.data.subarray(from * n, (from + 1) * n), to * n)
  reflected(vectors, work, gains)
  const values = Float64Array.from(order, (i) => diagonal[i] as number)
  return { values, vectors, total: values.reduce((s, x) => s + x, 0) }
}

/** Row i of `work` holds the reflection u (of its first i elements) that made row i tridiagonal; H = 1 − gain·uuᵀ. */
function tridiagonal(a: Matrix): {
  work: Float64Array
  diagonal: Float64Array
  off: Float64Array
  gains: Float64Array
} {
  const n = a.rows
  const work = a.data.slice()
  const [diagonal, off, gains] = [new Float64Array(n), new Float64Array(n), new Float64Array(n)]
  const p = new Float64Array(n)
  for (let i = n - 1; i > 0; i--) {
    const row = i * n
    diagonal[i] = work[row + i] as number
    let norm = 0
    for (let k = 0; k < i; k++) norm += (work[row + k] as number) ** 2
    norm = Math.sqrt(norm)
    if (norm === 0) continue
    const last = work[row + i - 1] as number
    const alpha = last > 0 ? -norm : norm
    off[i] = alpha
    work[row + i - 1] = last - alpha
    const gain = 1 / (norm * norm - alpha * last)
    gains[i] = gain
    timesLower(work, n, row, i, p)
    let pu = 0
    for (let k = 0; k < i; k++) {
      p[k] = gain * (p[k] as number)
      pu += (p[k] as number) * (work[row + k] as number)
    }
    const half = (gain * pu) / 2
    for (let k = 0; k < i; k++) p[k] = (p[k] as number) - half * (work[row + k] as number)
    for (let j = 0; j < i; j++) {
      const [at, u, q] = [j * n, work[row + j] as number, p[j] as number]
      for (let k = 0; k <= j; k++)
        work[at + k] = (work[at + k] as number) - u * (p[k] as number) - q * (work[row + k] as number)
    }
  }
  diagonal[0] = work[0] as number
  return { work, diagonal, off, gains }
}

/** p = A·u of the leading i × i part, whose lower half is there; u stands at `row`. */
function timesLower(a: Float64Array, n: number, row: number, i: number, p: Float64Array): void {
  p.fill(0, 0, i)
  for (let j = 0; j < i; j++) {
    const [at, u] = [j * n, a[row + j] as number]
    let sum = 0
    for (let k = 0; k < j; k++) {
      const x = a[at + k] as number
      sum += x * (a[row + k] as number)
      p[k] = (p[k] as number) + x * u
    }
    p[j] = (p[j] as number) + sum + (a[at + j] as number) * u
  }
}

/** Turns of a row and the one behind it, in order: (x, y) → (c·x − s·y, s·x + c·y). */
interface Turns {
  readonly rows: readonly number[]
  readonly cosines: readonly number[]
  readonly sines: readonly number[]
}

/** QL steps with implicit shifts: `d` becomes the eigenvalues of a tridiagonal matrix; given are the turns of its rows. */
function diagonalized(d: Float64Array, off: Float64Array): Turns {
  const n = d.length
  const turns = { rows: [] as number[], cosines: [] as number[], sines: [] as number[] }
  const e = new Float64Array(n)
  e.set(off.subarray(1))
  for (let l = 0; l < n; l++)
    for (let step = 0; step < mostSteps; step++) {
      let m = l
      for (; m < n - 1; m++) {
        const size = Math.abs(d[m] as number) + Math.abs(d[m + 1] as number)
        if (Math.abs(e[m] as number) <= Number.EPSILON * size) break
      }
      if (m === l) break
      sweep(d, e, l, m, turns)
    }
  return turns
}

/** Steps for one eigenvalue, at most; two or three are usual. */
const mostSteps = 60

/** One QL step between rows l and m. */
function sweep(
  d: Float64Array,
  e: Float64Array,
  l: number,
  m: number,
  turns: { rows: number[]; cosines: number[]; sines: number[] }
): void {
  let g = ((d[l + 1] as number) - (d[l] as number)) / (2 * (e[l] as number))
  let r = Math.hypot(g, 1)
  g = (d[m] as number) - (d[l] as number) + (e[l] as number) / (g + (g < 0 ? -r : r))
  let [s, c, p] = [1, 1, 0]
  for (let i = m - 1; i >= l; i--) {
    const [f, b] = [s * (e[i] as number), c * (e[i] as number)]
    r = Math.hypot(f, g)
    e[i + 1] = r
    if (r === 0) {
      d[i + 1] = (d[i + 1] as number) - p
      e[m] = 0
      return
    }
    s = f / r
    c = g / r
    g = (d[i + 1] as number) - p
    r = ((d[i] as number) - g) * s + 2 * c * b
    p = s * r
    d[i + 1] = g + p
    g = c * r - b
    turns.rows.push(i)
    turns.cosines.push(c)
    turns.sines.push(s)
  }
  d[l] = (d[l] as number) - p
  e[l] = g
  e[m] = 0
}

/** Columns and rows that are worked on together: they stay in the processor's cache. */
const [strip, band] = [32, 16]

/** The identity, its rows turned; strip by strip of columns. */
function turned(n: number, { rows, cosines, sines }: Turns): Matrix {
  const out = matrix(n, n)
  const part = new Float64Array(n * strip)
  for (let from = 0; from < n; from += strip) {
    const width = Math.min(strip, n - from)
    part.fill(0)
    for (let j = 0; j < width; j++) part[(from + j) * strip + j] = 1
    for (let t = 0; t < rows.length; t++) {
      const at = (rows[t] as number) * strip
      const c = cosines[t] as number
      const s = sines[t] as number
      for (let k = at; k < at + strip; k++) {
        const x = part[k] as number
        const y = part[k + strip] as number
        part[k + strip] = s * x + c * y
        part[k] = c * x - s * y
      }
    }
    for (let i = 0; i < n; i++) out.data.set(part.subarray(i * strip, i * strip + width), i * n + from)
  }
  return out
}

/** Rows of the tridiagonal matrix's eigenvectors become those of the matrix: all reflections, in the order of rows. */
function reflected({ rows: n, data: z }: Matrix, work: Float64Array, gains: Float64Array): void {
  for (let from = 0; from < n; from += band)
    for (let i = 1; i < n; i++) {
      const gain = gains[i] as number
      if (gain === 0) continue
      const row = i * n
      for (let r = from; r < Math.min(n, from + band); r++) {
        const at = r * n
        let sum = 0
        for (let k = 0; k < i; k++) sum += (z[at + k] as number) * (work[row + k] as number)
        sum *= gain
        for (let k = 0; k < i; k++) z[at + k] = (z[at + k] as number) - sum * (work[row + k] as number)
      }
    }
}
