/**
 * The cheapest two-way labelling: every node pays for its side, every link between nodes of different sides pays too. It is a
 * minimum cut (Greig, Porteous & Seheult 1989), found by augmenting shortest paths (Edmonds & Karp 1972).
 */

export interface Side {
  /** What a node costs on either side; at least 0. */
  readonly first: number
  readonly second: number
}

export interface Link {
  readonly a: number
  readonly b: number
  /** What the link costs when `a` is on the first side and `b` on the second; at least 0. */
  readonly cost: number
  /** The same when `b` is on the first and `a` on the second; absent: as much. */
  readonly back?: number
}

/** For every node: is it on the second side? Ties go to the first. */
export function cheapestSides(nodes: readonly Side[], links: readonly Link[]): readonly boolean[] {
  const [source, sink] = [nodes.length, nodes.length + 1]
  const room = Array.from({ length: nodes.length + 2 }, () => new Map<number, number>())
  const add = (from: number, to: number, capacity: number): void => {
    room[from]?.set(to, (room[from]?.get(to) ?? 0) + capacity)
    if (!room[to]?.has(from)) room[to]?.set(from, 0)
  }
  for (const [i, { first, second }] of nodes.entries()) {
    const base = Math.min(first, second)
    // Cut from the source: the node is on the sink's side, the second.
    add(source, i, second - base)
    add(i, sink, first - base)
  }
  for (const { a, b, cost, back = cost } of links) {
    add(a, b, cost)
    add(b, a, back)
  }
  for (let path = shortest(room, source, sink); path; path = shortest(room, source, sink)) {
    let least = Number.POSITIVE_INFINITY
    for (let i = 1; i < path.length; i++)
      least = Math.min(least, room[path[i - 1] as number]?.get(path[i] as number) as number)
    for (let i = 1; i < path.length; i++) {
      const [u, v] = [path[i - 1] as number, path[i] as number]
      room[u]?.set(v, (room[u]?.get(v) as number) - least)
      room[v]?.set(u, (room[v]?.get(u) as number) + least)
    }
  }
  const reaches = reachable(room, sink)
  return nodes.map((_, i) => reaches.has(i))
}

/** Less than this is no room left. */
const nothing = 1e-12

function shortest(room: readonly ReadonlyMap<number, number>[], from: number, to: number): number[] | undefined {
  const before = new Map<number, number>([[from, from]])
  const queue = [from]
  for (let u = queue.shift(); u !== undefined && !before.has(to); u = queue.shift())
    for (const [v, capacity] of room[u] ?? [])
      if (capacity > nothing && !before.has(v)) {
        before.set(v, u)
        queue.push(v)
      }
  if (!before.has(to)) return undefined
  const path = [to]
  for (let at = to; at !== from; at = before.get(at) as number) path.unshift(before.get(at) as number)
  return path
}

/** Nodes from which there is room to `to`. */
function reachable(room: readonly ReadonlyMap<number, number>[], to: number): ReadonlySet<number> {
  const seen = new Set([to])
  const queue = [to]
  for (let v = queue.pop(); v !== undefined; v = queue.pop())
    for (const [u, out] of room.entries())
      if (!seen.has(u) && (out.get(v) ?? 0) > nothing) {
        seen.add(u)
        queue.push(u)
      }
  return seen
}
