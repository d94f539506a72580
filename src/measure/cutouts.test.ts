import { expect, it } from 'vitest'
import { normalData, testContext } from '../../test/compare.ts'
import { model } from '../ir/text.ts'
import { webRunner } from '../node/web-runner.ts'
import { applyRecipe } from '../passes/recipe.ts'
import { initialise } from '../train/index.ts'
import { cutoutTimes } from './cutouts.ts'
import { kernelFacts } from './layers.ts'

const net = initialise(
  model`
input x: f32[N,2,8,8]
a = Conv(x, W1: f32[4,2,3,3], B1: f32[4])
b = Relu(a)
c = MaxPool(b, kernel_shape=[2,2], strides=[2,2])
d = Conv(c, W2: f32[4,4,3,3])
e = Flatten(d)
y = Gemm(e, W3: f32[4,3])
output y`,
  'cutouts'
).model
const dataset = normalData(net, 32)

const web = async () => {
  const runner = await webRunner()
  if (!runner) throw new Error('onnxruntime-web is a development dependency')
  return runner
}

it('times layers with weights alone where a runtime tells no times', async () => {
  const times = await cutoutTimes(net, { runner: await web(), dataset })
  const layers = net.graph.nodes.filter((n) => n.op === 'Conv' || n.op === 'Gemm')
  expect([...times.keys()].sort()).toEqual(layers.map((n) => n.name).sort())
  for (const ms of times.values()) expect(ms).toBeGreaterThanOrEqual(0)
})

it('takes the conversions around an integer layer into it, and times those that are left', async () => {
  const ctx = { ...testContext(), data: { calibration: dataset } }
  const { model: integer } = await applyRecipe(net, [['quantize-static', {}]], ctx)
  const runner = await web()
  const facts = await kernelFacts(integer, { runner, dataset })
  const timed = integer.graph.nodes.filter((n) => facts.get(n.name)?.ms !== undefined)
  // The model's input is quantized outside of all layers; MaxPool moves codes, and its conversions are gone.
  expect(timed.map((n) => n.op)).toEqual(['QuantizeLinear', 'Conv', 'Conv', 'Gemm'])
  expect([...facts.values()].every((f) => f.kernel === undefined)).toBe(true)
})
