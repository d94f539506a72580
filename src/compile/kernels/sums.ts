/**
 * Sums of products of codes: c[m, n] = start + Σ_k a[m, k] · b[k, n] in whole numbers of 32 bits, as `product.ts` does it in
 * floats. Steps of the sum are lanes: four inputs each.
 */
import {
  add,
  at,
  bits,
  type Expr,
  get,
  type Inside,
  i32,
  type Local,
  load,
  load4,
  loadSplat,
  local,
  loop,
  loopOver,
  min,
  mul,
  outlined,
  type Place,
  type Stmt,
  set
} from '../../ir/loops.ts'
import { type Dots, everyRow, multiply, quadBytes, type Ready, ready, recordBytes, rowsOf } from './dots.ts'
import type { Steps } from './product.ts'
import type { Tile } from './tiles.ts'

/** Where a tile of sums is stored. */
export interface SumsSpot {
  /** Byte offset of the first row (of maps) or output (of matrices) in an array with one number of four bytes for each. */
  readonly number: Expr
  /** Address of its first element. */
  readonly to: Expr
}

/** Four rows by some vectors of positions, or some rows by some vectors of outputs. */
export type StoreTile = (sums: readonly (readonly Local[])[], spot: SumsSpot) => Stmt[]

export interface MapsSums {
  readonly dots: Dots
  /** Rows; blocks of four of them, the last filled up. */
  readonly m: number
  /** Positions of a map. */
  readonly n: number
  /** Steps of the sum: quads of a block. */
  readonly k: number
  /** Quads of the first block, those of the next behind them. */
  readonly a: Place
  /** One whole number for each row. */
  readonly starts: Place
  readonly b: Place
  /** With `ends`, `a` holds records, and for each block of rows `ends` says how many there are up to its last. */
  readonly steps: Steps | { readonly ends: Place }
  readonly c: Place
  /** Bytes of the output for a position of a block of four rows, and for a position on the way to the next. */
  readonly each: { readonly block: number; readonly position: number }
  /** Made anew for each routine that it stands in. */
  store(inside: Inside): StoreTile
  /** Of four rows. */
  readonly tile: Tile
}

/** For maps: rows are output channels, columns are positions. What is stored may reach up to 12 bytes behind a map. */
export function mapsSums({ dots, m, n, k, a, starts, b, steps, c, each, store, tile }: MapsSums): Stmt[] {
  const { vectors } = tile
  const wide = vectors * 4
  const last = Math.max(0, n - wide)
  const blocks = Math.ceil(m / 4)
  const size = k * quadBytes(dots)

  /** Blocks from `first` on, at the positions from `left` on below `right`. */
  const tiles = (first: Expr, count: number, left: Expr, right: Expr): Stmt =>
    outlined(
      `4 × ${wide} tiles of a product of maps of codes`,
      (inside) =>
        tilesOfSums(dots, vectors, {
          weights: inside.place('ends' in steps ? a : at(a, mul(first, size))),
          starts: inside.place(at(starts, mul(first, 16))),
          blocks: inside.take(count * 16),
          columns: [inside.take(mul(left, 4)), inside.take(mul(right, 4))],
          b: inside.place(b),
          steps: stepsIn(inside, steps),
          end: inside.take(k * ('step' in steps ? steps.step : 4)),
          to: inside.take(add(c.address ? add(c.address, c.offset) : i32(c.offset), mul(first, each.block * n))),
          position: each.position,
          blockBytes: inside.take(each.block * n),
          first: inside.take(mul(first, 16)),
          store: store(inside)
        }),
      tile.own
    )
  const isEven = last % wide === 0
  const end = isEven ? last + 1 : last
  const partial = isEven ? [] : [i32(last)]

  if (tile.byRows && !('ends' in steps))
    return loop(
      0,
      blocks,
      1,
      (block) => [
        ...(end > 0 ? [tiles(block, 1, i32(0), i32(end))] : []),
        ...partial.map((column) => tiles(block, 1, column, add(column, 1)))
      ],
      'm'
    )
  const column = (left: Expr): Stmt[] => [tiles(i32(0), blocks, left, add(left, 1))]
  return [...loop(0, end, wide, column, 'n'), ...partial.flatMap(column)]
}

