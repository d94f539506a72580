import { describe, expect, it } from 'vitest'
import { testContext } from '../../test/compare.ts'
import { graphView } from '../ir/graph.ts'
import { tensor, toNumbers } from '../ir/tensor.ts'
import { parse } from '../ir/text.ts'
import type { Dataset } from '../types.ts'
import { sampleBytes, samplesPerRun, watch } from './feed.ts'

/** Samples 0, 1, 2, … of one number each. */
const counting = (size: number): Dataset => ({
  size,
  labelled: false,
  async *batches({ batch }) {
    for (let at = 0; at < size; at += batch) {
      const n = Math.min(batch, size - at)
      const values = Array.from({ length: n }, (_, i) => at + i)
      yield { n, inputs: { x: tensor('float32', [n, 1], values) } }
    }
  }
})

/** Samples of every run, the sums that the runs gave, and the progress that was told. */
async function watched(
  text: string,
  size: number,
  batch: number
): Promise<{ n: number[]; sums: number[]; told: number[] }> {
  const found = { n: [] as number[], sums: [] as number[], told: [] as number[] }
  const ctx = { ...testContext(), progress: (_: string, done: number) => void found.told.push(done) }
  await watch(parse(text), {}, { dataset: counting(size), batch, stage: 'test' }, ctx, ({ s }, n) => {
    found.n.push(n)
    found.sums.push(toNumbers(s as never)[0] as number)
  })
  return found
}

const open = 'input x: f32[N,1]\n s = ReduceSum(x, keepdims=0)\n output s'
const fixed = 'input x: f32[4,1]\n s = ReduceSum(x, keepdims=0)\n output s'

describe('feeding', () => {
  it('runs every sample once, the last run with what is left', async () => {
    expect(await watched(open, 7, 3)).toEqual({ n: [3, 3, 1], sums: [3, 12, 6], told: [3, 6, 7] })
  })
  it('leaves out what does not fill a prescribed batch, so that nothing is counted twice', async () => {
    expect(await watched(fixed, 10, 3)).toEqual({ n: [4, 4], sums: [6, 22], told: [4, 8] })
  })
  it('says so where no sample ran', async () => {
    await expect(watched(open, 0, 3)).rejects.toMatchObject({ code: 'E_DATA' })
    await expect(watched(fixed, 3, 3)).rejects.toMatchObject({ code: 'E_DATA', hint: expect.stringContaining('batch') })
  })
  it('knows the samples of a run and the bytes of a sample', () => {
    expect([samplesPerRun(parse(open), 32), samplesPerRun(parse(fixed), 32)]).toEqual([32, 4])
    const m = parse('input x: f32[N,3,8,T]\n y = Relu(x)\n output y')
    expect(graphView(m.graph).value('x')?.shape).toEqual(['N', 3, 8, 'T'])
    expect(sampleBytes(m, 'x')).toBe(4 * 3 * 8)
  })
})
