import { describe, expect, it } from 'vitest'
import { meanError, normalData, optimizedOf, testContext } from '../../../../test/compare.ts'
import { constant, producer } from '../../../ir/graph.ts'
import { model } from '../../../ir/text.ts'
import { nodeRunner } from '../../../node/runner.ts'
import { opFor } from '../../../ops/index.ts'
import { countIntegerKernels } from '../../../runtime/kernels.ts'
import type { Dataset, Model, Node, Tensor } from '../../../types.ts'
import { parseOptions } from '../../pass.ts'
import { type Applied, applyRecipe } from '../../recipe.ts'
import type { Recipe } from '../../types.ts'
import { correctBias } from './correct-bias.ts'
import { neededMean } from './numbers.ts'

const samples = 48

const dataFor = (m: Model): Dataset => normalData(m, samples, { mean: 0.7 })

function apply(m: Model, recipe: Recipe): Promise<Applied> {
  return applyRecipe(m, recipe, { ...testContext(), data: { calibration: dataFor(m) } })
}

const errorOf = (a: Model, b: Model): Promise<number> => meanError(a, b, dataFor(a))

const net = model`
  input x: f32[N,3,8,8]
  a: f32[N,16,8,8] = Conv(x, A: f32[16,3,3,3], Ab: f32[16], pads=[1,1,1,1])
  r = Relu(a)
  c: f32[N,16,8,8] = Conv(r, C: f32[16,1,3,3], group=16, pads=[1,1,1,1])
  s = Relu(c)
  b: f32[N,8,8,8] = Conv(s, B: f32[8,16,1,1], Bb: f32[8])
  output b`

const weights: Recipe = [['quantize-weights', { bits: 4, form: 'qdq', minElements: 1, correctBias: false }]]
const static8: Recipe = [['quantize-static', { correctBias: false, perChannel: false }]]

describe('correct-bias', () => {
  it('takes back the shift of the mean, in weight-only models', async () => {
    const plain = await apply(net, weights)
    const made = await apply(net, [...weights, ['correct-bias', {}]])
    expect(await errorOf(net, made.model)).toBeLessThan(0.01 * (await errorOf(net, plain.model)))
    const added = made.model.graph.nodes.find((n) => n.outputs[0] === 'c')
    expect(constant(made.model.graph, added?.inputs[2])?.shape).toEqual([16])
  })
  it('works on int32 biases of integer models, which stay integer', async () => {
    const plain = await apply(net, static8)
    const made = await apply(net, [...static8, ['correct-bias', {}]])
    expect(await errorOf(net, made.model)).toBeLessThan(0.3 * (await errorOf(net, plain.model)))
    const first = made.model.graph.nodes.find((n) => n.op === 'Conv')
    const bias = producer(made.model.graph, first?.inputs[2] ?? '')
    expect(constant(made.model.graph, bias?.inputs[0])?.dtype).toBe('int32')
    const session = await nodeRunner().open(made.model, { optimization: 'extended', keepOptimized: true })
    expect(countIntegerKernels(await optimizedOf(session))).toEqual({ QLinearConv: 3 })
    await session.close()
  })
  it('tells what it took back', async () => {
    const made = await apply(net, [...weights, ['correct-bias', { exclude: ['Conv_c'] }]])
    const plan = made.steps.at(-1)?.plan as { layers: { output: string; shift: number }[] }
    expect(plan.layers.map((l) => l.output)).toEqual(expect.arrayContaining(['a', 'b']))
    expect(plan.layers.every((l) => l.shift > 0)).toBe(true)
  })
  it('refuses layers without a bias', async () => {
    const m = model`
      input x: f32[N,4,32]
      y = MatMul(x, W: f32[32,32])
      output y`
    const made = await apply(m, [...weights, ['correct-bias', {}]])
    expect(made.refusals.map((r) => r.reason)).toEqual(['MatMul has no bias'])
    expect(made.steps.at(-1)?.after).toEqual(made.steps.at(-1)?.before)
  })
  it('leaves a float model as it is, and needs the float model of a rounded one', async () => {
    const ctx = { ...testContext(), data: { calibration: dataFor(net) } }
    const options = parseOptions(correctBias, {})
    expect(await correctBias.run(net, options, ctx)).toBe(net)
    const { model: rounded } = await apply(net, weights)
    await expect(correctBias.run(rounded, options, ctx)).rejects.toMatchObject({ code: 'E_USAGE' })
  })
})

describe('padding', () => {
  /** One position of data: the outer positions of the kernel multiply zeros. */
  const short = model`
    input x: f32[N,16,1]
    y: f32[N,8,1] = Conv(x, W: f32[8,16,3], B: f32[8], pads=[1,1])
    output y`
  it('counts kernel positions by how often they read data', async () => {
    const recipe = (correctBias: boolean): Recipe => [
      ['quantize-weights', { bits: 4, form: 'qdq', minElements: 1, balance: false, correctBias }]
    ]
    const plain = await apply(short, recipe(false))
    const made = await apply(short, recipe(true))
    expect(await errorOf(short, made.model)).toBeLessThan(0.01 * (await errorOf(short, plain.model)))
  })
  it('on a longer axis too, with strides', async () => {
    const long = model`
      input x: f32[N,4,5]
      y: f32[N,8,3] = Conv(x, W: f32[8,4,3], B: f32[8], pads=[1,1], strides=[2])
      output y`
    const { seen } =
      neededMean(
        long,
        long.graph.nodes[0] as Node,
        opFor(long.graph.nodes[0] as Node)?.quant,
        constant(long.graph, 'W') as Tensor
      ) ?? {}
    // Outputs read positions −1 0 1, 1 2 3 and 3 4 5 of 0 … 4.
    expect([...(seen ?? [])]).toEqual([2 / 3, 1, 2 / 3])
  })
})
