import { expect, it } from 'vitest'
import { chunks } from '../data/arrays.ts'
import { tensor, toNumbers } from '../ir/tensor.ts'
import type { Dataset, Tensor } from '../types.ts'
import { heldSamples } from './held.ts'

/** Sample i is a row of `lengths[i]` times the number i. */
const rows = (lengths: readonly number[]): Dataset => ({
  size: lengths.length,
  labelled: false,
  lengths,
  async *batches({ batch, indices }) {
    for (const picked of chunks(lengths.length, batch, indices))
      for (const i of picked) {
        const n = lengths[i] as number
        yield { n: 1, inputs: { x: tensor('float32', [1, n], new Float32Array(n).fill(i)) } }
      }
  }
})

async function read(data: Dataset): Promise<number[][]> {
  const out: number[][] = []
  for await (const { inputs } of data.batches({ batch: 2 })) {
    const x = inputs['x'] as Tensor
    const [n, width] = x.shape as [number, number]
    for (let i = 0; i < n; i++) out.push([...toNumbers(x)].slice(i * width, (i + 1) * width))
  }
  return out
}

it('holds the first samples, and reads those of different lengths again', async () => {
  expect(await read(await heldSamples(rows([2, 2, 2]), 2))).toEqual([
    [0, 0],
    [1, 1]
  ])
  expect(await read(await heldSamples(rows([2, 3, 1, 1]), 3))).toEqual([[0, 0], [1, 1, 1], [2]])
})
