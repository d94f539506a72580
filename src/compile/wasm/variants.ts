/**
 * Two modules in one file. A compiled module on codes uses the SIMD that every engine has; where relaxed SIMD multiplies bytes,
 * a custom section at its end holds the sections between description and data as relaxed SIMD has them. An engine is asked by
 * a probe whether its products of unsigned and signed bytes are exact: engines may take the unsigned ones for signed.
 */
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

/** The module with relaxed SIMD. */
export function relaxedOf(bytes: Uint8Array, [note, data, end, relaxed]: Cut): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(note + (bytes.length - relaxed) + (end - data))
  out.set(bytes.subarray(0, note))
  out.set(bytes.subarray(relaxed), note)
  out.set(bytes.subarray(data, end), note + bytes.length - relaxed)
  return out
}

const lanes = (...all: readonly number[]): number[] => [...new Uint8Array(Int32Array.from(all).buffer)]
const bytesOf = (...all: readonly number[]): number[] => [...new Uint8Array(Int8Array.from(all).buffer)]

/**
 * A module whose `f(−1)` is 1 where products of bytes 255 and signed bytes are exact up to the ends of 16 bits: one function
 * (i32) → i32, i32x4.all_true(i32x4.eq(i32x4.relaxed_dot_i8x16_i7x16_add_s(factors, i32x4.splat(x), 0), sums)).
 */
export const probe: Uint8Array<ArrayBuffer> = (() => {
  const factors = bytesOf(64, 64, 64, 64, -64, -64, -64, -64, 127, 1, -128, 0, 1, -2, 3, -4)
  const sums = lanes(65280, -65280, 0, -510)
  const simd = (op: number): number[] => [0xfd, ...leb(op)]
  const code = [
    ...[...simd(0x0c), ...factors, 0x20, 0x00, ...simd(0x11), ...simd(0x0c), ...lanes(0, 0, 0, 0)],
    ...[...simd(0x113), ...simd(0x0c), ...sums, ...simd(0x37), ...simd(0xa3), 0x0b]
  ]
  const body = [...leb(code.length + 1), 0x00, ...code]
  const section = (id: number, content: readonly number[]): number[] => [id, ...leb(content.length), ...content]
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, [0x01, 0x60, 0x01, 0x7f, 0x01, 0x7f]),
    ...section(3, [0x01, 0x00]),
    ...section(7, [0x01, 0x01, 0x66, 0x00, 0x00]),
    ...section(10, [0x01, ...body])
  ])
})()

/** Does this engine multiply bytes exactly? */
export function multipliesBytes(): boolean {
  if (!WebAssembly.validate(probe)) return false
  const { f } = new WebAssembly.Instance(new WebAssembly.Module(probe)).exports as { f(x: number): number }
  return f(-1) === 1
}

/** The variant of a module that this engine runs fastest, of those that give the same numbers. */
export function fastestOf(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const cut = cutOf(bytes)
  return cut && multipliesBytes() ? relaxedOf(bytes, cut) : bytes
}
