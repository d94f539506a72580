/**
 * Sums of products, the kernel of linear layers: c[m, n] = start + Σ_k a[m, k] · b[k, n], vectors along n, in tiles of a few
 * rows m by a few vectors n whose sums stay in registers. Inner loops stay as short as they can: engines schedule all loads
 * of a block first, and a tile whose loads and sums take more than 15 registers is slower.
 */
import {
  add,
  at,
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
  set,
  store
} from '../../ir/loops.ts'
import type { Block } from '../packing.ts'
import type { Tile } from './tiles.ts'

/** Where four sums are stored: their byte offset in the output, and those of row and column in an array with one float for each. */
export interface Spot {
  readonly address: Expr
  readonly row: Expr
  readonly column: Expr
  /** Within its map, where positions of maps are summed. */
  readonly position?: Expr
  /** What a place is called where this is computed. */
  readonly through: (p: Place) => Place
}

/** What is done to four sums before they are stored. */
export type Finish = (sums: Expr, spot: Spot) => Expr

/** Rows of b for the steps of the sum: on end, `step` bytes apart, or as a table of byte offsets says. */
export type Steps = { readonly step: number } | { readonly table: Place }

export interface MapsProduct {
  readonly m: number
  readonly n: number
  readonly k: number
  /** Blocks of rows as `rowBlocks` gives them. */
  readonly a: Place
  readonly b: Place
  /** `rest`: `a` holds records (`sparse.ts`), those of the last rows from this byte on. */
  readonly steps: Steps | { readonly rest: number }
  readonly c: Place
  readonly finish: Finish
  /** What spots call the first row. */
  readonly firstRow?: Expr | number
  readonly tile: Tile
}

/** A place without what is added to it when it runs, which kernels add once instead of at every load. */
const fixed = ({ space, offset }: Place): Place => ({ space, offset })
const moving = ({ address }: Place, e: Expr): Expr => (address ? add(address, e) : e)

/** Rows of a tile of a product of matrices. */
const rowsOfTile = 4

/** Blocks of so many rows as a tile has, and one of what is left. `first`: the channel of row 0. */
export const rowBlocks = (m: number, k: number, tile: number, first = 0): Block[] =>
  Array.from({ length: Math.ceil(m / tile) }, (_, b) => {
    const from = b * tile
    const rows = Array.from({ length: Math.min(tile, m - from) }, (_, i) => first + from + i)
    return { starts: rows, channels: rows, terms: k }
  })

/** What tiles of a product of maps take, inside their routine. */
interface Tiles {
  readonly weights: Place
  /** Numbers of the first row and the one behind the last, as byte offsets in an array with one float for each. */
  readonly rows: readonly [from: Expr, to: Expr]
  /** Byte offsets in a row. */
  readonly columns: readonly [from: Expr, to: Expr]
  readonly b: Place
  /** How far the rows of b are apart, or where their byte offsets stand; where that ends. */
  readonly steps: { readonly step: Expr } | { readonly table: Place } | 'records'
  readonly end: Expr
  readonly c: Place
  /** Byte offset of the first row in c, and bytes from row to row. */
  readonly to: Expr
  readonly rowBytes: Expr
  readonly finish: Finish
}

