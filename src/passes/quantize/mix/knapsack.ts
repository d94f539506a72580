/**
 * The multiple-choice knapsack: one choice for every part, of least total harm under every bound on the total cost.
 * D[l][b] = min over choices t of D[l−1][b − c(l, t)] + h(l, t), with costs in whole units of (most − least) / units
 * (Kellerer, Pferschy & Pisinger, Knapsack Problems, ch. 11). Totals of what is found are summed again exactly.
 */
import { assert } from '../../../base/errors.ts'

/** One way to treat a part. Both numbers are at least 0 and add up over parts. */
export interface Choice {
  readonly cost: number
  readonly harm: number
}

/** One choice for every part. */
export interface Point {
  /** Index of the choice, by part. */
  readonly picks: Uint8Array
  readonly cost: number
  readonly harm: number
}

/** Costs are told apart to this share of their whole range. */
const units = 8192

/** Every point that no other beats in both cost and harm, by rising cost. Parts have 1 to 255 choices. */
export function paretoFront(parts: readonly (readonly Choice[])[]): readonly Point[] {
  const least = parts.map((choices) => Math.min(...choices.map((c) => c.cost)))
  const range = parts.reduce((n, choices, l) => n + Math.max(...choices.map((c) => c.cost)) - (least[l] as number), 0)
  const unit = range > 0 ? range / units : 1
  const steps = parts.map((choices, l) =>
    Int32Array.from(choices, (c) => Math.round((c.cost - (least[l] as number)) / unit))
  )
  const width = units + parts.length + 1
  const chosen: Uint8Array[] = []
  let best = new Float64Array(width).fill(Number.POSITIVE_INFINITY)
  best[0] = 0
  for (const [l, choices] of parts.entries()) {
    assert(choices.length > 0 && choices.length < 256, `part ${l} has ${choices.length} choices`)
    const next = new Float64Array(width).fill(Number.POSITIVE_INFINITY)
    const from = new Uint8Array(width)
    for (const [t, { harm }] of choices.entries()) {
      const step = steps[l]?.[t] as number
      for (let b = step; b < width; b++) {
        const total = (best[b - step] as number) + harm
        if (total >= (next[b] as number)) continue
        next[b] = total
        from[b] = t
      }
    }
    chosen.push(from)
    best = next
  }
  const found: Point[] = []
  let lowest = Number.POSITIVE_INFINITY
  for (let b = 0; b < width; b++) {
    if (!((best[b] as number) < lowest)) continue
    lowest = best[b] as number
    found.push(pointAt(parts, steps, chosen, b))
  }
  return unbeaten(found)
}

function pointAt(
  parts: readonly (readonly Choice[])[],
  steps: readonly Int32Array[],
  chosen: readonly Uint8Array[],
  budget: number
): Point {
  const picks = new Uint8Array(parts.length)
  let [b, cost, harm] = [budget, 0, 0]
  for (let l = parts.length - 1; l >= 0; l--) {
    const t = chosen[l]?.[b] as number
    const choice = parts[l]?.[t] as Choice
    picks[l] = t
    b -= steps[l]?.[t] as number
    cost += choice.cost
    harm += choice.harm
  }
  return { picks, cost, harm }
}

function unbeaten(points: readonly Point[]): Point[] {
  const out: Point[] = []
  for (const p of points.toSorted((a, b) => a.cost - b.cost || a.harm - b.harm))
    if (p.harm < (out.at(-1)?.harm ?? Number.POSITIVE_INFINITY)) out.push(p)
  return out
}
