/** How a kernel cuts its work. Which cut is fastest depends on the engine; the numbers are the same bit by bit. */

export interface Tile {
  /** Rows, and vectors of four positions, whose sums stay in registers. */
  readonly rows: number
  readonly vectors: number
  /** All positions of some rows before the next rows; else all rows at some positions. */
  readonly byRows: boolean
  /** Code of its own, with sizes and places in it, instead of code that layers share. */
  readonly own: boolean
  /** Zeros are left out, where all rows of a tile have one. */
  readonly sparse?: true
}

/** A choice that was made: what it was of, what there was, what was taken. */
export interface Chosen {
  /** The same for all layers for which the same is fastest. */
  readonly key: string
  readonly ways: readonly string[]
  readonly way: string
}

/** Takes the way that was measured to be fastest, else the first, which a rule of costs puts there. */
export type Choose = <T>(key: string, ways: Readonly<Record<string, T>>) => { readonly way: T; readonly kernel: Chosen }

/** `fastest`: names of ways by key; absent: none was measured. Names that there are no longer count as none. */
export const chooser =
  (fastest: Readonly<Record<string, string>> = {}): Choose =>
  (key, ways) => {
    const names = Object.keys(ways)
    const known = Object.hasOwn(fastest, key) ? fastest[key] : undefined
    const way = names.find((n) => n === known) ?? (names[0] as string)
    return { way: ways[way] as (typeof ways)[string], kernel: { key, ways: names, way } }
  }

/** Bytes of first-level cache that the weights of one walk over all rows may take. */
const nearBytes = 24_576

export interface Work {
  readonly rows: number
  readonly positions: number
  /** Lanes of four bytes that are read for a position. */
  readonly lanes: number
  readonly weightBytes: number
  /** Rows × vectors that a tile may have, the usual one first. */
  readonly cuts: readonly (readonly [rows: number, vectors: number])[]
}

/**
 * The weights pass once for every tile of positions, or the maps once for every tile of rows: the first way is whichever moves
 * fewer bytes, in code that layers share.
 */
export function tilesFor({ rows, positions, lanes, weightBytes, cuts }: Work): Readonly<Record<string, Tile>> {
  const fitting = cuts.filter(([, vectors]) => vectors * 4 <= positions)
  const [usual = [cuts[0]?.[0] ?? 4, 1] as const, ...others] = fitting
  const orderOf = ([r, v]: readonly [number, number]): boolean =>
    weightBytes > nearBytes &&
    weightBytes * Math.ceil(positions / (v * 4)) > lanes * positions * 4 * Math.ceil(rows / r)
  const tile = (cut: readonly [number, number], own: boolean, byRows = orderOf(cut)): Tile => ({
    ...{ rows: cut[0], vectors: cut[1], byRows, own }
  })
  const hasOrder = rows > usual[0] && positions > usual[1] * 4
  const all = [
    tile(usual, false),
    tile(usual, true),
    ...others.map((cut) => tile(cut, true)),
    ...(hasOrder ? [tile(usual, true, !orderOf(usual))] : [])
  ]
  return Object.fromEntries(all.map((t) => [nameOf(t), t]))
}

const nameOf = ({ rows, vectors, byRows, own, sparse }: Tile): string =>
  `${rows}×${vectors * 4}${byRows ? ' by rows' : ''}${own ? ' own' : ''}${sparse ? ' sparse' : ''}`

/** Time of a walk over factors that are not zero, over that of all of them, by the share that is left: a load for each factor of one row. */
const sparseCost = (rows: number, kept: number): number => kept / (rows === 1 ? 0.6 : 0.9)

/** The same with zeros left out, the way of the least cost first. `kept`: share of blocks of so many rows that are not zero. */
export function withSparse(
  dense: Readonly<Record<string, Tile>>,
  positions: number,
  kept: (rows: number) => number
): Readonly<Record<string, Tile>> {
  const cut = (rows: number, most: number): Tile & { readonly cost: number } => ({
    ...{
      rows,
      vectors: Math.max(1, Math.min(most, Math.floor(positions / 4))),
      byRows: false,
      own: false,
      sparse: true
    },
    cost: sparseCost(rows, kept(rows))
  })
  const sparse = [cut(4, 2), cut(1, 4)].filter(({ cost }) => cost < 1).sort((a, b) => a.cost - b.cost)
  return { ...Object.fromEntries(sparse.map(({ cost: _, ...t }) => [nameOf(t), t])), ...dense }
}
