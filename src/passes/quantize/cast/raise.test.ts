import { describe, expect, it } from 'vitest'
import { difference, outputsOf, randomFeeds, testContext } from '../../../../test/compare.ts'
import { allGraphs } from '../../../ir/graph.ts'
import { toFloats } from '../../../ir/tensor.ts'
import { model } from '../../../ir/text.ts'
import { inferShapes } from '../../../ops/infer.ts'
import type { Model } from '../../../types.ts'
import { parseOptions } from '../../pass.ts'
import { quantizeStatic } from '../static/quantize-static.ts'
import { castFloat } from './cast-float.ts'

const raise = (m: Model): Promise<Model> =>
  castFloat.run(m, parseOptions(castFloat, { type: 'float32' }), testContext())

const half = model`
  input x: f16[N,8]
  a = MatMul(x, A: f16[8,16])
  b = Relu(a)
  y = MatMul(b, B: f16[16,4])
  output y, b`
const double = model`
  input x: f64[N,8]
  a = Gemm(x, A: f64[8,16], C: f64[16])
  t = Cast(a, to=1)
  u = Cast(t, to=11)
  y = Softmax(u)
  output y`
const brain = model`
  input x: f32[N,8]
  w = Cast(A: bf16[8,4], to=1)
  y = MatMul(x, w)
  output y`

const window = model`
  input x: f64[N,10]
  const n: i64[] = 10
  w = HammingWindow(n, output_datatype=11)
  y = Mul(x, w)
  output y`

describe('cast-float --type float32', () => {
  it.each([
    ['float16', half, 5e-3],
    ['float64', double, 1e-5],
    ['float64', window, 1e-5],
    ['bfloat16', brain, 1e-6]
  ] as const)('raises %s; inputs and outputs keep their types', async (dtype, m, tolerance) => {
    const made = await raise(m)
    const inner = [...made.graph.values.values()].filter(
      (v) => ![...made.graph.inputs, ...made.graph.outputs].includes(v.id)
    )
    expect(inner.map((v) => v.dtype)).not.toContain(dtype)
    for (const id of [...m.graph.inputs, ...m.graph.outputs])
      expect(inferShapes(made).graph.values.get(id)?.dtype).toBe(inferShapes(m).graph.values.get(id)?.dtype)
    expect(made.graph.outputs).toEqual(m.graph.outputs)
    const feeds = randomFeeds(m, 1, 3)
    expect(difference(await outputsOf(m, feeds), await outputsOf(made, feeds))).toBeLessThan(tolerance)
    expect(await raise(made).then((again) => allGraphs(again).length)).toBe(1)
  })
  it('gives the very same model back where all is float32', async () => {
    const m = model`
      input x: f32[N,8]
      y = MatMul(x, A: f32[8,4])
      output y`
    expect(await raise(m)).toBe(m)
    expect(toFloats((await raise(m)).graph.values.get('A')?.data as never)).toHaveLength(32)
  })
  it('is what quantize-static names for a float16 and a float64 model', async () => {
    for (const m of [half, double]) {
      const ctx = testContext()
      expect(await quantizeStatic.run(m, parseOptions(quantizeStatic, {}), ctx)).toBe(m)
      expect(ctx.notes.join()).toContain('run cast-float --type float32 first')
    }
  })
})
