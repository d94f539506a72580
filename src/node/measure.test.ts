import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { writeModel } from '../formats/index.ts'
import { tensor } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import { machine, vnniOf } from './machine.ts'
import { measureProcess } from './measure.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const path = join(folder, 'model.onnx')
writeFileSync(
  path,
  writeModel(model`
input x: f32[1,512]
input t: i64[1]
y = MatMul(x, w: f32[512,8192])
z = Identity(t)
output y, z`).bytes
)

const feeds = { x: tensor('float32', [1, 512], new Float32Array(512)), t: tensor('int64', [1], [1]) }

test('load time and peak memory of a fresh process', { timeout: 60_000 }, async () => {
  const m = await measureProcess(path, { feeds, repeats: 1 })
  expect(m.loadMs).toBeGreaterThan(0)
  // 16 MB of weights, at least once.
  expect(m.peakBytes - m.baselineBytes).toBeGreaterThan(16e6)
  expect(m.baselineBytes).toBeGreaterThan(10e6)
  expect(m.peakBytes).toBeLessThan(1e9)
})

test('a process that cannot open or run the model says why', { timeout: 60_000 }, async () => {
  const broken = join(folder, 'broken.onnx')
  writeFileSync(broken, 'no model')
  await expect(measureProcess(broken, { repeats: 1 })).rejects.toMatchObject({ code: 'E_RUN', where: broken })
  await expect(measureProcess(broken, { repeats: 1 })).rejects.toThrow(/protobuf/i)
  await expect(measureProcess(path, { feeds: { x: feeds.x }, repeats: 1 })).rejects.toThrow(/'t' is missing/)
  await expect(measureProcess(path, { timeoutMs: 1, repeats: 1 })).rejects.toThrow(/SIGKILL/)
})

test('stops on request', async () => {
  const stop = new AbortController()
  const measured = measureProcess(path, { signal: stop.signal })
  stop.abort()
  await expect(measured).rejects.toMatchObject({ code: 'E_ABORTED' })
})

test('the machine is told', () => {
  expect(machine()).toMatchObject({
    cpu: expect.stringMatching(/./),
    node: process.versions.node
  })
  expect(machine().cores).toBeGreaterThan(0)
})

test('dot products that do not saturate are read from the features of the processor', () => {
  expect(vnniOf('model name\t: a\nflags\t\t: fpu avx2 avx512_vnni\n')).toBe(true)
  expect(vnniOf('flags\t\t: fpu avx2 avx512f\n')).toBe(false)
  expect(vnniOf('Features\t: fp asimd asimddp\n')).toBe(true)
  expect(vnniOf('nothing of the kind')).toBeUndefined()
})
