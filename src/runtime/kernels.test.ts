import { expect, test } from 'vitest'
import { optimizedOf } from '../../test/compare.ts'
import { model } from '../ir/text.ts'
import { nodeRunner } from '../node/runner.ts'
import type { Model } from '../types.ts'
import { countIntegerKernels, kernelsOf } from './kernels.ts'
import type { OpenOptions } from './types.ts'

const runner = nodeRunner()

async function optimized(m: Model, optimization: OpenOptions['optimization'] = 'all'): Promise<Model> {
  const session = await runner.open(m, { keepOptimized: true, optimization })
  const out = await optimizedOf(session)
  await session.close()
  return out
}

async function kernels(m: Model, optimization: OpenOptions['optimization'] = 'all'): Promise<Record<string, string>> {
  const found = kernelsOf(m, await optimized(m, optimization)).byNode
  return Object.fromEntries([...found].map(([name, k]) => [name, k.integer ? `${k.kernel} int` : k.kernel]))
}

const float = model`
input x: f32[1,16,8,8]
c1 = Conv(x, W1: f32[16,1,3,3], pads=[1,1,1,1], group=16)
b1 = BatchNormalization(c1, g: f32[16], b: f32[16], mm: f32[16], v: f32[16]{1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1})
r1 = Clip(b1, lo: f32[]{0}, hi: f32[]{6})
mp = MaxPool(r1, kernel_shape=[2,2], strides=[2,2])
c2 = Conv(mp, W2: f32[16,16,1,1])
r2 = Add(c2, mp)
c3 = Conv(r2, W3: f32[8,16,1,1])
p = GlobalAveragePool(c3)
f = Flatten(p)
m1 = MatMul(f, M1: f32[8,4])
a1 = Add(m1, A1: f32[4])
e1 = Relu(a1)
output e1`

test('float kernels, in blocked layout', async () => {
  const found = await kernels(float)
  // Blocked layout needs a vector unit; without one the plain fused kernels run.
  const conv = found['Conv_0'] === 'FusedConv' ? 'FusedConv' : 'Conv (nchwc)'
  expect(found).toMatchObject({
    Conv_0: conv,
    BatchNormalization_1: conv,
    Clip_2: conv,
    Conv_4: expect.stringMatching(/^Conv|^FusedConv/),
    Add_5: expect.stringMatching(/Conv|Add/),
    Conv_6: expect.stringMatching(/^Conv/),
    MatMul_9: 'FusedGemm',
    Add_10: 'FusedGemm',
    Relu_11: 'FusedGemm'
  })
})

test('float kernels, without layouts', async () => {
  expect(await kernels(float, 'extended')).toMatchObject({
    Conv_0: 'FusedConv',
    BatchNormalization_1: 'FusedConv',
    Clip_2: 'FusedConv',
    MaxPool_3: 'MaxPool',
    Conv_4: 'Conv',
    Add_5: 'Add',
    MatMul_9: 'FusedGemm'
  })
  expect(await kernels(float, 'disabled')).toMatchObject({ Conv_0: 'Conv', Clip_2: 'Clip', Relu_11: 'Relu' })
})

const quantized = model`
input x: f32[1,8,8,8]
const s: f32[] = 0.05
const z: u8[] = 0
const zi: i8[] = 0
xq = QuantizeLinear(x, s, z)
xd = DequantizeLinear(xq, s, z)
w1 = DequantizeLinear(W1: i8[8,8,3,3], s, zi)
c1 = Conv(xd, w1, pads=[1,1,1,1])
r1 = Relu(c1)
q1 = QuantizeLinear(r1, s, z)
d1 = DequantizeLinear(q1, s, z)
w2 = DequantizeLinear(W2: i8[8,8,3,3], s, zi)
c2 = Conv(d1, w2, pads=[1,1,1,1])
q2 = QuantizeLinear(c2, s, z)
d2 = DequantizeLinear(q2, s, z)
a = Add(d1, d2)
qa = QuantizeLinear(a, s, z)
da = DequantizeLinear(qa, s, z)
m = MaxPool(da, kernel_shape=[2,2])
qm = QuantizeLinear(m, s, z)
dm = DequantizeLinear(qm, s, z)
p = GlobalAveragePool(dm)
qp = QuantizeLinear(p, s, z)
dp = DequantizeLinear(qp, s, z)
f = Flatten(dp)
qf = QuantizeLinear(f, s, z)
df = DequantizeLinear(qf, s, z)
w3 = DequantizeLinear(W3: i8[8,4], s, zi)
g = Gemm(df, w3)
qg = QuantizeLinear(g, s, z)
y = DequantizeLinear(qg, s, z)
output y`

test('integer kernels, at every level that fuses them', async () => {
  for (const level of ['extended', 'all'] as const) {
    expect(await kernels(quantized, level)).toMatchObject({
      QuantizeLinear_0: 'QuantizeLinear',
      Conv_3: 'QLinearConv int',
      Relu_4: 'QLinearConv int',
      Conv_8: 'QLinearConv int',
      Add_11: 'QLinearAdd int',
      MaxPool_14: expect.stringMatching(/MaxPool int$/),
      GlobalAveragePool_17: 'QLinearGlobalAveragePool int',
      Flatten_20: 'Flatten int',
      Gemm_24: 'QGemm int'
    })
    const o = await optimized(quantized, level)
    expect(countIntegerKernels(o)).toMatchObject({ QLinearConv: 2, QLinearAdd: 1, QGemm: 1 })
    expect(kernelsOf(quantized, o).islands).toEqual([])
  }
  expect(countIntegerKernels(await optimized(quantized, 'basic'))).toEqual({})
})

const islands = model`
input x: f32[1,8]
const s: f32[] = 0.05
const z: u8[] = 128
const zi: i8[] = 0
q = QuantizeLinear(x, s, z)
d = DequantizeLinear(q, s, z)
w1 = DequantizeLinear(W1: i8[8,8], s)
g1 = Gemm(d, w1)
q1 = QuantizeLinear(g1, s, z)
d1 = DequantizeLinear(q1, s, z)
w2 = DequantizeLinear(W2: i8[8,8], s, zi)
g2 = Gemm(d1, w2, b2: f32[8])
q2 = QuantizeLinear(g2, s, z)
d2 = DequantizeLinear(q2, s, z)
h = Add(d2, x)
e = Sigmoid(d2)
t = Tanh(e)
m = MatMul(d2, w2)
n = Mul(d2, d1)
output t, m, n, h`

test('what stayed float, and why', async () => {
  const found = kernelsOf(islands, await optimized(islands)).islands
  expect(Object.fromEntries(found.map((i) => [i.node.outputs[0], i.reason]))).toEqual({
    g1: 'the zero point of w1 is not given, which this kernel asks for',
    h: 'its input x is float',
    e: 'its output e is read in float by Tanh Tanh_12',
    n: 'its output n is an output of the model in float'
  })
  expect((await kernels(islands))['MatMul_13']).toBe('MatMulIntegerToFloat int')
})

test('a node that became a constant is folded', async () => {
  const m = model`
input x: f32[1,8]
t = Transpose(W: f32[8,8], perm=[1,0])
u = Mul(t, s: f32[]{0.5})
y = MatMul(x, u)
output y`
  const found = await kernels(m)
  expect([found['Transpose_0'], found['Mul_1']]).toEqual(['folded', 'folded'])
  expect(found['MatMul_2']).toMatch(/MatMul/)
})
