import { describe, expect, it } from 'vitest'
import { difference, noise, outputsOf, randomFeeds, testContext } from '../../../test/compare.ts'
import { digits, initialised, network } from '../../../test/digits.ts'
import { rng } from '../../base/random.ts'
import { arrayDataset } from '../../data/arrays.ts'
import { edit } from '../../ir/edit.ts'
import { producer } from '../../ir/graph.ts'
import { tensor, toFloats } from '../../ir/tensor.ts'
import { model } from '../../ir/text.ts'
import { grams, type LayerInput, layerInput } from '../../observe/gram.ts'
import { costOf } from '../../ops/cost.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Model, Tensor, Value } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import { castFloat } from '../quantize/cast/cast-float.ts'
import { parameterCount } from '../train/learn.ts'
import type { Context } from '../types.ts'
import { factorize } from './factorize.ts'
import { products } from './matrices.ts'
import { familyOf, type Method, methods } from './methods.ts'
import { partsOf } from './moments.ts'
import { rebuild } from './rebuild.ts'
import { shapesOf, suits } from './splits.ts'

async function split(m: Model, options: Record<string, unknown>, data: Context['data'] = {}) {
  const plans: unknown[] = []
  const ctx = { ...testContext(), data, plan: (p: unknown) => plans.push(p) }
  const made = await factorize.run(m, parseOptions(factorize, options), ctx)
  return { made, layers: (plans[0] as { layers: Told[] } | undefined)?.layers ?? [], ...ctx }
}

interface Told {
  readonly node: string
  readonly method: string
  readonly ranks: readonly number[]
  readonly parameters: { readonly before: number; readonly after: number }
  readonly macs: { readonly before: number; readonly after: number }
  readonly error: number
}

/** The layer that makes `y`, at the largest ranks that a method has. */
async function atFullRank(m: Model, method: Method): Promise<Model> {
  const typed = inferShapes(m)
  const layer = layerInput(typed, producer(typed.graph, 'y') as never) as LayerInput
  const { inputs, outputs, kernel } = layer.linear
  const ranks = method === 'tucker' ? [inputs, outputs] : [Math.min(inputs, outputs) * kernel]
  const ctx = testContext()
  const tools = { products: products(ctx.engine), rng: rng(0) }
  const kernels = layer.linear.patch?.axes.map((a) => a.kernel) ?? []
  const weight = typed.graph.values.get(layer.weight)?.data as Tensor
  const samples = arrayDataset({ inputs: { x: randomFeeds(m, 3, 16).x as Tensor } })
  for await (const [, gram] of grams(typed, [layer], samples, ctx)) {
    const families = []
    for (const part of partsOf(layer, weight, gram)) families.push(await familyOf(method, part, kernels, 1000, tools))
    const explained = families.reduce((n, f) => n + f.explained(ranks), 0)
    expect(explained / families.reduce((n, f) => n + f.total, 0)).toBeCloseTo(1, 6)
    const groups = families.map((f) => f.factors(ranks))
    // What has fewer independent rows than asked for has the rank that it has.
    const shapes = shapesOf(method, layer, ranks).map((s, i, all) => ({
      ...s,
      ...(i < all.length - 1 ? { outputs: groups[0]?.layers[i]?.rows as number } : {}),
      ...(i > 0 ? { inputs: groups[0]?.layers[i - 1]?.rows as number } : {})
    }))
    return edit(typed, (d) => rebuild(d, d.producer('y') as never, layer, shapes, groups))
  }
  throw new Error('no samples')
}

const kinds: readonly (readonly [string, Model])[] = [
  ['Gemm', model`input x: f32[N,12]; y = Gemm(x, W: f32[12,20], B: f32[20]); output y`],
  [
    'Gemm turned, with factors',
    model`input x: f32[N,20]
y = Gemm(x, W: f32[12,20], B: f32[12], transB=1, alpha=0.5, beta=2.0)
output y`
  ],
  ['MatMul of sequences', model`input x: f32[N,5,12]; y = MatMul(x, W: f32[12,7]); output y`],
  ['Conv 1×1', model`input x: f32[N,12,6,6]; y = Conv(x, W: f32[20,12,1,1], B: f32[20]); output y`],
  [
    'Conv 3×3 with all that it has',
    model`input x: f32[N,4,11,13]
y = Conv(x, W: f32[6,4,3,3], B: f32[6], strides=[2,1], dilations=[1,2], pads=[1,0,2,3])
output y`
  ],
  [
    'Conv 5×3 in groups',
    model`input x: f32[N,8,9,9]
y = Conv(x, W: f32[12,4,5,3], group=2, pads=[2,1,2,1])
output y`
  ],
  [
    'Conv by SAME',
    model`input x: f32[N,4,9,9]
y = Conv(x, W: f32[6,4,3,3], B: f32[6], strides=[2,2], auto_pad="SAME_UPPER")
output y`
  ],
  ['Conv of one axis', model`input x: f32[N,6,15]; y = Conv(x, W: f32[8,6,4], B: f32[8], strides=[2]); output y`]
]

