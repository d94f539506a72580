import { expect, test } from 'vitest'
import { outputsOf, randomFeeds } from '../../test/compare.ts'
import { rng } from '../base/random.ts'
import { arrayDataset } from '../data/index.ts'
import { edit } from '../ir/edit.ts'
import { tensor, toFloats } from '../ir/tensor.ts'
import { model, parse } from '../ir/text.ts'
import { nodeRunner } from '../node/runner.ts'
import { inferShapes } from '../ops/infer.ts'
import type { Layer } from '../report/types.ts'
import type { Dataset, Model, Tensor } from '../types.ts'
import { tailOf } from './cut.ts'
import { type LayersOptions, layersOf } from './layers.ts'
import { addPair, highestSqnrDb, sqnrDb } from './sums.ts'

const runner = nodeRunner()
const random = rng(7)
const noise = (n: number): Float32Array => Float32Array.from({ length: n }, () => random.normal())
const images = arrayDataset({ inputs: { x: tensor('float32', [10, 8, 6, 6], noise(10 * 8 * 36)) } })

const byNode = async (a: Model, b: Model, o: Partial<LayersOptions> = {}): Promise<Record<string, Layer>> =>
  Object.fromEntries((await layersOf(a, b, { runner, dataset: images, ...o })).map((l) => [l.node, l]))

const network = model`
input x: f32[N,8,6,6]
c1 = Conv(x, W1: f32[8,8,3,3], B1: f32[8], pads=[1,1,1,1])
r1 = Relu(c1)
c2 = Conv(r1, W2: f32[8,8,3,3], pads=[1,1,1,1])
a = Add(c2, r1)
r2 = Relu(a)
p = GlobalAveragePool(r2)
f = Flatten(p)
g = Gemm(f, W3: f32[8,4], B3: f32[4])
output g`

/** One constant multiplied by a factor. */
const scaled = (m: Model, id: string, factor: number): Model =>
  edit(m, (d) => {
    const v = d.value(id)
    const data = d.constant(id)
    if (v && data)
      d.set({
        ...v,
        data: tensor(
          'float32',
          data.shape,
          toFloats(data).map((x) => x * factor)
        )
      })
  })

test('a model is the same as itself', async () => {
  const layers = await byNode(network, network)
  expect(Object.keys(layers)).toEqual(['Conv_0', 'Conv_2', 'Add_3', 'GlobalAveragePool_5', 'Gemm_7'])
  for (const l of Object.values(layers))
    expect(l).toMatchObject({ sqnrDb: highestSqnrDb, accumulatedSqnrDb: highestSqnrDb })
  expect(layers['Conv_0']).toMatchObject({
    op: 'Conv',
    macs: 8 * 8 * 9 * 36,
    bytes: 4 * (8 * 8 * 9 + 8),
    dtype: 'float32'
  })
  expect(layers['Conv_0']?.kernel).toMatch(/Conv/)
  expect(layers['Conv_0']?.ms).toBeGreaterThanOrEqual(0)
  expect(layers['Add_3']?.bytes).toBeUndefined()
})

test('a change of one layer is local there and carries on from there', async () => {
  const layers = await byNode(network, scaled(network, 'W2', 1.01), { kernels: false })
  const db = (node: string): (number | undefined)[] => [layers[node]?.sqnrDb, layers[node]?.accumulatedSqnrDb]
  expect(db('Conv_0')).toEqual([highestSqnrDb, highestSqnrDb])
  // c2 is W2 times something: 1 % off everywhere is 40 dB.
  expect(layers['Conv_2']?.sqnrDb).toBeCloseTo(40, 2)
  expect(layers['Conv_2']?.accumulatedSqnrDb).toBeCloseTo(40, 2)
  for (const node of ['Add_3', 'GlobalAveragePool_5', 'Gemm_7']) {
    expect(layers[node]?.sqnrDb).toBe(highestSqnrDb)
    expect(layers[node]?.accumulatedSqnrDb).toBeLessThan(60)
  }
  expect(layers['Conv_0']?.kernel).toBeUndefined()
})

