import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'fflate'
import * as ort from 'onnxruntime-node'
import { afterAll, describe, expect, it } from 'vitest'
import { sharedData } from '../../test/shared.ts'
import type { DataDescription } from '../data/description.ts'
import { classCount, metricFor } from '../data/metrics.ts'
import { bytesOf, toNumbers, typedValues } from '../ir/tensor.ts'
import type { Session } from '../runtime/types.ts'
import type { Dataset, DType, Tensor } from '../types.ts'
import { openDataset } from './dataset.ts'

const home = mkdtempSync(join(tmpdir(), 'pare-data-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))

const idx = (shape: readonly number[], body: readonly number[]): Uint8Array =>
  new Uint8Array([0, 0, 8, shape.length, ...shape.flatMap((d) => [0, 0, 0, d]), ...body])
function put(name: string, bytes: Uint8Array | string): string {
  const path = join(home, name)
  writeFileSync(path, bytes)
  return path
}
const image = [{ name: 'image', dtype: 'float32', shape: [1, 1, 2, 1] }] as const

async function all(d: Dataset): Promise<unknown> {
  const out: unknown[] = []
  for await (const b of d.batches({ batch: 1 })) out.push([...toNumbers(b.inputs['image'] as Tensor)], b.labels)
  return out
}

describe('openDataset', () => {
  it('finds the labels beside an IDX file of images, and takes both as named', async () => {
    const images = put('t-images-idx3-ubyte.gz', gzipSync(idx([2, 2, 1], [1, 2, 3, 4])))
    put('t-labels-idx1-ubyte', idx([2], [7, 8]))
    expect(await all(await openDataset({ path: images }, image))).toEqual([[1, 2], [7], [3, 4], [8]])
    expect(await all(await openDataset({ path: home }, image))).toEqual([[1, 2], [7], [3, 4], [8]])
    const labels = put('other', idx([2], [0, 1]))
    expect(await all(await openDataset({ path: `${images},${labels}` }, image))).toEqual([[1, 2], [0], [3, 4], [1]])
    await expect(openDataset({ path: images }, image, { classes: 8 })).rejects.toMatchObject({ code: 'E_LABELS' })
    const alone = put('pictures', idx([2, 2, 1], [1, 2, 3, 4]))
    expect((await openDataset({ path: alone }, image)).labelled).toBe(false)
  })

  it('reads preprocessing from a file', async () => {
    const path = put('plain', idx([1, 2, 1], [2, 4]))
    const preprocess = put('p.json', '{"scale": 0.5, "mean": 1}')
    expect(await all(await openDataset({ path, preprocess }, image))).toEqual([[0, 1], undefined])
    await expect(openDataset({ path, preprocess: put('q.json', '{') }, image)).rejects.toMatchObject({
      code: 'E_OPTION'
    })
    await expect(openDataset({ path, preprocess: 'imagnet' }, image)).rejects.toMatchObject({ code: 'E_OPTION' })
  })

  it('says what it cannot read', async () => {
    const open = (path: string, rest: Partial<DataDescription> = {}) => openDataset({ path, ...rest }, image)
    await expect(open(join(home, 'missing.npz'))).rejects.toMatchObject({ code: 'E_FILE' })
    await expect(open(put('sound.wav', 'RIFF'))).rejects.toMatchObject({ code: 'E_DATA_SHAPE' })
    await expect(open(put('model.bin', 'anything'))).rejects.toMatchObject({ code: 'E_DATA' })
    await expect(open(put('empty.npz', ''))).rejects.toMatchObject({ code: 'E_DATA' })
    await expect(open(put('plain', idx([1, 2, 1], [2, 4])), { labels: 'x' })).rejects.toMatchObject({
      code: 'E_OPTION'
    })
  })
})

interface Scored {
  readonly top1: number
  readonly top5: number
  readonly n: number
}

/** Accuracies of a model file by the plain engine, batch by batch. */
async function score(model: string, description: DataDescription, batch: number): Promise<Scored> {
  const session = await ort.InferenceSession.create(model, { intraOpNumThreads: 1, interOpNumThreads: 1 })
  const types = (all: readonly ort.InferenceSession.ValueMetadata[]): Session['inputs'] =>
    all.flatMap((v) => (v.isTensor ? [{ name: v.name, dtype: v.type as DType, shape: [...v.shape] }] : []))
  const classes = classCount(types(session.outputMetadata))
  const dataset = await openDataset(description, types(session.inputMetadata), { classes, modules: true })
  const sums = { top1: 0, top5: 0, n: 0 }
  for await (const b of dataset.batches({ batch })) {
    const feeds = Object.entries(b.inputs).map(([name, t]) => [
      name,
      new ort.Tensor('float32', typedValues(t) as Float32Array, t.shape)
    ])
    const results = Object.entries(await session.run(Object.fromEntries(feeds)))
    const outputs = Object.fromEntries(
      results.map(([name, t]) => [
        name,
        { dtype: 'float32' as const, shape: t.dims, bytes: bytesOf(t.data as Float32Array) }
      ])
    )
    for (const name of ['top1', 'top5'] as const)
      sums[name] += metricFor(name)
        .scores(outputs, b)
        .reduce((a, s) => a + s, 0)
    sums.n += b.n
  }
  await session.release()
  return { top1: sums.top1 / sums.n, top5: sums.top5 / sums.n, n: sums.n }
}

describe('real models on real data give their published accuracy', () => {
  const cifar = { scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
  const cases: readonly [string, string, Omit<DataDescription, 'path'>, number, Partial<Scored>][] = [
    ['kws/ds_cnn.onnx', 'kws/kws_dev.npz', {}, 50, { top1: 0.906, n: 500 }],
    [
      'imagenet/mobilenet_v1_025_224.onnx',
      'imagenet/images',
      { preprocess: 'tf' },
      10,
      { top1: 0.566, top5: 0.794, n: 500 }
    ],
    ['cifar10-jpeg/resnet20.onnx', 'cifar10-jpeg/test_dev.npz', { preprocess: cifar }, 50, { top1: 0.81, n: 5000 }],
    ['mnist/mnist-8.onnx', 'mnist', {}, 1, { top1: 0.9891, n: 10000 }]
  ]
  for (const [model, data, rest, batch, wanted] of cases) {
    const [modelPath, path] = [sharedData(model), sharedData(data)]
    it.skipIf(!modelPath || !path)(`${model} (skipped where the shared data is absent)`, async () => {
      const found = await score(modelPath as string, { path: path as string, ...rest }, batch)
      expect(found.n).toBe(wanted.n)
      // One sample of 500: decoders and kernels of other machines may flip one.
      expect(Math.abs(found.top1 - (wanted.top1 as number))).toBeLessThanOrEqual(0.002)
      if (wanted.top5 !== undefined) expect(Math.abs(found.top5 - wanted.top5)).toBeLessThanOrEqual(0.002)
    })
  }
})

describe('the demo', () => {
  const at = (name: string): string => fileURLToPath(new URL(`../../examples/demo/${name}`, import.meta.url))
  it('reads at least 97 % of the digits that it was not trained on', async () => {
    expect(existsSync(at('digits.onnx'))).toBe(true)
    const found = await score(at('digits.onnx'), { path: at('digits-data.mjs') }, 64)
    expect(found.n).toBe(1996)
    expect(found.top1).toBeGreaterThanOrEqual(0.97)
  })
})