/** Steps of a sum, inside a routine. */
type StepsIn = { readonly step: Expr } | { readonly table: Place } | { readonly ends: Place }

function stepsIn(inside: Inside, steps: MapsSums['steps']): StepsIn {
  if ('ends' in steps) return { ends: inside.place(steps.ends) }
  return 'step' in steps ? { step: inside.take(steps.step) } : { table: inside.place(steps.table) }
}

/** What tiles take, inside their routine. All but places are bytes. */
interface Tiles {
  readonly weights: Place
  readonly starts: Place
  /** Starts of all blocks. */
  readonly blocks: Expr
  readonly columns: readonly [from: Expr, to: Expr]
  readonly b: Place
  readonly steps: StepsIn
  readonly end: Expr
  readonly to: Expr
  readonly position: number
  readonly blockBytes: Expr
  readonly first: Expr
  readonly store: StoreTile
}

function tilesOfSums(dots: Dots, vectors: number, t: Tiles): Stmt[] {
  const [w, to, base, x] = ['w', 'to', 'base', 'x'].map((name) => local('i32', name)) as [Local, Local, Local, Local]
  const sums = [0, 1, 2, 3].map(() => Array.from({ length: vectors }, () => local('i32x4', 'sum')))
  const multiplied = (from: Expr, offset = 0, bytes = quadBytes(dots)): Stmt[] => {
    const xs = Array.from({ length: vectors }, (_, j) =>
      ready(dots, load4({ space: t.b.space, offset: 16 * j, address: from }, 'i32x4'))
    )
    const quad = everyRow(dots, { space: t.weights.space, offset, address: get(w) })
    return [
      ...xs.flatMap((v) => v.code),
      ...quad.code,
      ...sums.flatMap((line, i) => {
        const factors = quad.rows[i] as Ready
        return [...factors.code, ...line.flatMap((s, j) => multiply(dots, s, factors, xs[j] as Ready))]
      }),
      ...(bytes > 0 ? [set(w, add(get(w), bytes))] : [])
    ]
  }
  const { steps } = t
  const summed = (block: Expr): Stmt => {
    if ('ends' in steps) {
      // The walk itself moves on in the records.
      const end = add(
        t.weights.address as Expr,
        mul(load(at(steps.ends, bits('shr', block, 2)), 'i32'), recordBytes(dots))
      )
      const read = (): Expr => load({ space: t.weights.space, offset: 0, address: get(w) }, 'i32')
      const body = [set(x, add(read(), get(base))), ...multiplied(get(x), 4, 0)]
      return { is: 'loop', local: w, from: get(w), to: end, step: recordBytes(dots), body }
    }
    return 'step' in steps
      ? loopOver(get(base), add(get(base), t.end), steps.step, (from) => multiplied(from), 'x')
      : loopOver(
          i32(0),
          t.end,
          4,
          (k) => [set(x, add(load(at(steps.table, k), 'i32'), get(base))), ...multiplied(get(x))],
          'k'
        )
  }
  return [
    loopOver(
      t.columns[0],
      t.columns[1],
      vectors * 16,
      (column) => [
        set(w, t.weights.address as Expr),
        set(to, add(t.to, t.position === 4 ? column : mul(column, t.position / 4))),
        set(base, add(t.b.address as Expr, column)),
        loopOver(
          i32(0),
          t.blocks,
          16,
          (block) => [
            ...sums.flatMap((line, i) => {
              const start = local('i32x4', 'start')
              return [
                set(start, loadSplat(at(t.starts, block, i * 4), 'i32x4')),
                ...line.map((s) => set(s, get(start)))
              ]
            }),
            summed(block),
            ...t.store(sums, { number: add(block, t.first), to: get(to) }),
            set(to, add(get(to), t.blockBytes))
          ],
          'm'
        )
      ],
      'n'
    )
  ]
}

