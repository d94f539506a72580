import { describe, expect, it } from 'vitest'
import { noise, optimizedOf, testContext } from '../../../../test/compare.ts'
import { rng } from '../../../base/random.ts'
import { arrayDataset } from '../../../data/index.ts'
import { edit } from '../../../ir/edit.ts'
import { constant, producer } from '../../../ir/graph.ts'
import { elementCount, tensor, toFloats, toNumbers } from '../../../ir/tensor.ts'
import { model } from '../../../ir/text.ts'
import { nodeRunner } from '../../../node/runner.ts'
import type { Step } from '../../../report/types.ts'
import { countIntegerKernels } from '../../../runtime/kernels.ts'
import { targetFor } from '../../../targets/index.ts'
import type { Dataset, Model } from '../../../types.ts'
import { parseOptions } from '../../pass.ts'
import { type Applied, applyRecipe } from '../../recipe.ts'
import type { Recipe } from '../../types.ts'
import { saturatingNodes } from '../common/saturation.ts'
import type { LayerReport } from './layer.ts'
import { round } from './round.ts'

const samples = 64

/** Neighbouring elements are alike, as in pictures. */
function dataFor(m: Model, seed = 'data'): Dataset {
  const random = rng(seed)
  const inputs = m.graph.inputs.map((id) => {
    const shape = [samples, ...(m.graph.values.get(id)?.shape ?? []).slice(1).map(Number)]
    let last = 0
    const values = Array.from({ length: elementCount(shape) }, () => {
      last = 0.8 * last + random.normal()
      return last + 0.5
    })
    return [id, tensor('float32', shape, values)] as const
  })
  return arrayDataset({ inputs: Object.fromEntries(inputs) })
}

function apply(m: Model, recipe: Recipe, target = 'ort-cpu'): Promise<Applied> {
  return applyRecipe(m, recipe, { ...testContext(), target: targetFor(target), data: { calibration: dataFor(m) } })
}

/** On other samples than those of calibration. */
const noiseOf = (a: Model, b: Model): Promise<number> => noise(a, b, dataFor(a, 'other'))

const net = model`
  input x: f32[N,3,10,10]
  a: f32[N,16,10,10] = Conv(x, A: f32[16,3,3,3], Ab: f32[16], pads=[1,1,1,1])
  r = Relu(a)
  c: f32[N,16,5,5] = Conv(r, C: f32[16,1,3,3], Cb: f32[16], group=16, strides=[2,2], pads=[1,1,1,1])
  s = Relu(c)
  b: f32[N,8,5,5] = Conv(s, B: f32[8,16,1,1], Bb: f32[8])
  m: f32[N,8,1,1] = GlobalAveragePool(b)
  f = Flatten(m)
  y = Gemm(f, W: f32[8,12], Wb: f32[12])
  output y`

const weights = (o: object = {}): Recipe => [
  ['quantize-weights', { bits: 4, form: 'qdq', minElements: 1, correctBias: false, ...o }]
]

const layersOf = (made: Applied): LayerReport[] =>
  ((made.steps.at(-1) as Step).plan as { layers: LayerReport[] }).layers

