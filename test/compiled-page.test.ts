/** The page of a compiled model, from a file, in headless Chromium: it runs the model and shows what ONNX Runtime computes. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { chromium } from 'playwright-core'
import sharp from 'sharp'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { lower, noteOf, pageOf, wasmOf } from '../src/compile/index.ts'
import { parse } from '../src/ir/text.ts'
import { executable } from './browser.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-page-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const hostile = '</script><img src=x onerror="document.title=1">'

it.skipIf(!executable)('a page runs its model from a file', { timeout: 120_000 }, async () => {
  const model = parse(`opset 21
input picture: f32[1,3,8,8]
input k: i64[2]
m = ReduceMean(picture, axes: i64[2] {2,3}, keepdims=0)
b = Add(k, one: i64[1] {1})
output m
output b`)
  const bytes = wasmOf(lower(model))
  const note = noteOf(bytes)
  const renamed = { ...note, outputs: note.outputs.map((o, i) => (i === 1 ? { ...o, name: hostile } : o)) }
  const path = join(folder, 'page.html')
  writeFileSync(path, pageOf(renamed, `a ${hostile}`, { inline: Buffer.from(bytes).toString('base64') }))
  // 255 of red, 51 of green, nothing of blue.
  const image = await sharp({ create: { width: 20, height: 20, channels: 3, background: { r: 255, g: 51, b: 0 } } })
    .png()
    .toBuffer()
  const browser = await chromium.launch({
    executablePath: executable as string,
    args: ['--no-sandbox', '--disable-gpu']
  })
  try {
    const page = await browser.newPage()
    const faults: string[] = []
    page.on('pageerror', (e) => faults.push(String(e)))
    page.on('console', (m) => m.type() === 'error' && faults.push(m.text()))
    page.on('request', (r) => r.url().startsWith('http') && faults.push(r.url()))
    await page.goto(pathToFileURL(path).href)
    await page.waitForSelector('#run:not([disabled])')
    await page.selectOption('.fill >> nth=0', 'picture')
    await page.setInputFiles('input[type=file]', { name: 'a.png', mimeType: 'image/png', buffer: image })
    await page.click('#run')
    await page.waitForSelector('#results table')
    expect(await page.textContent('#told')).toMatch(/^a run takes [\d.e-]+ ms here, on one thread$/)
    const rows = await page.locator('#results table >> nth=0').locator('tr').allTextContents()
    expect(rows).toEqual(['01', '10.2', '20'])
    expect(await page.locator('#results table >> nth=1').locator('tr').allTextContents()).toEqual(['01', '11'])
    expect(await page.locator('#results h2').allTextContents()).toEqual(['m [1, 3]', `${hostile} [2]`])
    expect(await page.title()).toBe(`a ${hostile}`)
    expect(faults).toEqual([])
  } finally {
    await browser.close()
  }
})
