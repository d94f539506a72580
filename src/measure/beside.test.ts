import { describe, expect, it } from 'vitest'
import { rng } from '../base/random.ts'
import { arrayDataset } from '../data/index.ts'
import { metricFor } from '../data/metrics.ts'
import { edit, renameReads } from '../ir/edit.ts'
import { tensor, toFloats } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import { nodeRunner } from '../node/runner.ts'
import type { Comparison } from '../passes/types.ts'
import type { Runner } from '../runtime/types.ts'
import type { Dataset, Model } from '../types.ts'
import { choosingParts, measurer, measuringParts } from './beside.ts'

const net = model`
  input x: f32[N,8]
  y = MatMul(x, W: f32[8,4])
  output y`

function data(samples: number, seed: number): Dataset & { reads: number } {
  const random = rng(seed)
  const made = arrayDataset({
    inputs: {
      x: tensor(
        'float32',
        [samples, 8],
        Array.from({ length: samples * 8 }, () => random.normal())
      )
    }
  })
  const counted = {
    ...made,
    reads: 0,
    batches: (o: Parameters<Dataset['batches']>[0]) => {
      counted.reads++
      return made.batches(o)
    }
  }
  return counted
}

/** All weights grown by a tenth: every output is off by exactly that share. */
const grown: Model = edit(net, (d) => {
  const v = d.value('W')
  if (v?.data)
    d.set({
      ...v,
      data: tensor(
        'float32',
        [8, 4],
        Float64Array.from(toFloats(v.data), (w) => 1.1 * w)
      )
    })
})

const measure = (parts: readonly Dataset[]) =>
  measurer({ engine: nodeRunner(), measured: nodeRunner(), parts, metric: metricFor('agreement'), rng: rng(0) })

