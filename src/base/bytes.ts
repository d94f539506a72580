import type { Bytes } from '../types.ts'

/** The whole run as one array; the very same array when it is one already. Must not be written to. */
export function toArray(bytes: Bytes): Uint8Array {
  return bytes instanceof Uint8Array ? bytes : bytes.slice()
}

/** A part of a run without copying or reading it. */
export function part(bytes: Bytes, from: number, to: number): Bytes {
  if (bytes instanceof Uint8Array) return bytes.subarray(from, to)
  return {
    length: to - from,
    slice: (a = 0, b = to - from) => bytes.slice(from + a, Math.min(from + b, to))
  }
}

/** Joins parts into one array. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0))
  let at = 0
  for (const p of parts) {
    out.set(p, at)
    at += p.length
  }
  return out
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

/** Runs larger than this are not pulled into memory for a look (comparing, hashing, printing). */
export const largeBytes = 64 * 1024 * 1024

/** 53-bit FNV-like content hash, for tables of candidates that are then compared byte by byte. */
export function quickHash(bytes: Uint8Array): string {
  let a = 0x811c9dc5
  let b = 0x9e3779b9
  for (let i = 0; i < bytes.length; i++) {
    const x = bytes[i] as number
    a = Math.imul(a ^ x, 16777619)
    b = Math.imul(b ^ x, 0x85ebca6b) + 1
  }
  return `${(a >>> 0).toString(16)}${(b >>> 0).toString(16)}:${bytes.length}`
}
