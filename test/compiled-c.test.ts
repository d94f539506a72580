/** Models as C against ONNX Runtime and against the same model as WebAssembly; skipped where there is no C compiler. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { rng } from '../src/base/random.ts'
import { cOf, headerOf } from '../src/compile/index.ts'
import { lower } from '../src/compile/lower.ts'
import { bindInputs } from '../src/ir/bind.ts'
import { tensor, toFloats } from '../src/ir/tensor.ts'
import { parse } from '../src/ir/text.ts'
import { load, nodeRunner } from '../src/node/index.ts'
import { applyRecipe } from '../src/passes/recipe.ts'
import { compiledRunner } from '../src/runtime/compiled.ts'
import type { Model, Tensor } from '../src/types.ts'
import { sharedData } from './shared.ts'

const hasCompiler = spawnSync('gcc', ['--version']).status === 0
const engine = nodeRunner()

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-c-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

/** Floats of the only output that the C program of a model gives, and what the module gives. */
async function both(
  model: Model,
  flags: readonly string[]
): Promise<{ readonly c: Float32Array; readonly wasm: Float32Array }> {
  const program = lower(model, { compact: false, dots: 'all' })
  const [input, output] = [program.inputs[0], program.outputs[0]]
  if (!input || !output) throw new Error('a model without inputs or outputs')
  const count = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1)
  const random = rng(7)
  const x = Float32Array.from({ length: count(input.shape) }, () => random.normal())
  const source = cOf(program, 'm')
  const header = headerOf(source) as string
  writeFileSync(join(folder, 'm.c'), source)
  writeFileSync(join(folder, 'm.h'), header)
  const [takes, gives] = [/(m_input_\w+)\(void\);/.exec(header)?.[1], /(m_output_\w+)\(void\);/.exec(header)?.[1]]
  writeFileSync(
    join(folder, 'main.c'),
    `#include <stdio.h>
#include "m.h"
int main(void) {
  if (fread(${takes}(), 4, ${x.length}, stdin) != ${x.length}) return 1;
  m_run();
  fwrite(${gives}(), 4, ${count(output.shape)}, stdout);
  return 0;
}`
  )
  const warnings = ['-Wall', '-Wextra', '-Werror', '-Wno-unused-function']
  execFileSync('gcc', ['-std=c99', ...warnings, ...flags, '-o', 'm', 'main.c', 'm.c', '-lm'], { cwd: folder })
  const made = spawnSync(join(folder, 'm'), { input: Buffer.from(x.buffer), maxBuffer: 1e9 })
  expect(made.stderr.toString()).toBe('')
  expect(made.status).toBe(0)
  const session = await compiledRunner('0').open(model)
  const feeds: Record<string, Tensor> = { [input.name]: tensor('float32', input.shape, x) }
  const wasm = toFloats((await session.run(feeds))[output.name] as Tensor)
  const expected = toFloats((await (await engine.open(model)).run(feeds))[output.name] as Tensor)
  const most = expected.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
  expect(Math.max(...wasm.map((v, i) => Math.abs(v - (expected[i] as number)))) / (1 + most)).toBeLessThan(1e-4)
  return { c: new Float32Array(Uint8Array.from(made.stdout).buffer), wasm }
}

const checked = ['-O0', '-fsanitize=address,undefined', '-fno-sanitize-recover=all']

describe.skipIf(!hasCompiler)('models as C (needs gcc)', () => {
  it('a network of many operators gives the same numbers under sanitizers', { timeout: 300_000 }, async () => {
    const model = parse(`opset 21
      input x: f32[2,3,9,7]
      a = Conv(x, W: f32[5,3,3,3], B: f32[5], pads=[1,1,1,1], strides=[2,1])
      b = HardSwish(a)
      c = MaxPool(b, kernel_shape=[2,2], strides=[1,1], pads=[0,0,1,1])
      d = Conv(c, D: f32[5,1,3,3], group=5, pads=[1,1,1,1])
      e = Tanh(d)
      f = Add(e, c)
      g = ConvTranspose(f, T: f32[5,4,2,2], strides=[2,2])
      h = Transpose(g, perm=[0,2,3,1])
      i = LayerNormalization(h, G: f32[4], S: f32[4])
      j = MatMul(i, M: f32[4,6])
      k = Gelu(j)
      l = ReduceMean(k, axes: i64[2] {1,2}, keepdims=0)
      m = Softmax(l)
      output m`)
    for (const flags of [checked, [...checked, '-DPORTABLE'], ['-O3', '-march=native']]) {
      const { c, wasm } = await both(model, flags)
      expect(c, flags.join(' ')).toEqual(wasm)
    }
  })

  it('a network on codes gives the same numbers under sanitizers, with and without vectors', {
    timeout: 300_000
  }, async () => {
    const codes = (name: string, scale: number, zero: number, type = 'u8'): string =>
      `${name}q = QuantizeLinear(${name}, s_${name}: f32[] {${scale}}, z_${name}: ${type}[] {${zero}})
       ${name}d = DequantizeLinear(${name}q, s_${name}, z_${name})`
    const weights = (name: string, shape: readonly number[]): string =>
      `const ${name}c: i8[${shape}]
       const ${name}s: f32[${shape[0]}]
       ${name} = DequantizeLinear(${name}c, ${name}s, axis=0)`
    const model = parse(`opset 21
      input x: f32[1,3,9,7]
      ${codes('x', 0.02, 120)}
      ${weights('A', [6, 3, 3, 3])}
      a = Conv(xd, A, pads=[1,1,1,1], strides=[2,1])
      ${codes('a', 0.05, 3, 'i8')}
      ${weights('B', [6, 1, 3, 3])}
      b = Conv(ad, B, group=6, pads=[1,1,1,1])
      ${codes('b', 0.04, 99)}
      c = Add(ad, bd)
      ${codes('c', 0.05, 100)}
      d = HardSwish(cd)
      ${codes('d', 0.05, 30)}
      e = MaxPool(dd, kernel_shape=[2,2])
      ${codes('e', 0.05, 30)}
      f = GlobalAveragePool(ed)
      ${codes('f', 0.02, 30)}
      ${weights('F', [9, 6, 1, 1])}
      g = Conv(fd, F)
      h = Flatten(g)
      output h`)
    for (const flags of [checked, [...checked, '-DPORTABLE'], ['-O3', '-march=native', '-ffp-contract=off']]) {
      const { c, wasm } = await both(model, flags)
      expect(c).toEqual(wasm)
    }
  })

  for (const name of ['kws/ds_cnn.onnx', 'mnist/mnist-8.onnx']) {
    const path = sharedData(name)
    it.skipIf(!path)(`${name} gives the same numbers`, { timeout: 120_000 }, async () => {
      const ctx = {
        engine,
        target: undefined as never,
        rng: rng(0),
        signal: new AbortController().signal,
        progress: () => {},
        data: {}
      }
      const { model } = await applyRecipe(bindInputs(await load(path as string), {}), [['simplify', {}]], ctx)
      const { c, wasm } = await both(model, ['-O2'])
      expect(c).toEqual(wasm)
      expect(readdirSync(folder)).toContain('m')
    })
  }
})
