/**
 * Products of bytes in relaxed SIMD, sum + Σ w · x over the four bytes of a lane, in two forms of the same length.
 *
 * `pairs`: i32x4.add(i32x4.extadd_pairwise_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(w, x)), sum), three instructions of x86.
 * `fours`: i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x, sum), one instruction of a processor with VNNI and five of others; what the
 * other form takes more is filled with `nop`. A module is written with `pairs`, and `inFours` makes `fours` of its bytes.
 */

/** How bytes are multiplied. */
export type BytesDot = 'pairs' | 'fours'

const pairs = [0xfd, 0x92, 0x02, 0xfd, 0x7e]
const add = [0xfd, 0xae, 0x01]
const dotAdd = [0xfd, 0x93, 0x02]
const nop = 0x01
const localGet = 0x20

/** What stands before the sum, behind `w` and `x`, and what stands behind the sum. */
export const bytesDot: Readonly<Record<'before' | 'behind', Readonly<Record<BytesDot, readonly number[]>>>> = {
  before: { pairs, fours: pairs.map(() => nop) },
  behind: { pairs: add, fours: dotAdd }
}

/** Where the sum is a local: what stands before its number. */
export const pairsGet: readonly number[] = [...pairs, localGet]

const stands = (code: Uint8Array, at: number, bytes: readonly number[]): boolean =>
  bytes.every((b, k) => code[at + k] === b)

/** Code, or sections with code, whose products of bytes are `pairs`, with `fours` in their place. */
export function inFours(code: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = Uint8Array.from(code)
  for (let at = 0; at < out.length; at++) {
    if (!stands(out, at, pairsGet)) continue
    let end = at + pairsGet.length
    while ((out[end] as number) >= 0x80) end++
    if (!stands(out, end + 1, add)) continue
    out.fill(nop, at, at + pairs.length)
    out.set(dotAdd, end + 1)
  }
  return out
}
