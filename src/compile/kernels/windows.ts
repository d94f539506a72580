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
  type Place,
  type Stmt,
  set,
  splat,
  store
} from '../../ir/loops.ts'
import { copyRun, fill, type Slide } from './copy.ts'
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

export function padded(y: Slide, x: Slide, outside: number): Padded {
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

export function windows({ maps, each, y, x, from, to: place, scratch, by, finish }: Windows): Stmt[] {
  const to: Place = { space: place.space, offset: place.offset }
  const room = padded(y, x, outsideOf(by))
  const steps: number[] = []
  for (let ky = 0; ky < y.kernel; ky++) for (let kx = 0; kx < x.kernel; kx++) steps.push(room.offset(ky, kx))
  const outPlane = y.out * x.out * 4
  const blocks = Math.ceil(x.out / 4)
  const last = Math.max(0, x.out - 4) * 4

  const one = (map: Expr): Stmt[] => {
    const w = local('i32', 'w')
    const m = mul(map, each)
    const outputs = loop(
      0,
      each,
      1,
      (j) => {
        const row = local('i32', 'row')
        const base = local('i32', 'base')
        return [
          set(row, add(m, j)),
          ...(typeof by === 'object' ? [set(w, mul(get(row), (steps.length + 1) * 4))] : []),
          set(base, place.address ? add(place.address, mul(get(row), outPlane)) : mul(get(row), outPlane)),
          ...loop(
            0,
            y.out,
            1,
            (r) => [
              ...loop(0, blocks, 1, (b) => {
                const column = local('i32', 'x')
                const sum = local('f32x4', 'sum')
                const address = local('i32', 'a')
                const spot = { address: get(address), row: mul(get(row), 4), column: i32(0) }
                const read = local('i32', 'read')
                return [
                  set(column, blocks === 1 ? i32(0) : min(mul(b, 16), last)),
                  set(read, add(mul(r, room.rowBytes), get(column))),
                  ...accumulate(sum, get(read), get(w)),
                  set(address, add(add(get(base), mul(r, x.out * 4)), get(column))),
                  store(at(to, get(address)), finish(get(sum), spot))
                ]
              })
            ],
            'y'
          )
        ]
      },
      'j'
    )
    return [...room.make(at(from, mul(map, y.size * x.size * 4)), scratch), ...outputs]
  }

  const accumulate = (sum: ReturnType<typeof local>, read: Expr, w: Expr): Stmt[] => {
    const value = (offset: number): Expr => load4(at(scratch, read, offset))
    if (typeof by === 'object')
      return [
        set(sum, loadSplat(at(by.weights, w))),
        ...steps.map((o, i) => set(sum, add(get(sum), mul(value(o), loadSplat(at(by.weights, w, (i + 1) * 4))))))
      ]
    const join = by === 'max' ? max : add
    return [set(sum, splat(f32(outsideOf(by)))), ...steps.map((o) => set(sum, join(get(sum), value(o))))]
  }

  return [...room.border(scratch), ...loop(0, maps, 1, one, 'c')]
}
