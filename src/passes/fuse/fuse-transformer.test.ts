/** What transformers spell out, as single operators: text in, operators out, the same numbers in the engine. */
import { describe, expect, it } from 'vitest'
import { difference, outputsOf, randomFeeds, testContext } from '../../../test/compare.ts'
import { opName } from '../../ir/graph.ts'
import { parse } from '../../ir/text.ts'
import type { Target } from '../../targets/types.ts'
import type { Model } from '../../types.ts'
import { fuseTransformer } from './fuse-transformer.ts'

/** float32 by other kernels, relative to the largest output. */
const FUSED = 2e-6

const ops = (m: Model): string => m.graph.nodes.map(opName).join(' ')

async function made(
  text: string,
  all = false,
  target?: Target,
  most = FUSED
): Promise<{ ops: string; reasons: string[]; notes: string[] }> {
  const ctx = { ...testContext(), ...(target ? { target } : {}) }
  const before = parse(text)
  const after = await fuseTransformer.run(before, { all }, ctx)
  if (ops(before) === ops(after)) expect(after).toBe(before)
  const reasons = ctx.refusals.map((r) => r.reason)
  const feeds = randomFeeds(before, 5, 3)
  expect(difference(await outputsOf(before, feeds), await outputsOf(after, feeds))).toBeLessThan(most)
  expect(await fuseTransformer.run(after, { all }, ctx)).toBe(after)
  return { ops: ops(after), reasons, notes: ctx.notes }
}

const layerNorm = (
  x: string,
  y: string,
  { root = (v: string) => `Div(c, ${v})`, square = 'Pow(c, two)', shift = true } = {}
) => `
  const two: f32[] = 2
  const tiny: f32[] = 0.00001
  const one: f32[] = 1
  a = ReduceMean(${x}, last: i64[1]{-1})
  c = Sub(${x}, a)
  s = ${square}
  v = ReduceMean(s, last)
  w = Add(tiny, v)
  r = Sqrt(w)
  ${root('r')}
  ${shift ? 'm' : y} = Mul(n, G: f32[8])
  ${shift ? `${y} = Add(B: f32[8], m)` : ''}`
const divided = { root: (r: string) => `n = Div(c, ${r})` }

