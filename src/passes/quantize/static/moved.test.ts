/**
 * Float data movement behind integer nodes. ONNX Runtime moves a DequantizeLinear behind it; where it cannot open the result,
 * a Max keeps it from that.
 */
import { expect, it } from 'vitest'
import { cpuTarget, difference, outputsOf, randomFeeds, testContext } from '../../../../test/compare.ts'
import { arrayDataset } from '../../../data/arrays.ts'
import { parse } from '../../../ir/text.ts'
import { nodeRunner } from '../../../node/runner.ts'
import type { Tensor } from '../../../types.ts'
import { applyRecipe } from '../../recipe.ts'

const head = `input x: f32[N,3,6,6]
  a = Conv(x, W: f32[4,3,3,3], B: f32[4], pads=[1,1,1,1])`

const movements = {
  'a MaxPool that gives indices too': `${head}
    y, i = MaxPool(a, kernel_shape=[2,2], strides=[2,2])
    output y, i`,
  'several movements, and a MaxPool that gives indices': `${head}
    const k: i64[2] = 0, 144
    const l: i64[4] = 0, 4, 6, 6
    r = Reshape(a, k)
    s = Reshape(r, l)
    m, i = MaxPool(s, kernel_shape=[2,2], strides=[2,2])
    y = Tanh(m)
    output y`,
  'a Transpose that was left out': `${head}
    t = Transpose(a, perm=[0,2,3,1])
    y = Tanh(t)
    output y`,
  'a product of rank 3 and a bias, for which the runtime writes a Reshape': `input x: f32[N,5,16]
    a = MatMul(x, W: f32[16,16])
    n = Neg(a)
    const s: f32[] = 0.02
    d = DequantizeLinear(V: i8[16,8], s)
    m = MatMul(a, d)
    y = Add(m, B: f32[8])
    output y, n`,
  'a Squeeze that a graph inside a node reads': `input x: f32[1,3,6,6]
    const half: f32[] = 0.5
    m = ReduceMean(x, keepdims=0)
    c = Less(m, half)
    a = Conv(x, W: f32[4,3,3,3], B: f32[4], pads=[1,1,1,1])
    const k: i64[1] = 0
    t = Squeeze(a, k)
    y = If(c, then_branch={ u = Tanh(t)
 output u }, else_branch={ v = Neg(t)
 output v })
    output y`
}

const cases = Object.entries(movements).flatMap(([name, text]) =>
  ['int8', 'uint8'].map((type) => [name, type, parse(text)] as const)
)

it.each(cases)('%s, %s', async (_, activations, given) => {
  const feeds = randomFeeds(given, 1, 16)
  const ctx = { ...testContext(cpuTarget), data: { calibration: arrayDataset({ inputs: feeds }) } }
  const made = await applyRecipe(given, [['quantize-static', { activations, exclude: ['Transpose', 'Squeeze'] }]], ctx)
  expect(made.model.graph.nodes.some((n) => n.op === 'QuantizeLinear')).toBe(true)
  const session = await nodeRunner().open(made.model)
  const [was, is] = [await outputsOf(given, feeds), await session.run(feeds)]
  await session.close()
  expect(difference({ y: was['y'] as Tensor }, { y: is['y'] as Tensor })).toBeLessThan(0.08)
})
