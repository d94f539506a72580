import { describe, expect, it } from 'vitest'
import { difference, noise, outputsOf, testContext } from '../../../test/compare.ts'
import { digits, initialised, network } from '../../../test/digits.ts'
import { bertFeeds, smallBert, smallGpt } from '../../../test/transformer-models.ts'
import { PareError } from '../../base/errors.ts'
import { arrayDataset } from '../../data/arrays.ts'
import { metricFor } from '../../data/metrics.ts'
import { bind } from '../../ir/bind.ts'
import { check } from '../../ir/check.ts'
import { equalTensors } from '../../ir/tensor.ts'
import { model } from '../../ir/text.ts'
import { measurer } from '../../measure/beside.ts'
import { costOf } from '../../ops/cost.ts'
import type { Model } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import { simplify } from '../simplify/index.ts'
import type { Context, Recipe } from '../types.ts'
import { findBlocks } from './blocks.ts'
import { pruneBlocks } from './prune-blocks.ts'

interface Said {
  readonly blocks: readonly {
    readonly name: string
    readonly harm: number
    readonly macs: number
    readonly bytes: number
    readonly leftOut?: number
  }[]
  readonly harm: { readonly bare: number; readonly repaired: number }
}

const calibration = digits(128, 'calibration')

/** The pass on the real engine; what it planned beside the model. */
async function prune(m: Model, options: Record<string, unknown>, more: Partial<Context> = {}) {
  const plans: unknown[] = []
  const ctx = { ...testContext(), data: { calibration }, ...more, plan: (p: unknown) => void plans.push(p) }
  const made = await pruneBlocks.run(m, parseOptions(pruneBlocks, options), ctx)
  return { made, said: plans[0] as Said, notes: ctx.notes, refusals: ctx.refusals }
}

/** The name of the node that makes a value. */
const maker = (m: Model, id: string): string => m.graph.nodes.find((n) => n.outputs.includes(id))?.name ?? ''

const opsOf = (m: Model): readonly string[] => m.graph.nodes.map((n) => n.op)

/** Three blocks of one size, and one that halves the picture. */
const deep = initialised(
  model`
input x: f32[N,1,14,14]
a = Conv(x, W1: f32[8,1,3,3], B1: f32[8], pads=[1,1,1,1])
r0 = Relu(a)
c1 = Conv(r0, W2: f32[8,8,3,3], B2: f32[8], pads=[1,1,1,1])
s1 = Add(c1, r0)
r1 = Relu(s1)
c2 = Conv(r1, W3: f32[8,8,3,3], B3: f32[8], pads=[1,1,1,1])
s2 = Add(r1, c2)
r2 = Relu(s2)
c3 = Conv(r2, W4: f32[16,8,3,3], B4: f32[16], strides=[2,2], pads=[1,1,1,1])
p3 = Conv(r2, W5: f32[16,8,1,1], B5: f32[16], strides=[2,2])
s3 = Add(c3, p3)
r3 = Relu(s3)
c4 = Conv(r3, W6: f32[16,16,3,3], B6: f32[16], pads=[1,1,1,1])
s4 = Add(c4, r3)
r4 = Relu(s4)
g = GlobalAveragePool(r4)
f = Flatten(g)
logits = Gemm(f, W7: f32[16,10], B7: f32[10])
output logits`,
  'deep'
)

describe('blocks between residual joins', () => {
  it('are found where a value skips what is made of it, with what ends them', () => {
    const { blocks, held } = findBlocks(network('blocks'))
    expect(blocks.map((b) => [b.skip, b.output, [...b.branch].map((n) => n.op), b.tail.map((n) => n.op)])).toEqual([
      ['b', 'g', ['Conv', 'Relu', 'Conv'], ['Relu']],
      ['g', 'j', ['Conv'], ['Relu']]
    ])
    expect(held).toEqual([])
  })

  it('are none where something else reads what lies between', () => {
    const { blocks, held } = findBlocks(model`
input x: f32[N,4]
a = MatMul(x, V: f32[4,4])
b = Add(a, x)
e = MatMul(b, W: f32[4,4])
f = Add(e, b)
g = Add(f, e)
output g, a`)
    expect(blocks).toEqual([])
    expect(held.map((h) => h.add.outputs[0])).toEqual(['b', 'f'])
  })

  it('may read what is made elsewhere, as a mask', () => {
    const { blocks } = findBlocks(model`
input x: f32[N,4]
input mask: f32[N,4]
a = Neg(mask)
b = Mul(x, a)
c = MatMul(b, V: f32[4,4])
d = Add(c, x)
t = Tanh(d)
e = MatMul(t, W: f32[4,4])
m = Mul(e, a)
f = Add(m, d)
output f`)
    expect(blocks.map((b) => [b.skip, b.output, [...b.branch].map((n) => n.op)])).toEqual([
      ['x', 'd', ['MatMul', 'Mul']],
      ['d', 'f', ['Mul', 'MatMul', 'Tanh']]
    ])
  })
})