describe('fuse-transformer', () => {
  it.each([
    ['by division', divided],
    ['by the inverse', { root: (r: string) => `i = Div(one, ${r})\nn = Mul(i, c)` }],
    [
      'by Reciprocal, squared by Mul',
      { root: (r: string) => `i = Reciprocal(${r})\nn = Mul(c, i)`, square: 'Mul(c, c)' }
    ],
    ['without a shift', { ...divided, shift: false }]
  ])('writes LayerNormalization %s', async (_, o) => {
    expect((await made(`input x: f32[N,T,8]${layerNorm('x', 'y', o)}\noutput y`)).ops).toBe('LayerNormalization')
  })

  it('writes LayerNormalization as TensorFlow spells it, and without γ', async () => {
    const head = `input x: f32[N,T,8]
  const two: f32[] = 2
  const tiny: f32[] = 0.001
  a = ReduceMean(x, axes: i64[1]{-1})
  c = Sub(x, a)
  s = Mul(c, c)
  v = ReduceMean(s, axes)
  w = Add(v, tiny)
  r = Sqrt(w)\n`
    const tf = `i = Reciprocal(r)\nk = Mul(i, G: f32[8])\nxk = Mul(x, k)\nak = Mul(a, k)\nd = Sub(B: f32[8], ak)\ny = Add(xk, d)\noutput y`
    expect((await made(head + tf)).ops).toBe('LayerNormalization')
    expect((await made(`${head}y = Div(c, r)\noutput y`)).ops).toBe('LayerNormalization')
  })

  it('writes SimplifiedLayerNormalization for RMSNorm', async () => {
    const text = (n: string): string => `input x: f32[N,T,8]
  const two: f32[] = 2
  const tiny: f32[] = 0.000001
  const one: f32[] = 1
  s = Pow(x, two)
  v = ReduceMean(s, last: i64[1]{2})
  w = Add(v, tiny)
  r = Sqrt(w)
  ${n}
  y = Mul(G: f32[8], n)
  output y`
    for (const n of ['i = Div(one, r)\nn = Mul(x, i)', 'n = Div(x, r)'])
      expect((await made(text(n))).ops).toBe('SimplifiedLayerNormalization')
  })

  it('writes SimplifiedLayerNormalization for RMSNorm of a float16 model, which casts to float32 and back', async () => {
    const text = (to: number): string => `input x: f16[N,T,8]
  const two: f32[] = 2
  const tiny: f32[] = 0.00001
  const one: f32[] = 1
  u = Cast(x, to=${to})
  s = Pow(u, two)
  v = ReduceMean(s, last: i64[1]{-1})
  w = Add(v, tiny)
  r = Sqrt(w)
  i = Div(one, r)
  n = Mul(u, i)
  d = Cast(n, to=10)
  y = Mul(G: f16[8], d)
  output y`
    // The results are float16 numbers: half a step of 2⁻¹¹.
    expect((await made(text(1), false, undefined, 2 ** -10)).ops).toBe('SimplifiedLayerNormalization')
  })

  it('declines what is no norm over the last axis, or is read elsewhere', async () => {
    const other = `input x: f32[N,8,8]${layerNorm('x', 'y', divided).replace('{-1}', '{1}')}\noutput y`
    expect((await made(other)).reasons.join()).toContain('is over other axes than the last')
    const read = await made(`input x: f32[N,T,8]${layerNorm('x', 'y', divided)}\noutput y, w`)
    expect(read.ops).toContain('ReduceMean')
    expect(read.reasons.join()).toContain('is an output of the graph')
    const wide = `input x: f32[N,T,8]${layerNorm('x', 'y', divided).replace('G: f32[8]', 'G: f32[3,8]')}\noutput y`
    expect((await made(wide)).reasons.join()).toContain('its scale is not one number for each of 8 elements')
  })

  const numbers = `const root: f32[] = 1.4142135
  const half: f32[] = 0.5
  const one: f32[] = 1
  const three: f32[] = 3
  const k: f32[] = 0.044715
  const t: f32[] = 0.7978845`
  it.each([
    ['erf', 'a = Div(x, root)\ne = Erf(a)\nf = Add(e, one)\ng = Mul(x, f)\ny = Mul(g, half)', 'Gelu'],
    ['erf, halved first', 'h = Mul(x, half)\na = Div(x, root)\ne = Erf(a)\nf = Add(e, one)\ny = Mul(h, f)', 'Gelu'],
    [
      'tanh',
      'p = Pow(x, three)\nq = Mul(k, p)\nr = Add(x, q)\ns = Mul(t, r)\nu = Tanh(s)\nv = Add(one, u)\nh = Mul(half, x)\ny = Mul(h, v)',
      'Gelu'
    ],
    [
      'tanh, factored',
      'h = Mul(half, x)\na = Mul(x, t)\nb = Mul(x, k)\nc = Mul(b, x)\nd = Add(c, one)\ne = Mul(a, d)\nu = Tanh(e)\nv = Add(one, u)\ny = Mul(h, v)',
      'Gelu'
    ],
    [
      'tanh, its number inside',
      'p = Mul(x, x)\nq = Mul(k, p)\nr = Add(q, one)\nz = Mul(x, t)\ns = Mul(z, r)\nu = Tanh(s)\nv = Add(one, u)\nw = Mul(v, half)\ny = Mul(x, w)',
      'Gelu'
    ]
  ])('writes one operator for Gelu by %s', async (_, text, op) => {
    expect((await made(`input x: f32[N,T,8]\n${numbers}\n${text}\noutput y`)).ops).toBe(op)
  })

  const block = `input x: f32[N,T,8]
    input y: f32[N,T,8]
    p = MatMul(x, W: f32[8,8])
    b = Add(p, C: f32[8])
    s = Add(b, y)
    z = LayerNormalization(s, G: f32[8], B: f32[8], axis=-1)`

  it('keeps sums before norms apart where the fused kernel is slower, and says so', async () => {
    const { ops, reasons } = await made(`${block}\noutput z`)
    expect(ops).toBe('MatMul Add Sum LayerNormalization')
    expect(reasons).toEqual([
      'not written as SkipLayerNormalization: its kernel takes 2.5 to 12 times as long on ort-cpu'
    ])
  })

  it('keeps a sum with a constant apart too', async () => {
    const text = `input x: f32[1,3,8]
      s = Add(x, P: f32[1,3,8])
      z = LayerNormalization(s, G: f32[8], B: f32[8], axis=-1)
      output z`
    expect((await made(text)).ops).toBe('Sum LayerNormalization')
  })

  it('leaves a sum that ONNX Runtime does not join', async () => {
    const unknown = block
      .replace(
        'p = MatMul',
        'u = Compress(x, pick: bool[3]{1,1,1}, axis=1)\nv = Reshape(u, free: i64[3]{0,-1,8})\np = MatMul'
      )
      .replace('(x, W', '(v, W')
    expect((await made(`${unknown}\noutput z`)).ops).toBe('Compress Reshape MatMul Add Add LayerNormalization')
  })

  it('writes what is slower where asked for, with the bias and with the sum where that is read', async () => {
    expect((await made(`${block}\noutput z`, true)).ops).toBe('MatMul com.microsoft:SkipLayerNormalization')
    const both = await made(`${block}\nr = Relu(s)\noutput z, r`, true)
    expect(both.ops).toBe('MatMul com.microsoft:SkipLayerNormalization Relu')
    const rms = `input x: f32[N,T,8]\ninput y: f32[N,T,8]\ns = Add(x, y)
      z = SimplifiedLayerNormalization(s, G: f32[8], axis=-1, epsilon=1e-5, stash_type=1)\noutput z, s`
    expect((await made(rms, true)).ops).toBe('com.microsoft:SkipSimplifiedLayerNormalization')
    const bias = `input x: f32[N,T,8]\na = Add(x, C: f32[8])\ny = Gelu(a)\nb = Add(y, C)\nz = Gelu(b, approximate="tanh")\noutput z`
    expect((await made(bias, true)).ops).toBe('com.microsoft:BiasGelu com.microsoft:FastGelu')
    const quick = `input x: f32[N,T,8]\na = Mul(x, q: f32[]{1.702})\ns = Sigmoid(a)\nt = Mul(x, s)\nu = Sigmoid(t)\ny = Mul(u, t)\noutput y`
    expect((await made(quick, true)).ops).toBe('com.microsoft:QuickGelu com.microsoft:QuickGelu')
    expect(await made(quick)).toMatchObject({ ops: 'Mul Sigmoid Mul Sigmoid Mul', reasons: [] })
  })

  it('writes nothing for a target without such kernels', async () => {
    const { fused: _, ...other } = testContext().target
    const { ops, notes } = await made(`${block}\noutput z`, true, { ...other, name: 'other' })
    expect(ops).toBe('MatMul Add Add LayerNormalization')
    expect(notes[0]).toContain('no kernels')
  })
})