/** For each column: its tiles of `rows` rows × `vectors` vectors, row by row. */
function tilesOfMaps(rows: number, vectors: number, inside: Inside, t: Tiles): Stmt[] {
  const [w, to, x] = [local('i32', 'w'), local('i32', 'to'), local('i32', 'x')]
  const sums = Array.from({ length: rows }, () => Array.from({ length: vectors }, () => local('f32x4', 'sum')))
  const xs = Array.from({ length: vectors }, () => local('f32x4', 'x'))
  const factors = sums.map(() => local('f32x4', 'w'))
  const { space } = t.b
  const weights: Place = { space: t.weights.space, offset: 0 }

  const begin = sums.flatMap((line, i) => {
    const start = local('f32x4', 'start')
    return [set(start, loadSplat(at(weights, get(w), i * 4))), ...line.map((s) => set(s, get(start)))]
  })
  const multiply = (from: Expr, head = 0): Stmt[] => [
    ...xs.map((v, j) => set(v, load4(at({ space, offset: 0 }, from, 16 * j)))),
    ...factors.map((f, i) => set(f, loadSplat(at(weights, get(w), head + 4 * i)))),
    ...sums.flatMap((line, i) =>
      line.map((s, j) => set(s, add(get(s), mul(get(factors[i] as Local), get(xs[j] as Local)))))
    ),
    ...(head ? [] : [set(w, add(get(w), rows * 4))])
  ]
  const base = local('i32', 'base')
  const last = local('i32', 'last')
  const records = (): Stmt[] => [
    set(w, add(get(w), 4)),
    set(last, add(get(w), load(at(weights, get(w), -4), 'i32'))),
    {
      ...{ is: 'loop', local: w, from: get(w), to: get(last), step: 4 + rows * 4 },
      body: [set(x, add(load(at(weights, get(w)), 'i32'), get(base))), ...multiply(get(x), 4)]
    }
  ]
  const steps =
    t.steps === 'records'
      ? []
      : 'step' in t.steps
        ? loopOver(get(base), add(get(base), t.end), t.steps.step, multiply, 'x')
        : loopOver(
            i32(0),
            t.end,
            4,
            (k) => [
              set(x, add(load(at((t.steps as { table: Place }).table, k), 'i32'), get(base))),
              ...multiply(get(x))
            ],
            'k'
          )
  const write = (row: Expr, column: Expr): Stmt[] =>
    sums.flatMap((line, i) => [
      ...line.map((s, j) => {
        const spot = {
          address: add(get(to), 16 * j),
          row: add(row, 4 * i),
          column: add(column, 16 * j),
          through: inside.place
        }
        return store(at(t.c, get(to), 16 * j), t.finish(get(s), spot))
      }),
      set(to, add(get(to), t.rowBytes))
    ])
  return [
    loopOver(
      t.columns[0],
      t.columns[1],
      vectors * 16,
      (column) => [
        set(w, t.weights.address as Expr),
        set(to, add(t.to, column)),
        set(base, add(t.b.address as Expr, column)),
        loopOver(
          t.rows[0],
          t.rows[1],
          rows * 4,
          (row) => [
            ...begin,
            set(w, add(get(w), rows * 4)),
            ...(t.steps === 'records' ? records() : [steps].flat()),
            ...write(row, column)
          ],
          'm'
        )
      ],
      'n'
    )
  ]
}

