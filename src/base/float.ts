/**
 * Small float formats to and from numbers. float16 is IEEE 754 binary16; the others follow the OCP 8-bit (2023) and MX
 * (2023) specifications: sign, `e` exponent bits of bias `bias`, `m` mantissa bits; `fnuz` has one zero and one NaN.
 */

interface SmallFloat {
  readonly e: number
  readonly m: number
  readonly bias: number
  readonly kind: 'ieee' | 'fn' | 'fnuz' | 'finite' | 'exponent'
}

const small = {
  float8e4m3fn: { e: 4, m: 3, bias: 7, kind: 'fn' },
  float8e4m3fnuz: { e: 4, m: 3, bias: 8, kind: 'fnuz' },
  float8e5m2: { e: 5, m: 2, bias: 15, kind: 'ieee' },
  float8e5m2fnuz: { e: 5, m: 2, bias: 16, kind: 'fnuz' },
  float4e2m1: { e: 2, m: 1, bias: 1, kind: 'finite' },
  float8e8m0: { e: 8, m: 0, bias: 127, kind: 'exponent' }
} as const satisfies Record<string, SmallFloat>
export type SmallFloatName = keyof typeof small

const view = new DataView(new ArrayBuffer(8))

/** Bits of a bfloat16, rounding half to even. NaN stays NaN. */
export function toBfloat16(x: number): number {
  view.setFloat32(0, x)
  const bits = view.getUint32(0)
  if (Number.isNaN(x)) return 0x7fc0
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff
}

export function fromBfloat16(bits: number): number {
  view.setUint32(0, bits * 65536)
  return view.getFloat32(0)
}

/** Numbers from here on round to infinity: the middle between the largest float16, 65504, and the next power of two. */
const float16Overflow = 65520

/** Bits of the nearest float16, ties to even, rounded once from the number itself. NaN becomes the quiet one. */
export function toFloat16(x: number): number {
  if (Number.isNaN(x)) return 0x7e00
  view.setFloat64(0, x)
  const high = view.getUint16(0)
  const sign = high & 0x8000
  const magnitude = Math.abs(x)
  if (magnitude >= float16Overflow) return sign | 0x7c00
  // Below 2^−14 all float16 are 2^−24 apart.
  const exponent = Math.max(((high >> 4) & 0x7ff) - 1023, -14)
  const steps = magnitude * 2 ** (10 - exponent)
  const below = Math.floor(steps)
  const rest = steps - below
  const rounded = rest > 0.5 || (rest === 0.5 && (below & 1) === 1) ? below + 1 : below
  // A normal number counts its steps from 1024, which carries into the exponent.
  return sign | (((exponent + 14) << 10) + rounded)
}

let float16Values: Float32Array | undefined

/** The number that the bits of a float16 stand for. */
export function fromFloat16(bits: number): number {
  float16Values ??= Float32Array.from({ length: 2 ** 16 }, (_, code) => decode(code, 5, 10, 15, 'ieee'))
  return float16Values[bits & 0xffff] as number
}

/** The number a code of a small float format stands for. */
export function fromSmallFloat(name: SmallFloatName, code: number): number {
  return table(name)[code] as number
}

/** The nearest code, ties to even, saturating at the largest finite value (as ONNX Cast does by default). */
export function toSmallFloat(name: SmallFloatName, x: number): number {
  const { e, m, kind } = small[name]
  const values = table(name)
  if (Number.isNaN(x)) return Math.max(0, values.findIndex(Number.isNaN))
  const signed = kind !== 'exponent'
  const magnitude = Math.abs(x)
  const count = 2 ** (e + m)
  let low = 0
  let high = count - 1
  while (high > 0 && !Number.isFinite(values[high] as number)) high--
  while (low < high) {
    const mid = (low + high + 1) >> 1
    if ((values[mid] as number) <= magnitude) low = mid
    else high = mid - 1
  }
  const next = low + 1 < count ? (values[low + 1] as number) : Number.NaN
  if (Number.isFinite(next)) {
    const below = magnitude - (values[low] as number)
    const above = next - magnitude
    if (above < below || (above === below && (low & 1) === 1)) low++
  }
  if (!signed || !(x < 0 || Object.is(x, -0))) return low
  return low === 0 && kind === 'fnuz' ? 0 : low | count
}

const tables = new Map<SmallFloatName, Float64Array>()

function table(name: SmallFloatName): Float64Array {
  const known = tables.get(name)
  if (known) return known
  const { e, m, bias, kind }: SmallFloat = small[name]
  const bits = e + m + (kind === 'exponent' ? 0 : 1)
  const out = Float64Array.from({ length: 2 ** bits }, (_, code) => decode(code, e, m, bias, kind))
  tables.set(name, out)
  return out
}

function decode(code: number, e: number, m: number, bias: number, kind: SmallFloat['kind']): number {
  if (kind === 'exponent') return code === 255 ? Number.NaN : 2 ** (code - bias)
  const magnitude = code & (2 ** (e + m) - 1)
  const sign = code >> (e + m) ? -1 : 1
  if (kind === 'fnuz' && code === 2 ** (e + m)) return Number.NaN
  if (kind === 'fn' && magnitude === 2 ** (e + m) - 1) return Number.NaN
  const exponent = magnitude >> m
  const mantissa = magnitude & (2 ** m - 1)
  if (kind === 'ieee' && exponent === 2 ** e - 1) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY
  if (exponent === 0) return sign * mantissa * 2 ** (1 - bias - m)
  return sign * (1 + mantissa / 2 ** m) * 2 ** (exponent - bias)
}
