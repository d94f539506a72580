/**
 * Rounding whose errors cancel in sums. The error of an output is Σ e_k x_k. Where the inputs x_k have a common level, as
 * neighbouring pixels under a kernel or channels behind a Relu do, its square grows with (Σ e_k)², which rounding to
 * nearest leaves to chance. So some codes are moved to the other neighbour of their value: as many as Σ e_k has whole
 * steps, and first those whose own error grows least. This is done for every kernel, then over all kernels of an output,
 * with at most one code of each kernel. Every sum ends within half a step where enough codes can move; no code moves by
 * more than one. Needs no data: it is the optimum for second moments
 * E[x xᵀ] ∝ I + c·11ᵀ per kernel and output. (Guo et al., SQuant: On-the-Fly Data-Free Quantization via Diagonal Hessian
 * Approximation, 2022.)
 */

/** A cell of a tensor as it is rounded: `codes` and `exact` (values in steps, zero point added) by position in the cell. */
export interface RoundedCell {
  readonly codes: Int16Array
  readonly exact: Float64Array
  readonly low: number
  readonly high: number
}

/** Balances a cell in place. `kernel`: elements one after the other that see the same input channel. */
export function balance(cell: RoundedCell, kernel: number): void {
  const { codes } = cell
  const moved = new Uint8Array(codes.length)
  const sums = new Float64Array(Math.ceil(codes.length / kernel))
  for (let k = 0; k < sums.length; k++) {
    const [from, to] = [k * kernel, Math.min(codes.length, (k + 1) * kernel)]
    sums[k] = sumOf(cell, from, to)
    while (Math.abs(sums[k] as number) > 0.5 && move(cell, moved, from, to, sums, k));
  }
  let total = sums.reduce((a, b) => a + b, 0)
  while (Math.abs(total) > 0.5) {
    const direction = Math.sign(total)
    const k = largest(sums, direction)
    if (k < 0 || !move(cell, moved, k * kernel, Math.min(codes.length, (k + 1) * kernel), sums, k)) return
    total -= direction
  }
}

function sumOf({ codes, exact }: RoundedCell, from: number, to: number): number {
  let sum = 0
  for (let i = from; i < to; i++) sum += (codes[i] as number) - (exact[i] as number)
  return sum
}

/** The kernel whose sum lies furthest to a side; −1 where none lies there. */
function largest(sums: Float64Array, direction: number): number {
  let [best, most] = [-1, 0]
  for (let k = 0; k < sums.length; k++) {
    const x = direction * (sums[k] as number)
    if (x > most) {
      most = x
      best = k
    }
  }
  return best
}

/** Moves the code that loses least by a step against the sum of its kernel; false where none can. */
function move(
  { codes, exact, low, high }: RoundedCell,
  moved: Uint8Array,
  from: number,
  to: number,
  sums: Float64Array,
  k: number
): boolean {
  const direction = Math.sign(sums[k] as number)
  let [best, most] = [-1, 0]
  for (let i = from; i < to; i++) {
    const code = codes[i] as number
    const e = direction * (code - (exact[i] as number))
    if (e <= most || moved[i] === 1 || (direction > 0 ? code <= low : code >= high)) continue
    most = e
    best = i
  }
  if (best < 0) return false
  moved[best] = 1
  codes[best] = (codes[best] as number) - direction
  sums[k] = (sums[k] as number) - direction
  return true
}
