import { expect, it } from 'vitest'
import { arrayDataset } from '../data/arrays.ts'
import { tensor } from '../ir/tensor.ts'
import type { Session } from '../runtime/types.ts'
import type { Dataset } from '../types.ts'
import { paced, sampleTime } from './pacing.ts'

/** A session whose runs move the clock: `start` ms, and `each` ms a sample. */
function simulated(start: number, each: number) {
  let time = 0
  const session: Session = {
    inputs: [{ name: 'x', dtype: 'float32', shape: ['N', 1] }],
    outputs: [{ name: 'y', dtype: 'float32', shape: ['N', 1] }],
    run: async ({ x }) => {
      time += start + each * (x?.shape[0] ?? 0)
      return { y: x as NonNullable<typeof x> }
    },
    loadMs: 0,
    close: async () => {}
  }
  return { session, now: () => time }
}

const data = arrayDataset({
  inputs: {
    x: tensor(
      'float32',
      [100, 1],
      Float32Array.from({ length: 100 }, (_, i) => i)
    )
  },
  labels: Array.from({ length: 100 }, (_, i) => (i < 50 ? 0 : 1))
})

async function read(dataset: Dataset, batch: number): Promise<{ sizes: number[]; values: number[] }> {
  const [sizes, values]: [number[], number[]] = [[], []]
  for await (const b of dataset.batches({ batch })) {
    sizes.push(b.n)
    const x = b.inputs['x']
    if (x) values.push(...new Float32Array(x.bytes.slice(0).buffer))
  }
  return { sizes, values }
}

it('times a sample, in runs of several where that is quick', async () => {
  const slow = simulated(0, 4000)
  expect(await sampleTime([slow.session], data, slow.now)).toBe(4000)
  expect(slow.now()).toBe(4000)
  const quick = simulated(32, 1)
  expect(await sampleTime([quick.session], data, quick.now)).toBeCloseTo(1 + 32 / 30, 6)
})

it('keeps all samples where they fit, few in one run where they are slow', async () => {
  const { session } = simulated(0, 1)
  expect(paced([session], data, 400, { ms: 40_000, seed: 0 }).notes).toEqual([])
  const { sizes, values } = await read(paced([session], data, 400, { seed: 0 }).data, 32)
  expect(Math.max(...sizes)).toBe(2)
  expect(values.length).toBe(100)
  expect((await read(paced([session], data, 1, { seed: 0 }).data, 32)).sizes).toEqual([32, 32, 32, 4])
})

it('draws as many as fit by the seed, classes in proportion, in order, and says so', async () => {
  const { session } = simulated(0, 1)
  const fit = paced([session], data, 400, { ms: 4000, seed: 0 })
  expect(fit.notes).toEqual(['a sample takes 0.4 s: 10 of 100 samples, drawn by the seed, fit into the time allowed'])
  const { values } = await read(fit.data, 32)
  expect(values.length).toBe(10)
  expect(values.filter((v) => v < 50).length).toBe(5)
  expect(values).toEqual([...values].sort((a, b) => a - b))
  expect((await read(paced([session], data, 400, { ms: 4000, seed: 0 }).data, 32)).values).toEqual(values)
  expect(paced([session], data, 400, { ms: 1, least: 3, seed: 0 }).data.size).toBe(3)
})
