/**
 * Shamir's sharing of a secret, byte by byte over GF(2⁸) with x⁸ + x⁴ + x³ + x + 1. A share of a secret byte s is p(x), where
 * p is a random polynomial of degree t − 1 with p(0) = s; any t shares give s by Lagrange's formula, and fewer tell nothing.
 */
import { PareError } from '../../base/errors.ts'

/** A share: the point x, 1 … 255, and a byte for every byte of the secret. */
export interface Share {
  readonly x: number
  readonly bytes: Uint8Array
}

/** Powers of the generator 3, twice around, and their logarithms. */
const exp = new Uint8Array(510)
const log = new Uint8Array(256)
for (let i = 0, x = 1; i < 255; i++) {
  exp[i] = x
  exp[i + 255] = x
  log[x] = i
  x ^= (x << 1) ^ (x & 0x80 ? 0x11b : 0)
}

const byte = (a: Uint8Array, i: number): number => a[i] as number
const product = (a: number, b: number): number => (a === 0 || b === 0 ? 0 : byte(exp, byte(log, a) + byte(log, b)))
const quotient = (a: number, b: number): number => (a === 0 ? 0 : byte(exp, byte(log, a) + 255 - byte(log, b)))

/** Shares at the points 1 … `count`, of which `threshold` give the secret. `random`: bytes that cannot be guessed. */
export function splitSecret(
  secret: Uint8Array,
  threshold: number,
  count: number,
  random: (count: number) => Uint8Array
): Share[] {
  if (!(threshold >= 1 && threshold <= count && count <= 255))
    throw new PareError('E_OPTION', `${threshold} of ${count} shares: at most 255 can be made, and no more asked for`)
  const coefficients = random(secret.length * (threshold - 1))
  const shares = Array.from({ length: count }, (_, i) => ({ x: i + 1, bytes: new Uint8Array(secret.length) }))
  for (const { x, bytes } of shares)
    for (let i = 0; i < secret.length; i++) {
      let value = 0
      for (let k = threshold - 2; k >= 0; k--) value = product(value ^ byte(coefficients, i * (threshold - 1) + k), x)
      bytes[i] = value ^ byte(secret, i)
    }
  coefficients.fill(0)
  return shares
}

/** The secret of shares at different points, as many as its threshold. Throws `E_MESSAGE` where points are equal or 0. */
export function joinShares(shares: readonly Share[]): Uint8Array {
  const points = new Set(shares.map((s) => s.x))
  if (shares.length === 0 || points.size !== shares.length || points.has(0))
    throw new PareError('E_MESSAGE', 'shares of a secret are at points that are not different')
  const out = new Uint8Array((shares[0] as Share).bytes.length)
  for (const { x, bytes } of shares) {
    let weight = 1
    for (const other of points) if (other !== x) weight = product(weight, quotient(other, other ^ x))
    for (let i = 0; i < out.length; i++) out[i] = byte(out, i) ^ product(weight, byte(bytes, i))
  }
  return out
}
