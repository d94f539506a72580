/** Trains the demo's network: the same bytes each time on the same machine, in about half a minute. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))
const at = (name) => relative(process.cwd(), join(root, 'examples', 'demo', name))
const cli = join(root, 'dist', 'cli', 'main.js')
const settings =
  '--epochs 14 --batch 64 --optimizer.rate 0.003 --augment.kind image --no-augment.flip --augment.shift 0.07 --seed 1'

if (!existsSync(cli)) {
  process.stderr.write('The command line is not built yet: npm run build\n')
  process.exit(2)
}
const out = process.argv[2] ?? at('digits.onnx')
const args = ['train', at('digits.txt'), '--train-data', at('digits-train.mjs'), ...settings.split(' ')]
process.stdout.write(`$ pare ${args.join(' ')} --out ${out} --force\n`)
const { status } = spawnSync(process.execPath, [cli, ...args, '--out', out, '--force'], { stdio: 'inherit' })
process.exit(status ?? 1)
