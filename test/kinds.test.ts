/**
 * More relatives of known faults: structures near those of test/cases in which a pass, or the writing of a model, once lost
 * something without a word.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { ModelProtoSchema, OperatorSetIdProtoSchema } from 'onnx-buf'
import { describe, expect, it } from 'vitest'
import { rng } from '../src/base/random.ts'
import { arrayDataset } from '../src/data/arrays.ts'
import { metricFor } from '../src/data/metrics.ts'
import { formats, readModel, writeModel } from '../src/formats/index.ts'
import { printType } from '../src/ir/print.ts'
import { tensorBytes } from '../src/ir/tensor.ts'
import { parse } from '../src/ir/text.ts'
import { measurer } from '../src/measure/beside.ts'
import { nodeRunner } from '../src/node/runner.ts'
import { inferShapes } from '../src/ops/infer.ts'
import { applyRecipe } from '../src/passes/recipe.ts'
import type { Recipe } from '../src/passes/types.ts'
import type { Dataset, Model, Tensor } from '../src/types.ts'
import { cpuTarget, difference, noise, outputsOf, randomFeeds, testContext } from './compare.ts'

const network = (text: string): Model => inferShapes(readModel(writeModel(parse(text)).bytes))

const samplesOf = (model: Model, n: number, classes?: number): Dataset =>
  arrayDataset({
    inputs: randomFeeds(model, 1, n),
    ...(classes === undefined ? {} : { labels: Array.from({ length: n }, (_, i) => i % classes) })
  })

describe('few samples: mix-precision takes what costs nothing', () => {
  it.each([
    [
      'matrices, 12 samples',
      12,
      'h = MatMul(x, A: f32[16,64])\nr = Relu(h)\ny = MatMul(r, B: f32[64,4])',
      'x: f32[N,16]'
    ],
    [
      'a Conv, 24 samples',
      24,
      'h = Conv(x, A: f32[24,4,3,3])\nr = Relu(h)\ny = GlobalAveragePool(r)',
      'x: f32[N,4,6,6]'
    ],
    ['a table, 16 samples', 16, 'h = Gather(A: f32[2,256], x)\ny = MatMul(h, B: f32[256,4])', 'x: i64[N]']
  ])('%s', async (_, n, body, input) => {
    const model = network(`input ${input}\n${body}\noutput y`)
    const data = samplesOf(model, n)
    const engine = nodeRunner()
    const measure = measurer({ engine, rng: rng(0), metric: metricFor('relativeError'), parts: [data] })
    const ctx = { ...testContext(cpuTarget), data: { calibration: data, selection: data }, measure }
    const made = await applyRecipe(model, [['mix-precision', { maxDrop: 0.05, minElements: 1 }]], ctx)
    const bytes = (m: Model): number => writeModel(m).bytes.length
    expect(bytes(made.model)).toBeLessThan(0.7 * bytes(model))
    expect(await noise(model, made.model, data)).toBeLessThan(0.05)
  })
})

describe('noise: nodes that draw numbers stay apart, and are not folded', () => {
  const quiet: Recipe = [
    ['simplify', {}],
    ['fuse', {}],
    ['quantize-weights', { minElements: 1 }],
    ['cast-float', { compute: true }]
  ]
  it.each([
    ['RandomUniformLike', 'a = RandomUniformLike(x)\nb = RandomUniformLike(x)'],
    ['RandomNormal of fixed shape', 'a = RandomNormal(shape=[64])\nb = RandomNormal(shape=[64])'],
    [
      'Bernoulli',
      'const half: f32[] = 0.5\nzero = Mul(x, half)\np = Sigmoid(zero)\na = Bernoulli(p)\nb = Bernoulli(p)'
    ],
    [
      'Multinomial',
      'const k: f32[1,4]\nm = Multinomial(k, sample_size=64, dtype=7)\nn = Multinomial(k, sample_size=64, dtype=7)\na = Cast(m, to=1)\nb = Cast(n, to=1)'
    ]
  ])('%s', async (_, two) => {
    const model = network(`input x: f32[64]\n${two}\nspread = Sub(a, b)\ny = Add(spread, x)\noutput y, spread`)
    const drawing = /^(Random|Bernoulli|Multinomial)/
    for (const recipe of quiet) {
      const made = await applyRecipe(model, [recipe], testContext(cpuTarget))
      expect(made.model.graph.nodes.filter((n) => drawing.test(n.op)).length, String(recipe[0])).toBe(2)
      const { spread } = await outputsOf(made.model, randomFeeds(model, 2, 1))
      expect(new Set(new Float32Array((spread as Tensor).bytes.slice().buffer as ArrayBuffer)).size).toBeGreaterThan(1)
    }
  })
})

describe('one weight, two readers: train-quantized writes a file that opens and agrees', () => {
  it.each([
    [
      'a table and the head of a language model',
      'x: i64[N]',
      'e = Gather(W: f32[12,16], x)\nh = MatMul(e, H: f32[16,16])\nr = Relu(h)\ny = Gemm(r, W, transB=1)'
    ],
    [
      'two Convs of other strides',
      'x: f32[N,4,8,8]',
      'a = Conv(x, W: f32[4,4,3,3], pads=[1,1,1,1])\nb = Relu(a)\nc = Conv(b, W, pads=[1,1,1,1], strides=[2,2])\nd = Relu(c)\np = GlobalAveragePool(d)\nf = Flatten(p)\ny = MatMul(f, V: f32[4,5])'
    ],
    [
      'Gemms along columns and along rows',
      'x: f32[N,16]',
      'a = MatMul(x, W: f32[16,16])\nb = Relu(a)\nc = Gemm(b, W, B: f32[16], transB=1)\nd = Relu(c)\ny = MatMul(d, V: f32[16,5])'
    ]
  ])('%s', async (_, input, body) => {
    const model = network(`input ${input}\n${body}\noutput y`)
    const data = samplesOf(model, 64, 5)
    const ctx = { ...testContext(cpuTarget), data: { calibration: data, train: data, selection: data } }
    const recipe: Recipe = [
      ['train-quantized', { epochs: 1, batch: 16, holdout: 0, optimizer: { name: 'sgd', rate: 1e-6 } }]
    ]
    const made = await applyRecipe(model, recipe, ctx)
    const session = await nodeRunner().open(writeModel(made.model).bytes)
    const feeds = randomFeeds(model, 1, 64)
    const [was, is] = [await outputsOf(model, feeds), await session.run(feeds)]
    await session.close()
    expect(difference(was, is)).toBeLessThan(0.1)
    const held = (m: Model): number =>
      [...m.graph.values.values()].reduce((n, v) => n + (v.data ? tensorBytes(v.data) : 0), 0)
    expect(held(made.model)).toBeLessThan(1.1 * held(model))
  })
})

describe('symbols and names of inputs and outputs never change', () => {
  const recipes: readonly Recipe[] = [
    [['simplify', {}]],
    [['fuse', {}]],
    [['quantize-dynamic', { minElements: 1 }]],
    [['quantize-static', {}]],
    [['quantize-weights', { minElements: 1 }]],
    [['cast-float', { compute: true }]],
    [
      ['equalize', {}],
      ['fuse-transformer', {}]
    ]
  ]
  const ends = ({ graph }: Model): readonly string[] =>
    [...graph.inputs, ...graph.outputs].map((id) => `${id}: ${printType(graph.values.get(id))}`)
  it.each([
    [
      'rows of batch and time',
      'input x: f32[batch,seq,8]\nconst s: i64[2] = -1, 8\nr = Reshape(x, s)\ny: f32[rows,16] = Gemm(r, W: f32[8,16])\noutput y'
    ],
    [
      'a product of two symbols behind Flatten',
      'input x: f32[batch,seq,8]\nf = Flatten(x, axis=2)\nh = MatMul(f, W: f32[8,16])\nq = Relu(h)\ny: f32[n,16] = Add(q, B: f32[16])\noutput y'
    ],
    [
      'a sum of two symbols',
      'input x: f32[batch,a,8]\ninput z: f32[batch,b,8]\nc = Concat(x, z, axis=1)\ny: f32[batch,total,16] = MatMul(c, W: f32[8,16])\noutput y'
    ],
    [
      'a symbol that only the output has',
      'input x: f32[batch,8]\nn = NonZero(x)\nt = Transpose(n)\nf = Cast(t, to=1)\ny: f32[found,16] = MatMul(f, W: f32[2,16])\noutput y'
    ]
  ])('%s', async (_, text) => {
    const model = readModel(writeModel(parse(text)).bytes)
    const feeds = randomFeeds(model, 1, 4)
    const data = arrayDataset({ inputs: feeds })
    for (const recipe of recipes) {
      const made = await applyRecipe(model, recipe, { ...testContext(cpuTarget), data: { calibration: data } })
      expect(ends(readModel(writeModel(made.model).bytes, { formats })), JSON.stringify(recipe)).toEqual(ends(model))
    }
  })
})

describe('raising: forms of old opsets are written at 13 and at 25', () => {
  /** The model with another opset in its file, where its nodes mean what they meant then. */
  function old(text: string, version: number): Uint8Array {
    const proto = fromBinary(ModelProtoSchema, writeModel(parse(text), { opset: 13 }).bytes)
    proto.opsetImport = [create(OperatorSetIdProtoSchema, { domain: '', version: BigInt(version) })]
    proto.irVersion = 6n
    return toBinary(ModelProtoSchema, proto)
  }
  it.each([
    ['Softmax on the second axis of four, open batch', 'input x: f32[N,3,4,5]\ny = Softmax(x, axis=2)\noutput y', 11],
    ['LogSoftmax on the first axis', 'input x: f32[3,4,5]\ny = LogSoftmax(x, axis=1)\noutput y', 9],
    ['Hardmax over two axes', 'input x: f32[N,3,4]\ny = Hardmax(x, axis=1)\noutput y', 11],
    [
      'Softmax behind a Conv',
      'input x: f32[N,3,6,6]\na = Conv(x, W: f32[4,3,3,3])\ny = Softmax(a, axis=1)\noutput y',
      11
    ]
  ])('%s', async (_, text, version) => {
    const bytes = old(text, version)
    const model = readModel(bytes, { formats })
    const feeds = randomFeeds(model, 1, 2)
    const session = await nodeRunner().open(bytes)
    const was = await session.run(feeds)
    await session.close()
    for (const opset of [13, 17, 25]) {
      const written = writeModel(model, { opset }).bytes
      const again = await nodeRunner().open(written)
      expect(difference(was, await again.run(feeds)), `opset ${opset}`).toBeLessThan(1e-5)
      await again.close()
    }
  })
})
