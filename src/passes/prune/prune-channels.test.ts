import { describe, expect, it } from 'vitest'
import { noise, normalData, testContext } from '../../../test/compare.ts'
import { digits, initialised, network } from '../../../test/digits.ts'
import { PareError } from '../../base/errors.ts'
import { metricFor } from '../../data/metrics.ts'
import { edit } from '../../ir/edit.ts'
import { tensor, toNumbers } from '../../ir/tensor.ts'
import { model } from '../../ir/text.ts'
import { measurer } from '../../measure/beside.ts'
import { costOf } from '../../ops/cost.ts'
import type { Dataset, Model } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import type { Context } from '../types.ts'
import { criteria } from './importance.ts'
import { pruneChannels } from './prune-channels.ts'

interface Said {
  readonly groups: readonly { readonly name: string; readonly channels: number; readonly kept: number }[]
}

/** The pass on the real engine; what it planned beside the model. */
async function prune(m: Model, options: Record<string, unknown>, data: Context['data'] = {}) {
  const plans: unknown[] = []
  const ctx = { ...testContext(), data, plan: (p: unknown) => void plans.push(p) }
  const made = await pruneChannels.run(m, parseOptions(pruneChannels, options), ctx)
  return { made, groups: (plans[0] as Said | undefined)?.groups ?? [], notes: ctx.notes, refusals: ctx.refusals }
}

const unlabelled = (d: Dataset): Dataset => ({
  size: d.size,
  labelled: false,
  async *batches(o) {
    for await (const { labels: _, ...batch } of d.batches(o)) yield batch
  }
})

const shapeOf = (m: Model, id: string): string => `${m.graph.values.get(id)?.data?.shape}`

