/**
 * Text models made smaller: for each model and length, what `compress` makes with texts and without, what `quantize-dynamic`
 * makes, and beside them onnxruntime's Python tools; bytes, latency and processor time (both interleaved in one process, one
 * thread, batch 1, as ratios to the original; on a busy machine only the second tells) and the cosine with the original's
 * outputs, on texts that nothing chose by.
 *
 *   node bench/text.mjs MODELS TEXTS.txt [--tokens 16,128] [--python PYTHON] [--keep FOLDER] [--only NAME]
 *
 * MODELS: a folder with a sub-folder a model, that holds one .onnx and its tokenizer.json or vocab.txt. TEXTS.txt: sentences,
 * one a line; they are joined until they are as long as asked. PYTHON: an interpreter with onnx and onnxruntime; without it
 * the peers are left out. Files in --keep are not made again: a run that was stopped goes on. Build first.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { evaluate, interleave, metricFor, metricIntervals, rng, splitData } from '../dist/index.js'
import { load, nodeRunner, openDataset } from '../dist/node/index.js'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tokens: { type: 'string', default: '16,128' },
    python: { type: 'string' },
    keep: { type: 'string' },
    only: { type: 'string' }
  }
})
const [folder, file] = positionals
if (!folder || !file || !existsSync(folder) || !existsSync(file)) {
  console.error(
    'usage: node bench/text.mjs MODELS TEXTS.txt [--tokens 16,128] [--python PYTHON] [--keep FOLDER] [--only NAME]'
  )
  process.exit(2)
}
const out = given.keep ?? mkdtempSync(join(tmpdir(), 'pare-text-'))
mkdirSync(out, { recursive: true })
const pare = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const peer = fileURLToPath(new URL('text/peer.py', import.meta.url))
const most = 200

for (const name of readdirSync(folder).filter((n) => !given.only || n === given.only)) {
  const at = join(folder, name)
  const onnx = statSync(at).isDirectory() ? readdirSync(at).filter((f) => f.endsWith('.onnx')) : []
  if (onnx.length !== 1) console.log(`${name}: skipped, as it holds ${onnx.length} .onnx files where one is expected`)
  else for (const tokens of given.tokens.split(',').map(Number)) await table(name, join(at, onnx[0]), tokens)
}
console.log(`files: ${out}; node ${process.version}, ${nodeRunner().name} ${nodeRunner().version}, ${cpus()[0]?.model}`)

async function table(name, model, tokens) {
  const data = joined(tokens)
  const ways = [
    [
      'compress',
      () =>
        compress(name, model, `compress-${tokens}`, [
          '--data',
          data,
          '--max-length',
          String(tokens),
          '--metric',
          'cosine',
          '--max-drop',
          '1%'
        ])
    ],
    ['compress, no data', () => compress(name, model, 'compress-made-up', [])],
    [
      'quantize-dynamic',
      () =>
        made(name, 'dynamic', (path) =>
          run(process.execPath, [pare, 'quantize-dynamic', model, '--out', path, '--quiet'])
        )
    ],
    ...(given.python
      ? [
          [
            'onnxruntime dynamic',
            () => made(name, 'peer-dynamic', (path) => run(given.python, [peer, 'dynamic', model, path]))
          ],
          [
            'onnxruntime optimizer + dynamic',
            () => made(name, 'peer-optimized', (path) => run(given.python, [peer, 'optimized', model, path]))
          ]
        ]
      : [])
  ]
  const rows = [{ way: 'original', path: model }]
  for (const [way, make] of ways) rows.push({ way, ...make() })
  const files = rows.filter((r) => r.path)
  const figures = await measured(
    files.map((f) => f.path),
    model,
    { path: data, maxLength: tokens }
  )
  console.log(`${name}, ${tokens} tokens, ${figures.n} texts`)
  console.table(
    rows.map(({ way, path, chosen, failed }) => {
      const i = files.findIndex((f) => f.path === path)
      return { way, ...(path ? figures.rows[i] : { bytes: failed }), chosen: chosen ?? '' }
    })
  )
}

/** The file of a way, made once; what went wrong where it could not be made. */
function made(name, what, make) {
  const path = join(out, `${name}.${what}.onnx`)
  if (existsSync(path)) return { path }
  const failed = make(path)
  return failed === undefined ? { path } : { failed }
}

