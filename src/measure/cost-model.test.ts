import { describe, expect, it } from 'vitest'
import { rng } from '../base/random.ts'
import { model } from '../ir/text.ts'
import { type CostModel, columnsOf, costModelFrom, kernelsOf, lineMs, predict } from './cost-model.ts'
import { fitKernels, type TimedNetwork } from './kernel-fit.ts'
import { kernelNetworks } from './kernel-networks.ts'

const net = model`
  input x: f32[N,3,8,8]
  h: f32[N,16,8,8] = Conv(x, W: f32[16,3,3,3], B: f32[16], pads=[1, 1, 1, 1])
  r: f32[N,16,8,8] = Relu(h)
  d: f32[N,16,8,8] = Conv(r, D: f32[16,1,3,3], group=16, pads=[1, 1, 1, 1])
  y: f32[N,16,8,8] = Sigmoid(d)
  output y
`
const line = (...coefficients: number[]) => ({ coefficients, samples: 1, near: [] })
const cost: CostModel = {
  ...{ pareCostModel: 1, target: 'ort-cpu', runtime: { name: 'any', version: '1' }, day: '2026-08-01', block: 1 },
  machine: { cpu: 'any', cores: 1, threads: 1 },
  run: { ms: 0.5, perMegabyte: 0 },
  kinds: {
    'Conv shallow float32': line(1, 10, 0, 0),
    'Conv depthwise float32': line(2, 0, 0, 0),
    'Sigmoid float32': line(0, 0, 0, 1)
  }
}

describe('predict', () => {
  it('adds up kernels, without what is fused into the layer before', () => {
    const found = predict(net, cost)
    expect(found.perNode.map((n) => n.kind)).toEqual([
      'Conv shallow float32',
      'Conv depthwise float32',
      'Sigmoid float32'
    ])
    const conv = 1 + (10 * 16 * 64 * 27) / 1e6
    const sigmoid = (2 * 4 * 16 * 64) / 1e6
    expect(found.ms).toBeCloseTo(0.5 + conv + 2 + sigmoid, 9)
    expect(found.guessed).toBe(0)
  })
  it('says what it guessed', () => {
    const { 'Conv depthwise float32': _, ...kinds } = cost.kinds
    const found = predict(net, { ...cost, kinds })
    expect(found.perNode.map((n) => n.guessed)).toEqual([undefined, true, undefined])
    expect(found.guessed).toBeGreaterThan(0)
  })
  it('takes the peaks of a device', () => {
    const found = predict(net, { from: 'source', macsPerSecond: 1e6, depthwiseShare: 0.5, bytesPerSecond: 1e9 })
    expect(found.perNode[0]?.ms).toBeCloseTo((1000 * 16 * 64 * 27) / 1e6, 6)
    expect(found.perNode[1]?.ms).toBeCloseTo((1000 * 16 * 64 * 9) / 5e5, 6)
  })
  it('has the ratio of a kernel that was measured at that very place', () => {
    const [conv] = kernelsOf(net)
    const at = [conv?.figures].flatMap((f) => (f ? [f.macs, f.channels, f.outputChannels, f.bytes, f.places] : []))
    const near = [{ at: at.map((x) => Math.log2(1 + x)), ratio: Math.log(2) }]
    const kinds = { ...cost.kinds, 'Conv shallow float32': { ...line(1, 0, 0, 0), near } }
    expect(predict(net, { ...cost, kinds }).perNode[0]?.ms).toBeCloseTo(2, 2)
  })
})

describe('lines', () => {
  it('are found again in times that were made of some', () => {
    const coefficients: Readonly<Record<string, readonly number[]>> = {
      'Conv small float32': [0.01, 0.02, 0, 0.05],
      'Conv 1×1 float32': [0.02, 0.03, 0, 0],
      'Conv depthwise float32': [0.005, 0.2, 0, 0.1]
    }
    const networks = kernelNetworks().flatMap(({ name, model: m }): TimedNetwork[] => {
      const kernels = kernelsOf(m)
      if (!kernels.every((k) => k.kind in coefficients)) return []
      const ms = kernels.reduce(
        (n, k) => n + columnsOf(k.figures, 8).reduce((s, x, i) => s + x * (coefficients[k.kind]?.[i] as number), 0),
        0.02
      )
      return [{ name, kernels, ends: 0, ms }]
    })
    const fitted = fitKernels(networks)
    const errors = fitted.errors.filter((e) => e !== undefined).toSorted((a, b) => a - b)
    expect(errors.length).toBeGreaterThan(20)
    expect(errors[errors.length >> 1]).toBeLessThan(0.02)
    expect(errors.at(-1)).toBeLessThan(0.2)
  })
})

describe('lines of kernels that a runtime tells', () => {
  it('are those of the kernels, however much the ends of a network take', () => {
    const truth: Readonly<Record<string, readonly number[]>> = {
      'Conv small float32': [0.01, 0.02, 0, 0.05],
      'Conv 1×1 float32': [0.02, 0.03, 0, 0],
      'Add float32': [0.004, 0, 0, 0.3]
    }
    const timeOf = (k: ReturnType<typeof kernelsOf>[number]): number =>
      columnsOf(k.figures, 8).reduce((s, x, i) => s + x * (truth[k.kind]?.[i] as number), 0)
    const random = rng('ends')
    const networks = kernelNetworks().flatMap(({ name, model: m }): TimedNetwork[] => {
      const kernels = kernelsOf(m).filter((k) => k.kind in truth)
      if (kernels.length === 0 || kernels.length < kernelsOf(m).length - 3) return []
      const parts = new Map<string, number>()
      for (const k of kernels) parts.set(k.op, (parts.get(k.op) ?? 0) + timeOf(k))
      const sum = [...parts.values()].reduce((a, b) => a + b, 0)
      // What is around kernels is unlike from network to network, as on a busy machine.
      return [{ name, kernels, ends: 0, ms: sum * (1.2 + random.next()), parts }]
    })
    const { kinds, block } = fitKernels(networks)
    for (const { kernels } of networks)
      for (const k of kernels) {
        const line = kinds[k.kind]
        const ratio = line ? lineMs(line, k.figures, block) / timeOf(k) : 0
        expect(Math.abs(ratio - 1), `${k.kind}: ${ratio} of its time`).toBeLessThan(0.12)
      }
  })
})

describe('a cost model from a file', () => {
  it('is read as it was written', () => expect(costModelFrom(JSON.parse(JSON.stringify(cost)), 'a')).toEqual(cost))
  it.each([
    ['no object', 7],
    ['another version', { ...cost, pareCostModel: 2 }],
    ['a negative coefficient', { ...cost, kinds: { a: line(-1, 0, 0, 0) } }],
    ['too few coefficients', { ...cost, kinds: { a: line(1) } }],
    ['what it does not know', { ...cost, code: 'x' }]
  ])('is refused with %s', (_, json) => {
    expect(() => costModelFrom(json, 'a.json')).toThrow(expect.objectContaining({ code: 'E_FORMAT', where: 'a.json' }))
  })
})
