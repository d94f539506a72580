/**
 * Improves rounded rows v of weights t under E = (v − t) H (v − t)ᵀ by coordinate descent, never making it worse. With
 * g = H(v − t): element i goes to the allowed value nearest to v_i − g_i/H_ii; a parameter θ that several elements share
 * (v_i = c_i·θ: a scale, with c = q − z, or an entry of a codebook, with c = 1) moves by −cᵀg / cᵀHc.
 */
import type { Rounder } from './gptq.ts'

/** Elements of a row that share a parameter, with their coefficients. */
export interface Shared {
  readonly columns: Int32Array
  readonly coefficients: Float64Array
  /** Moves the parameter; returns by how much it really moved (it is stored in few bits). */
  move(by: number): number
}

export interface Grid {
  readonly round: Rounder
  /** The parameters of a row that no other row shares, for the codes as they are. */
  shared(row: number): readonly Shared[]
}

/** Turns between shared parameters and elements, and sweeps over the elements in each. */
const turns = 3
const sweeps = 3

/** Polishes `rows` rows from `from` on; `v` and `t` hold these rows only, `h` is k × k. */
export function polish(v: Float64Array, t: Float64Array, k: number, h: Float64Array, grid: Grid): void {
  const g = new Float64Array(k)
  for (let row = 0; row * k < v.length; row++) {
    const at = row * k
    gradient(g, v, t, at, k, h)
    for (let turn = 0; turn < turns; turn++) {
      moveShared(g, v, at, k, h, grid.shared(row))
      let hasMoved = false
      for (let i = 0; i < sweeps && moveCodes(g, v, at, k, h, grid.round, row); i++) hasMoved = true
      if (!hasMoved) break
    }
  }
}

function gradient(g: Float64Array, v: Float64Array, t: Float64Array, at: number, k: number, h: Float64Array): void {
  g.fill(0)
  for (let i = 0; i < k; i++) addColumn(g, h, i, k, (v[at + i] as number) - (t[at + i] as number))
}

/** g += e·H[i, :]. */
function addColumn(g: Float64Array, h: Float64Array, i: number, k: number, e: number): void {
  if (e === 0) return
  const row = i * k
  for (let j = 0; j < k; j++) g[j] = (g[j] as number) + e * (h[row + j] as number)
}

function moveCodes(
  g: Float64Array,
  v: Float64Array,
  at: number,
  k: number,
  h: Float64Array,
  round: Rounder,
  row: number
): boolean {
  let hasMoved = false
  for (let i = 0; i < k; i++) {
    const d = h[i * k + i] as number
    if (!(d > 0)) continue
    const now = v[at + i] as number
    const next = round(row, i, now - (g[i] as number) / d)
    if (next === now) continue
    hasMoved = true
    v[at + i] = next
    addColumn(g, h, i, k, next - now)
  }
  return hasMoved
}

function moveShared(
  g: Float64Array,
  v: Float64Array,
  at: number,
  k: number,
  h: Float64Array,
  all: readonly Shared[]
): void {
  const hc = new Float64Array(k)
  for (const { columns, coefficients, move } of all) {
    hc.fill(0)
    for (let i = 0; i < columns.length; i++) addColumn(hc, h, columns[i] as number, k, coefficients[i] as number)
    let [slope, bend] = [0, 0]
    for (let i = 0; i < columns.length; i++) {
      slope += (coefficients[i] as number) * (g[columns[i] as number] as number)
      bend += (coefficients[i] as number) * (hc[columns[i] as number] as number)
    }
    if (!(bend > 0)) continue
    const by = move(-slope / bend)
    if (by === 0) continue
    for (let i = 0; i < columns.length; i++) {
      const c = at + (columns[i] as number)
      v[c] = (v[c] as number) + by * (coefficients[i] as number)
    }
    for (let j = 0; j < k; j++) g[j] = (g[j] as number) + by * (hc[j] as number)
  }
}