describe('round', () => {
  it('brings the outputs of 4-bit layers nearer, on samples it has not seen', async () => {
    const [plain, made] = [await apply(net, weights()), await apply(net, [...weights(), ['round', {}]])]
    expect(await noiseOf(net, made.model)).toBeLessThan(0.5 * (await noiseOf(net, plain.model)))
    for (const l of layersOf(made)) expect(l.after).toBeLessThanOrEqual(l.before)
    expect(layersOf(made).map((l) => l.op)).toEqual(['Conv', 'Conv', 'Conv', 'Gemm'])
    const shapeOf = (m: Model): object[] => m.graph.nodes.map((n) => ({ op: n.op, name: n.name }))
    expect(shapeOf(made.model)).toEqual(shapeOf(plain.model))
  })
  it('takes blocks, zero points and one scale for all', async () => {
    const wide = model`
      input x: f32[N,32,4,4]
      h: f32[N,48,4,4] = Conv(x, A: f32[48,32,1,1], Ab: f32[48])
      r = Relu(h)
      y: f32[N,16,4,4] = Conv(r, B: f32[16,48,1,1], Bb: f32[16])
      output y`
    for (const o of [{ blockSize: 16 }, { symmetric: false }, { perChannel: false }]) {
      const [plain, made] = [await apply(wide, weights(o)), await apply(wide, [...weights(o), ['round', {}]])]
      expect(await noiseOf(wide, made.model)).toBeLessThan(0.8 * (await noiseOf(wide, plain.model)))
    }
  })
  it('keeps scales, kernels and 8 bits of integer models', async () => {
    const [plain, made] = [
      await apply(net, [['quantize-static', {}]]),
      await apply(net, [
        ['quantize-static', {}],
        ['round', {}]
      ])
    ]
    const kernels = async (m: Model): Promise<object> => {
      const session = await nodeRunner().open(m, { optimization: 'extended', keepOptimized: true })
      const found = countIntegerKernels(await optimizedOf(session))
      await session.close()
      return found
    }
    expect(await kernels(made.model)).toEqual(await kernels(plain.model))
    for (const l of layersOf(made)) expect(l.after).toBeLessThanOrEqual(l.before)
    const scaleOf = (m: Model): number[] =>
      Array.from(toNumbers(constant(m.graph, producer(m.graph, 'A_dq')?.inputs[1]) as never))
    expect(scaleOf(made.model)).toEqual(scaleOf(plain.model))
  })
  it('lets no pair sum saturate that could not before', async () => {
    const made = await apply(
      net,
      [
        ['quantize-static', {}],
        ['round', {}]
      ],
      'ort-cpu-avx2'
    )
    for (const id of ['A_dq', 'B_dq']) {
      expect(producer(made.model.graph, id)?.op).toBe('DequantizeLinear')
    }
    expect(saturatingNodes(made.model, targetFor('ort-cpu-avx2'))).toEqual([])
  })
  it('keeps zeros that are meant', async () => {
    const pruned = edit(net, (d) => {
      const v = d.value('A')
      if (!v?.data) throw new Error('no weight')
      const values = toFloats(v.data).map((x, i) => (i % 2 ? x : 0))
      d.set({ ...v, data: tensor('float32', v.data.shape, values), sparse: 'any' })
    })
    const made = await apply(pruned, [...weights(), ['round', {}]])
    const codes = toNumbers(constant(made.model.graph, producer(made.model.graph, 'A')?.inputs[0]) as never)
    expect(Array.from(codes).every((q, i) => i % 2 === 1 || q === 0)).toBe(true)
  })
  it('says why a layer stays, and which', async () => {
    const m = model`
      input x: f32[N,32]
      a = Gemm(x, W: f32[32,32], Ab: f32[32])
      y = Gemm(a, W, Bb: f32[32])
      output y`
    const made = await apply(m, [...weights(), ['round', {}]])
    expect(made.refusals.map((r) => r.reason)).toEqual(['its weight is shared', 'its weight is shared'])
    const bounded = await apply(net, [...weights(), ['round', { exclude: ['Conv'] }]])
    expect(layersOf(bounded).map((l) => l.op)).toEqual(['Gemm'])
  })
  it('gives a float model back with a note, and needs the float model of a rounded one', async () => {
    const ctx = { ...testContext(), data: { calibration: dataFor(net) } }
    const options = parseOptions(round, {})
    expect(await round.run(net, options, ctx)).toBe(net)
    expect(ctx.notes).toEqual(['round: nothing is quantized yet; it goes behind the pass that quantizes'])
    const { model: rounded } = await apply(net, weights())
    await expect(round.run(rounded, options, ctx)).rejects.toMatchObject({ code: 'E_USAGE' })
  })
})
