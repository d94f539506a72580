/**
 * Numbers of 32 bits that repeat, held as the numbers of their values: pictures have few values, and so have weights of few
 * bits. What is read is the very same bytes, made anew at every reading.
 */
import type { Bytes, Tensor } from '../types.ts'
import { bitsOf, typedValues } from './tensor.ts'

/** Codes have 16 bits at most. */
const mostValues = 2 ** 16
const slots = 4 * mostValues
/** Smaller ones are not worth a table. */
const leastBytes = 16 * 1024

/** The tensor in 1 or 2 bytes an element; the very same where its elements are not of 32 bits, few, or of too many values. */
export function compacted(t: Tensor): Tensor {
  if (bitsOf(t.dtype) !== 32 || t.bytes.length < leastBytes || !(t.bytes instanceof Uint8Array)) return t
  const own = typedValues(t)
  const found = coded(new Uint32Array(own.buffer, own.byteOffset, own.length))
  return found ? { ...t, bytes: expanding(found.values, found.codes) } : t
}

/** Bytes in memory: less than the tensor's for one that is compact. */
export const heldBytes = ({ bytes }: Tensor): number => held.get(bytes) ?? bytes.length

const held = new WeakMap<Bytes, number>()

interface Coded {
  readonly values: Uint32Array
  readonly codes: Uint8Array | Uint16Array
}

/** Every bit pattern by its number in the order of first sight; `undefined` where there are too many. */
function coded(bits: Uint32Array): Coded | undefined {
  const [codeAt, values] = [new Int32Array(slots).fill(-1), new Uint32Array(mostValues)]
  const codes = new Uint16Array(bits.length)
  let count = 0
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i] as number
    let slot = (Math.imul(x, 0x9e3779b1) >>> 0) % slots
    while ((codeAt[slot] as number) >= 0 && values[codeAt[slot] as number] !== x) slot = (slot + 1) % slots
    if ((codeAt[slot] as number) < 0) {
      if (count === mostValues) return undefined
      values[count] = x
      codeAt[slot] = count++
    }
    codes[i] = codeAt[slot] as number
  }
  return { values: values.slice(0, count), codes: count <= 256 ? Uint8Array.from(codes) : codes }
}

function expanding(values: Uint32Array, codes: Uint8Array | Uint16Array): Bytes {
  const length = 4 * codes.length
  const bytes: Bytes = {
    length,
    slice: (from = 0, to = length) => {
      const first = Math.floor(from / 4)
      const out = new Uint32Array(Math.max(0, Math.ceil(Math.min(to, length) / 4) - first))
      for (let i = 0; i < out.length; i++) out[i] = values[codes[first + i] as number] as number
      return new Uint8Array(out.buffer).subarray(from - 4 * first, Math.min(to, length) - 4 * first)
    }
  }
  held.set(bytes, codes.byteLength + values.byteLength)
  return bytes
}
