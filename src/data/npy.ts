/** NumPy's `.npy` (NEP 1): magic, version, length, a Python literal as header, then the elements. */
import { part, toArray } from '../base/bytes.ts'
import { PareError } from '../base/errors.ts'
import { tooLarge } from '../base/inflate.ts'
import type { Bytes, DType, Tensor } from '../types.ts'
import { littleEndian, rowMajor } from './swap.ts'

const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]
const maxHeader = 64 * 1024
const maxRank = 32

/** NumPy's kind and size ⇄ element type; `word`: the size of what byte order turns round. */
const kinds: Readonly<Record<string, { readonly dtype: DType; readonly size: number; readonly word?: number }>> = {
  f2: { dtype: 'float16', size: 2 },
  f4: { dtype: 'float32', size: 4 },
  f8: { dtype: 'float64', size: 8 },
  i1: { dtype: 'int8', size: 1 },
  i2: { dtype: 'int16', size: 2 },
  i4: { dtype: 'int32', size: 4 },
  i8: { dtype: 'int64', size: 8 },
  u1: { dtype: 'uint8', size: 1 },
  u2: { dtype: 'uint16', size: 2 },
  u4: { dtype: 'uint32', size: 4 },
  u8: { dtype: 'uint64', size: 8 },
  b1: { dtype: 'bool', size: 1 },
  c8: { dtype: 'complex64', size: 8, word: 4 },
  c16: { dtype: 'complex128', size: 16, word: 8 }
}

export function isNpy(head: Uint8Array): boolean {
  return magic.every((b, i) => head[i] === b)
}

/**
 * Reads one array. Little-endian arrays in C order are not copied: over a file they stay there. Throws `E_DATA` for
 * anything but a whole array of numbers (pickled objects are never read), `E_LIMIT` for what must be copied and is too large.
 */
export function parseNpy(bytes: Bytes, where: string): Tensor {
  const bad = (message: string): PareError => new PareError('E_DATA', message, { where })
  const head = bytes.slice(0, Math.min(12, bytes.length))
  if (!isNpy(head)) throw bad('not a .npy array')
  const version = head[6] as number
  if (head.length < 12 || version < 1 || version > 3) throw bad(`.npy version ${version}; 1 to 3 are known`)
  const view = new DataView(head.buffer, head.byteOffset)
  const [start, length] = version === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)]
  if (length > maxHeader || start + length > bytes.length) throw bad('the .npy header is cut short')
  const header = parseHeader(new TextDecoder().decode(bytes.slice(start, start + length)), bad)
  const kind = kinds[header.descr.slice(1)]
  if (!kind || !'<>|='.includes(header.descr[0] as string))
    throw new PareError('E_DATA', `elements of type '${header.descr}'; only numbers can be read`, {
      where,
      hint: 'save it with a numeric dtype such as float32, int64 or uint8'
    })
  const count = header.shape.reduce((n, d) => n * d, 1)
  const size = count * kind.size
  const found = bytes.length - start - length
  if (!Number.isSafeInteger(size) || size !== found)
    throw bad(`[${header.shape}] of ${kind.dtype} takes ${size} bytes, the file holds ${found}`)
  const body = part(bytes, start + length, bytes.length)
  const big = header.descr[0] === '>' && kind.size > 1
  const turned = header.fortran && header.shape.filter((d) => d > 1).length > 1
  if (!big && !turned) return { dtype: kind.dtype, shape: header.shape, bytes: body }
  if (size > 2 ** 31 - 1) throw tooLarge(size, 2 ** 31 - 1, where)
  const straight = big ? littleEndian(toArray(body), kind.word ?? kind.size) : toArray(body)
  const rows = turned ? rowMajor(straight, header.shape, kind.size) : straight
  return { dtype: kind.dtype, shape: header.shape, bytes: rows }
}

interface Header {
  readonly descr: string
  readonly fortran: boolean
  readonly shape: readonly number[]
}

/** The three entries of the header's dictionary, in any order; nothing else is a numeric array. */
function parseHeader(text: string, bad: (message: string) => PareError): Header {
  const entry = (key: string, value: string): string | undefined =>
    new RegExp(`['"]${key}['"]\\s*:\\s*${value}\\s*[,}]`).exec(text)?.[1]
  const descr = entry('descr', `['"]([<>|=]?[A-Za-z?]\\d*)['"]`)
  const fortran = entry('fortran_order', '(True|False)')
  const dims = entry('shape', '\\(([\\d\\s,]*)\\)')
  if (descr === undefined && /['"]descr['"]/.test(text))
    throw bad('a structured array; only plain arrays of numbers can be read')
  if (descr === undefined || fortran === undefined || dims === undefined) throw bad('the .npy header cannot be read')
  const shape = dims
    .split(',')
    .map((d) => d.trim())
    .filter(Boolean)
    .map(Number)
  if (shape.length > maxRank || shape.some((d) => !Number.isSafeInteger(d)))
    throw bad('the .npy shape is not plausible')
  return { descr: descr === '?' ? '|b1' : descr, fortran: fortran === 'True', shape }
}
