/**
 * Weighted sums of updates in whole numbers: a number x counts as round(x · 2^F), so that the order in which updates
 * arrive changes no bit, and a sum never exceeds 2^53. With |x| ≤ B and a total weight of at most W, F = 52 − ⌈log₂ B⌉ − ⌈log₂ W⌉.
 */
import { assert, PareError } from '../base/errors.ts'

/** What the sums of a round can hold. */
export interface Room {
  /** Largest size of a number; an update with a larger one is refused. */
  readonly bound: number
  /** Largest sum of the weights. */
  readonly weights: number
}

/** Changing sums of a round: the only memory that grows with the model and not with its clients. */
export interface Sums {
  readonly room: Room
  readonly fraction: number
  readonly totals: Float64Array
  /** Of the weights. */
  weight: number
  /** Updates. */
  count: number
}

export function noSums(size: number, room: Room): Sums {
  const fraction = Math.min(40, 52 - Math.ceil(Math.log2(room.bound)) - Math.ceil(Math.log2(room.weights)))
  assert(fraction >= 12, `room for ${room.bound} times ${room.weights}`)
  return { room, fraction, totals: new Float64Array(size), weight: 0, count: 0 }
}

/**
 * Adds an update, or nothing of it: throws `E_DATA` for a number that is not finite or larger than the bound, `E_LIMIT` for
 * weights above what there is room for.
 */
export function addTo(sums: Sums, update: Float32Array, weight: number): void {
  assert(update.length === sums.totals.length, `an update of ${update.length} numbers`)
  assert(Number.isInteger(weight) && weight > 0, `a weight of ${weight}`)
  if (sums.weight + weight > sums.room.weights)
    throw new PareError('E_LIMIT', `the weights of this round come to more than ${sums.room.weights}`)
  refuseLarge(update, sums.room.bound)
  const unit = 2 ** sums.fraction
  for (let i = 0; i < update.length; i++)
    sums.totals[i] = (sums.totals[i] as number) + Math.round((update[i] as number) * unit) * weight
  sums.weight += weight
  sums.count++
}

/** Throws `E_DATA` for an update with a number that is not finite or larger than the bound. */
export function refuseLarge(update: Float32Array, bound: number): void {
  for (const x of update)
    if (!(Math.abs(x) <= bound))
      throw new PareError('E_DATA', `an update holds ${x}, and at most ${bound} is taken`, {
        hint: 'the client diverged, or lies'
      })
}

/** The weighted mean of what was added. */
export function meanOf({ totals, weight, fraction }: Sums): Float32Array {
  assert(weight > 0, 'the mean of no updates')
  const unit = 2 ** fraction
  return Float32Array.from(totals, (t) => t / weight / unit)
}
