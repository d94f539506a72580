import { expect, test } from 'vitest'
import { sharedData } from '../../test/shared.ts'
import { arrayDataset, metrics } from '../data/index.ts'
import { tensor, toNumbers } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import { openDataset } from '../node/dataset.ts'
import { nodeRunner } from '../node/runner.ts'
import type { Session } from '../runtime/types.ts'
import type { Dataset, Metric, Model } from '../types.ts'
import { type EvaluateOptions, evaluate, holdOutputs, metricDrops, metricIntervals, type Scores } from './evaluate.ts'

const runner = nodeRunner()

async function scoresOf(models: readonly Model[], o: EvaluateOptions): Promise<readonly Scores[]> {
  const sessions = await Promise.all(models.map((m) => runner.open(m)))
  try {
    return await evaluate(sessions, o)
  } finally {
    for (const s of sessions) await s.close()
  }
}

const named = (...names: string[]): Metric[] => names.map((n) => metrics[n] as Metric)

const classifier = (batch: string, bias: string): Model => model`
input x: f32[${batch},3]
y = Add(x, b: f32[3]{${bias}})
output y`

/** Seven samples whose largest element is their label; the fourth is labelled wrongly. */
const seven = arrayDataset({
  inputs: { x: tensor('float32', [7, 3], [2, 0, 1, 0, 2, 1, 0, 0, 2, 2, 0, 0, 0, 2, 0, 2, 1, 0, 1, 0, 2]) },
  labels: [0, 1, 2, 1, 1, 0, 2]
})

test('scores of several models on the same samples, whatever the batch', async () => {
  const expected = [
    [1, 1, 1, 0, 1, 1, 1],
    // With 1.5 more for the last class, samples 0 and 1 go over to it.
    [0, 0, 1, 0, 1, 1, 1]
  ]
  for (const batch of ['N', '1', '3', '7', '10']) {
    const scores = await scoresOf([classifier(batch, '0, 0, 0'), classifier(batch, '0, 0, 1.5')], {
      dataset: seven,
      metrics: named('top1', 'agreement')
    })
    expect(scores.map((s) => Array.from(s['top1'] ?? []))).toEqual(expected)
    expect(Array.from(scores[0]?.['agreement'] ?? [])).toEqual([1, 1, 1, 1, 1, 1, 1])
    expect(Array.from(scores[1]?.['agreement'] ?? [])).toEqual([0, 0, 1, 1, 1, 1, 1])
  }
})

test('samples can be picked and ordered; progress counts them', async () => {
  const steps: unknown[] = []
  const [scores] = await scoresOf([classifier('2', '0, 0, 0')], {
    dataset: seven,
    metrics: named('top1'),
    indices: [3, 6, 0],
    progress: (...step) => steps.push(step)
  })
  expect(Array.from(scores?.['top1'] ?? [])).toEqual([0, 1, 1])
  expect(steps).toEqual([
    ['evaluate', 0, 3],
    ['evaluate', 2, 3],
    ['evaluate', 3, 3]
  ])
})

test('the first of the sessions is not run again for what is held, and is for what had no room', async () => {
  const reference = await runner.open(classifier('N', '0, 0, 0'))
  const other = await runner.open(classifier('N', '0, 0, 1.5'))
  let runs = 0
  const counted: Session = {
    ...reference,
    run: (feeds) => {
      runs++
      return reference.run(feeds)
    }
  }
  // Four runs of 2, 2, 2 and 1 samples: 24 bytes of outputs each but the last.
  for (const [room, expected] of [
    [1000, 4],
    [50, 6]
  ] as const) {
    runs = 0
    const held = holdOutputs({ bytes: room })
    const o = { dataset: seven, metrics: named('top1', 'agreement'), batch: 2, held }
    const fresh = await evaluate([reference, other], { ...o, held: holdOutputs({ bytes: 0 }) })
    await evaluate([counted], o)
    expect(await evaluate([counted, other], o)).toEqual(fresh)
    expect(runs).toBe(expected)
    expect(held.isWhole()).toBe(room === 1000)
  }
  await reference.close()
  await other.close()
})

