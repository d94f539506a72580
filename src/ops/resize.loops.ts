/**
 * Resampling by nearest neighbours and by linear interpolation, as loops. Positions are those of ONNX Runtime, computed in float32 as
 * there when the code is made: for each axis a table of what is read, and of how much of it.
 */
import { attrInt, attrInts, attrString } from '../ir/attrs.ts'
import {
  add,
  at,
  type Expr,
  f32,
  get,
  i32,
  load,
  local,
  loop,
  mul,
  type Place,
  type Stmt,
  set,
  store,
  sub
} from '../ir/loops.ts'
import { toFloats } from '../ir/tensor.ts'
import { sizes, stridesOf } from './move.loops.ts'
import { isGiven } from './op.ts'
import type { Loops, NodeView } from './types.ts'

const { fround } = Math

/** One axis: positions read for each position written, and the share of the second. */
interface Axis {
  readonly size: number
  readonly first: Int32Array
  /** Absent: the first alone is read. */
  readonly second?: Int32Array
  readonly share?: Float32Array
}

/** `undefined` for cubic interpolation, antialiasing, crops, and sizes made alike by one factor. */
function resize(n: NodeView): Loops | undefined {
  const [x, y] = [sizes(n, 'inputs', 0), sizes(n, 'outputs', 0)]
  const mode = attrString(n.node, 'mode', 'nearest')
  const isPlain =
    attrString(n.node, 'keep_aspect_ratio_policy', 'stretch') === 'stretch' && !attrInt(n.node, 'antialias', 0)
  const scales = scalesOf(n, x, y)
  if (!['nearest', 'linear'].includes(mode) || !isPlain || !scales || n.inputs[0]?.dtype !== 'float32') return undefined
  const read = stridesOf(x)
  const axes = x.map((size, a) =>
    axisOf(n, mode === 'linear', {
      from: size,
      to: y[a] as number,
      scale: scales[a] as number,
      step: read[a] as number
    })
  )
  if (axes.some((a) => a === undefined)) return undefined
  return {
    is: 'body',
    body: ({ inputs: [from], outputs: [to], constant }) =>
      walk(merged(axes as Axis[], x, read), from as Place, to as Place, constant)
  }
}

/** By axis of the data: written / read. */
function scalesOf(n: NodeView, x: readonly number[], y: readonly number[]): readonly number[] | undefined {
  const named = (attrInts(n.node, 'axes') ?? x.map((_, i) => i)).map((a) => (a < 0 ? a + x.length : a))
  const given = isGiven(n, 2) ? n.inputs[2]?.data : undefined
  const stated = given && given.shape[0] === named.length ? toFloats(given) : undefined
  if (!stated && !isGiven(n, 3)) return undefined
  return x.map((size, a) => {
    const i = named.indexOf(a)
    if (i < 0) return 1
    return stated ? (stated[i] as number) : fround((y[a] as number) / size)
  })
}

interface Stretch {
  readonly from: number
  readonly to: number
  readonly scale: number
  /** Elements from one position that is read to the next. */
  readonly step: number
}

function axisOf(n: NodeView, isLinear: boolean, { from, to, scale, step }: Stretch): Axis | undefined {
  const whole = from === to && scale === 1
  const positions = Array.from({ length: to }, (_, o) => (whole ? o : place(n, o, { from, to, scale })))
  if (positions.some((p) => p === undefined)) return undefined
  const at = positions as number[]
  if (whole || !isLinear) {
    const rounded = whole ? (p: number) => p : roundings[attrString(n.node, 'nearest_mode', 'round_prefer_floor')]
    if (!rounded) return undefined
    return { size: to, first: Int32Array.from(at, (p) => held(rounded(p), from) * step) }
  }
  const inside = at.map((p) => Math.min(Math.max(p, 0), from - 1))
  return {
    size: to,
    first: Int32Array.from(inside, (p) => Math.floor(p) * step),
    second: Int32Array.from(inside, (p) => held(Math.floor(p) + 1, from) * step),
    share: Float32Array.from(inside, (p) => fround(p - Math.floor(p)))
  }
}

const held = (p: number, size: number): number => Math.min(Math.max(p, 0), size - 1)

