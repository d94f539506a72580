/** SQNR = 20·log10(‖x‖ / ‖x − y‖) dB over all elements of all samples; x the original's value, y the compressed one's. */
import { toFloats } from '../ir/tensor.ts'
import type { Tensor } from '../types.ts'

/** Ratios beyond 10¹⁰ are no more than float32's rounding; equal values have this SQNR too, since JSON has no infinity. */
export const highestSqnrDb = 200

/** ‖x‖² and ‖x − y‖². */
export interface Sums {
  signal: number
  noise: number
}

/** `undefined` where nothing was compared, or the original is zero throughout and the other is not. */
export function sqnrDb(s: Sums | undefined): number | undefined {
  if (!s || (s.signal === 0 && s.noise !== 0)) return undefined
  if (s.noise === 0) return s.signal === 0 ? undefined : highestSqnrDb
  const db = 10 * Math.log10(s.signal / s.noise)
  return Number.isNaN(db) ? undefined : Math.max(-highestSqnrDb, Math.min(highestSqnrDb, db))
}

/** Adds one tensor of each; nothing where one is missing or they differ in size. */
export function addPair(sums: Sums | undefined, x: Tensor | undefined, y: Tensor | undefined): void {
  if (!sums || !x || !y) return
  const a = toFloats(x)
  const b = toFloats(y)
  if (a.length !== b.length) return
  let [signal, noise] = [0, 0]
  for (let i = 0; i < a.length; i++) {
    const v = a[i] as number
    const d = v - (b[i] as number)
    signal += v * v
    noise += d * d
  }
  sums.signal += signal
  sums.noise += noise
}