describe('prune-blocks', () => {
  it('leaves out the block that the outputs need least, and tells of all', async () => {
    const { made, said, notes, refusals } = await prune(deep, { count: 1, repair: 'none' })
    check(made)
    expect(said.blocks.map(({ name, macs, bytes }) => [name, macs, bytes])).toEqual([
      [maker(deep, 's1'), 196 * 576, 4 * (576 + 8)],
      [maker(deep, 's2'), 196 * 576, 4 * (576 + 8)],
      [maker(deep, 's4'), 49 * 2304, 4 * (2304 + 16)]
    ])
    const least = said.blocks.reduce((a, b) => (a.harm < b.harm ? a : b))
    expect(said.blocks.filter((b) => b.leftOut !== undefined)).toEqual([{ ...least, leftOut: 1 }])
    expect(await noise(deep, made, calibration)).toBeCloseTo(least.harm, 5)
    expect(opsOf(made).filter((op) => op === 'Relu').length).toBe(4)
    expect(refusals).toEqual([
      {
        node: maker(deep, 's3'),
        op: 'Add',
        reason: 'its block makes [N, 16, 7, 7] of [N, 8, 14, 14], so that nothing fits in its place'
      }
    ])
    expect(notes.join()).toContain('1 of 3 blocks are left out')
  })

  it('repairs what is left without labels, and gives the same bytes each time', async () => {
    const errors = await Promise.all(
      ['none', 'statistics', 'weights'].map(async (repair) => {
        const { made } = await prune(deep, { ratio: 0.6, repair })
        return noise(deep, made, digits(64, 'other'))
      })
    )
    const [none, statistics, weights] = errors as [number, number, number]
    expect(statistics).toBeLessThan(none)
    expect(weights).toBeLessThan(none / 2)
    const [one, two] = await Promise.all([0, 1].map(() => prune(deep, { ratio: 0.6 })))
    for (const v of one?.made.graph.values.values() ?? [])
      if (v.data) expect(equalTensors(v.data, two?.made.graph.values.get(v.id)?.data as never)).toBe(true)
  })

  it('goes on until all bounds hold', async () => {
    const { said } = await prune(deep, { macs: 0.9, parameters: 0.6, repair: 'none' })
    expect(said.blocks.filter((b) => b.leftOut !== undefined).map((b) => b.name)).toContain(maker(deep, 's4'))
    const one = await prune(deep, { parameters: 0.65, repair: 'none' })
    expect(one.said.blocks.filter((b) => b.leftOut !== undefined).map((b) => b.name)).toEqual([maker(deep, 's4')])
    const macs = costOf(one.made).total as number
    expect(macs).toBe((costOf(deep).total as number) - 49 * 2304)
  })

  it('leaves out as many as the drop allows, and says which in the recipe', async () => {
    const { engine, rng, ...ctx } = testContext()
    const measure = measurer({ engine, parts: [digits(200, 'selection')], metric: metricFor('agreement'), rng })
    const replayed: Recipe[] = []
    const more = { ...ctx, data: { calibration }, engine, rng, measure, replay: (r: Recipe) => void replayed.push(r) }
    const { made, said } = await prune(deep, { maxDrop: 0.5 }, more)
    expect((await measure(made, { beside: deep })).drop.value).toBeLessThanOrEqual(0.5)
    const gone = said.blocks.flatMap((b) => (b.leftOut === undefined ? [] : [b.name]))
    expect(gone.length).toBeGreaterThan(0)
    expect(replayed[0]?.[0]?.[1]).toEqual({ blocks: expect.arrayContaining(gone), repair: 'auto', samples: 256 })
    const again = await prune(deep, replayed[0]?.[0]?.[1] as Record<string, unknown>)
    expect(opsOf(again.made)).toEqual(opsOf(made))
  })

  it('leaves layers of a transformer out, spelled-out normalizations and all', async () => {
    const { ids, bert } = texts()
    const two = initialised(bert(2), 'bert')
    const { blocks, held } = findBlocks(await simplified(two))
    expect(blocks.map((b) => b.output)).toEqual(['l0n', 'x1', 'l1n', expect.any(String)])
    expect(blocks.map((b) => b.tail.map((n) => n.op).join())).toEqual(
      Array.from({ length: 4 }, () => 'ReduceMean,Sub,Pow,ReduceMean,Add,Sqrt,Div,Mul,Add')
    )
    expect(held).toEqual([])
    const names = ['l1a', 'l1b'].map((id) => maker(two, id))
    const { made, said } = await prune(two, { blocks: names, repair: 'none' }, { data: { calibration: ids } })
    expect(said.blocks.map((b) => b.name).slice(2)).toEqual(names)
    // Left is what a model of one layer with the same weights computes.
    const one = withWeightsOf(bert(1), two)
    expect(difference(await outputsOf(one, bertFeeds()), await outputsOf(made, bertFeeds()))).toBeLessThan(1e-6)
    const half = { ratio: 0.5, samples: 16 }
    const [bare, repaired] = await Promise.all(
      ['none', 'weights'].map((repair) => prune(two, { ...half, repair }, { data: { calibration: ids } }))
    )
    expect(repaired?.said.harm.repaired).toBeLessThan(bare?.said.harm.repaired as number)
  })

  it('leaves a block whose inside is an output, as keys and values of the past', async () => {
    const sizes = { batch: 2, sequence: 3, past: 4, total: 7 }
    const { blocks, held } = findBlocks(await simplified(bind(smallGpt(), sizes)))
    expect(blocks.map((b) => b.output)).toEqual(['x1', 'x2'])
    expect(held.map((h) => h.add.outputs[0])).toEqual(['l0a', 'l1a'])
  })
})

