/** The main job on bundled input: compresses a small digits network, proves what that cost, and writes a report. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))
const at = (...parts) => relative(process.cwd(), join(root, 'examples', 'demo', ...parts))
const cli = join(root, 'dist', 'cli', 'main.js')
const [model, data, small, report] = [
  at('digits.onnx'),
  at('digits-data.mjs'),
  at('out', 'digits.pare.onnx'),
  at('out', 'report.html')
]

function pare(...args) {
  process.stdout.write(`\n$ pare ${args.join(' ')}\n`)
  const { status, error } = spawnSync(process.execPath, [cli, ...args], { stdio: 'inherit' })
  if (error) throw error
  if (status !== 0) process.exit(status ?? 1)
}

if (!existsSync(cli)) {
  process.stderr.write('The command line is not built yet: npm run build\n')
  process.exit(2)
}
mkdirSync(join(root, 'examples', 'demo', 'out'), { recursive: true })

process.stdout.write(`
A network that reads handwritten digits: 27 thousand parameters, trained on 8,004 digits by Pare itself (examples/demo/train.mjs).
Pare makes it smaller and faster with the 1,996 digits it has never seen. It may lose at most one percentage point.
`)
pare('compress', model, '--data', data, '--max-drop', '1%', '--out', small, '--report', report, '--force')

process.stdout.write(`
The promise was kept on a test part that no choice was made on. Now both files side by side, on all 1,996 digits:
`)
pare('verify', model, small, '--data', data)

process.stdout.write(`
The smaller network: ${small}
The report, one page with every candidate that was tried: ${report}
`)
