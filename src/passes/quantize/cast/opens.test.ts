/**
 * Files in float16 that ONNX Runtime once refused, or that ended its process, at its default optimisation. Each is opened
 * and run in a process of its own.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { difference, outputsOf, randomFeeds, testContext } from '../../../../test/compare.ts'
import { writeModel } from '../../../formats/index.ts'
import { constants } from '../../../ir/graph.ts'
import { parse } from '../../../ir/text.ts'
import { measureProcess } from '../../../node/measure.ts'
import { inferShapes } from '../../../ops/infer.ts'
import type { Model } from '../../../types.ts'
import { parseOptions } from '../../pass.ts'
import { castFloat } from './cast-float.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-cast-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const cast = (m: Model, o: object, ctx = testContext()): Promise<Model> =>
  castFloat.run(m, parseOptions(castFloat, { minElements: 16, ...o }), ctx)

/** Opens the file with two runs; then compares its numbers with the original's, without optimisation. */
async function opened(text: string, o: object = { compute: true }): Promise<number> {
  const m = inferShapes(parse(text))
  const made = await cast(m, o)
  const path = join(folder, 'model.onnx')
  writeFileSync(path, writeModel(made).bytes)
  const feeds = randomFeeds(m, 1, 4)
  await measureProcess(path, { feeds, repeats: 1 })
  return difference(await outputsOf(m, feeds), await outputsOf(made, feeds))
}

const mean = (head: string, h: string): string => `
  opset 21
  input x: f32[2,4,16]
  const ax: i64[1] = -1
  const two: f32[] = 2
  const eps: f32[] = 1e-5
  ${head}
  m: f32[2,4,1] = ReduceMean(${h}, ax, keepdims=1)
  d: f32[2,4,16] = Sub(${h}, m)
  p: f32[2,4,16] = Pow(d, two)
  v: f32[2,4,1] = ReduceMean(p, ax, keepdims=1)
  e: f32[2,4,1] = Add(v, eps)
  s: f32[2,4,1] = Sqrt(e)
  q: f32[2,4,16] = Div(d, s)
  g: f32[2,4,16] = Mul(q, gamma: f32[16])
  b: f32[2,4,16] = Add(g, beta: f32[16])
  y: f32[2,4,16] = MatMul(b, w: f32[16,16])
  output y`

const square = (head: string, h: string): string => `
  opset 21
  input x: f32[2,4,16]
  const ax: i64[1] = -1
  const two: f32[] = 2
  const eps: f32[] = 1e-5
  ${head}
  p: f32[2,4,16] = Pow(${h}, two)
  v: f32[2,4,1] = ReduceMean(p, ax, keepdims=1)
  e: f32[2,4,1] = Add(v, eps)
  s: f32[2,4,1] = Sqrt(e)
  q: f32[2,4,16] = Div(${h}, s)
  g: f32[2,4,16] = Mul(q, gamma: f32[16])
  y: f32[2,4,16] = MatMul(g, w: f32[16,16])
  output y`

const readers = {
  'an input': ['', 'x'],
  Max: ['const low: f32[] = -1\nh: f32[2,4,16] = Max(x, low)', 'h'],
  CumSum: ['const at: i64[] = 1\nh: f32[2,4,16] = CumSum(x, at)', 'h'],
  Celu: ['h: f32[2,4,16] = Celu(x)', 'h'],
  MatMul: ['h: f32[2,4,16] = MatMul(x, w0: f32[16,16])', 'h']
} as const

const turned = {
  'an input': 'h: f32[4,2,16] = Identity(x)',
  Reshape: 'const to: i64[3] = 4,2,16\nh: f32[4,2,16] = Reshape(x, to)',
  Concat: 'h: f32[8,2,16] = Concat(x, x, axis=0)',
  If: `const c: bool[] = 1
    h: f32[4,2,16] = If(c, then_branch={
      a: f32[4,2,16] = Tanh(x)
      output a
    }, else_branch={
      a2: f32[4,2,16] = Neg(x)
      output a2
    })`
} as const

