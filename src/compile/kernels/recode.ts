/**
 * Between floats and codes, and codes to codes. Codes are unsigned bytes: q = held(nearest(x / scale) + zero). They lie as
 * `rows`, in order, or as `maps`, four channels to a lane: [sample][channel / 4][position][4].
 */
import {
  add,
  asWhole,
  at,
  bits,
  type Expr,
  float,
  get,
  i32,
  load,
  load4,
  local,
  loop,
  max,
  min,
  mul,
  type Place,
  pack,
  type Stmt,
  set,
  store,
  sub
} from '../../ir/loops.ts'
import { storeLanes } from './dots.ts'

/** How real numbers are codes. int8 codes count from −128 and lie in memory 128 higher. */
export interface Coding {
  readonly scale: number
  readonly zero: number
}

/** 1.5 · 2²³: added to a float of magnitude below 2²² it leaves the nearest whole number, halves to even, in the low bits. */
export const magic = 12582912
const magicBits = 0x4b400000

/** How scaled numbers become codes. */
export interface Rounding {
  readonly zero: number
  /** Codes that are not passed. */
  readonly bounds: { readonly low: number; readonly high: number }
  /** Numbers are below 2²² in magnitude whatever is fed. */
  readonly small: boolean
}

/** What is taken off the bits of a raised number; may be given to code as a parameter. */
export const raisedBits = (zero: number): number => magicBits - zero

/** Codes of x in units of the scale, not yet held to bytes. `raised`: as `raisedBits` gives it. */
export function roundedTo(x: Expr, { zero, bounds, small }: Rounding, raised: Expr | number = raisedBits(zero)): Expr {
  const above = small && bounds.low <= 0 ? x : max(x, bounds.low - zero)
  const held = small && bounds.high >= 255 ? above : min(above, bounds.high - zero)
  return sub(asWhole(add(held, magic)), raised)
}

export const allCodes = { low: 0, high: 255 } as const

/** Factor by which a real number becomes its code. */
export const inverse = (scale: number): number => Math.fround(1 / scale)

export interface MapsShape {
  readonly samples: number
  readonly channels: number
  readonly positions: number
}

export const mapsBytes = ({ samples, channels, positions }: MapsShape): number =>
  samples * Math.ceil(channels / 4) * positions * 4

/** The byte at which each vector of four positions begins; the last begins earlier where it would not be full. */
function positionsOf(positions: number, body: (position: Expr) => Stmt[]): Stmt[] {
  const last = Math.max(0, positions - 4)
  return [...loop(0, last + 1, 4, body, 'p'), ...(last % 4 === 0 ? [] : body(i32(last)))]
}

/** Floats as codes. What is stored may reach up to 12 bytes behind. */
export function quantizeMaps(shape: MapsShape, coding: Coding, from: Place, to: Place): Stmt[] {
  const { samples, channels, positions } = shape
  const blocks = Math.ceil(channels / 4)
  const block = (sample: Expr, b: Expr, given: number): Stmt[] =>
    positionsOf(positions, (p) => {
      const base = local('i32', 'base')
      return [
        set(base, mul(add(mul(add(mul(sample, channels), mul(b, 4)), positions), p), 4)),
        storeLanes(
          at(to, mul(add(mul(add(mul(sample, blocks), b), positions), p), 4)),
          pack(
            'bytes',
            ...[0, 1, 2, 3].map((k): Expr => {
              if (k >= given) return { is: 'const', kind: 'i32x4', value: coding.zero }
              const x = load4(at(from, get(base), k * positions * 4))
              return roundedTo(mul(x, inverse(coding.scale)), { zero: coding.zero, bounds: allCodes, small: false })
            })
          )
        )
      ]
    })
  const full = Math.floor(channels / 4)
  return loop(0, samples, 1, (s) => [
    ...loop(0, full, 1, (b) => block(s, b, 4), 'b'),
    ...(channels % 4 ? block(s, i32(full), channels % 4) : [])
  ])
}

/** Floats in order as codes in order, 16 at a time; what is stored may reach up to 15 bytes behind. */
export function quantizeRows(count: number, coding: Coding, from: Place, to: Place): Stmt[] {
  return loop(0, Math.ceil(count / 16), 1, (v) => {
    const codes = [0, 1, 2, 3].map(() => local('i32x4', 'code'))
    return [
      ...codes.map((c, i) =>
        set(
          c,
          roundedTo(mul(load4(at(from, mul(v, 64), i * 16)), inverse(coding.scale)), {
            zero: coding.zero,
            bounds: allCodes,
            small: false
          })
        )
      ),
      storeLanes(at(to, mul(v, 16)), pack('bytesAcross', ...codes.map((c) => get(c))))
    ]
  })
}

