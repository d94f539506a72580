import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as ort from 'onnxruntime-node'
import { expect, test } from 'vitest'
import { optimizedOf } from '../../test/compare.ts'
import { concat } from '../base/bytes.ts'
import { writeModel } from '../formats/index.ts'
import { scalar, tensor, toNumbers } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import { nodeRunner, scratchFolders } from '../node/runner.ts'
import type { DType, Model, Tensor } from '../types.ts'
import { ortRunner } from './index.ts'
import { parseProfile } from './records.ts'
import type { OpenOptions, Source } from './types.ts'

const runner = nodeRunner()
const values = (t: Tensor | undefined): number[] => (t ? Array.from(toNumbers(t)) : [])

async function once(
  source: Source,
  feeds: Record<string, Tensor>,
  o: OpenOptions = {}
): Promise<Record<string, Tensor>> {
  const session = await runner.open(source, o)
  try {
    return await session.run(feeds)
  } finally {
    await session.close()
  }
}

const small = model`
input x: f32[N,3]
const w: f32[3,2] = 1, 2, 3, 4, 5, 6
h = MatMul(x, w)
r = Relu(h)
y = Add(r, b: f32[2]{10, 20})
output y`

test('runs a model, its bytes, and tells inputs and outputs', async () => {
  for (const source of [small, writeModel(small).bytes]) {
    const session = await runner.open(source)
    expect(session.inputs).toEqual([{ name: 'x', dtype: 'float32', shape: ['N', 3] }])
    expect(session.outputs.map((o) => o.name)).toEqual(['y'])
    expect(session.loadMs).toBeGreaterThan(0)
    const { y } = await session.run({ x: tensor('float32', [2, 3], [1, 0, 0, -1, 0, 1]) })
    expect(y?.shape).toEqual([2, 2])
    expect(values(y)).toEqual([11, 22, 14, 24])
    await session.close()
    await session.close()
  }
})

test('taps a value between Transpose, Cast and MatMul', async () => {
  const turned = model`
    input x: i64[2,N]
    t = Transpose(x)
    f = Cast(t, to=1)
    y = MatMul(f, W: f32[2,16])
    output y`
  const x = tensor('int64', [2, 3], [1, 2, 3, 4, 5, 6])
  const out = await once(turned, { x }, { outputs: ['f'] })
  expect(Array.from(toNumbers(out['f'] as Tensor))).toEqual([1, 4, 2, 5, 3, 6])
  expect(out['y']?.shape).toEqual([3, 16])
})

test('taps come after the outputs, in order, each once', async () => {
  const feeds = { x: tensor('float32', [1, 3], [-1, 0, 0]) }
  const out = await once(small, feeds, { outputs: ['r', 'y', 'h', 'r'] })
  expect(Object.keys(out)).toEqual(['y', 'r', 'h'])
  expect(values(out['h'])).toEqual([-1, -2])
  expect(values(out['r'])).toEqual([0, 0])
  expect(values(out['y'])).toEqual([10, 20])
})

test('inputs and constants can be tapped', async () => {
  const out = await once(small, { x: tensor('float32', [1, 3], [1, 2, 3]) }, { outputs: ['x', 'w'] })
  expect(values(out['x'])).toEqual([1, 2, 3])
  expect(values(out['w'])).toEqual([1, 2, 3, 4, 5, 6])
})

const numeric: readonly DType[] = [
  'float32',
  'float64',
  'float16',
  'int8',
  'int16',
  'int32',
  'int64',
  'uint8',
  'uint16',
  'uint32',
  'uint64',
  'bool'
]

test('every element type that can cross the border comes back as it went', async () => {
  for (const dtype of numeric) {
    const echo: Model = model`
input x: ${dtype}[2,2]
y = Identity(x)
output y`
    const x = tensor(dtype, [2, 2], [0, 1, 1, 0])
    // An odd offset into a larger buffer: what a reader of files hands out.
    const held = new Uint8Array(x.bytes.length + 1)
    held.set(x.bytes.slice(), 1)
    const { y } = await once(echo, { x: { ...x, bytes: held.subarray(1) } })
    expect(y?.dtype).toBe(dtype)
    expect(values(y)).toEqual([0, 1, 1, 0])
  }
})

