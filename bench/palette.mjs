/**
 * Weights in a palette, run by the runtime as it is: bytes, accuracy, latency, and what opening the file takes beside the
 * float original.
 *
 *   node bench/palette.mjs DATA [--only resnet20,resnet56,mobilenet] [--opens 15] [--keep FOLDER]
 *
 * DATA: the folder that docs/benchmarks.md describes. Roundings and mixtures see samples of train.npz (MobileNet: the
 * calibration and selection parts of its pictures); the table is measured on test_dev.npz (on the test part). Creation time
 * is the median over fresh processes, original and result by turns; peak memory that of such a process. One thread. Build
 * first.
 */
import { existsSync, mkdirSync, mkdtempSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { measureProcess, nodeRunner } from '../dist/node/index.js'
import { compared, madeBy, opened } from './side-by-side.mjs'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string', default: 'resnet20,resnet56,mobilenet' },
    opens: { type: 'string', default: '15' },
    keep: { type: 'string' }
  }
})
const [root] = positionals
if (!root || !existsSync(root)) {
  console.error('usage: node bench/palette.mjs DATA [--only NAME,…] [--opens N] [--keep FOLDER]')
  process.exit(2)
}
const folder = given.keep ?? mkdtempSync(join(tmpdir(), 'pare-palette-'))
mkdirSync(folder, { recursive: true })

const palette = (bits) => [
  ['simplify'],
  ['fuse'],
  ['quantize-weights', '--form', 'palette', '--bits', String(bits), '--method', 'gptq']
]
const mixture = [['mix-precision', '--max-drop', '1%']]
const jobs = {
  resnet20: { 'palette, 4 bits': palette(4), 'palette, 3 bits': palette(3) },
  resnet56: { 'palette, 4 bits': palette(4), 'palette, 3 bits': palette(3) },
  mobilenet: { 'int8 weights': [['simplify'], ['fuse'], ['quantize-weights']], 'mixed bits': mixture }
}

for (const name of given.only.split(',')) {
  const m = await opened(root, name, folder)
  const made = Object.entries(jobs[name]).map(([title, commands]) => madeBy(m, title, commands))
  for (const { name: title, notes } of made) for (const note of notes) console.error(`${name}, ${title}: ${note}`)
  const rows = await compared(m, made)
  const opening = await opens([m.path, ...made.map((x) => x.path)])
  console.log(`${name}, ${m.test.size} samples that nothing chose by`)
  console.table(rows.map((row, i) => ({ ...row, ...opening[i] })))
}
console.log(`models: ${folder}`)
console.log(`node ${process.version}, ${nodeRunner().name} ${nodeRunner().version}, ${cpus()[0]?.model}`)

/** What opening a file takes beside the first, each time in a fresh process, the files by turns. */
async function opens(paths) {
  const seen = paths.map(() => [])
  for (let i = 0; i < Number(given.opens); i++)
    for (const [k, path] of paths.entries()) seen[k].push(await measureProcess(path, { repeats: 1 }))
  const [float, ...others] = seen.map((all) => ({
    ms: median(all.map((x) => x.loadMs)),
    bytes: median(all.map((x) => x.peakBytes))
  }))
  return others.map((o) => ({
    'opens in ms': `${o.ms.toFixed(1)} (float ${float.ms.toFixed(1)})`,
    'peak MB': `${(o.bytes / 1e6).toFixed(1)} (float ${(float.bytes / 1e6).toFixed(1)})`
  }))
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[sorted.length >> 1]
}
