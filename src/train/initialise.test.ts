import { expect, it } from 'vitest'
import { toFloats } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import type { Model } from '../types.ts'
import { initialise } from './initialise.ts'

const net = model`
input x: f32[N,8,16,16]
const mean: f32[1,8,1,1] = 1,1,1,1,1,1,1,1
c0 = Sub(x, mean)
c = Conv(c0, K: f32[64,4,3,3], B: f32[64], group=2)
n = BatchNormalization(c, S: f32[64], O: f32[64], M: f32[64], V: f32[64])
p = PRelu(n, P: f32[64,1,1])
t = ConvTranspose(p, T: f32[64,32,2,2], strides=[2,2])
g = GlobalAveragePool(t)
f = Flatten(g)
m = MatMul(f, D: f32[32,200])
a = Add(m, E: f32[200])
l = LayerNormalization(a, G: f32[200], H: f32[200])
z = Gemm(l, F: f32[50,200], C: f32[50], transB=1)
output z`

const values = (m: Model, id: string): number[] => {
  const data = m.graph.values.get(id)?.data
  if (!data) throw new Error(`no constant ${id}`)
  return Array.from(toFloats(data))
}
const deviation = (m: Model, id: string): number =>
  Math.sqrt(values(m, id).reduce((s, x) => s + x * x, 0) / values(m, id).length)

it('draws each weight as the operators that read it say', () => {
  const { model: made, kept } = initialise(net, 1)
  // √(2 / inputs of a unit), within the noise of so many draws.
  expect(deviation(made, 'K')).toBeCloseTo(Math.sqrt(2 / 36), 1)
  expect(deviation(made, 'K') / Math.sqrt(2 / 36)).toBeCloseTo(1, 1)
  expect(deviation(made, 'T') / Math.sqrt(2 / 256)).toBeCloseTo(1, 1)
  expect(deviation(made, 'D') / Math.sqrt(2 / 32)).toBeCloseTo(1, 1)
  expect(deviation(made, 'F') / Math.sqrt(2 / 200)).toBeCloseTo(1, 1)
  for (const id of ['B', 'O', 'M', 'E', 'H', 'C']) expect(new Set(values(made, id)), id).toEqual(new Set([0]))
  for (const id of ['S', 'V', 'G']) expect(new Set(values(made, id)), id).toEqual(new Set([1]))
  expect(new Set(values(made, 'P'))).toEqual(new Set([0.25]))
  expect(kept).toEqual(['mean'])
  expect(values(made, 'mean')).toEqual(values(net, 'mean'))
})

it('draws by the seed and by the name of the constant', () => {
  const [a, b, c] = [1, 1, 2].map((seed) => values(initialise(net, seed).model, 'K'))
  expect(a).toEqual(b)
  expect(a).not.toEqual(c)
})
