/**
 * What `mix-precision` takes of time and memory: MobileNetV1-0.25 on its pictures and a generated network of 200 layers on
 * generated samples, for size and for latency, each run a process of its own. With --beside, the command of another build
 * runs by turns with this one, and the table gives the ratios.
 *
 *   node bench/mix-memory.mjs DATA [--only mobilenet,layers200] [--objective size,latency] [--beside OTHER/dist/cli/main.js]
 *     [--turns 1] [--results FILE.jsonl]
 *
 * DATA: the folder that docs/benchmarks.md describes. Runs that --results holds already are not made again. Build first.
 */
import { createHash } from 'node:crypto'
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { nodeRunner, save } from '../dist/node/index.js'
import { layers200, npyOf } from './generated.mjs'
import { models } from './peers/models.mjs'
import { watch } from './peers/watch.mjs'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string', default: 'mobilenet,layers200' },
    objective: { type: 'string', default: 'size,latency' },
    beside: { type: 'string' },
    turns: { type: 'string', default: '1' },
    results: { type: 'string' }
  }
})
const [root] = positionals
if (!root || !existsSync(root)) {
  console.error(
    'usage: node bench/mix-memory.mjs DATA [--only NAME,…] [--objective NAME,…] [--beside MAIN.js] [--turns N]'
  )
  process.exit(2)
}
const builds = {
  ...(given.beside && { other: given.beside }),
  this: fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
}
const folder = mkdtempSync(join(os.tmpdir(), 'pare-mix-'))
const done =
  given.results && existsSync(given.results)
    ? readFileSync(given.results, 'utf8')
        .trim()
        .split('\n')
        .map((l) => JSON.parse(l))
    : []

try {
  for (const name of given.only.split(','))
    for (const objective of given.objective.split(','))
      for (let turn = 0; turn < Number(given.turns); turn++)
        for (const build of Object.keys(builds)) await once({ name, objective, turn, build })
  console.table(table())
  console.log(`node ${process.version}, ${nodeRunner().name} ${nodeRunner().version}, ${os.cpus()[0]?.model}`)
} finally {
  rmSync(folder, { recursive: true })
}

async function once(which) {
  if (done.some((r) => Object.keys(which).every((k) => r[k] === which[k]))) return
  const { name, objective, build } = which
  const out = join(folder, 'made.onnx')
  const args = [
    'mix-precision',
    ...(await inputs(name)),
    '--objective',
    objective,
    '--max-drop',
    '1%',
    '--out',
    out,
    '--force',
    '--json'
  ]
  const { status, seconds, cpuSeconds, peakBytes, output } = await watch(process.execPath, [builds[build], ...args])
  if (status !== 0) throw new Error(`${name}, ${objective}: status ${status}: ${output}`)
  const row = {
    ...which,
    seconds,
    cpuSeconds,
    peakBytes,
    made: createHash('sha256').update(readFileSync(out)).digest('hex')
  }
  done.push(row)
  if (given.results) appendFileSync(given.results, `${JSON.stringify(row)}\n`)
}

/** The model of a name with its data, as arguments. */
async function inputs(name) {
  const m = models.find((x) => x.name === name)
  if (m) return [join(root, m.file), '--data', join(root, m.data), '--preprocess', m.preprocess]
  if (name !== 'layers200') throw new Error(`there is no model ${name}`)
  const [path, data] = [join(folder, 'layers200.onnx'), join(folder, 'layers200.npy')]
  if (!existsSync(path)) {
    await save(layers200(), path, {})
    writeFileSync(data, npyOf(1000, 64))
  }
  return [path, '--data', data, '--metric', 'agreement']
}

function table() {
  const rows = []
  for (const name of given.only.split(','))
    for (const objective of given.objective.split(',')) {
      const of = (build) => done.filter((r) => r.name === name && r.objective === objective && r.build === build)
      const [mine, other] = [of('this'), of('other')]
      const least = (rs, k) => Math.min(...rs.map((r) => r[k]))
      const both = (k, unit, digits) =>
        (other.length ? `${(least(other, k) / unit).toFixed(digits)} → ` : '') + (least(mine, k) / unit).toFixed(digits)
      const ratio = (k) => (other.length ? (least(mine, k) / least(other, k)).toFixed(2) : '')
      rows.push({
        model: name,
        objective,
        s: both('seconds', 1, 1),
        'cpu s': both('cpuSeconds', 1, 1),
        'time ratio': ratio('seconds'),
        'peak MB': both('peakBytes', 1e6, 0),
        'memory ratio': ratio('peakBytes'),
        'same file': other.length ? mine.at(-1).made === other.at(-1).made : ''
      })
    }
  return rows
}