const roundings: Readonly<Record<string, (p: number) => number>> = {
  round_prefer_floor: (p) => Math.ceil(p - 0.5),
  round_prefer_ceil: (p) => Math.floor(p + 0.5),
  floor: Math.floor,
  ceil: Math.ceil
}

/** Where in the input a position of the output lies; `undefined` for ways that are not known. */
function place(n: NodeView, o: number, { from, to, scale }: Omit<Stretch, 'step'>): number | undefined {
  const halfway = fround(fround(fround(o + 0.5) / scale) - 0.5)
  switch (attrString(n.node, 'coordinate_transformation_mode', 'half_pixel')) {
    case 'half_pixel':
      return halfway
    case 'pytorch_half_pixel':
      return to > 1 ? halfway : 0
    case 'asymmetric':
      return fround(o / scale)
    case 'align_corners':
      return to === 1 ? 0 : fround(fround(o * (from - 1)) / (to - 1))
    case 'half_pixel_symmetric':
      return fround((from / 2) * (1 - to / fround(scale * from)) + halfway)
    default:
      return undefined
  }
}

/** Neighbouring axes that are read as they stand, as one. */
function merged(axes: readonly Axis[], x: readonly number[], steps: readonly number[]): readonly Axis[] {
  const isWhole = (a: Axis, i: number): boolean =>
    !a.second && a.size === x[i] && a.first.every((p, o) => p === o * (steps[i] as number))
  const out: { axis: Axis; whole: boolean }[] = []
  for (const [i, axis] of axes.entries()) {
    const last = out.at(-1)
    const whole = isWhole(axis, i)
    if (!whole || !last?.whole) out.push({ axis, whole })
    else {
      const size = last.axis.size * axis.size
      out[out.length - 1] = {
        axis: { size, first: Int32Array.from({ length: size }, (_, o) => o * (steps[i] as number)) },
        whole
      }
    }
  }
  return out.map((o) => o.axis)
}

/** What a loop knows of its axis: bytes to add for what is read, and the share of the second. */
interface Offsets {
  readonly first: Expr
  readonly second?: Expr
  readonly share?: Expr
}

function walk(
  axes: readonly Axis[],
  from: Place,
  to: Place,
  constant: (data: Float32Array | Int32Array) => Place
): Stmt[] {
  const written = stridesOf(axes.map((a) => a.size))
  const within = (depth: number, known: readonly Offsets[], target: Expr): Stmt[] => {
    const axis = axes[depth]
    if (!axis) return [store(at(to, target), blended(known, from, undefined))]
    const [first, second, share] = [local('i32', 'first'), local('i32', 'second'), local('f32', 'share')]
    return loop(0, axis.size, 1, (o) => {
      const cell = mul(o, 4)
      const table = (data: Float32Array | Int32Array, kind: 'i32' | 'f32'): Expr => load(at(constant(data), cell), kind)
      const bytes = (data: Int32Array): Int32Array => data.map((p) => p * 4)
      const step = evenStep(axis.first)
      const own: Offsets = axis.second
        ? { first: get(first), second: get(second), share: get(share) }
        : { first: get(first) }
      return [
        set(first, step === undefined ? table(bytes(axis.first), 'i32') : mul(o, step * 4)),
        ...(axis.second && axis.share
          ? [set(second, table(bytes(axis.second), 'i32')), set(share, table(axis.share, 'f32'))]
          : []),
        ...within(depth + 1, [...known, own], add(target, mul(o, (written[depth] as number) * 4)))
      ]
    })
  }
  return within(0, [], i32(0))
}

/** The distance of positions that begin at 0 and lie evenly. */
function evenStep(positions: Int32Array): number | undefined {
  const step = positions[1] ?? 0
  return positions.every((p, o) => p === o * step) ? step : undefined
}

/** The value between the neighbours along each axis. */
function blended([axis, ...rest]: readonly Offsets[], from: Place, sum: Expr | undefined): Expr {
  if (!axis) return load(at(from, sum ?? i32(0)))
  const through = (offset: Expr): Expr => blended(rest, from, sum ? add(sum, offset) : offset)
  const a = through(axis.first)
  if (!axis.second || !axis.share) return a
  return add(mul(a, sub(f32(1), axis.share)), mul(through(axis.second), axis.share))
}

/** By name; see `withLoops`. */
export const resizeLoops: Readonly<Record<string, (n: NodeView) => Loops | undefined>> = { Resize: resize }
