import { fromBinary } from '@bufbuild/protobuf'
import { ModelProtoSchema } from 'onnx-buf'
import { describe, expect, it } from 'vitest'
import { difference, randomFeeds } from '../../../test/compare.ts'
import { file, floats, int, node, tensorType, value } from '../../../test/corpus.ts'
import { PareError } from '../../base/errors.ts'
import { model } from '../../ir/text.ts'
import { nodeRunner } from '../../node/runner.ts'
import type { Bytes, Model, Tensor } from '../../types.ts'
import { readModel, writeModel } from '../index.ts'
import { lowerModel } from './lower.ts'

/** The same float32 arithmetic in another order. */
const SAME = 2e-6
/** float16 results, rounded once more on the way. */
const HALF = 2e-3

async function run(bytes: Bytes, feeds: Record<string, Tensor>): Promise<Record<string, Tensor>> {
  const session = await nodeRunner().open(bytes, { optimization: 'disabled' })
  try {
    return await session.run(feeds)
  } finally {
    await session.close()
  }
}

const opsetOf = (bytes: Uint8Array): number => Number(fromBinary(ModelProtoSchema, bytes).opsetImport[0]?.version)

function failure(m: Model, opset: number): PareError {
  try {
    lowerModel(m, opset)
  } catch (e) {
    if (e instanceof PareError) return e
    throw e
  }
  throw new Error('it was lowered')
}

const cases: Record<string, Model> = {
  'reductions by axes': model`
    input x: f32[N,4,6]
    const axes: i64[2] = 1, -1
    const none: i64[1] = 2
    a = ReduceMean(x, axes, keepdims=1)
    b = ReduceMax(x, none)
    c = ReduceL2(x)
    s = ReduceSum(x, axes)
    output a, b, c, s`,
  'Split into unequal parts': model`
    input x: f32[N,7]
    a, b, c = Split(x, axis=-1, num_outputs=3)
    output a, b, c`,
  'Split into equal parts': model`
    input x: f32[N,6]
    a, b = Split(x, axis=1, num_outputs=2)
    output a, b`,
  'Pad by axes': model`
    input x: f32[N,3,5]
    const pads: i64[2] = 1, 2
    const v: f32[] = 0.5
    const axes: i64[1] = -1
    y = Pad(x, pads, v, axes)
    output y`,
  'Resize by axes': model`
    input x: f32[2,3,4,4]
    const s: f32[2] = 2, 1.5
    const z: i64[2] = 7, 9
    a = Resize(x, _, s, axes=[2,3], mode="linear", antialias=0)
    b = Resize(x, _, _, z, axes=[2,3], keep_aspect_ratio_policy="stretch")
    output a, b`,
  'part of a shape': model`
    input x: f32[N,3,5]
    a = Shape(x, start=1)
    b = Shape(x, start=-2, end=-1)
    c = Shape(x)
    output a, b, c`,
  'Reshape without zeros': model`
    input x: f32[N,3,4]
    const s: i64[2] = -1, 12
    y = Reshape(x, s, allowzero=1)
    output y`,
  activations: model`
    input x: f32[N,8]
    a = Gelu(x)
    b = Gelu(x, approximate="tanh")
    c = Mish(x)
    d = HardSwish(x)
    output a, b, c, d`,
  LayerNormalization: model`
    input x: f32[N,4,8]
    a = LayerNormalization(x, S: f32[8], B: f32[8], epsilon=0.001)
    b = LayerNormalization(x, T: f32[4,8], axis=1)
    output a, b`,
  GroupNormalization: model`
    input x: f32[N,8,5,5]
    y = GroupNormalization(x, S: f32[8], B: f32[8], num_groups=4)
    output y`,
  GridSample: model`
    input x: f32[N,2,6,6]
    input g: f32[N,3,3,2]
    a = GridSample(x, g)
    b = GridSample(x, g, mode="cubic", align_corners=1)
    output a, b`,
  CastLike: model`
    input x: f32[N,4]
    input i: i64[N]
    y = CastLike(x, i)
    output y`,
  'quantized tensors': model`
    input x: f32[N,8]
    const s: f32[] = 0.05
    q = QuantizeLinear(x, s, output_dtype=3, saturate=1)
    y = DequantizeLinear(q, s, block_size=0)
    output y`,
  'inside a subgraph, with axes from around it': model`
    input c: bool[]
    input x: f32[N,4]
    const axes: i64[1] = 1
    r = If(c, then_branch={ a = ReduceMin(x, axes, keepdims=0); output a }, else_branch={ b = Gelu(x); d = ReduceMax(b, axes, keepdims=0); output d })
    output r`
}

