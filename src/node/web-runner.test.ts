import { expect, it } from 'vitest'
import { tensor, toFloats } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import { webRunner } from './web-runner.ts'

it('runs a model in WebAssembly', async () => {
  const runner = await webRunner()
  const session = await runner?.open(model`
input x: f32[N,3]
y = Relu(x)
output y`)
  const { y } = (await session?.run({ x: tensor('float32', [1, 3], [-1, 0, 2]) })) ?? {}
  expect(y && Array.from(toFloats(y))).toEqual([0, 0, 2])
  await session?.close()
})

it('is nothing where the package is not installed, and an error where it does not load', async () => {
  expect(await webRunner('onnxruntime-not-installed')).toBeUndefined()
  await expect(webRunner('node:path')).rejects.toMatchObject({
    code: 'E_UNSUPPORTED',
    hint: expect.stringContaining('npm install')
  })
})
