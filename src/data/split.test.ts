import { describe, expect, it } from 'vitest'
import { tensor, toNumbers } from '../ir/tensor.ts'
import type { Dataset } from '../types.ts'
import { arrayDataset } from './arrays.ts'
import { labelsIn, splitData, subset } from './split.ts'

const numbered = (n: number, labels?: readonly number[]) =>
  arrayDataset({
    inputs: {
      x: tensor(
        'float32',
        [n, 1],
        Float32Array.from({ length: n }, (_, i) => i)
      )
    },
    ...(labels && { labels })
  })

async function all(dataset: Dataset, batch = 7): Promise<{ x: number[]; labels: number[] }> {
  const [x, labels]: [number[], number[]] = [[], []]
  for await (const b of dataset.batches({ batch })) {
    x.push(...Array.from(toNumbers(b.inputs['x'] as never)))
    labels.push(...(b.labels ?? []))
  }
  return { x, labels }
}

describe('arrayDataset', () => {
  it('gives batches in order, the last one short, and picks samples', async () => {
    const d = numbered(5, [4, 3, 2, 1, 0])
    const sizes: number[] = []
    for await (const b of d.batches({ batch: 2 })) sizes.push(b.n)
    expect(sizes).toEqual([2, 2, 1])
    expect(await all(d)).toEqual({ x: [0, 1, 2, 3, 4], labels: [4, 3, 2, 1, 0] })
    const picked = []
    for await (const b of d.batches({ batch: 2, indices: [3, 1, 1] }))
      picked.push([...toNumbers(b.inputs['x'] as never)], b.labels)
    expect(picked).toEqual([[3, 1], [1, 3], [1], [3]])
  })

  it('refuses no samples, unequal counts and NaN', () => {
    expect(() => numbered(0)).toThrow('no samples')
    expect(() => numbered(3, [1, 2])).toThrow('2 labels for 3 samples')
    const [a, b] = [tensor('float32', [2], [1, 2]), tensor('float32', [3], [1, 2, 3])]
    expect(() => arrayDataset({ inputs: { a, b } })).toThrow('b holds 3 samples, a 2')
    const bad = tensor('float32', [2, 2, 2], [0, 0, 0, 0, 0, 0, Number.NaN, 0])
    expect(() => arrayDataset({ inputs: { bad } })).toThrowError(
      expect.objectContaining({ code: 'E_DATA', facts: { sample: '1', element: '[1, 0]' } })
    )
  })

  it('finds NaN in arrays that stay on disk when they are read', async () => {
    const { bytes, ...rest } = tensor('float32', [3], [0, 1, Number.NaN])
    const d = arrayDataset({
      inputs: { x: { ...rest, bytes: { length: 12, slice: (a, b) => (bytes as Uint8Array).slice(a, b) } } }
    })
    await expect(all(d, 1)).rejects.toMatchObject({ code: 'E_DATA', facts: { sample: '2' } })
  })
})

it('labels of a dataset that gives them by batch alone are read in the order of its samples', async () => {
  const { labels, ...data } = numbered(600, [...Array(600).keys()].reverse())
  expect(await labelsIn(data)).toEqual(labels)
  await expect(labelsIn(numbered(3))).rejects.toMatchObject({ code: 'E_LABELS' })
  await expect(labelsIn(data, AbortSignal.abort())).rejects.toMatchObject({ code: 'E_ABORTED' })
})

it('a subset of a subset picks through both', async () => {
  const inner = subset(subset(numbered(10), [9, 8, 7, 6]), [3, 0])
  expect(inner.size).toBe(2)
  expect((await all(inner)).x).toEqual([6, 9])
})

describe('splitData', () => {
  it('cuts by the documented sizes', () => {
    const sizes = (n: number) => Object.values(splitData(numbered(n), 0)).map((p: Dataset) => p.size)
    expect(sizes(5000)).toEqual([512, 1500, 2988])
    expect(sizes(500)).toEqual([100, 150, 250])
    expect(sizes(3)).toEqual([1, 1, 1])
    expect(() => splitData(numbered(2), 0)).toThrow('2 samples')
  })

  it('parts are disjoint, complete and given by the seed', async () => {
    const parts = splitData(numbered(101), 5)
    const xs = (await Promise.all(Object.values(parts).map((p: Dataset) => all(p)))).map((p) => p.x)
    expect(xs.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: 101 }, (_, i) => i))
    expect((await all(splitData(numbered(101), 5).test)).x).toEqual(xs[2])
    expect((await all(splitData(numbered(101), 6).test)).x).not.toEqual(xs[2])
  })

  it('holds every class in proportion where labels are known', async () => {
    const labels = Array.from({ length: 1000 }, (_, i) => (i < 900 ? 0 : 1 + (i % 2)))
    const parts = splitData(numbered(1000, labels), 3)
    for (const part of Object.values(parts) as Dataset[]) {
      const seen = (await all(part)).labels
      for (const [label, share] of [0.9, 0.05, 0.05].entries())
        expect(Math.abs(seen.filter((l) => l === label).length - share * part.size)).toBeLessThanOrEqual(2)
    }
  })
})
