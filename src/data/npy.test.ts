import fc from 'fast-check'
import { gzipSync, zipSync } from 'fflate'
import { describe, expect, it } from 'vitest'
import { PareError } from '../base/errors.ts'
import { crc32, gunzip } from '../base/inflate.ts'
import { toNumbers } from '../ir/tensor.ts'
import type { Bytes, Tensor } from '../types.ts'
import { isIdx, parseIdx } from './idx.ts'
import { parseNpy } from './npy.ts'
import { readNpz } from './npz.ts'

/** A `.npy` file with a header as given. */
function npy(header: string, body: Uint8Array, version = 1): Uint8Array {
  const text = new TextEncoder().encode(`${header.padEnd(63, ' ')}\n`)
  const prefix = version === 1 ? 10 : 12
  const out = new Uint8Array(prefix + text.length + body.length)
  out.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0])
  const view = new DataView(out.buffer)
  if (version === 1) view.setUint16(8, text.length, true)
  else view.setUint32(8, text.length, true)
  out.set(text, prefix)
  out.set(body, prefix + text.length)
  return out
}
const header = (descr: string, shape: string, fortran = 'False'): string =>
  `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': ${shape}, }`

function code(f: () => unknown): string {
  try {
    f()
  } catch (e) {
    if (e instanceof PareError) return e.code
    throw e
  }
  return 'none'
}

const values = (t: Tensor): number[] => Array.from(toNumbers(t))

describe('npy', () => {
  const cases: readonly [string, string, number, (v: DataView, at: number, x: number, little: boolean) => void][] = [
    ['f4', 'float32', 4, (v, at, x, le) => v.setFloat32(at, x, le)],
    ['f8', 'float64', 8, (v, at, x, le) => v.setFloat64(at, x, le)],
    ['i2', 'int16', 2, (v, at, x, le) => v.setInt16(at, x, le)],
    ['i4', 'int32', 4, (v, at, x, le) => v.setInt32(at, x, le)],
    ['i8', 'int64', 8, (v, at, x, le) => v.setBigInt64(at, BigInt(x), le)],
    ['u2', 'uint16', 2, (v, at, x, le) => v.setUint16(at, x, le)],
    ['u4', 'uint32', 4, (v, at, x, le) => v.setUint32(at, x, le)],
    ['u8', 'uint64', 8, (v, at, x, le) => v.setBigUint64(at, BigInt(x), le)]
  ]
  for (const [kind, dtype, size, set] of cases)
    for (const order of ['<', '>'])
      it(`reads ${order}${kind}`, () => {
        const body = new Uint8Array(6 * size)
        for (let i = 0; i < 6; i++) set(new DataView(body.buffer), i * size, i * 7, order === '<')
        const t = parseNpy(npy(header(order + kind, '(2, 3)'), body), 'x.npy')
        expect([t.dtype, t.shape, values(t)]).toEqual([dtype, [2, 3], [0, 7, 14, 21, 28, 35]])
      })

  it('reads bytes, bool, half and complex numbers', () => {
    expect(values(parseNpy(npy(header('|i1', '(2,)'), new Uint8Array([255, 3])), ''))).toEqual([-1, 3])
    expect(parseNpy(npy(header('|b1', '(2,)'), new Uint8Array([0, 1])), '').dtype).toBe('bool')
    expect(values(parseNpy(npy(header('>f2', '(1,)'), new Uint8Array([0x3c, 0])), ''))).toEqual([1])
    const swapped = parseNpy(npy(header('>c8', '(1,)'), new Uint8Array([0x3f, 0x80, 0, 0, 0x40, 0, 0, 0])), '')
    expect(Array.from(swapped.bytes.slice())).toEqual([0, 0, 0x80, 0x3f, 0, 0, 0, 0x40])
  })

  it('turns Fortran order into C order', () => {
    const t = parseNpy(npy(header('|u1', '(2, 3)', 'True'), new Uint8Array([1, 4, 2, 5, 3, 6])), '')
    expect(values(t)).toEqual([1, 2, 3, 4, 5, 6])
    const cube = Uint8Array.from({ length: 24 }, (_, i) => i)
    const turned = values(parseNpy(npy(header('|u1', '(2, 3, 4)', 'True'), cube), ''))
    for (let i = 0; i < 2; i++)
      for (let j = 0; j < 3; j++) for (let k = 0; k < 4; k++) expect(turned[i * 12 + j * 4 + k]).toBe(i + 2 * j + 6 * k)
  })

  it('reads versions 1 to 3, scalars and empty arrays', () => {
    for (const version of [1, 2, 3])
      expect(values(parseNpy(npy(header('|u1', '(1,)'), new Uint8Array([9]), version), ''))).toEqual([9])
    expect(parseNpy(npy(header('|u1', '()'), new Uint8Array([9])), '').shape).toEqual([])
    expect(parseNpy(npy(header('<f4', '(0, 3)'), new Uint8Array(0)), '').shape).toEqual([0, 3])
  })

  it('leaves plain arrays where they are', () => {
    const file = npy(header('<f4', '(1000, 1000)'), new Uint8Array(4e6))
    let read = 0
    const lazy: Bytes = {
      length: file.length,
      slice: (from = 0, to = file.length) => {
        read += to - from
        return file.slice(from, to)
      }
    }
    const t = parseNpy(lazy, '')
    expect(read).toBeLessThan(200)
    expect(t.bytes.length).toBe(4e6)
  })

  it('refuses what is not a whole array of numbers', () => {
    const one = new Uint8Array([1])
    const bad: readonly Uint8Array[] = [
      new Uint8Array(0),
      new Uint8Array(50),
      npy(header('|u1', '(1,)'), one, 4),
      npy(header('|O', '(1,)'), one),
      npy(header('<U3', '(1,)'), one),
      npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", one),
      npy(header('|u1', '(2,)'), one),
      npy(header('|u1', '(1,)'), new Uint8Array(2)),
      npy(header('|u1', '(-1,)'), one),
      npy(header('<f8', '(99999999999, 99999999999)'), one),
      npy(header('|u1', `(${'1, '.repeat(40)})`), one),
      npy('nonsense', one),
      npy(header('|u1', '(1,)'), one).slice(0, 30)
    ]
    for (const file of bad) expect(code(() => parseNpy(file, 'x.npy'))).toBe('E_DATA')
  })
})