const simplified = (m: Model): Promise<Model> =>
  simplify.run(m, parseOptions(simplify, { merge: false }), testContext())

/** Texts of three words, and the model that reads them. */
function texts() {
  const feeds = bertFeeds()
  const inputs = Object.fromEntries(
    Object.entries(feeds).map(([id, t]) => [id, { ...t, bytes: repeated(t.bytes.slice(), 8), shape: [24, 3] }])
  )
  return { ids: arrayDataset({ inputs }), bert: (layers: number) => smallBert({ layers }) }
}

const repeated = (bytes: Uint8Array, times: number): Uint8Array => {
  const out = new Uint8Array(bytes.length * times)
  for (let i = 0; i < times; i++) out.set(bytes, i * bytes.length)
  return out
}

function withWeightsOf(m: Model, other: Model): Model {
  const values = new Map(m.graph.values)
  for (const [id, v] of values) {
    const data = v.data && other.graph.values.get(id)?.data
    if (data) values.set(id, { ...v, data })
  }
  return { ...m, graph: { ...m.graph, values } }
}

describe('what prune-blocks refuses', () => {
  const fails = async (options: Record<string, unknown>, m = deep, data: Context['data'] = { calibration }) => {
    try {
      await prune(m, options, { data })
    } catch (error) {
      if (!(error instanceof PareError)) throw error
      return `${error.code}: ${error.message}`
    }
    return 'nothing'
  }

  it.each([
    [{}, 'E_OPTION: prune-blocks needs a bound'],
    [
      { macs: 0.5, maxDrop: 0.1 },
      'E_OPTION: prune-blocks takes bounds on what is left, a drop, or names of blocks, and not two of these'
    ],
    [{ ratio: 1 }, 'E_OPTION: prune-blocks: option ratio: must be less than 1'],
    [{ macs: 0.1 }, 'E_UNSUPPORTED: macs cannot be reached'],
    [{ count: 4 }, 'E_UNSUPPORTED: count cannot be reached'],
    [{ maxDrop: 0.1 }, 'E_DATA: maxDrop needs samples to measure on'],
    [{ blocks: [maker(deep, 's3')] }, `E_OPTION: there is no block that ${maker(deep, 's3')} joins`]
  ])('%j', async (options, message) => {
    expect(await fails(options)).toBe(message)
  })

  it('to choose without samples, and a model without joins', async () => {
    expect(await fails({ count: 1 }, deep, {})).toBe(
      'E_DATA: prune-blocks measures on samples what each block is good for'
    )
    const plain = model`
input x: f32[N,1,14,14]
f = Flatten(x)
y = Gemm(f, W: f32[196,10], B: f32[10])
output y`
    expect(await fails({ count: 1 }, plain)).toBe('E_UNSUPPORTED: no block of this model can be left out')
  })

  it('to leave an input without anyone who reads it', async () => {
    const m = model`
input x: f32[N,4]
input z: f32[N,4]
m = Mul(x, z)
a = MatMul(m, W: f32[4,4])
b = Add(a, x)
output b`
    expect(await fails({ count: 1 }, m)).toBe('E_UNSUPPORTED: no block of this model can be left out')
  })
})
