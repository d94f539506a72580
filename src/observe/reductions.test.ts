import { describe, expect, it } from 'vitest'
import { outputsOf } from '../../test/compare.ts'
import { edit } from '../ir/edit.ts'
import { tensor, toNumbers } from '../ir/tensor.ts'
import { parse } from '../ir/text.ts'
import { inferShapes } from '../ops/infer.ts'
import type { Tensor } from '../types.ts'
import { type ChannelReduction, joining, momentsOf, reduceAll, reduceChannels } from './reductions.ts'

const net = inferShapes(parse('input x: f32[2,3,2]\n y = Identity(x)\n output y'))
/** Channels 0 to 2 along axis 1; samples 1, 2 and −3, 4 of channel 0, and so on. */
const x = tensor('float32', [2, 3, 2], [1, 2, 0, 0, 5, -5, -3, 4, 0, 8, 5, 5])

/** What nodes that are added to the graph give on `x`. */
async function made(
  add: (d: Parameters<Parameters<typeof edit>[1]>[0]) => string
): Promise<{ shape: readonly number[]; values: number[] }> {
  const m = edit(net, (d) => d.setOutputs([add(d)]))
  const out = (await outputsOf(m, { x }))[m.graph.outputs[0] as string] as Tensor
  return { shape: out.shape, values: [...toNumbers(out)] }
}

const perChannel: Readonly<Record<ChannelReduction, readonly number[]>> = {
  least: [-3, 0, -5],
  greatest: [4, 8, 5],
  mean: [1, 2, 2.5],
  power: [7.5, 16, 25]
}

describe('reductions in the engine', () => {
  it.each(Object.entries(perChannel))('%s of every channel', async (r, values) => {
    const got = await made((d) => reduceChannels(d, { id: 'y', axis: 1 }, r as ChannelReduction))
    expect(got).toEqual({ shape: [3], values })
  })
  it('scalars over all elements', async () => {
    const all = { least: -5, greatest: 8, peak: 8, sum: 22, power: 194 / 12 }
    for (const [r, value] of Object.entries(all)) {
      const got = await made((d) => reduceAll(d, 'y', r as keyof typeof all))
      expect(got.shape).toEqual([])
      // float32 of a sum of twelve small integers, divided once.
      expect(got.values[0]).toBeCloseTo(value, 5)
    }
  })
  it('mean and deviation keep the rank, so that the graph can go on with them', async () => {
    const at = { rank: 3, axis: 1 }
    expect(await made((d) => momentsOf(d, 'y', at).mean)).toEqual({ shape: [1, 3, 1], values: [1, 2, 2.5] })
    const { values } = await made((d) => momentsOf(d, 'y', at).deviation)
    for (const [c, v] of [6.5, 12, 18.75].entries()) expect((values[c] as number) ** 2).toBeCloseTo(v, 4)
  })
})

describe('joining runs', () => {
  const joined = (r: ChannelReduction, ...runs: readonly (readonly [number[], number])[]): number[] => {
    const j = joining(r)
    for (const [values, n] of runs) j.take(tensor('float32', [values.length], values), n)
    return [...j.numbers()]
  }
  it('weighs means by the samples of their runs', () => {
    expect(joined('mean', [[1, 0], 3], [[5, 4], 1])).toEqual([2, 1])
    expect(joined('power', [[1], 3], [[5], 1])).toEqual([2])
  })
  it('takes extremes as they are', () => {
    expect(joined('least', [[1, 0], 3], [[5, -4], 1])).toEqual([1, -4])
    expect(joined('greatest', [[1, 0], 3], [[5, -4], 1])).toEqual([5, 0])
  })
  it('sums in float64: a small run behind a large one still counts', () => {
    const [mean] = joined('mean', [[1], 2 ** 25], [[3], 1]) as [number]
    expect(mean).toBe((2 ** 25 + 3) / (2 ** 25 + 1))
  })
  it('has nothing to tell of no run', () => expect(joined('mean')).toEqual([]))
})
