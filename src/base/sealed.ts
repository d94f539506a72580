/**
 * A file of a header and numbers, with which work goes on after a stop: eight letters that name its kind, the length of the
 * header (uint32, little-endian), the header as JSON, the body. The header holds the body's hash, so that a file that was cut
 * off or changed is told from a whole one.
 */
import { concat, quickHash } from './bytes.ts'

const lengthBytes = 4

/** The file. `kind`: eight letters. */
export function seal(kind: string, header: object, body: Uint8Array): Uint8Array {
  const text = new TextEncoder()
  const json = text.encode(JSON.stringify({ ...header, hash: quickHash(body) }))
  const size = new Uint8Array(lengthBytes)
  new DataView(size.buffer).setUint32(0, json.length, true)
  return concat([text.encode(kind), size, json, body])
}

/** Header and body again. Throws what `broken` makes of the reason where `seal` did not write these bytes. */
export function unseal<Header>(
  kind: string,
  bytes: Uint8Array,
  broken: (why: string, cause?: unknown) => Error
): { readonly header: Header; readonly body: Uint8Array } {
  const magic = new TextEncoder().encode(kind)
  const lead = magic.length + lengthBytes
  if (bytes.length < lead || magic.some((b, i) => bytes[i] !== b)) throw broken('it does not begin like one')
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(magic.length, true)
  if (lead + length > bytes.length) throw broken('it is shorter than its header says')
  const body = bytes.subarray(lead + length)
  let header: unknown
  try {
    header = JSON.parse(new TextDecoder().decode(bytes.subarray(lead, lead + length)))
  } catch (cause) {
    throw broken('its header is no JSON', cause)
  }
  if ((header as { hash?: unknown } | null)?.hash !== quickHash(body))
    throw broken('its content does not have the hash that it should')
  return { header: header as Header, body }
}
