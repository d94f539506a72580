/** The core in a browser: it bundles without `node:`, and a page gets byte for byte what Node gets. */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { applyRecipe, readModel, rng, targetFor, writeModel } from '../src/index.ts'
import { nodeRunner } from '../src/node/runner.ts'
import { bundleCore, type Chromium, executable, openChromium } from './browser.ts'

const digits = await readFile(fileURLToPath(new URL('../examples/demo/digits.onnx', import.meta.url)))

describe('the core in a browser', () => {
  it('bundles without node: and without native packages', async () => {
    const { code, outside } = await bundleCore()
    expect(outside).toEqual([])
    expect(code).not.toMatch(/from ["']node:|require\(["'](fs|path)["']\)/)
  })

  describe.skipIf(!executable)('headless Chromium (skipped where Chromium is not installed)', () => {
    let browser: Chromium | undefined
    beforeAll(async () => {
      browser = await openChromium({ '/digits.onnx': digits })
    }, 60_000)
    afterAll(() => browser?.close())

    it('quantizes a model to the very bytes that Node gets, and runs it', async () => {
      const inPage = (await browser?.run(`
        const bytes = await bytesAt('/digits.onnx')
        const ctx = { engine: runner, data: {}, target: pare.targetFor('ort-web'), rng: pare.rng(0), signal: new AbortController().signal, progress: () => {} }
        const { model } = await pare.applyRecipe(pare.readModel(bytes), [['quantize-weights', {}]], ctx)
        const written = pare.writeModel(model).bytes
        const session = await runner.open(written)
        const input = session.inputs[0].name
        const x = pare.tensor('float32', [1, 1, 28, 28], Array.from({ length: 784 }, (_, i) => (i % 17) / 17))
        const out = await session.run({ [input]: x })
        await session.close()
        return { bytes: [...written], y: [...pare.toFloats(Object.values(out)[0])] }
      `)) as { bytes: number[]; y: number[] }

      const ctx = {
        engine: nodeRunner(),
        data: {},
        target: targetFor('ort-web'),
        rng: rng(0),
        signal: new AbortController().signal,
        progress: () => {}
      }
      const { model } = await applyRecipe(readModel(digits), [['quantize-weights', {}]], ctx)
      const here = writeModel(model).bytes
      expect(Buffer.from(inPage.bytes).equals(Buffer.from(here))).toBe(true)
      expect(inPage.bytes.length).toBeLessThan(digits.length * 0.5)
      expect(inPage.y).toHaveLength(10)
      expect(inPage.y.every(Number.isFinite)).toBe(true)
    })
  })
})
