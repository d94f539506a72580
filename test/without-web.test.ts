/** The program where onnxruntime-web is not installed: a copy of it, beside links to every other package. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Report } from '../src/report/types.ts'
import { isBuilt, pare, program } from './program.ts'

const root = fileURLToPath(new URL('../', import.meta.url))
const demo = join(root, 'examples/demo')

describe.skipIf(!isBuilt)(`without onnxruntime-web${isBuilt ? '' : ' (skipped: not built, npm run build)'}`, () => {
  let folder = ''
  const copied = (): string => join(folder, 'dist/cli/main.js')

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'pare-alone-'))
    cpSync(dirname(dirname(program)), join(folder, 'dist'), { recursive: true })
    cpSync(join(root, 'package.json'), join(folder, 'package.json'))
    mkdirSync(join(folder, 'node_modules'))
    for (const name of readdirSync(join(root, 'node_modules')))
      if (name !== 'onnxruntime-web' && !name.startsWith('.'))
        symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const run = async (args: readonly string[]): Promise<{ status: number | null; report: Report }> => {
    const { status, out } = await pare([...args, '--target', 'ort-web', '--json'], { cwd: folder, program: copied() })
    return { status, report: JSON.parse(out) }
  }
  const said =
    'onnxruntime-web, in which models for ort-wasm run, is not here: npm install onnxruntime-web; nothing was timed, and the scores are those of onnxruntime-node'

  it('bench says so, and times nothing', async () => {
    const { status, report } = await run(['bench', join(demo, 'digits.onnx')])
    expect(status).toBe(0)
    expect(report.notes).toContain(said)
    expect(report.machine.measured).toBeUndefined()
    expect(Object.keys(report.before)).not.toEqual(expect.arrayContaining(['latencyMs']))
    expect(report.before.loadMs ?? report.before.peakBytes).toBeUndefined()
  }, 60_000)

  it('compress for size says so, scores in onnxruntime-node and writes', async () => {
    const data = ['--data', join(demo, 'digits-data.mjs')]
    const out = join(folder, 'small.onnx')
    const { status, report } = await run([
      'compress',
      join(demo, 'digits.onnx'),
      ...data,
      '-o',
      out,
      '--objective',
      'size'
    ])
    expect(status).toBe(0)
    expect(report.notes).toContain(said)
    expect(report.candidates.some((c) => c.ratios.latency)).toBe(false)
    expect(existsSync(out)).toBe(true)
    expect(readFileSync(out).length).toBeLessThan(readFileSync(join(demo, 'digits.onnx')).length)
  }, 120_000)
})
