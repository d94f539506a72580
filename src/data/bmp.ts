/** Windows bitmaps: uncompressed 8-bit palette, 24 and 32 bits a pixel (BITMAPINFOHEADER and later). */
import { PareError } from '../base/errors.ts'

/** Decoded pixels: rows from the top, red green blue. */
export interface Pixels {
  readonly width: number
  readonly height: number
  readonly channels: 1 | 3
  readonly data: Uint8Array
}

export function isBmp(head: Uint8Array): boolean {
  return head[0] === 0x42 && head[1] === 0x4d
}

/** Decodes to RGB; alpha is dropped. Throws `E_LIMIT` above `maxPixels`, `E_DATA` when damaged, `E_UNSUPPORTED` for other kinds. */
export function decodeBmp(bytes: Uint8Array, where: string, maxPixels: number): Pixels {
  const bad = (message: string): PareError => new PareError('E_DATA', message, { where })
  if (bytes.length < 54 || !isBmp(bytes)) throw bad('not a whole BMP picture')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const [start, header] = [view.getUint32(10, true), view.getUint32(14, true)]
  const [width, signed] = [view.getInt32(18, true), view.getInt32(22, true)]
  const [bits, compression] = [view.getUint16(28, true), view.getUint32(30, true)]
  const height = Math.abs(signed)
  if (width < 1 || height < 1) throw bad(`a picture of ${width} × ${height}`)
  if (width * height > maxPixels)
    throw new PareError('E_LIMIT', `a picture of ${width} × ${height} pixels; at most ${maxPixels} are read`, { where })
  const masked = compression === 3 && bits === 32 && bytes.length >= 66
  const plainMasks = masked && [0xff0000, 0xff00, 0xff].every((mask, i) => view.getUint32(54 + 4 * i, true) === mask)
  if (header < 40 || ![8, 24, 32].includes(bits) || (compression !== 0 && !plainMasks))
    throw new PareError('E_UNSUPPORTED', 'a BMP that is compressed or not of 8, 24 or 32 bits a pixel', { where })
  const stride = Math.ceil((width * bits) / 32) * 4
  if (start < 14 + header || start + stride * height > bytes.length) throw bad('the BMP picture is cut short')
  const palette = bits === 8 ? 14 + header : -1
  const colours = bits === 8 ? Math.min(256, (start - palette) >> 2) : 0
  const data = new Uint8Array(width * height * 3)
  for (let y = 0; y < height; y++) {
    const row = start + (signed > 0 ? height - 1 - y : y) * stride
    for (let x = 0; x < width; x++) {
      let from = row + (x * bits) / 8
      if (bits === 8) {
        const code = bytes[from] as number
        if (code >= colours) throw bad('a colour outside the palette')
        from = palette + 4 * code
      }
      const to = (y * width + x) * 3
      data[to] = bytes[from + 2] as number
      data[to + 1] = bytes[from + 1] as number
      data[to + 2] = bytes[from] as number
    }
  }
  return { width, height, channels: 3, data }
}
