/** Bits in a row, the lowest bit of a byte first, and Rice codes of them. */
import { PareError } from '../base/errors.ts'

/** Collects bits. */
export interface BitWriter {
  /** The lowest `count` ≤ 24 bits of a number. */
  write(value: number, count: number): void
  /** Rice code with parameter b: ⌊value / 2^b⌋ ones, a zero, then the b lowest bits. */
  rice(value: number, b: number): void
  /** All bits so far; the last byte is filled with zeros. */
  bytes(): Uint8Array
}

export function bitWriter(): BitWriter {
  let out = new Uint8Array(256)
  let [length, held, count] = [0, 0, 0]
  const push = (byte: number): void => {
    if (length === out.length) {
      const grown = new Uint8Array(2 * length)
      grown.set(out)
      out = grown
    }
    out[length++] = byte
  }
  const write = (value: number, bits: number): void => {
    held |= value << count
    count += bits
    while (count >= 8) {
      push(held & 255)
      held >>>= 8
      count -= 8
    }
  }
  return {
    write,
    rice: (value, b) => {
      let ones = value >>> b
      for (; ones >= 8; ones -= 8) write(255, 8)
      write((1 << ones) - 1, ones + 1)
      write(value & ((1 << b) - 1), b)
    },
    bytes: () => {
      const end = new Uint8Array(length + (count > 0 ? 1 : 0))
      end.set(out.subarray(0, length))
      if (count > 0) end[length] = held & 255
      return end
    }
  }
}

/** Takes bits off bytes that nobody vouches for. Every method throws `E_FORMAT` behind the end. */
export interface BitReader {
  read(count: number): number
  /** A number of at most `most`. Throws `E_FORMAT` for a larger one. */
  rice(b: number, most: number): number
  /** Bytes that were begun. Throws `E_FORMAT` where the bits that fill the last are not zero. */
  end(): number
}

export function bitReader(bytes: Uint8Array, from = 0): BitReader {
  const last = 8 * bytes.length
  let at = 8 * from
  const read = (count: number): number => {
    if (at + count > last) throw damaged('the bits end too soon')
    let value = 0
    for (let got = 0; got < count; ) {
      const take = Math.min(count - got, 8 - (at & 7))
      value |= (((bytes[at >>> 3] as number) >>> (at & 7)) & ((1 << take) - 1)) << got
      got += take
      at += take
    }
    return value
  }
  return {
    read,
    rice: (b, most) => {
      let ones = 0
      while (read(1) === 1) if (++ones > most >>> b) throw damaged('a position lies behind the end of its tensor')
      const value = ones * 2 ** b + read(b)
      if (value > most) throw damaged('a position lies behind the end of its tensor')
      return value
    },
    end: () => {
      if ((at & 7) !== 0 && read(8 - (at & 7)) !== 0) throw damaged('bits behind the last one are set')
      return at / 8
    }
  }
}

/** What a message that does not keep the format is refused with. */
export const damaged = (message: string, facts: Readonly<Record<string, string>> = {}): PareError =>
  new PareError('E_FORMAT', message, { where: 'a message of a federation', facts })
