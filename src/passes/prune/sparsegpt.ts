/**
 * SparseGPT (Frantar and Alistarh, 2023, algorithm 1): weights go column by column, and those behind them make up for what is
 * missing. With H⁻¹ = UᵀU, H = E[xxᵀ] of the layer's inputs and U upper triangular, a weight that goes costs w²/U_jj² once the
 * columns before it are settled. Which go is told for a block of columns at a time, by the weights as they are by then: the same
 * share of every 128 columns over all rows, or N of every M columns of a row.
 */
import { blockColumns, gptqDefaults, inverseRoot, rootOf, roundColumns } from '../quantize/weights/gptq.ts'
import { fewOfMany, lowest, type Pattern, unitsOf } from './masks.ts'

/** Columns in their own order, so that neighbours are neighbours. */
const o = { ...gptqDefaults, actOrder: false }

/** Makes `share` of the weights in `w` zero, rows of `k` under H (k × k, row-major), and changes those that stay. */
export function sparsegpt(w: Float64Array, k: number, h: Float64Array, pattern: Pattern, share: number): void {
  const rows = w.length / k
  const root = rootOf(h, k, o)
  const gone = new Uint8Array(w.length)
  const begin = (from: number, to: number): void => {
    const columns = to - from
    const scores = new Float64Array(rows * columns)
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++) {
        const j = from + c
        scores[r * columns + c] = isDead(h, k, j) ? 0 : ((w[r * k + j] as number) / (root.u[j * k + j] as number)) ** 2
      }
    const matrix = { rows, columns }
    const chosen =
      pattern.kind === 'n:m'
        ? fewOfMany(scores, matrix, pattern.keep, pattern.of)
        : (lowest([{ scores, units: unitsOf(matrix, pattern) }], share)[0] as Uint8Array)
    for (let r = 0; r < rows; r++) gone.set(chosen.subarray(r * columns, (r + 1) * columns), r * k + from)
  }
  const columns = pattern.kind === 'n:m' ? pattern.of : blockColumns
  roundColumns(w, k, root, (r, c, x) => (gone[r * k + c] ? 0 : x), { columns, begin })
}

/** What each weight costs alone, when all others make up for it: w²/[H⁻¹]_jj. Compares layers. */
export function costsAlone(w: Float64Array, k: number, h: Float64Array): Float64Array {
  const order = Int32Array.from({ length: k }, (_, i) => i)
  const u = inverseRoot(h, k, order, o.damp)
  const inverse = new Float64Array(k)
  for (let i = 0; i < k; i++)
    for (let j = i; j < k; j++) inverse[j] = (inverse[j] as number) + (u[i * k + j] as number) ** 2
  return w.map((x, at) => (isDead(h, k, at % k) ? 0 : x ** 2 / (inverse[at % k] as number)))
}

/** Is the input always 0? */
const isDead = (h: Float64Array, k: number, j: number): boolean => h[j * k + j] === 0
