import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, describe, expect, it } from 'vitest'
import { toNumbers } from '../ir/tensor.ts'
import type { Dataset, Tensor } from '../types.ts'
import { openDataset } from './dataset.ts'
import { decode } from './images.ts'

const home = mkdtempSync(join(tmpdir(), 'pare-images-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))

type Rgb = readonly [number, number, number]
const flat = (w: number, h: number, [r, g, b]: Rgb) =>
  sharp({ create: { width: w, height: h, channels: 3, background: { r, g, b } } })
const png = (w: number, h: number, c: Rgb): Promise<Buffer> => flat(w, h, c).png().toBuffer()

/** A new folder of the given files. */
async function folder(files: Record<string, Uint8Array | string | Promise<Uint8Array>>): Promise<string> {
  const root = mkdtempSync(join(home, 'f-'))
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(root, name, '..'), { recursive: true })
    writeFileSync(join(root, name), await content)
  }
  return root
}

const image = [{ name: 'image', dtype: 'float32', shape: ['N', 3, 2, 2] }] as const
const first = (t: Tensor | undefined): number[] => Array.from(toNumbers(t as Tensor))

async function all(d: Dataset): Promise<{ pixels: number[][]; labels: number[] }> {
  const out: { pixels: number[][]; labels: number[] } = { pixels: [], labels: [] }
  for await (const b of d.batches({ batch: 1 })) {
    out.pixels.push(first(Object.values(b.inputs)[0]))
    out.labels.push(...(b.labels ?? []))
  }
  return out
}