describe('prune-channels', () => {
  const wide = network('channels')
  const data = { calibration: digits(64, 'calibration'), train: digits(64, 'train') }

  it('takes channels out until the bound holds, in multiples of what is asked', async () => {
    const { made, groups } = await prune(wide, { macs: 0.7, align: 2, criterion: 'l2' })
    expect(groups.length).toBe(2)
    for (const g of groups) expect(g.kept % 2).toBe(0)
    const [before, after] = [wide, made].map((m) => costOf(m).total as number) as [number, number]
    expect(after / before).toBeLessThanOrEqual(0.7)
    expect(after / before).toBeGreaterThan(0.4)
  })

  it('takes the same share of every group with scope layer, and the least important of all otherwise', async () => {
    const layer = await prune(wide, { ratio: 0.5, align: 1, criterion: 'l1', scope: 'layer' })
    expect(layer.groups.map((g) => g.kept)).toEqual([4, 4])
    expect(shapeOf(layer.made, 'W5')).toBe('36,10')
    const global = await prune(wide, { ratio: 0.5, align: 1, criterion: 'l1', leastKept: 0.01 })
    expect(global.groups.reduce((n, g) => n + g.kept, 0)).toBe(8)
  })

  it.each(criteria)(
    '%s chooses channels of a model with normalizations, the same ones each time',
    async (criterion) => {
      const m = initialised(
        model`
input x: f32[N,1,14,14]
a = Conv(x, W1: f32[8,1,3,3], _, pads=[1,1,1,1])
b = BatchNormalization(a, G: f32[8], H: f32[8], M: f32[8], V: f32[8])
c = Relu(b)
d = MaxPool(c, kernel_shape=[7,7], strides=[7,7])
e = Flatten(d)
logits = Gemm(e, W2: f32[32,10], B2: f32[10])
output logits`,
        'normal'
      )
      const [one, two] = await Promise.all([0, 1].map(() => prune(m, { ratio: 0.25, align: 1, criterion }, data)))
      expect(one?.groups).toEqual([{ name: 'a', channels: 8, kept: 6 }])
      expect(toNumbers(one?.made.graph.values.get('W1')?.data as never)).toEqual(
        toNumbers(two?.made.graph.values.get('W1')?.data as never)
      )
    }
  )

  it('bn-scale takes the channels of the smallest scales', async () => {
    const m = model`
input x: f32[N,3,4,4]
const G: f32[4] = 0.5, -0.1, 2, 0.01
a = Conv(x, W1: f32[4,3,1,1])
b = BatchNormalization(a, G, H: f32[4], M: f32[4], V: f32[4])
y = Conv(b, W2: f32[2,4,1,1])
output y`
    const { made } = await prune(m, { ratio: 0.5, align: 1, criterion: 'bn-scale' })
    expect([...toNumbers(made.graph.values.get('G')?.data as never)]).toEqual([0.5, 2])
  })

  it('taylor takes the channels that change the loss least, also by the model’s own classes', async () => {
    const dead = edit(wide, (d) => {
      // Channel 3 of h = Conv(g, W4) + … is read by the rest of the trunk; one of c is read by W3 alone.
      const v = d.value('W3')
      if (v?.data) {
        const values = Float32Array.from(toNumbers(v.data) as ArrayLike<number>)
        for (let o = 0; o < 8; o++) values.fill(0, (o * 8 + 5) * 9, (o * 8 + 6) * 9)
        d.set({ ...v, data: tensor('float32', v.data.shape, values) })
      }
    })
    const own = { train: unlabelled(data.train) }
    const { made, notes } = await prune(dead, { ratio: 0.06, align: 1, criterion: 'taylor', repair: 'none' }, own)
    expect(shapeOf(made, 'W3')).toBe('8,7,3,3')
    expect(await noise(dead, made, data.calibration)).toBeLessThan(1e-10)
    expect(notes.join()).toContain('the model’s own classes')
  })

  it('repairs without labels: most of the error goes with least squares, some with statistics', async () => {
    const calibration = unlabelled(digits(256, 'repair'))
    const options = { ratio: 0.4, align: 1, criterion: 'activation' }
    const errors = await Promise.all(
      ['none', 'statistics', 'weights'].map(async (repair) => {
        const { made } = await prune(wide, { ...options, repair }, { calibration })
        return noise(wide, made, digits(64, 'other'))
      })
    )
    const [none, statistics, weights] = errors as [number, number, number]
    expect(statistics).toBeLessThan(none)
    expect(weights).toBeLessThan(none / 2)
  })

  it('measures statistics of normalizations anew', async () => {
    const m = model`
input x: f32[N,3,4,4]
const M: f32[2] = 0, 0
const V: f32[2] = 1, 1
a = Conv(x, W1: f32[4,3,1,1], B1: f32[4])
b = Relu(a)
c = Conv(b, W2: f32[2,4,1,1])
y = BatchNormalization(c, G: f32[2], H: f32[2], M, V)
output y`
    const calibration = normalData(m, 64)
    const { made } = await prune(m, { ratio: 0.25, align: 1, criterion: 'l2', repair: 'statistics' }, { calibration })
    const [mean, variance] = ['M', 'V'].map((id) => [...toNumbers(made.graph.values.get(id)?.data as never)])
    const session = await testContext().engine.open(made, { outputs: ['c'] })
    for await (const { inputs } of calibration.batches({ batch: 64 })) {
      const values = Array.from(toNumbers((await session.run(inputs))['c'] as never), Number)
      for (const c of [0, 1]) {
        const own = values.filter((_, k) => Math.floor(k / 16) % 2 === c)
        const average = own.reduce((a, b) => a + b, 0) / own.length
        expect(mean?.[c]).toBeCloseTo(average, 4)
        expect(variance?.[c]).toBeCloseTo(own.reduce((a, b) => a + (b - average) ** 2, 0) / own.length, 4)
      }
    }
    await session.close()
  })

  it('takes out as much as the drop allows, and no more', async () => {
    const { engine, rng, ...ctx } = testContext()
    const measure = measurer({ engine, parts: [digits(200, 'selection')], metric: metricFor('agreement'), rng })
    const dropOf = async (maxDrop: number): Promise<readonly [drop: number, macs: number]> => {
      const options = parseOptions(pruneChannels, { maxDrop, align: 1, criterion: 'l2', repair: 'none' })
      const made = await pruneChannels.run(wide, options, { ...ctx, engine, rng, measure })
      return [(await measure(made, { beside: wide })).drop.value, costOf(made).total as number]
    }
    const [little, much] = [await dropOf(0.1), await dropOf(0.6)]
    expect(little[0]).toBeLessThanOrEqual(0.1)
    expect(much[0]).toBeLessThanOrEqual(0.6)
    expect(much[1]).toBeLessThan(little[1])
  })

  it('takes heads of attention out', async () => {
    const attention = model`
input x: f32[N,5,4]
const s: i64[4] = 0, 0, 4, 4
const f: i64[3] = 0, 0, 16
q = MatMul(x, WQ: f32[4,16])
k = MatMul(x, WK: f32[4,16])
v = MatMul(x, WV: f32[4,16])
q4 = Reshape(q, s)
k4 = Reshape(k, s)
v4 = Reshape(v, s)
qt = Transpose(q4, perm=[0,2,1,3])
kt = Transpose(k4, perm=[0,2,3,1])
vt = Transpose(v4, perm=[0,2,1,3])
w = MatMul(qt, kt)
p = Softmax(w, axis=-1)
o = MatMul(p, vt)
ot = Transpose(o, perm=[0,2,1,3])
m = Reshape(ot, f)
y = MatMul(m, WO: f32[16,4])
output y`
    const calibration = normalData(attention, 64)
    const { made, groups } = await prune(attention, { ratio: 0.25, criterion: 'activation', align: 4 }, { calibration })
    expect(groups).toEqual([{ name: 'q', channels: 4, kept: 3 }])
    expect(['WQ', 'WK', 'WV', 'WO'].map((id) => shapeOf(made, id))).toEqual(['4,12', '4,12', '4,12', '12,4'])
    expect(await noise(attention, made, calibration)).toBeLessThan(0.5)
  })
})