describe('measurer', () => {
  it('tells drop and squared relative error', async () => {
    const same = await measure([data(20, 1)])(net, { beside: net })
    expect(same).toMatchObject({ metric: 'agreement', error: 0, drop: { value: 0, n: 20 } })
    const off = await measure([data(20, 1)])(grown, { beside: net })
    // 0.1², to float32's rounding of products.
    expect(off.error).toBeCloseTo(0.01, 6)
    expect(off.drop.value).toBe(0)
    expect(off.latency).toBeUndefined()
  })
  it('runs the whole model where a value at the border does not hold the samples in front', async () => {
    const folded = model`
      input x: f32[N,3,8]
      f = Reshape(x, s: i64[2]{-1,8})
      a = Gemm(f, A: f32[8,8])
      g = Reshape(a, t: i64[3]{-1,3,8})
      m = ReduceMean(g, axes: i64[1]{0}, keepdims=0)
      h = MatMul(m, B: f32[8,8])
      c = Add(g, h)
      output c`
    const x = tensor(
      'float32',
      [12, 3, 8],
      Float32Array.from({ length: 288 }, (_, i) => Math.sin(i))
    )
    const look = measure([arrayDataset({ inputs: { x } })])
    for (const id of ['A', 'B']) {
      const made = edit(folded, (d) => {
        const v = d.value(id)
        if (v?.data)
          d.set({
            ...v,
            data: tensor(
              'float32',
              [8, 8],
              toFloats(v.data).map((w) => 1.5 * w)
            )
          })
      })
      const { error, drop } = await look(made, { beside: folded, seconds: 0.01 })
      expect(error).toBeGreaterThan(1e-4)
      expect(await look(made, { beside: folded })).toMatchObject({ error, drop })
    }
  })
  it('reads the samples once for each model beside', async () => {
    const [first, second] = [data(10, 1), data(10, 2)]
    const look = measure([first, second])
    const a = await look(grown, { beside: net, samples: 15 })
    const b = await look(grown, { beside: net, samples: 15 })
    expect(a.drop.n).toBe(15)
    expect(b).toEqual(a)
    expect([first.reads, second.reads]).toEqual([1, 1])
  })
  it('runs only what follows changed constants and new nodes, and tells the same', async () => {
    const deep = model`
      input x: f32[N,8]
      a = Gemm(x, A: f32[8,8], Ab: f32[8])
      r = Relu(a)
      b = Gemm(r, B: f32[8,8], Bb: f32[8])
      s = Add(b, r)
      c = Gemm(s, C: f32[8,4], Cb: f32[4])
      output c
      output a`
    const opened: string[][] = []
    const runner = nodeRunner()
    const watched: Runner = {
      ...runner,
      open: (source, o) => {
        if ('graph' in source) opened.push(source.graph.nodes.map((n) => n.outputs[0] as string))
        return runner.open(source, o)
      }
    }
    const parts = [data(70, 1)]
    const look = measurer({ engine: watched, parts, metric: metricFor('relativeError'), rng: rng(0) })
    const changed = (id: string): Model =>
      edit(deep, (d) => {
        const read = d.producer('b')
        if (id === 'new' && read) {
          d.add('Tanh', ['r'], { outputs: ['t'] })
          d.replace(read, renameReads(read, 'r', 't'))
        }
        const v = d.value(id)
        if (v?.data)
          d.set({
            ...v,
            data: tensor(
              'float32',
              v.data.shape,
              toFloats(v.data).map((w) => 1.5 * w)
            )
          })
      })
    // What makes the values at the border, from those at the border before, and what follows.
    const cases = [
      ['A', [], ['a', 'r', 'b', 's', 'c']],
      ['B', [['a', 'r']], ['b', 's', 'c']],
      ['C', [['b', 's']], ['c']],
      ['new', [['a', 'r']], ['t', 'b', 's', 'c']]
    ] as const
    const made = cases.map(([id]) => changed(id))
    const whole: Comparison[] = []
    for (const m of made) whole.push(await look(m, { beside: deep, seconds: 0.01 }))
    for (const [i, [, before, follows]] of cases.entries()) {
      const m = made[i] as Model
      opened.length = 0
      const cut = await look(m, { beside: deep })
      const again = await look(m, { beside: deep })
      expect(cut.error).toBeGreaterThan(1e-3)
      // The same products, summed in the same order.
      expect(cut.error / (whole[i]?.error ?? 0)).toBeCloseTo(1, 6)
      expect(cut.drop.value).toBeCloseTo(whole[i]?.drop.value ?? 0, 6)
      expect(again).toEqual(cut)
      expect(opened.map(String).toSorted()).toEqual([...before, follows, follows].map(String).toSorted())
    }
    // Other samples are cut into other batches.
    const fewer = await look(made[2] as Model, { beside: deep, samples: 40 })
    const { error, drop } = await look(made[2] as Model, { beside: deep, samples: 40, seconds: 0.01 })
    expect([fewer.error / error, fewer.drop.n]).toEqual([expect.closeTo(1, 6), drop.n])
  })
  it('times both, and every kernel, where asked', async () => {
    const seen = await measure([data(10, 1)])(grown, { beside: net, seconds: 0.01, kernels: true })
    expect(seen.latency?.median).toBeGreaterThan(0)
    expect(seen.kernels?.get(net.graph.nodes[0]?.name ?? '')).toBeGreaterThan(0)
  })
  it('needs samples', async () => {
    await expect(measure([])(net, { beside: net })).rejects.toMatchObject({ code: 'E_DATA' })
  })
})

describe('parts', () => {
  it('are the selection, with calibration samples only where that is small', () => {
    const [calibration, few, some, many] = [data(10, 1), data(50, 2), data(200, 3), data(1200, 4)]
    expect(measuringParts({ selection: few, calibration })).toEqual([few, calibration])
    expect(measuringParts({ selection: some, calibration })).toEqual([some])
    expect(choosingParts({ selection: some, calibration })).toEqual([some, calibration])
    expect(choosingParts({ selection: many, calibration })).toEqual([many])
    expect(choosingParts({ calibration })).toEqual([])
  })
})
