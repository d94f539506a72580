/** Scales of groups of numbers in 16 bits: the upper half of a float32, rounded up so that no number is above its range. */
import { damaged } from './bits.ts'

/** The 16 bits of the least number of their kind that is not below x ≥ 0. */
export function bits16(x: number): number {
  const float = Float32Array.of(x)
  const [word = 0] = new Uint32Array(float.buffer)
  const isCut = (word & 0xffff) > 0 || (float[0] as number) < x
  return (word >>> 16) + (isCut ? 1 : 0)
}

/** Above it a code times its scale might not be finite. */
const most = 2 ** 100

/** The number again. Throws `E_FORMAT` for one that is negative, not finite or above 2¹⁰⁰. */
export function from16(bits: number): number {
  const [x = 0] = new Float32Array(Uint32Array.of(bits << 16).buffer)
  if (!(x >= 0 && x <= most)) throw damaged('a scale that is no number from 0 to 2^100')
  return x
}
