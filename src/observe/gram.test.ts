import { describe, expect, it } from 'vitest'
import { normalData, testContext } from '../../test/compare.ts'
import { rng } from '../base/random.ts'
import { edit } from '../ir/edit.ts'
import { constant } from '../ir/graph.ts'
import { tensor, toFloats } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import { nodeRunner } from '../node/runner.ts'
import { inferShapes } from '../ops/infer.ts'
import type { Dataset, Model, Tensor } from '../types.ts'
import { type Gram, grams, type LayerInput, layerInput } from './gram.ts'

const samples = 40

const dataFor = (m: Model): Dataset => normalData(m, samples, { mean: 0.3 })

const layersOf = (m: Model): LayerInput[] =>
  inferShapes(m).graph.nodes.flatMap((n) => {
    const l = layerInput(inferShapes(m), n)
    return typeof l === 'string' ? [] : [l]
  })

async function collect(m: Model, reference?: Model): Promise<[LayerInput, Gram][]> {
  const out: [LayerInput, Gram][] = []
  for await (const [l, g] of grams(m, layersOf(m), dataFor(m), testContext(), reference)) out.push([l, g])
  return out
}

/** A layer with its weight moved by a seeded error. */
function disturbed(m: Model, weight: string): Model {
  const random = rng('error')
  return edit(m, (d) => {
    const v = d.value(weight)
    if (!v?.data) throw new Error('no weight')
    const values = Float32Array.from(toFloats(v.data), (x) => x + 0.1 * random.normal())
    d.set({ ...v, data: tensor('float32', v.data.shape, values) })
  })
}

/** Mean over rows of |(Ŵ − W)x|², summed over outputs, by the moments. */
function errorByMoments(l: LayerInput, g: Gram, a: Tensor, b: Tensor): number {
  const [x, y] = [toFloats(a), toFloats(b)]
  let sum = 0
  for (let o = 0; o < l.outputs; o++) {
    const group = Math.floor((o * l.groups) / l.outputs)
    const e = Float64Array.from({ length: l.k }, (_, k) => {
      const at = o * l.outStride + k * l.inStride
      return (y[at] as number) - (x[at] as number)
    })
    for (let i = 0; i < l.k; i++)
      for (let j = 0; j < l.k; j++)
        sum += (e[i] as number) * (e[j] as number) * (g.h[(group * l.k + i) * l.k + j] as number)
  }
  return sum
}

/** The same by running both models; `positions`: rows of one sample. */
async function errorByRunning(m: Model, other: Model, positions: number): Promise<number> {
  const [s, t] = [await nodeRunner().open(m), await nodeRunner().open(other)]
  let sum = 0
  for await (const { inputs } of dataFor(m).batches({ batch: samples })) {
    const [x, y] = [Object.values(await s.run(inputs))[0], Object.values(await t.run(inputs))[0]]
    if (!x || !y) throw new Error('no output')
    const [u, v] = [toFloats(x), toFloats(y)]
    for (let i = 0; i < u.length; i++) sum += ((u[i] as number) - (v[i] as number)) ** 2
  }
  await s.close()
  await t.close()
  return sum / (samples * positions)
}

/** A value over all samples, as vectors of its 4 channels. */
async function valuesOf(m: Model, id: string): Promise<number[][]> {
  const session = await nodeRunner().open(m, { outputs: [id] })
  const out: number[][] = []
  for await (const { inputs } of dataFor(m).batches({ batch: samples })) {
    const t = (await session.run(inputs))[id] as Tensor
    const values = toFloats(t)
    const isImage = t.shape.length === 4
    const inner = isImage ? 36 : 1
    for (let n = 0; n < values.length / (4 * inner); n++)
      for (let i = 0; i < inner; i++) out.push([0, 1, 2, 3].map((c) => values[n * 4 * inner + c * inner + i] as number))
  }
  await session.close()
  return out
}

/** float32 products summed over some thousand rows. */
const SUMS = 1e-4

const cases: readonly [string, Model, number][] = [
  ['MatMul', model`input x: f32[N,5,12]\ny = MatMul(x, W: f32[12,7])\noutput y`, 5],
  ['Gemm, transB', model`input x: f32[N,12]\ny = Gemm(x, W: f32[7,12], transB=1)\noutput y`, 1],
  ['1×1 Conv', model`input x: f32[N,6,5,5]\ny = Conv(x, W: f32[4,6,1,1])\noutput y`, 25],
  ['padded Conv', model`input x: f32[N,3,8,8]\ny = Conv(x, W: f32[4,3,3,3], pads=[1,1,1,1])\noutput y`, 64],
  [
    'strided, dilated, uneven Conv',
    model`input x: f32[N,3,11,9]\ny = Conv(x, W: f32[4,3,3,2], strides=[2,3], dilations=[2,1], pads=[1,0,2,1])\noutput y`,
    5 * 3
  ],
  ['strided 1×1 Conv', model`input x: f32[N,3,7,6]\ny = Conv(x, W: f32[4,3,1,1], strides=[2,2])\noutput y`, 12],
  ['grouped Conv', model`input x: f32[N,4,6,6]\ny = Conv(x, W: f32[6,2,3,3], group=2)\noutput y`, 16],
  ['depthwise Conv', model`input x: f32[N,4,6,6]\ny = Conv(x, W: f32[4,1,3,3], group=4)\noutput y`, 16],
  [
    'Conv padded by rule',
    model`input x: f32[N,3,7,8]\ny = Conv(x, W: f32[4,3,3,3], strides=[2,2], auto_pad="SAME_UPPER")\noutput y`,
    16
  ],
  ['Conv in one dimension', model`input x: f32[N,3,10]\ny = Conv(x, W: f32[4,3,5], pads=[2,2])\noutput y`, 10]
]

