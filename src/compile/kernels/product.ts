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
  i32,
  load,
  load4,
  loadSplat,
  local,
  loop,
  min,
  mul,
  type Place,
  type Stmt,
  set,
  store
} from '../../ir/loops.ts'
import type { Block } from '../packing.ts'

/** Where four sums are stored: their byte offset in the output, and those of row and column in an array with one float for each. */
export interface Spot {
  readonly address: Expr
  readonly row: Expr
  readonly column: Expr
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
  readonly steps: Steps
  readonly c: Place
  readonly finish: Finish
  /** What spots call the first row. */
  readonly firstRow?: Expr | number
}

/** A place without what is added to it when it runs, which kernels add once instead of at every load. */
const fixed = ({ space, offset }: Place): Place => ({ space, offset })
const moving = ({ address }: Place, e: Expr): Expr => (address ? add(address, e) : e)

const rowsOfTile = 4

/** Blocks of four rows, and one of what is left. `first`: the channel of row 0. */
export const rowBlocks = (m: number, k: number, first = 0): Block[] =>
  Array.from({ length: Math.ceil(m / rowsOfTile) }, (_, b) => {
    const from = b * rowsOfTile
    const rows = Array.from({ length: Math.min(rowsOfTile, m - from) }, (_, i) => first + from + i)
    return { starts: rows, channels: rows, terms: k }
  })

/** Bytes of first-level cache that the weights of one walk over all rows may take. */
const nearBytes = 24_576

/** c[m, n] for maps: rows are channels, with constant factors; columns are positions of a map. c has n columns. */
export function mapsProduct({ m, n, k, steps, finish, firstRow = 0, ...places }: MapsProduct): Stmt[] {
  const [a, b, c] = [fixed(places.a), fixed(places.b), fixed(places.c)]
  const vectors = n >= 8 ? 2 : 1
  const wide = vectors * 4
  const last = Math.max(0, n - wide) * 4
  const rowBytes = n * 4
  const [full, rest] = [Math.floor(m / rowsOfTile), m % rowsOfTile]
  const blockBytes = rowsOfTile * (k + 1) * 4

  /** `row` is the number of the tile's first row. */
  const tile = (rows: number, w: ReturnType<typeof local>, row: Expr, column: Expr): Stmt[] => {
    const sums = Array.from({ length: rows }, () => Array.from({ length: vectors }, () => local('f32x4', 'sum')))
    const x = local('i32', 'x')
    const xs = sums[0]?.map(() => local('f32x4', 'x')) ?? []
    const out: Stmt[] = []
    sums.forEach((line, i) => {
      const start = local('f32x4', 'start')
      out.push(set(start, loadSplat(at(a, get(w), i * 4))), ...line.map((s) => set(s, get(start))))
    })
    out.push(set(w, add(get(w), rows * 4)))
    const reads = 'step' in steps ? steps.step : 4
    out.push(
      ...loop(
        0,
        k * reads,
        reads,
        (t) => {
          const factors = sums.map(() => local('f32x4', 'w'))
          return [
            set(x, moving(places.b, add('step' in steps ? t : load(at(steps.table, t), 'i32'), column))),
            ...xs.map((v, j) => set(v, load4(at(b, get(x), 16 * j)))),
            ...factors.map((f, i) => set(f, loadSplat(at(a, get(w), 4 * i)))),
            ...sums.flatMap((line, i) =>
              line.map((s, j) => set(s, add(get(s), mul(get(factors[i] as never), get(xs[j] as never)))))
            ),
            set(w, add(get(w), rows * 4))
          ]
        },
        'k'
      )
    )
    const base = local('i32', 'c')
    out.push(set(base, moving(places.c, add(mul(row, rowBytes), column))))
    sums.forEach((line, i) => {
      line.forEach((s, j) => {
        const address = add(get(base), i * rowBytes + 16 * j)
        const spot = { address, row: mul(add(add(row, i), firstRow), 4), column: add(column, 16 * j) }
        out.push(store(at(c, get(base), i * rowBytes + 16 * j), finish(get(s), spot)))
      })
    })
    return out
  }

  const columns = (body: (column: Expr) => Stmt[]): Stmt[] =>
    loop(0, last + 1, wide * 4, body, 'n').concat(last % (wide * 4) === 0 ? [] : body(i32(last)))
  const w = local('i32', 'w')

  // The factors pass once for every tile of columns, or the maps once for every tile of rows: whichever moves fewer bytes.
  const weightBytes = m * (k + 1) * 4
  const byRows = weightBytes > nearBytes && weightBytes * Math.ceil(n / wide) > k * n * 4 * Math.ceil(m / rowsOfTile)
  if (byRows) {
    const out = loop(
      0,
      full,
      1,
      (i) => {
        const first = local('i32', 'first')
        return [
          set(first, moving(places.a, mul(i, blockBytes))),
          ...columns((column) => [set(w, get(first)), ...tile(rowsOfTile, w, mul(i, rowsOfTile), column)])
        ]
      },
      'm'
    )
    if (rest > 0)
      out.push(
        ...columns((column) => [
          set(w, moving(places.a, i32(full * blockBytes))),
          ...tile(rest, w, i32(full * rowsOfTile), column)
        ])
      )
    return out
  }
  return columns((column) => [
    set(w, moving(places.a, i32(0))),
    ...loop(0, full, 1, (i) => tile(rowsOfTile, w, mul(i, rowsOfTile), column), 'm'),
    ...(rest > 0 ? tile(rest, w, i32(full * rowsOfTile), column) : [])
  ])
}

