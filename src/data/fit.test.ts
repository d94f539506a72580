import { describe, expect, it } from 'vitest'
import { tensor, toNumbers } from '../ir/tensor.ts'
import type { DType, Tensor } from '../types.ts'
import { columnDataset } from './arrays.ts'
import { fitArrays, fitShape, imageInput, type ModelInput } from './fit.ts'
import { parsePreprocess } from './preprocess.ts'

const input = (name: string, shape?: readonly (number | string)[], dtype: DType = 'float32'): ModelInput => ({
  name,
  dtype,
  ...(shape && { shape })
})
const zeros = (dtype: DType, shape: readonly number[]): Tensor =>
  tensor(dtype, shape, new Array(shape.reduce((n, d) => n * d, 1)).fill(0))
const lazy = (arrays: Record<string, Tensor>) => new Map(Object.entries(arrays).map(([name, t]) => [name, () => t]))

async function first(arrays: Record<string, Tensor>, inputs: readonly ModelInput[], o: object = {}) {
  const dataset = columnDataset(fitArrays(lazy(arrays), inputs, { where: 'd.npz', ...o }))
  for await (const batch of dataset.batches({ batch: 2 })) return batch
  throw new Error('no batch')
}

describe('shapes', () => {
  it('fit when equal, symbolic, or equal but for axes of size 1', () => {
    expect(fitShape([3, 4], [3, 'W'])).toEqual([3, 4])
    expect(fitShape([28, 28], [1, 28, 28])).toEqual([1, 28, 28])
    expect(fitShape([1, 7, 1], [7])).toEqual([7])
    expect(fitShape([7], [1, 'T'])).toEqual([1, 7])
    expect(fitShape([], [1])).toEqual([1])
    expect(fitShape([28, 28], [784])).toBeUndefined()
    expect(fitShape([3, 4], [4, 3])).toBeUndefined()
    expect(fitShape([3], [3, 3])).toBeUndefined()
  })

  it('the mismatch shows both and what to try', () => {
    const run = () =>
      fitArrays(lazy({ x: zeros('uint8', [5, 28, 28]) }), [input('image', ['N', 3, 32, 32])], { where: 'test.npz' })
    expect(run).toThrowError(
      expect.objectContaining({
        code: 'E_DATA_SHAPE',
        message: 'the data does not fit the model',
        facts: { model: 'input image: float32[N, 3, 32, 32]', data: 'test.npz, x: uint8[5, 28, 28]' },
        hint: '--preprocess FILE.json with {"resize": 32}, and data with 3 channels'
      })
    )
    const ids = () => fitArrays(lazy({ x: zeros('float32', [5, 9]) }), [input('ids', ['N', 9], 'int64')], { where: '' })
    expect(ids).toThrowError(expect.objectContaining({ code: 'E_DATA_SHAPE' }))
  })
})

describe('matching', () => {
  it('takes arrays by name, x for an only input, y as labels', async () => {
    const b = await first(
      { a: tensor('float32', [2, 1], [1, 2]), b: tensor('int32', [2], [3, 4]), y: tensor('int64', [2], [0, 1]) },
      [input('b', ['N'], 'int64'), input('a', ['N', 1])]
    )
    expect(Object.entries(b.inputs).map(([name, t]) => [name, t.dtype, ...toNumbers(t)])).toEqual([
      ['b', 'int64', 3, 4],
      ['a', 'float32', 1, 2]
    ])
    expect(b.labels).toEqual([0, 1])
    const own = await first({ y: tensor('float32', [1, 1], [5]) }, [input('y', ['N', 1])])
    expect(own.labels).toBeUndefined()
  })

  it('names what nothing uses', () => {
    const notes = (arrays: Record<string, Tensor>, names: readonly string[]) =>
      columnDataset(
        fitArrays(
          lazy(arrays),
          names.map((n) => input(n, ['N', 2])),
          { where: 'd.npz' }
        )
      ).notes
    const [x, y] = [zeros('float32', [3, 2]), zeros('int64', [3])]
    expect(notes({ a: x, y }, ['a'])).toBeUndefined()
    expect(notes({ a: x, b: x, y }, ['a', 'b'])).toBeUndefined()
    expect(notes({ x, b: x }, ['a'])).toEqual(['d.npz: b was left aside: it is no input of the model'])
    expect(notes({ a: x, b: x, mask: x, y }, ['a'])).toEqual([
      'd.npz: b, mask were left aside: they are no inputs of the model'
    ])
  })
  it('names what is missing', () => {
    const two = [input('a', ['N']), input('b', ['N'])]
    expect(() => fitArrays(lazy({ x: zeros('float32', [1]) }), two, { where: '' })).toThrow('input a')
    expect(() => fitArrays(lazy({ z: zeros('float32', [1]) }), [input('a', ['N'])], { where: '' })).toThrow('input a')
  })

  it('refuses empty data and labels that are no classes', () => {
    const fitting = (x: Tensor, y: Tensor) => () =>
      fitArrays(lazy({ x, y }), [input('a', ['N', 2])], { where: '', classes: 3 })
    const y = (v: number) => tensor('int64', [1], [v])
    expect(fitting(zeros('float32', [0, 2]), y(0))).toThrowError(expect.objectContaining({ code: 'E_DATA' }))
    expect(fitting(zeros('float32', [1, 2]), y(3))).toThrowError(expect.objectContaining({ code: 'E_LABELS' }))
    expect(fitting(zeros('float32', [1, 2]), y(-1))).toThrowError(expect.objectContaining({ code: 'E_LABELS' }))
  })

  it('casts without losing integers', async () => {
    const half = await first({ x: tensor('float32', [1, 1], [1.5]) }, [input('a', ['N', 1], 'float16')])
    expect(half.inputs['a']?.dtype).toBe('float16')
    await expect(first({ x: tensor('int64', [1], [300]) }, [input('a', ['N'], 'uint8')])).rejects.toMatchObject({
      code: 'E_DATA'
    })
  })
})

