/**
 * Packs Pare, installs it in an empty project from the registry as the README says, and runs the program and the programs of
 * examples/library there; prints a table of seconds. It asks the registry and needs about 350 MB of disk while it runs.
 *
 *   node bench/fresh-install.mjs
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const project = mkdtempSync(join(tmpdir(), 'pare-fresh-'))

function timed(title, command, args, cwd = project) {
  const from = performance.now()
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' })
  const seconds = ((performance.now() - from) / 1000).toFixed(1)
  process.stdout.write(`| ${title} | ${seconds} | ${status === 0 ? 'ok' : `status ${status}`} |\n`)
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}\n${stderr}`)
  return stdout
}

/** 300 samples for the bundled network, as an .npz would hold them, in a module of plain JavaScript. */
const data = `const all = Array.from({ length: 300 }, (_, i) => i)
export default {
  size: 300,
  labelled: false,
  async *batches({ batch, indices = all }) {
    for (let at = 0; at < indices.length; at += batch) {
      const picked = indices.slice(at, at + batch)
      const x = Float32Array.from({ length: 784 * picked.length }, (_, k) => Math.abs(Math.sin(k * (1 + picked[0]))))
      yield { n: picked.length, inputs: { image: { dtype: 'float32', shape: [picked.length, 1, 28, 28], bytes: new Uint8Array(x.buffer) } } }
    }
  }
}
`

try {
  process.stdout.write('| step | seconds | |\n| --- | --- | --- |\n')
  const [{ filename }] = JSON.parse(
    timed(
      'npm pack, with a build',
      'npm',
      ['run', '--silent', 'pack', '--', '--json', '--pack-destination', project],
      root
    ).replace(/^[^[]*/s, '')
  )
  writeFileSync(join(project, 'package.json'), '{ "name": "fresh", "version": "1.0.0", "type": "module" }')
  timed('npm install', 'npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', `./${filename}`])
  copyFileSync(join(root, 'examples/demo/digits.onnx'), join(project, 'model.onnx'))
  cpSync(join(root, 'examples/library'), project, { recursive: true })
  writeFileSync(join(project, 'data.mjs'), data)
  timed('npx pare compress', 'npx', [
    'pare',
    'compress',
    'model.onnx',
    '--data',
    'data.mjs',
    '--max-drop',
    '2%',
    '--quiet'
  ])
  timed('library', process.execPath, ['compress.mjs', 'model.onnx', 'data.mjs'])
  timed('custom pass', process.execPath, ['custom-pass.mjs', 'model.onnx'])
  timed('npm install vite onnxruntime-web', 'npm', [
    'install',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    'vite',
    'onnxruntime-web'
  ])
  timed('vite build of the page', 'npx', ['vite', 'build', 'page'])
} finally {
  rmSync(project, { recursive: true, force: true })
}
