import { describe, expect, it } from 'vitest'
import { meanError, noise, normalData, optimizedOf, testContext } from '../../../../test/compare.ts'
import { writeModel } from '../../../formats/index.ts'
import { edit } from '../../../ir/edit.ts'
import { constant, consumers, producer } from '../../../ir/graph.ts'
import { tensor, toFloats, toNumbers } from '../../../ir/tensor.ts'
import { model } from '../../../ir/text.ts'
import { nodeRunner } from '../../../node/runner.ts'
import { countIntegerKernels } from '../../../runtime/kernels.ts'
import { targetFor } from '../../../targets/index.ts'
import type { Dataset, Model } from '../../../types.ts'
import { parseOptions } from '../../pass.ts'
import type { Context } from '../../types.ts'
import type { StaticPlan } from './plan.ts'
import { quantizeStatic } from './quantize-static.ts'

const samples = 48

const dataFor = (m: Model): Dataset => normalData(m, samples)

interface Made {
  readonly model: Model
  readonly plan: StaticPlan
  readonly ctx: ReturnType<typeof testContext>
}

async function run(m: Model, o: object = {}, over: Partial<Context> = {}): Promise<Made> {
  const plans: unknown[] = []
  const ctx = { ...testContext(), data: { calibration: dataFor(m) }, plan: (p: unknown) => plans.push(p), ...over }
  const made = await quantizeStatic.run(m, parseOptions(quantizeStatic, o), ctx)
  return { model: made, plan: plans[0] as StaticPlan, ctx }
}

async function kernels(m: Model): Promise<Readonly<Record<string, number>>> {
  const session = await nodeRunner().open(m, { optimization: 'extended', keepOptimized: true })
  const found = countIntegerKernels(await optimizedOf(session))
  await session.close()
  return found
}

/** 10·log10(Σx² / Σ(x − y)²) of the first output over the calibration samples. */
const sqnr = async (a: Model, b: Model): Promise<number> => -10 * Math.log10(await noise(a, b, dataFor(a)))

const planOf = (plan: StaticPlan, id: string): StaticPlan['values'][number] => {
  const found = plan.values.find((v) => v.ids.includes(id))
  if (!found) throw new Error(`no plan for ${id}`)
  return found
}

const network = model`
  input x: f32[N,3,16,16]
  a = Conv(x, W1: f32[8,3,3,3], B1: f32[8], pads=[1,1,1,1])
  b = Relu(a)
  c = Conv(b, W2: f32[8,8,3,3], B2: f32[8], pads=[1,1,1,1])
  d = Add(c, b)
  e = Relu(d)
  f = MaxPool(e, kernel_shape=[2,2], strides=[2,2])
  g = GlobalAveragePool(f)
  h = Flatten(g)
  y = Gemm(h, W3: f32[10,8], B3: f32[10], transB=1)
  output y`

