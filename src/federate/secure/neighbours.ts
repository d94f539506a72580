/**
 * Who shares masks and secrets with whom. Up to 32 clients: all with all. Above, a ring in an order that nobody chose, in which
 * everyone has k neighbours (Bell 2020, ePrint 2020/704): work grows with k, and k with the logarithm of the number of clients.
 *
 * k is the least even number for which, by the chances of drawing without replacement,
 * - nobody has as many colluding neighbours as it takes to learn its secrets (a fifth of all collude): 2⁻⁴⁰ in all;
 * - everyone keeps as many neighbours as it takes to finish where 30 % drop out: 2⁻¹⁰ in all.
 */
import { rng } from '../../base/random.ts'

/** Up to this many clients share with all others. */
export const completeUpTo = 32

/** Points of shares are bytes other than 0. */
const maxHolders = 255

const [colluding, dropping] = [0.2, 0.3]

/** Shares of a secret that give it, of those held by the neighbours and the client itself. */
export const sharesNeeded = (holders: number): number => Math.floor(holders / 2) + 1

/** k for n clients; n − 1 where all share with all. */
export function neighbourCount(n: number): number {
  if (n <= completeUpTo) return n - 1
  for (let k = 16; k < Math.min(n - 1, maxHolders); k += 2) {
    const needed = sharesNeeded(k + 1)
    const exposed = n * above(n - 1, Math.ceil(colluding * n), k, needed)
    const stuck = n * above(n - 1, Math.ceil(dropping * n), k, k - needed + 1)
    if (exposed < 2 ** -40 && stuck < 2 ** -10) return k
  }
  return Math.min(n - 1, maxHolders - 1)
}

/** Chance of `least` or more marked ones among `drawn` of `all`, of which `marked` are. */
function above(all: number, marked: number, drawn: number, least: number): number {
  let sum = 0
  for (let i = least; i <= Math.min(drawn, marked); i++)
    if (drawn - i <= all - marked)
      sum += Math.exp(logChoose(marked, i) + logChoose(all - marked, drawn - i) - logChoose(all, drawn))
  return sum
}

function logChoose(n: number, k: number): number {
  let sum = 0
  for (let i = 1; i <= k; i++) sum += Math.log((n - k + i) / i)
  return sum
}

/** Of every client its neighbours and itself, in rising order; the place there plus 1 is the point of its share. */
export function holdersOf(members: readonly number[], seed: Uint8Array): ReadonlyMap<number, readonly number[]> {
  const n = members.length
  const k = neighbourCount(n)
  const rising = (list: readonly number[]): number[] => [...list].sort((a, b) => a - b)
  if (k >= n - 1) {
    const all = rising(members)
    return new Map(members.map((m) => [m, all]))
  }
  const ring = rng([...seed].join())
    .permutation(n)
    .map((i) => members[i] as number)
  return new Map(
    ring.map((m, i) => {
      const near = Array.from({ length: k + 1 }, (_, j) => ring[(i + j - k / 2 + n) % n] as number)
      return [m, rising(near)]
    })
  )
}
