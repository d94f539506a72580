/** Where inputs and outputs have their samples, on models that an engine runs. */
import { describe, expect, it } from 'vitest'
import { rng } from '../base/random.ts'
import { arrayDataset, columnDataset } from '../data/arrays.ts'
import { fitArrays } from '../data/fit.ts'
import { elementCount, tensor, toNumbers } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import { nodeRunner } from '../node/runner.ts'
import type { Dataset, Model, Tensor } from '../types.ts'
import { batching, fedOf, prescribed, runOn, runs, runsSingly, wholeInputs } from './batches.ts'

const random = (shape: readonly number[]): Tensor => {
  const own = rng(1)
  return tensor(
    'float32',
    shape,
    Array.from({ length: elementCount(shape) }, () => own.normal())
  )
}

/** Outputs of the samples run together, and those of each alone, one after the other. */
async function both(
  m: Model,
  dataset: Dataset
): Promise<{ many: Record<string, Tensor>; one: number[]; single: boolean }> {
  const session = await nodeRunner().open(m)
  try {
    let many: Record<string, Tensor> = {}
    for await (const run of runs(dataset, { size: 3, isFixed: false }, { rest: 'fill' }))
      many = await runOn(session, run)
    const one: number[] = []
    for await (const run of runs(dataset, { size: 1, isFixed: false }, { rest: 'fill' }))
      one.push(...toNumbers((await runOn(session, run))['y'] as Tensor))
    return { many, one, single: await runsSingly(session, dataset) }
  } finally {
    await session.close()
  }
}

const three = (shape: readonly number[]): Dataset => arrayDataset({ inputs: { x: random([3, ...shape]) } })

describe('outputs come samples first, whatever the model does with them', () => {
  it('time first', async () => {
    const m = model`
      input x: f32[N,4,5]
      y: f32[5,N,4] = Transpose(x, perm=[2,0,1])
      output y`
    const { many, one, single } = await both(m, three([4, 5]))
    expect([many['y']?.shape, single]).toEqual([[3, 5, 4], false])
    expect([...toNumbers(many['y'] as Tensor)]).toEqual(one)
  })

  it('time first, although no symbol tells', async () => {
    const m = model`
      input x: f32[?,4,5]
      y: f32[?,?,?] = Transpose(x, perm=[2,0,1])
      output y`
    const { many, one, single } = await both(m, three([4, 5]))
    expect([many['y']?.shape, single]).toEqual([[3, 5, 4], false])
    expect([...toNumbers(many['y'] as Tensor)]).toEqual(one)
  })

  it('several windows a sample', async () => {
    const m = model`
      input x: f32[?,6]
      y: f32[?,2] = Reshape(x, s: i64[2]{-1, 2})
      output y`
    const { many, one } = await both(m, three([6]))
    expect(many['y']?.shape).toEqual([3, 3, 2])
    expect([...toNumbers(many['y'] as Tensor)]).toEqual(one)
  })

  it('one result for the whole batch: each sample is run alone', async () => {
    const m = model`
      input x: f32[N,6]
      y: f32[6] = ReduceMean(x, a: i64[1]{0}, keepdims=0)
      output y`
    const { many, one, single } = await both(m, three([6]))
    expect([many['y']?.shape, single]).toEqual([[3, 6], true])
    expect([...toNumbers(many['y'] as Tensor)]).toEqual(one)
  })

  it('a model that fails on several samples runs on each', async () => {
    const m = model`
      input x: f32[N,6]
      y: f32[2,3] = Reshape(x, s: i64[2]{2, 3})
      output y`
    const { many, single } = await both(m, three([6]))
    expect([many['y']?.shape, single]).toEqual([[3, 2, 3], true])
  })

  it('a prescribed batch on another axis', async () => {
    const m = model`
      input x: f32[3,4,5]
      y: f32[4,3,5] = Transpose(x, perm=[1,0,2])
      output y`
    const session = await nodeRunner().open(m)
    for await (const run of runs(three([4, 5]), batching([session], 32), { rest: 'fill' })) {
      const { y } = await runOn(session, run)
      expect(y?.shape).toEqual([3, 4, 5])
      expect([...toNumbers(y as Tensor)]).toEqual([...toNumbers(run.batch.inputs['x'] as Tensor)])
    }
    await session.close()
  })
})

describe('inputs that take a sample as it is', () => {
  const vad = model`
    input x: f32[batch,T]
    input sr: i64[]
    input h: f32[2,batch,3]
    r = Cast(sr, to=1)
    s = ReduceSum(h, a: i64[2]{0, 2}, keepdims=0)
    t = Unsqueeze(s, b: i64[1]{1})
    u = Mul(x, r)
    y: f32[batch,T] = Add(u, t)
    output y`

  it('are scalars, states, and series that begin with time', () => {
    expect([...wholeInputs(fedOf(vad))]).toEqual(['sr', 'h'])
    expect(prescribed(fedOf(vad))).toBe(1)
    const shapes = (...all: (number | string)[][]) => ({
      inputs: all.map((shape, i) => ({ name: 'xyz'[i] as string, shape }))
    })
    expect([...wholeInputs(shapes(['N', 8], [3, 1, 512]))]).toEqual(['y'])
    expect([...wholeInputs(shapes([1, 576], [2, 1, 128]))]).toEqual(['y'])
    expect([...wholeInputs(shapes(['T', 'batch', 5]))]).toEqual(['x'])
    expect([...wholeInputs(shapes([8, 3], [8, 4]))]).toEqual([])
  })

  it('take a value per sample out of the data, or one for all', async () => {
    const arrays = new Map([
      ['x', () => tensor('float32', [3, 2], [1, 2, 3, 4, 5, 6])],
      ['sr', () => tensor('int64', [], [2])],
      [
        'h',
        () =>
          tensor(
            'float32',
            [3, 2, 3],
            Array.from({ length: 18 }, (_, i) => Math.floor(i / 6))
          )
      ]
    ])
    const columns = fitArrays(arrays, fedOf(vad).inputs, { where: 'x.npz', whole: wholeInputs(fedOf(vad)) })
    const session = await nodeRunner().open(vad)
    const out: number[] = []
    for await (const run of runs(columnDataset(columns), batching([session], 32), { rest: 'fill' }))
      out.push(...toNumbers((await runOn(session, run))['y'] as Tensor))
    await session.close()
    // x · 2 + 6 · the number of the sample.
    expect(out).toEqual([2, 4, 12, 14, 22, 24])
  })
})
