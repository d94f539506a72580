/** Bounded decompression of untrusted bytes: the claimed size is judged before anything is inflated (RFC 1951, 1952). */
import { inflateSync } from 'fflate'
import { PareError } from './errors.ts'

/** Default limit of one decompressed array in bytes. */
export const maxInflated = 2 ** 31 - 1

/** Deflate cannot expand by more than this; a larger claim is a lie. */
const maxRatio = 1032

/** What a container claims of the bytes in it. */
export interface Claim {
  readonly size: number
  /** Absent: the container has none. */
  readonly crc?: number
  readonly where: string
  readonly max?: number
}

/** Inflates raw deflate bytes to exactly the claimed size. Throws `E_DATA` when the claim is wrong, `E_LIMIT` above `max`. */
export function inflate(deflated: Uint8Array, claim: Claim): Uint8Array {
  const { size, where, max = maxInflated } = claim
  if (size > deflated.length * maxRatio + 64)
    throw new PareError('E_DATA', `${deflated.length} compressed bytes cannot hold ${size}`, { where })
  if (size > max) throw tooLarge(size, max, where)
  let out: Uint8Array
  try {
    out = inflateSync(deflated, { out: new Uint8Array(size + 1) })
  } catch (cause) {
    throw new PareError('E_DATA', 'the compressed data is damaged', { where, cause })
  }
  if (out.length !== size)
    throw new PareError('E_DATA', `the compressed data does not hold the ${size} bytes it claims`, { where })
  return verified(out, claim)
}

/** The bytes themselves when their CRC-32 is the claimed one; `E_DATA` otherwise. */
export function verified(bytes: Uint8Array, claim: Claim): Uint8Array {
  if (claim.crc !== undefined && crc32(bytes) !== claim.crc)
    throw new PareError('E_DATA', 'the checksum does not match', { where: claim.where })
  return bytes
}

/** The content of a gzip file of one member, at most `max` bytes. Throws `E_LIMIT` or `E_DATA`. */
export function gunzip(bytes: Uint8Array, where: string, max = maxInflated): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const bad = (message: string): PareError => new PareError('E_DATA', message, { where })
  if (bytes.length < 18 || !isGzip(bytes) || bytes[2] !== 8) throw bad('not a gzip file')
  const flags = bytes[3] as number
  const end = bytes.length - 8
  let at = 10
  if (flags & 4) at = at + 2 <= end ? at + 2 + view.getUint16(at, true) : end + 1
  for (const flag of [8, 16]) {
    if (!(flags & flag)) continue
    const zero = bytes.indexOf(0, at)
    at = zero < 0 ? end + 1 : zero + 1
  }
  if (flags & 2) at += 2
  if (at > end) throw bad('the gzip header is cut short')
  const claim = { crc: view.getUint32(end, true), size: view.getUint32(end + 4, true), where, max }
  return inflate(bytes.subarray(at, end), claim)
}

export function isGzip(head: Uint8Array): boolean {
  return head[0] === 0x1f && head[1] === 0x8b
}

export function tooLarge(size: number, max: number, where: string): PareError {
  return new PareError('E_LIMIT', `${size} bytes of data; at most ${max} are read`, { where })
}

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1
  return c
})

/** Tables for four bytes at once, one behind the other: the k-th for a byte that k more follow. */
const crcTables = new Uint32Array(4 * 256)
crcTables.set(crcTable)
for (let i = 256; i < crcTables.length; i++) {
  const before = crcTables[i - 256] as number
  crcTables[i] = (crcTable[before & 255] as number) ^ (before >>> 8)
}

/** CRC-32 as of zip and gzip. */
export function crc32(bytes: Uint8Array): number {
  const t = crcTables
  const whole = bytes.length - (bytes.length % 4)
  let c = 0xffffffff
  for (let i = 0; i < whole; i += 4) {
    c ^=
      (bytes[i] as number) |
      ((bytes[i + 1] as number) << 8) |
      ((bytes[i + 2] as number) << 16) |
      ((bytes[i + 3] as number) << 24)
    c =
      (t[768 + (c & 255)] as number) ^
      (t[512 + ((c >>> 8) & 255)] as number) ^
      (t[256 + ((c >>> 16) & 255)] as number) ^
      (t[c >>> 24] as number)
  }
  for (let i = whole; i < bytes.length; i++) c = (t[(c ^ (bytes[i] as number)) & 255] as number) ^ (c >>> 8)
  return (c ^ 0xffffffff) >>> 0
}
