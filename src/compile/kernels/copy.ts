/** Runs of floats, or of lanes with four codes each: filled, copied, gathered by a step. Counts are fixed when the code is made. */
import { at, type Expr, f32, i32, load, load4, loop, mul, type Place, type Stmt, splat, store } from '../../ir/loops.ts'

/** For each vector of four below `count` and then for each float that is left: the byte offset. */
export function along(count: number, four: (offset: Expr) => Stmt[], one: (offset: Expr) => Stmt[]): Stmt[] {
  const whole = count - (count % 4)
  return [...loop(0, whole * 4, 16, four, 'v'), ...loop(whole * 4, count * 4, 4, one, 's')]
}

/** `value`: a float, or a lane of codes. */
export const fill = (to: Place, count: number, value: number | Lane): Stmt[] => {
  const one = typeof value === 'number' ? f32(value) : i32(value.lane)
  const cell = typeof value === 'number' ? 'f32' : 'i32'
  return along(
    count,
    (o) => [store(at(to, o), splat(one), cell)],
    (o) => [store(at(to, o), one, cell)]
  )
}

/** Four codes that lie in one lane, as a number of 32 bits. */
export interface Lane {
  readonly lane: number
}
/** The same code four times. */
export const laneOf = (code: number): Lane => ({ lane: Math.imul(code & 255, 0x01010101) })

/** `count` floats or lanes, `step` of them apart at their source. */
export const copyRun = (from: Place, to: Place, count: number, step = 1): Stmt[] =>
  step === 1
    ? along(
        count,
        (o) => [store(at(to, o), load4(at(from, o), 'i32x4'), 'i32')],
        (o) => [store(at(to, o), load(at(from, o), 'i32'), 'i32')]
      )
    : loop(0, count, 1, (i) => [store(at(to, mul(i, 4)), load(at(from, mul(i, step * 4)), 'i32'), 'i32')], 'i')

/** How a window slides along one axis of a map. */
export interface Slide {
  readonly size: number
  readonly out: number
  readonly kernel: number
  readonly stride: number
  readonly dilation: number
  readonly before: number
}

/**
 * Rows of a map as a window reads them, so that every step of the window is a run: planes [kernel column][phase][row][column
 * of the output]. Row r of phase p is row r·stride + p of the padded map. What lies outside is `outside`.
 */
export interface Shifted {
  readonly floats: number
  /** Byte offset at which the run of a window's step begins. */
  offset(ky: number, kx: number): number
  /** Fills the planes from a map. */
  make(from: Place, to: Place): Stmt[]
}

export function shifted(y: Slide, x: Slide, outside: number | Lane): Shifted {
  const phases = [...new Set(Array.from({ length: y.kernel }, (_, k) => (k * y.dilation) % y.stride))].sort(
    (a, b) => a - b
  )
  const rows = y.out + Math.floor(((y.kernel - 1) * y.dilation) / y.stride)
  const plane = rows * x.out
  const make = (from: Place, to: Place): Stmt[] => {
    const out: Stmt[] = []
    for (let kx = 0; kx < x.kernel; kx++) {
      const [left, right] = inside(x, kx * x.dilation - x.before, x.out)
      phases.forEach((phase, p) => {
        const [first, behind] = inside(y, phase - y.before, rows)
        const start = (kx * phases.length + p) * plane
        const dest = at(to, undefined, start * 4)
        if (first >= behind || left >= right) {
          out.push(...fill(dest, plane, outside))
          return
        }
        out.push(...fill(dest, first * x.out, outside))
        out.push(...fill(at(dest, undefined, behind * x.out * 4), (rows - behind) * x.out, outside))
        const source = (phase - y.before) * x.size + left * x.stride + kx * x.dilation - x.before
        if (left === 0 && right === x.out && x.stride === 1 && y.stride === 1 && x.out === x.size) {
          const run = first * x.out
          out.push(
            ...copyRun(
              at(from, undefined, (source + first * x.size) * 4),
              at(dest, undefined, run * 4),
              (behind - first) * x.out
            )
          )
          return
        }
        out.push(
          ...loop(
            first,
            behind,
            1,
            (r) => {
              const row = at(dest, mul(r, x.out * 4))
              const read = at(from, mul(r, y.stride * x.size * 4), source * 4)
              return [
                ...fill(row, left, outside),
                ...copyRun(read, at(row, undefined, left * 4), right - left, x.stride),
                ...fill(at(row, undefined, right * 4), x.out - right, outside)
              ]
            },
            'r'
          )
        )
      })
    }
    return out
  }
  return {
    floats: x.kernel * phases.length * plane,
    offset: (ky, kx) => {
      const down = ky * y.dilation
      const at = (kx * phases.length + phases.indexOf(down % y.stride)) * plane
      return (at + Math.floor(down / y.stride) * x.out) * 4
    },
    make
  }
}

/** The positions i below `count` for which i·stride + shift lies inside: from the first on, below the second. */
function inside({ size, stride }: Slide, shift: number, count: number): [number, number] {
  const first = Math.max(0, Math.ceil(-shift / stride))
  const behind = Math.min(count, Math.floor((size - 1 - shift) / stride) + 1)
  return [Math.min(first, count), Math.max(behind, 0)]
}
