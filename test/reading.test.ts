/** What a page that only reads models has to load, and what it may hand over and take. */
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { rolldown } from 'rolldown'
import { beforeAll, describe, expect, it } from 'vitest'
import { type Bytes, formats, PareError, readModel, writeModel } from '../src/index.ts'

const root = fileURLToPath(new URL('../', import.meta.url))

/** The largest bundle of `readModel` alone, in gzipped bytes; protobuf and the description of ONNX are 18,500 of them. */
const mostBytes = 48_000

describe('reading alone', () => {
  let bundled: { readonly code: string; readonly modules: readonly string[] }
  beforeAll(async () => {
    const bundle = await rolldown({
      input: 'page',
      platform: 'browser',
      logLevel: 'silent',
      plugins: [
        {
          name: 'page',
          resolveId: (id) => (id === 'page' ? id : null),
          load: (id) => (id === 'page' ? `export { readModel } from ${JSON.stringify(`${root}src/index.ts`)}` : null)
        }
      ]
    })
    const [{ code, modules }] = (await bundle.generate({ format: 'esm', minify: true })).output
    bundled = { code, modules: Object.keys(modules).filter((id) => (modules[id]?.code ?? '') !== '') }
  })

  it('bundles neither schemas nor operators', () => {
    expect(bundled.modules.some((id) => id.endsWith('/formats/read.ts'))).toBe(true)
    expect(bundled.modules.filter((id) => /node_modules\/zod|\/src\/(ops|passes|data)\//.test(id))).toEqual([])
    expect(gzipSync(bundled.code).length).toBeLessThan(mostBytes)
  })
})

describe('what is read and written', () => {
  const bytes = writeModel(
    readModel(new TextEncoder().encode('opset 21\ninput x: f32[N,4]\ny = Relu(x)\noutput y\n'), { formats })
  ).bytes

  it('is an ArrayBuffer as well as an array, and a part of a Blob', async () => {
    const blob = new Blob([bytes])
    const again = readModel(await blob.arrayBuffer())
    expect(writeModel(again).bytes).toEqual(bytes)
  })

  it.each([
    ['a path', 'model.onnx', 'load(path)'],
    ['a promise', Promise.resolve(bytes), 'await'],
    ['nothing', undefined, 'await']
  ])('refuses %s', (_, given, hint) => {
    let thrown: unknown
    try {
      readModel(given as unknown as Bytes)
    } catch (error) {
      thrown = error
    }
    expect(thrown).toBeInstanceOf(PareError)
    expect(thrown).toMatchObject({ code: 'E_USAGE', hint: expect.stringContaining(hint) })
  })
})
