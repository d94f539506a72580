/** NumPy's `.npz`: a zip of `.npy` entries (APPNOTE 6.3), stored or deflated, each read when asked for. */
import { PareError } from '../base/errors.ts'
import { maxInflated, tooLarge } from '../base/inflate.ts'
import { content, directory } from '../base/zip.ts'
import type { Bytes, Tensor } from '../types.ts'

import { parseNpy } from './npy.ts'

/** Arrays by name, each parsed (and inflated) only when called. */
export type LazyArrays = ReadonlyMap<string, () => Tensor>

/**
 * Reads the directory and checks every entry against the file before anything is inflated. Throws `E_DATA` for a
 * damaged or contradictory archive, `E_LIMIT` for an entry above `max` bytes.
 */
export function readNpz(bytes: Bytes, where: string, max = maxInflated): LazyArrays {
  const { entries, end } = directory(bytes, where)
  const arrays = new Map<string, () => Tensor>()
  let total = 0
  for (const entry of entries) {
    if (!entry.name.endsWith('.npy')) continue
    const name = entry.name.slice(0, -4)
    const place = `${where}, ${name}`
    if (arrays.has(name)) throw new PareError('E_DATA', 'two arrays of one name', { where: place })
    if (entry.size > max) throw tooLarge(entry.size, max, place)
    if (entry.method !== 0 && entry.method !== 8)
      throw new PareError('E_DATA', `compression method ${entry.method}; stored and deflate are known`, {
        where: place
      })
    total += entry.compressed
    if (
      entry.offset + entry.compressed > end ||
      total > bytes.length ||
      (entry.method === 0 && entry.compressed !== entry.size)
    )
      throw new PareError('E_DATA', 'the zip directory contradicts the file', { where: place })
    arrays.set(name, () => parseNpy(content(bytes, entry, end, place, max), place))
  }
  if (arrays.size === 0) throw new PareError('E_DATA', 'no array in the archive', { where })
  return arrays
}