describe('lowerModel', () => {
  it.each(Object.entries(cases))('runs the same at an older opset: %s', async (name, m) => {
    const oldest = name === 'GridSample' ? 16 : 13
    const feeds = randomFeeds(m, 1, 3)
    const wanted = await run(writeModel(m).bytes, feeds)
    for (const opset of [20, 17, oldest]) {
      const { bytes } = writeModel(m, { opset })
      expect(opsetOf(bytes)).toBe(opset)
      expect(difference(wanted, await run(bytes, feeds))).toBeLessThan(SAME)
      expect(difference(wanted, await run(writeModel(readModel(bytes)).bytes, feeds))).toBeLessThan(SAME)
    }
  })
  it('keeps float16 in its type where an operator is taken apart', async () => {
    const m = model`
      input x: f16[N,8]
      y = LayerNormalization(x, S: f16[8], B: f16[8])
      output y`
    const feeds = randomFeeds(m, 1, 3)
    const wanted = await run(writeModel(m).bytes, feeds)
    expect(difference(wanted, await run(writeModel(m, { opset: 13 }).bytes, feeds))).toBeLessThan(HALF)
  })
  it('says the newest operators in older ones', () => {
    const m = {
      ...model`
      input x: f32[N,8]
      a = RMSNormalization(x, S: f32[8])
      b = Swish(a, alpha=2.0)
      output b`,
      opset: 24
    }
    expect(lowerModel(m, 22).graph.nodes.map((n) => n.op)).not.toContain('RMSNormalization')
    expect(lowerModel(m, 23).graph.nodes.map((n) => n.op)).toEqual(['RMSNormalization', 'Mul', 'Sigmoid', 'Mul'])
  })
  it.each([22, 23, 24, 25])('raises to %s, where the same nodes mean the same', async (opset) => {
    for (const m of Object.values(cases)) {
      const feeds = randomFeeds(m, 1, 3)
      const { bytes } = writeModel(m, { opset })
      expect(opsetOf(bytes)).toBe(opset)
      expect(difference(await run(writeModel(m).bytes, feeds), await run(bytes, feeds))).toBe(0)
    }
  })
  it.each([1, 2, 3])('writes Softmax of an old opset, flattened at axis %i, at 13', async (axis) => {
    const old = (op: string) => ({
      input: [value('x', tensorType(1, 'batch', 2, 3, 4))],
      output: [floats('y', 'batch', 2, 3, 4)],
      node: [node(op, ['x'], ['y'], [int('axis', axis)])]
    })
    for (const op of ['Softmax', 'LogSoftmax', 'Hardmax']) {
      const bytes = file(old(op), { opset: 11 })
      const m = readModel(bytes)
      const feeds = randomFeeds(m, 1, 3)
      const lowered = writeModel(m, { opset: 13 }).bytes
      expect(difference(await run(bytes, feeds), await run(lowered, feeds))).toBeLessThan(SAME)
    }
  })
  it('writes the lowest IR version', () => {
    const m = cases.activations as Model
    const version = (opset: number): number =>
      Number(fromBinary(ModelProtoSchema, writeModel(m, { opset }).bytes).irVersion)
    expect([13, 15, 19, 21].map(version)).toEqual([7, 8, 9, 10])
  })
  it.each([
    [
      'blocks',
      20,
      'DequantizeLinear: it is quantized in blocks',
      model`
      input x: f32[N,8]
      w = DequantizeLinear(Q: i8[8,4], S: f32[2,4], axis=0, block_size=4)
      y = MatMul(x, w)
      output y`
    ],
    [
      '16-bit codes',
      20,
      'QuantizeLinear: uint16 of quantized values came with opset 21',
      model`
      input x: f32[N,8]
      const s: f32[] = 0.1
      const z: u16[] = 100
      y = QuantizeLinear(x, s, z)
      output y`
    ],
    [
      '4-bit codes',
      20,
      'uint4 came with opset 21',
      model`
      input x: f32[N,8]
      w = DequantizeLinear(Q: u4[8,4], S: f32[4], axis=1)
      y = MatMul(x, w)
      output y`
    ],
    [
      'axes that are computed',
      17,
      'ReduceMean: its axes are not a constant',
      model`
      input x: f32[N,8]
      input a: i64[1]
      y = ReduceMean(x, a)
      output y`
    ],
    [
      'a new operator',
      17,
      'BitwiseAnd: it came with opset 18',
      model`
      input x: i32[N,8]
      y = BitwiseAnd(x, x)
      output y`
    ],
    [
      'a new mode',
      18,
      'Pad: its mode is wrap',
      model`
      input x: f32[N,8]
      const p: i64[4] = 0, 1, 0, 1
      y = Pad(x, p, mode="wrap")
      output y`
    ],
    [
      'an output that is gone',
      16,
      'LayerNormalization: its mean or deviation is read',
      model`
      input x: f32[N,8]
      y, m = LayerNormalization(x, S: f32[8])
      output y, m`
    ],
    [
      'float16 codes',
      18,
      'QuantizeLinear: it takes float16 only from opset 19 on',
      model`
      input x: f16[N,8]
      const s: f16[] = 0.1
      const z: u8[] = 100
      y = QuantizeLinear(x, s, z)
      output y`
    ],
    [
      'sizes of 0',
      13,
      'Reshape: it may make an axis of size 0',
      model`
      input x: f32[N,M]
      input s: i64[2]
      y = Reshape(x, s, allowzero=1)
      output y`
    ]
  ] as const)('names what has no older form: %s', (_, opset, reason, m) => {
    const error = failure(m, opset)
    expect(error.code).toBe('E_OPSET')
    expect(Object.values(error.facts)).toContain(reason)
  })
  it('names every node', () => {
    const m = model`
      input x: f32[N,8]
      a = BitwiseNot(I: i32[4])
      b = BitwiseNot(a)
      output b`
    expect(Object.keys(failure(m, 13).facts)).toHaveLength(2)
    expect(failure(m, 13).hint).toMatch(/^2 in all/)
  })
  it('refuses what is out of range, and does nothing at the same opset', () => {
    const m = cases.activations as Model
    expect(lowerModel(m, 21)).toBe(m)
    for (const opset of [12, 26, 13.5]) expect(failure(m, opset).facts.possible).toBe('13 to 25')
  })
})