test('strings, scalars and empty tensors', async () => {
  const echo = model`
input s: string[2]
input n: f32[]
input e: f32[0,3]
t = Identity(s)
m = Identity(n)
f = Identity(e)
output t, m, f`
  const out = await once(echo, {
    s: tensor('string', [2], ['a', 'ü']),
    n: scalar('float32', 2.5),
    e: tensor('float32', [0, 3], [])
  })
  expect(out['t']?.strings).toEqual(['a', 'ü'])
  expect(out['m']).toMatchObject({ shape: [] })
  expect(values(out['m'])).toEqual([2.5])
  expect(out['f']?.shape).toEqual([0, 3])
})

test('memory shared between threads is copied, since the engine refuses it', async () => {
  const x = new Float32Array(new SharedArrayBuffer(12)).fill(1)
  const { y } = await once(small, {
    x: { dtype: 'float32', shape: [1, 3], bytes: new Uint8Array(x.buffer) }
  })
  expect(values(y)).toEqual([19, 32])
})

test('errors carry the code E_RUN, the message of the engine and the node', async () => {
  const x = tensor('float32', [1, 3], [1, 2, 3])
  await expect(runner.open(new Uint8Array([1, 2, 3]))).rejects.toMatchObject({ code: 'E_RUN' })
  await expect(runner.open({ path: 'no-such-file.onnx' })).rejects.toMatchObject({ code: 'E_RUN' })
  await expect(once(small, {})).rejects.toThrow(/input x is missing/)
  await expect(once(small, { x, z: x })).rejects.toThrow(/no input z/)
  await expect(once(small, { x: tensor('int4', [2], [1, 2]) })).rejects.toThrow(/int4/)
  await expect(once(small, { x: tensor('int32', [1, 3], [1, 2, 3]) })).rejects.toThrow(/int32/)
  await expect(once(small, { x }, { outputs: ['nowhere'] })).rejects.toMatchObject({ code: 'E_RUN' })
  const wrong = model`
input x: f32[N]
input s: i64[2]
y = Reshape(x, s)
output y`
  await expect(
    once(wrong, { x: tensor('float32', [3], [1, 2, 3]), s: tensor('int64', [2], [2, 2]) })
  ).rejects.toMatchObject({ code: 'E_RUN', where: 'Reshape_0' })
})

const layered = model`
input x: f32[1,8,8,8]
c = Conv(x, W: f32[8,8,3,3], pads=[1,1,1,1])
r = Relu(c)
y = Conv(r, V: f32[8,8,3,3])
output y`
const image = { x: tensor('float32', [1, 8, 8, 8], new Float32Array(512).fill(0.5)) }

test('the optimised graph can be had as a model', async () => {
  const session = await runner.open(layered, { keepOptimized: true, optimization: 'extended' })
  const optimized = await optimizedOf(session)
  expect(optimized.graph.nodes.map((n) => n.op)).toEqual(['FusedConv', 'Conv'])
  expect(optimized.graph.outputs).toEqual(['y'])
  await session.close()
  const plain = await runner.open(layered)
  expect(plain.optimized ?? plain.kernels ?? plain.profile).toBeUndefined()
  await plain.close()
})

test('a file with weights beside it can be opened, run and seen optimised', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pare-test-'))
  const { bytes, external } = writeModel(layered, { externalName: 'weights' })
  writeFileSync(join(folder, 'model.onnx'), bytes)
  writeFileSync(join(folder, 'weights'), concat((external?.parts ?? []).map((p) => p.slice())))
  const session = await runner.open(
    { path: join(folder, 'model.onnx') },
    { keepOptimized: true, optimization: 'basic' }
  )
  const { y } = await session.run(image)
  expect(y).toEqual((await once(layered, image, { optimization: 'basic' }))['y'])
  const { graph } = await optimizedOf(session)
  expect(graph.nodes.map((n) => n.op)).toEqual(['Conv', 'Relu', 'Conv'])
  expect(() => graph.values.get('W')?.data?.bytes.slice()).toThrow(/beside the opened file/)
  await session.close()
  rmSync(folder, { recursive: true })
})

