/** Calibration samples for passes that run the data many times. */
import { concat } from '../base/bytes.ts'
import { arrayDataset } from '../data/arrays.ts'
import { compacted, heldBytes } from '../ir/compact.ts'
import type { Bytes, Dataset, Tensor } from '../types.ts'

/** Samples that take more bytes than this are read again each time. */
const mostBytes = 256 * 1024 * 1024

/** Datasets that `heldSamples` made. */
const inMemory = new WeakSet<Dataset>()

/** The first `most` samples, in memory where they fit and are of one shape; the very same data where all of it is held already. */
export async function heldSamples(data: Dataset, most: number): Promise<Dataset> {
  if (inMemory.has(data) && data.size <= most) return data
  const size = Math.min(most, data.size)
  const indices = Array.from({ length: size }, (_, i) => i)
  const first: Dataset = {
    ...data,
    size,
    batches: (o) => data.batches({ batch: o.batch, indices: o.indices ?? indices })
  }
  const parts = new Map<string, Tensor[]>()
  let bytes = 0
  let stepped: readonly string[] | undefined
  for await (const b of first.batches({ batch: 16 })) {
    stepped = b.stepped
    for (const [name, given] of Object.entries(b.inputs)) {
      if (given.strings || given.shape[0] !== b.n) return first
      const t = compacted(given)
      bytes += heldBytes(t)
      const own = parts.get(name)
      // Texts differ in length.
      if (own?.[0] && own[0].shape.slice(1).join() !== t.shape.slice(1).join()) return first
      if (own) own.push(t)
      else parts.set(name, [t])
    }
    if (bytes > mostBytes) return first
  }
  const inputs = Object.fromEntries([...parts].map(([name, all]) => [name, joined(all, size)]))
  const held = arrayDataset({ inputs, stepped })
  inMemory.add(held)
  return held
}

function joined(all: readonly Tensor[], size: number): Tensor {
  const { dtype, shape } = all[0] as Tensor
  return { dtype, shape: [size, ...shape.slice(1)], bytes: chained(all.map((t) => t.bytes)) }
}

/** Runs of bytes, one behind the other, without a copy of them. */
function chained(all: readonly Bytes[]): Bytes {
  const length = all.reduce((n, b) => n + b.length, 0)
  return {
    length,
    slice: (from = 0, to = length) => {
      const out: Uint8Array[] = []
      let start = 0
      for (const bytes of all) {
        const [a, b] = [Math.max(from - start, 0), Math.min(to - start, bytes.length)]
        if (a < b) out.push(bytes.slice(a, b))
        start += bytes.length
      }
      return out.length === 1 ? (out[0] as Uint8Array) : concat(out)
    }
  }
}
