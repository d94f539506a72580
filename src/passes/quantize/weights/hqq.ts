/**
 * Half-quadratic quantization: the scale and zero point of least Σ |w − ŵ|^p, p = 0.75, which lets a few large weights be
 * wrong so that the many are right. By turns e = shrink(w − ŵ), shrink(x) = sign(x)·max(0, |x| − |x|^(p−1)/β), then
 * z = mean(q − (w − e)/s) where there is a zero point, and s = Σ (w − e)(q − z) / Σ (q − z)²; β = 10·1.01^t in units of
 * the scale, until it gets worse. Needs no data. (Badri & Shaji, Half-Quadratic Quantization of Large Machine Learning
 * Models, 2023, has p = 0.7, a fixed scale and zero points that are not whole.)
 */
import { type Codes, type Fit, leastSquares, stored } from '../common/fit.ts'

const turns = 20

/** Scale (and zero point) of least sum of |error|^0.75 near those of least squares. */
export const hqq: Fit = (values, codes, dtype, into, c) => {
  leastSquares(values, codes, dtype, into, c)
  let [s, z] = [into.scales[c] as number, into.zeros[c] as number]
  let lowest = robustError(values, codes, s, z)
  for (let t = 0, beta = 10; t < turns; t++, beta *= 1.01) {
    const next = turn(values, codes, s, z, beta)
    s = stored(next.s, dtype)
    z = next.z
    const whole = codes.hasZero ? Math.min(codes.high, Math.max(codes.low, Math.round(z))) : 0
    const error = robustError(values, codes, s, whole)
    if (error >= lowest) return
    lowest = error
    into.scales[c] = s
    into.zeros[c] = whole
  }
}

function turn(
  values: Float32Array,
  { low, high, hasZero }: Codes,
  s: number,
  z: number,
  beta: number
): { s: number; z: number } {
  let [up, down, sum] = [0, 0, 0]
  for (let i = 0; i < values.length; i++) {
    const x = (values[i] as number) / s
    const q = Math.min(high, Math.max(low, Math.round(x + z)))
    const r = x - (q - z)
    const a = Math.abs(r)
    const kept = a === 0 ? 0 : Math.max(0, a - 1 / (beta * Math.sqrt(Math.sqrt(a))))
    const wanted = x - (r < 0 ? -kept : kept)
    sum += q - wanted
    up += wanted * (q - z)
    down += (q - z) ** 2
  }
  return { s: down > 0 && up > 0 ? (s * up) / down : s, z: hasZero ? sum / values.length : 0 }
}

function robustError(values: Float32Array, { low, high }: Codes, s: number, z: number): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) {
    const x = values[i] as number
    const root = Math.sqrt(Math.abs(x - (Math.min(high, Math.max(low, Math.round(x / s) + z)) - z) * s))
    sum += root * Math.sqrt(root)
  }
  return sum
}