describe('factorize: at full rank every split is the layer', () => {
  for (const [name, given] of kinds)
    for (const method of methods) {
      const m = initialised(given, name)
      const layer = layerInput(inferShapes(m), producer(inferShapes(m).graph, 'y') as never)
      if (typeof layer === 'string' || !suits(method, layer)) continue
      it(`${name}: ${method}`, async () => {
        const made = await atFullRank(m, method)
        expect(made.graph.nodes.length).toBeGreaterThan(m.graph.nodes.length)
        const feeds = randomFeeds(m, 1, 3)
        expect(difference(await outputsOf(m, feeds), await outputsOf(made, feeds))).toBeLessThan(1e-4)
      })
    }
})

const mlp = model`
input x: f32[N,1,14,14]
a = Flatten(x)
b = Gemm(a, W1: f32[196,64], B1: f32[64])
c = Relu(b)
y = Gemm(c, W2: f32[64,32], B2: f32[32])
output y`

describe('factorize', () => {
  const calibration = digits(256, 'calibration')
  const other = digits(128, 'other')
  const m = initialised(mlp, 'mlp')

  it('by the outputs on samples beats by the weights, at equal rank, on other samples', async () => {
    const asked = { ratio: 0.5, scope: 'layer', align: 1 }
    const white = await split(m, asked, { calibration })
    const plain = await split(m, { ...asked, whiten: false }, { calibration })
    expect(white.layers.map((l) => l.ranks)).toEqual(plain.layers.map((l) => l.ranks))
    const [a, b] = [await noise(m, white.made, other), await noise(m, plain.made, other)]
    expect(a).toBeLessThan(b / 2)
    for (const made of [white.made, plain.made]) expect(parameterCount(made)).toBeLessThan(0.52 * parameterCount(m))
  })

  it.each([
    ['ratio', 0.5],
    ['macs', 0.5]
  ])('keeps to a bound of %s over all layers, and tells figures that are so', async (kind, value) => {
    const wide = network('bound')
    const { made, layers, refusals } = await split(wide, { [kind]: value, align: 1 }, { calibration })
    const count = kind === 'ratio' ? parameterCount : (of: Model) => costOf(of).total as number
    expect(count(made) / count(wide)).toBeLessThan(value + 0.03)
    expect(layers.length + refusals.length).toBe(5)
    const saved = layers.reduce((n, l) => n + l.parameters.before - l.parameters.after, 0)
    expect(parameterCount(wide) - parameterCount(made)).toBe(saved)
    const macs = layers.reduce((n, l) => n + l.macs.before - l.macs.after, 0)
    expect((costOf(wide).total as number) - (costOf(made).total as number)).toBe(macs)
  })

  it.each(methods)('tells the error that a layer has: %s', async (method) => {
    const conv = initialised(
      model`input x: f32[N,1,14,14]
h = Conv(x, V: f32[8,1,3,3], pads=[1,1,1,1])
r = Relu(h)
y = Conv(r, W: f32[12,8,3,3], B: f32[12], pads=[1,1,1,1], strides=[2,2])
output y`,
      'conv'
    )
    const asked = { macs: 0.6, scope: 'layer', align: 2, method, exclude: ['Conv_0'] }
    const { made, layers } = await split(conv, asked, { calibration })
    const [told] = layers
    expect(layers).toHaveLength(1)
    expect(told?.method).toBe(method)
    // Of the energy around the mean, which is less than all of it.
    const found = await noise(conv, made, calibration)
    expect(found).toBeLessThan(1.05 * (told?.error as number))
    expect(found).toBeGreaterThan(0)
  })

  it('keeps the energy that is asked for, and leaves what would not pay', async () => {
    const { made, layers, refusals } = await split(m, { energy: 0.9, align: 1 }, { calibration })
    expect(layers.length).toBeGreaterThan(0)
    for (const l of layers) {
      expect(l.error).toBeLessThanOrEqual(0.1)
      expect(l.parameters.after).toBeLessThan(l.parameters.before)
    }
    expect(parameterCount(made)).toBeLessThan(parameterCount(m))
    const exact = await split(m, { energy: 0.9999999, align: 1 })
    expect(exact.made).toBe(m)
    expect(exact.refusals).toHaveLength(2)
    expect(exact.refusals[0]?.reason).toMatch(/stays whole: svd of rank \d+ takes 0\.99 of its parameters/)
    expect(refusals.every((r) => r.reason.startsWith('stays whole'))).toBe(true)
  })

  it('finds a layer of low rank without data', async () => {
    const random = rng('low')
    const [u, v] = [196 * 4, 4 * 64].map((n) => Float64Array.from({ length: n }, () => random.normal() / 14))
    const w = Float32Array.from({ length: 196 * 64 }, (_, at) => {
      let sum = 0
      for (let r = 0; r < 4; r++)
        sum += (u?.[Math.floor(at / 64) * 4 + r] as number) * (v?.[r * 64 + (at % 64)] as number)
      return sum
    })
    const low = edit(m, (d) => d.set({ ...(d.value('W1') as Value), data: tensor('float32', [196, 64], w) }))
    const { made, layers } = await split(low, { energy: 0.99999, align: 4 })
    expect(layers.map((l) => l.ranks)).toEqual([[4]])
    expect(await noise(low, made, other)).toBeLessThan(1e-9)
  })

  it('is the same for the same seed', async () => {
    const runs = [await split(m, { ratio: 0.5 }, { calibration }), await split(m, { ratio: 0.5 }, { calibration })]
    const [a, b] = runs.map(({ made }) =>
      [...made.graph.values.values()].flatMap((v) => (v.data ? [...toFloats(v.data)] : []))
    )
    expect(a).toEqual(b)
  })

  it('leaves what it cannot split, with the reason', async () => {
    const shared = model`
input x: f32[N,4,8,8]
a = Conv(x, W: f32[4,4,3,3], pads=[1,1,1,1])
b = Conv(a, W, pads=[1,1,1,1])
c = Conv(b, D: f32[4,1,3,3], group=4, pads=[1,1,1,1])
y = ConvTranspose(c, T: f32[4,4,2,2])
output y`
    const { made, refusals } = await split(initialised(shared, 's'), { energy: 0.5 })
    expect(made.graph.nodes).toHaveLength(4)
    expect(refusals.map((r) => r.reason)).toEqual([
      'stays whole: its weight is read elsewhere too',
      'stays whole: its weight is read elsewhere too',
      'stays whole: every channel has a kernel of its own',
      'stays whole: it is a transposed convolution'
    ])
  })

  it.each([
    [{}, 'needs one bound'],
    [{ ratio: 0.5, macs: 0.5 }, 'was given 2'],
    [{ ratio: 1 }, 'ratio'],
    [{ ratio: 0.001 }, 'cannot be reached'],
    [{ error: 0.1 }, 'needs samples']
  ])('refuses %j', async (options, message) => {
    await expect(split(m, options)).rejects.toThrow(message)
  })

  it('refuses what is rounded, and leaves half precision', async () => {
    const half = await castFloat.run(m, parseOptions(castFloat, { type: 'float16', compute: true }), testContext())
    const { made, refusals } = await split(half, { ratio: 0.5 }).catch(() => ({ made: half, refusals: [] }))
    expect(made).toBe(half)
    expect(refusals.every((r) => r.reason.includes('float16'))).toBe(true)
  })
})

