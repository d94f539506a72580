/**
 * Ways of splitting a linear layer y = Wx, W [O × K], K = inputs × kernel positions, into layers with few channels between,
 * so that E‖Wx − W'x‖² is small over samples, with H = E[xxᵀ]; without samples H = 1, and the error is that of the weights.
 *
 * - svd: W' = UᵀU·W, the rows of U being the r largest eigenvectors of W·H·Wᵀ. They are the left singular vectors of W·L,
 *   H = LLᵀ, so that this is the best W' of rank r (SVD-LLM, Wang et al., 2024, without its inverse of L). A convolution
 *   becomes one with its kernel and r channels, and one of kernel 1.
 * - spatial: a kernel a × b becomes a × 1 with r channels, then 1 × b (Jaderberg et al., 2014). The first is found as svd
 *   finds it for the matrix of rows (output, b) and columns (input, a), under the moments of columns averaged over b; the
 *   second answers the data best, given the first: a least-squares fit over all of H.
 * - tucker: kernel 1 to r₁ channels, the kernel from r₁ to r₂, kernel 1 back (Kim et al., 2016). The first is found as in
 *   spatial, of rows (output, position) and columns (input); the rest is the best of rank r₂ given the first (reduced-rank
 *   regression). With r₂ = O there is no third layer.
 *
 * Groups are split alike, each by itself. Ranks count the channels of one group.
 */
import type { Rng } from '../../base/random.ts'
import { eigen, rootOf, type Spectrum, symmetricEigen } from './eigen.ts'
import { firstRows, inner, type Matrix, matrix, type Products, times, transposed } from './matrices.ts'
import type { Part } from './moments.ts'

export const methods = ['svd', 'spatial', 'tucker'] as const
export type Method = (typeof methods)[number]

/** Matrices [outputs × inputs·kernel] of the layers that take a layer's place, in order; and what they make together. */
export interface Factors {
  readonly layers: readonly Matrix[]
  readonly whole: Matrix
}

/** What one method can do with a group of a layer. */
export interface Family {
  /** E‖Wx‖². */
  readonly total: number
  /** Of that, what is left of ranks. */
  explained(ranks: readonly number[]): number
  factors(ranks: readonly number[]): Factors
}

/** What the methods compute with. */
export interface Tools {
  readonly products: Products
  readonly rng: Rng
}

/** The family of a method for one group. `kernel`: of two axes for spatial. `most`: the largest rank asked of its first layer. */
export function familyOf(
  method: Method,
  part: Part,
  kernel: readonly number[],
  most: number,
  tools: Tools
): Promise<Family> {
  if (method === 'svd') return svd(part, most, tools)
  return method === 'spatial' ? spatial(part, kernel, most, tools) : tucker(part, kernel, most, tools)
}

// ---------------------------------------------------------------- svd

async function svd({ w, h }: Part, most: number, tools: Tools): Promise<Family> {
  const { u, spectrum } = await leftVectors({ w, h }, most, tools)
  return {
    total: spectrum.total,
    explained: ([r = 0]) => sum(spectrum.values, r),
    factors: ([r = 0]) => factorsBy(u, w, r)
  }
}

function factorsBy(u: Matrix, w: Matrix, r: number): Factors {
  const few = firstRows(u, Math.min(r, u.rows))
  const [first, last] = [times(few, w), transposed(few)]
  return { layers: [first, last], whole: times(last, first) }
}

/** The two layers of svd, of a matrix that is small enough to be split without the engine. */
export function svdFactors({ w, h }: Part, r: number): Factors {
  if (w.rows <= w.columns) return factorsBy(symmetricEigen(times(h ? times(w, h) : w, transposed(w))).vectors, w, r)
  const wl = h ? times(w, rootOf(h)) : w
  const spectrum = symmetricEigen(times(transposed(wl), wl))
  const u = times(firstRows(spectrum.vectors, solidOf(spectrum)), transposed(wl))
  dividedByRoots(u, spectrum.values)
  return factorsBy(u, w, r)
}

