/** Compiled modules of strangers: they run in a process of their own, which is ended where they do not end. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { lower, wasmOf } from '../compile/index.ts'
import { encodeModule } from '../compile/wasm/encoder.ts'
import { tensor, toFloats, toNumbers } from '../ir/tensor.ts'
import { parse } from '../ir/text.ts'
import type { Tensor } from '../types.ts'
import { compiledFiles } from './compiled-runner.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-modules-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const port = { name: 'x', dtype: 'float32', shape: [4], offset: 0 }
const note = { version: 1, constants: 0, arena: 64, unshared: 64, inputs: [port], outputs: [{ ...port, name: 'y' }] }
const x = tensor('float32', [4], [1, -2, 3, -4])

/** A module that says it is Pare's, whose `run` is this code. */
const module = (code: readonly number[], text: object = note): Uint8Array =>
  encodeModule({
    ...{ functions: [{ params: 0, locals: [], code }], exports: { run: 0 }, memory: 65_536, data: new Uint8Array(0) },
    note: { name: 'pare', text: JSON.stringify(text) }
  })

it('a file runs in a process of its own, with all types of inputs', { timeout: 60_000 }, async () => {
  const model = parse(`opset 21
input x: f32[4]
input k: i64[2]
a = Relu(x)
b = Add(k, k)
output a
output b`)
  const path = join(folder, 'model.wasm')
  writeFileSync(path, wasmOf(lower(model)))
  const session = await compiledFiles().open({ path })
  const out = await session.run({ x, k: tensor('int64', [2], [5, -6]) })
  expect([...toFloats(out.a as Tensor)]).toEqual([1, 0, 3, 0])
  expect([...toNumbers(out.b as Tensor)]).toEqual([10, -12])
  expect(session.spentMs?.()).toBeGreaterThan(0)
  await expect(session.run({ x })).rejects.toMatchObject({
    code: 'E_RUN',
    message: expect.stringContaining("'k' is missing")
  })
  await session.close()
})

it('one that computes without end is ended, and this process goes on', { timeout: 60_000 }, async () => {
  const runner = compiledFiles({ patienceMs: 3000 })
  // loop { br 0 }
  const session = await runner.open(module([0x03, 0x40, 0x0c, 0x00, 0x0b]))
  await expect(session.run({ x })).rejects.toMatchObject({ code: 'E_RUN', message: expect.stringContaining('ended') })
  const next = await runner.open(module([]))
  expect([...toFloats((await next.run({ x })).y as Tensor)]).toEqual([1, -2, 3, -4])
})

it('ones that trap, grow their memory or lie about it fail by name', { timeout: 60_000 }, async () => {
  const runner = compiledFiles()
  const trap = await runner.open(module([0x00]))
  await expect(trap.run({ x })).rejects.toMatchObject({
    code: 'E_RUN',
    message: expect.stringContaining('unreachable')
  })
  // i32.const 1, memory.grow, drop
  const grows = await runner.open(module([0x41, 0x01, 0x40, 0x00, 0x1a]))
  expect([...toFloats((await grows.run({ x })).y as Tensor)]).toEqual([1, -2, 3, -4])
  const far = { ...note, outputs: [{ ...port, name: 'y', offset: 65_532 }] }
  await expect(runner.open(module([], far))).rejects.toMatchObject({
    code: 'E_RUN',
    message: expect.stringContaining('y lies outside its memory')
  })
})

it('one whose outputs would fill this process is refused before it runs', async () => {
  const outputs = Array.from({ length: 3 }, (_, i) => ({ ...port, name: `y${i}`, shape: [2 ** 27], offset: 0 }))
  await expect(compiledFiles().open(module([], { ...note, outputs }))).rejects.toMatchObject({ code: 'E_LIMIT' })
})
