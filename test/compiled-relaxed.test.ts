/** Modules with two variants: the file holds both, and a browser with relaxed SIMD gives the numbers that base SIMD gives. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { rng as seeded } from '../src/base/random.ts'
import { cutOf, loaderOf, lower, moduleOf, noteOf, relaxedOf, wasmOf } from '../src/compile/index.ts'
import { edit } from '../src/ir/edit.ts'
import { tensor, toFloats, toNumbers } from '../src/ir/tensor.ts'
import { parse } from '../src/ir/text.ts'
import { compiledRunner } from '../src/runtime/compiled.ts'
import type { Model, Tensor } from '../src/types.ts'
import { type Chromium, executable, openChromium } from './browser.ts'

const codes = (name: string, scale: number, zero: number): string =>
  `${name}q = QuantizeLinear(${name}, s_${name}: f32[] {${scale}}, z_${name}: u8[] {${zero}})
   ${name}d = DequantizeLinear(${name}q, s_${name}, z_${name})`
const weights = (name: string, shape: readonly number[], axis = 0): string =>
  `const ${name}c: i8[${shape}]
   const ${name}s: f32[${shape[axis]}]
   ${name} = DequantizeLinear(${name}c, ${name}s, axis=${axis})`

const given = parse(`opset 21
  input x: f32[1,5,13,9]
  ${codes('x', 0.02, 120)}
  ${weights('A', [12, 5, 3, 3])}
  a = Conv(xd, A, pads=[1,1,1,1])
  ${codes('a', 0.05, 3)}
  ${weights('B', [12, 1, 3, 3])}
  b = Conv(ad, B, group=12, pads=[1,1,1,1], strides=[2,2])
  ${codes('b', 0.04, 0)}
  ${weights('C', [20, 12, 1, 1])}
  c = Conv(bd, C)
  ${codes('c', 0.06, 255)}
  g = GlobalAveragePool(cd)
  ${codes('g', 0.02, 30)}
  f = Flatten(gd)
  ${codes('f', 0.02, 30)}
  ${weights('D', [20, 11], 1)}
  y = MatMul(fd, D)
  output y`)

/** With weights that fill `bits` bits. */
const narrowed = (bits: 7 | 8): Model =>
  edit(given, (draft) => {
    for (const { id, data } of given.graph.values.values())
      if (data?.dtype === 'int8')
        draft.set({
          ...draft.value(id),
          id,
          type: 'tensor',
          data: tensor(
            'int8',
            data.shape,
            Array.from(toNumbers(data), (_, i) => (bits === 7 ? ((i * 37) % 129) - 64 : 127))
          )
        })
  })

const random = seeded(3)
const x = Float32Array.from({ length: 5 * 13 * 9 }, () => 3 * random.normal())

it('a file holds both variants, each a module of its own', () => {
  const model = narrowed(7)
  const bytes = moduleOf(model)
  const cut = cutOf(bytes)
  if (!cut) throw new Error('one variant')
  const [base, relaxed] = [wasmOf(lower(model)), relaxedOf(bytes, cut)]
  expect(bytes.subarray(0, base.length)).toEqual(base)
  expect(noteOf(relaxed)).toEqual(noteOf(base))
  expect(relaxed.length).toBeLessThan(base.length)
})

it('relaxed SIMD has a form for processors that multiply four bytes at once, and the loader makes the same', () => {
  const bytes = moduleOf(narrowed(7))
  const cut = cutOf(bytes) as NonNullable<ReturnType<typeof cutOf>>
  const [pairs, fours] = [relaxedOf(bytes, cut), relaxedOf(bytes, cut, 'fours')]
  expect(fours).not.toEqual(pairs)
  const loader = loaderOf(noteOf(bytes), { file: 'm.wasm', variants: { cut, length: bytes.length } })
  const own = /function inFours[\s\S]*?\n}\n/.exec(loader)?.[0]
  new Function('code', `${own} inFours(code)`)(pairs)
  expect(pairs).toEqual(fours)
})

it('weights whose pairs of products leave 16 bits are not multiplied as bytes', () => {
  expect(cutOf(moduleOf(narrowed(8)))).toBeUndefined()
})

describe.skipIf(!executable)('in headless Chromium (skipped where it is not installed)', () => {
  const bytes = moduleOf(narrowed(7))
  const variants = { cut: cutOf(bytes) as NonNullable<ReturnType<typeof cutOf>>, length: bytes.length }
  const loader = loaderOf(noteOf(bytes), { inline: Buffer.from(bytes).toString('base64'), variants })
  let browser: Chromium | undefined
  beforeAll(async () => {
    browser = await openChromium({
      '/loader.js': new TextEncoder().encode(loader),
      '/pairs.wasm': relaxedOf(bytes, variants.cut),
      '/fours.wasm': relaxedOf(bytes, variants.cut, 'fours')
    })
  }, 120_000)
  afterAll(() => browser?.close())

  it('the loader and relaxed SIMD give the very numbers of base SIMD', { timeout: 120_000 }, async () => {
    const inPage = (await browser?.run(`
      const x = Float32Array.from(${JSON.stringify([...x])})
      const text = new TextDecoder().decode(await bytesAt('/loader.js'))
      const { load } = await import(URL.createObjectURL(new Blob([text], { type: 'text/javascript' })))
      const of = async (path) => [...(await load(new WebAssembly.Module(await bytesAt(path)))).run({ x }).y]
      return { loader: [...(await load()).run({ x }).y], pairs: await of('/pairs.wasm'), fours: await of('/fours.wasm') }`)) as {
      readonly [way: string]: number[]
    }
    const session = await compiledRunner('0').open(narrowed(7))
    const y = [...toFloats((await session.run({ x: tensor('float32', [1, 5, 13, 9], x) })).y as Tensor)]
    expect(inPage).toEqual({ loader: y, pairs: y, fours: y })
  })
})
