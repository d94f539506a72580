/** IDX, the format of MNIST: two zero bytes, element type, rank, then big-endian uint32 dimensions and elements. */
import { Gunzip } from 'fflate'
import { PareError } from '../base/errors.ts'
import { gunzip, isGzip, maxInflated } from '../base/inflate.ts'
import type { DType, Tensor } from '../types.ts'
import { littleEndian } from './swap.ts'

const types: Readonly<Record<number, { readonly dtype: DType; readonly size: number }>> = {
  8: { dtype: 'uint8', size: 1 },
  9: { dtype: 'int8', size: 1 },
  11: { dtype: 'int16', size: 2 },
  12: { dtype: 'int32', size: 4 },
  13: { dtype: 'float32', size: 4 },
  14: { dtype: 'float64', size: 8 }
}

export function isIdx(head: Uint8Array): boolean {
  return head[0] === 0 && head[1] === 0 && types[head[2] ?? -1] !== undefined && (head[3] ?? 0) > 0
}

/** Inflates an array whose header and gzip trailer agree on its size. */
function unzipped(bytes: Uint8Array, where: string, max: number): Uint8Array {
  const [wanted, end] = [announced(bytes), bytes.subarray(-4)]
  const size = end.reduceRight((n, byte) => n * 256 + byte, 0)
  if (wanted !== undefined && wanted !== size)
    throw new PareError('E_DATA', `the array takes ${wanted} bytes, the gzip file holds ${size}`, { where })
  return gunzip(bytes, where, max)
}

/** Bytes that the header in a gzip file announces, header included; `undefined` where it cannot be read. */
function announced(bytes: Uint8Array): number | undefined {
  const head: number[] = []
  const stream = new Gunzip((chunk) => {
    for (let i = 0; i < chunk.length && head.length < longestHeader; i++) head.push(chunk[i] as number)
  })
  try {
    stream.push(bytes.subarray(0, 512), false)
  } catch {
    // Damaged: reading the whole says how.
    return undefined
  }
  const raw = Uint8Array.from(head)
  const start = 4 + 4 * (raw[3] ?? 0)
  if (!isIdx(raw) || start > raw.length) return undefined
  const view = new DataView(raw.buffer)
  let size = types[raw[2] as number]?.size ?? 1
  for (let at = 4; at < start; at += 4) size *= view.getUint32(at)
  return start + size
}

const longestHeader = 4 + 4 * 8

/** Reads an IDX array, gzipped or not. Throws `E_DATA` for anything but one whole array, `E_LIMIT` above `max` bytes. */
export function parseIdx(bytes: Uint8Array, where: string, max = maxInflated): Tensor {
  const raw = isGzip(bytes) ? unzipped(bytes, where, max) : bytes
  const type = types[raw[2] ?? -1]
  if (!isIdx(raw) || !type) throw new PareError('E_DATA', 'not an IDX array', { where })
  const rank = raw[3] as number
  const start = 4 + 4 * rank
  if (rank > 8 || start > raw.length) throw new PareError('E_DATA', 'the IDX header is cut short', { where })
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength)
  const shape = Array.from({ length: rank }, (_, i) => view.getUint32(4 + 4 * i))
  const size = shape.reduce((n, d) => n * d, type.size)
  if (size !== raw.length - start)
    throw new PareError(
      'E_DATA',
      `[${shape}] of ${type.dtype} takes ${size} bytes, the file holds ${raw.length - start}`,
      {
        where
      }
    )
  const body = raw.subarray(start)
  return { dtype: type.dtype, shape, bytes: type.size === 1 ? body : littleEndian(body, type.size) }
}
