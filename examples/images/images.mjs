/**
 * A picture classifier for phones, from nothing: a MobileNet trained on Fashion-MNIST, then pruned while it learns from what
 * it was, quantized, and measured against what it came from.
 *
 *   node examples/images/images.mjs [--quick] [--data FOLDER] [--epochs 6] [--threads 2] [--out FOLDER]
 *
 * Pictures are those of Debian's package dataset-fashion-mnist, in --data; where they are not, and for --quick, the digits of
 * the package `mnist`. Writes the models, results.json and Pare's report to examples/images/out. --quick checks that all of it
 * works: little training, poor accuracy.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { recipe } from './recipe.mjs'
import { tableOf } from './table.mjs'

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    data: { type: 'string', default: '/usr/share/datasets/fashion-mnist' },
    epochs: { type: 'string', default: '6' },
    threads: { type: 'string', default: '2' },
    out: { type: 'string' }
  }
})

const at = (...parts) => relative(process.cwd(), join(fileURLToPath(new URL('.', import.meta.url)), ...parts))
const out = values.out ?? at('out')
const file = (name) => join(out, name)
const begun = performance.now()

const idx = (part) => join(values.data, `${part}-images-idx3-ubyte.gz`)
const isFashion = !values.quick && existsSync(idx('train'))
const pictures = isFashion
  ? {
      name: 'Fashion-MNIST',
      train: [idx('train'), '--preprocess', 'unit'],
      test: [idx('t10k'), '--preprocess', 'unit']
    }
  : {
      name: 'digits of the package mnist',
      train: [values.quick ? at('few-digits.mjs') : at('../demo/digits-train.mjs')],
      test: [at('../demo/digits-data.mjs')]
    }

const epochs = Number(values.epochs)
const settings = values.quick
  ? {
      train: { epochs: 4, batch: 32, rate: 0.002 },
      recipe: { epochs: 2, batch: 32, rate: 0.001, share: 0.5, step: 0.25 }
    }
  : { train: { epochs, batch: 128, rate: 0.002 }, recipe: { epochs, batch: 128, rate: 0.001, share: 0.5, step: 0.25 } }
const augment = isFashion ? ['--augment.kind', 'image', '--augment.shift', 0.04] : []

function tell(what) {
  process.stdout.write(`${((performance.now() - begun) / 1000).toFixed(0).padStart(5)} s  ${what}\n`)
}

/** Runs Pare as its user would; returns what it printed where that is asked for as JSON. */
function pare(...args) {
  tell(`$ pare ${args.join(' ')}`)
  const wantsJson = args.includes('--json')
  const { status, error, stdout } = spawnSync(process.execPath, [at('../../dist/cli/main.js'), ...args.map(String)], {
    stdio: ['ignore', wantsJson ? 'pipe' : 'inherit', 'inherit'],
    maxBuffer: 2 ** 28
  })
  if (error) throw error
  if (status !== 0) throw new Error(`pare ${args[0]} ended with status ${status}`)
  return wantsJson ? JSON.parse(stdout) : undefined
}

const common = ['--threads', values.threads, '--force', '--quiet']

function train() {
  const { epochs, batch, rate } = settings.train
  const how = ['--epochs', epochs, '--batch', batch, '--optimizer.name', 'adam', '--optimizer.rate', rate, ...augment]
  const all = ['--train-data', ...pictures.train, ...how, '--holdout', 0.05, ...common]
  pare('train', at('mobilenet.txt'), ...all, '-o', file('float.onnx'))
}

/** The training pictures teach, the others calibrate, choose and, those that nothing else saw, prove. */
function compress() {
  writeFileSync(file('recipe.json'), JSON.stringify(recipe(settings.recipe), undefined, 2))
  const [training, ...reading] = pictures.train
  const [data] = pictures.test
  const how = ['--recipe', file('recipe.json'), '--train-data', training, '--data', data, ...reading]
  return pare(
    'compress',
    file('float.onnx'),
    ...how,
    ...common,
    '--json',
    '--report',
    file('report.html'),
    '-o',
    file('small.onnx')
  )
}

function broken({ before, after, ratios }) {
  const found = []
  if (!(after.metrics.top1.value > 0.2)) found.push('the small model is hardly better than chance')
  if (!(before.bytes > 9e6)) found.push('the float model is smaller than it was to be')
  if (!(ratios.bytes < 0.25)) found.push('the small model has more than a quarter of the bytes')
  return found
}

mkdirSync(out, { recursive: true })
tell(`pictures: ${pictures.name}`)
train()
const { before, after, ratios, drop } = compress()
const results = { pictures: pictures.name, settings, before, after, ratios, drop }
writeFileSync(file('results.json'), JSON.stringify(results, undefined, 2))
process.stdout.write(`\n${tableOf(results)}\n\n`)
tell(`all of it; ${file('results.json')} and Pare's report are beside the models`)
for (const problem of broken(results)) {
  process.stderr.write(`${problem}\n`)
  process.exitCode = 1
}