describe('cast-float, files that open', () => {
  it.each(Object.entries(readers))('mean and deviation spelled out behind %s', async (_, [head, h]) => {
    expect(await opened(mean(head, h))).toBeLessThan(5e-3)
    expect(await opened(square(head, h))).toBeLessThan(5e-3)
  })
  it.each(Object.entries(turned))('MatMul of a Transpose of the first axis behind %s', async (_, head) => {
    const text = `
      opset 21
      input x: f32[4,2,16]
      ${head}
      t: f32[2,?,16] = Transpose(h, perm=[1,0,2])
      y: f32[2,?,16] = MatMul(t, w: f32[16,16])
      output y`
    expect(await opened(text)).toBeLessThan(5e-3)
  })
  it('Celu, which ONNX has in float32 only', async () => {
    const text = 'opset 21\ninput x: f32[2,16]\nh = Celu(x)\ny = MatMul(h, w: f32[16,16])\noutput y'
    expect(await opened(text)).toBeLessThan(5e-3)
  })
})

const product = (w: readonly number[]): Model =>
  parse(`opset 21\ninput x: f32[N,8]\nconst w: f32[8,8] = ${w.join(', ')}\ny = MatMul(x, w)\noutput y`)
const waves = Array.from({ length: 64 }, (_, i) => Math.sin(i + 1))

describe('cast-float, numbers below the least of float16', () => {
  it.each([3e-6, 1e-7, 1e-9])('keeps weights of about %s in float32, and says so', async (by) => {
    for (const compute of [false, true]) {
      const ctx = testContext()
      const made = await cast(product(waves.map((w) => by * w)), { compute }, ctx)
      expect(ctx.refusals.map((r) => r.reason).join()).toContain('too small for float16')
      expect(constants(made.graph).every((v) => v.dtype === 'float32')).toBe(true)
    }
  })
  it('leaves a guard under a root above zero, whatever counts as a weight', async () => {
    for (const compute of [false, true])
      expect(await opened(square('', 'x').replace('1e-5', '1e-12'), { compute, minElements: 1 })).toBeLessThan(5e-3)
  })
  it('names channels that become zero', async () => {
    const ctx = testContext()
    await cast(product(waves.map((w, i) => (i < 8 ? 1e-10 * w : w))), {}, ctx)
    expect(ctx.notes.join()).toContain('weight w: 1 of 8 channels on axis 0')
  })
})

describe('cast-float --compute, factors and divisors', () => {
  const scaled = (op: string, k: number | string, back: string): string =>
    `input x: f32[4,8]
     const k: ${typeof k === 'number' ? 'f32[]' : 'f32[4]'} = ${k}
     ${typeof k === 'number' ? '' : 'const s: i64[3] = 0, 2, 4\n'}
     a = MatMul(x, w: f32[8,8])
     ${typeof k === 'number' ? 'm = Identity(a)' : 'm = Reshape(a, s)'}
     b = ${op}(m, k)
     const r: f32[] = ${back}
     y = Mul(b, r)
     output y`
  it.each([
    ['Div by 1e-7', 'Div', 1e-7, '1e-7'],
    ['Div by 1e-9', 'Div', 1e-9, '1e-9'],
    ['Div by 1e6', 'Div', 1e6, '1000000'],
    ['Mul by 1e6', 'Mul', 1e6, '0.000001'],
    ['Mul by −1e5', 'Mul', -1e5, '-0.00001'],
    ['Mul by 1e-9', 'Mul', 1e-9, '1000000000'],
    ['Mul by four numbers', 'Mul', '1e6, 2e6, 3e6, 4e6', '0.000001'],
    ['Div by four numbers', 'Div', '1e-9, 2e-9, 3e-9, 4e-9', '1e-9']
  ])('%s keeps float32, by name', async (_, op, k, back) => {
    const text = `opset 21\n${scaled(op, k, back)}`
    const ctx = testContext()
    await cast(parse(text), { compute: true, minElements: 16 }, ctx)
    expect(ctx.refusals.map((r) => r.reason).join()).toMatch(/(factor|divisor) k .*float16/)
    expect(await opened(text, { compute: true, minElements: 16 })).toBeLessThan(5e-3)
  })
  it('takes factors of −1e9 and below for masks', async () => {
    const text = `opset 21
      input x: f32[4,8]
      input m: f32[4,8]
      const big: f32[] = -1e9
      a = MatMul(x, w: f32[8,8])
      b = Mul(m, big)
      c = Add(a, b)
      y = Softmax(c)
      output y`
    const ctx = testContext()
    await cast(parse(text), { compute: true, minElements: 16 }, ctx)
    expect(ctx.refusals).toEqual([])
    expect(ctx.notes.join()).toContain('clamped: big')
  })
})