describe('a folder of pictures', () => {
  it('reads jpeg, png and webp in order of their names, unlabelled', async () => {
    const path = await folder({
      'b.png': png(2, 2, [10, 20, 30]),
      'a.webp': flat(2, 2, [40, 50, 60]).webp({ lossless: true }).toBuffer(),
      'c.jpg': flat(8, 8, [128, 128, 128]).jpeg().toBuffer(),
      'notes.txt': 'no picture',
      '.hidden.png': 'no picture'
    })
    const d = await openDataset({ path }, image)
    expect([d.size, d.labelled]).toEqual([3, false])
    expect((await all(d)).pixels).toEqual([
      [40, 40, 40, 40, 50, 50, 50, 50, 60, 60, 60, 60],
      [10, 10, 10, 10, 20, 20, 20, 20, 30, 30, 30, 30],
      new Array(12).fill(128)
    ])
    expect(d.sha256).toMatch(/^[0-9a-f]{64}$/)
  })

  it('says how pictures are fed where nothing says what the model expects', async () => {
    const path = await folder({ 'a.png': png(4, 4, [10, 20, 30]) })
    const { notes = [] } = await openDataset({ path }, image)
    expect(notes.join()).toMatch(
      /fed as 0…255, resized and cropped to 2 × 2.*--preprocess imagenet, tf, unit or FILE.json/
    )
    expect((await openDataset({ path, preprocess: 'none' }, image)).notes).toBeUndefined()
    expect((await openDataset({ path }, [{ ...image[0], dtype: 'uint8' }])).notes).toBeUndefined()
  })

  it('gives the same batches again, and picks by indices', async () => {
    const path = await folder({
      'a.png': png(2, 2, [1, 1, 1]),
      'b.png': png(2, 2, [2, 2, 2]),
      'c.png': png(2, 2, [3, 3, 3])
    })
    const d = await openDataset({ path }, image)
    const seen: number[][] = []
    for (const indices of [[2, 0], [2, 0], [1]])
      for await (const b of d.batches({ batch: 2, indices })) seen.push([b.n, ...first(b.inputs['image'])])
    expect(seen).toEqual([
      [2, ...new Array(12).fill(3), ...new Array(12).fill(1)],
      [2, ...new Array(12).fill(3), ...new Array(12).fill(1)],
      [1, ...new Array(12).fill(2)]
    ])
  })

  it('maps class folders by their count, or by a list of names', async () => {
    const path = await folder({
      'cat/1.png': png(2, 2, [1, 1, 1]),
      'dog/1.png': png(2, 2, [2, 2, 2]),
      'dog/2.png': png(2, 2, [3, 3, 3])
    })
    expect((await all(await openDataset({ path }, image, { classes: 2 }))).labels).toEqual([0, 1, 1])
    await expect(openDataset({ path }, image, { classes: 3 })).rejects.toMatchObject({ code: 'E_LABELS' })
    expect((await openDataset({ path }, image)).labelled).toBe(false)
    const labels = join(home, 'names.txt')
    writeFileSync(labels, 'dog\nbird\ncat\n')
    expect((await all(await openDataset({ path, labels }, image, { classes: 3 }))).labels).toEqual([2, 0, 0])
    writeFileSync(labels, 'dog\nbird\n')
    await expect(openDataset({ path, labels }, image, { classes: 3 })).rejects.toThrow("'cat'")
  })

  it('reads labels.csv, in its order', async () => {
    const path = await folder({
      'a.png': png(2, 2, [1, 1, 1]),
      'sub/b.png': png(2, 2, [2, 2, 2]),
      'labels.csv': 'file,label\nsub/b.png,7\na.png,3\n'
    })
    const { pixels, labels } = await all(await openDataset({ path }, image, { classes: 10 }))
    expect([labels, pixels.map((p) => p[0])]).toEqual([
      [7, 3],
      [2, 1]
    ])
    await expect(openDataset({ path }, image, { classes: 5 })).rejects.toMatchObject({ code: 'E_LABELS' })
  })

  it('keeps labels.csv and its files inside the folder', async () => {
    const outside = join(home, 'outside.png')
    writeFileSync(outside, await png(2, 2, [1, 1, 1]))
    for (const row of ['../outside.png', outside, 'link.png', 'missing.png', 'labels.csv']) {
      const path = await folder({ 'a.png': png(2, 2, [1, 1, 1]), 'labels.csv': `${row},0\n` })
      symlinkSync(outside, join(path, 'link.png'))
      await expect(openDataset({ path }, image), row).rejects.toMatchObject({ code: 'E_DATA' })
    }
    const path = await folder({ 'a.png': png(2, 2, [1, 1, 1]) })
    symlinkSync(outside, join(path, 'b.png'))
    await expect(openDataset({ path }, image)).rejects.toThrow('outside the data folder')
  })

  it('refuses empty, mixed and unfit folders', async () => {
    await expect(openDataset({ path: await folder({}) }, image)).rejects.toMatchObject({ code: 'E_DATA' })
    const mixed = await folder({ 'a.png': png(2, 2, [1, 1, 1]), 'cat/b.png': png(2, 2, [1, 1, 1]) })
    await expect(openDataset({ path: mixed }, image)).rejects.toThrow('both')
    const text = [{ name: 'ids', dtype: 'int64', shape: ['N', 8] }] as const
    await expect(openDataset({ path: mixed }, text)).rejects.toMatchObject({ code: 'E_DATA_SHAPE' })
    const open = [{ name: 'image', dtype: 'float32', shape: ['N', 3, 'H', 'W'] }] as const
    const one = await folder({ 'a.png': png(9, 9, [1, 1, 1]) })
    await expect(openDataset({ path: one }, open)).rejects.toThrow('leaves the size')
    const cropped = await openDataset({ path: one, preprocess: { resize: 6, crop: 4 } }, open)
    for await (const b of cropped.batches({ batch: 1 })) expect(b.inputs['image']?.shape).toEqual([1, 3, 4, 4])
    const large = await openDataset({ path: one, preprocess: { resize: 3 } }, [
      { name: 'image', dtype: 'float32', shape: ['N', 3, 4, 4] }
    ])
    await expect(all(large)).rejects.toMatchObject({ code: 'E_DATA_SHAPE' })
  })

  it('names a picture that cannot be decoded', async () => {
    const whole = await flat(64, 64, [9, 9, 9]).jpeg().toBuffer()
    for (const content of [
      'no picture at all',
      whole.subarray(0, whole.length >> 1),
      '<svg xmlns="http://www.w3.org/2000/svg" width="2" height="2"/>'
    ]) {
      const path = await folder({ 'broken.jpg': content })
      await expect(all(await openDataset({ path }, image))).rejects.toMatchObject({
        code: 'E_DATA',
        where: join(path, 'broken.jpg')
      })
    }
  })
})

