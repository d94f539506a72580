/**
 * ResNet-20 with fewer channels, at once, with each repair, and after fine-tuning; and with fewer weights, by what tells them.
 *
 *   node bench/prune.mjs DATA [--only NAME;…] [--log FILE]
 *
 * DATA: the folder that docs/benchmarks.md describes. Commands see samples of train.npz; top-1 is of test_dev.npz. Every
 * result is appended to the log (prune.jsonl by default) and not measured again: the script may be stopped and started
 * anew. Build first. One thread; SGD 0.02, cosine, batches of 128, without augmentation.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { evaluate, interleave, metricFor, metricIntervals, rng } from '../dist/index.js'
import { nodeRunner } from '../dist/node/index.js'
import { chained, opened } from './side-by-side.mjs'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string' }, log: { type: 'string', default: 'prune.jsonl' } }
})
const [root] = positionals
if (!root || !existsSync(root)) {
  console.error('usage: node bench/prune.mjs DATA [--only NAME;…] [--log FILE]')
  process.exit(2)
}

const prune = (...flags) => ['prune-channels', ...flags]
const train = (epochs, ...flags) => [
  'finetune',
  '--epochs',
  String(epochs),
  '--holdout',
  '0',
  '--keep',
  'last',
  ...flags
]
const jobs = {
  'one fifth of the channels, plain': [prune('--ratio', '0.2', '--criterion', 'activation', '--repair', 'none')],
  'one fifth, statistics': [prune('--ratio', '0.2', '--criterion', 'activation', '--repair', 'statistics')],
  'one fifth, weights': [prune('--ratio', '0.2', '--criterion', 'activation', '--repair', 'weights')],
  '0.9 of the MACs, activation': [prune('--macs', '0.9', '--criterion', 'activation')],
  '0.9 of the MACs, taylor': [prune('--macs', '0.9', '--criterion', 'taylor')],
  'half the MACs': [prune('--macs', '0.5', '--criterion', 'taylor')],
  'half the MACs, 1 epoch': [prune('--macs', '0.5', '--criterion', 'taylor'), train(1)],
  'half the MACs, 3 epochs': [prune('--macs', '0.5', '--criterion', 'taylor'), train(3)],
  'half the MACs of every layer, 3 epochs': [
    prune('--macs', '0.5', '--criterion', 'taylor', '--scope', 'layer'),
    train(3)
  ],
  ...Object.fromEntries(
    ['magnitude', 'wanda', 'sparsegpt'].flatMap((by) => [
      ...['0.6', '0.7', '0.8'].map((ratio) => [
        `${100 * ratio} % of the weights, ${by}`,
        [['prune-weights', '--ratio', ratio, '--criterion', by]]
      ]),
      [`2:4, ${by}`, [['prune-weights', '--pattern', '2:4', '--criterion', by]]]
    ])
  ),
  'not pruned, 1 epoch': [train(1)],
  'not pruned, 3 epochs': [train(3)]
}

const log = given.log
const done = existsSync(log)
  ? readFileSync(log, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line))
  : []
const folder = join(dirname(log), 'prune-models')
mkdirSync(folder, { recursive: true })
const m = await opened(root, 'resnet20', folder)
for (const name of given.only?.split(';') ?? Object.keys(jobs)) {
  if (done.some((row) => row.model === name)) continue
  const row = await measured(name, jobs[name])
  done.push(row)
  appendFileSync(log, `${JSON.stringify(row)}\n`)
}
console.table(Object.fromEntries(done.map(({ model, notes: _, ...row }) => [model, row])))

async function measured(name, commands) {
  const { path, notes } = chained(m, folder, commands)
  const [metric, sessions] = [
    metricFor('top1'),
    [await nodeRunner().open({ path: m.path }), await nodeRunner().open({ path })]
  ]
  const [, scores] = await evaluate(sessions, { dataset: m.test, metrics: [metric] })
  const { median } = await ratioOf(sessions)
  for (const s of sessions) await s.close()
  const { value } = metricIntervals(scores, [metric]).top1
  return { model: name, 'top-1': (100 * value).toFixed(2), latency: median.toFixed(3), notes }
}

/** Latency of one sample beside the original's, by turns. */
async function ratioOf(sessions) {
  for await (const { inputs } of m.test.batches({ batch: 1 })) {
    const entries = sessions.map((s, i) => ({ name: String(i), run: () => s.run(inputs) }))
    const timed = await interleave(entries, rng(0), { minSeconds: 5, minRuns: 100 })
    return timed[1].ratio
  }
}