test('a profile has the time of every kernel in every run', async () => {
  const session = await runner.open(layered, { profile: true, optimization: 'extended' })
  for (let i = 0; i < 3; i++) await session.run(image)
  const times = await session.profile?.()
  expect(times?.map((t) => t.op)).toEqual(Array.from({ length: 3 }, () => ['FusedConv', 'Conv']).flat())
  expect(times?.every((t) => t.ms >= 0)).toBe(true)
  expect(await session.profile?.()).toBe(times)
  await session.close()
})

test('kernel times are those of nodes only', () => {
  const trace = JSON.stringify([
    { cat: 'Session', name: 'model_run', dur: 500 },
    { cat: 'Node', name: 'conv_kernel_time', dur: 130, args: { op_name: 'Conv' } },
    { cat: 'Node', name: 'conv_fence_before', dur: 1, args: { op_name: 'Conv' } }
  ])
  expect(parseProfile(trace)).toEqual([{ node: 'conv', op: 'Conv', ms: 0.13 }])
})

test('names that the engine writes unescaped into its profile are read; those that imitate it leave nothing known', () => {
  const traceOf = (name: string): string =>
    `[\n{"cat" : "Session","dur" :3,"ph" : "X","name" :"model_loading_uri","args" : {}},\n` +
    `{"cat" : "Node","dur" :130,"ph" : "X","name" :"${name}_kernel_time","args" : {"op_name" : "Conv"}}]`
  for (const name of ['a"b', 'a\\b', '\u001b[2J\n<b>'])
    expect(parseProfile(traceOf(name))).toEqual([{ node: name, op: 'Conv', ms: 0.13 }])
  expect(parseProfile(traceOf('x","args" : {}}, nonsense'))).toEqual([])
})

test('quantization runs fused, or as it stands where that is asked for', async () => {
  const quantized = model`
input x: f32[1,8]
const s: f32[] = 0.05
const z: u8[] = 128
const wz: i8[] = 0
q = QuantizeLinear(x, s, z)
d = DequantizeLinear(q, s, z)
w = DequantizeLinear(W: i8[8,4], s, wz)
m = MatMul(d, w)
mq = QuantizeLinear(m, s, z)
y = DequantizeLinear(mq, s, z)
output y`
  const ops = async (how: Pick<OpenOptions, 'quantization'>): Promise<string[]> => {
    const session = await runner.open(quantized, { keepOptimized: true, ...how })
    const optimized = await optimizedOf(session)
    await session.close()
    return optimized.graph.nodes.map((n) => n.op)
  }
  expect(await ops({})).toContain('QLinearMatMul')
  expect(await ops({ quantization: 'asFloat' })).not.toContain('QLinearMatMul')
})

test('scratch folders are gone when sessions close, also after a failure', async () => {
  const parent = mkdtempSync(join(tmpdir(), 'pare-test-'))
  const own = ortRunner(ort, { name: 'onnxruntime-node', folders: scratchFolders(parent) })
  const session = await own.open(layered, { keepOptimized: true, profile: true })
  await session.run(image)
  expect(readdirSync(parent).length).toBe(1)
  await session.close()
  expect(readdirSync(parent)).toEqual([])
  const optimized = await own.open(layered, { keepOptimized: true })
  expect((await optimizedOf(optimized)).graph.outputs).toEqual(['y'])
  await optimized.close()
  await expect(own.open(new Uint8Array(4), { keepOptimized: true, profile: true })).rejects.toMatchObject({
    code: 'E_RUN'
  })
  expect(readdirSync(parent)).toEqual([])
  rmSync(parent, { recursive: true })
  await expect(own.open(layered, { profile: true })).rejects.toMatchObject({ code: 'E_FILE' })
})

test('the browser package fits the same interface, tells what it cannot do, and opens the model all the same', async () => {
  const web = await import('onnxruntime-web')
  const inBrowser = ortRunner(web)
  expect(inBrowser.version).toMatch(/^\d+\.\d+/)
  expect(inBrowser).toMatchObject({ name: 'onnxruntime-web', can: { kernels: false, profile: false, external: false } })
  const session = await inBrowser.open(layered, { profile: true, keepOptimized: true })
  expect(Object.keys(await session.run(image))).toEqual(['y'])
  expect(session.optimized ?? session.kernels ?? session.profile).toBeUndefined()
  await session.close()
  await expect(inBrowser.open({ path: 'model.onnx' })).rejects.toMatchObject({ code: 'E_UNSUPPORTED' })
})
