/** The package as it is packed, in an empty project: the program, and programs that use it. */
import { spawn } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { rolldown } from 'rolldown'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isBuilt } from './program.ts'

const root = fileURLToPath(new URL('../', import.meta.url))
const project = mkdtempSync(join(tmpdir(), 'pare-package-'))
const installed = join(project, 'node_modules', 'pare')
afterAll(() => rmSync(project, { recursive: true, force: true }))

interface Ended {
  readonly status: number | null
  readonly out: string
  readonly err: string
}

function run(command: string, args: readonly string[], cwd = project): Promise<Ended> {
  const { NODE_OPTIONS: _, ...env } = process.env
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env })
    let [out, err] = ['', '']
    child.stdout.on('data', (d: Buffer) => {
      out += d.toString()
    })
    child.stderr.on('data', (d: Buffer) => {
      err += d.toString()
    })
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, out, err }))
  })
}

const dependenciesOf = (manifest: string): readonly string[] =>
  Object.keys((JSON.parse(readFileSync(manifest, 'utf8')) as { dependencies: object }).dependencies)

/** Puts the packed files and links to their dependencies where npm would put them: no registry is asked. */
async function install(): Promise<void> {
  const packed = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', project], root)
  const [{ filename }] = JSON.parse(packed.out) as [{ filename: string }]
  mkdirSync(installed, { recursive: true })
  await run('tar', ['-xzf', join(project, filename), '--strip-components=1', '-C', installed])
  for (const name of dependenciesOf(join(installed, 'package.json'))) {
    const link = join(project, 'node_modules', name)
    mkdirSync(dirname(link), { recursive: true })
    symlinkSync(join(root, 'node_modules', name), link)
  }
}

describe.skipIf(!isBuilt)('the package (needs npm run build)', () => {
  beforeAll(async () => {
    await install()
    copyFileSync(join(root, 'examples', 'demo', 'digits.onnx'), join(project, 'model.onnx'))
    cpSync(join(root, 'examples', 'library'), project, { recursive: true })
    // The data of the demo, which draws on a package that only the repository has: a link keeps it there.
    symlinkSync(join(root, 'examples', 'demo', 'digits-data.mjs'), join(project, 'data.mjs'))
  }, 60_000)

  it('holds what it says, and no source', () => {
    const files = readdirSync(installed, { recursive: true }) as string[]
    for (const file of [
      'dist/cli/main.js',
      'dist/index.js',
      'dist/index.d.ts',
      'dist/node/index.d.ts',
      'README.md',
      'LICENSE'
    ])
      expect(files).toContain(file)
    expect(files.filter((f) => /^(src|test|bench)\b/.test(f))).toEqual([])
  })

  it('runs as a program', async () => {
    const bin = join(installed, 'dist', 'cli', 'main.js')
    writeFileSync(join(project, 'recipe.json'), '[["fuse", {}], ["quantize-weights", {}]]')
    const recipe = ['--recipe', 'recipe.json', '--max-drop', '2%']
    const args = ['compress', 'model.onnx', '--data', 'data.mjs', ...recipe, '-o', 'out.onnx', '--quiet']
    const { status, err } = await run(process.execPath, [bin, ...args])
    expect({ status, err }).toEqual({ status: 0, err: '' })
    expect(readFileSync(join(project, 'out.onnx')).length).toBeLessThan(
      readFileSync(join(project, 'model.onnx')).length
    )
  }, 90_000)

  it('runs as a library', async () => {
    const { status, out, err } = await run(process.execPath, ['compress.mjs', 'model.onnx', 'data.mjs'])
    expect({ status, err }).toEqual({ status: 0, err: '' })
    expect(out).toMatch(/^\d+ bytes before, \d+ after/)
    expect(existsSync(join(project, 'small.onnx'))).toBe(true)
  }, 60_000)

  it('takes a pass of one’s own', async () => {
    const { status, out, err } = await run(process.execPath, ['custom-pass.mjs', 'model.onnx'])
    expect({ status, err }).toEqual({ status: 0, err: '' })
    expect(out).toBe('[["simplify",{}],["label",{"text":"for the kiosk"}],["quantize-weights",{}]] for the kiosk\n')
  }, 60_000)

  it('bundles for a page', async () => {
    const bundle = await rolldown({
      input: join(project, 'page', 'main.js'),
      cwd: project,
      platform: 'browser',
      logLevel: 'silent',
      external: ['onnxruntime-web']
    })
    const [chunk] = (await bundle.generate({ format: 'esm', codeSplitting: false })).output
    expect([...chunk.imports, ...chunk.dynamicImports]).toEqual(['onnxruntime-web'])
    expect(chunk.code).not.toMatch(/from ["']node:/)
    const ort = await import('onnxruntime-node')
    const page = (await import(`data:text/javascript;base64,${Buffer.from(chunk.code).toString('base64')}`)) as {
      shrink(bytes: ArrayBuffer, ort: unknown): Promise<{ parameters: number; file: Blob }>
    }
    const bytes = readFileSync(join(project, 'model.onnx'))
    const { parameters, file } = await page.shrink(Uint8Array.from(bytes).buffer, ort)
    expect(parameters).toBe(26_770)
    expect(file.size).toBeLessThan(bytes.length / 2)
  }, 60_000)

  it('bundles little for a page that only reads models', async () => {
    const bundle = await rolldown({
      input: 'page',
      cwd: project,
      platform: 'browser',
      logLevel: 'silent',
      plugins: [
        {
          name: 'page',
          resolveId: (id) => (id === 'page' ? join(project, 'reads.js') : null),
          load: (id) => (id.endsWith('reads.js') ? "export { readModel } from 'pare'" : null)
        }
      ]
    })
    const [{ code }] = (await bundle.generate({ format: 'esm', minify: true })).output
    expect(gzipSync(code).length).toBeLessThan(48_000)
  }, 60_000)

  it('exports every type that its functions take and give', () => {
    const dist = join(installed, 'dist')
    const files = (readdirSync(dist, { recursive: true }) as string[]).filter(
      (f) => f.endsWith('.d.ts') && !f.startsWith('cli')
    )
    const texts = new Map(files.map((f) => [f, readFileSync(join(dist, f), 'utf8')]))
    const declared = [...texts.values()].flatMap((t) =>
      [...t.matchAll(/^(?:declare )?(?:interface|type|class) (\w+)/gm)].map((m) => m[1])
    )
    const exported = ['index.d.ts', join('node', 'index.d.ts')].flatMap((f) =>
      [...(texts.get(f) ?? '').matchAll(/^export \{([^}]*)\}/gm)].flatMap((m) =>
        (m[1] ?? '').split(',').map((name) =>
          name
            .trim()
            .replace(/^type /, '')
            .replace(/^.* as /, '')
        )
      )
    )
    expect(declared.length).toBeGreaterThan(150)
    expect(declared.filter((name) => !exported.includes(name ?? ''))).toEqual([])
  })
})