/** Byte k of every lane. */
export const byteOf = (lanes: Expr, k: number): Expr => bits('and', k ? bits('shr', lanes, 8 * k) : lanes, 255)

/** Byte k of every lane as a real number. */
export const realOf = (lanes: Expr, k: number, { scale, zero }: Coding): Expr =>
  mul(sub(float(byteOf(lanes, k)), zero), Math.fround(scale))

/** Codes as floats in order. What is stored may reach up to 12 bytes behind. */
export function dequantizeMaps(shape: MapsShape, coding: Coding, from: Place, to: Place): Stmt[] {
  const { samples, channels, positions } = shape
  const blocks = Math.ceil(channels / 4)
  const block = (sample: Expr, b: Expr, given: number): Stmt[] =>
    [0, 1, 2, 3].slice(0, given).flatMap((k) =>
      positionsOf(positions, (p) => {
        const x = load4(at(from, mul(add(mul(add(mul(sample, blocks), b), positions), p), 4)), 'i32x4')
        const channel = add(add(mul(sample, channels), mul(b, 4)), k)
        return [store(at(to, mul(add(mul(channel, positions), p), 4)), realOf(x, k, coding))]
      })
    )
  const full = Math.floor(channels / 4)
  return loop(0, samples, 1, (s) => [
    ...loop(0, full, 1, (b) => block(s, b, 4), 'b'),
    ...(channels % 4 ? block(s, i32(full), channels % 4) : [])
  ])
}

export const dequantizeRows = (count: number, { scale, zero }: Coding, from: Place, to: Place): Stmt[] =>
  loop(0, count, 1, (i) => {
    const real = mul(sub(float(load(at(from, i), 'u8')), zero), Math.fround(scale))
    return [store(at(to, mul(i, 4)), real)]
  })

/** 16 codes at a time: what `value` makes of the real numbers that inputs stand for. Up to 15 bytes behind are stored too. */
export function joinCodes(
  count: number,
  from: readonly { readonly place: Place; readonly coding: Coding }[],
  to: Place,
  coding: Coding,
  value: (x: readonly Expr[]) => Expr
): Stmt[] {
  return loop(0, Math.ceil(count / 16), 1, (v) => {
    const lanes = from.map(() => local('i32x4', 'x'))
    const codes = [0, 1, 2, 3].map(() => local('i32x4', 'code'))
    return [
      ...lanes.map((l, i) => set(l, load4(at(from[i]?.place as Place, mul(v, 16)), 'i32x4'))),
      ...codes.map((c, k) => {
        const reals = lanes.map((l, i) => realOf(get(l), k, from[i]?.coding as Coding))
        return set(
          c,
          roundedTo(mul(value(reals), inverse(coding.scale)), { zero: coding.zero, bounds: allCodes, small: false })
        )
      }),
      storeLanes(at(to, mul(v, 16)), pack('bytes', ...codes.map((c) => get(c))))
    ]
  })
}

/** Every code by a table of 256. */
export const byTable = (count: number, table: Place, from: Place, to: Place): Stmt[] =>
  loop(0, Math.ceil(count / 4) * 4, 4, (i) =>
    [0, 1, 2, 3].map((k) => {
      const code = load(at(from, i, k), 'u8')
      return store(at(to, i, k), load(at(table, code), 'u8'), 'u8')
    })
  )

/** `maps` to `rows` or back, byte by byte. */
export function turnMaps(shape: MapsShape, from: Place, to: Place, way: 'rows' | 'maps'): Stmt[] {
  const { samples, channels, positions } = shape
  const blocks = Math.ceil(channels / 4)
  return loop(0, samples, 1, (s) =>
    loop(0, channels, 1, (c) => {
      const [row, lane] = [local('i32', 'row'), local('i32', 'lane')]
      const block = add(mul(s, blocks), bits('shr', c, 2))
      return [
        set(row, mul(add(mul(s, channels), c), positions)),
        set(lane, add(mul(block, positions * 4), bits('and', c, 3))),
        ...loop(0, positions, 1, (p) => {
          const [inRows, inMaps] = [add(get(row), p), add(get(lane), mul(p, 4))]
          return way === 'rows'
            ? [store(at(to, inRows), load(at(from, inMaps), 'u8'), 'u8')]
            : [store(at(to, inMaps), load(at(from, inRows), 'u8'), 'u8')]
        })
      ]
    })
  )
}

/** int8 codes as bytes that are 128 higher, or back. */
export const flipSigns = (count: number, from: Place, to: Place): Stmt[] =>
  loop(0, Math.ceil(count / 16), 1, (v) => [
    storeLanes(
      at(to, mul(v, 16)),
      bits('xor', load4(at(from, mul(v, 16)), 'i32x4'), { is: 'const', kind: 'i32x4', value: -2139062144 })
    )
  ])
