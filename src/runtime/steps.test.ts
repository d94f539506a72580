import { describe, expect, it } from 'vitest'
import { columnDataset } from '../data/arrays.ts'
import { fitArrays } from '../data/fit.ts'
import { statePairs } from '../ir/states.ts'
import { tensor, toNumbers } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import { judgingOf } from '../measure/judging.ts'
import { nodeRunner } from '../node/runner.ts'
import { observeChannels } from '../observe/channels.ts'
import { heldSamples } from '../observe/held.ts'
import type { Dataset, Model, Tensor } from '../types.ts'
import { batching, fedOf, feedsOf, firstRun, runOn, runs, stepwise, wholeInputs } from './batches.ts'
import type { Session } from './types.ts'

/** Sums what it has seen: s' = s + x, y = 2 s', with a scale that is the same at every step. */
const summing = model`
  input x: f32[1,2]
  input state: f32[1,2]
  input gain: f32[]
  stateN = Add(state, x)
  y = Mul(stateN, gain)
  output y
  output stateN`

const frames = (n: number): Tensor =>
  tensor(
    'float32',
    [n, 2],
    Array.from({ length: 2 * n }, (_, i) => i)
  )

function dataFor(m: Model, arrays: Readonly<Record<string, Tensor>>): Dataset {
  const { inputs } = fedOf(m)
  const outputs = m.graph.outputs.map((name) => ({ name, ...m.graph.values.get(name) }))
  const states = new Set(statePairs({ inputs, outputs }).map((p) => p.input))
  const given = new Map(Object.entries(arrays).map(([name, t]) => [name, () => t] as const))
  return columnDataset(fitArrays(given, inputs, { where: 'test', whole: wholeInputs({ inputs }), states }))
}

async function results(session: Session, data: Dataset): Promise<Record<string, Tensor>[]> {
  const out: Record<string, Tensor>[] = []
  for await (const run of runs(data, batching([session], 4), { rest: 'fill' })) out.push(await runOn(session, run))
  return out
}

describe('a model with states', () => {
  it('runs on samples that are sequences, each from a state of zeros that is fed back', async () => {
    const session = await nodeRunner().open(summing)
    const x = tensor('float32', [2, 3, 2], [1, 1, 2, 2, 3, 3, 10, 10, 20, 20, 30, 30])
    const data = dataFor(summing, { x, gain: tensor('float32', [], [2]) })
    expect(data.size).toBe(2)
    expect(data.notes).toEqual(['the state state starts at zero and is fed back over the 3 steps of each sample'])
    const [a, b] = await results(session, data)
    expect(a?.['y']?.shape).toEqual([1, 3, 2])
    expect([...toNumbers(a?.['y'] as Tensor)]).toEqual([2, 2, 6, 6, 12, 12])
    expect([...toNumbers(b?.['y'] as Tensor)]).toEqual([20, 20, 60, 60, 120, 120])
    expect([...toNumbers(b?.['stateN'] as Tensor)]).toEqual([60, 60])
    await session.close()
  })
  it('takes samples of one recording in order as sequences, and says so', async () => {
    const session = await nodeRunner().open(summing)
    const data = dataFor(summing, { x: frames(50), gain: tensor('float32', [], [1]) })
    // 50 samples in 12 sequences of 4 steps.
    expect(data.size).toBe(12)
    expect(data.notes?.[0]).toContain('in sequences of 4; the last 2 are left out')
    const all = await results(session, data)
    expect([...toNumbers(all[1]?.['y'] as Tensor)]).toEqual([8, 9, 18, 20, 30, 33, 44, 48])
    await session.close()
  })
  it('takes a value that every sample of a recording has alike for one of all samples', async () => {
    const session = await nodeRunner().open(summing)
    const alike = dataFor(summing, { x: frames(24), gain: tensor('float32', [24], new Float32Array(24).fill(2)) })
    const one = dataFor(summing, { x: frames(24), gain: tensor('float32', [], [2]) })
    const values = async (data: Dataset): Promise<number[]> =>
      (await results(session, data)).flatMap((r) => [...toNumbers(r['y'] as Tensor)])
    expect(await values(alike)).toEqual(await values(one))
    await session.close()
  })
  it('takes states that the data gives as they are', async () => {
    const session = await nodeRunner().open(summing)
    const data = dataFor(summing, {
      x: frames(3),
      state: tensor('float32', [3, 2], [1, 1, 1, 1, 1, 1]),
      gain: tensor('float32', [], [1])
    })
    expect(data.size).toBe(3)
    expect([...toNumbers((await results(session, data))[2]?.['y'] as Tensor)]).toEqual([5, 6])
    await session.close()
  })
  it('is watched step by step, and held samples stay sequences', async () => {
    const session = await nodeRunner().open(summing)
    const data = await heldSamples(dataFor(summing, { x: frames(24), gain: tensor('float32', [], [1]) }), 3)
    const how = batching([session], 1)
    const run = await firstRun(data, how)
    expect(feedsOf(session, run)['state']?.shape).toEqual([1, 2])
    const seen: number[] = []
    for await (const given of stepwise(session, run)) seen.push(toNumbers(given['y'] as Tensor)[0] as number)
    expect(seen).toEqual([0, 2])
    await session.close()
  })
})

it('states are fed back while channels are observed', async () => {
  const m = model`
    input x: f32[1,2]
    input state: f32[1,2]
    stateN = Add(state, x)
    y: f32[1,2] = Relu(stateN)
    output y
    output stateN`
  const x = tensor('float32', [1, 2, 2], [1, 2, 1, 2])
  const ctx = { engine: nodeRunner(), signal: new AbortController().signal, progress: () => {} }
  const seen = await observeChannels(m, [{ id: 'y', axis: 1 }], ['mean'], dataFor(m, { x }), ctx)
  // 1 and 2 at the first step, 2 and 4 at the second.
  expect([...(seen.get('y')?.mean ?? [])]).toEqual([1.5, 3])
})

it('states that are fed back are not judged by themselves', async () => {
  const data = dataFor(summing, { x: frames(24), gain: tensor('float32', [], [1]) })
  const outputs = summing.graph.outputs.map((name) => ({ name, dtype: 'float32' as const, shape: [1, 2] }))
  const open = (): Promise<Session> => nodeRunner().open(summing)
  const { metrics, notes } = await judgingOf({ model: summing, outputs, dataset: data, asked: undefined, open })
  expect(notes[0]).toBe('not judged by themselves: stateN, states that are fed back')
  const [one] = await results(await open(), data)
  const worse = { ...one, stateN: tensor('float32', [1, 2], [1e6, 1e6]) } as Record<string, Tensor>
  const batch = { n: 1, inputs: {} }
  expect(metrics[0].scores(worse, batch, one)).toEqual(metrics[0].scores(one as Record<string, Tensor>, batch, one))
})