describe('ranks by name', () => {
  it('are those of the layers, whatever they cost, and all others stay whole', async () => {
    const m = network('ranks')
    const named = m.graph.nodes.filter((n) => n.op === 'Conv').map((n) => n.name)
    const [, second = '', third = ''] = named
    const { layers } = await split(m, { ranks: { [second]: 2, [third]: 7 } })
    expect(layers.map((l) => [l.node, l.method, l.ranks])).toEqual([
      [second, 'svd', [2]],
      [third, 'svd', [7]]
    ])
    const svd = await split(m, { method: 'svd', energy: 0.01, include: [second], align: 2 })
    expect(layers[0]?.error).toBe(svd.layers.find((l) => l.ranks[0] === 2)?.error)
  })

  it('are refused for layers that are not there, for ranks that are none, and beside another bound', async () => {
    const m = network('ranks')
    await expect(split(m, { ranks: { none: 2 } })).rejects.toMatchObject({ code: 'E_OPTION' })
    const [, second = ''] = m.graph.nodes.filter((n) => n.op === 'Conv').map((n) => n.name)
    await expect(split(m, { ranks: { [second]: 8 } })).rejects.toMatchObject({ code: 'E_OPTION' })
    await expect(split(m, { ranks: { [second]: 2 }, ratio: 0.5 })).rejects.toThrow(/one bound, and was given 2/)
  })
})
