/**
 * Labelled samples spread over clients that differ: of each class the clients get shares drawn from Dir(α, …, α), as in
 * NIID-Bench (Li 2022); small α: few classes a client. Sizes vary; the draw is repeated until every client has enough.
 * Gamma(a ≥ 1) by Marsaglia and Tsang (2000); Gamma(a < 1) = Gamma(a + 1) · U^(1/a).
 */

import { PareError } from '../base/errors.ts'
import { greatest, least } from '../base/extremes.ts'
import { type Rng, rng } from '../base/random.ts'

export interface PartitionOptions {
  readonly clients: number
  readonly alpha: number
  readonly seed: number | string
  /** Samples that every client has at least; default 10. */
  readonly least?: number
}

/** Who has which samples, and how much the clients differ. */
export interface Partition {
  /** Sample numbers by client, ascending. */
  readonly clients: readonly (readonly number[])[]
  readonly smallest: number
  readonly largest: number
  /** Mean over the clients of ½ Σ |share of a class at the client − share of it in all|: 0 where all are alike. */
  readonly variation: number
}

const draws = 200

/** Spreads samples. Throws `E_DATA` where that many clients cannot have that many samples each. */
export function partition(labels: readonly number[], o: PartitionOptions): Partition {
  const { clients: count, least: fewest = 10 } = o
  if (labels.length < count * fewest)
    throw new PareError('E_DATA', `${labels.length} samples are not ${fewest} for each of ${count} clients`, {
      hint: 'fewer clients, or more data'
    })
  const classes = [...new Set(labels)].sort((a, b) => a - b)
  const members = classes.map((c) => labels.flatMap((l, i) => (l === c ? [i] : [])))
  for (let draw = 0; draw < draws; draw++) {
    const random = rng(o.seed).fork(`partition ${draw}`)
    const clients = spread(members, o, random)
    const smallest = least(clients.map((c) => c.length))
    if (smallest >= fewest) return described(clients, labels, classes)
  }
  // For small α and many clients every draw leaves some of them short.
  return described(topped(spread(members, o, rng(o.seed).fork('partition 0')), fewest), labels, classes)
}

function spread(members: readonly (readonly number[])[], o: PartitionOptions, random: Rng): number[][] {
  const clients = Array.from({ length: o.clients }, (): number[] => [])
  for (const all of members) {
    const order = random.permutation(all.length)
    const shares = clients.map(() => gamma(random, o.alpha))
    const total = shares.reduce((a, b) => a + b, 0)
    let [sum, from] = [0, 0]
    for (const [k, share] of shares.entries()) {
      sum += share
      const to = k === o.clients - 1 ? all.length : Math.round((sum / total) * all.length)
      for (let i = from; i < to; i++) (clients[k] as number[]).push(all[order[i] as number] as number)
      from = Math.max(from, to)
    }
  }
  return clients.map((c) => c.sort((a, b) => a - b))
}

/** Clients with too few samples are given some of the largest's. */
function topped(clients: number[][], fewest: number): number[][] {
  for (const short of clients)
    while (short.length < fewest) {
      const rich = clients.reduce((a, b) => (b.length > a.length ? b : a))
      short.push(rich.pop() as number)
    }
  return clients.map((c) => c.sort((a, b) => a - b))
}

function described(clients: number[][], labels: readonly number[], classes: readonly number[]): Partition {
  const shareOf = (samples: readonly number[]): number[] =>
    classes.map((c) => samples.filter((i) => labels[i] === c).length / samples.length)
  const all = shareOf(labels.map((_, i) => i))
  const sizes = clients.map((c) => c.length)
  const distances = clients.map((c) => shareOf(c).reduce((n, s, k) => n + Math.abs(s - (all[k] as number)) / 2, 0))
  return {
    clients,
    smallest: least(sizes),
    largest: greatest(sizes),
    variation: distances.reduce((a, b) => a + b, 0) / clients.length
  }
}

/** A draw from Gamma(a, 1). */
export function gamma(random: Rng, a: number): number {
  if (a < 1) return gamma(random, a + 1) * random.next() ** (1 / a)
  const d = a - 1 / 3
  const c = 1 / Math.sqrt(9 * d)
  for (;;) {
    const x = random.normal()
    const v = (1 + c * x) ** 3
    if (v > 0 && Math.log(1 - random.next()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v
  }
}
