/** Planes of columns for convolutions over few channels: four neighbours of a row share a lane. */
import { add, at, load, loop, mul, type Place, type Stmt, store } from '../../ir/loops.ts'
import { fill, laneOf, type Slide } from './copy.ts'

export interface BytePlanes {
  /** Of one map. */
  readonly lanes: number
  /** Lanes of scratch memory that `make` needs. */
  readonly scratch: number
  /** Byte offset of the run for row ky of the window and its columns 4·part … 4·part + 3. */
  offset(ky: number, part: number): number
  /** Fills the planes from a map of bytes, by way of a padded one. */
  make(from: Place, to: Place, scratch: Place): Stmt[]
}

/** [part][phase][row][column of the output], a lane each. Row r of phase p is row r·stride + p of the padded map. */
export function bytePlanes(y: Slide, x: Slide, outside: number): BytePlanes {
  const parts = Math.ceil(x.kernel / 4)
  const phases = [...new Set(Array.from({ length: y.kernel }, (_, k) => (k * y.dilation) % y.stride))].sort(
    (a, b) => a - b
  )
  const rows = y.out + Math.floor(((y.kernel - 1) * y.dilation) / y.stride)
  const plane = rows * x.out
  const tall = (rows - 1) * y.stride + Math.max(...phases) + 1
  const wide = Math.ceil(((x.out - 1) * x.stride + parts * 4) / 4) * 4
  const [first, behind] = [Math.max(0, y.before), Math.min(tall, y.before + y.size)]
  const [left, right] = [Math.max(0, x.before), Math.min(wide, x.before + x.size)]
  return {
    lanes: parts * phases.length * plane,
    scratch: (tall * wide) / 4 + 4,
    offset: (ky, part) => {
      const down = ky * y.dilation
      return (
        ((part * phases.length + phases.indexOf(down % y.stride)) * plane + Math.floor(down / y.stride) * x.out) * 4
      )
    },
    make: (from, to, scratch) => [
      ...fill(scratch, (tall * wide) / 4, laneOf(outside)),
      ...loop(first, behind, 1, (r) =>
        runOfBytes(
          at(from, mul(r, x.size), left - x.before - y.before * x.size),
          at(scratch, mul(r, wide), left),
          right - left
        )
      ),
      ...Array.from({ length: parts }, (_, part) =>
        phases.flatMap((phase, p) =>
          loop(0, rows, 1, (r) =>
            loop(0, x.out, 1, (c) => [
              store(
                at(to, mul(add(mul(r, x.out), c), 4), (part * phases.length + p) * plane * 4),
                load(at(scratch, add(mul(r, y.stride * wide), mul(c, x.stride)), phase * wide + part * 4), 'i32'),
                'i32'
              )
            ])
          )
        )
      ).flat()
    ]
  }
}

/** Four bytes at a time, then one by one. */
function runOfBytes(from: Place, to: Place, count: number): Stmt[] {
  const lanes = count - (count % 4)
  return [
    ...loop(0, lanes, 4, (i) => [store(at(to, i), load(at(from, i), 'i32'), 'i32')]),
    ...loop(lanes, count, 1, (i) => [store(at(to, i), load(at(from, i), 'u8'), 'u8')])
  ]
}
