import { createRequire } from 'node:module'
import { describe, expect, it, test } from 'vitest'
import { rng } from '../base/random.ts'
import { arrayDataset, type LabelledDataset } from '../data/arrays.ts'
import { metricFor } from '../data/metrics.ts'
import { subset } from '../data/split.ts'
import { tensor, toFloats } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import { nodeRunner } from '../node/runner.ts'
import type { Model, Tensor, Value } from '../types.ts'
import { decodeCheckpoint, encodeCheckpoint } from './checkpoint.ts'
import { differentiate } from './differentiate.ts'
import { initialise } from './initialise.ts'
import { type LoopEnvironment, type LoopOptions, meanScore, train } from './loop.ts'
import { scheduled } from './schedule.ts'
import type { TrainState } from './state.ts'

/** Two rings of points, one a class. */
function rings(n: number, seed: string): LabelledDataset {
  const random = rng(seed)
  const x = new Float32Array(2 * n)
  const labels = Array.from({ length: n }, (_, i) => {
    const label = i % 2
    const [radius, angle] = [label + 0.2 * random.normal(), 2 * Math.PI * random.next()]
    x[2 * i] = (1 + radius) * Math.cos(angle)
    x[2 * i + 1] = (1 + radius) * Math.sin(angle)
    return label
  })
  return arrayDataset({ inputs: { x: tensor('float32', [n, 2], x) }, labels })
}

const net = model`
input x: f32[N,2]
a = MatMul(x, A: f32[2,16])
const S: f32[16] = 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1
const O: f32[16] = 0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0
const M: f32[16] = 0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0
const V: f32[16] = 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1
b = BatchNormalization(a, S, O, M, V)
r = Relu(b)
d = Dropout(r, q: f32[]{0.1})
y = Gemm(d, B: f32[16,2], C: f32[2])
output y`

const training = differentiate(net, {
  loss: [{ kind: 'cross-entropy', output: 'y' }],
  batch: 32,
  optimizer: { kind: 'adam' }
})
const data = rings(330, 'train')
const options: LoopOptions = { epochs: 8, rate: 0.02, seed: 3, reestimate: 4 }
const env = (more: Partial<LoopEnvironment> = {}): LoopEnvironment => ({ engine: nodeRunner(), data, ...more })
const validation = { data: rings(200, 'validation'), metric: metricFor('top1') }
const bits = (m: Model): string =>
  [...m.graph.values.values()].map((v) => (v.data ? Array.from(toFloats(v.data)).join() : '')).join(';')