/** c[m, n] for maps: rows are channels, with constant factors; columns are positions of a map. c has n columns. */
export function mapsProduct({ m, n, k, steps, finish, firstRow = 0, a, b, c, tile }: MapsProduct): Stmt[] {
  const { vectors } = tile
  const wide = vectors * 4
  const last = Math.max(0, n - wide) * 4
  const [full, rest] = [Math.floor(m / tile.rows), m % tile.rows]

  /** Blocks of `rows` rows from `block` on, at the columns from `left` on below `right` (in bytes). */
  const tiles = (rows: number, block: Expr, blocks: number, left: Expr, right: Expr, first = 0): Stmt =>
    outlined(
      `${rows} × ${wide} tiles of a product of maps`,
      (inside) => {
        const row = mul(block, tile.rows)
        const shown = add(row, firstRow)
        return tilesOfMaps(rows, vectors, inside, {
          weights: inside.place('rest' in steps ? at(a, undefined, first) : at(a, mul(block, tile.rows * (k + 1) * 4))),
          rows: [inside.take(mul(shown, 4)), inside.take(mul(add(shown, blocks * rows), 4))],
          columns: [inside.take(left), inside.take(right)],
          b: inside.place(b),
          steps:
            'rest' in steps
              ? 'records'
              : 'step' in steps
                ? { step: inside.take(steps.step) }
                : { table: inside.place(steps.table) },
          end: inside.take(k * ('step' in steps ? steps.step : 4)),
          c: inside.place(fixed(c)),
          to: inside.take(moving(c, mul(row, n * 4))),
          rowBytes: inside.take(n * 4),
          finish
        })
      },
      tile.own
    )
  // Columns by whole tiles, and a tile that ends with the row where they do not come out even.
  const isEven = last % (wide * 4) === 0
  const end = isEven ? last + 1 : last
  const partial = isEven ? [] : [i32(last)]

  if (tile.byRows) {
    const line = (rows: number, block: Expr): Stmt[] => [
      ...(end > 0 ? [tiles(rows, block, 1, i32(0), i32(end))] : []),
      ...partial.map((column) => tiles(rows, block, 1, column, add(column, 1)))
    ]
    return [...loop(0, full, 1, (i) => line(tile.rows, i), 'm'), ...(rest > 0 ? line(rest, i32(full)) : [])]
  }
  const column = (left: Expr): Stmt[] => [
    ...(full > 0 ? [tiles(tile.rows, i32(0), full, left, add(left, 1))] : []),
    ...(rest > 0 ? [tiles(rest, i32(full), 1, left, add(left, 1), 'rest' in steps ? steps.rest : 0)] : [])
  ]
  return [...loop(0, end, wide * 4, column, 'n'), ...partial.flatMap(column)]
}

export interface RowsProduct {
  readonly m: number
  readonly n: number
  readonly k: number
  /** Beside each other in a tile. */
  readonly vectors: number
  /** Element (m, k) lies at m·row + k·step bytes. */
  readonly a: Place & { readonly row: number; readonly step: number }
  /** Row k begins at k·row bytes; with `panels`, columns lie in panels as `panelBlocks` gives them. */
  readonly b: Place & ({ readonly row: number } | { readonly panels: true })
  /** One float for each column; absent: 0. */
  readonly start?: Place
  readonly c: Place
  readonly finish: Finish
}

/** Vectors beside each other in a tile of several rows, or of one. */
export const vectorsFor = (isMany: boolean, n: number): number => {
  const most = isMany ? 2 : 4
  return n >= most * 4 ? most : n >= 8 && most > 2 ? 2 : 1
}

/** Panels of columns, each with all k rows on end; the last begins earlier, so that it is full too (none is where n is less than 4). */
export function panelBlocks(vectors: number, n: number, k: number): Block[] {
  const wide = vectors * 4
  return Array.from({ length: Math.ceil(n / wide) }, (_, p) => {
    const first = Math.max(0, Math.min(p * wide, n - wide))
    return { starts: [], channels: Array.from({ length: wide }, (_, i) => (first + i < n ? first + i : -1)), terms: k }
  })
}

/** c[m, n] for matrices: rows are samples or positions, columns are outputs. c has n columns. */
export function rowsProduct({ m, n, k, vectors, a, b, start, c, finish }: RowsProduct): Stmt[] {
  const wide = vectors * 4
  const lastColumn = Math.max(0, n - wide)
  const [full, rest] = [Math.floor(m / rowsOfTile), m % rowsOfTile]
  const bStep = 'panels' in b ? wide * 4 : b.row

  /** All tiles of `rows` rows of a panel, from row `first` on below `behind`. */
  const tiles = (rows: number, first: number, behind: number, column: Expr, panel: Expr): Stmt =>
    outlined(`${rows} × ${wide} tiles of a product of matrices`, (inside) => {
      const shape = { rows, vectors, k, n, aRow: a.row, aStep: a.step, bStep }
      return tilesOfRows(shape, {
        a: inside.place(at(a, i32(first * a.row))),
        b: inside.place(at(b, panel)),
        ...(start ? { start: inside.place(start) } : {}),
        c: inside.place(fixed(c)),
        to: inside.take(moving(c, add(column, first * n * 4))),
        column: inside.take(column),
        rows: [inside.take(first * 4), inside.take(behind * 4)],
        finish: (sums, spot) => finish(sums, { ...spot, through: inside.place })
      })
    })

  const panels = Math.ceil(n / wide)
  return loop(
    0,
    panels,
    1,
    (p) => {
      const column = local('i32', 'n')
      const panel = 'panels' in b ? mul(p, k * wide * 4) : get(column)
      return [
        set(column, mul(min(mul(p, wide), lastColumn), 4)),
        ...(full > 0 ? [tiles(rowsOfTile, 0, full * rowsOfTile, get(column), panel)] : []),
        ...(rest > 0 ? [tiles(rest, full * rowsOfTile, m, get(column), panel)] : [])
      ]
    },
    'p'
  )
}

