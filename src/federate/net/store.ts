/** What a client keeps between rounds, and across its own end. */

/** Files by name; a reader sees the old or the new one whole, also after a loss of power. */
export interface Store {
  read(name: string): Promise<Uint8Array | undefined>
  write(name: string, bytes: Uint8Array): Promise<void>
  remove(name: string): Promise<void>
}

/** Runs of bytes with a line of JSON before them that tells their lengths. */
export function packRecord(
  told: Readonly<Record<string, unknown>>,
  parts: Readonly<Record<string, Uint8Array>>
): Uint8Array {
  const lengths = Object.entries(parts).map(([name, bytes]) => [name, bytes.length])
  const head = new TextEncoder().encode(`${JSON.stringify({ told, lengths })}\n`)
  const out = new Uint8Array(head.length + Object.values(parts).reduce((sum, p) => sum + p.length, 0))
  out.set(head)
  let at = head.length
  for (const part of Object.values(parts)) {
    out.set(part, at)
    at += part.length
  }
  return out
}

export function unpackRecord(bytes: Uint8Array): {
  readonly told: Readonly<Record<string, unknown>>
  readonly parts: Readonly<Record<string, Uint8Array>>
} {
  const end = bytes.indexOf(10)
  const { told, lengths } = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end))) as {
    readonly told: Readonly<Record<string, unknown>>
    readonly lengths: readonly (readonly [string, number])[]
  }
  const parts: Record<string, Uint8Array> = {}
  let at = end + 1
  for (const [name, length] of lengths) {
    parts[name] = bytes.slice(at, at + length)
    at += length
  }
  return { told, parts }
}

export const floatBytes = (values: Float32Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength)

/** Floats of bytes that are aligned, as those of `unpackRecord` are. */
export const floatsOf = (bytes: Uint8Array): Float32Array =>
  new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
