/**
 * What calibration costs: time and memory of quantize-static on ResNet-20 with few and with many samples, beside a plain
 * forward pass over the same samples.
 *
 *   node bench/calibration.mjs DATA [--calibrator mse] [--samples 200,2000]
 *
 * DATA: the folder that docs/benchmarks.md describes; its cifar10-jpeg/ is read. Everything runs on one thread, every
 * figure in a process of its own. Build first.
 */
import { existsSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { applyRecipe, rng, subset, targetFor } from '../dist/index.js'
import { load, nodeRunner, openDataset } from '../dist/node/index.js'
import { models } from './peers/models.mjs'
import { watch } from './peers/watch.mjs'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    calibrator: { type: 'string', default: 'mse' },
    samples: { type: 'string', default: '200,2000' },
    job: { type: 'string' }
  }
})
const [root] = positionals
if (!root || !existsSync(root)) {
  console.error('usage: node bench/calibration.mjs DATA [--calibrator NAME] [--samples 200,2000]')
  process.exit(2)
}
const m = models.find((x) => x.name === 'resnet20')
const path = join(root, m.file)
if (given.job) await child(given.job, Number(given.samples))
else await main()

/** Does one job on the first `n` samples and prints what that alone took. */
async function child(job, n) {
  const model = await load(path)
  const { id, dtype, shape } = model.graph.values.get(model.graph.inputs[0])
  const all = await openDataset({ path: join(root, m.train), preprocess: m.preprocess }, [{ name: id, dtype, shape }])
  const data = subset(all, [...Array(n).keys()])
  const run = job === 'forward' ? await forward(data) : () => quantize(model, data)
  const [start, cpu] = [performance.now(), process.cpuUsage()]
  await run()
  const { user, system } = process.cpuUsage(cpu)
  console.log(JSON.stringify({ seconds: (performance.now() - start) / 1000, cpu: (user + system) / 1e6 }))
}

async function forward(data) {
  const session = await nodeRunner().open({ path })
  return async () => {
    for await (const b of data.batches({ batch: 32 })) await session.run(b.inputs)
  }
}

function quantize(model, calibration) {
  const recipe = [
    ['simplify', {}],
    ['fuse', {}],
    ['quantize-static', { calibrator: given.calibrator }]
  ]
  return applyRecipe(model, recipe, {
    engine: nodeRunner(),
    target: targetFor('ort-cpu'),
    rng: rng(0),
    data: { calibration },
    signal: new AbortController().signal,
    progress: () => {}
  })
}

async function main() {
  const rows = []
  for (const n of given.samples.split(',').map(Number)) {
    const [plain, pass] = [await measured('forward', n), await measured('quantize', n)]
    rows.push({
      samples: n,
      'forward s': plain.seconds.toFixed(2),
      'forward cpu s': plain.cpu.toFixed(2),
      'quantize s': pass.seconds.toFixed(2),
      'quantize cpu s': pass.cpu.toFixed(2),
      ratio: (pass.seconds / plain.seconds).toFixed(1),
      'cpu ratio': (pass.cpu / plain.cpu).toFixed(1),
      'peak MB': Math.round(pass.peakBytes / 1e6)
    })
  }
  console.table(rows)
  console.log(`peak memory, most to least samples: ${(rows.at(-1)['peak MB'] / rows[0]['peak MB']).toFixed(3)}`)
  console.log(`node ${process.version}, ${nodeRunner().name} ${nodeRunner().version}, ${os.cpus()[0].model}`)
}

async function measured(job, n) {
  const self = fileURLToPath(import.meta.url)
  const { calibrator } = given
  const args = [self, root, '--job', job, '--samples', String(n), '--calibrator', calibrator]
  const { status, output, peakBytes } = await watch(process.execPath, args)
  if (status !== 0) throw new Error(`${job} of ${n} samples ended with status ${status}: ${output}`)
  return { ...JSON.parse(output.split('\n').at(-1)), peakBytes }
}