/** What tiles of a product of matrices take, inside their routine. */
interface RowTiles {
  readonly a: Place
  readonly b: Place
  readonly start?: Place
  readonly c: Place
  /** Byte offset of the first tile in c. */
  readonly to: Expr
  /** Byte offset of its first column in a row. */
  readonly column: Expr
  /** Numbers of the first row and the one behind the last, as byte offsets in an array with one float for each. */
  readonly rows: readonly [from: Expr, to: Expr]
  finish(sums: Expr, spot: Omit<Spot, 'through'>): Expr
}

interface RowShape {
  readonly rows: number
  readonly vectors: number
  readonly k: number
  readonly n: number
  readonly aRow: number
  readonly aStep: number
  readonly bStep: number
}

function tilesOfRows({ rows, vectors, k, n, aRow, aStep, bStep }: RowShape, t: RowTiles): Stmt[] {
  const sums = Array.from({ length: rows }, () => Array.from({ length: vectors }, () => local('f32x4', 'sum')))
  const [row, to, x, y] = [local('i32', 'row'), local('i32', 'to'), local('i32', 'a'), local('i32', 'b')]
  const ys = Array.from({ length: vectors }, () => local('f32x4', 'b'))
  const xs = sums.map(() => local('f32x4', 'a'))
  const starts = ys.map((_, j) => (t.start ? load4(at(t.start, t.column, 16 * j)) : splatZero))
  const multiply = (): Stmt[] => [
    ...ys.map((v, j) => set(v, load4({ space: t.b.space, offset: 16 * j, address: get(y) }))),
    ...xs.map((f, i) => set(f, loadSplat({ space: t.a.space, offset: i * aRow, address: get(x) }))),
    ...sums.flatMap((line, i) =>
      line.map((s, j) => set(s, add(get(s), mul(get(xs[i] as Local), get(ys[j] as Local)))))
    ),
    set(x, add(get(x), aStep)),
    set(y, add(get(y), bStep))
  ]
  const write = (at4: Expr): Stmt[] =>
    sums.flatMap((line, i) =>
      line.map((s, j) => {
        const offset = i * n * 4 + 16 * j
        const spot = { address: add(get(to), offset), row: add(at4, 4 * i), column: add(t.column, 16 * j) }
        return store(at(t.c, get(to), offset), t.finish(get(s), spot))
      })
    )
  return [
    set(row, t.a.address as Expr),
    set(to, t.to),
    loopOver(
      t.rows[0],
      t.rows[1],
      rows * 4,
      (r) => [
        ...sums.flatMap((line) => line.map((s, j) => set(s, starts[j] as Expr))),
        set(x, get(row)),
        set(y, t.b.address as Expr),
        ...loop(0, k, 1, multiply, 'k'),
        ...write(r),
        set(row, add(get(row), rows * aRow)),
        set(to, add(get(to), rows * n * 4))
      ],
      'm'
    )
  ]
}

const splatZero: Expr = { is: 'const', kind: 'f32x4', value: 0 }
