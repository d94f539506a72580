import { describe, expect, it } from 'vitest'
import { rng } from '../../base/random.ts'
import { nodeRunner } from '../../node/runner.ts'
import { eigen, type Spectrum, symmetricEigen } from './eigen.ts'
import { type Matrix, matrix, products, times, transposed } from './matrices.ts'

/** GGᵀ of a random G [n × inner]. */
function gramOf(n: number, inner: number): Matrix {
  const random = rng('gram')
  const g = matrix(
    n,
    inner,
    Float64Array.from({ length: n * inner }, (_, i) => random.normal() * 0.97 ** (i % inner))
  )
  return times(g, transposed(g))
}

/** Largest element of A·v − λ·v, over the largest λ, and of VVᵀ − 1. */
function faults(a: Matrix, { values, vectors }: Spectrum): readonly [residual: number, skew: number] {
  const images = times(vectors, a)
  const largest = Math.abs(values[0] as number) || 1
  let residual = 0
  for (let i = 0; i < vectors.rows; i++)
    for (let j = 0; j < a.rows; j++) {
      const at = i * a.rows + j
      const off = (images.data[at] as number) - (values[i] as number) * (vectors.data[at] as number)
      residual = Math.max(residual, Math.abs(off) / largest)
    }
  const skew = times(vectors, transposed(vectors)).data.reduce(
    (worst, x, at) => Math.max(worst, Math.abs(x - Number(at % (vectors.rows + 1) === 0))),
    0
  )
  return [residual, skew]
}

describe('eigenvalues of symmetric matrices', () => {
  it.each([
    ['of full rank', gramOf(40, 60)],
    ['of low rank', gramOf(40, 7)],
    ['one element', gramOf(1, 3)],
    ['nothing but zeros', matrix(5, 5)],
    ['diagonal', matrix(3, 3, Float64Array.of(1, 0, 0, 0, 3, 0, 0, 0, 2))],
    ['indefinite', matrix(3, 3, Float64Array.of(0, 1, 0, 1, 0, 2, 0, 2, -1))]
  ])('%s', (_, a) => {
    const found = symmetricEigen(a)
    const [residual, skew] = faults(a, found)
    expect(residual).toBeLessThan(1e-12)
    expect(skew).toBeLessThan(1e-12)
    expect([...found.values]).toEqual([...found.values].sort((x, y) => y - x))
  })

  it('takes the largest of a large matrix through a subspace', async () => {
    const n = 1100
    const a = gramOf(n, 300)
    const all = products(nodeRunner())
    const found = await eigen(a, 100, all, rng(0))
    await all.close()
    expect(found.values).toHaveLength(100)
    const [residual, skew] = faults(a, found)
    expect(residual).toBeLessThan(1e-5)
    expect(skew).toBeLessThan(1e-9)
    expect(found.total).toBeCloseTo(a.data.reduce((s, x, at) => s + (at % (n + 1) === 0 ? x : 0), 0))
  })
})