describe('quantize-static', () => {
  it('fuses into integer kernels, from the input to the last Gemm', async () => {
    const made = await run(network)
    expect(await kernels(made.model)).toEqual({ QLinearConv: 2, QLinearAdd: 1, QLinearGlobalAveragePool: 1, QGemm: 1 })
    expect(made.ctx.refusals).toEqual([])
    expect(made.model.graph.outputs).toEqual(['y'])
    // 8 bits of a normal clipped for least error are worth about 40 dB; several layers add up.
    expect(await sqnr(network, made.model)).toBeGreaterThan(30)
  })
  it('leaves Relu to saturation: zero is the lowest code, the Relu is gone', async () => {
    const made = await run(network)
    expect(made.model.graph.nodes.map((n) => n.op)).not.toContain('Relu')
    expect(made.plan.clamps).toEqual(['b', 'e'])
    expect(planOf(made.plan, 'b')).toMatchObject({ zeroPoint: 0, low: 0, dtype: 'uint8' })
  })
  it('shares scale and zero point across data movement', async () => {
    const made = await run(network)
    expect(planOf(made.plan, 'f').ids).toEqual(['d', 'e', 'f'])
    const before = consumers(made.model.graph, 'e').find((n) => n.op === 'QuantizeLinear')
    const after = consumers(made.model.graph, 'f').find((n) => n.op === 'QuantizeLinear')
    expect(before?.inputs.slice(1)).toEqual(after?.inputs.slice(1))
  })
  it('gives a bias exactly the product of the scales of data and weight', async () => {
    const { model: m, plan } = await run(network, { correctBias: false })
    const conv = producer(m.graph, 'b')
    const biasScale = constant(m.graph, producer(m.graph, conv?.inputs[2] ?? '')?.inputs[1])
    const weightScale = constant(m.graph, producer(m.graph, conv?.inputs[1] ?? '')?.inputs[1])
    const x = planOf(plan, 'x').scale
    if (!biasScale || !weightScale) throw new Error('no scales')
    expect(Array.from(toFloats(biasScale))).toEqual(Array.from(toFloats(weightScale), (s) => Math.fround(x * s)))
    expect(producer(m.graph, conv?.inputs[2] ?? '')?.inputs).toHaveLength(2)
    const codes = constant(m.graph, producer(m.graph, conv?.inputs[2] ?? '')?.inputs[0])
    const bias = constant(network.graph, 'B1')
    if (!codes || !bias) throw new Error('no bias')
    expect(codes.dtype).toBe('int32')
    for (let c = 0; c < 8; c++) {
      const s = toFloats(biasScale)[c] as number
      expect(Math.abs((toNumbers(codes)[c] as number) * s - (toFloats(bias)[c] as number))).toBeLessThanOrEqual(
        s * 0.5001
      )
    }
  })
  it('takes back in the bias what rounding adds to the mean', async () => {
    // Inputs far from zero make the errors of a channel's weights add up.
    const m = model`
      input x: f32[N,4,8,8]
      a = Conv(x, W1: f32[16,1,3,3], group=4)
      output a`
    const calibration = normalData(m, samples, { mean: 5 })
    const error = async (correctBias: boolean): Promise<number> => {
      const made = await run(m, { correctBias, calibrator: 'minmax' }, { data: { calibration } })
      return meanError(m, made.model, calibration)
    }
    expect(await error(true)).toBeLessThan((await error(false)) / 3)
  })
  it('enlarges the scale of a weight whose bias would not fit 32 bits', async () => {
    const m = edit(network, (d) => {
      const w = d.value('W1')
      if (w?.data)
        d.set({
          ...w,
          data: tensor(
            'float32',
            [8, 3, 3, 3],
            toFloats(w.data).map((v, i) => (i < 27 ? 0 : i < 54 ? v * 1e-9 : v))
          )
        })
    })
    const { model: made, plan } = await run(m)
    const scales = plan.weights.find((w) => w.id === 'W1')?.scales as number[]
    const bias = toFloats(constant(network.graph, 'B1') ?? tensor('float32', [0], []))
    for (const c of [0, 1])
      expect(Math.abs(bias[c] as number) / (planOf(plan, 'x').scale * (scales[c] as number))).toBeCloseTo(2 ** 30, -4)
    expect(await sqnr(m, made)).toBeGreaterThan(30)
  })
  it.each(['entropy', 'mse', 'percentile', 'minmax', 'best'] as const)(
    'keeps values that Clip bounds, by %s',
    async (calibrator) => {
      for (const [low, high] of [
        [-1, 1],
        [0, 6]
      ]) {
        const m = model`
        input x: f32[N,4,8,8]
        const low: f32[] = ${low}
        const high: f32[] = ${high}
        a = Clip(x, low, high)
        b = Conv(a, W: f32[8,4,3,3])
        output b`
        const calibration = normalData(m, samples, { scale: 12 })
        const { model: made } = await run(m, { calibrator }, { data: { calibration } })
        expect(-10 * Math.log10(await noise(m, made, calibration))).toBeGreaterThan(30)
      }
    }
  )
  it('keeps a Clip that only saturation does within its bounds', async () => {
    const m = model`
      input x: f32[N,3,8,8]
      const low: f32[] = 0
      const high: f32[] = 0.5
      a = Conv(x, W1: f32[8,3,3,3], B1: f32[8])
      b = Clip(a, low, high)
      c = Conv(b, W2: f32[8,1,3,3], B2: f32[8], group=8)
      output c`
    const made = await run(m)
    expect(made.model.graph.nodes.map((n) => n.op)).not.toContain('Clip')
    const b = planOf(made.plan, 'b')
    expect(b.zeroPoint).toBe(0)
    expect(255 * b.scale).toBeLessThanOrEqual(0.5)
    expect(await kernels(made.model)).toEqual({ QLinearConv: 2 })
    expect(await sqnr(m, made.model)).toBeGreaterThan(30)
  })
  it('keeps a Relu whose input something else reads too', async () => {
    const m = model`
      input x: f32[N,3,8,8]
      a = Conv(x, W1: f32[8,3,1,1], B1: f32[8])
      b = Relu(a)
      c = Conv(b, W2: f32[8,8,1,1], B2: f32[8])
      d = Add(a, c)
      output d`
    const made = await run(m)
    expect(made.plan.clamps).toEqual([])
    expect(await sqnr(m, made.model)).toBeGreaterThan(30)
  })
  it('keeps names of outputs that are integers inside, and of several', async () => {
    const m = model`
      input x: f32[N,3,8,8]
      a = Conv(x, W1: f32[8,3,1,1], B1: f32[8])
      b = Conv(a, W2: f32[8,8,1,1], B2: f32[8])
      output b, a`
    const made = await run(m)
    expect(made.model.graph.outputs).toEqual(['b', 'a'])
    expect(await kernels(made.model)).toEqual({ QLinearConv: 2 })
    expect(await sqnr(m, made.model)).toBeGreaterThan(30)
  })
  it('folds the factors of a Gemm into weight and bias', async () => {
    const m = model`
      input x: f32[N,16]
      a = Gemm(x, W1: f32[16,16], B1: f32[16], alpha=0.5, beta=2.0)
      b = Relu(a)
      y = Gemm(b, W2: f32[16,4], alpha=3.0)
      output y`
    const made = await run(m)
    expect(await kernels(made.model)).toEqual({ QGemm: 2 })
    expect(await sqnr(m, made.model)).toBeGreaterThan(30)
  })
  it('refuses what has no integer form, and quantizes around it', async () => {
    const m = model`
      input x: f32[N,3,8,8]
      a = Conv(x, W1: f32[8,3,1,1], B1: f32[8])
      b = Erf(a)
      c = Conv(b, W2: f32[8,8,1,1], B2: f32[8])
      output c`
    const { ctx, model: made } = await run(m)
    expect(ctx.refusals).toEqual([
      { node: 'Erf_1', op: 'Erf', reason: 'not among the operators that ort-cpu computes on integers: stays in float' }
    ])
    expect(await kernels(made)).toEqual({ QLinearConv: 2 })
  })
  it('asks the operator whether this very node has an integer kernel', async () => {
    const { model: made, ctx } = await run(model`
      input x: f32[N,3,12,12]
      a = Conv(x, W: f32[4,3,3,3])
      b = AveragePool(a, kernel_shape=[2,2], dilations=[2,2])
      c = Resize(b, _, s: f32[4]{1, 1, 2, 2}, mode="linear")
      output c`)
    expect(ctx.refusals.map((r) => r.reason)).toEqual([
      'its dilation is 2,2, and must be == 1 for ort-cpu to compute it on integers',
      'its mode is linear, and must be == nearest for ort-cpu to compute it on integers'
    ])
    expect(await kernels(made)).toEqual({ QLinearConv: 1 })
  })
  it('leaves out by type and by name, silently', async () => {
    const made = await run(network, { exclude: ['Add', 'Conv_0'] })
    expect(await kernels(made.model)).toMatchObject({ QLinearConv: 1, QGemm: 1 })
    expect(made.ctx.refusals).toEqual([])
    expect(producer(made.model.graph, 'a')?.inputs).toEqual(['x', 'W1', 'B1'])
    expect(await sqnr(network, made.model)).toBeGreaterThan(30)
  })
  it('keeps the runtime from quantizing what was left out', async () => {
    const m = model`
      input x: f32[N,3,8,8]
      a = Conv(x, W1: f32[8,3,1,1], B1: f32[8])
      b = Conv(a, W2: f32[8,8,1,1], B2: f32[8])
      c = Conv(b, W3: f32[8,8,1,1], B3: f32[8])
      d = Relu(c)
      e = Conv(d, W4: f32[8,8,1,1], B4: f32[8])
      output e`
    const made = await run(m, { exclude: ['Conv_1', 'Conv_2'] })
    expect(await kernels(made.model)).toEqual({ QLinearConv: 2 })
    const between = await run(m, { exclude: ['Conv_1'] })
    expect(await kernels(between.model)).toEqual({ QLinearConv: 3 })
    const clamped = await run(m, { exclude: ['Conv_2'] })
    expect(await kernels(clamped.model)).toEqual({ QLinearConv: 3 })
    expect(await sqnr(m, clamped.model)).toBeGreaterThan(30)
  })
  it('gives the very same model back where nothing can be quantized', async () => {
    const m = model`
      input x: f32[N,4]
      y = Softmax(x)
      output y`
    expect((await run(m)).model).toBe(m)
    expect((await run(network, { exclude: ['Conv', 'Gemm'] })).model).toBe(network)
  })
  it('narrows the channels whose pair sums can saturate, and only those, for targets that do', async () => {
    const avx2 = { target: targetFor('ort-cpu-avx2') }
    const m = edit(network, (d) => {
      const w = d.value('W2')
      // One large weight per filter: no two neighbours reach 129 together.
      if (w?.data)
        d.set({
          ...w,
          data: tensor(
            'float32',
            [8, 8, 3, 3],
            toFloats(w.data).map((v, i) => (i % 72 === 0 ? 1 : v / 1000))
          )
        })
    })
    const { plan, ctx } = await run(m, {}, avx2)
    const levels = (id: string): readonly number[] | undefined => plan.weights.find((w) => w.id === id)?.levels
    expect(levels('W2')).toBeUndefined()
    expect(levels('W1')).toContain(64)
    expect(ctx.notes.join()).toContain('W1')
    expect((await run(m)).plan.weights.every((w) => w.levels === undefined)).toBe(true)
    expect((await run(m, { reduceRange: 'always' })).plan.weights.every((w) => w.levels?.every((l) => l === 64))).toBe(
      true
    )
    expect((await run(m, { reduceRange: 'never' }, avx2)).plan.weights.every((w) => w.levels === undefined)).toBe(true)
  })
  it('narrows filters of one input channel too, unless they are depthwise', async () => {
    const m = model`
      input x: f32[N,1,8,8]
      a = Conv(x, First: f32[8,1,5,5])
      y = Conv(a, Depthwise: f32[8,1,3,3], group=8)
      output y`
    const { plan } = await run(m, {}, { target: targetFor('ort-cpu-avx2') })
    const levels = (id: string): readonly number[] | undefined => plan.weights.find((w) => w.id === id)?.levels
    expect(levels('First')).toContain(64)
    expect(plan.weights.map((w) => w.id)).toContain('Depthwise')
    expect(levels('Depthwise')).toBeUndefined()
  })
  it('takes one scale per weight where asked to', async () => {
    const made = await run(network, { perChannel: false })
    expect(await kernels(made.model)).toEqual({ QLinearConv: 2, QLinearAdd: 1, QLinearGlobalAveragePool: 1, QGemm: 1 })
    expect(made.plan.weights.map((w) => w.scales.length)).toEqual([1, 1, 1])
    expect(await sqnr(network, made.model)).toBeGreaterThan(25)
  })
  it('names a weight that is not a number', async () => {
    const broken = edit(network, (d) => {
      const w = d.value('W2')
      if (w?.data) d.set({ ...w, data: tensor('float32', [8, 8, 3, 3], new Float32Array(576).fill(Number.NaN)) })
    })
    await expect(run(broken)).rejects.toMatchObject({ code: 'E_MODEL', where: 'W2' })
  })
  it('leaves subgraphs in float, with values captured by them', async () => {
    const m = model`
      input x: f32[N,4]
      a = Gemm(x, W1: f32[4,4], B1: f32[4])
      const yes: bool[] = 1
      r = If(yes, then_branch={ b = Gemm(a, W2: f32[4,4]); output b }, else_branch={ i = Identity(a); output i })
      output r`
    const { model: made, ctx } = await run(m)
    expect(await kernels(made)).toMatchObject({ QGemm: 1 })
    expect(ctx.refusals.map((r) => r.reason)).toEqual([
      'inside a subgraph, where nothing is calibrated: stays in float'
    ])
    expect(await sqnr(m, made)).toBeGreaterThan(30)
  })
  it('makes the same bytes every time', async () => {
    expect(writeModel((await run(network)).model).bytes).toEqual(writeModel((await run(network)).model).bytes)
  })
})