describe('the loop', () => {
  it('learns, chooses by the validation data, and drops what does not fill a batch', async () => {
    const steps: number[] = []
    const result = await train(net, training, options, env({ validation, progress: (_, done) => steps.push(done) }))
    expect(result.ended).toBe('done')
    expect(result.best?.score).toBeGreaterThan(0.95)
    expect(result.epochs.map((e) => e.epoch)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    expect(result.epochs.at(-1)?.loss).toBeLessThan(0.7 * (result.epochs[0]?.loss ?? 0))
    expect(steps.length).toBe(80)
    const session = await nodeRunner().open(result.model)
    let right = 0
    for await (const batch of validation.data.batches({ batch: 200 }))
      right += metricFor('top1')
        .scores(await session.run(batch.inputs), batch)
        .reduce((a, b) => a + b, 0)
    await session.close()
    expect(right / 200).toBe(result.best?.score)
  })

  it('gives the same bits again, also when interrupted and continued', async () => {
    const whole = await train(net, training, options, env())
    const again = await train(net, training, options, env())
    expect(bits(again.model)).toBe(bits(whole.model))
    let kept: { epoch: number; state: TrainState } | undefined
    const controller = new AbortController()
    const stopped = train(
      net,
      training,
      options,
      env({
        signal: controller.signal,
        onEpoch: ({ epoch }, state) => {
          kept = { epoch, state }
          if (epoch === 3) controller.abort()
        }
      })
    )
    await expect(stopped).rejects.toMatchObject({ code: 'E_ABORTED' })
    if (!kept) throw new Error('no epoch was reported')
    const continued = await train(net, training, { ...options, from: kept }, env())
    expect(bits(continued.model)).toBe(bits(whole.model))
    expect(bits((await train(net, training, { ...options, seed: 4 }, env())).model)).not.toBe(bits(whole.model))
  })

  it('keeps a moving average of the weights as the model, also when continued', async () => {
    const o = { ...options, ema: 0.9 }
    let kept: { epoch: number; state: TrainState } | undefined
    let last: TrainState | undefined
    const whole = await train(
      net,
      training,
      o,
      env({
        onEpoch: ({ epoch }, state) => {
          const decoded = decodeCheckpoint(encodeCheckpoint({ key: 'k', epoch, history: [], state }))
          if (epoch === 5) kept = { epoch, state: decoded.state }
          last = state
        }
      })
    )
    expect(bits((await train(net, training, options, env())).model)).not.toBe(bits(whole.model))
    expect(bits((await train(net, training, { ...o, ...(kept && { from: kept }) }, env())).model)).toBe(
      bits(whole.model)
    )
    // Near the end the rate is low, so that the average is near the weights themselves, but is not them.
    const [average, weights] = [last?.averages, last?.feeds].map((t) => toFloats(Object.values(t ?? {})[0] as Tensor))
    const far = weights?.reduce((sum, w, i) => sum + (w - (average?.[i] ?? 0)) ** 2, 0) ?? 0
    const size = weights?.reduce((sum, w) => sum + w ** 2, 0) ?? 0
    expect(far).toBeGreaterThan(0)
    expect(far).toBeLessThan(0.01 * size)
  })

  it('stops early, and keeps the best', async () => {
    const o: LoopOptions = { ...options, epochs: 40, patience: 2 }
    const result = await train(net, training, o, env({ validation }))
    expect(result.ended).toBe('early')
    expect(result.epochs.length).toBe((result.best?.epoch ?? 0) + 2)
    expect(result.best?.score).toBe(Math.max(...result.epochs.map((e) => e.score ?? 0)))
  })

  it('keeps the last epoch where asked, and looks every few epochs and after the last', async () => {
    const last = await train(net, training, { ...options, keep: 'last', validateEvery: 3 }, env({ validation }))
    const scored = last.epochs.filter((e) => e.score !== undefined).map((e) => e.epoch)
    expect(scored).toEqual([3, 6, 8])
    expect(last.kept).toBe(8)
    // Without validation data the same model comes out: nothing else depends on it.
    const alone = await train(net, training, options, env())
    expect(alone.kept).toBe(8)
    expect(bits(last.model)).toBe(bits(alone.model))
    const best = await train(net, training, { ...options, validateEvery: 3 }, env({ validation }))
    expect([3, 6, 8]).toContain(best.kept)
    expect(best.kept).toBe(best.best?.epoch)
  })

  it('stops early only after an epoch that was looked at', async () => {
    const o: LoopOptions = { ...options, epochs: 60, patience: 2, validateEvery: 3 }
    const result = await train(net, training, o, env({ validation }))
    expect(result.ended).toBe('early')
    expect(result.epochs.at(-1)?.score).toBeDefined()
    expect(result.epochs.length).toBe(result.kept + 3)
    await expect(train(net, training, { ...options, patience: 2 }, env())).rejects.toMatchObject({
      code: 'E_OPTION',
      where: 'patience'
    })
  })

  it('estimates statistics over one pass through the data at most', async () => {
    const asked: number[][] = []
    const watched = {
      ...data,
      batches: (o: Parameters<typeof data.batches>[0]) => {
        asked.push([...(o.indices ?? [])])
        return data.batches(o)
      }
    }
    const made = await train(net, training, { ...options, epochs: 1, reestimate: 50 }, env({ data: watched }))
    // The epoch, and the estimate after it: each sample at most once.
    expect(asked.map((a) => [a.length, new Set(a).size])).toEqual([
      [320, 320],
      [320, 320]
    ])
    const again = await train(net, training, { ...options, epochs: 1, reestimate: 10 }, env())
    expect(bits(made.model)).toBe(bits(again.model))
  })

  it('tells a pace with every step', async () => {
    const left: (number | undefined)[] = []
    const progress: LoopEnvironment['progress'] = (_stage, _done, _total, pace) => void left.push(pace?.leftMs)
    // A look that took an hour before: eight more are to come, then one.
    const ms = 3_600_000
    await train(net, training, options, env({ progress, validation: { ...validation, ms } }))
    expect(left.length).toBe(80)
    expect(left[0]).toBeGreaterThan(8 * ms)
    expect(left.at(-1)).toBeGreaterThan(ms / 9)
    expect(left.at(-1)).toBeLessThan(ms / 7)
    // Looks after epochs 3, 6 and 8: each shortens the mean, of which the others are to come.
    left.length = 0
    await train(net, training, { ...options, validateEvery: 3 }, env({ progress, validation: { ...validation, ms } }))
    const firsts = left.filter((_, step) => step % 10 === 0).map((x) => (x ?? 0) / ms)
    for (const [i, looks] of [3, 3, 3, 2 / 2, 2 / 2, 2 / 2, 1 / 3, 1 / 3].entries())
      expect(firsts[i]).toBeCloseTo(looks, 1)
  })

  it('refuses to choose by samples that do not fill the batch of the model', async () => {
    const shape = [64, 2]
    const fixed = { ...net, graph: { ...net.graph, values: new Map(net.graph.values) } }
    fixed.graph.values.set('x', { ...(net.graph.values.get('x') as Value), shape })
    const few = { data: rings(40, 'validation'), metric: metricFor('top1') }
    await expect(meanScore(fixed, few, env())).rejects.toMatchObject({
      code: 'E_DATA',
      message: '40 samples to choose by do not fill the model’s batch of 64'
    })
    expect(await meanScore(fixed, validation, env())).toBeGreaterThan(0)
  })

  it('ends a divergence with advice and what was best', async () => {
    const steep = differentiate(net, {
      loss: [{ kind: 'mse', output: 'y' }],
      batch: 32,
      optimizer: { kind: 'sgd' },
      normalization: 'frozen'
    })
    const target = steep.targets[0]?.input ?? ''
    const result = await train(
      net,
      steep,
      { epochs: 3, rate: 1e4 },
      {
        ...env(),
        prepare: (batch) => ({ batch, feeds: { [target]: tensor('float32', [32, 2], new Float32Array(64)) } })
      }
    )
    expect(result.ended).toBe('diverged')
    expect(result.advice).toMatch(/learning rate of 1e\+3/)
    expect(bits(result.model)).not.toMatch(/NaN/)
  })

  it('refuses data that it cannot use', async () => {
    await expect(train(net, training, options, env({ data: rings(20, 'few') }))).rejects.toMatchObject({
      code: 'E_DATA'
    })
    const unlabelled = arrayDataset({ inputs: { x: tensor('float32', [40, 2], new Float32Array(80)) } })
    await expect(train(net, training, options, env({ data: unlabelled }))).rejects.toMatchObject({ code: 'E_LABELS' })
  })
})

test('schedules', () => {
  const at = (s: Parameters<typeof scheduled>[0]) => [0, 1, 5, 8, 9].map((t) => Number(scheduled(s, t, 10).toFixed(4)))
  expect(at({ kind: 'constant', warmup: 2 })).toEqual([0.5, 1, 1, 1, 1])
  expect(at({ kind: 'step' })).toEqual([1, 1, 0.1, 0.01, 0.01])
  expect(at({ kind: 'cosine', floor: 0.1 })).toEqual([1, 0.978, 0.55, 0.1859, 0.122])
})

// ---------------------------------------------------------------- real digits

const lenet = model`
input x: f32[N,1,28,28]
a = Conv(x, W1: f32[6,1,5,5], B1: f32[6], pads=[2,2,2,2])
b = Relu(a)
c = MaxPool(b, kernel_shape=[2,2], strides=[2,2])
d = Conv(c, W2: f32[16,6,5,5], B2: f32[16])
e = Relu(d)
f = MaxPool(e, kernel_shape=[2,2], strides=[2,2])
g = Flatten(f)
h = Gemm(g, W3: f32[400,120], B3: f32[120])
i = Relu(h)
j = Gemm(i, W4: f32[120,84], B4: f32[84])
k = Relu(j)
logits = Gemm(k, W5: f32[84,10], B5: f32[10])
output logits`

function digits(): LabelledDataset {
  const sets = createRequire(import.meta.url)('mnist') as Record<number, { readonly raw: readonly number[] }>
  const pixels: Float32Array[] = []
  const labels: number[] = []
  for (let digit = 0; digit < 10; digit++) {
    const { raw } = sets[digit] as { readonly raw: readonly number[] }
    pixels.push(Float32Array.from(raw))
    for (let i = 0; i < raw.length / 784; i++) labels.push(digit)
  }
  const all = new Float32Array(labels.length * 784)
  let at = 0
  for (const part of pixels) {
    all.set(part, at)
    at += part.length
  }
  return arrayDataset({ inputs: { x: tensor('float32', [labels.length, 1, 28, 28], all) }, labels })
}

test('LeNet-5 reads digits after one epoch', async () => {
  const all = digits()
  const order = rng(0).permutation(all.size)
  const m = initialise(lenet, 'weights').model
  const result = await train(
    m,
    differentiate(m, {
      loss: [{ kind: 'cross-entropy', output: 'logits' }],
      batch: 64,
      optimizer: { kind: 'adam' }
    }),
    { epochs: 1, rate: 2e-3, seed: 1 },
    {
      engine: nodeRunner(),
      data: subset(all, order.slice(0, 8000)),
      validation: { data: subset(all, order.slice(8000)), metric: metricFor('top1') }
    }
  )
  expect(result.best?.score).toBeGreaterThan(0.9)
})
