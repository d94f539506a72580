/**
 * What comes out of a federation: LeNet-5 on Fashion-MNIST through the rounds and then through the ladder of `compress`, plain, pruned in
 * the rounds, and trained with rounded weights; beside one client that has all data and takes as many steps. The pictures
 * are those of Debian's package dataset-fashion-mnist.
 *
 *   node bench/federated-result.mjs [--keep FOLDER] [--rounds 40] [--per-round 10] [--epochs 5] [--only NAME]… [--table]
 *
 * A run that is done is a line in FOLDER/results.jsonl; the same command goes on. Build first.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { runJob } from '../dist/node/index.js'

const { values } = parseArgs({
  options: {
    keep: { type: 'string', default: 'bench/out/federated' },
    data: { type: 'string', default: '/usr/share/datasets/fashion-mnist' },
    rounds: { type: 'string', default: '40' },
    'per-round': { type: 'string', default: '10' },
    epochs: { type: 'string', default: '5' },
    only: { type: 'string', multiple: true },
    table: { type: 'boolean', default: false }
  }
})
const [rounds, perRound, epochs] = [values.rounds, values['per-round'], values.epochs].map(Number)
const setting = `${rounds} rounds of ${perRound}, ${epochs} epochs`
const log = join(values.keep, 'results.jsonl')
mkdirSync(values.keep, { recursive: true })

const many = { clients: 100, alpha: 0.5 }
const prune = { to: 0.9, from: Math.round(rounds / 4), until: Math.round((3 * rounds) / 4) }
const quantize = { bits: 4, from: Math.round(rounds / 2) }
// A client has 600 of the 60,000 samples on average, so the one client with all of them takes as many steps in so many epochs.
const rate = 0.1
const spread = { rounds, clientsPerRound: perRound, local: { rate, epochs } }
const float = { codec: 'float' }
const central = {
  rounds: Math.round((rounds * perRound * epochs) / 100),
  ...{ clientsPerRound: 1, local: { rate, epochs: 1 }, up: float, down: float }
}

/** Recipes, and over how many clients the data is spread. */
const kinds = {
  'central, as many steps': { recipe: central, clients: 1 },
  federated: { recipe: spread, ...many },
  'federated, 90 % pruned': { recipe: { ...spread, prune }, ...many },
  'federated, 4 bits': { recipe: { ...spread, quantize }, ...many },
  'federated, 90 % pruned, 4 bits': { recipe: { ...spread, prune, quantize }, ...many }
}

const done = () =>
  existsSync(log)
    ? readFileSync(log, 'utf8')
        .trim()
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line))
    : []

async function run(name) {
  const { recipe, ...federation } = kinds[name]
  const start = performance.now()
  const { report } = await runJob(
    {
      command: 'simulate',
      line: `bench/federated-result.mjs ${name}`,
      model: fileURLToPath(new URL('lenet.txt', import.meta.url)),
      out: join(values.keep, `${name.replace(/[^a-z0-9]+/gi, '-')}-${rounds}-${perRound}-${epochs}.onnx`),
      ...{ force: true, resume: true, seed: 1 },
      data: {
        data: { path: join(values.data, 'train-images-idx3-ubyte.gz'), preprocess: 'unit' },
        evaluation: { path: join(values.data, 't10k-images-idx3-ubyte.gz'), preprocess: 'unit' }
      },
      federation: {
        ...federation,
        recipe: { ...recipe, compress: { maxDrop: 0.01, objective: 'size' } }
      }
    },
    { signal: new AbortController().signal, progress: (stage) => process.stderr.write(`\r${name}: ${stage}      `) }
  )
  const { federation: told, before, after } = report
  return {
    ...{ name, setting, steps: told.steps, lastRounds: 100 * told.lastRounds.top1 },
    ...{ float: 100 * before.metrics.top1.value, made: 100 * after.metrics.top1.value },
    ...{ bytes: after.bytes, share: after.bytes / before.bytes, recipe: report.recipe },
    seconds: (performance.now() - start) / 1000
  }
}

for (const name of values.table ? [] : (values.only ?? Object.keys(kinds)))
  if (!done().some((r) => r.name === name && r.setting === setting))
    appendFileSync(log, `${JSON.stringify(await run(name))}\n`)

console.log(
  '| | steps | mean of last 10 rounds | last round | through the ladder | bytes | of the float model | s |\n| --- | --- | --- | --- | --- | --- | --- | --- |'
)
for (const r of done().filter((r) => r.setting === setting))
  console.log(
    `| ${r.name} | ${r.steps} | ${r.lastRounds.toFixed(2)} | ${r.float.toFixed(2)} | ${r.made.toFixed(2)} | ${r.bytes} | ${r.share.toFixed(4)} | ${r.seconds.toFixed(0)} |`
  )
