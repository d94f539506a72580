/** Fronts of points of which less is better in every number: domination, crowding, hypervolume. */

/** Is a nowhere worse than b, and somewhere better? */
export function dominates(a: readonly number[], b: readonly number[]): boolean {
  let isBetter = false
  for (let i = 0; i < a.length; i++) {
    if ((a[i] as number) > (b[i] as number)) return false
    if ((a[i] as number) < (b[i] as number)) isBetter = true
  }
  return isBetter
}

/** Those that nothing dominates, then those that only these dominate, and so on. Equal ones are in the same front. */
export function fronts<T>(all: readonly T[], valuesOf: (one: T) => readonly number[]): readonly (readonly T[])[] {
  const out: T[][] = []
  let left = [...all]
  while (left.length > 0) {
    const front = left.filter((a) => !left.some((b) => dominates(valuesOf(b), valuesOf(a))))
    out.push(front)
    const taken = new Set(front)
    left = left.filter((a) => !taken.has(a))
  }
  return out
}

/** Those that nothing dominates, each of equal ones once, in the order given. */
export function frontOf<T>(all: readonly T[], valuesOf: (one: T) => readonly number[]): readonly T[] {
  const seen = new Set<string>()
  return (fronts(all, valuesOf)[0] ?? []).filter((one) => {
    const key = valuesOf(one).join()
    return seen.has(key) ? false : seen.add(key)
  })
}

/** Σ over numbers of (next − previous) / (greatest − least); the ends are infinite, numbers that are all the same count nothing. */
export function crowding(points: readonly (readonly number[])[]): Float64Array {
  const out = new Float64Array(points.length)
  for (let d = 0; d < (points[0]?.length ?? 0); d++) {
    const at = (i: number): number => points[i]?.[d] as number
    const order = [...points.keys()].sort((a, b) => at(a) - at(b) || a - b)
    const [first, last] = [order[0] as number, order.at(-1) as number]
    const width = at(last) - at(first)
    if (width === 0) continue
    out[first] = out[last] = Number.POSITIVE_INFINITY
    for (let i = 1; i < order.length - 1; i++) {
      const own = order[i] as number
      out[own] = (out[own] as number) + (at(order[i + 1] as number) - at(order[i - 1] as number)) / width
    }
  }
  return out
}

/** Area of two numbers that the points dominate below a reference. */
export function hypervolume(
  points: readonly (readonly [number, number])[],
  reference: readonly [number, number]
): number {
  const inside = points
    .filter(([x, y]) => x < reference[0] && y < reference[1])
    .toSorted((a, b) => a[0] - b[0] || a[1] - b[1])
  let [area, low] = [0, reference[1]]
  for (const [x, y] of inside) {
    if (y >= low) continue
    area += (reference[0] - x) * (low - y)
    low = y
  }
  return area
}
