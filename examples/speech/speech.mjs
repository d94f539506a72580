/**
 * A keyword spotter from nothing: speech made by espeak-ng, a teacher trained on it, distilled to a student of a
 * seventeenth of its size by way of one between, quantized, and measured against what it came from.
 *
 *   node examples/speech/speech.mjs [--quick] [--threads 2] [--out FOLDER]
 *
 * Writes the models, results.json and Pare's reports to examples/speech/out. --quick checks that all of it works: little
 * data, short training, poor accuracy.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { initialise, nodeRunner, parse, writeModel } from '../../dist/node/index.js'
import { prepared } from './data.mjs'
import { chosenRule, judged, looks, opened, pace } from './streams.mjs'
import { whyMute } from './synth.mjs'
import { tableOf } from './table.mjs'
import { classes } from './words.mjs'

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    threads: { type: 'string', default: '2' },
    out: { type: 'string' }
  }
})

const settings = values.quick
  ? {
      data: {
        seed: 1,
        signalToNoise: [5, 25],
        train: { takes: 20, othersPerTake: 8, inventedPerTake: 4, samples: 960, minutes: 0 },
        select: { takes: 8, othersPerTake: 8, inventedPerTake: 4, samples: 320, minutes: 1 },
        test: { takes: 8, othersPerTake: 8, inventedPerTake: 0, samples: 320, minutes: 1 }
      },
      epochs: { teacher: 4, middle: 4, student: 4, pruned: 4 },
      batch: 16,
      rate: 0.002,
      falseAcceptsPerHour: 60,
      seconds: 0.3
    }
  : {
      data: {
        seed: 1,
        signalToNoise: [3, 25],
        train: { takes: 1000, othersPerTake: 16, inventedPerTake: 16, samples: 60_000, minutes: 0 },
        select: { takes: 120, othersPerTake: 16, inventedPerTake: 24, samples: 4000, minutes: 180 },
        test: { takes: 120, othersPerTake: 24, inventedPerTake: 0, samples: 4000, minutes: 180 }
      },
      epochs: { teacher: 4, middle: 4, student: 7, pruned: 4 },
      batch: 128,
      rate: 0.003,
      falseAcceptsPerHour: 1,
      seconds: 3
    }

const at = (...parts) => relative(process.cwd(), join(fileURLToPath(new URL('.', import.meta.url)), ...parts))
const out = values.out ?? at('out')
const model = (name) => join(out, `${name}.onnx`)
const begun = performance.now()
const minutes = {}

function tell(what) {
  process.stdout.write(`${((performance.now() - begun) / 1000).toFixed(0).padStart(5)} s  ${what}\n`)
}

/** Runs a step and keeps how long it took. */
async function timed(name, work) {
  const from = performance.now()
  const result = await work()
  minutes[name] = (performance.now() - from) / 60_000
  return result
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

// ---------------------------------------------------------------- models

const common = ['--threads', values.threads, '--force', '--quiet']

function training(folder, epochs) {
  const data = ['--train-data', join(folder, 'train.npz'), '--data', join(folder, 'select.npz')]
  const steps = ['--epochs', epochs, '--batch', settings.batch]
  return [...data, ...steps, '--optimizer.name', 'adam', '--optimizer.rate', settings.rate, ...common]
}

function train(name, graph, folder, epochs) {
  pare('train', at(`${graph}.txt`), ...training(folder, epochs), '-o', model(name))
}

function distill(teacher, name, folder, epochs) {
  const start = initialise(parse(readFileSync(at(`${name}.txt`), 'utf8')), 1).model
  writeFileSync(model(`${name}.start`), writeModel(start).bytes)
  pare('distill', model(teacher), '--student', model(`${name}.start`), ...training(folder, epochs), '-o', model(name))
}

/** A third of the multiply-adds go with channels, an epoch after each tenth, beside the model that taught the student. */
function prune(from, teacher, name, folder, epochs) {
  const options = ['--prune.what', 'channels', '--prune.to', 0.33, '--teacher', model(teacher)]
  pare('finetune', model(from), ...options, ...training(folder, epochs), '-o', model(name))
}

/** For any processor: on x86 without VNNI, other int8 weights saturate. */
function quantize(from, name, folder, bits = 8) {
  const data = ['--data', join(folder, 'select.npz'), '--target', 'ort-cpu-avx2', '--bits', bits]
  pare('quantize-static', model(from), ...data, ...common, '-o', model(name))
}

async function models(folder) {
  const { epochs } = settings
  await timed('teacher', () => train('teacher', 'teacher', folder, epochs.teacher))
  await timed('middle', () => distill('teacher', 'middle', folder, epochs.middle))
  await timed('student', () => distill('middle', 'student', folder, epochs.student))
  await timed('alone', () => train('alone', 'student', folder, epochs.student))
  await timed('quantized', () => quantize('student', 'quantized', folder))
  await timed('small', () => quantize('student', 'small', folder, 4))
  await timed('pruned', () => prune('student', 'middle', 'pruned', folder, epochs.pruned))
  await timed('prunedSmall', () => quantize('pruned', 'prunedSmall', folder, 4))
}

// ---------------------------------------------------------------- measurement, on voices and words that nothing was learned from or chosen by

const names = ['teacher', 'middle', 'alone', 'student', 'quantized', 'small', 'pruned', 'prunedSmall']
const pairs = [
  ['teacher', 'middle'],
  ['teacher', 'student'],
  ['alone', 'student'],
  ['student', 'quantized'],
  ['student', 'small'],
  ['student', 'pruned'],
  ['student', 'prunedSmall'],
  ['teacher', 'quantized']
]

function verified(folder) {
  const measured = {}
  const drops = pairs.map(([from, to]) => {
    const report = join(out, `${from}-${to}.html`)
    const data = ['--data', join(folder, 'test.npz'), '--seconds', settings.seconds]
    const said = pare('verify', model(from), model(to), ...data, '--force', '--json', '--report', report)
    measured[from] ??= said.before
    measured[to] ??= said.after
    return { from, to, drop: said.drop.top1, latencyRatio: said.ratios.latency, report }
  })
  return { measured, drops }
}

async function streamed(folder) {
  const [select, test] = [opened(folder, 'select'), opened(folder, 'test')]
  const rows = {}
  for (const name of names) {
    tell(`${name} listens to ${Math.round(60 * (select.hours + test.hours))} minutes`)
    const session = await nodeRunner().open({ path: model(name) })
    const rule = chosenRule(await looks(session, select.features), select, settings.falseAcceptsPerHour)
    const shares = await looks(session, test.features)
    rows[name] = { ...judged(shares, test, rule), look: await pace(session, test, shares, rule) }
    await session.close()
  }
  return rows
}

function broken({ measured, streams }) {
  const most = 5 / 19
  const found = []
  for (const name of names) {
    if (!(measured[name].metrics.top1.value > most)) found.push(`${name} is no better than saying "unknown" always`)
    if (!streams[name].look.agrees) found.push(`${name} calls other words in a stream than in the same sound at once`)
  }
  if (!(measured.student.parameters <= 60_000)) found.push('the student has more than 60,000 parameters')
  return found
}

const mute = whyMute()
if (mute) {
  process.stdout.write(`skipped: ${mute}\n`)
  process.exit(0)
}
mkdirSync(out, { recursive: true })
const folder = relative(process.cwd(), await timed('data', () => prepared(settings.data, tell)))
await models(folder)
const { measured, drops } = await timed('verify', () => verified(folder))
const streams = await timed('streams', () => streamed(folder))
const results = { settings, classes, minutes, measured, drops, streams }
writeFileSync(join(out, 'results.json'), JSON.stringify(results, undefined, 2))
process.stdout.write(`\n${tableOf(results, names)}\n`)
tell(`all of it; ${join(out, 'results.json')} and Pare's reports are beside the models`)
for (const problem of broken(results)) {
  process.stderr.write(`${problem}\n`)
  process.exitCode = 1
}
