/** Memory for inputs of runs that is used again: sizes are rounded up to powers of two. */

/** What is kept for use again, bytes at most. */
const most = 64 * 1024 * 1024

export interface Buffers {
  /** So many bytes at the beginning of memory of their own; what they hold is not cleared. */
  readonly room: (bytes: number) => Uint8Array
  readonly give: (back: readonly ArrayBuffer[]) => void
}

export function buffers(): Buffers {
  const free = new Map<number, ArrayBuffer[]>()
  let kept = 0
  return {
    room: (bytes) => {
      const size = 2 ** Math.ceil(Math.log2(Math.max(1024, bytes)))
      const found = free.get(size)?.pop()
      if (found) kept -= size
      return new Uint8Array(found ?? new ArrayBuffer(size), 0, bytes)
    },
    give: (back) => {
      for (const buffer of back) {
        const size = buffer.byteLength
        if (kept + size > most || Math.log2(size) % 1 !== 0) continue
        free.set(size, [...(free.get(size) ?? []), buffer])
        kept += size
      }
    }
  }
}