describe('npz', () => {
  const x = npy(header('<f4', '(2,)'), new Uint8Array([0, 0, 128, 63, 0, 0, 0, 64]))
  const zeros = npy(header('|u1', '(1000000,)'), new Uint8Array(1e6))
  /** Overwrites a field of the first central directory entry, found by its signature. */
  const forged = (zip: Uint8Array, field: number, value: number, bytes = 4): Uint8Array => {
    const out = zip.slice()
    const view = new DataView(out.buffer)
    let at = 0
    while (view.getUint32(at, true) !== 0x02014b50) at++
    if (bytes === 4) view.setUint32(at + field, value, true)
    else view.setUint16(at + field, value, true)
    return out
  }

  it('reads stored and deflated arrays', () => {
    for (const level of [0, 6] as const) {
      const arrays = readNpz(
        zipSync({ 'x.npy': x, 'y.npy': zeros, 'readme.txt': new Uint8Array(3) }, { level }),
        'd.npz'
      )
      expect([...arrays.keys()]).toEqual(['x', 'y'])
      expect(values(arrays.get('x')?.() as Tensor)).toEqual([1, 2])
      expect(arrays.get('y')?.().bytes.length).toBe(1e6)
    }
  })

  it('refuses by its headers, before inflating', () => {
    const zip = zipSync({ 'x.npy': zeros })
    const read = (bytes: Uint8Array, max?: number) => code(() => readNpz(bytes, 'd.npz', max))
    expect(read(zip, 1000)).toBe('E_LIMIT')
    expect(read(forged(zip, 24, 0xfffffffe))).toBe('E_LIMIT')
    expect(read(forged(zip, 24, 0xffffffff))).toBe('E_LIMIT')
    expect(read(forged(zip, 20, 0x7fffffff))).toBe('E_DATA')
    expect(read(forged(zip, 42, 0x7fffffff))).toBe('E_DATA')
    expect(read(forged(zip, 10, 12, 2))).toBe('E_DATA')
    expect(read(forged(zip, 8, 1, 2))).toBe('E_DATA')
    expect(read(zip.slice(0, zip.length - 8))).toBe('E_DATA')
    expect(read(zipSync({ 'a.txt': x }))).toBe('E_DATA')
    expect(read(new Uint8Array(100))).toBe('E_DATA')
  })

  it('refuses wrong checksums, sizes and damaged data when an array is read', () => {
    const zip = zipSync({ 'x.npy': zeros })
    const read = (bytes: Uint8Array) => code(() => readNpz(bytes, 'd.npz').get('x')?.())
    expect(read(zip)).toBe('none')
    expect(read(forged(zip, 16, 1))).toBe('E_DATA')
    expect(read(forged(zip, 24, zeros.length + 1))).toBe('E_DATA')
    expect(read(forged(zip, 24, zeros.length - 1))).toBe('E_DATA')
    expect(read(forged(zip, 24, 0x40000000))).toBe('E_DATA')
    expect(read(forged(zip, 42, 4))).toBe('E_DATA')
    const broken = zip.slice()
    broken.fill(0xff, 40, 60)
    expect(read(broken)).toBe('E_DATA')
  })

  it('reads or refuses any mutation', () => {
    const zip = zipSync({ 'x.npy': x, 'y.npy': npy(header('<i8', '(1,)'), new Uint8Array(8)) })
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(zip.length - 1), fc.nat(255)), { maxLength: 4 }),
        fc.nat(zip.length),
        (edits, cut) => {
          const bytes = zip.slice()
          for (const [at, value] of edits) bytes[at] = value
          const file = cut % 3 === 0 ? bytes.slice(0, cut) : bytes
          expect(['none', 'E_DATA', 'E_LIMIT']).toContain(code(() => [...readNpz(file, 'd').values()].map((f) => f())))
        }
      ),
      { numRuns: 2000, seed: 1 }
    )
  })
})

