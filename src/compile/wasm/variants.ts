/**
 * Two modules in one file. A compiled module on codes uses the SIMD that every engine has; where relaxed SIMD multiplies bytes,
 * a custom section at its end holds the sections between description and data as relaxed SIMD has them. An engine is asked by
 * a probe whether its products of unsigned and signed bytes are exact: engines may take the unsigned ones for signed. One that
 * holds sums of two products in more than 16 bits does it in a single instruction (VNNI), which `dots.ts` puts in place.
 */
import { type BytesDot, bytesDot, inFours } from './dots.ts'
import { leb } from './encoder.ts'

/** Where a file is cut: behind its description, before and behind its data, and before the other sections. */
export type Cut = readonly [note: number, data: number, end: number, relaxed: number]

export const relaxedSection = 'pare.relaxed'

/** Where a module with both variants is cut; `undefined` where it has one. */
export function cutOf(bytes: Uint8Array): Cut | undefined {
  const cuts: number[] = []
  let at = 8
  const number = (): number => {
    let [value, shift] = [0, 0]
    for (;;) {
      const byte = bytes[at++] ?? 0
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80 || shift > 28) return value
      shift += 7
    }
  }
  while (at < bytes.length) {
    const [begin, id] = [at, bytes[at++]]
    const end = number() + at
    if (end > bytes.length) return undefined
    if (cuts.length === 0) cuts.push(end)
    else if (id === 11) cuts.push(begin, end)
    else if (id === 0 && cuts.length === 3) {
      const name = number()
      if (new TextDecoder().decode(bytes.subarray(at, at + name)) !== relaxedSection) return undefined
      return [cuts[0] as number, cuts[1] as number, cuts[2] as number, at + name]
    }
    at = end
  }
  return undefined
}

/** The module with relaxed SIMD. `dots`: how bytes are multiplied. */
export function relaxedOf(
  bytes: Uint8Array,
  [note, data, end, relaxed]: Cut,
  dots: BytesDot = 'pairs'
): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(note + (bytes.length - relaxed) + (end - data))
  const code = bytes.subarray(relaxed)
  out.set(bytes.subarray(0, note))
  out.set(dots === 'fours' ? inFours(code) : code, note)
  out.set(bytes.subarray(data, end), note + code.length)
  return out
}

const lanes = (all: readonly number[]): number[] => [...new Uint8Array(Int32Array.from(all).buffer)]
const bytesOf = (all: readonly number[]): number[] => [...new Uint8Array(Int8Array.from(all).buffer)]

/**
 * A module with two functions (i32) → i32 that multiply bytes x by signed bytes, and say whether the sums are those of whole
 * numbers: i32x4.all_true(i32x4.eq(dot(factors, i32x4.splat(x), 0), sums)). `pairs(−1)` is 1 where that form is exact up to the ends
 * of 16 bits, `fours(−1)` where the other is, with sums of two products that 16 bits do not hold.
 */
export const probe: Uint8Array<ArrayBuffer> = (() => {
  const simd = (op: number): number[] => [0xfd, ...leb(op)]
  const body = (dots: BytesDot, factors: readonly number[], sums: readonly number[]): number[] => {
    const code = [
      ...[...simd(0x0c), ...bytesOf(factors), 0x20, 0x00, ...simd(0x11), ...bytesDot.before[dots]],
      ...[...simd(0x0c), ...lanes([0, 0, 0, 0]), ...bytesDot.behind[dots]],
      ...[...simd(0x0c), ...lanes(sums), ...simd(0x37), ...simd(0xa3), 0x0b]
    ]
    return [...leb(code.length + 1), 0x00, ...code]
  }
  const bodies = [
    body('pairs', [64, 64, 64, 64, -64, -64, -64, -64, 127, 1, -128, 0, 1, -2, 3, -4], [65280, -65280, 0, -510]),
    body(
      'fours',
      [127, 127, 127, 127, -128, -128, -128, -128, 127, 1, -128, 0, 1, -2, 3, -4],
      [129540, -130560, 0, -510]
    )
  ].flat()
  const section = (id: number, content: readonly number[]): number[] => [id, ...leb(content.length), ...content]
  const name = (text: string): number[] => [text.length, ...new TextEncoder().encode(text)]
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, [0x01, 0x60, 0x01, 0x7f, 0x01, 0x7f]),
    ...section(3, [0x02, 0x00, 0x00]),
    ...section(7, [0x02, ...name('pairs'), 0x00, 0x00, ...name('fours'), 0x00, 0x01]),
    ...section(10, [0x02, ...bodies])
  ])
})()

/** How this engine multiplies bytes exactly, in the fewest instructions; `undefined` where it does not. */
export function bytesDotHere(): BytesDot | undefined {
  if (!WebAssembly.validate(probe)) return undefined
  const exact = new WebAssembly.Instance(new WebAssembly.Module(probe)).exports as Record<
    BytesDot,
    (x: number) => number
  >
  if (exact.pairs(-1) !== 1) return undefined
  return exact.fours(-1) === 1 ? 'fours' : 'pairs'
}

/** The variant of a module that this engine runs fastest, of those that give the same numbers. */
export function fastestOf(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const cut = cutOf(bytes)
  const dots = cut && bytesDotHere()
  return dots ? relaxedOf(bytes, cut, dots) : bytes
}
