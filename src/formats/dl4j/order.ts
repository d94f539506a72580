/**
 * The order in which a ComputationGraph lays out its parameters. Releases from beta3 on store it; before, it follows from the
 * graph by Kahn's algorithm, which takes the readers of a vertex in the order of Java's `HashSet<Integer>`.
 */

/** Names in topological order, inputs included; fewer than there are nodes where the graph has a cycle. */
export function topologicalOrder(
  inputs: readonly string[],
  vertices: readonly string[],
  inputsOf: (vertex: string) => readonly string[]
): readonly string[] {
  const names = [...inputs, ...vertices]
  const indexOf = new Map(names.map((name, i) => [name, i]))
  const readers: number[][] = names.map(() => [])
  const waits: Set<number>[] = names.map(() => new Set())
  for (const v of vertices)
    for (const input of inputsOf(v)) {
      const [from, to] = [indexOf.get(input), indexOf.get(v)]
      if (from === undefined || to === undefined) continue
      if (!readers[from]?.includes(to)) readers[from]?.push(to)
      waits[to]?.add(from)
    }
  const queue = names.flatMap((_, i) => (waits[i]?.size === 0 ? [i] : []))
  for (let at = 0; at < queue.length; at++) {
    const from = queue[at] as number
    for (const to of hashOrder(readers[from] ?? [])) {
      waits[to]?.delete(from)
      if (waits[to]?.size === 0) queue.push(to)
    }
  }
  return queue.map((i) => names[i] as string)
}

/** Small whole numbers in the order in which a `HashSet<Integer>` gives them, after being added in the given order. */
export function hashOrder(added: readonly number[]): readonly number[] {
  let capacity = 16
  while (added.length > 0.75 * capacity) capacity *= 2
  const bucket = (n: number): number => n & (capacity - 1)
  return added
    .map((n, i) => [n, i] as const)
    .sort(([a, i], [b, j]) => bucket(a) - bucket(b) || i - j)
    .map(([n]) => n)
}
