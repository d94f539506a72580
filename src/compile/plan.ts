/** Where values lie in memory: buffers whose lives do not meet share bytes. */

export interface Buffer {
  readonly bytes: number
  /** The first and the last step during which it holds something that is needed. */
  readonly from: number
  readonly to: number
}

export interface Plan {
  readonly offsets: readonly number[]
  /** Bytes that all buffers take together. */
  readonly total: number
}

const aligned = 16

/**
 * The largest buffers first, each at the lowest offset that is free during its life (greedy by size, as Pisarchyk and Lee,
 * "Efficient Memory Management for Deep Neural Net Inference", 2020).
 */
export function planMemory(buffers: readonly Buffer[]): Plan {
  const order = buffers.map((_, i) => i).sort((a, b) => bytesOf(buffers[b]) - bytesOf(buffers[a]) || a - b)
  const offsets = buffers.map(() => 0)
  const placed: number[] = []
  let total = 0
  for (const i of order) {
    const buffer = buffers[i] as Buffer
    const busy = placed
      .filter((j) => meets(buffer, buffers[j] as Buffer))
      .map((j) => [offsets[j] as number, (offsets[j] as number) + bytesOf(buffers[j])] as const)
      .sort((a, b) => a[0] - b[0])
    let at = 0
    for (const [begin, end] of busy) {
      if (at + bytesOf(buffer) <= begin) break
      at = Math.max(at, end)
    }
    offsets[i] = at
    placed.push(i)
    total = Math.max(total, at + bytesOf(buffer))
  }
  return { offsets, total }
}

const bytesOf = (b: Buffer | undefined): number => Math.ceil((b?.bytes ?? 0) / aligned) * aligned
const meets = (a: Buffer, b: Buffer): boolean => a.from <= b.to && b.from <= a.to
