/**
 * Privacy spent by rounds of the Poisson-subsampled Gaussian mechanism, by Rényi differential privacy of whole orders α.
 *
 *   ln A(α) = logsumexp_{i = 0 … α} ( ln C(α, i) + i ln q + (α − i) ln(1 − q) + (i² − i) / (2 z²) )
 *   rdp(α)  = ln A(α) / (α − 1) a round, α / (2 z²) where q = 1; rounds add up
 *   ε       = min_α rdp(α) + ln((α − 1) / α) − (ln δ + ln α) / (α − 1)
 *
 * q: chance of a client to take part in a round; z: standard deviation of the noise over the bound of an update's norm.
 * Neighbouring data differs in one client, who is there or is not. Mironov 2017 (arXiv 1702.07476), Mironov, Talwar and
 * Zhang 2019 (arXiv 1908.10530), Balle 2020 (arXiv 1905.09982). Whole orders never tell less than is spent.
 */
import { PareError } from '../../base/errors.ts'

/** Rounds of one kind. */
export interface Spending {
  readonly sampling: number
  readonly noise: number
  readonly rounds: number
}

export interface Spent {
  readonly epsilon: number
  /** The order that gave it. */
  readonly order: number
  /** The order is the first or the last that was tried: another might give less. */
  readonly atEnd: boolean
}

/** Orders that are tried. */
const [firstOrder, lastOrder] = [2, 256] as const

/** ε at δ after the rounds. Throws `E_OPTION` for q outside (0, 1], z ≤ 0 and δ outside (0, 1). */
export function epsilonOf(spendings: readonly Spending[], delta: number): Spent {
  if (!(delta > 0 && delta < 1)) throw new PareError('E_OPTION', `delta is ${delta}; it lies between 0 and 1`)
  let best: Spent = { epsilon: Number.POSITIVE_INFINITY, order: firstOrder, atEnd: true }
  for (let order = firstOrder; order <= lastOrder; order++) {
    const rdp = spendings.reduce((sum, s) => sum + rdpOf(s, order), 0)
    const epsilon = rdp + Math.log((order - 1) / order) - (Math.log(delta) + Math.log(order)) / (order - 1)
    if (epsilon < best.epsilon) best = { epsilon, order, atEnd: order === firstOrder || order === lastOrder }
  }
  return { ...best, epsilon: spendings.some((s) => s.rounds > 0) ? Math.max(0, best.epsilon) : 0 }
}

function rdpOf({ sampling: q, noise: z, rounds }: Spending, order: number): number {
  if (!(q > 0 && q <= 1)) throw new PareError('E_OPTION', `the share of clients in a round is ${q}; it lies in (0, 1]`)
  if (!(z > 0)) throw new PareError('E_OPTION', `the noise multiplier is ${z}; it is greater than 0`)
  if (q === 1) return (rounds * order) / (2 * z * z)
  const terms: number[] = []
  let logChoose = 0
  for (let i = 0; i <= order; i++) {
    terms.push(logChoose + i * Math.log(q) + (order - i) * Math.log1p(-q) + (i * i - i) / (2 * z * z))
    logChoose += Math.log(order - i) - Math.log(i + 1)
  }
  const most = Math.max(...terms)
  const logA = most + Math.log(terms.reduce((sum, t) => sum + Math.exp(t - most), 0))
  return (rounds * Math.max(0, logA)) / (order - 1)
}

/** What a run may spend. */
export interface Budget {
  readonly epsilon: number
  readonly delta: number
}

/** Would one more round of this kind stay within the budget? `spent`: the rounds so far. */
export const fitsBudget = (spent: readonly Spending[], next: Omit<Spending, 'rounds'>, budget: Budget): boolean =>
  epsilonOf([...spent, { ...next, rounds: 1 }], budget.delta).epsilon <= budget.epsilon

/** Rounds of one kind, of `most`, that a budget has room for. */
export function roundsWithin(kind: Omit<Spending, 'rounds'>, budget: Budget, most: number): number {
  let [low, high] = [0, most]
  while (low < high) {
    const middle = Math.ceil((low + high) / 2)
    if (epsilonOf([{ ...kind, rounds: middle }], budget.delta).epsilon <= budget.epsilon) low = middle
    else high = middle - 1
  }
  return low
}

/** Expected norm of the noise over the greatest norm of the mean update: z √d / m, of d parameters and m clients a round. */
export const noiseRatio = (noise: number, parameters: number, clients: number): number =>
  (noise * Math.sqrt(parameters)) / clients

/** What users should know before such a run begins; absent where the noise is smaller than a fifth of an update. */
export function noiseWarning(noise: number, parameters: number, clients: number): string | undefined {
  const ratio = noiseRatio(noise, parameters, clients)
  if (ratio < 0.2) return undefined
  const needed = Math.ceil((noise * Math.sqrt(parameters)) / 0.2)
  const told = ratio >= 10 ? Math.round(ratio) : Number(ratio.toPrecision(2))
  return ratio > 1
    ? `the noise is ${told} times as large as the largest update of a round: it will destroy the model. ${parameters} parameters want about ${needed} clients a round, or fewer parameters`
    : `the noise is ${told} of the largest update of a round: the model will lose accuracy. ${parameters} parameters want about ${needed} clients a round`
}
