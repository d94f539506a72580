import { expect, it } from 'vitest'
import { decodeBmp } from './bmp.ts'

/** A bitmap of the given rows of bytes, as stored. */
function bmp(
  width: number,
  height: number,
  bits: number,
  rows: readonly (readonly number[])[],
  palette: readonly number[] = []
): Uint8Array {
  const body = rows.flatMap((r) => [...r, ...new Array((4 - (r.length % 4)) % 4).fill(0)])
  const out = new Uint8Array(54 + palette.length + body.length)
  const view = new DataView(out.buffer)
  out.set([0x42, 0x4d])
  view.setUint32(10, 54 + palette.length, true)
  view.setUint32(14, 40, true)
  view.setInt32(18, width, true)
  view.setInt32(22, height, true)
  view.setUint16(26, 1, true)
  view.setUint16(28, bits, true)
  out.set([...palette, ...body], 54)
  return out
}

it('decodes 24 bits bottom-up and top-down, 32 bits and palettes', () => {
  const bottomUp = bmp(1, 2, 24, [
    [1, 2, 3],
    [4, 5, 6]
  ])
  expect(decodeBmp(bottomUp, '', 100)).toEqual({
    width: 1,
    height: 2,
    channels: 3,
    data: new Uint8Array([6, 5, 4, 3, 2, 1])
  })
  const topDown = bmp(2, -1, 32, [[1, 2, 3, 0, 4, 5, 6, 0]])
  expect(decodeBmp(topDown, '', 100).data).toEqual(new Uint8Array([3, 2, 1, 6, 5, 4]))
  const indexed = bmp(3, 1, 8, [[1, 0, 1]], [9, 8, 7, 0, 30, 20, 10, 0])
  expect(decodeBmp(indexed, '', 100).data).toEqual(new Uint8Array([10, 20, 30, 7, 8, 9, 10, 20, 30]))
})

it('refuses what is damaged, too large or of another kind', () => {
  const good = bmp(2, 2, 24, [
    [1, 2, 3, 4, 5, 6],
    [1, 2, 3, 4, 5, 6]
  ])
  const code = (bytes: Uint8Array, max = 100) => {
    try {
      decodeBmp(bytes, '', max)
    } catch (e) {
      return (e as { code?: string }).code
    }
    return 'none'
  }
  expect(code(good)).toBe('none')
  expect(code(good, 3)).toBe('E_LIMIT')
  expect(code(good.slice(0, -1))).toBe('E_DATA')
  expect(code(good.slice(0, 20))).toBe('E_DATA')
  expect(code(bmp(0, 2, 24, []))).toBe('E_DATA')
  expect(code(bmp(65535, 65535, 24, []))).toBe('E_LIMIT')
  expect(code(bmp(2, 2, 4, [[0], [0]]))).toBe('E_UNSUPPORTED')
  expect(code(bmp(1, 1, 8, [[5]], [1, 2, 3, 0]))).toBe('E_DATA')
})
