/**
 * Mixed precision beside uniform precision, made and measured in one run: 4-bit weights of all layers by two roundings;
 * what `mix-precision` finds for size, with a bound on the drop and with the bytes of the uniform model; int8, and what it
 * finds for latency.
 *
 *   node bench/mixed.mjs DATA [--only resnet20,resnet56,mobilenet] [--keep FOLDER]
 *
 * DATA: the folder that docs/benchmarks.md describes. The ResNets are made with samples of train.npz and measured on
 * test_dev.npz; MobileNet, for latency only, with the calibration and selection parts of its pictures and measured on the
 * test part. One thread. Build first.
 */
import { existsSync, mkdirSync, mkdtempSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { load, nodeRunner } from '../dist/node/index.js'
import { compared, madeBy, opened } from './side-by-side.mjs'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string', default: 'resnet20,resnet56,mobilenet' }, keep: { type: 'string' } }
})
const [root] = positionals
if (!root || !existsSync(root)) {
  console.error('usage: node bench/mixed.mjs DATA [--only NAME,…] [--keep FOLDER]')
  process.exit(2)
}
const folder = given.keep ?? mkdtempSync(join(tmpdir(), 'pare-mixed-'))
mkdirSync(folder, { recursive: true })

const prepared = [['simplify'], ['fuse']]
const uniform = (method) => [...prepared, ['quantize-weights', '--bits', '4', '--method', method]]
const mixed = (...flags) => [['mix-precision', ...flags]]
const bound = ['--max-drop', '1%']

for (const name of given.only.split(',')) {
  const m = await opened(root, name, folder)
  const made = []
  const make = (title, commands) => {
    made.push(madeBy(m, title, commands))
    for (const note of made.at(-1).notes) console.error(`${name}, ${title}: ${note}`)
    return made.at(-1)
  }
  if (name !== 'mobilenet') {
    make('int4 rtn', uniform('rtn'))
    const int4 = make('int4 gptq', uniform('gptq'))
    make('mixed, drop 1', mixed(...bound))
    make('mixed, drop 1, least bytes', mixed(...bound, '--least-bytes'))
    make('mixed, bytes of int4', mixed('--budget.bytes', (await shareOf(m, int4.bytes)).toFixed(4)))
  }
  make('int8', [...prepared, ['quantize-static'], ['quantize-weights']])
  make('int8 or float, drop 1', mixed('--objective', 'latency', ...bound))
  console.log(`${name}, ${m.test.size} samples that nothing chose by`)
  console.table(await compared(m, made, 'int4 gptq'))
}
console.log(`models: ${folder}`)
console.log(`node ${process.version}, ${nodeRunner().name} ${nodeRunner().version}, ${cpus()[0]?.model}`)

/** What the constants of a file of so many bytes are of those of the float model, all other bytes being the same. */
async function shareOf(m, bytes) {
  const float = madeBy(m, 'float', prepared)
  const { graph } = await load(float.path)
  const constants = [...graph.values.values()].reduce((n, v) => n + (v.data?.bytes.length ?? 0), 0)
  return (bytes - float.bytes + constants) / constants
}
