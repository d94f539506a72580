import { describe, expect, it } from 'vitest'
import { optimizedOf, testContext } from '../../../test/compare.ts'
import { digits, network } from '../../../test/digits.ts'
import { metricFor } from '../../data/metrics.ts'
import { toNumbers } from '../../ir/tensor.ts'
import { nodeRunner } from '../../node/runner.ts'
import { countIntegerKernels } from '../../runtime/kernels.ts'
import type { Dataset, Model } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import { quantizeStatic } from '../quantize/static/quantize-static.ts'
import type { Context, Pass } from '../types.ts'
import { finetune } from './finetune.ts'
import { trainQuantized } from './train-quantized.ts'

const train = digits(600, 'train')
const selection = digits(300, 'selection')
const data = { train, selection, calibration: digits(64, 'calibration') }

async function run<O>(pass: Pass<O>, m: Model, options: object): Promise<{ made: Model; plan: unknown; ctx: Context }> {
  let plan: unknown
  const ctx: Context = {
    ...testContext(),
    data,
    plan: (p) => {
      plan = p
    }
  }
  return { made: await pass.run(m, parseOptions(pass, options), ctx), plan, ctx }
}

async function accuracy(m: Model, samples: Dataset = selection): Promise<number> {
  const session = await nodeRunner().open(m)
  let right = 0
  for await (const b of samples.batches({ batch: 100 }))
    right += metricFor('top1')
      .scores(await session.run(b.inputs), b)
      .reduce((x, y) => x + y, 0)
  await session.close()
  return right / samples.size
}

async function kernels(m: Model): Promise<Readonly<Record<string, number>>> {
  const session = await nodeRunner().open(m, { optimization: 'extended', keepOptimized: true })
  const optimized = await optimizedOf(session)
  await session.close()
  return countIntegerKernels(optimized)
}

const adam = { name: 'adam', rate: 0.004 }
const trained = (await run(finetune, network('q'), { epochs: 12, batch: 40, optimizer: adam })).made

const codesOf = (m: Model): number[][] =>
  m.graph.nodes.flatMap((n) => {
    const codes = n.op === 'DequantizeLinear' ? m.graph.values.get(n.inputs[0] as string)?.data : undefined
    return codes && codes.dtype !== 'int32' ? [Array.from(new Set(toNumbers(codes)))] : []
  })

describe('train-quantized', () => {
  it('ends in integer kernels, as it was trained', async () => {
    const { made, plan } = await run(trainQuantized, trained, { epochs: 3, batch: 40, bits: 2, optimizer: adam })
    const found = await kernels(made)
    const same = await kernels((await run(quantizeStatic, trained, {})).made)
    expect(found).toEqual(same)
    expect(found['QLinearConv']).toBe(4)
    const { score } = plan as { readonly score: { readonly before: number; readonly after: number } }
    expect(score.after).toBeGreaterThan(score.before)
    // The samples whose class differs between training's arithmetic and the kernels'.
    expect(Math.abs((await accuracy(made)) - score.after)).toBeLessThan(0.03)
    expect(codesOf(made).filter((c) => c.every((x) => Math.abs(x) <= 1)).length).toBe(3)
  })

  it('keeps 8 bits about where they were, with steps that stay or move', async () => {
    const before = await accuracy(trained)
    for (const ranges of ['calibrated', 'learned']) {
      const o = { epochs: 1, batch: 40, optimizer: { name: 'sgd', rate: 0.001 }, quantization: { ranges } }
      const { made } = await run(trainQuantized, trained, o)
      expect(await accuracy(made)).toBeGreaterThan(before - 0.03)
      expect((await kernels(made))['QLinearConv']).toBe(4)
    }
  })

  it.each([
    [4, 0.002],
    [2, 0.02]
  ])('takes smaller steps where weights begin near their end: %i bits', async (bits, rate) => {
    const o = { epochs: 1, batch: 60, bits, quantization: { activations: 'float' } }
    const [a, b] = [
      await run(trainQuantized, trained, o),
      await run(trainQuantized, trained, { ...o, optimizer: { rate } })
    ]
    expect(codesOf(a.made)).toEqual(codesOf(b.made))
    expect((a.plan as { curves: object }).curves).toEqual((b.plan as { curves: object }).curves)
  })

  it.each([4, 3, 2])('stores weights in %i bits with float activations', async (bits) => {
    const o = { epochs: 2, batch: 40, bits, optimizer: adam, quantization: { activations: 'float' } }
    const { made, plan } = await run(trainQuantized, trained, o)
    const { score } = plan as { readonly score: { readonly after: number } }
    expect(Math.abs((await accuracy(made)) - score.after)).toBeLessThan(0.01)
    const forms = [...made.graph.values.values()].flatMap((v) => (v.form ? [v.form] : []))
    expect(forms.filter((f) => f === (bits === 3 ? 'palette' : 'foldable')).length).toBeGreaterThanOrEqual(2)
  })

  it('refuses a model that is rounded already', async () => {
    const { made } = await run(quantizeStatic, trained, {})
    await expect(run(trainQuantized, made, {})).rejects.toMatchObject({ code: 'E_USAGE' })
  })
})
