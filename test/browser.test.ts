/** The core in a browser: it bundles without `node:`, and a page gets byte for byte what Node gets. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { type Browser, chromium } from 'playwright-core'
import { rolldown } from 'rolldown'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { applyRecipe, readModel, rng, targetFor, writeModel } from '../src/index.ts'
import { nodeRunner } from '../src/node/runner.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const digits = `${root}examples/demo/digits.onnx`
const executable = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync)

async function bundleCore(): Promise<{ code: string; outside: readonly string[] }> {
  const bundle = await rolldown({
    input: `${root}src/index.ts`,
    platform: 'browser',
    logLevel: 'silent',
    external: [/^node:/, 'onnxruntime-node', 'sharp']
  })
  const { output } = await bundle.generate({ format: 'esm', codeSplitting: false })
  const chunk = output[0]
  return { code: chunk.code, outside: [...chunk.imports, ...chunk.dynamicImports] }
}

describe('the core in a browser', () => {
  it('bundles without node: and without native packages', async () => {
    const { code, outside } = await bundleCore()
    expect(outside).toEqual([])
    expect(code).not.toMatch(/from ["']node:|require\(["'](fs|path)["']\)/)
  })

  describe.skipIf(!executable)('headless Chromium (skipped where Chromium is not installed)', () => {
    let server: Server
    let browser: Browser
    beforeAll(async () => {
      const { code } = await bundleCore()
      const files: Record<string, [string, () => Promise<string | Buffer>]> = {
        '/': ['text/html', async () => '<!doctype html><title>Pare</title>'],
        '/pare.js': ['text/javascript', async () => code],
        '/digits.onnx': ['application/octet-stream', () => readFile(digits)]
      }
      server = createServer(async (request, response) => {
        const path = new URL(request.url ?? '/', 'http://localhost').pathname
        const ort = /^\/ort\/([\w.-]+)$/.exec(path)?.[1]
        const file = ort
          ? ([
              ort.endsWith('.wasm') ? 'application/wasm' : 'text/javascript',
              () => readFile(`${root}node_modules/onnxruntime-web/dist/${ort}`)
            ] as const)
          : files[path]
        if (!file) response.writeHead(404).end()
        else response.writeHead(200, { 'content-type': file[0] }).end(await file[1]())
      })
      await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
      browser = await chromium.launch({
        executablePath: executable as string,
        args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update']
      })
    })
    afterAll(async () => {
      await browser?.close()
      server?.close()
    })

    it('quantizes a model to the very bytes that Node gets, and runs it', async () => {
      const page = await browser.newPage()
      await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
      // A string, so that no build step touches what runs in the page.
      const inPage = (await page.evaluate(`(async () => {
        const pare = await import('/pare.js')
        const ort = await import('/ort/ort.wasm.min.mjs')
        ort.env.wasm.wasmPaths = '/ort/'
        ort.env.wasm.numThreads = 1
        const runner = pare.ortRunner(ort)
        const bytes = new Uint8Array(await (await fetch('/digits.onnx')).arrayBuffer())
        const ctx = { runner, data: {}, target: pare.targetFor('ort-web'), rng: pare.rng(0), signal: new AbortController().signal, progress: () => {} }
        const { model } = await pare.applyRecipe(pare.readModel(bytes), [['quantize-weights', {}]], ctx)
        const written = pare.writeModel(model).bytes
        const session = await runner.open(written)
        const input = session.inputs[0].name
        const x = pare.tensor('float32', [1, 1, 28, 28], Array.from({ length: 784 }, (_, i) => (i % 17) / 17))
        const out = await session.run({ [input]: x })
        await session.close()
        return { bytes: [...written], y: [...pare.toFloats(Object.values(out)[0])] }
      })()`)) as { bytes: number[]; y: number[] }

      const ctx = {
        runner: nodeRunner(),
        data: {},
        target: targetFor('ort-web'),
        rng: rng(0),
        signal: new AbortController().signal,
        progress: () => {}
      }
      const { model } = await applyRecipe(readModel(await readFile(digits)), [['quantize-weights', {}]], ctx)
      const here = writeModel(model).bytes
      expect(Buffer.from(inPage.bytes).equals(Buffer.from(here))).toBe(true)
      expect(inPage.bytes.length).toBeLessThan((await readFile(digits)).length * 0.5)
      expect(inPage.y).toHaveLength(10)
      expect(inPage.y.every(Number.isFinite)).toBe(true)
    })
  })
})