export interface RowsSums {
  readonly dots: Dots
  readonly m: number
  readonly n: number
  /** Lanes of a row. */
  readonly k: number
  /** Row m begins at m·row bytes. */
  readonly a: Place & { readonly row: number }
  /** Panels of outputs as `panelsOf` counts them, quads of a step side by side. */
  readonly b: Place
  /** One whole number for each output, and a panel more. */
  readonly starts: Place
  readonly c: Place
  /** Bytes of an output, and of a row of them. */
  readonly each: { readonly output: number; readonly row: number }
  store(inside: Inside): StoreTile
}

/** Vectors of four outputs in a panel. */
export const vectorsOf = (n: number): number => Math.min(4, Math.ceil(n / 4))
/** First outputs of the panels: the last begins earlier, so that it is full too. */
export function panelsOf(n: number): readonly number[] {
  const wide = vectorsOf(n) * 4
  return Array.from({ length: Math.ceil(n / wide) }, (_, p) => Math.max(0, Math.min(p * wide, n - wide)))
}

/** For matrices: rows are samples or positions, columns are outputs. What is stored may reach up to 12 bytes behind a row. */
export function rowsSums({ dots, m, n, k, a, b, starts, c, each, store }: RowsSums): Stmt[] {
  const vectors = vectorsOf(n)
  const wide = vectors * 4
  const size = vectors * quadBytes(dots)
  const lastOutput = Math.max(0, n - wide)

  const tiles = (rows: number, from: number, to: number, panel: Expr, output: Expr): Stmt =>
    outlined(`${rows} × ${wide} tiles of a product of matrices of codes`, (inside) => {
      const sums = Array.from({ length: rows }, () => Array.from({ length: vectors }, () => local('i32x4', 'sum')))
      const [x, w] = [local('i32', 'x'), local('i32', 'w')]
      const data = inside.place(a)
      const quads = inside.place(at(b, mul(panel, k * size)))
      const own = inside.place(at(starts, mul(output, 4)))
      const number = inside.take(mul(output, 4))
      const target = inside.take(add(c.address ? add(c.address, c.offset) : i32(c.offset), mul(output, each.output)))
      const stored = store(inside)
      const multiplied = (): Stmt[] => {
        const xs = sums.map((_, i) =>
          ready(dots, loadSplat({ space: a.space, offset: i * a.row, address: get(x) }, 'i32x4'))
        )
        return [
          ...xs.flatMap((v) => v.code),
          ...Array.from({ length: vectors }, (_, j) => {
            const factors = rowsOf(dots, { space: b.space, offset: j * quadBytes(dots), address: get(w) })
            return [
              ...factors.code,
              ...sums.flatMap((line, i) => multiply(dots, line[j] as Local, factors, xs[i] as Ready))
            ]
          }).flat(),
          set(x, add(get(x), 4)),
          set(w, add(get(w), size))
        ]
      }
      return [
        loopOver(
          inside.take(from),
          inside.take(to),
          rows,
          (row) => [
            ...sums.flatMap((line) => line.map((s, j) => set(s, load4(at(own, undefined, 16 * j), 'i32x4')))),
            set(x, add(data.address as Expr, mul(row, a.row))),
            set(w, quads.address as Expr),
            loopOver(i32(0), i32(k), 1, multiplied, 'k'),
            ...stored(sums, { number, to: add(target, mul(row, each.row)) })
          ],
          'm'
        )
      ]
    })

  const even = m - (m % 2)
  return loop(
    0,
    panelsOf(n).length,
    1,
    (p) => {
      const output = local('i32', 'n')
      return [
        set(output, min(mul(p, wide), lastOutput)),
        ...(even > 0 ? [tiles(2, 0, even, p, get(output))] : []),
        ...(m % 2 ? [tiles(1, even, m, p, get(output))] : [])
      ]
    },
    'p'
  )
}