export interface RowsProduct {
  readonly m: number
  readonly n: number
  readonly k: number
  /** Element (m, k) lies at m·row + k·step bytes. */
  readonly a: Place & { readonly row: number; readonly step: number }
  /** Row k begins at k·row bytes; with `panels`, columns lie in panels as `panelBlocks` gives them. */
  readonly b: Place & ({ readonly row: number } | { readonly panels: true })
  /** One float for each column; absent: 0. */
  readonly start?: Place
  readonly c: Place
  readonly finish: Finish
}

/** Vectors beside each other in a tile of as many rows. */
const vectorsFor = (m: number, n: number): number => {
  const most = m >= 2 ? 2 : 4
  return n >= most * 4 ? most : n >= 8 && most > 2 ? 2 : 1
}

/** Panels of columns, each with all k rows on end; the last begins earlier, so that it is full too (none is where n is less than 4). */
export function panelBlocks(m: number, n: number, k: number): Block[] {
  const wide = vectorsFor(m, n) * 4
  return Array.from({ length: Math.ceil(n / wide) }, (_, p) => {
    const first = Math.max(0, Math.min(p * wide, n - wide))
    return { starts: [], channels: Array.from({ length: wide }, (_, i) => (first + i < n ? first + i : -1)), terms: k }
  })
}

/** c[m, n] for matrices: rows are samples or positions, columns are outputs. c has n columns. */
export function rowsProduct({ m, n, k, a: from, b: factors, start, c: to, finish }: RowsProduct): Stmt[] {
  const a = { ...fixed(from), row: from.row, step: from.step }
  const [b, c] = [fixed(factors), fixed(to)]
  const vectors = vectorsFor(m, n)
  const wide = vectors * 4
  const lastColumn = Math.max(0, n - wide)
  const [full, rest] = [Math.floor(m / rowsOfTile), m % rowsOfTile]
  const bStep = 'panels' in factors ? wide * 4 : factors.row

  const tile = (rows: number, row: Expr, column: Expr, panel: Expr): Stmt[] => {
    const sums = Array.from({ length: rows }, () => Array.from({ length: vectors }, () => local('f32x4', 'sum')))
    const [x, y] = [local('i32', 'a'), local('i32', 'b')]
    const ys = sums[0]?.map(() => local('f32x4', 'b')) ?? []
    const out: Stmt[] = sums.flatMap((line) =>
      line.map((s, j) => set(s, start ? load4(at(start, column, 16 * j)) : splatZero))
    )
    out.push(set(x, moving(from, mul(row, a.row))), set(y, moving(factors, panel)))
    out.push(
      ...loop(
        0,
        k,
        1,
        () => {
          const xs = sums.map(() => local('f32x4', 'a'))
          return [
            ...ys.map((v, j) => set(v, load4(at(b, get(y), 16 * j)))),
            ...xs.map((f, i) => set(f, loadSplat(at(a, get(x), i * a.row)))),
            ...sums.flatMap((line, i) =>
              line.map((s, j) => set(s, add(get(s), mul(get(xs[i] as never), get(ys[j] as never)))))
            ),
            set(x, add(get(x), a.step)),
            set(y, add(get(y), bStep))
          ]
        },
        'k'
      )
    )
    const base = local('i32', 'c')
    out.push(set(base, moving(to, add(mul(row, n * 4), column))))
    sums.forEach((line, i) => {
      line.forEach((s, j) => {
        const spot = {
          address: add(get(base), i * n * 4 + 16 * j),
          row: mul(add(row, i), 4),
          column: add(column, 16 * j)
        }
        out.push(store(at(c, get(base), i * n * 4 + 16 * j), finish(get(s), spot)))
      })
    })
    return out
  }

  const panels = Math.ceil(n / wide)
  return loop(
    0,
    panels,
    1,
    (p) => {
      const column = local('i32', 'n')
      const panel = 'panels' in factors ? mul(p, k * wide * 4) : get(column)
      return [
        set(column, mul(min(mul(p, wide), lastColumn), 4)),
        ...loop(0, full, 1, (i) => tile(rowsOfTile, mul(i, rowsOfTile), get(column), panel), 'm'),
        ...(rest > 0 ? tile(rest, i32(full * rowsOfTile), get(column), panel) : [])
      ]
    },
    'p'
  )
}

const splatZero: Expr = { is: 'const', kind: 'f32x4', value: 0 }