/** As `quantize-static` writes it: the Relu replaced by saturation, its name on the convolution's output. */
const quantized = (scale: number): Model => model`
input x: f32[N,8,6,6]
const s0: f32[] = 0.03
const s1: f32[] = ${scale}
const s2: f32[] = 0.12
const z: u8[] = 0
const z0: u8[] = 128
const sw: f32[] = 0.008
xq = QuantizeLinear(x, s0, z0)
xd = DequantizeLinear(xq, s0, z0)
w1 = DequantizeLinear(${codesOf('W1', 0.008)}, sw)
r1 = Conv(xd, w1, pads=[1,1,1,1])
r1_q = QuantizeLinear(r1, s1, z)
r1_dq = DequantizeLinear(r1_q, s1, z)
w2 = DequantizeLinear(${codesOf('W2', 0.008)}, sw)
c2 = Conv(r1_dq, w2, pads=[1,1,1,1])
c2_q = QuantizeLinear(c2, s2, z0)
g = DequantizeLinear(c2_q, s2, z0)
output g`

const floatPair = model`
input x: f32[N,8,6,6]
c1 = Conv(x, W1: f32[8,8,3,3], pads=[1,1,1,1])
r1 = Relu(c1)
c2 = Conv(r1, W2: f32[8,8,3,3], pads=[1,1,1,1])
g = Identity(c2)
output g`

/** The codes of a constant of `floatPair` in text form. */
function codesOf(id: string, scale: number): string {
  const data = floatPair.graph.values.get(id)?.data
  const codes = data ? toFloats(data).map((x) => Math.max(-128, Math.min(127, Math.round(x / scale)))) : []
  return `Q${id}: i8[8,8,3,3]{${codes.join(',')}}`
}

test('quantized layers: what each one loses, and what ran', async () => {
  const layers = await byNode(floatPair, quantized(0.04))
  expect(layers['Conv_0']).toMatchObject({ kernel: 'QLinearConv', dtype: 'int8' })
  expect(layers['Conv_0']?.sqnrDb).toBeGreaterThan(25)
  expect(layers['Conv_0']?.sqnrDb).toBeLessThan(50)
  // The first layer reads the model's input: all its error is its own.
  expect(layers['Conv_0']?.accumulatedSqnrDb).toBeCloseTo(layers['Conv_0']?.sqnrDb ?? 0, 6)
  expect(layers['Conv_2']?.kernel).toBe('QLinearConv')
  for (const node of ['Conv_0', 'Conv_2']) expect(layers[node]?.ms).toBeGreaterThanOrEqual(0)
  const coarse = await byNode(floatPair, quantized(0.4), { kernels: false })
  const lost = (l: Layer | undefined, m: Layer | undefined): number => (l?.sqnrDb ?? 0) - (m?.sqnrDb ?? 0)
  expect(lost(layers['Conv_0'], coarse['Conv_0'])).toBeGreaterThan(10)
})

test('merged layers are compared at the value both models have', async () => {
  const before = model`
input x: f32[N,8,6,6]
c1 = Conv(x, W1: f32[8,8,3,3])
b1 = BatchNormalization(c1, g: f32[8], b: f32[8], m: f32[8], v: f32[8]{1,1,1,1,1,1,1,1})
r1 = Relu(b1)
t = Tanh(r1)
output t`
  const after = model`
input x: f32[N,8,6,6]
b1 = Conv(x, W1: f32[8,8,3,3], B: f32[8])
r1 = Relu(b1)
u = Tanh(r1)
output u`
  const layers = await byNode(before, after, { kernels: false })
  expect(layers['Conv_0']?.accumulatedSqnrDb).toBeDefined()
  expect(layers['BatchNormalization_1']).toBeUndefined()
})

test('without data there are facts but no errors', async () => {
  const [first] = await layersOf(network, network, { runner, kernels: false })
  expect(first).toEqual({
    node: 'Conv_0',
    op: 'Conv',
    dtype: 'float32',
    bytes: 4 * (8 * 8 * 9 + 8),
    macs: 8 * 8 * 9 * 36
  })
})

test('signal to noise in dB', () => {
  expect(sqnrDb({ signal: 100, noise: 1 })).toBeCloseTo(20)
  expect(sqnrDb({ signal: 1, noise: 0 })).toBe(highestSqnrDb)
  expect(sqnrDb({ signal: 0, noise: 1 })).toBeUndefined()
  expect(sqnrDb({ signal: 1, noise: Number.POSITIVE_INFINITY })).toBe(-highestSqnrDb)
  expect(sqnrDb({ signal: Number.NaN, noise: 1 })).toBeUndefined()
})

