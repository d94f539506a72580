/**
 * Codes 0 … K − 1 in bytes. A byte holds p digits of radix R, R^p ≤ 256, the first lowest: b = Σ d_j·R^j. A table of the
 * digits of every byte, d_j = ⌊b / R^j⌋ mod R, [256, p], unpacks them by one Gather. K that is no such radix takes
 * planes: code = Σ d_i·R_0·…·R_(i−1), a digit of every plane.
 */
import { tensor, toNumbers } from '../../ir/tensor.ts'
import { type Builder, type Find, first, indices, reshape } from './expand.ts'

export const digitsPerByte = (radix: number): number => Math.floor(Math.log(256.5) / Math.log(radix))

/** Makes the table of digits of every byte: int32[256, p]. */
export function digitTable(b: Builder, radix: number): string {
  const all = indices(
    b,
    b.constant(
      tensor(
        'uint8',
        [256, 1],
        Array.from({ length: 256 }, (_, i) => i)
      )
    )
  )
  const powers = Array.from({ length: digitsPerByte(radix) }, (_, j) => radix ** j)
  const shifted = b.node('Div', [all, b.constant(tensor('int32', [powers.length], powers))])
  return b.node('Mod', [shifted, b.constant(tensor('int32', [1], [radix]))])
}

const radices = [2, 3, 4, 6, 16]
const mostPlanes = 3

/** The radix of what seems to be such a table. */
export function radixOf(find: Find, id: string | undefined): number | undefined {
  const data = find.tensor(id, 'Mod.1')
  return data?.dtype === 'int32' ? radices.find((r) => r === toNumbers(data)[0]) : undefined
}

/** The radices of the planes that hold codes below `levels` in fewest bytes; none: a byte per code. */
export function planesFor(levels: number): readonly number[] {
  if (levels <= 4) return [Math.max(2, levels)]
  if (levels <= 6) return [6]
  if (levels <= 8) return [4, 2]
  if (levels <= 16) return [16]
  if (levels <= 32) return [16, 2]
  if (levels <= 64) return [16, 4]
  return levels <= 128 ? [16, 4, 2] : []
}

/** Planes are added as uint8, which opset 14 has. */
export const planesOpset = (planes: readonly number[]): number => (planes.length > 1 ? 14 : oldest)

/** Everything else in an expansion is older than what Pare writes. */
export const oldest = 13

/** Bytes that `count` codes take. */
export function planeBytes(planes: readonly number[], count: number): number {
  if (planes.length === 0) return count
  const padded = paddedCount(planes, count)
  return planes.reduce((sum, r) => sum + padded / digitsPerByte(r), 0)
}

/** Codes are filled up so that all planes hold equally many. */
function paddedCount(planes: readonly number[], count: number): number {
  const unit = Math.max(...planes.map(digitsPerByte))
  return Math.ceil(count / unit) * unit
}

/** One run of bytes per plane. */
export function packPlanes(codes: Uint8Array, planes: readonly number[]): Uint8Array[] {
  const padded = paddedCount(planes, codes.length)
  let below = 1
  return planes.map((radix) => {
    const p = digitsPerByte(radix)
    const out = new Uint8Array(padded / p)
    const digits = Uint8Array.from({ length: 256 }, (_, code) => Math.floor(code / below) % radix)
    for (let at = 0, i = 0; at < out.length; at++) {
      let byte = 0
      for (let j = 0, power = 1; j < p; j++, i++, power *= radix) byte += (digits[codes[i] ?? 0] as number) * power
      out[at] = byte
    }
    below *= radix
    return out
  })
}

/** The inverse. */
export function unpackPlanes(bytes: readonly Uint8Array[], planes: readonly number[], count: number): Uint8Array {
  const out = new Uint8Array(count)
  let below = 1
  for (const [k, radix] of planes.entries()) {
    const p = digitsPerByte(radix)
    const run = bytes[k] as Uint8Array
    for (let at = 0, i = 0; i < count; at++)
      for (let j = 0, rest = run[at] as number; j < p && i < count; j++, i++, rest = Math.floor(rest / radix))
        out[i] = (out[i] as number) + below * (rest % radix)
    below *= radix
  }
  return out
}

/** Makes the codes, flat, as uint8. */
export function buildCodes(b: Builder, runs: readonly Uint8Array[], planes: readonly number[], count: number): string {
  let [below, sum, stored] = [1, '', 0]
  for (const [k, radix] of planes.entries()) {
    const run = runs[k] as Uint8Array
    const weights = Array.from({ length: radix }, (_, d) => d * below)
    const digits = b.node('Gather', [b.constant(tensor('uint8', [radix], weights)), digitTable(b, radix)])
    const plane = reshape(
      b,
      b.node('Gather', [digits, indices(b, b.payload(tensor('uint8', [run.length], run)))]),
      [-1]
    )
    sum = k === 0 ? plane : b.node('Add', [sum, plane])
    below *= radix
    stored = run.length * digitsPerByte(radix)
  }
  return stored === count ? sum : first(b, sum, count)
}

/** What `buildCodes` seems to have made. */
export function readCodes(
  find: Find,
  id: string | undefined,
  count: number
): { readonly codes: Uint8Array; readonly planes: readonly number[] } | undefined {
  const planes: number[] = []
  const runs: Uint8Array[] = []
  for (let at = find.at(id, 'Slice?.0'); at !== undefined; ) {
    const sum = find.maker(at)?.op === 'Add'
    const plane = sum ? find.at(at, 'Add.1') : at
    const run = find.payload(plane, 'Reshape.0/Gather.1/Cast.0')
    const radix = radixOf(find, find.at(plane, 'Reshape.0/Gather.0/Gather.1'))
    if (run?.dtype !== 'uint8' || radix === undefined || planes.length === mostPlanes) return undefined
    planes.unshift(radix)
    runs.unshift(run.bytes.slice())
    at = sum ? find.at(at, 'Add.0') : undefined
  }
  const isEnough = runs.length > 0 && runs.every((r, k) => r.length * digitsPerByte(planes[k] as number) >= count)
  return isEnough ? { codes: unpackPlanes(runs, planes, count), planes } : undefined
}
