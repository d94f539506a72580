import { describe, expect, it } from 'vitest'
import { noise, testContext } from '../../../test/compare.ts'
import { digits, network } from '../../../test/digits.ts'
import { PareError } from '../../base/errors.ts'
import { readModel, writeModel } from '../../formats/index.ts'
import { toFloats } from '../../ir/tensor.ts'
import { model } from '../../ir/text.ts'
import type { Model } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import { quantizeStatic } from '../quantize/static/quantize-static.ts'
import { quantizeWeights } from '../quantize/weights/quantize-weights.ts'
import { finetune } from '../train/finetune.ts'
import type { Context } from '../types.ts'
import { patterns } from './masks.ts'
import { pruneWeights } from './prune-weights.ts'

const data = { calibration: digits(128, 'calibration'), train: digits(128, 'train') }

async function prune(m: Model, options: Record<string, unknown>, given: Context['data'] = {}) {
  const ctx = { ...testContext(), data: given }
  return { made: await pruneWeights.run(m, parseOptions(pruneWeights, options), ctx), ...ctx }
}

const floats = (m: Model, id: string): Float32Array => toFloats(m.graph.values.get(id)?.data as never)
const shareOfZeros = (m: Model, ids: readonly string[]): number => {
  const all = ids.flatMap((id) => [...floats(m, id)])
  return all.filter((x) => x === 0).length / all.length
}
const big = model`
input x: f32[N,1,14,14]
a = Flatten(x)
b = Gemm(a, W1: f32[196,256], B1: f32[256])
c = Relu(b)
y = Gemm(c, W2: f32[256,10], B2: f32[10])
output y`

const weights = ['W2', 'W3', 'W4', 'W5']

