/** The picture example in short: trains, prunes while it distils, quantizes, measures. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { isBuilt } from './program.ts'

const script = fileURLToPath(new URL('../examples/images/images.mjs', import.meta.url))
const out = mkdtempSync(join(tmpdir(), 'pare-images-'))
afterAll(() => rmSync(out, { recursive: true, force: true }))

function run(args: readonly string[]): Promise<{ status: number | null; text: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, ...args])
    let text = ''
    for (const from of [child.stdout, child.stderr])
      from.on('data', (d: Buffer) => {
        text += d.toString()
      })
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, text }))
  })
}

describe.skipIf(!isBuilt)('the picture example', () => {
  it('makes a MobileNet small by one recipe, and says what that cost', { timeout: 900_000 }, async () => {
    const { status, text } = await run(['--quick', '--threads', '1', '--out', out])
    expect(status, text).toBe(0)
    const { before, after, ratios } = JSON.parse(readFileSync(join(out, 'results.json'), 'utf8'))
    expect(before.parameters).toBe(2_425_994)
    expect(ratios.bytes).toBeLessThan(0.25)
    expect(after.macs / before.macs).toBeLessThanOrEqual(0.5)
    expect(text).toContain('| file | 9.71 MB |')
  })
})
