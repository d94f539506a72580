import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { tensor } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import { save } from './files.ts'
import { runFiles } from './outputs.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const net = model`
input x: f32[1,2,4,4]
h = Conv(x, w: f32[3,2,3,3], b: f32[3])
r = Relu(h)
i: i64[4] = Shape(r)
y = Sigmoid(r)
output y, i`

it('a path that ends in .ort gets the format of ONNX Runtime, with the list for a reduced build', async () => {
  const path = join(folder, 'net.ort')
  let looked = 0
  await save(net, path, {
    check: async () => {
      looked++
    }
  })
  expect(looked).toBe(1)
  expect(readFileSync(path).toString('latin1', 4, 8)).toBe('ORTM')
  const list = readFileSync(join(folder, 'net.required_operators_and_types.config'), 'utf8').split('\n')
  expect(list.slice(1)).toEqual([
    '!globally_allowed_types;float,int64_t',
    expect.any(String),
    'com.microsoft;1;FusedConv',
    ''
  ])
  expect(list[2]).toMatch(/^ai\.onnx;\d+;Sigmoid(,|$)/)
  const plain = join(folder, 'net.onnx')
  await save(net, plain)
  const feeds = {
    x: tensor(
      'float32',
      [1, 2, 4, 4],
      Float32Array.from({ length: 32 }, (_, i) => Math.sin(i))
    )
  }
  const how = { runtime: 'onnxruntime-node', threads: 1, runs: 1, timeoutMs: 60_000, feeds }
  const [a, b] = await runFiles([plain, path], how)
  expect(b?.failed).toBeUndefined()
  expect(b?.runs?.[0]?.['y']?.bytes).toEqual(a?.runs?.[0]?.['y']?.bytes)
  await expect(save(net, path)).rejects.toMatchObject({ code: 'E_EXISTS' })
  await save(net, path, { force: true })
})

it('leaves nothing behind where the look at it fails', async () => {
  const path = join(folder, 'other.ort')
  const failing = save(net, path, { check: () => Promise.reject(new Error('no')) })
  await expect(failing).rejects.toThrow()
  expect(existsSync(path)).toBe(false)
  expect(existsSync(join(folder, 'other.required_operators_and_types.config'))).toBe(false)
})
