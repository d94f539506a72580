import { expect, it } from 'vitest'
import { testContext } from '../../../test/compare.ts'
import { rng } from '../../base/random.ts'
import { tensor, toFloats } from '../../ir/tensor.ts'
import { model } from '../../ir/text.ts'
import { nodeRunner } from '../../node/runner.ts'
import { initialise } from '../../train/index.ts'
import { parseOptions } from '../pass.ts'
import { quantizeWeights } from '../quantize/weights/quantize-weights.ts'
import { computingOnGrid, movedToGrid } from './peak-steps.ts'

const net = initialise(
  model`
input x: f32[N,3,6,6]
a = Conv(x, W: f32[8,3,3,3], B: f32[8])
r = Relu(a)
f = Flatten(r)
y = Gemm(f, M: f32[128,10], C: f32[10])
output y`,
  1
).model

const random = rng('x')
const x = tensor(
  'float32',
  [5, 3, 6, 6],
  Float32Array.from({ length: 540 }, () => random.normal())
)

async function outputsOf(m: typeof net): Promise<Float32Array> {
  // As training graphs run it: with constant weights the runtime would put integer kernels in.
  const session = await nodeRunner().open(m, { optimization: 'basic' })
  const { y } = await session.run({ x })
  await session.close()
  return toFloats(y as NonNullable<typeof y>)
}

it.each([8, 4])('what is trained with %i bits computes as the model whose weights were moved', async (bits) => {
  const [trained, moved, float] = await Promise.all(
    [computingOnGrid(net, bits), movedToGrid(net, bits), net].map(outputsOf)
  )
  const off = (a: Float32Array, b: Float32Array): number => a.reduce((n, v, i) => n + (v - (b[i] as number)) ** 2, 0)
  const change = off(moved as Float32Array, float as Float32Array)
  expect(change).toBeGreaterThan(0)
  expect(off(trained as Float32Array, moved as Float32Array)).toBeLessThan(1e-6 * change + 1e-9)
})

it('moves nothing that is on the grid, and leaves biases', () => {
  const once = movedToGrid(net, 4)
  const twice = movedToGrid(once, 4)
  for (const id of ['W', 'M', 'C']) {
    const [a, b] = [once, twice].map((m) => toFloats(m.graph.values.get(id)?.data as NonNullable<typeof x>))
    for (const [i, v] of (a as Float32Array).entries()) expect(b?.[i]).toBeCloseTo(v, 6)
  }
  const kernel = toFloats(once.graph.values.get('W')?.data as NonNullable<typeof x>).slice(0, 27)
  expect(new Set(kernel.map(Math.abs)).size).toBeLessThanOrEqual(8)
  expect(once.graph.values.get('B')?.data).toEqual(net.graph.values.get('B')?.data)
})

it.each([8, 4])('loses nothing as codes of %i bits', async (bits) => {
  const moved = movedToGrid(net, bits)
  const options = parseOptions(quantizeWeights, { bits, form: 'foldable', minElements: 64 })
  const stored = await quantizeWeights.run(moved, options, testContext())
  expect(stored).not.toBe(moved)
  const [a, b] = await Promise.all([stored, moved].map(outputsOf))
  for (const [i, v] of (a as Float32Array).entries()) expect(v).toBeCloseTo(b?.[i] as number, 4)
})