describe('grams', () => {
  it.each(cases)('tell the error of changed weights of a %s', async (_, m, positions) => {
    const other = disturbed(m, 'W')
    const [found] = await collect(m)
    if (!found) throw new Error('no layer')
    const [l, g] = found
    expect(g.rows).toBe(samples * positions)
    const [a, b] = [constant(m.graph, 'W'), constant(other.graph, 'W')]
    const told = errorByMoments(l, g, a as Tensor, b as Tensor)
    const real = await errorByRunning(m, other, positions)
    expect(Math.abs(told / real - 1)).toBeLessThan(SUMS)
  })
  it.each([
    [
      'Conv',
      model`input x: f32[N,3,6,6]\ns = Conv(x, V: f32[4,3,1,1])\nh = Conv(s, W: f32[4,4,3,3], pads=[1,1,1,1])\ny = Add(h, s)\noutput y`,
      9
    ],
    [
      'MatMul',
      model`input x: f32[N,5,3]\ns = MatMul(x, V: f32[3,4])\nh = MatMul(s, W: f32[4,4])\ny = Add(h, s)\noutput y`,
      1
    ]
  ] as const)('tell how what is added to the output of a %s is off', async (_, m, kernel) => {
    const other = disturbed(m, 'V')
    const layer = layersOf(m).find((l) => l.weight === 'W') as LayerInput
    const [was, is] = [await valuesOf(m, 's'), await valuesOf(other, 's')]
    for await (const [, { joined, rows }] of grams(other, [{ ...layer, joins: 's' }], dataFor(m), testContext(), m)) {
      expect(was.length).toBe(rows)
      for (let o = 0; o < 4; o++) {
        const off = was.map((v, r) => (v[o] as number) - (is[r]?.[o] as number))
        expect(joined?.mean[o]).toBeCloseTo(off.reduce((a, b) => a + b, 0) / rows, 4)
        for (let c = 0; c < 4; c++) {
          const mean = off.reduce((sum, d, r) => sum + d * (is[r]?.[c] as number), 0) / rows
          // The middle of the kernel lies on the position itself.
          expect(joined?.h[o * 4 * kernel + c * kernel + Math.floor(kernel / 2)]).toBeCloseTo(mean, 4)
        }
      }
    }
  })

  it('give the same moments to layers that read the same rows', async () => {
    const m = model`
      input x: f32[N,12]
      a = MatMul(x, A: f32[12,7])
      b = MatMul(x, B: f32[12,5])
      output a, b`
    const [first, second] = await collect(m)
    expect(first?.[1]).toBe(second?.[1])
  })
  it('are gathered apart where the rows of three layers take too much memory together, with the same results', async () => {
    const m = model`
      input x: f32[N,8192,16]
      input z: f32[N,8192,16]
      input w: f32[N,8192,16]
      a = MatMul(x, A: f32[16,2])
      b = MatMul(z, B: f32[16,2])
      c = MatMul(w, C: f32[16,2])
      output a, b, c`
    const [ctx, data, opened] = [testContext(), normalData(m, 2, { mean: 0.3 }), [] as number[]]
    const open: typeof ctx.engine.open = (source, o) => {
      if ('graph' in source) opened.push(source.graph.outputs.length)
      return ctx.engine.open(source, o)
    }
    const gathered = async (layers: readonly LayerInput[]): Promise<Gram[]> => {
      const out: Gram[] = []
      for await (const [, g] of grams(m, layers, data, { ...ctx, engine: { ...ctx.engine, open } })) out.push(g)
      return out
    }
    const layers = layersOf(m)
    const together = await gathered(layers)
    expect(opened).toEqual([6, 3])
    expect(together).toEqual((await Promise.all(layers.map((l) => gathered([l])))).flat())
  })
  it('hold the difference to a reference: E[x x̂ᵀ] is H + D', async () => {
    const m = model`
      input x: f32[N,6]
      h = MatMul(x, A: f32[6,8])
      r = Relu(h)
      y = MatMul(r, B: f32[8,3])
      output y`
    const other = disturbed(m, 'A')
    const [[, first], [, second]] = (await collect(other, m)) as [[LayerInput, Gram], [LayerInput, Gram]]
    expect(first.off?.h.every((x) => x === 0)).toBe(true)
    const exact = (await collect(m))[1]?.[1] as Gram
    for (const [i, mean] of exact.mean.entries())
      expect((second.mean[i] as number) + (second.off?.mean[i] as number)).toBeCloseTo(mean, 4)
    expect(second.off?.h.some((x) => Math.abs(x) > 1e-3)).toBe(true)
  })
  it('decline what is no matrix product of a constant, with the reason', () => {
    const reasons = (m: Model): unknown[] => m.graph.nodes.map((n) => layerInput(inferShapes(m), n))
    expect(reasons(model`input x: f32[2,3]\ny = MatMul(W: f32[4,2], x)\noutput y`)[0]).toMatch(/not a constant/)
    expect(reasons(model`input x: f32[2,3,4]\ny = MatMul(x, W: f32[2,4,5])\noutput y`)[0]).toMatch(/3 axes/)
    expect(reasons(model`input x: f32[4,2]\ny = Gemm(x, W: f32[4,5], transA=1)\noutput y`)[0]).toMatch(/transposes/)
  })
})
