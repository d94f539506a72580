/**
 * Windows over each map by itself, on codes: depthwise convolutions, sums and greatest codes. A lane holds one position of four
 * maps; two steps of a window are multiplied at a time, as pairs of 16-bit numbers.
 */
import {
  add,
  at,
  type Expr,
  get,
  type Inside,
  i32,
  type Local,
  load4,
  local,
  loop,
  min,
  mul,
  outlined,
  type Place,
  pack,
  type Stmt,
  set,
  splat
} from '../../ir/loops.ts'
import { type Lane, laneOf, type Slide, shifted } from './copy.ts'
import { storeLanes } from './dots.ts'
import { padded } from './windows.ts'

export interface DepthSums {
  /** Four maps each. */
  readonly blocks: number
  readonly y: Slide
  readonly x: Slide
  readonly from: Place
  readonly to: Place
  readonly scratch: Place
  readonly outside: Lane
  /**
   * `weights`: for each block and four steps 32 bytes, as `pairsOf` lays quads of channels out, and `starts` with a whole
   * number for each channel. `ones`: sums from `start` on. `max`: the greatest, and nothing else.
   */
  readonly by:
    | { readonly is: 'weights'; readonly weights: Place; readonly starts: Place }
    | { readonly is: 'ones'; readonly start: number }
    | { readonly is: 'max' }
  /** Whole numbers to be held to bytes, of four sums; `number`: of a block, as a byte offset in an array of numbers. */
  finish(inside: Inside): (sums: Expr, number: Expr) => Expr
}

/** How the steps of windows lie in scratch memory, and where windows begin. */
interface Room {
  readonly lanes: number
  readonly offsets: readonly number[]
  /** Rows of windows that are walked, positions of one, and bytes from row to row. */
  readonly rows: number
  readonly columns: number
  readonly rowBytes: number
  border(to: Place): Stmt[]
  make(from: Place, to: Place): Stmt[]
}

/** Padded maps; or, where rows are so short that vectors along them would be half empty, planes for each column of the window. */
function roomOf(y: Slide, x: Slide, outside: Lane): Room {
  const isShort = Math.ceil(x.out / 4) * 4 >= x.out * 1.25 && y.out > 1
  const steps = (offset: (ky: number, kx: number) => number): number[] =>
    Array.from({ length: y.kernel * x.kernel }, (_, i) => offset(Math.floor(i / x.kernel), i % x.kernel))
  if (isShort) {
    const { floats: lanes, offset, make } = shifted(y, x, outside)
    return { lanes, offsets: steps(offset), rows: 1, columns: y.out * x.out, rowBytes: 0, border: () => [], make }
  }
  const { floats: lanes, offset, make, rowBytes, border } = padded(y, x, outside)
  return { lanes, offsets: steps(offset), rows: y.out, columns: x.out, rowBytes, border, make }
}

/** Lanes of scratch memory that windows need. */
export const depthLanes = (y: Slide, x: Slide): number => roomOf(y, x, laneOf(0)).lanes + 4

/** What is stored may reach up to 12 bytes behind the last map. */
export function depthSums({ blocks, y, x, from, to, scratch, outside, by, finish }: DepthSums): Stmt[] {
  const room = roomOf(y, x, outside)
  const quads = Math.ceil(room.offsets.length / 4)
  const plane = y.out * x.out * 4
  const one = (block: Expr): Stmt[] => [
    outlined(`four maps of codes of ${y.size}×${x.size}, padded`, (inside) =>
      room.make(inside.place(at(from, mul(block, y.size * x.size * 4))), inside.place(scratch))
    ),
    outlined(`windows ${y.kernel}×${x.kernel} of four maps of codes`, (inside) =>
      windowsOf({
        ...{ room, by, number: inside.take(mul(block, 16)), finish: finish(inside) },
        scratch: inside.place(scratch),
        to: inside.place(at(to, mul(block, plane))),
        ...(by.is === 'weights'
          ? { weights: inside.place(at(by.weights, mul(block, quads * 32))), starts: inside.place(by.starts) }
          : {})
      })
    )
  ]
  return [...room.border(scratch), ...loop(0, blocks, 1, one, 'c')]
}

/** Windows of four maps, inside their routine. */
interface WindowsOf {
  readonly room: Room
  readonly by: DepthSums['by']
  readonly scratch: Place
  readonly to: Place
  readonly number: Expr
  readonly weights?: Place
  readonly starts?: Place
  finish(sums: Expr, number: Expr): Expr
}