describe('idx', () => {
  const idx = (type: number, shape: readonly number[], body: readonly number[]): Uint8Array =>
    new Uint8Array([0, 0, type, shape.length, ...shape.flatMap((d) => [0, 0, d >> 8, d & 255]), ...body])

  it('reads bytes and big-endian numbers', () => {
    expect(parseIdx(idx(8, [2, 2], [1, 2, 3, 255]), '')).toEqual({
      dtype: 'uint8',
      shape: [2, 2],
      bytes: new Uint8Array([1, 2, 3, 255])
    })
    expect(values(parseIdx(idx(11, [2], [1, 0, 255, 255]), ''))).toEqual([256, -1])
    expect(values(parseIdx(idx(12, [1], [0, 1, 0, 0]), ''))).toEqual([65536])
    expect(values(parseIdx(idx(13, [1], [0x3f, 0x80, 0, 0]), ''))).toEqual([1])
    expect(isIdx(new Uint8Array([0, 0, 8, 3]))).toBe(true)
    expect(isIdx(new Uint8Array([0, 0, 7, 3]))).toBe(false)
  })

  it('reads gzip, within a limit and only when whole', () => {
    const packed = gzipSync(idx(8, [200], new Array(200).fill(7)), { filename: 'a-name', mtime: 0 })
    expect(parseIdx(packed, '').shape).toEqual([200])
    expect(code(() => parseIdx(packed, '', 100))).toBe('E_LIMIT')
    expect(code(() => parseIdx(packed.slice(0, -3), ''))).toBe('E_DATA')
    const wrong = packed.slice()
    wrong[packed.length - 8] = (wrong[packed.length - 8] as number) ^ 1
    expect(code(() => gunzip(wrong, ''))).toBe('E_DATA')
    expect(code(() => gunzip(new Uint8Array([0x1f, 0x8b, 8, 8, ...new Array(20).fill(1)]), ''))).toBe('E_DATA')
  })

  it('refuses lengths that do not fit', () => {
    for (const bad of [idx(8, [3], [1, 2]), idx(8, [1], [1, 2]), new Uint8Array([0, 0, 8, 9]), new Uint8Array(3)])
      expect(code(() => parseIdx(bad, ''))).toBe('E_DATA')
    expect(code(() => parseIdx(new Uint8Array([0, 0, 8, 3, ...new Array(12).fill(255)]), ''))).toBe('E_DATA')
  })
})

it('crc32 of the standard check string', () => {
  expect(crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf43926)
})
