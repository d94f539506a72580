/** Compiled models: random layers and real models against ONNX Runtime, the loader, refusals, and files that lie. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { PareError } from '../src/base/errors.ts'
import { rng as seeded } from '../src/base/random.ts'
import { loaderOf, lower, noteOf, wasmOf } from '../src/compile/index.ts'
import { formats, readNoted, writeModel } from '../src/formats/index.ts'
import { bindInputs } from '../src/ir/bind.ts'
import { edit } from '../src/ir/edit.ts'
import { tensor, toFloats } from '../src/ir/tensor.ts'
import { parse } from '../src/ir/text.ts'
import { load, nodeRunner } from '../src/node/index.ts'
import { applyRecipe } from '../src/passes/recipe.ts'
import { compiledRunner } from '../src/runtime/compiled.ts'
import { refuseMisfits, targetFor } from '../src/targets/index.ts'
import type { Model, Node, Tensor } from '../src/types.ts'
import { apart, feedsFor } from './compiled-apart.ts'
import { sharedData } from './shared.ts'

const engine = nodeRunner()
const compiled = compiledRunner('0')

const small = (max: number, min = 1): fc.Arbitrary<number> => fc.integer({ min, max })

describe('random layers give what ONNX Runtime gives', () => {
  const check = (text: fc.Arbitrary<string>): Promise<void> =>
    fc.assert(
      fc.asyncProperty(text, async (model) => {
        expect(await apart(parse(`opset 21\n${model}`)), model).toBeLessThan(1e-4)
      }),
      { seed: 16, numRuns: 60 }
    )

  it('convolutions, transposed and by groups too', { timeout: 120_000 }, () =>
    check(
      fc
        .record({
          ...{
            n: small(2),
            g: small(3),
            i: small(5),
            o: small(6),
            h: small(11),
            w: small(11),
            kh: small(3),
            kw: small(3)
          },
          ...{ s: small(3), d: small(2), p: small(2, 0), q: small(2, 0), transposed: fc.boolean(), relu: fc.boolean() }
        })
        .filter((c) => c.transposed || (c.h + 2 * c.p > (c.kh - 1) * c.d && c.w + c.p + c.q > (c.kw - 1) * c.d))
        .filter(
          (c) =>
            !c.transposed ||
            ((c.h - 1) * c.s + (c.kh - 1) * c.d + 1 > 2 * c.p && (c.w - 1) * c.s + (c.kw - 1) * c.d + 1 > c.p + c.q)
        )
        .map((c) => {
          const shape = c.transposed ? [c.i * c.g, c.o, c.kh, c.kw] : [c.o * c.g, c.i, c.kh, c.kw]
          const attrs = `group=${c.g}, strides=[${c.s},${c.s}], dilations=[${c.d},${c.d}], pads=[${c.p},${c.p},${c.p},${c.q}]`
          return `input x: f32[${c.n},${c.i * c.g},${c.h},${c.w}]
            const W: f32[${shape}]
            const B: f32[${c.o * c.g}]
            a = ${c.transposed ? 'ConvTranspose' : 'Conv'}(x, W, B, ${attrs})
            y = ${c.relu ? 'Relu' : 'Sigmoid'}(a)
            output y`
        })
    )
  )

  it('depthwise convolutions and pools', { timeout: 120_000 }, () =>
    check(
      fc
        .record({
          c: small(5),
          h: small(12, 3),
          w: small(12, 3),
          k: small(3),
          s: small(2),
          p: fc.boolean(),
          by: small(3, 0),
          n: small(2)
        })
        .map(({ c, h, w, k, s, p, by, n }) => {
          const pad = p && k > 1 ? 1 : 0
          const window = `strides=[${s},${s}], pads=[${pad},${pad},${pad},${pad}]`
          const ops = [
            `y = Conv(x, W, group=${c}, ${window})`,
            `y = MaxPool(x, kernel_shape=[${k},${k}], ${window})`,
            `y = AveragePool(x, kernel_shape=[${k},${k}], ${window})`,
            `y = AveragePool(x, kernel_shape=[${k},${k}], count_include_pad=1, ${window})`
          ]
          return `input x: f32[${n},${c},${h},${w}]
            const W: f32[${c},1,${k},${k}]
            ${ops[by]}
            output y`
        })
    )
  )

  it('matrices, residuals, normalizations', { timeout: 120_000 }, () =>
    check(
      fc.record({ m: small(7), k: small(9), n: small(11), b: small(3) }).map(
        ({ m, k, n, b }) => `input x: f32[${b},${m},${k}]
          const W: f32[${k},${n}]
          const U: f32[${n},${k}]
          const gain: f32[${k}]
          const shift: f32[${k}]
          a = MatMul(x, W)
          c = Gelu(a)
          d = MatMul(c, U)
          e = Add(d, x)
          f = LayerNormalization(e, gain, shift)
          t = Transpose(f, perm=[0,2,1])
          s = MatMul(f, t)
          y = Softmax(s)
          output y`
      )
    )
  )
})

const real = [
  'kws/ds_cnn.onnx',
  'cifar10-jpeg/resnet20.onnx',
  'imagenet/mobilenet_v1_025_224.onnx',
  'mnist/mnist-8.onnx'
]

describe('real models', () => {
  for (const name of real) {
    const path = sharedData(name)
    it.skipIf(!path)(`${name} compiled gives what ONNX Runtime gives`, { timeout: 120_000 }, async () => {
      const given = bindInputs(await load(path as string), {})
      const ctx = {
        engine,
        target: undefined as never,
        rng: seeded(0),
        signal: new AbortController().signal,
        progress: () => {},
        data: {}
      }
      const { model } = await applyRecipe(given, [['simplify', {}]], ctx)
      expect(await apart(model)).toBeLessThan(1e-4)
      const program = lower(model)
      expect(program.arena).toBeLessThan(program.unshared)
    })
  }
})

it('sizes that a model computes are constants, at every batch size', async () => {
  const model = parse(`opset 21
    input x: f32[N,4,6]
    s = Shape(x)
    n = Gather(s, zero: i64[1] {0})
    t = Concat(n, rest: i64[1] {24}, axis=0)
    r = Reshape(x, t)
    h = MatMul(r, W: f32[24,16])
    y = Relu(h)
    output y`)
  for (const N of [1, 5]) expect(await apart(bindInputs(model, { N }))).toBeLessThan(1e-4)
  const session = await compiled.open(model)
  const x = tensor('float32', [3, 4, 6], Array(72).fill(1))
  expect((await session.run({ x })).y?.shape).toEqual([3, 16])
})

const tiny = parse(`opset 21
input x: f32[1,4]
input k: i64[2]
const W: f32[4,3]
a = MatMul(x, W)
b = Add(k, k)
output a
output b`)

describe('the loader', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'pare-loader-'))
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  it('runs beside its module, or with the module inside, many times and by several instances', async () => {
    const bytes = wasmOf(lower(tiny))
    writeFileSync(join(folder, 'm.wasm'), bytes)
    writeFileSync(join(folder, 'm.mjs'), loaderOf(noteOf(bytes), { file: 'm.wasm' }))
    writeFileSync(join(folder, 'n.mjs'), loaderOf(noteOf(bytes), { inline: Buffer.from(bytes).toString('base64') }))
    for (const name of ['m.mjs', 'n.mjs']) {
      const { load: start } = await import(pathToFileURL(join(folder, name)).href)
      const [one, two] = [await start(), await start()]
      const x = Float32Array.of(1, 2, 3, 4)
      const first = one.run({ x, k: BigInt64Array.of(5n, -6n) })
      const kept = [...first.a]
      two.run({ x: x.map((v) => -v), k: BigInt64Array.of(1n, 1n) })
      expect([...first.a]).toEqual(kept)
      expect([...first.b]).toEqual([10n, -12n])
      expect(one.run({ x, k: BigInt64Array.of(0n, 0n) }).a).toBe(first.a)
      expect(() => one.run({ x })).toThrow('run() was not given: k')
      expect(() => one.run({ x: Float32Array.of(1), k: BigInt64Array.of(0n, 0n) })).toThrow(
        'takes x of 4, k of 2 numbers'
      )
    }
  })
})

describe('what cannot be compiled is refused by name', () => {
  const cases: Readonly<Record<string, readonly [row: string, text: string]>> = {
    'no loops for this operator': ['Det', 'input x: f32[4,4]\ny = Det(x)\noutput y'],
    'element type float64': ['values', 'input x: f64[4]\ny = Relu(x)\noutput y'],
    'the weight of the convolution is computed': [
      'Conv',
      'input x: f32[1,1,4,4]\ninput w: f32[1,1,3,3]\ny = Conv(x, w)\noutput y'
    ],
    'no elements': ['values', 'input x: f32[0,4]\ny = Relu(x)\noutput y']
  }
  for (const [why, [row, text]] of Object.entries(cases))
    it(why, () => {
      expect(() => lower(parse(`opset 21\n${text}`))).toThrow(
        expect.objectContaining({
          code: 'E_UNSUPPORTED',
          facts: expect.objectContaining({ [row]: expect.stringContaining(why) })
        })
      )
    })

  it('each reason once, with the nodes that it stands for counted', () => {
    const nodes = Array.from({ length: 12 }, (_, i) => `y${i} = Det(x)`).join('\n')
    const model = parse(`opset 21\ninput x: f32[4,4]\n${nodes}\ny = RandomNormalLike(x)\noutput y0\noutput y`)
    let facts: Readonly<Record<string, string>> = {}
    try {
      lower(model)
    } catch (error) {
      expect(error).toMatchObject({ message: 'the model cannot be compiled: 13 nodes cannot become code' })
      facts = (error as PareError).facts
    }
    expect(Object.keys(facts)).toEqual(['Det', 'RandomNormalLike'])
    expect(facts.Det).toMatch(/^no loops for this operator: (Det_\d+, ){7}Det_7 and 4 more$/)
  })

  it('values that take more memory than there are addresses', () => {
    const model = parse('opset 21\ninput x: f32[1,1,60000,60000]\ny = Relu(x)\noutput y')
    expect(() => lower(model)).toThrow(expect.objectContaining({ code: 'E_LIMIT' }))
  })

  it('nodes that wait for each other', () => {
    const model = parse('opset 21\ninput x: f32[4]\ny = Relu(x)\noutput y')
    const [node] = model.graph.nodes
    const turned: Model = {
      ...model,
      graph: { ...model.graph, nodes: [{ ...(node as Node), inputs: ['y'] }] }
    }
    expect(() => writeModel(turned, { format: 'wasm' })).toThrow(PareError)
  })

  it('free sizes, by name', () => {
    const model = parse('opset 21\ninput x: f32[N,T]\ny = Relu(x)\noutput y')
    expect(() => bindInputs(model, {})).toThrow(expect.objectContaining({ code: 'E_OPTION', hint: '--sizes T=64' }))
    expect(() => bindInputs(model, { K: 3 })).toThrow('no input has a free axis K')
    expect(bindInputs(model, { T: 8 }).graph.values.get('x')?.shape).toEqual([1, 8])
  })

  it('free sizes without a name, by input and axis', () => {
    const model = parse('opset 21\ninput x: f32[?,?]\ninput s: f32[2,?,4]\ny = Relu(x)\nz = Relu(s)\noutput y, z')
    expect(() => bindInputs(model, { 'x.1': 8 })).toThrow(expect.objectContaining({ hint: '--sizes s.1=64' }))
    const { values } = bindInputs(model, { 'x.1': 8, 's.1': 1 }).graph
    expect(['x', 's'].map((id) => values.get(id)?.shape)).toEqual([
      [1, 8],
      [2, 1, 4]
    ])
  })
})

it('modules that lie about themselves are refused', () => {
  const bytes = wasmOf(lower(tiny))
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.nat(255), fc.nat(bytes.length), (at, value, length) => {
      const changed = bytes.slice(0, length)
      if (at < length) changed[at] = value
      try {
        noteOf(changed)
      } catch (error) {
        expect(error).toMatchObject({ code: 'E_FORMAT' })
      }
    }),
    { seed: 16, numRuns: 3000 }
  )
})

it('a module whose input lies outside its memory is refused', async () => {
  const bytes = Buffer.from(wasmOf(lower(tiny)))
  const at = bytes.indexOf('"shape":[1,4]')
  expect(at).toBeGreaterThan(0)
  bytes.write('"shape":[9e8]', at, 'latin1')
  await expect(compiled.open(Uint8Array.from(bytes))).rejects.toMatchObject({ code: 'E_FORMAT' })
})

it('a compiled model is not written again', () => {
  const { model } = readNoted(wasmOf(lower(tiny)), { formats })
  expect(() => refuseMisfits(model, targetFor('ort-cpu'))).toThrow('a compiled model is not written again')
})

it('layers that differ only in their weights and places share their code', () => {
  const layers = (count: number): string =>
    Array.from({ length: count }, (_, i) => `y${i + 1} = Conv(y${i}, W${i}: f32[8,8,3,3], pads=[1,1,1,1])`).join('\n')
  const codeOf = (count: number): number => {
    const bytes = wasmOf(lower(parse(`opset 21\ninput y0: f32[1,8,12,12]\n${layers(count)}\noutput y${count}`)))
    return bytes.length - noteOf(bytes).constants
  }
  expect((codeOf(12) - codeOf(2)) / 10).toBeLessThan(0.15 * codeOf(1))
})

it('the same model gives the same bytes', () => {
  const make = (): Uint8Array => writeModel(tiny, { format: 'wasm' }).bytes
  expect(make()).toEqual(make())
})

describe('weights in float16', () => {
  const half = (shape: readonly number[]): Tensor => {
    const random = seeded(3)
    const count = shape.reduce((n, d) => n * d, 1)
    // Denormal ones, the greatest, and zeros of both signs among them.
    const special = [0, -0, 65504, -65504, 2 ** -24, -(2 ** -24), 2 ** -15]
    return tensor(
      'float16',
      shape,
      Array.from({ length: count }, (_, i) => special[i] ?? random.normal())
    )
  }
  const text = `opset 21
    input x: f32[1,12,5,5]
    const H: f16[24,12,3,3]
    const M: f16[24,20]
    W = Cast(H, to=1)
    V = Cast(M, to=1)
    a = Conv(x, W, pads=[1,1,1,1])
    b = GlobalAveragePool(a)
    c = Flatten(b)
    y = MatMul(c, V)
    output y`
  const stored = (): Model =>
    edit(parse(text), (draft) => {
      for (const [id, shape] of [
        ['H', [24, 12, 3, 3]],
        ['M', [24, 20]]
      ] as const)
        draft.set({ ...draft.value(id), id, type: 'tensor', data: half(shape) })
    })

  it('are computed with as float32, and give the same numbers', async () => {
    const model = stored()
    expect(await apart(model)).toBeLessThan(1e-4)
    const feeds = feedsFor(model)
    const outputs = [true, false].map((compact) => {
      const bytes = wasmOf(lower(model, { compact }))
      const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes))
      const { memory, run } = exports as { readonly memory: WebAssembly.Memory; readonly run: () => void }
      const { inputs, outputs: made } = noteOf(bytes)
      new Float32Array(memory.buffer, inputs[0]?.offset, 300).set(toFloats(feeds.x as Tensor))
      run()
      return { y: [...new Float32Array(memory.buffer, made[0]?.offset, 20)], bytes: bytes.length }
    })
    expect(outputs[0]?.y).toEqual(outputs[1]?.y)
    expect(outputs[0]?.bytes).toBeLessThan(0.65 * (outputs[1]?.bytes ?? 0))
  })
})

describe('weights in codes', () => {
  const codes = (model: string): string => `opset 21\n${model}`
  const models = {
    'of a matrix, by column': `input x: f32[3,7]
      const C: i8[7,5]
      const s: f32[5]
      W = DequantizeLinear(C, s, axis=1)
      y = MatMul(x, W)
      output y`,
    'of a convolution, with a bias of int32': `input x: f32[1,4,6,6]
      const C: i8[6,4,3,3]
      const s: f32[6]
      const B: i32[6]
      W = DequantizeLinear(C, s, axis=0)
      b = DequantizeLinear(B, s, axis=0)
      a = Conv(x, W, b, pads=[1,1,1,1])
      y = Relu(a)
      output y`,
    'depthwise, with zero points': `input x: f32[1,5,6,6]
      const C: u8[5,1,3,3]
      const s: f32[5]
      const z: u8[5]
      W = DequantizeLinear(C, s, z, axis=0)
      y = Conv(x, W, group=5)
      output y`,
    'transposed, by groups': `input x: f32[1,4,5,5]
      const C: i8[4,3,2,2]
      const s: f32[3]
      W = DequantizeLinear(C, s, axis=1)
      y = ConvTranspose(x, W, group=2, strides=[2,2])
      output y`,
    'in blocks, and of an element-wise operator': `input x: f32[2,8]
      const C: i8[8,4]
      const s: f32[2,4]
      const K: i8[4]
      const t: f32[] = 0.25
      W = DequantizeLinear(C, s, axis=0, block_size=4)
      k = DequantizeLinear(K, t)
      a = MatMul(x, W)
      b = Sigmoid(a)
      y = Pow(b, two: f32[] {2})
      z = Mul(y, k)
      output z`
  }
  for (const [name, text] of Object.entries(models))
    it(name, async () => {
      expect(await apart(parse(codes(text)))).toBeLessThan(1e-4)
    })

  it('stay one byte each in the module', () => {
    const text = (w: string): string => `opset 21\ninput x: f32[1,256]\n${w}\ny = MatMul(x, W)\noutput y`
    const asFloats = wasmOf(lower(parse(text('const W: f32[256,128]')))).length
    const asCodes = wasmOf(
      lower(parse(text('const C: i8[256,128]\nconst s: f32[128]\nW = DequantizeLinear(C, s, axis=1)')))
    ).length
    expect(asCodes).toBeLessThan(0.3 * asFloats)
  })
})
