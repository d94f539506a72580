/** Random changes to files, for tests of what readers do with them. */
import fc from 'fast-check'
import { concat } from '../src/base/bytes.ts'

const kinds = ['set', 'flip', 'cut', 'remove', 'repeat', 'insert', 'number', 'join', 'word'] as const

/** One change to a file: what, where (fraction of its length), and with what. */
export const change = (what: readonly (typeof kinds)[number][] = kinds) =>
  fc.record({
    what: fc.constantFrom(...what),
    // Not `fc.double`, most of whose numbers are close to 0.
    at: fc.noBias(fc.nat(2 ** 30 - 1)).map((x) => x / 2 ** 30),
    length: fc.nat(24),
    byte: fc.nat(255)
  })
export type Change = ReturnType<typeof change> extends fc.Arbitrary<infer T> ? T : never

/** Spellings of numbers that are larger, or longer, than anything sound. */
const numbers = [
  [255, 255, 255, 255, 15],
  [255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
  [128, 128, 128, 128, 8],
  [127]
]

/** Words of 32 bits that are no sound offset or count, or point elsewhere. */
const words = [0xffffffff, 0x7fffffff, 0x80000000, 0x10000000, 0, 4, 8, 64, 1000]

/** The changed file; `others` are what `join` continues it with. */
export function apply(bytes: Uint8Array, c: Change, others: readonly Uint8Array[]): Uint8Array {
  const at = Math.floor(c.at * bytes.length)
  const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)]
  const join = (...parts: ArrayLike<number>[]): Uint8Array =>
    concat(parts.map((p) => (p instanceof Uint8Array ? p : Uint8Array.from(p))))
  switch (c.what) {
    case 'set':
      return join(head, [c.byte], tail.subarray(1))
    case 'flip':
      return join(head, [(tail[0] ?? 0) ^ (1 << (c.byte & 7))], tail.subarray(1))
    case 'cut':
      return head.slice()
    case 'remove':
      return join(head, tail.subarray(c.length))
    case 'repeat':
      return join(head, tail.subarray(0, c.length), tail)
    case 'insert':
      return join(head, Array(c.length).fill(c.byte), tail)
    case 'number':
      return join(head, numbers[c.byte % numbers.length] ?? [], tail.subarray(1))
    case 'word': {
      const out = bytes.slice()
      if (out.length >= 4)
        new DataView(out.buffer).setUint32(Math.min(at & ~3, out.length - 4), words[c.byte % words.length] ?? 0, true)
      return out
    }
    default:
      return join(head, (others[c.byte % others.length] ?? head).subarray(at))
  }
}
