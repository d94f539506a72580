/** Calibration samples for passes that run the data many times. */
import { toArray } from '../base/bytes.ts'
import { arrayDataset } from '../data/arrays.ts'
import type { Dataset, Tensor } from '../types.ts'

/** Samples of more bytes than this are read again each time. */
const heldBytes = 512 * 1024 * 1024

/** The first `most` samples, in memory where they fit. */
export async function heldSamples(data: Dataset, most: number): Promise<Dataset> {
  const size = Math.min(most, data.size)
  const indices = Array.from({ length: size }, (_, i) => i)
  const first: Dataset = {
    ...data,
    size,
    batches: (o) => data.batches({ batch: o.batch, indices: o.indices ?? indices })
  }
  const parts = new Map<string, Tensor[]>()
  let bytes = 0
  for await (const b of first.batches({ batch: 16 })) {
    for (const [name, t] of Object.entries(b.inputs)) {
      if (t.strings || t.shape[0] !== b.n) return first
      bytes += t.bytes.length
      parts.set(name, [...(parts.get(name) ?? []), t])
    }
    if (bytes > heldBytes) return first
  }
  return arrayDataset({ inputs: Object.fromEntries([...parts].map(([name, all]) => [name, joined(all, size)])) })
}

function joined(all: readonly Tensor[], size: number): Tensor {
  const { dtype, shape } = all[0] as Tensor
  const bytes = new Uint8Array(all.reduce((n, t) => n + t.bytes.length, 0))
  let at = 0
  for (const t of all) {
    bytes.set(toArray(t.bytes), at)
    at += t.bytes.length
  }
  return { dtype, shape: [size, ...shape.slice(1)], bytes }
}
