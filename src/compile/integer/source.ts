/** Where the lanes of a convolution on codes come from. */
import { at, loop, mul, type Place, type Stmt } from '../../ir/loops.ts'
import { laneOf, shifted } from '../kernels/copy.ts'
import { bytePlanes } from '../kernels/planes.ts'
import type { CodedLayer, Geometry } from './layer.ts'

/** Where the lanes of a convolution's steps come from: its data as it lies, shifted planes of it, or planes of columns. */
export interface Source {
  readonly form: 'rows' | 'maps'
  /** Lanes of a group. */
  readonly lanes: number
  readonly scratch: number
  /** The channel of the group and the position of the window that byte i of a step is; `undefined`: none. */
  term(step: number, i: number): number | undefined
  /** Byte offsets of the steps; absent: one map after the other. */
  readonly table?: Int32Array
  make(from: Place, scratch: Place): Stmt[]
}

export function sourceOf(l: CodedLayer, g: Geometry): Source {
  const { inputs, groups } = l.linear
  const { y, x } = g
  const taps = y.kernel * x.kernel
  const outside = laneOf(l.data.coding.zero)
  if (groups === 1 && inputs < 3 && x.dilation === 1) {
    const planes = bytePlanes(y, x, l.data.coding.zero)
    const across = Math.ceil(x.kernel / 4)
    const each = y.kernel * across
    const lanes = inputs * each
    return {
      ...{ form: 'rows', lanes, scratch: inputs * planes.lanes + planes.scratch },
      term: (step, i) => {
        const [c, ky, part] = [Math.floor(step / each), Math.floor((step % each) / across), step % across]
        const kx = part * 4 + i
        return kx < x.kernel ? c * taps + ky * x.kernel + kx : undefined
      },
      table: Int32Array.from({ length: lanes }, (_, step) => {
        const c = Math.floor(step / each)
        return c * planes.lanes * 4 + planes.offset(Math.floor((step % each) / across), step % across)
      }),
      make: (from, scratch) =>
        loop(0, inputs, 1, (c) =>
          planes.make(
            at(from, mul(c, g.inside)),
            at(scratch, mul(c, planes.lanes * 4)),
            at(scratch, undefined, inputs * planes.lanes * 4)
          )
        )
    }
  }
  const blocks = Math.ceil(inputs / 4)
  const term = (step: number, i: number): number | undefined => {
    const channel = Math.floor(step / taps) * 4 + i
    return channel < inputs ? channel * taps + (step % taps) : undefined
  }
  const isPointwise = taps === 1 && [y, x].every((s) => s.stride === 1 && s.before === 0 && s.size === s.out)
  if (isPointwise) return { form: 'maps', lanes: blocks, scratch: 0, term, make: () => [] }
  const room = shifted(y, x, outside)
  return {
    ...{ form: 'maps', lanes: blocks * taps, scratch: blocks * room.floats + 8, term },
    table: Int32Array.from({ length: blocks * taps }, (_, step) => {
      const tap = step % taps
      return Math.floor(step / taps) * room.floats * 4 + room.offset(Math.floor(tap / x.kernel), tap % x.kernel)
    }),
    make: (from, scratch) =>
      loop(0, blocks, 1, (c) => room.make(at(from, mul(c, g.inside * 4)), at(scratch, mul(c, room.floats * 4))), 'c')
  }
}
