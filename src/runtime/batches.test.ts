import { expect, test } from 'vitest'
import { tensor, toNumbers } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import { nodeRunner } from '../node/runner.ts'
import type { Batch, Dataset } from '../types.ts'
import {
  batching,
  fedOf,
  feedsOf,
  firstRun,
  prescribed,
  type RunsOptions,
  runOf,
  runOn,
  runs,
  samplesWithin,
  wholeInputs
} from './batches.ts'
import type { Session } from './types.ts'

const inputs = (...shapes: readonly (readonly (number | string)[])[]): Session['inputs'] =>
  shapes.map((shape, i) => ({ name: 'xyz'[i] as string, shape }))

/** Samples 0, 1, 2 … as x: [n, 2] of twice the same number. */
const counting = (size: number): Dataset => ({
  size,
  labelled: false,
  async *batches({ batch, indices = Array.from({ length: size }, (_, i) => i) }) {
    for (let at = 0; at < indices.length; at += batch) yield batchOf(indices.slice(at, at + batch))
  }
})

const batchOf = (numbers: readonly number[]): Batch => ({
  n: numbers.length,
  inputs: {
    x: tensor(
      'float32',
      [numbers.length, 2],
      numbers.flatMap((v) => [v, v])
    )
  }
})

async function cut(size: number, models: readonly Session['inputs'][], o: RunsOptions): Promise<[number, number][]> {
  const how = batching(
    models.map((m) => ({ inputs: m })),
    3
  )
  const out: [number, number][] = []
  for await (const run of runs(counting(size), how, o)) out.push([run.batch.n, run.size])
  return out
}

test('the batch that a model prescribes is a number as the first axis of its inputs', () => {
  expect(prescribed({ inputs: inputs(['N', 3], ['N']) })).toBeUndefined()
  expect(prescribed({ inputs: inputs(['N', 3], [8, 3]) })).toBe(8)
  const given = model`
input x: f32[4,3]
y = Mul(x, w: f32[3]{1, 2, 3})
output y`
  const withConstant = { ...given, graph: { ...given.graph, inputs: ['x', 'w'] } }
  expect(fedOf(withConstant).inputs).toEqual([{ name: 'x', dtype: 'float32', shape: [4, 3] }])
})

test('a model whose inputs prescribe different numbers takes one sample a run', async () => {
  const state = inputs([1, 512], [3, 1, 64])
  expect(prescribed({ inputs: state })).toBe(1)
  expect(await cut(2, [state], { rest: 'leave' })).toEqual([
    [1, 1],
    [1, 1]
  ])
})

test('an input that has its first size twice takes a sample as it is, and so do those beside it', () => {
  expect([...wholeInputs({ inputs: inputs(['N', 'N', 4], ['N', 4]) })]).toEqual(['x', 'y'])
  expect([...wholeInputs({ inputs: inputs(['N', 'S'], ['S', 'S']) })]).toEqual(['y'])
  expect([...wholeInputs({ inputs: inputs(['N', 3, 8, 8], [2, 'N', 16]) })]).toEqual(['y'])
  expect([...wholeInputs({ inputs: inputs(['?', '?']) })]).toEqual([])
})

test('models that prescribe different numbers do not run on the same samples', () => {
  const of = (...shape: readonly (number | string)[]) => ({ inputs: inputs(shape) })
  expect(batching([of('N', 2), of(4, 2)], 32)).toEqual({ size: 4, isFixed: true })
  expect(batching([of('N', 2)], 32)).toEqual({ size: 32, isFixed: false })
  expect(() => batching([of(2, 2), of(4, 2)], 32)).toThrow(/2, 4/)
})

test('what does not fill the last run is run as it is, filled up or left', async () => {
  expect(await cut(5, [inputs(['N', 2])], { rest: 'leave' })).toEqual([
    [3, 3],
    [2, 2]
  ])
  expect(await cut(5, [inputs([2, 2])], { rest: 'fill' })).toEqual([
    [2, 2],
    [2, 2],
    [1, 2]
  ])
  expect(await cut(5, [inputs([2, 2])], { rest: 'leave', indices: [4, 3, 2] })).toEqual([[2, 2]])
  expect(await cut(5, [inputs([2, 2])], { rest: 'fill', indices: [4, 3, 2] })).toHaveLength(2)
  const stop = new AbortController()
  stop.abort()
  await expect(cut(5, [inputs(['N', 2])], { rest: 'fill', signal: stop.signal })).rejects.toMatchObject({
    code: 'E_ABORTED'
  })
})

test('a model is fed its own inputs, filled up with the last sample, and its results are cut back', async () => {
  const how = { size: 3, isFixed: true }
  const run = await firstRun(counting(2), how)
  expect(toNumbers(feedsOf({ inputs: inputs([3, 2]) }, run)['x'] as never)).toEqual(
    Float32Array.from([0, 0, 1, 1, 1, 1])
  )
  const beside = { ...run.batch, inputs: { ...run.batch.inputs, other: tensor('float32', [2], [1, 2]) } }
  expect(Object.keys(feedsOf({ inputs: inputs([3, 2]) }, runOf(beside, how)))).toEqual(['x'])
  expect(() => feedsOf({ inputs: inputs([3, 2], [3, 1]) }, run)).toThrow(/nothing for the model's input y/)
  const session = await nodeRunner().open(model`
input x: f32[3,2]
y = Relu(x)
output y`)
  expect((await runOn(session, run))['y']?.shape).toEqual([2, 2])
  await session.close()
  await expect(firstRun(counting(0), how)).rejects.toMatchObject({ code: 'E_DATA' })
})

test('samples that fit into memory', () => {
  expect(samplesWithin(1000, 300, 32)).toBe(3)
  expect(samplesWithin(1000, 1, 32)).toBe(32)
  expect(samplesWithin(1000, 5000, 32)).toBe(1)
})
