/** Headless Chromium with the core and onnxruntime-web, for tests of what runs in a page. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { rolldown } from 'rolldown'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Absent where Chromium is not installed. */
export const executable = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync)

/** The core for a browser, and what it imports from outside the bundle. */
export async function bundleCore(): Promise<{ code: string; outside: readonly string[] }> {
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

export interface Chromium {
  /** Of its pages. */
  readonly origin: string
  /**
   * What the body of an async function gives in a fresh page. It finds `pare`, a `runner` over onnxruntime-web (one
   * thread) and `bytesAt(path)` for the files. A string, so that no build step touches what runs in the page.
   */
  run(body: string): Promise<unknown>
  close(): Promise<void>
}

const prelude = `
  const pare = await import('/pare.js')
  const ort = await import('/ort/ort.wasm.min.mjs')
  ort.env.wasm.wasmPaths = '/ort/'
  ort.env.wasm.numThreads = 1
  const runner = pare.ortRunner(ort)
  const bytesAt = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer())
`

/** Starts Chromium and a server of these files, by path. */
export async function openChromium(files: Readonly<Record<string, Uint8Array>>): Promise<Chromium> {
  const { code } = await bundleCore()
  const server = createServer(async (request, response) => {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname
    const served = await fileAt(path, code, files)
    if (served) response.writeHead(200, { 'content-type': served.type }).end(served.body)
    else response.writeHead(404).end()
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const browser = await chromium.launch({
    executablePath: executable as string,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update']
  })
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    origin,
    run: async (body) => {
      const page = await browser.newPage()
      await page.goto(`${origin}/`)
      return page.evaluate(`(async () => {${prelude}${body}})()`)
    },
    close: async () => {
      await browser.close()
      server.close()
    }
  }
}

interface Served {
  readonly type: string
  readonly body: string | Uint8Array
}

async function fileAt(
  path: string,
  code: string,
  files: Readonly<Record<string, Uint8Array>>
): Promise<Served | undefined> {
  if (path === '/') return { type: 'text/html', body: '<!doctype html><title>Pare</title>' }
  if (path === '/pare.js') return { type: 'text/javascript', body: code }
  const ort = /^\/ort\/([\w.-]+)$/.exec(path)?.[1]
  if (ort)
    return {
      type: ort.endsWith('.wasm') ? 'application/wasm' : 'text/javascript',
      body: await readFile(`${root}node_modules/onnxruntime-web/dist/${ort}`)
    }
  const body = files[path]
  return body && { type: 'application/octet-stream', body }
}
