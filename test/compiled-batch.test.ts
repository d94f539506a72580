/** Several numbers of samples in one module: each gives what a module of its own gives, and the weights are there once. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loaderOf, loaderTypes, noteOf } from '../src/compile/index.ts'
import { writeModel } from '../src/formats/index.ts'
import { wasm } from '../src/formats/wasm.ts'
import { tensor, toFloats } from '../src/ir/tensor.ts'
import { parse } from '../src/ir/text.ts'
import { compiledFiles } from '../src/node/compiled-runner.ts'
import { compiledRunner } from '../src/runtime/compiled.ts'
import type { Model, Tensor } from '../src/types.ts'

const onFloats = parse(`opset 21
  input x: f32[N,5,9,7]
  const A: f32[24,5,3,3]
  a = Conv(x, A, pads=[1,1,1,1], strides=[2,2])
  g = GlobalAveragePool(a)
  f = Flatten(g)
  const D: f32[24,40]
  y = MatMul(f, D)
  output y`)

const codes = (name: string, scale: number, zero: number): string =>
  `${name}q = QuantizeLinear(${name}, s_${name}: f32[] {${scale}}, z_${name}: u8[] {${zero}})
   ${name}d = DequantizeLinear(${name}q, s_${name}, z_${name})`
const onCodes = parse(`opset 21
  input x: f32[N,5,9,7]
  ${codes('x', 0.02, 120)}
  const Ac: i8[24,5,3,3]
  const As: f32[24]
  A = DequantizeLinear(Ac, As, axis=0)
  a = Conv(xd, A, pads=[1,1,1,1])
  ${codes('a', 0.05, 3)}
  g = GlobalAveragePool(ad)
  ${codes('g', 0.02, 30)}
  f = Flatten(gd)
  ${codes('f', 0.02, 30)}
  const Dc: i8[24,40]
  const Ds: f32[40]
  D = DequantizeLinear(Dc, Ds, axis=1)
  y = MatMul(fd, D)
  output y`)

const samples = (n: number): Tensor =>
  tensor(
    'float32',
    [n, 5, 9, 7],
    Float32Array.from({ length: n * 315 }, (_, i) => 2 * Math.sin(i * i))
  )
const bytesOf = (model: Model, batch: readonly number[]): Uint8Array<ArrayBuffer> =>
  wasm.write?.(model, { batchSizes: [...batch] }).bytes as Uint8Array<ArrayBuffer>

for (const [name, model] of [
  ['floats', onFloats],
  ['codes', onCodes]
] as const)
  describe(name, () => {
    const bytes = bytesOf(model, [8, 1, 3, 8])
    const alone = bytesOf(model, [8])

    it('each number of samples gives what its own module gives', async () => {
      for (const runner of [compiledRunner('0'), compiledFiles()]) {
        const session = await runner.open(bytes)
        expect(session.inputs[0]?.shape).toEqual(['N', 5, 9, 7])
        for (const n of [3, 1, 8, 1]) {
          const own = await compiledRunner('0').open(bytesOf(model, [n]))
          const [got, expected] = [await session.run({ x: samples(n) }), await own.run({ x: samples(n) })]
          expect(got.y?.shape).toEqual([n, 40])
          expect([...toFloats(got.y as Tensor)]).toEqual([...toFloats(expected.y as Tensor)])
        }
        await expect(session.run({ x: samples(2) })).rejects.toThrow(/\[1,5,9,7\] or \[3,5,9,7\] or \[8,5,9,7\]/)
        await session.close()
      }
    })

    it('the memory is that of the largest, and the weights are there once', () => {
      const [all, largest] = [noteOf(bytes), noteOf(alone)]
      expect(all.arena).toBeLessThan(largest.arena * 1.05)
      expect(all.constants).toBeLessThan(largest.constants * 1.1)
      expect(wasm.read(bytes).model.graph.values.get('y')?.shape).toEqual(['N', 40])
    })
  })

describe('the loader', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pare-batch-'))
  const bytes = bytesOf(onFloats, [1, 8])
  beforeAll(() => {
    writeFileSync(join(folder, 'm.wasm'), bytes)
    writeFileSync(join(folder, 'm.mjs'), loaderOf(noteOf(bytes), { file: 'm.wasm' }))
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  it('runs by what it is given, and names the set where that is none of it', async () => {
    const { load } = await import(pathToFileURL(join(folder, 'm.mjs')).href)
    const model = await load()
    const session = await compiledRunner('0').open(bytes)
    for (const n of [8, 1, 8]) {
      const { y } = model.run({ x: toFloats(samples(n)) })
      expect([...y]).toEqual([...toFloats((await session.run({ x: samples(n) })).y as Tensor)])
    }
    expect(() => model.run({ x: new Float32Array(630) })).toThrow(
      'takes x of 315 or x of 2520 numbers, and was given x of 630'
    )
    expect(() => model.run()).toThrow('run() was not given: x')
    expect(() => model.run({ z: new Float32Array(315) })).toThrow('run() was not given: x')
  })

  it('has types that say the set', () => {
    expect(loaderTypes(noteOf(bytes))).toContain('/** [1 or 8, 5, 9, 7] */')
  })
})

it('a number of samples that the model fixes is refused', () => {
  const fixed = parse(`opset 21\ninput x: f32[2,3]\ny = Relu(x)\noutput y`)
  expect(() => writeModel(fixed, { format: 'wasm', batchSizes: [1, 8] })).toThrow(/the number of samples is fixed/)
})
