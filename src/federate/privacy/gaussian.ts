/**
 * Noise on whole numbers: the discrete Gaussian, P(x) ∝ exp(−x² / (2 σ²)), drawn exactly from random bits that cannot be
 * guessed (Canonne, Kamath and Steinke 2020, arXiv 2004.00010, algorithms 1 to 3). Samples of floats would have holes that give
 * the true value away. σ² is a whole number.
 *
 * Chances are fractions a / b of whole numbers. A draw of 53 bits decides by the fraction as a float, but for draws within
 * 2⁻⁴⁸ of it: there the fraction is worked out exactly, and more bits are drawn where it takes them.
 */
import { PareError } from '../../base/errors.ts'

/** Random whole numbers of 32 bits that cannot be guessed. */
export type RandomWords = () => number

/** From the platform's own generator, in blocks. */
export function secureWords(): RandomWords {
  const block = new Uint32Array(4096)
  let next = block.length
  return () => {
    if (next === block.length) {
      crypto.getRandomValues(block)
      next = 0
    }
    const word = block[next] as number
    block[next++] = 0
    return word
  }
}

/** A chance: near it as a float, and exactly when asked for. */
interface Chance {
  readonly near: number
  exact(): readonly [numerator: bigint, denominator: bigint]
}

const fraction = (a: number, b: number): Chance => ({ near: a / b, exact: () => [BigInt(a), BigInt(b)] })

const margin = 2 ** -48
const scale = 2 ** 53

/** True with the given chance. */
function bernoulli(words: RandomWords, chance: Chance): boolean {
  const u = (words() >>> 5) * 67108864 + (words() >>> 6)
  const drawn = u / scale
  if (drawn < chance.near - margin) return true
  if (drawn > chance.near + margin) return false
  const [a, b] = chance.exact()
  return bernoulliExact(words, (a << 53n) - BigInt(u) * b, b)
}

/** True where a uniform number of [0, 1), of which more bits are drawn as needed, is below a / b. */
function bernoulliExact(words: RandomWords, a: bigint, b: bigint): boolean {
  for (let rest = a; ; ) {
    if (rest <= 0n) return false
    if (rest >= b) return true
    rest = (rest << 32n) - BigInt(words()) * b
  }
}

/** True with chance exp(−γ), γ in [0, 1]. */
function bernoulliExp(words: RandomWords, gamma: Chance): boolean {
  for (let k = 1; ; k++) {
    const step: Chance = {
      near: gamma.near / k,
      exact: () => {
        const [a, b] = gamma.exact()
        return [a, b * BigInt(k)]
      }
    }
    if (!bernoulli(words, step)) return k % 2 === 1
  }
}

const one = fraction(1, 1)

/** True with chance exp(−γ), γ ≥ 0. */
function bernoulliExpAny(words: RandomWords, gamma: Chance): boolean {
  if (gamma.near <= 0.5) return bernoulliExp(words, gamma)
  const [a, b] = gamma.exact()
  const whole = a / b
  for (let k = 0n; k < whole; k++) if (!bernoulliExp(words, one)) return false
  const rest = a % b
  return bernoulliExp(words, { near: Number((rest << 53n) / b) / scale, exact: () => [rest, b] })
}

/** Uniform in [0, n), n ≤ 2³². */
function below(words: RandomWords, n: number): number {
  const limit = 4294967296 - (4294967296 % n)
  for (;;) {
    const word = words()
    if (word < limit) return word % n
  }
}

/** P(x) ∝ exp(−|x| / t) on whole numbers. */
function discreteLaplace(words: RandomWords, t: number): number {
  for (;;) {
    const u = below(words, t)
    if (!bernoulliExp(words, fraction(u, t))) continue
    let v = 0
    while (bernoulliExp(words, one)) v++
    const x = u + t * v
    const isNegative = (words() & 1) === 1
    if (isNegative && x === 0) continue
    return isNegative ? -x : x
  }
}

/** σ above this does not fit the arithmetic. */
const maxSigma = 2 ** 23

/** Draws of the discrete Gaussian with variance `variance`, a whole number ≤ 2⁴⁶. Throws `E_OPTION` for others. */
export function discreteGaussian(variance: number, words: RandomWords = secureWords()): () => number {
  if (!Number.isInteger(variance) || variance < 1 || variance > maxSigma ** 2)
    throw new PareError('E_OPTION', `the variance of the noise is ${variance}; it is a whole number from 1 to 2^46`)
  const t = Math.floor(Math.sqrt(variance)) + 1
  const width = 2 * variance * t * t
  return () => {
    for (;;) {
      const x = discreteLaplace(words, t)
      const off = Math.abs(x) * t - variance
      const chance: Chance = {
        near: (off * off) / width,
        exact: () => [BigInt(off) ** 2n, 2n * BigInt(variance) * BigInt(t) ** 2n]
      }
      if (bernoulliExpAny(words, chance)) return x
    }
  }
}