test('intervals and drops by metric', async () => {
  const m = named('top1')
  const [before, after] = await scoresOf([classifier('N', '0, 0, 0'), classifier('N', '0, 0, 1.5')], {
    dataset: seven,
    metrics: m
  })
  expect(metricIntervals(before as Scores, m)['top1']).toMatchObject({ value: 6 / 7, n: 7 })
  expect(metricDrops(before as Scores, after as Scores, m)['top1']).toMatchObject({ value: 2 / 7, n: 7 })
})

test('what does not fit is said', async () => {
  const o = { dataset: seven, metrics: named('top1') }
  await expect(scoresOf([classifier('N', '0, 0, 0')], { ...o, indices: [] })).rejects.toMatchObject({ code: 'E_DATA' })
  await expect(scoresOf([classifier('2', '0, 0, 0'), classifier('3', '0, 0, 0')], o)).rejects.toThrow(/2, 3/)
  const other = model`
input z: f32[N,3]
y = Relu(z)
output y`
  await expect(scoresOf([other], o)).rejects.toMatchObject({ code: 'E_DATA_SHAPE' })
  const broken: Metric = { ...(metrics['relativeError'] as Metric), scores: (_, b) => Array(b.n).fill(Number.NaN) }
  await expect(scoresOf([classifier('N', '0, 0, 0')], { ...o, metrics: [broken] })).rejects.toThrow(/NaN for sample 0/)
  const stop = new AbortController()
  stop.abort()
  await expect(scoresOf([classifier('N', '0, 0, 0')], { ...o, signal: stop.signal })).rejects.toMatchObject({
    code: 'E_ABORTED'
  })
})

test('outputs of a padded batch are cut back, also strings and rows per sample', async () => {
  const rows = model`
input x: f32[4,3]
y = Reshape(x, s: i64[1]{12})
output y`
  const seen: unknown[] = []
  const look: Metric = {
    name: 'look',
    better: 'higher',
    needs: { labels: false, reference: false },
    scale: 'real',
    scores: ({ y }, b) => {
      seen.push(y && Array.from(toNumbers(y)))
      return Array(b.n).fill(0)
    }
  }
  await scoresOf([rows], { dataset: seven, metrics: [look], indices: [4, 5] })
  expect(seen).toEqual([[0, 2, 0, 2, 1, 0]])
})

// ---------------------------------------------------------------- published figures of real models

async function real(file: string | undefined, open: (inputs: Session['inputs']) => Promise<Dataset>, metric: string) {
  const session = await runner.open({ path: file as string })
  try {
    const m = named(metric)
    const [scores] = await evaluate([session], { dataset: await open(session.inputs), metrics: m })
    return metricIntervals(scores as Scores, m)[metric]
  } finally {
    await session.close()
  }
}

const kws = sharedData('kws', 'ds_cnn.onnx')
test.skipIf(!kws)('DS-CNN has 90.6 % on its 500 keywords', { timeout: 60_000 }, async () => {
  const path = sharedData('kws', 'kws_dev.npz') as string
  const top1 = await real(kws, (inputs) => openDataset({ path }, inputs, { classes: 12 }), 'top1')
  expect(top1).toMatchObject({ value: 0.906, n: 500 })
})

const mnist = sharedData('mnist', 'mnist-8.onnx')
test.skipIf(!mnist)(
  'mnist-8, which fixes its batch to one, has 98.9 % on 10,000 digits',
  { timeout: 60_000 },
  async () => {
    const path = sharedData('mnist') as string
    const top1 = await real(mnist, (inputs) => openDataset({ path }, inputs, { classes: 10 }), 'top1')
    expect(top1?.n).toBe(10_000)
    expect(top1?.value).toBeCloseTo(0.989, 3)
  }
)