describe('what prune-channels refuses', () => {
  const wide = network('refused')
  const fails = async (options: Record<string, unknown>, m = wide): Promise<string> => {
    const before = JSON.stringify([...m.graph.values.keys()])
    try {
      await prune(m, options)
    } catch (error) {
      if (!(error instanceof PareError)) throw error
      expect(JSON.stringify([...m.graph.values.keys()])).toBe(before)
      return `${error.code}: ${error.message}`
    }
    return 'nothing'
  }

  it.each([
    [{}, 'E_OPTION: prune-channels needs one bound, and was given 0'],
    [{ ratio: 0.5, macs: 0.5 }, 'E_OPTION: prune-channels needs one bound, and was given 2'],
    [{ ratio: 1 }, 'E_OPTION: prune-channels: option ratio: must be less than 1'],
    [{ ratio: 0.5, align: 16 }, 'E_UNSUPPORTED: no group of channels is wider than 16'],
    [{ ratio: 0.5, align: 1, criterion: 'taylor' }, 'E_DATA: taylor needs samples: gradients are those of a loss'],
    [{ ratio: 0.5, align: 1, criterion: 'activation' }, 'E_DATA: activation needs samples'],
    [{ ratio: 0.5, align: 1, repair: 'weights', criterion: 'l2' }, 'E_DATA: a repair needs samples'],
    [{ maxDrop: 0.1, align: 1, criterion: 'l2' }, 'E_DATA: maxDrop needs samples to measure on'],
    [{ macs: 0.01, align: 4, criterion: 'l2' }, 'E_UNSUPPORTED: macs of 0.01 cannot be reached'],
    [
      { ratio: 0.5, align: 1, criterion: 'bn-scale' },
      'E_UNSUPPORTED: bn-scale tells nothing of the channels of this model'
    ]
  ])('%j', async (options, message) => {
    expect(await fails(options)).toBe(message)
  })

  it('a model whose channels are all its inputs and outputs', async () => {
    const m = model`
input x: f32[N,8]
y = MatMul(x, W: f32[8,16])
output y`
    expect(await fails({ ratio: 0.5 }, m)).toBe('E_UNSUPPORTED: no channels of this model can go')
  })

  it('a model whose layers are in branches, which it names', async () => {
    const m = model`
input x: f32[N,8]
input fast: bool[]
y = If(fast, then_branch={
  h = MatMul(x, W: f32[8,16])
  a = MatMul(h, V: f32[16,8])
  output a
}, else_branch={
  b = Relu(x)
  output b
})
output y`
    await expect(prune(m, { ratio: 0.5 })).rejects.toMatchObject({
      facts: {
        'what holds them': expect.stringContaining('2 layers are in branches or loops, where none are taken out')
      }
    })
  })

  it('more than a group can lose: as many stay as are asked for', async () => {
    const { groups } = await prune(wide, { ratio: 0.99, align: 1, criterion: 'l2', leastKept: 0.25 })
    expect(groups.map((g) => g.kept)).toEqual([2, 2])
  })
})
