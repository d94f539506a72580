/** Zip archives (APPNOTE 6.3) of untrusted files: their directory, and the content of an entry, stored or deflated. */
import type { Bytes } from '../types.ts'
import { part, toArray } from './bytes.ts'
import { PareError } from './errors.ts'
import { inflate, verified } from './inflate.ts'

const maxEntries = 4096

/** What the directory says of an entry. Methods 0 (stored) and 8 (deflated) can be read. */
export interface Entry {
  readonly name: string
  readonly method: number
  readonly crc: number
  readonly compressed: number
  readonly size: number
  readonly offset: number
}

/** Do these first bytes begin a zip archive? */
export function isZip(head: Uint8Array): boolean {
  return head[0] === 0x50 && head[1] === 0x4b && (head[2] === 3 || head[2] === 5)
}

/** An entry's bytes. `end`: where the directory begins. Throws `E_DATA` where it contradicts the file, `E_LIMIT` above `max` bytes. */
export function content(bytes: Bytes, entry: Entry, end: number, where: string, max: number): Uint8Array {
  const head = bytes.slice(entry.offset, entry.offset + 30)
  const view = new DataView(head.buffer, head.byteOffset, head.length)
  const wrong = head.length < 30 || view.getUint32(0, true) !== 0x04034b50 || view.getUint16(8, true) !== entry.method
  const start = wrong ? 0 : entry.offset + 30 + view.getUint16(26, true) + view.getUint16(28, true)
  if (wrong || start + entry.compressed > end)
    throw new PareError('E_DATA', 'the zip entry is not where the directory says', { where })
  const packed = toArray(part(bytes, start, start + entry.compressed))
  const claim = { size: entry.size, crc: entry.crc, where, max }
  return entry.method === 8 ? inflate(packed, claim) : verified(packed, claim)
}

/** The central directory's entries, and where it begins: the end of all entries' bytes. */
export function directory(bytes: Bytes, where: string): { entries: readonly Entry[]; end: number } {
  const bad = (message: string): PareError => new PareError('E_DATA', message, { where })
  const tailStart = Math.max(0, bytes.length - 22 - 65535)
  const tail = bytes.slice(tailStart, bytes.length)
  const view = new DataView(tail.buffer, tail.byteOffset, tail.length)
  let at = tail.length - 22
  while (at >= 0 && view.getUint32(at, true) !== 0x06054b50) at--
  if (at < 0) throw bad('not a whole zip archive')
  const count = view.getUint16(at + 10, true)
  const length = view.getUint32(at + 12, true)
  const start = view.getUint32(at + 16, true)
  if (count === 0xffff || length === 0xffffffff || start === 0xffffffff)
    throw new PareError('E_LIMIT', 'a zip archive above 4 GB cannot be read', { where, hint: 'save it as .npy' })
  if (count > maxEntries) throw new PareError('E_LIMIT', `${count} arrays; at most ${maxEntries} are read`, { where })
  if (start + length > tailStart + at) throw bad('the zip directory is cut short')
  const listing = bytes.slice(start, start + length)
  return { entries: readEntries(listing, count, where), end: start }
}

function readEntries(listing: Uint8Array, count: number, where: string): readonly Entry[] {
  const view = new DataView(listing.buffer, listing.byteOffset, listing.length)
  const bad = (message: string): PareError => new PareError('E_DATA', message, { where })
  const entries: Entry[] = []
  let at = 0
  for (let i = 0; i < count; i++) {
    if (at + 46 > listing.length || view.getUint32(at, true) !== 0x02014b50) throw bad('the zip directory is damaged')
    const nameLength = view.getUint16(at + 28, true)
    const next = at + 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true)
    if (next > listing.length) throw bad('the zip directory is damaged')
    const name = new TextDecoder().decode(listing.subarray(at + 46, at + 46 + nameLength))
    if (view.getUint16(at + 8, true) & 1) throw bad(`${name} is encrypted`)
    const [compressed, size, offset] = [20, 24, 42].map((k) => view.getUint32(at + k, true)) as [number, number, number]
    if (size === 0xffffffff || compressed === 0xffffffff || offset === 0xffffffff)
      throw new PareError('E_LIMIT', `${name} is above 4 GB`, { where, hint: 'save it as .npy' })
    entries.push({
      name,
      method: view.getUint16(at + 10, true),
      crc: view.getUint32(at + 16, true),
      compressed,
      size,
      offset
    })
    at = next
  }
  return entries
}