describe('a few numbers beyond float16', () => {
  const normalized = (variance: string): string => `opset 21
    input x: f32[2,3,4,4]
    const s: f32[3] = 1, 0.8, 1.2
    const b: f32[3] = 0.1, 0, -0.2
    const m: f32[3] = 4, 20, 500
    const v: f32[3] = ${variance}
    const k: f32[] = 4000
    a = Mul(x, k)
    c = Conv(a, w: f32[3,3,1,1])
    n = BatchNormalization(c, s, b, m, v)
    y = Sigmoid(n)
    output y`
  it('keep a normalization by statistics in float32', async () => {
    const text = normalized('1.0e7, 2.5e7, 9.8e7')
    const ctx = testContext()
    await cast(parse(text), { compute: true }, ctx)
    expect(ctx.refusals.map((r) => r.reason)).toEqual(['v has values beyond float16 (65504): stays in float32'])
    expect(ctx.notes.join()).not.toContain('clamped')
    expect(await opened(text, { compute: true })).toBeLessThan(5e-3)
  })
  it('are moved to its ends where they stand for infinity', async () => {
    const text = `opset 21
      input x: f32[4,8]
      const low: f32[8] = 0, 0, -1e9, 0, 0, -3.4e38, 0, 0
      a = MatMul(x, w: f32[8,8])
      c = Add(a, low)
      y = Softmax(c)
      output y`
    const ctx = testContext()
    await cast(parse(text), { compute: true }, ctx)
    expect(ctx.refusals).toEqual([])
    expect(ctx.notes.join()).toContain('clamped: low')
    expect(await opened(text, { compute: true })).toBeLessThan(5e-3)
  })
})

describe('scatter with a reduction', () => {
  it.each([
    ['ScatterElements', 'y = ScatterElements(h, i, u, axis=0, reduction="add"); const i: i64[2,3] = 1, 0, 2, 1, 2, 2'],
    ['ScatterND', 'y = ScatterND(h, i, u, reduction="mul"); const i: i64[2,1] = 3, 1']
  ])('keeps float32: kernels for processors reduce no halves (%s)', async (_, scatter) => {
    const text = `input x: f32[4,3]; const u: f32[2,3] = 1, 2, 3, 4, 5, 6; h = MatMul(x, w: f32[3,3]); ${scatter}; output y`
    expect(await opened(text.replaceAll('; ', '\n'), { compute: true, minElements: 1 })).toBeLessThan(2e-3)
  })
})

describe('a normalization in parts, in a graph inside a node', () => {
  it('opens where its value and its constants are those of the graph around it', async () => {
    const part = (p: string): string =>
      `${p}m = ReduceMean(x, a); ${p}d = Sub(x, ${p}m); ${p}q = Pow(${p}d, t); ${p}v = ReduceMean(${p}q, a); ` +
      `${p}e = Add(${p}v, p); ${p}r = Sqrt(${p}e); ${p}n = Div(${p}d, ${p}r); ${p}g = Mul(${p}n, s); ${p}y = Add(${p}g, b); output ${p}y`
    const text =
      'input x: f32[2,3,8]; input c: bool[]; const a: i64[1] = -1; const t: f32[] = 2; const p: f32[] = 0.00001; const s: f32[8]; ' +
      `const b: f32[8]; y: f32[2,3,8] = If(c, then_branch={ ${part('k')} }, else_branch={ ${part('l')} }); output y`
    expect(await opened(text.replaceAll('; ', '\n'), { compute: true, minElements: 1 })).toBeLessThan(5e-3)
  })
})