function windowsOf(d: WindowsOf): Stmt[] {
  const { room, scratch, to } = d
  const last = Math.max(0, room.columns - 4) * 4
  const columns = Math.ceil(room.columns / 4)
  const [column, read, target] = [local('i32', 'x'), local('i32', 'read'), local('i32', 'to')]
  const steps = room.offsets.length
  const factors = d.by.is === 'max' ? [] : Array.from({ length: Math.ceil(steps / 2) }, () => local('i32x4', 'w'))
  const start = local('i32x4', 'start')
  const prepared: Stmt[] =
    d.by.is === 'max'
      ? []
      : [
          set(start, d.starts ? load4(at(d.starts, d.number), 'i32x4') : splat(i32((d.by as { start: number }).start))),
          ...factors.map((f, i) =>
            set(f, d.weights ? load4(at(d.weights, undefined, i * 16), 'i32x4') : onesOf(2 * i + 1 < steps))
          )
        ]
  const value = (step: number): Expr =>
    load4({ space: scratch.space, offset: room.offsets[step] as number, address: get(read) }, 'i32x4')
  return [
    ...prepared,
    ...loop(
      0,
      room.rows,
      1,
      (r) =>
        loop(
          0,
          columns,
          1,
          (c) => [
            set(column, columns === 1 ? i32(0) : min(mul(c, 16), last)),
            set(read, add(add(mul(r, room.rowBytes), get(column)), scratch.address ?? 0)),
            set(target, add(add(mul(r, room.columns * 4), get(column)), to.address ?? 0)),
            ...windowOf(d, value, start, factors, { space: to.space, offset: to.offset, address: get(target) })
          ],
          'x'
        ),
      'y'
    )
  ]
}

const onesOf = (both: boolean): Expr => ({ is: 'const', kind: 'i32x4', value: both ? 0x0001_0001 : 1 })

/** Four positions of a window. */
function windowOf(
  d: WindowsOf,
  value: (step: number) => Expr,
  start: Local,
  factors: readonly Local[],
  to: Place
): Stmt[] {
  const steps = d.room.offsets.length
  if (d.by.is === 'max') {
    const most = local('i32x4', 'most')
    const rest = Array.from({ length: steps - 1 }, (_, i) => set(most, pack('maxBytes', get(most), value(i + 1))))
    return [set(most, value(0)), ...rest, storeLanes(to, get(most))]
  }
  const sums = [0, 1, 2, 3].map(() => local('i32x4', 'sum'))
  const out: Stmt[] = sums.map((s) => set(s, get(start)))
  factors.forEach((f, i) => {
    const [a, b] = [local('i32x4', 'a'), local('i32x4', 'b')]
    const isPair = 2 * i + 1 < steps
    out.push(
      set(a, value(2 * i)),
      ...(isPair ? [set(b, value(2 * i + 1))] : []),
      ...sums.map((s, p) => {
        const zipped = pack(`zip${p as 0 | 1 | 2 | 3}`, get(a), get(isPair ? b : a))
        return set(s, add(get(s), pack('dotPairs', zipped, get(f))))
      })
    )
  })
  return [...out, ...finished(sums, (s) => d.finish(s, d.number), to)]
}

/** Four vectors, each of one position's maps, as four lanes. */
export function finished(sums: readonly Local[], finish: (sum: Expr) => Expr, to: Place): Stmt[] {
  const codes = sums.map(() => local('i32x4', 'code'))
  return [
    ...sums.map((s, i) => set(codes[i] as Local, finish(get(s)))),
    storeLanes(to, pack('bytesAcross', ...codes.map((c) => get(c))))
  ]
}

export interface Means {
  /** Four maps each. */
  readonly blocks: number
  /** Positions of a map. */
  readonly positions: number
  readonly from: Place
  readonly to: Place
  start: Expr
  finish(sums: Expr): Expr
}

/** One code for each map, from the sum of all its positions. */
export function mapMeans({ blocks, positions, from, to, start, finish }: Means): Stmt[] {
  const whole = Math.floor(positions / 4)
  const ones: Expr = { is: 'const', kind: 'i32x4', value: 0x0001_0001 }
  return loop(0, blocks, 1, (block) => {
    const [sum, zero] = [local('i32x4', 'sum'), local('i32x4', 'zero')]
    const first = mul(block, positions * 4)
    /** Adds the first so many positions of a vector: those behind a map belong to the next. */
    const gather = (vector: Expr, count: number): Stmt[] => {
      const x = local('i32x4', 'x')
      return [
        set(x, vector),
        ...([0, 1, 2, 3] as const)
          .slice(0, count)
          .map((p) => set(sum, add(get(sum), pack('dotPairs', pack(`zip${p}`, get(x), get(zero)), ones))))
      ]
    }
    const code = local('i32x4', 'code')
    return [
      set(sum, start),
      set(zero, { is: 'const', kind: 'i32x4', value: 0 }),
      ...loop(0, whole, 1, (v) => gather(load4(at(from, add(first, mul(v, 16))), 'i32x4'), 4), 'v'),
      ...(positions % 4 ? gather(load4(at(from, first, whole * 16), 'i32x4'), positions % 4) : []),
      set(code, finish(get(sum))),
      storeLanes(at(to, mul(block, 4)), pack('bytesAcross', get(code), get(code), get(code), get(code)))
    ]
  })
}
