/** LiteRT as a runtime: real files on real data, with inputs and outputs of codes as the file has them. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { elementCount, tensor, tensorOf, toFloats } from '../src/ir/tensor.ts'
import { model } from '../src/ir/text.ts'
import { liteRtRunner, measureProcess, nodeRunner, runJob } from '../src/node/index.ts'
import type { Runner } from '../src/runtime/types.ts'
import type { Tensor } from '../src/types.ts'
import { flatOperator } from './flat-file.ts'
import { sharedData } from './shared.ts'

const runner = liteRtRunner() as Runner

it('tells what it is', () => {
  expect(runner).toMatchObject({ name: '@litertjs/core', can: { formats: ['tflite'], threads: 1 } })
  expect(runner.version).toMatch(/^\d+\.\d+/)
})

it('says why bytes are no model, and goes on', { timeout: 60_000 }, async () => {
  const junk = new Uint8Array(1000).fill(7)
  await expect(runner.open(junk)).rejects.toMatchObject({
    code: 'E_RUN',
    message: 'LiteRT cannot open the model: Failed to load model from buffer'
  })
  await expect(runner.open(junk)).rejects.toMatchObject({ code: 'E_RUN' })
})

const int8 = sharedData('kws', 'ds_cnn_int8_reference.tflite')
const float = sharedData('tflite', 'resnet8_float32.tflite')

it.skipIf(!int8)('runs models that take and give int8', { timeout: 60_000 }, async () => {
  const session = await runner.open({ path: int8 as string })
  expect(session.inputs).toEqual([{ name: 'input_1', dtype: 'int8', shape: [1, 49, 10, 1] }])
  const x = tensorOf(
    'int8',
    [1, 49, 10, 1],
    new Uint8Array(490).map((_, i) => i * 37)
  )
  const { Identity } = await session.run({ input_1: x })
  expect(Identity).toMatchObject({ dtype: 'int8', shape: [1, 12] })
  const spent = session.spentMs?.() ?? 0
  expect(spent).toBeGreaterThan(0)
  expect((await session.run({ input_1: x }))['Identity']).toEqual(Identity)
  expect(session.spentMs?.()).toBeGreaterThan(spent)
  await expect(session.run({})).rejects.toThrow('input input_1 is missing')
  await expect(session.run({ input_1: tensor('float32', [1], [1]) })).rejects.toThrow('takes int8')
  await expect(session.run({ input_1: { ...x, shape: [1, 2], bytes: new Uint8Array(2) } })).rejects.toThrow(
    /is \[1,49,10,1\], and was given \[1,2\]/
  )
  await session.close()
  await session.close()
})

it.skipIf(!float)('keeps sessions apart, and measures a file in fresh processes', { timeout: 60_000 }, async () => {
  const path = float as string
  const [a, b] = await Promise.all([runner.open({ path }), runner.open({ path })])
  const picture = (value: number): Tensor => {
    const shape = [1, 32, 32, 3]
    return tensor('float32', shape, new Float32Array(elementCount(shape)).fill(value))
  }
  const run = async (session: typeof a, value: number): Promise<number[]> =>
    Array.from(toFloats((await session.run({ input_1: picture(value) }))['Identity'] as Tensor))
  const [dark, light] = await Promise.all([run(a, 0), run(b, 255)])
  expect(await run(b, 0)).toEqual(dark)
  expect(dark).not.toEqual(light)
  expect(dark.reduce((n, p) => n + p, 0)).toBeCloseTo(1, 3)
  await Promise.all([a.close(), b.close()])
  const m = await measureProcess(path, { runtime: runner.name, repeats: 1, feeds: { input_1: picture(1) } })
  expect(m.loadMs).toBeGreaterThan(0)
  expect(m.peakBytes).toBeGreaterThan(m.baselineBytes)
})

const onnx = sharedData('kws', 'ds_cnn.onnx')
const samples = sharedData('kws', 'kws_dev.npz')

it.skipIf(!onnx || !int8 || !samples)(
  'compares a model in ONNX Runtime with an int8 file in LiteRT',
  { timeout: 120_000 },
  async () => {
    const { report } = await runJob({
      ...{ command: 'verify', line: '', model: onnx as string, other: int8 as string, seconds: 0.1 },
      data: { data: { path: samples as string } }
    })
    expect(report.machine).toMatchObject({ measured: { name: 'onnxruntime-node' }, other: { name: '@litertjs/core' } })
    expect(report.drop?.['top1']).toMatchObject({ n: 500 })
    expect(Math.abs(report.drop?.['top1']?.value ?? 1)).toBeLessThan(0.01)
    expect(report.after?.latencyMs?.n).toBeGreaterThan(10)
    expect(report.after?.loadMs).toBeGreaterThan(0)
  }
)

it.skipIf(!float)(
  'quantize-static for a microcontroller leaves nothing in float, or says what',
  { timeout: 120_000 },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pare-int-'))
    try {
      const out = join(folder, 'int8.tflite')
      const job = { line: '', model: float as string, out, target: 'cmsis-nn', write: { intOnly: true } }
      const data = { data: { path: sharedData('cifar10-jpeg', 'test_dev.npz') as string } }
      await expect(runJob({ command: 'convert', ...job })).rejects.toMatchObject({
        code: 'E_CONSTRAINT',
        message: '16 of 16 operators compute on floats: nothing was written',
        facts: { 'it was not quantized': expect.stringContaining('CONV_2D') }
      })
      await runJob({ command: 'apply', ...job, data, recipe: [['quantize-static', {}]] })
      const session = await runner.open({ path: out })
      expect([session.inputs[0]?.dtype, session.outputs[0]?.dtype]).toEqual(['int8', 'int8'])
      await session.close()
      expect(readFileSync(out).length).toBeLessThanOrEqual(95_344)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }
)

it('opens a model in memory, with values inside as outputs', { timeout: 60_000 }, async () => {
  const net = model`
input x: f32[1,4]
h: f32[1,3] = Gemm(x, w: f32[3,4], b: f32[3], transB=1)
y: f32[1,3] = Tanh(h)
output y`
  const session = await runner.open(net, { outputs: ['h'] })
  const { y, h } = await session.run({ x: tensor('float32', [1, 4], [1, -2, 0.5, 3]) })
  const near = await (await nodeRunner().open(net, { outputs: ['h'] })).run({
    x: tensor('float32', [1, 4], [1, -2, 0.5, 3])
  })
  for (const [a, b] of [
    [y, near['y']],
    [h, near['h']]
  ])
    for (const [i, v] of toFloats(a as Tensor).entries()) expect(v).toBeCloseTo(toFloats(b as Tensor)[i] as number, 4)
  await session.close()
})

it('runs a file at the sizes that are fed, where it leaves them open', { timeout: 60_000 }, async () => {
  const wide = { shape: [1, 1], more: { shape_signature: [1, -1] } }
  const file = flatOperator({ op: 'LOGISTIC', inputs: [wide], outputs: [{ ...wide }] })
  const session = await runner.open(file)
  const [input] = session.inputs
  expect(input?.shape).toEqual([1, expect.any(String)])
  for (const n of [3, 1, 7, 3]) {
    const x = tensor(
      'float32',
      [1, n],
      Array.from({ length: n }, (_, i) => i - 1)
    )
    const [y] = Object.values(await session.run({ [input?.name ?? '']: x }))
    expect(y?.shape).toEqual([1, n])
    expect(toFloats(y as Tensor)[1] ?? 0.5).toBeCloseTo(0.5, 5)
  }
  await session.close()
})
