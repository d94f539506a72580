/** Models on codes: the module gives exactly what the reference gives, and C exactly what the module gives. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { rng as seeded } from '../src/base/random.ts'
import { lower } from '../src/compile/index.ts'
import { bindInputs } from '../src/ir/bind.ts'
import { tensor, toFloats } from '../src/ir/tensor.ts'
import { parse } from '../src/ir/text.ts'
import type { Model, Tensor } from '../src/types.ts'
import { confined } from './confined.ts'
import { referenceOf } from './integer-reference.ts'

function feedsFor(model: Model, seed = 1): Record<string, Tensor> {
  const rng = seeded(seed)
  return Object.fromEntries(
    model.graph.inputs.map((id) => {
      const shape = (model.graph.values.get(id)?.shape ?? []) as readonly number[]
      const count = shape.reduce((n, d) => n * d, 1)
      return [
        id,
        tensor(
          'float32',
          shape,
          Array.from({ length: count }, () => 2 * rng.normal())
        )
      ]
    })
  )
}

/** Of every output: numbers that differ, of how many; and how the steps were made. */
function differing(model: Model): { readonly apart: number; readonly steps: readonly string[] } {
  const feeds = feedsFor(model)
  const [got, expected] = [confined(model, feeds), referenceOf(model, feeds)]
  let apart = 0
  for (const [id, want] of Object.entries(expected))
    toFloats(got[id] as Tensor).forEach((v, i) => {
      if (!Object.is(v, want[i]) && v !== want[i]) apart++
    })
  return { apart, steps: lower(model).routines.map((r) => r.what) }
}

const int = (max: number, min = 1): fc.Arbitrary<number> => fc.integer({ min, max })
const one = <T>(...all: T[]): fc.Arbitrary<T> => fc.constantFrom(...all)

/** Scales, zero points and types of activations. */
const codings = fc.record({ type: one('u8', 'i8'), scale: one(0.031, 0.05, 0.125), zero: int(255, 0) }).map((c) => ({
  ...c,
  zero: c.type === 'i8' ? c.zero - 128 : c.zero
}))
type Coding = typeof codings extends fc.Arbitrary<infer T> ? T : never

const quantize = (name: string, { type, scale, zero }: Coding): string =>
  `${name}q = QuantizeLinear(${name}, s_${name}: f32[] {${scale}}, z_${name}: ${type}[] {${zero}})
   ${name}d = DequantizeLinear(${name}q, s_${name}, z_${name})`
/** Weights of the given shape in int8. */
const weights = (name: string, shape: readonly number[], axis = 0): string =>
  `const ${name}c: i8[${shape}]
   const ${name}s: f32[${shape[axis]}]
   ${name} = DequantizeLinear(${name}c, ${name}s, axis=${axis})`

function check(text: fc.Arbitrary<string>, numRuns = 80): void {
  fc.assert(
    fc.property(text, (body) => {
      const model = bindInputs(parse(`opset 21\n${body}`), {})
      const { apart, steps } = differing(model)
      expect(
        steps.filter((s) => !/codes/.test(s)),
        body
      ).toEqual([])
      expect(apart, body).toBe(0)
    }),
    { seed: 16, numRuns }
  )
}