describe('decode', () => {
  const to = (channels: 1 | 3, size: readonly [number, number], preprocess = {}) => ({
    input: { name: 'image', channels },
    size,
    preprocess
  })

  it('does not resample a picture whose shorter side is 256/224 of the input', async () => {
    const [w, h] = [300, 256]
    const raw = Uint8Array.from({ length: w * h * 3 }, (_, i) => (i * 2654435761) >>> 24)
    const file = await sharp(raw, { raw: { width: w, height: h, channels: 3 } })
      .png()
      .toBuffer()
    const data = await decode(file, '', to(3, [224, 224]))
    const wanted = new Uint8Array(224 * 224 * 3)
    for (let y = 0; y < 224; y++)
      wanted.set(raw.subarray(((y + 16) * w + 38) * 3, ((y + 16) * w + 38 + 224) * 3), y * 224 * 3)
    expect(Buffer.compare(data, wanted)).toBe(0)
  })

  it('applies EXIF orientation, drops alpha and turns grey either way', async () => {
    const wide = await sharp(new Uint8Array([0, 0, 0, 255, 255, 255]), { raw: { width: 2, height: 1, channels: 3 } })
      .withMetadata({ orientation: 6 })
      .png()
      .toBuffer()
    expect([...(await decode(wide, '', to(1, [2, 1], { resize: [2, 1] })))]).toEqual([0, 255])
    const clear = await sharp({
      create: { width: 1, height: 1, channels: 4, background: { r: 9, g: 8, b: 7, alpha: 0 } }
    })
      .png()
      .toBuffer()
    expect([...(await decode(clear, '', to(3, [1, 1], { resize: 1 })))]).toEqual([9, 8, 7])
    const grey = await flat(1, 1, [77, 77, 77]).toColourspace('b-w').png().toBuffer()
    expect([...(await decode(grey, '', to(3, [1, 1], { resize: 1 })))]).toEqual([77, 77, 77])
    expect([...(await decode(grey, '', to(1, [1, 1], { resize: 1 })))]).toEqual([77])
  })

  it('reads bitmaps', async () => {
    const bmp = new Uint8Array(58)
    const view = new DataView(bmp.buffer)
    bmp.set([0x42, 0x4d])
    for (const [at, value] of [
      [10, 54],
      [14, 40],
      [18, 1],
      [22, 1]
    ] as const)
      view.setUint32(at, value, true)
    view.setUint16(28, 24, true)
    bmp.set([1, 2, 3], 54)
    expect([...(await decode(bmp, '', to(3, [1, 1], { resize: 1 })))]).toEqual([3, 2, 1])
  })

  it('refuses more pixels than its limit by the header', async () => {
    const small = await png(4, 4, [1, 2, 3])
    const view = new DataView(small.buffer, small.byteOffset)
    view.setUint32(16, 60000)
    view.setUint32(20, 60000)
    await expect(decode(small, 'bomb.png', to(3, [2, 2]))).rejects.toThrowError(
      expect.objectContaining({ where: 'bomb.png' })
    )
    const bomb = await flat(11000, 10000, [0, 0, 0]).png({ compressionLevel: 1 }).toBuffer()
    await expect(decode(bomb, 'bomb.png', to(3, [2, 2]))).rejects.toMatchObject({ code: 'E_LIMIT' })
  })
})