function compress(name, model, what, flags) {
  const report = join(out, `${name}.${what}.json`)
  const args = [pare, 'compress', model, ...flags, '--report', report, '--resume', '--force', '--quiet']
  const one = made(name, what, (path) => run(process.execPath, [...args, '--out', path]))
  if (!one.path) return one
  const { recipe } = JSON.parse(readFileSync(report, 'utf8'))
  return { ...one, chosen: recipe.map(([pass]) => pass).join(', ') }
}

function run(program, args) {
  console.error([program, ...args].join(' '))
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 2 ** 28 })
  return status === 0 ? undefined : `status ${status}: ${stderr.trim().split('\n').at(-1)}`
}

/** The texts, joined until each has as many words as tokens are asked for. */
function joined(tokens) {
  const path = join(out, `texts-${tokens}.txt`)
  const texts = ['']
  for (const line of readFileSync(file, 'utf8')
    .split('\n')
    .filter((l) => l.trim() !== '')) {
    if (texts.at(-1).split(' ').length > tokens) texts.push('')
    texts.push(`${texts.pop()} ${line}`.trim())
  }
  writeFileSync(path, `${texts.slice(0, most).join('\n')}\n`)
  return path
}

async function measured(paths, model, description) {
  const { graph } = await load(model)
  const inputs = graph.inputs
    .map((id) => graph.values.get(id))
    .map(({ id, dtype, shape }) => ({ name: id, dtype, shape }))
  const floats = graph.outputs.filter((id) => graph.values.get(id)?.dtype === 'float32')
  const { test } = splitData(await openDataset(description, inputs, { model }), 0)
  const sessions = []
  for (const path of paths) sessions.push(await nodeRunner().open({ path }))
  const metrics = floats.map((id) => cosineOf(id))
  const scores = await evaluate(sessions, { dataset: test, metrics })
  const timed = await latencies(sessions, test)
  const worked = await processorTimes(sessions, test)
  for (const s of sessions) await s.close()
  const [whole] = paths.map((path) => statSync(path).size)
  const rows = paths.map((path, i) => {
    const cosines = Object.values(metricIntervals(scores[i], metrics)).map((m) => m.value)
    return {
      bytes: (statSync(path).size / whole).toFixed(4),
      latency: timed[i]?.ratio ? ratio(timed[i].ratio) : '1',
      'processor time': i === 0 ? '1' : ratio(worked[i]),
      'cosine, worst output': Math.min(...cosines).toFixed(4)
    }
  })
  return { rows, n: test.size }
}

/** The cosine of one output alone. */
function cosineOf(id) {
  const metric = metricFor('cosine')
  const only = (outputs) => ({ [id]: outputs[id] })
  return { ...metric, name: id, scores: (y, batch, r) => metric.scores(only(y), batch, only(r)) }
}

async function latencies(sessions, test) {
  for await (const { inputs } of test.batches({ batch: 1 })) {
    const entries = sessions.map((s, i) => ({ name: String(i), run: () => s.run(inputs) }))
    return interleave(entries, rng(0), { minSeconds: 10, minRuns: 200 })
  }
}

/** Processor time of a run relative to the first session's: median of rounds, and their quartiles. */
async function processorTimes(sessions, test) {
  const rounds = []
  for await (const { inputs } of test.batches({ batch: 1 })) {
    for (let round = 0; round < 15; round++) {
      const times = []
      for (const s of sessions) {
        const [begun, from] = [process.cpuUsage(), performance.now()]
        let runs = 0
        while (runs < 5 || performance.now() - from < 200) {
          await s.run(inputs)
          runs++
        }
        const { user, system } = process.cpuUsage(begun)
        times.push((user + system) / runs)
      }
      rounds.push(times)
    }
    break
  }
  const at = (sorted, share) => sorted[Math.round(share * (sorted.length - 1))]
  return sessions.map((_, i) => {
    const all = rounds.map((times) => times[i] / times[0]).sort((a, b) => a - b)
    return { median: at(all, 0.5), low: at(all, 0.25), high: at(all, 0.75) }
  })
}

function ratio({ median, low, high }) {
  return `${median.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`
}