describe('random models on codes give what the reference gives, exactly', () => {
  it('convolutions: windows, strides, dilations, groups, few channels', { timeout: 120_000 }, () =>
    check(
      fc
        .record({
          ...{ n: int(2), g: one(1, 1, 1, 2), i: int(9), o: int(9), h: int(11), w: int(11), kh: int(3), kw: int(5) },
          ...{
            s: int(3),
            d: int(2),
            p: int(2, 0),
            q: int(2, 0),
            bias: fc.boolean(),
            x: codings,
            y: codings,
            ends: fc.boolean()
          }
        })
        .filter((c) => c.h + 2 * c.p > (c.kh - 1) * c.d && c.w + c.p + c.q > (c.kw - 1) * c.d)
        .map((c) => {
          const [i, o] = c.g === 1 ? [c.i, c.o] : [4 * Math.ceil(c.i / 4), 4 * Math.ceil(c.o / 4)]
          const attrs = `group=${c.g}, strides=[${c.s},${c.s}], dilations=[${c.d},${c.d}], pads=[${c.p},${c.p},${c.p},${c.q}]`
          return `input x: f32[${c.n},${i * c.g},${c.h},${c.w}]
            ${quantize('x', c.x)}
            ${weights('W', [o * c.g, i, c.kh, c.kw])}
            const B: f32[${o * c.g}]
            y = Conv(xd, W${c.bias ? ', B' : ''}, ${attrs})
            ${c.ends ? 'output y' : `${quantize('y', c.y)}\noutput yd`}`
        })
    )
  )

  it('convolutions with most blocks of weights zero', { timeout: 120_000 }, () =>
    check(
      fc
        .record({
          i: int(17),
          o: int(17),
          h: int(9, 3),
          w: int(9, 3),
          k: one(1, 3),
          s: int(2),
          x: codings,
          y: codings,
          seed: int(99)
        })
        .map((c) => {
          const kept = seeded(c.seed)
          const blocks = new Map<string, boolean>()
          const isKept = (o: number, i: number, tap: number): boolean => {
            const key = [o >> 2, i >> 2, tap].join()
            if (!blocks.has(key)) blocks.set(key, kept.next() < 0.2)
            return blocks.get(key) as boolean
          }
          const taps = c.k * c.k
          const codes = Array.from({ length: c.o * c.i * taps }, (_, n) => {
            const [tap, i, o] = [n % taps, Math.floor(n / taps) % c.i, Math.floor(n / taps / c.i)]
            return isKept(o, i, tap) ? ((n * 37) % 255) - 127 : 0
          })
          return `input x: f32[1,${c.i},${c.h},${c.w}]
            ${quantize('x', c.x)}
            const Ws: f32[${c.o}]
            W = DequantizeLinear(Wc: i8[${c.o},${c.i},${c.k},${c.k}] {${codes}}, Ws, axis=0)
            y = Conv(xd, W, strides=[${c.s},${c.s}], pads=[${c.k >> 1},${c.k >> 1},${c.k >> 1},${c.k >> 1}])
            ${quantize('y', c.y)}
            output yd`
        })
    )
  )

  it('depthwise convolutions, pools, means', { timeout: 120_000 }, () =>
    check(
      fc
        .record({
          ...{
            n: int(2),
            c: int(9, 2),
            h: int(12, 3),
            w: int(12, 3),
            k: int(3),
            s: int(2),
            p: fc.boolean(),
            by: int(5, 0)
          },
          ...{ x: codings, y: codings }
        })
        .map(({ n, c, h, w, k, s, p, by, x, y }) => {
          const pad = p && k > 1 ? 1 : 0
          const window = `strides=[${s},${s}], pads=[${pad},${pad},${pad},${pad}]`
          const ops = [
            `y = Conv(xd, W, group=${c}, ${window})`,
            `y = MaxPool(xd, kernel_shape=[${k},${k}], ${window})`,
            `y = AveragePool(xd, kernel_shape=[${k},${k}], count_include_pad=1, ${window})`,
            'y = GlobalAveragePool(xd)',
            'y = ReduceMean(xd, a: i64[2] {2,3}, keepdims=1)',
            `y = AveragePool(xd, kernel_shape=[${h},${w}])`
          ]
          return `input x: f32[${n},${c},${h},${w}]
            ${quantize('x', x)}
            ${weights('W', [c, 1, k, k])}
            ${ops[by]}
            ${quantize('y', by === 1 ? x : y)}
            output yd`
        })
    )
  )

  it('a pool over whole maps is their mean, however large', () => {
    const { apart, steps } = differing(
      parse(`opset 21
        input x: f32[1,6,25,5]
        ${quantize('x', { type: 'u8', scale: 0.05, zero: 7 })}
        y = AveragePool(xd, kernel_shape=[25,5])
        ${quantize('y', { type: 'u8', scale: 0.03, zero: 120 })}
        output yd`)
    )
    expect(apart).toBe(0)
    expect(steps.some((s) => s.includes('mean of 125'))).toBe(true)
  })

  it('matrices', { timeout: 120_000 }, () =>
    check(
      fc.record({ m: int(7), k: int(19), n: int(37), ends: fc.boolean(), x: codings, y: codings }).map(
        ({ m, k, n, ends, x, y }) => `input x: f32[${m},${k}]
          ${quantize('x', x)}
          ${weights('W', [k, n], 1)}
          y = MatMul(xd, W)
          ${ends ? 'output y' : `${quantize('y', y)}\noutput yd`}`
      )
    )
  )

  it('networks with residuals, joined and moved maps', { timeout: 120_000 }, () =>
    check(
      fc
        .record({
          c: int(18),
          e: int(7),
          h: int(7, 3),
          w: int(7, 3),
          joined: one('Add(bd, xd)', 'Sub(xd, bd)', 'Mul(bd, xd)', 'Add(xd, bd)'),
          q: fc.array(codings, { minLength: 6, maxLength: 6 })
        })
        .map(
          ({ c, e, h, w, joined, q }) => `input x: f32[1,${c},${h},${w}]
          ${quantize('x', q[0] as Coding)}
          ${weights('W', [c, c, 3, 3])}
          a = Conv(xd, W, pads=[1,1,1,1])
          b = Relu(a)
          ${quantize('b', q[1] as Coding)}
          s = ${joined}
          ${quantize('s', q[2] as Coding)}
          t = Sigmoid(sd)
          ${quantize('t', q[2] as Coding)}
          j = Concat(sd, td, axis=1)
          ${quantize('j', q[2] as Coding)}
          k = Slice(jd, b0: i64[2] {0,0}, b1: i64[2] {99,99}, b2: i64[2] {2,3}, b3: i64[2] {2,1})
          ${quantize('k', q[2] as Coding)}
          ${weights('V', [e, 2 * c, 1, 1])}
          v = Conv(kd, V)
          ${quantize('v', q[3] as Coding)}
          g = GlobalAveragePool(vd)
          ${quantize('g', q[4] as Coding)}
          f = Flatten(gd)
          ${quantize('f', q[4] as Coding)}
          ${weights('U', [e, 5], 1)}
          y = MatMul(fd, U)
          output y`
        ),
      40
    )
  )
})
