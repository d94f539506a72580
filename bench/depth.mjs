/**
 * ResNet-56, fine-tuned, and with half its multiply-adds: by blocks between residual joins and by channels, taught by the
 * fine-tuned model; all of them in float and in int8, beside the fine-tuned model in float.
 *
 *   node bench/depth.mjs DATA [--only NAME;…] [--log FILE] [--epochs 6]
 *
 * DATA: the folder that docs/benchmarks.md describes. Training sees train.npz; top-1 is of test_dev.npz. Every result is
 * appended to the log (depth.jsonl by default), every model kept beside it, and neither is made again: the script may be
 * stopped and started anew. Build first. One thread; SGD 0.02, cosine, batches of 128, without augmentation.
 */
import { existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { costOf, evaluate, metricDrops, metricFor, metricIntervals } from '../dist/index.js'
import { load, nodeRunner } from '../dist/node/index.js'
import { chained, inLog, opened, ratioOf, workOf } from './side-by-side.mjs'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string' },
    log: { type: 'string', default: 'depth.jsonl' },
    epochs: { type: 'string', default: '6' }
  }
})
const [root] = positionals
if (!root || !existsSync(root)) {
  console.error('usage: node bench/depth.mjs DATA [--only NAME;…] [--log FILE] [--epochs 6]')
  process.exit(2)
}

const folder = join(dirname(given.log), 'depth-models')
mkdirSync(folder, { recursive: true })
const m = await opened(root, 'resnet56', folder)
const trains = ['finetune', 'prune-blocks', 'prune-channels']
const train = (epochs, ...flags) => ['finetune', '--epochs', epochs, '--holdout', '0', '--keep', 'last', ...flags]
const tuned = [train('3')]
const teacher = chained(m, folder, tuned, trains).path
const taught = train(given.epochs, '--teacher', teacher)
const blocks = [...tuned, ['prune-blocks', '--macs', '0.5', '--samples', '64']]
const channels = [...tuned, ['prune-channels', '--macs', '0.5']]
const float = {
  'fine-tuned': tuned,
  'half by blocks': blocks,
  [`half by blocks, taught for ${given.epochs}`]: [...blocks, taught],
  'half by channels': channels,
  [`half by channels, taught for ${given.epochs}`]: [...channels, taught]
}
const jobs = Object.fromEntries(
  Object.entries(float).flatMap(([name, chain]) => [
    [name, chain],
    [`${name}, int8`, [...chain, ['quantize-static']]]
  ])
)

await inLog(given.log, jobs, measured, given.only)

async function measured(name, commands) {
  const { path } = chained(m, folder, commands, trains)
  const metrics = [metricFor('top1')]
  const sessions = [await nodeRunner().open({ path: teacher }), await nodeRunner().open({ path })]
  const [before, after] = await evaluate(sessions, { dataset: m.test, metrics })
  const { median, low, high } = await ratioOf(m.test, sessions)
  const work = await workOf(m.test, sessions)
  for (const s of sessions) await s.close()
  const { value: drop, low: least, high: most } = metricDrops(before, after, metrics).top1
  const points = (x) => (100 * x).toFixed(2)
  const [macs, all] = [costOf(await load(path)).total, costOf(await load(teacher)).total]
  return {
    model: name,
    'top-1': points(metricIntervals(after, metrics).top1.value),
    'drop (points)': `${points(drop)} [${points(least)}, ${points(most)}]`,
    bytes: (statSync(path).size / statSync(teacher).size).toFixed(3),
    macs: macs === undefined ? '?' : (macs / all).toFixed(3),
    latency: `${median.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`,
    'processor time': work.toFixed(3)
  }
}