/** Left singular vectors of W·L as rows, the largest first, and the squares of its singular values. */
async function leftVectors({ w, h }: Part, most: number, tools: Tools): Promise<{ u: Matrix; spectrum: Spectrum }> {
  const { products, rng } = tools
  if (w.rows <= w.columns) {
    const wh = h ? await products.times(w, h) : w
    const spectrum = await eigen(await products.times(wh, transposed(w)), most, products, rng)
    return { u: spectrum.vectors, spectrum }
  }
  const wl = h ? await products.times(w, rootOf(h)) : w
  const spectrum = await eigen(await products.times(transposed(wl), wl), most, products, rng)
  const solid = solidOf(spectrum)
  const u = await products.times(firstRows(spectrum.vectors, solid), transposed(wl))
  return { u: dividedByRoots(u, spectrum.values), spectrum }
}

// ---------------------------------------------------------------- kernels in two or three steps

async function spatial(part: Part, [, b = 1]: readonly number[], most: number, tools: Tools): Promise<Family> {
  const k = part.w.columns
  const layout: Layout = { columns: k / b, rest: b, at: (c, j) => c * b + j }
  const v = await rowSpace(part, layout, most, tools)
  const fit = await fitted(part, spread(v, layout, k), tools)
  return {
    total: fit.total,
    explained: ([r = 0]) => fit.explained(Math.min(r, v.rows) * b),
    factors: ([r = 0]) => {
      const n = Math.min(r, v.rows)
      const last = fit.solution(n * b)
      return { layers: [firstRows(v, n), last], whole: times(last, firstRows(fit.basis, n * b)) }
    }
  }
}

async function tucker(part: Part, kernel: readonly number[], most: number, tools: Tools): Promise<Family> {
  const positions = kernel.reduce((x, y) => x * y, 1)
  const { rows: outputs, columns: k } = part.w
  const layout: Layout = { columns: k / positions, rest: positions, at: (c, j) => c * positions + j }
  const p = await rowSpace(part, layout, most, tools)
  const fit = await fitted(part, spread(p, layout, k), tools)
  const spectra = new Map<number, Spectrum>()
  const spectrumOf = (r: number): Spectrum => {
    const known = spectra.get(r)
    if (known) return known
    const c = fit.whitened(r * positions)
    const made = symmetricEigen(times(transposed(c), c))
    spectra.set(r, made)
    return made
  }
  return {
    total: fit.total,
    explained: ([r = 0, s = outputs]) => {
      const n = Math.min(r, p.rows)
      return s >= outputs ? fit.explained(n * positions) : sum(spectrumOf(n).values, s)
    },
    factors: ([r = 0, s = outputs]) => {
      const n = Math.min(r, p.rows)
      const all = fit.solution(n * positions)
      const basis = firstRows(fit.basis, n * positions)
      if (s >= outputs) return { layers: [firstRows(p, n), all], whole: times(all, basis) }
      const u = firstRows(spectrumOf(n).vectors, s)
      const core = times(u, all)
      const last = transposed(u)
      return { layers: [firstRows(p, n), core, last], whole: times(last, times(core, basis)) }
    }
  }
}

/** How columns of W are dealt out: column c of `columns` at the j-th of the `rest` is column `at(c, j)` of W. */
interface Layout {
  readonly columns: number
  readonly rest: number
  at(column: number, j: number): number
}

/** Rows that span the columns of a layout best: of W's matrix with rows (output, j), under moments averaged over j. */
async function rowSpace({ w, h }: Part, layout: Layout, most: number, { products, rng }: Tools): Promise<Matrix> {
  const { columns: n, rest, at } = layout
  const m = matrix(w.rows * rest, n)
  for (let o = 0; o < w.rows; o++)
    for (let j = 0; j < rest; j++)
      for (let c = 0; c < n; c++) m.data[(o * rest + j) * n + c] = w.data[o * w.columns + at(c, j)] as number
  const inner = await products.times(transposed(m), m)
  if (!h) return (await eigen(inner, most, products, rng)).vectors
  const mean = matrix(n, n)
  for (let j = 0; j < rest; j++)
    for (let c = 0; c < n; c++)
      for (let d = 0; d < n; d++)
        mean.data[c * n + d] =
          (mean.data[c * n + d] as number) + (h.data[at(c, j) * h.rows + at(d, j)] as number) / rest
  const l = transposed(rootOf(mean))
  const li = await products.times(l, inner)
  const spectrum = await eigen(await products.times(li, transposed(l)), most, products, rng)
  const rows = await products.times(firstRows(spectrum.vectors, solidOf(spectrum)), li)
  return dividedByRoots(rows, spectrum.values)
}

