/** What better roundings are worth on real models: tests of accuracy, which skip where data is missing. */
import { expect, it } from 'vitest'
import { testContext } from '../../../../test/compare.ts'
import { sharedData } from '../../../../test/shared.ts'
import { rng } from '../../../base/random.ts'
import type { LabelledDataset } from '../../../data/arrays.ts'
import { metricFor } from '../../../data/metrics.ts'
import { subset } from '../../../data/split.ts'
import { evaluate, metricDrops } from '../../../measure/evaluate.ts'
import { openDataset } from '../../../node/dataset.ts'
import { load } from '../../../node/files.ts'
import type { Model } from '../../../types.ts'
import { applyRecipe } from '../../recipe.ts'
import type { Recipe } from '../../types.ts'

const minutes = 60_000
const start: Recipe = [
  ['simplify', {}],
  ['fuse', {}]
]

async function open(model: Model, path: string, preprocess: string): Promise<LabelledDataset> {
  const inputs = model.graph.inputs.map((id) => ({ ...model.graph.values.get(id), name: id }))
  return openDataset({ path, preprocess } as never, inputs as never)
}

/** Top-1 that each recipe loses, on samples that it was not calibrated on. */
async function drops(
  model: Model,
  recipes: readonly Recipe[],
  calibration: LabelledDataset,
  test: LabelledDataset
): Promise<number[]> {
  const ctx = { ...testContext(), data: { calibration } }
  const sessions = [await ctx.engine.open(model)]
  for (const r of recipes) sessions.push(await ctx.engine.open((await applyRecipe(model, [...start, ...r], ctx)).model))
  const metrics = [metricFor('top1')]
  const [before, ...after] = await evaluate(sessions, { dataset: test, metrics })
  for (const s of sessions) await s.close()
  return after.map((a) => (before ? (metricDrops(before, a, metrics)['top1']?.value as number) : Number.NaN))
}

const resnet = sharedData('cifar10-jpeg', 'resnet20.onnx')
it.skipIf(!resnet)(
  'round gives back most of what 4 bits cost ResNet-20',
  async () => {
    const model = await load(resnet as string)
    const data = await open(model, sharedData('cifar10-jpeg', 'train.npz') as string, 'imagenet')
    const order = rng(0).permutation(data.size)
    const rtn: Recipe[number] = ['quantize-weights', { bits: 4, form: 'foldable', correctBias: false }]
    const [plain, rounded] = await drops(
      model,
      [[rtn], [rtn, ['round', { samples: 48 }]]],
      subset(data, order.slice(0, 48)),
      subset(data, order.slice(512, 2512))
    )
    expect(plain).toBeGreaterThan(0.01)
    expect(rounded).toBeLessThan(0.4 * (plain as number))
  },
  4 * minutes
)

const mobilenet = sharedData('imagenet', 'mobilenet_v1_025_224.onnx')
it.skipIf(!mobilenet)(
  'equalize and correct-bias give back what one scale per weight costs MobileNetV1',
  async () => {
    const model = await load(mobilenet as string)
    const data = await open(model, sharedData('imagenet', 'images') as string, 'tf')
    const order = rng(0).permutation(data.size)
    const rtn: Recipe[number] = ['quantize-weights', { perChannel: false, correctBias: false }]
    const [plain, made] = await drops(
      model,
      [[rtn], [['equalize', {}], rtn, ['correct-bias', {}]]],
      subset(data, order.slice(0, 96)),
      subset(data, order.slice(96, 296))
    )
    expect(plain).toBeGreaterThan(0.4)
    expect(made).toBeLessThan(0.5 * (plain as number))
  },
  4 * minutes
)
