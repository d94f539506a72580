import { describe, expect, it } from 'vitest'
import { cropCentre, normaliseNumbers, normalisePixels, resizeRaster, swapAxes } from './pixels.ts'
import { geometry, type Preprocess, parsePreprocess } from './preprocess.ts'

const every = Uint8Array.from({ length: 256 }, (_, i) => i)
const single = (p: Preprocess): Float32Array => normalisePixels(every, 1, 1, p, 'nchw')

describe('parsePreprocess', () => {
  it('presets give the published formulas, to the last bit of float32', () => {
    const [tf, unit, none] = ['tf', 'unit', 'none'].map((name) => single(parsePreprocess(name))) as [
      Float32Array,
      Float32Array,
      Float32Array
    ]
    for (let x = 0; x < 256; x++) {
      expect(tf[x]).toBe(Math.fround(x / 127.5 - 1))
      expect(unit[x]).toBe(Math.fround(x / 255))
      expect(none[x]).toBe(x)
    }
    const rgb = normalisePixels(new Uint8Array([10, 20, 30]), 1, 3, parsePreprocess('imagenet'), 'nhwc')
    const wanted = [(10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (30 / 255 - 0.406) / 0.225]
    // One unit in the last place: 1/255 is rounded before it multiplies.
    for (const [c, w] of wanted.entries())
      expect(Math.abs((rgb[c] as number) - w)).toBeLessThanOrEqual(Math.abs(w) * 2 ** -23)
  })

  it('fills in what the project’s own file leaves out', () => {
    expect(parsePreprocess({ mean: 3, resize: 32 })).toEqual({ scale: 1, mean: [3], std: [1], resize: 32 })
    expect(parsePreprocess({ scale: 0.5, std: [1, 2, 3], crop: [8, 9], layout: 'nhwc' })).toEqual({
      scale: 0.5,
      mean: [0],
      std: [1, 2, 3],
      crop: [8, 9],
      layout: 'nhwc'
    })
  })

  it('reads Hugging Face’s preprocessor_config.json', () => {
    const clip = {
      do_resize: true,
      size: { shortest_edge: 224 },
      do_center_crop: true,
      crop_size: { height: 224, width: 224 }
    }
    const normal = {
      do_rescale: true,
      rescale_factor: 1 / 255,
      do_normalize: true,
      image_mean: [0.5, 0.4, 0.3],
      image_std: [0.2, 0.2, 0.1]
    }
    expect(parsePreprocess({ image_processor_type: 'CLIPImageProcessor', ...clip, ...normal })).toEqual({
      scale: 1 / 255,
      mean: [0.5, 0.4, 0.3],
      std: [0.2, 0.2, 0.1],
      resize: 224,
      crop: [224, 224]
    })
    expect(parsePreprocess({ feature_extractor_type: 'ViTFeatureExtractor', size: 224, ...normal }).resize).toEqual([
      224, 224
    ])
    expect(parsePreprocess({ do_resize: true, size: { shortest_edge: 224 }, crop_pct: 0.875 })).toMatchObject({
      resize: 256,
      crop: 224
    })
    expect(parsePreprocess({ do_resize: true, size: { shortest_edge: 384 }, crop_pct: 0.875 })).toMatchObject({
      resize: [384, 384]
    })
    expect(
      parsePreprocess({ do_rescale: false, do_normalize: false, image_mean: [1], size: 9, do_resize: false })
    ).toEqual({
      scale: 1,
      mean: [0],
      std: [1]
    })
  })

  it('refuses what it does not understand, by name', () => {
    for (const bad of [
      { means: 1 },
      { std: 0 },
      { std: [1, -1] },
      { resize: 0 },
      { resize: 1.5 },
      { layout: 'chw' },
      7,
      null,
      []
    ])
      expect(() => parsePreprocess(bad, 'p.json')).toThrowError(
        expect.objectContaining({ code: 'E_OPTION', where: 'p.json' })
      )
    expect(() => parsePreprocess({ do_normalize: true, do_pad: true })).toThrowError(
      expect.objectContaining({ code: 'E_OPTION' })
    )
    expect(() => parsePreprocess('toString')).toThrow("named 'toString'")
  })
})

describe('geometry', () => {
  it('covers the input by 256/224 and cuts the centre', () => {
    expect(geometry([256, 341], [224, 224], {})).toEqual({ resize: [256, 341], crop: [224, 224] })
    expect(geometry([1000, 500], [224, 224], {})).toEqual({ resize: [512, 256], crop: [224, 224] })
    expect(geometry([100, 100], [112, 224], {})).toEqual({ resize: [256, 256], crop: [112, 224] })
  })
  it('follows resize and crop', () => {
    expect(geometry([100, 200], [undefined, undefined], { resize: 50, crop: 40 })).toEqual({
      resize: [50, 100],
      crop: [40, 40]
    })
    expect(geometry([100, 200], [32, 32], { resize: [32, 32] })).toEqual({ resize: [32, 32], crop: [32, 32] })
    expect(geometry([28, 28], [32, 32], { resize: 32 })).toEqual({ resize: [32, 32], crop: [32, 32] })
  })
  it('declines what cannot fit', () => {
    expect(geometry([100, 200], [224, 224], { resize: 100 })).toBeUndefined()
    expect(geometry([100, 200], [32, 32], { resize: 64, crop: 48 })).toBeUndefined()
    expect(geometry([100, 200], [undefined, undefined], {})).toBeUndefined()
  })
})

describe('pixels', () => {
  const none = parsePreprocess('none')
  it('planar and interleaved hold the same numbers', () => {
    const two = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    expect([...normalisePixels(two, 2, 3, none, 'nchw')]).toEqual([1, 4, 2, 5, 3, 6, 7, 10, 8, 11, 9, 12])
    expect([...normalisePixels(two, 2, 3, none, 'nhwc')]).toEqual([...two])
    expect([...swapAxes(two, 2, 2, 3)]).toEqual([1, 4, 2, 5, 3, 6, 7, 10, 8, 11, 9, 12])
  })
  it('numbers are normalised along their channel axis', () => {
    const p = { scale: 2, mean: [1, 2], std: [1, 4] }
    expect([...normaliseNumbers([1, 2, 3, 4], 2, 1, p)]).toEqual([1, 0.5, 5, 1.5])
    expect([...normaliseNumbers([1, 2, 3, 4], 2, 2, p)]).toEqual([1, 3, 1, 1.5])
    expect(() => normaliseNumbers([1, 2, 3], 3, 1, p)).toThrow('2 values of mean for 3 channels')
  })
  it('the centre leaves the odd row and column at the end', () => {
    const r = { width: 4, height: 3, channels: 1, data: new Uint8Array([0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]) }
    expect([...cropCentre(r, 2, 3).data]).toEqual([0, 1, 2, 10, 11, 12])
    expect(cropCentre(r, 3, 4)).toBe(r)
  })
  it('resizing keeps constants, averages when halving and interpolates when doubling', () => {
    const raster = (width: number, height: number, data: readonly number[]) => ({
      width,
      height,
      channels: 1,
      data: Uint8Array.from(data)
    })
    expect([...resizeRaster(raster(3, 3, new Array(9).fill(77)), 7, 2).data]).toEqual(new Array(14).fill(77))
    expect([...resizeRaster(raster(2, 1, [0, 100]), 1, 4).data]).toEqual([0, 25, 75, 100])
    // Triangle of reach 2 around x = 1: weights 0.75, 0.75, 0.25 over samples 0, 1, 2.
    expect([...resizeRaster(raster(4, 1, [0, 70, 140, 210]), 1, 2).data]).toEqual([50, 160])
    const same = raster(2, 2, [1, 2, 3, 4])
    expect(resizeRaster(same, 2, 2)).toBe(same)
  })
})
