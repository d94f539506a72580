/**
 * The mean update with noise, of clients whose updates are bounded (DP-FedAvg, McMahan 2018, arXiv 1710.06963).
 *
 *   x̂_k = trunc(x_k min(1, S / ‖x_k‖) G / S), whole numbers with ‖x̂_k‖ ≤ G exactly
 *   mean = (Σ x̂_k + n) S / (G m),  n_i from the discrete Gaussian with σ² = ⌈(z G)²⌉,  m = q N, the same in every round
 *
 * Truncation never raises a norm, so that one client changes the sum by at most G, whatever floats round to.
 */
import { normOf } from '../robust.ts'
import { discreteGaussian, type RandomWords } from './gaussian.ts'

/** G: the bound of an update's norm in steps of the grid. */
export const gridSteps = 65536

/** A bounded update on the grid. Throws nothing: what is not finite must have been refused. */
export function onGrid(update: Float32Array, bound: number): Float64Array {
  let factor = gridSteps / Math.max(bound, normOf(update))
  for (;;) {
    const whole = Float64Array.from(update, (x) => Math.trunc(x * factor))
    // Squares of whole numbers below 2³²: the sum is exact.
    if (whole.reduce((sum, x) => sum + x * x, 0) <= gridSteps ** 2) return whole
    factor *= 1 - 2 ** -40
  }
}

export interface Mechanism {
  /** S: the bound of an update's norm. */
  readonly bound: number
  /** z: standard deviation of the noise over S. */
  readonly noise: number
  /** m = q N: how many clients are expected in a round. */
  readonly clients: number
}

/** The mean update of sums on the grid, with noise that nothing repeats. */
export function noisyMean(sums: Float64Array, o: Mechanism, words?: RandomWords): Float32Array {
  const draw = discreteGaussian(Math.ceil((o.noise * gridSteps) ** 2), words)
  const step = o.bound / (gridSteps * o.clients)
  return Float32Array.from(sums, (sum) => (sum + draw()) * step)
}
