/** The least and the greatest of any number of values: a call takes only some ten thousand arguments. */

/** The greatest value; `floor` where none is greater, by default −∞. */
export function greatest(values: Iterable<number>, floor: number = Number.NEGATIVE_INFINITY): number {
  let most = floor
  for (const x of values) most = Math.max(most, x)
  return most
}

/** The least value; +∞ of none. */
export function least(values: Iterable<number>): number {
  let smallest = Number.POSITIVE_INFINITY
  for (const x of values) smallest = Math.min(smallest, x)
  return smallest
}