describe('calibration', () => {
  it('finds the same ranges whatever the batch', async () => {
    const data = dataFor(network)
    const single: Dataset = { ...data, batches: () => data.batches({ batch: 1 }) }
    const ranges = async (calibration: Dataset): Promise<number[]> =>
      (await run(network, { calibrator: 'entropy' }, { data: { calibration } })).plan.values.flatMap((v) => [
        v.scale,
        v.zeroPoint
      ])
    const [a, b] = [await ranges(data), await ranges(single)]
    // The engine may add in another order for another batch: a few float32 rounding errors.
    for (const [i, x] of a.entries()) expect(Math.abs(x - (b[i] as number))).toBeLessThanOrEqual(1e-5 * Math.abs(x))
  })
  it('serves models of fixed batch', async () => {
    const m = model`
      input x: f32[4,3,8,8]
      a = Conv(x, W1: f32[8,3,3,3], B1: f32[8])
      output a`
    expect(await kernels((await run(m)).model)).toEqual({ QLinearConv: 1 })
  })
  it('names a value that is not finite, and the lack of samples', async () => {
    const m = model`
      input x: f32[N,4]
      l = Log(x)
      y = Gemm(l, W: f32[4,4], B: f32[4])
      output y`
    await expect(run(m)).rejects.toMatchObject({ code: 'E_DATA', where: 'l' })
    const empty: Dataset = { size: 0, labelled: false, batches: async function* () {} }
    await expect(run(network, {}, { data: { calibration: empty } })).rejects.toMatchObject({ code: 'E_DATA' })
  })
  it('stops when asked to', async () => {
    await expect(run(network, {}, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'E_ABORTED' })
  })
})
