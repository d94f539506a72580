/** Windows over each map by itself: depthwise convolutions and pooling. Vectors along the positions of a row. */
import {
  add,
  at,
  type Expr,
  f32,
  get,
  i32,
  load4,
  loadSplat,
  local,
  loop,
  max,
  min,
  mul,
  outlined,
  type Place,
  type Stmt,
  set,
  splat,
  store
} from '../../ir/loops.ts'
import { copyRun, fill, type Lane, type Slide } from './copy.ts'
import type { Finish } from './product.ts'

/**
 * One padded map, columns of each phase on end, so that every step of a window is a run along the row: [row][phase][column].
 */
export interface Padded {
  readonly floats: number
  offset(ky: number, kx: number): number
  /** Bytes from one row of the output to the next. */
  readonly rowBytes: number
  /** What lies around the map: written once for all maps. */
  border(to: Place): Stmt[]
  /** The map itself. */
  make(from: Place, to: Place): Stmt[]
}

export function padded(y: Slide, x: Slide, outside: number | Lane): Padded {
  const rows = (y.out - 1) * y.stride + (y.kernel - 1) * y.dilation + 1
  const columns = x.out + Math.floor(((x.kernel - 1) * x.dilation) / x.stride)
  const phases = Math.min(x.stride, (x.kernel - 1) * x.dilation + 1)
  const width = phases * columns
  return {
    floats: rows * width,
    rowBytes: y.stride * width * 4,
    offset: (ky, kx) => {
      const right = kx * x.dilation
      return (ky * y.dilation * width + (right % x.stride) * columns + Math.floor(right / x.stride)) * 4
    },
    border: (to) => fill(to, rows * width, outside),
    make: (from, to) => {
      const [first, behind] = [Math.max(0, y.before), Math.min(rows, y.before + y.size)]
      return loop(
        first,
        behind,
        1,
        (r) => {
          const out: Stmt[] = []
          for (let p = 0; p < phases; p++) {
            // Column c of phase p is column c·stride + p − before of the map.
            const left = Math.max(0, Math.ceil((x.before - p) / x.stride))
            const right = Math.min(columns, Math.floor((x.size - 1 - p + x.before) / x.stride) + 1)
            if (right <= left) continue
            const source = -y.before * x.size + left * x.stride + p - x.before
            out.push(
              ...copyRun(
                at(from, mul(r, x.size * 4), source * 4),
                at(to, mul(r, width * 4), (p * columns + left) * 4),
                right - left,
                x.stride
              )
            )
          }
          return out
        },
        'r'
      )
    }
  }
}

export interface Windows {
  readonly maps: number
  /** Output maps of one input map. */
  readonly each: number
  readonly y: Slide
  readonly x: Slide
  readonly from: Place
  readonly to: Place
  readonly scratch: Place
  /** `weights`: for each output map its start, then a factor for each step; `max`: the greatest; `sum`: the sum. */
  readonly by: { readonly weights: Place } | 'max' | 'sum'
  readonly finish: Finish
}

/** What lies around a map. */
export const outsideOf = (by: Windows['by']): number => (by === 'max' ? Number.NEGATIVE_INFINITY : 0)

export function windows({ maps, each, y, x, from, to, scratch, by, finish }: Windows): Stmt[] {
  const room = padded(y, x, outsideOf(by))
  const steps: number[] = []
  for (let ky = 0; ky < y.kernel; ky++) for (let kx = 0; kx < x.kernel; kx++) steps.push(room.offset(ky, kx))
  const outPlane = y.out * x.out * 4

  const one = (map: Expr): Stmt[] => {
    const m = mul(map, each)
    return [
      outlined(`a map of ${y.size}×${x.size}, padded`, (inside) =>
        room.make(inside.place(at(from, mul(map, y.size * x.size * 4))), inside.place(scratch))
      ),
      ...loop(
        0,
        each,
        1,
        (j) => {
          const row = add(m, j)
          return [
            outlined(`windows ${y.kernel}×${x.kernel} of a map`, (inside) =>
              ofMap({
                ...{ y, x, by, steps, rowBytes: room.rowBytes },
                finish: (sums, spot) => finish(sums, { ...spot, through: inside.place }),
                scratch: inside.place(scratch),
                to: inside.place({ space: to.space, offset: to.offset }),
                base: inside.take(to.address ? add(to.address, mul(row, outPlane)) : mul(row, outPlane)),
                row: inside.take(mul(row, 4)),
                ...(typeof by === 'object'
                  ? { weights: inside.place(at(by.weights, mul(row, (steps.length + 1) * 4))) }
                  : {})
              })
            )
          ]
        },
        'j'
      )
    ]
  }
  return [...room.border(scratch), ...loop(0, maps, 1, one, 'c')]
}

/** One output map, inside its routine. */
interface OfMap extends Pick<Windows, 'x' | 'y' | 'by' | 'scratch' | 'to'> {
  /** Byte offsets of a window's steps, and of one row of the output to the next. */
  readonly steps: readonly number[]
  readonly rowBytes: number
  /** Byte offset of the map among all, and its number as a byte offset in an array with one float for each. */
  readonly base: Expr
  readonly row: Expr
  readonly weights?: Place
  finish(sums: Expr, spot: Omit<Parameters<Finish>[1], 'through'>): Expr
}

function ofMap({ x, y, by, steps, rowBytes, scratch, to, base, row, weights, finish }: OfMap): Stmt[] {
  const blocks = Math.ceil(x.out / 4)
  const last = Math.max(0, x.out - 4) * 4
  const [column, read, sum, address] = [
    local('i32', 'x'),
    local('i32', 'read'),
    local('f32x4', 'sum'),
    local('i32', 'a')
  ] as const
  const value = (offset: number): Expr => load4({ space: scratch.space, offset, address: get(read) })
  const accumulate = (): Stmt[] => {
    if (weights)
      return [
        set(sum, loadSplat(weights)),
        ...steps.map((o, i) => set(sum, add(get(sum), mul(value(o), loadSplat(at(weights, undefined, (i + 1) * 4))))))
      ]
    const join = by === 'max' ? max : add
    return [set(sum, splat(f32(outsideOf(by)))), ...steps.map((o) => set(sum, join(get(sum), value(o))))]
  }
  return loop(
    0,
    y.out,
    1,
    (r) =>
      loop(0, blocks, 1, (b) => {
        const position = add(mul(r, x.out * 4), get(column))
        return [
          set(column, blocks === 1 ? i32(0) : min(mul(b, 16), last)),
          set(read, add(add(mul(r, rowBytes), get(column)), scratch.address ?? 0)),
          ...accumulate(),
          set(address, add(base, position)),
          store(at(to, get(address)), finish(get(sum), { address: get(address), row, column: i32(0), position }))
        ]
      }),
    'y'
  )
}