describe('pictures', () => {
  const rgb = tensor('uint8', [1, 1, 2, 3], [1, 2, 3, 4, 5, 6])
  it('uint8 NHWC becomes the model’s layout, cast as it is', async () => {
    const nchw = await first({ x: rgb }, [input('image', ['N', 3, 1, 2])])
    expect([nchw.inputs['image']?.shape, [...toNumbers(nchw.inputs['image'] as Tensor)]]).toEqual([
      [1, 3, 1, 2],
      [1, 4, 2, 5, 3, 6]
    ])
    const nhwc = await first({ x: rgb }, [input('image', ['N', 1, 2, 3])])
    expect([nhwc.inputs['image']?.shape, [...toNumbers(nhwc.inputs['image'] as Tensor)]]).toEqual([
      [1, 1, 2, 3],
      [1, 2, 3, 4, 5, 6]
    ])
    const bytes = await first({ x: rgb }, [input('image', ['N', 3, 1, 2], 'uint8')])
    expect([...toNumbers(bytes.inputs['image'] as Tensor)]).toEqual([1, 4, 2, 5, 3, 6])
  })

  it('grey pictures of rank 3 get their channel', async () => {
    const b = await first({ x: tensor('uint8', [1, 2, 2], [0, 51, 102, 255]) }, [input('image', [1, 1, 2, 2])], {
      preprocess: parsePreprocess('unit')
    })
    expect([...toNumbers(b.inputs['image'] as Tensor)]).toEqual([0, 0.2, 0.4, 1].map(Math.fround))
  })

  it('normalises per channel, resizes and crops when asked', async () => {
    const preprocess = parsePreprocess({ mean: [1, 2, 3], std: [1, 1, 2] })
    const b = await first({ x: rgb }, [input('image', ['N', 3, 1, 2])], { preprocess })
    expect([...toNumbers(b.inputs['image'] as Tensor)]).toEqual([0, 3, 0, 3, 0, 1.5])
    const big = { x: tensor('uint8', [1, 2, 2, 1], [9, 9, 9, 9]) }
    const resized = await first(big, [input('image', ['N', 1, 4, 4])], { preprocess: parsePreprocess({ resize: 4 }) })
    expect([...toNumbers(resized.inputs['image'] as Tensor)]).toEqual(new Array(16).fill(9))
    const cropped = await first(big, [input('image', ['N', 1, 1, 1])], {
      preprocess: parsePreprocess({ resize: 2, crop: 1 })
    })
    expect(cropped.inputs['image']?.shape).toEqual([1, 1, 1, 1])
    expect(() => fitArrays(lazy(big), [input('image', ['N', 1, 1, 1])], { where: '' })).toThrow('does not fit')
  })

  it('preprocessing reaches float pictures by the model’s layout and never integers', async () => {
    const preprocess = parsePreprocess({ mean: [1, 2, 3] })
    const b = await first({ x: tensor('float32', [1, 3, 1, 1], [1, 2, 4]) }, [input('image', ['N', 3, 1, 1])], {
      preprocess
    })
    expect([...toNumbers(b.inputs['image'] as Tensor)]).toEqual([0, 0, 1])
    const ids = () =>
      fitArrays(lazy({ x: zeros('int64', [1, 2]) }), [input('ids', ['N', 2], 'int64')], { where: '', preprocess })
    expect(ids).toThrow('nothing to preprocess')
    const raw = () => fitArrays(lazy({ x: rgb }), [input('image', ['N', 3, 1, 2], 'uint8')], { where: '', preprocess })
    expect(raw).toThrowError(expect.objectContaining({ code: 'E_OPTION' }))
  })

  it('imageInput reads layout, channels and size off the shape', () => {
    expect(imageInput([input('a', ['N', 3, 'H', 224])], undefined)).toEqual({
      name: 'a',
      dtype: 'float32',
      layout: 'nchw',
      channels: 3,
      height: undefined,
      width: 224
    })
    expect(imageInput([input('a', ['N', 96, 96, 1])], undefined)).toMatchObject({
      layout: 'nhwc',
      channels: 1,
      height: 96
    })
    expect(imageInput([input('a', ['N', 10])], undefined)).toBeUndefined()
    expect(imageInput([input('a', ['N', 4, 8, 8])], undefined)).toBeUndefined()
    expect(imageInput([input('ids', ['N', 10], 'int64'), input('a', ['N', 3, 8, 8])], undefined)?.name).toBe('a')
  })
})
