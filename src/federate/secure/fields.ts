/** Messages as fields one behind the other, little-endian. What is read was written by others: every length is checked. */
import { PareError } from '../../base/errors.ts'

/** Bytes of fields: whole numbers of 1, 2 or 4 bytes, and runs whose length the reader knows. */
export type Field = Uint8Array | readonly [value: number, bytes: 1 | 2 | 4]

export function fields(...list: readonly Field[]): Uint8Array {
  const size = (f: Field): number => (f instanceof Uint8Array ? f.length : f[1])
  const out = new Uint8Array(list.reduce((sum, f) => sum + size(f), 0))
  let at = 0
  for (const f of list) {
    if (f instanceof Uint8Array) out.set(f, at)
    else for (let i = 0; i < f[1]; i++) out[at + i] = Math.floor(f[0] / 256 ** i) % 256
    at += size(f)
  }
  return out
}

export interface FieldReader {
  number(bytes: 1 | 2 | 4): number
  /** A copy, so that it can be wiped. */
  bytes(count: number): Uint8Array
  /** Throws where something is left. */
  end(): void
}

/** Reads fields; throws `E_MESSAGE` where the message is cut short or too long. `what` names it. */
export function readFields(message: Uint8Array, what: string): FieldReader {
  let at = 0
  const take = (count: number): Uint8Array => {
    if (count > message.length - at)
      throw new PareError('E_MESSAGE', `${what} is cut short: it has ${message.length} bytes`)
    at += count
    return message.subarray(at - count, at)
  }
  return {
    number: (bytes) => take(bytes).reduce((sum, b, i) => sum + b * 256 ** i, 0),
    bytes: (count) => take(count).slice(),
    end: () => {
      if (at < message.length) throw new PareError('E_MESSAGE', `${what} has ${message.length - at} bytes too many`)
    }
  }
}

const encoder = new TextEncoder()

/** A word that keeps signatures and keys of one purpose from being used for another. */
export const label = (text: string): Uint8Array => fields([text.length, 1], encoder.encode(text))