describe('prune-weights', () => {
  const wide = network('weights')

  it('takes the smallest of all layers, or the same share of each', async () => {
    const global = await prune(wide, { ratio: 0.8 })
    expect(shareOfZeros(global.made, weights)).toBeCloseTo(0.8, 2)
    const smallest = Math.min(
      ...weights.flatMap((id) => [...floats(global.made, id)].filter((x) => x !== 0).map(Math.abs))
    )
    for (const id of weights)
      for (const [i, x] of floats(wide, id).entries())
        expect(floats(global.made, id)[i]).toBe(Math.abs(x) < smallest ? 0 : x)
    const layer = await prune(wide, { ratio: 0.5, scope: 'layer' })
    for (const id of weights) expect(shareOfZeros(layer.made, [id])).toBeCloseTo(0.5, 2)
  })

  it('takes what is smaller than a threshold', async () => {
    const { made } = await prune(wide, { threshold: 0.1 })
    for (const id of weights)
      expect([...floats(made, id)]).toEqual([...floats(wide, id)].map((x) => (Math.abs(x) < 0.1 ? 0 : x)))
  })

  it.each(patterns)('%s', async (pattern) => {
    const m = model`
input x: f32[N,16]
y = Gemm(x, W: f32[8,16], B: f32[8], transB=1)
output y`
    const { made } = await prune(m, { ...(pattern.includes(':') ? {} : { ratio: 0.5 }), pattern })
    const w = floats(made, 'W')
    expect(w.filter((x) => x === 0).length).toBe(64)
    const [a, b] = pattern.split(/[:x]/).map(Number) as [number, number]
    for (let r = 0; r < 8; r++)
      for (let c = 0; c < 16; c++) {
        if (pattern.includes(':')) {
          const from = r * 16 + c - (c % b)
          expect(w.slice(from, from + b).filter((x) => x !== 0).length).toBe(a)
        } else if (pattern !== 'any') {
          const corner = (r - (r % a)) * 16 + c - (c % b)
          expect(w[r * 16 + c] === 0).toBe(w[corner] === 0)
        }
      }
    expect(readModel(writeModel(made).bytes).graph.values.get('W')?.sparse).toBe(pattern)
  })

  it('does less harm where samples are looked at, least where the rest makes up for it', async () => {
    const options = { ratio: 0.5, scope: 'layer' }
    const [magnitude, wanda, sparsegpt] = await Promise.all(
      ['magnitude', 'wanda', 'sparsegpt'].map(async (criterion) => {
        const { made } = await prune(wide, { ...options, criterion }, data)
        expect(shareOfZeros(made, weights)).toBeGreaterThan(0.45)
        return noise(wide, made, digits(64, 'other'))
      })
    )
    expect(sparsegpt).toBeLessThan((magnitude as number) / 2)
    expect(wanda).toBeLessThan(magnitude as number)
  })

  it('taylor takes what changes the loss least', async () => {
    const { made } = await prune(wide, { ratio: 0.5, criterion: 'taylor' }, data)
    expect(shareOfZeros(made, weights)).toBeGreaterThan(0.4)
  })

  it('a pruned file is smaller, reads back as it was, and stays pruned in training and in int8', async () => {
    const { made } = await prune(big, { ratio: 0.9 })
    const [before, after] = [big, made].map((m) => writeModel(m).bytes.length) as [number, number]
    expect(after / before).toBeLessThan(0.2)
    const again = readModel(writeModel(made).bytes)
    expect([...floats(again, 'W1')]).toEqual([...floats(made, 'W1')])
    const ctx = { ...testContext(), data: { train: data.train } }
    const trained = await finetune.run(again, parseOptions(finetune, { epochs: 1, batch: 32, holdout: 0 }), ctx)
    expect(floats(trained, 'W1').some((x, i) => x !== floats(made, 'W1')[i])).toBe(true)
    expect(floats(trained, 'W1').every((x, i) => floats(made, 'W1')[i] !== 0 || x === 0)).toBe(true)
    const int8 = await quantizeWeights.run(trained, parseOptions(quantizeWeights, {}), ctx)
    const codes = [...int8.graph.values.values()].find(
      (v) => v.data?.dtype === 'int8' && v.data.shape.join() === '196,256'
    )
    expect(codes?.sparse).toBe('any')
    const values = toFloats(codes?.data as never)
    expect(values.every((x, i) => floats(made, 'W1')[i] !== 0 || x === 0)).toBe(true)
  })

  it('static int8 keeps the zeros, and its kernels', async () => {
    const { made } = await prune(big, { ratio: 0.9 })
    const int8 = await quantizeStatic.run(made, parseOptions(quantizeStatic, {}), { ...testContext(), data })
    const session = await testContext().engine.open(int8, { keepOptimized: true })
    expect((await session.kernels?.())?.integer).toEqual({ QGemm: 2 })
    await session.close()
    const codes = [...int8.graph.values.values()].filter((v) => v.sparse !== undefined && v.data?.dtype === 'int8')
    expect(codes.map((v) => shareOfZeros(int8, [v.id]) >= 0.5)).toEqual([true, true])
  })

  it('leaves small weights, and says so', async () => {
    const { made, refusals } = await prune(wide, { ratio: 0.5, minElements: 100 })
    expect(floats(made, 'W1')).toEqual(floats(wide, 'W1'))
    expect(refusals.map((r) => r.reason)).toEqual(['its 72 weights stay: fewer than 100'])
  })

  it.each([
    [{}, 'E_OPTION: prune-weights needs a ratio or a threshold'],
    [{ ratio: 0.5, threshold: 0.1 }, 'E_OPTION: prune-weights needs a ratio or a threshold'],
    [{ ratio: 1 }, 'E_OPTION: prune-weights: option ratio: must be less than 1'],
    [{ ratio: 0.9, pattern: '2:4' }, 'E_OPTION: 2:4 leaves half of the weights, whatever the ratio or threshold'],
    [{ threshold: 0.1, criterion: 'wanda' }, 'E_OPTION: a threshold is of magnitudes, not of wanda'],
    [{ ratio: 0.5, criterion: 'wanda' }, 'E_DATA: wanda needs samples'],
    [{ ratio: 0.5, criterion: 'taylor' }, 'E_DATA: taylor needs samples: gradients are those of a loss']
  ])('%j is refused', async (options, message) => {
    const said = await prune(wide, options).catch((e) =>
      e instanceof PareError ? `${e.code}: ${e.message}` : String(e)
    )
    expect(said).toBe(message)
  })
})