/** Every row of `v` at each of the rest: [rows·rest × K]. */
function spread(v: Matrix, { columns, rest, at }: Layout, k: number): Matrix {
  const out = matrix(v.rows * rest, k)
  for (let r = 0; r < v.rows; r++)
    for (let j = 0; j < rest; j++)
      for (let c = 0; c < columns; c++) out.data[(r * rest + j) * k + at(c, j)] = v.data[r * columns + c] as number
  return out
}

/** The least-squares fits of W by the first n rows of B, for every n: W ≈ Uₙ·Bₙ. */
interface Fit {
  readonly basis: Matrix
  readonly total: number
  explained(n: number): number
  /** Cₙ [n × O] with CᵀC = the moments of the fit's outputs. */
  whitened(n: number): Matrix
  /** Uₙ [O × n]. */
  solution(n: number): Matrix
}

/** With S = B·H·Bᵀ = RRᵀ and C = R⁻¹·B·H·Wᵀ: Uₙ = (Rₙ⁻ᵀCₙ)ᵀ, and each row of C explains its square. */
async function fitted({ w, h }: Part, basis: Matrix, { products }: Tools): Promise<Fit> {
  const bh = h ? await products.times(basis, h) : basis
  const r = rootOf(await products.times(bh, transposed(basis)))
  const c = await products.times(bh, transposed(w))
  solveLower(r, c)
  const o = w.rows
  const squares = Float64Array.from({ length: c.rows }, (_, i) => {
    const row = matrix(1, o, c.data.subarray(i * o, (i + 1) * o))
    return inner(row, row)
  })
  return {
    basis,
    total: inner(h ? await products.times(w, h) : w, w),
    explained: (n) => sum(squares, n),
    whitened: (n) => firstRows(c, n),
    solution: (n) => {
      const u = matrix(n, o, c.data.slice(0, n * o))
      solveUpper(r, u)
      return transposed(u)
    }
  }
}

// ---------------------------------------------------------------- triangles and sums

/** x ← L⁻¹x. */
function solveLower({ columns: n, data: l }: Matrix, { rows, columns, data: x }: Matrix): void {
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < i; k++) subtractRow(x, columns, i, k, l[i * n + k] as number)
    divideRow(x, columns, i, l[i * n + i] as number)
  }
}

/** x ← L⁻ᵀx, of the leading part of L that is as large as x is high. */
function solveUpper({ columns: n, data: l }: Matrix, { rows, columns, data: x }: Matrix): void {
  for (let i = rows - 1; i >= 0; i--) {
    divideRow(x, columns, i, l[i * n + i] as number)
    for (let k = 0; k < i; k++) subtractRow(x, columns, k, i, l[i * n + k] as number)
  }
}

function subtractRow(x: Float64Array, n: number, to: number, from: number, factor: number): void {
  if (factor === 0) return
  for (let j = 0; j < n; j++) x[to * n + j] = (x[to * n + j] as number) - factor * (x[from * n + j] as number)
}

function divideRow(x: Float64Array, n: number, row: number, by: number): void {
  for (let j = row * n; j < (row + 1) * n; j++) x[j] = (x[j] as number) / by
}

/** The first n, none of them below 0 but for rounding. */
function sum(values: Float64Array, n: number): number {
  let out = 0
  for (let i = 0; i < Math.min(n, values.length); i++) out += Math.max(0, values[i] as number)
  return out
}

/** How many eigenvalues stand out of rounding. */
const solidOf = ({ values }: Spectrum): number => {
  const least = 1e-12 * (values[0] as number)
  const n = values.findIndex((x) => !(x > least))
  return n < 0 ? values.length : n
}

function dividedByRoots(rows: Matrix, squares: Float64Array): Matrix {
  for (let i = 0; i < rows.rows; i++) divideRow(rows.data, rows.columns, i, Math.sqrt(squares[i] as number))
  return rows
}