test('what each layer alone does to the output', async () => {
  const changed = scaled(scaled(network, 'W2', 1.01), 'W3', 1.001)
  const layers = await byNode(network, changed, { kernels: false, alone: true })
  // Another cut of the graph may round otherwise, by float32.
  expect(layers['Conv_0']?.outputSqnrDb).toBeGreaterThan(120)
  // The last layer is the output: its own change is what it does.
  expect(layers['Gemm_7']?.outputSqnrDb).toBeCloseTo(layers['Gemm_7']?.sqnrDb as number, 1)
  // The convolution's change reaches the output as it does when nothing else is changed.
  const only = await byNode(network, scaled(network, 'W2', 1.01), { kernels: false, indices: [0, 1, 2, 3, 4, 5, 6, 7] })
  expect(layers['Conv_2']?.outputSqnrDb).toBeCloseTo(only['Gemm_7']?.accumulatedSqnrDb as number, 1)
  const plain = await byNode(network, changed, { kernels: false })
  expect(plain['Conv_2']?.outputSqnrDb).toBeUndefined()
})

test('compares layers over all steps of sequences, with the states that each model gives itself', async () => {
  const summing = (factor: number): Model =>
    parse(`
    input x: f32[1,2]
    input state: f32[1,2]
    const W: f32[2,2] = ${factor}, 0, 0, ${factor}
    p = MatMul(x, W)
    stateN = Add(state, p)
    y: f32[1,2] = Relu(stateN)
    output y
    output stateN`)
  const x = tensor('float32', [1, 4, 2], [0, 0, 1, 1, 1, 1, 1, 1])
  const batch = { inputs: { x }, n: 1, stepped: ['x'] }
  const dataset: Dataset = {
    size: 1,
    labelled: false,
    isStepped: true,
    batches: async function* () {
      yield batch
    }
  }
  const layers = await layersOf(summing(1), summing(1.5), { runner: nodeRunner(), dataset, alone: true })
  const of = (op: string) => layers.find((l) => l.op === op)
  // Zero at the first step, half of it wrong at every other.
  expect(of('MatMul')?.accumulatedSqnrDb).toBeCloseTo(20 * Math.log10(2), 3)
  // The states differ by half at every step too: 1, 2, 3 beside 1.5, 3, 4.5.
  expect(of('Add')?.accumulatedSqnrDb).toBeCloseTo(20 * Math.log10(2), 3)
  expect(of('Add')?.sqnrDb).toBeGreaterThan(100)
  // Alone, from the state of the original: 0.5 wrong beside 1, 2 and 3.
  expect(of('MatMul')?.outputSqnrDb).toBeCloseTo(10 * Math.log10(14 / 0.75), 3)
})

test('what follows a layer is all that is opened for it, also past a residual', async () => {
  const residual = inferShapes(model`
    input x: f32[N,4,6,6]
    a = Conv(x, W1: f32[8,4,3,3], pads=[1,1,1,1])
    b = Conv(a, W2: f32[8,8,3,3], pads=[1,1,1,1])
    c = Relu(b)
    d = Conv(c, W3: f32[8,8,3,3], pads=[1,1,1,1])
    e = Add(d, a)
    y = Relu(e)
    z = GlobalAveragePool(a)
    output y, z`)
  const tail = tailOf(residual, 'd', residual.graph)
  expect(tail?.model.graph.nodes.map((n) => n.op)).toEqual(['Add', 'Relu'])
  expect([...(tail?.border.keys() ?? [])]).toEqual(['d', 'a'])
  expect(tailOf(residual, 'y', residual.graph)).toBeUndefined()
  // The first layer's change goes both ways, the third's only into y.
  const dataset = arrayDataset({ inputs: randomFeeds(residual, 1, 8) })
  const changed = scaled(scaled(residual, 'W1', 1.01), 'W3', 1.02)
  const all = await layersOf(residual, changed, { runner: nodeRunner(), dataset, kernels: false, alone: true })
  for (const [weight, factor, node] of [
    ['W1', 1.01, 'Conv_0'],
    ['W3', 1.02, 'Conv_3']
  ] as const) {
    const feeds = randomFeeds(residual, 1, 8)
    const [was, is] = [await outputsOf(residual, feeds), await outputsOf(scaled(residual, weight, factor), feeds)]
    const sums = { signal: 0, noise: 0 }
    for (const name of ['y', 'z']) addPair(sums, was[name] as Tensor, is[name])
    expect(all.find((l) => l.node === node)?.outputSqnrDb).toBeCloseTo(sqnrDb(sums) as number, 1)
  }
})
