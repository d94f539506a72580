// What the commands make of a folder of real models: bytes that add up, work that is known, promises kept, never slower.
// usage: node bench/sweep.mjs FOLDER [ROWS.jsonl] [--max-time 3min] [--seconds 1] [--dist PATH]
// A model NAME.onnx is given NAME.npz or the folder NAME.data beside it as --data, where there is one. Every row is appended to
// ROWS.jsonl (by default FOLDER/sweep.jsonl) as soon as it is measured, and not measured again: the command goes on after a
// stop. Prints a table of all rows at the end. To measure one anew, delete its line.
import { spawnSync } from 'node:child_process'
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    'max-time': { type: 'string', default: '3min' },
    seconds: { type: 'string', default: '1' },
    dist: { type: 'string', default: 'dist' }
  }
})
const [folder = '.', rowsFile = join(folder, 'sweep.jsonl')] = positionals
const program = resolve(values.dist, 'cli/main.js')

/** The command's JSON report; or how it ended without one. */
function pare(words) {
  const done = spawnSync(process.execPath, [program, ...words, '--json'], { encoding: 'utf8', maxBuffer: 2 ** 28 })
  let report
  try {
    report = JSON.parse(done.stdout)
  } catch {}
  return { status: done.status, report, error: done.stderr.trim().split('\n')[0] }
}

const dataOf = (model) =>
  [model.replace(/\.onnx$/, '.npz'), model.replace(/\.onnx$/, '.data')].find((path) => existsSync(path))

/** Bytes of constants by layer, and work, as inspect has them. */
function inspected(model) {
  const { status, report, error } = pare(['inspect', model])
  if (!report) return { status, error }
  const held = report.layers.reduce((n, l) => n + (l.bytes ?? 0), 0)
  return { status, bytes: report.before.bytes, held, macs: report.before.macs }
}

/** Bytes and latency of what a pass writes beside its input. */
function passed(model, command, folder) {
  const out = join(folder, `${command}.onnx`)
  const data = dataOf(model)
  if (command === 'quantize-static' && !data) return { skipped: 'no data beside the model' }
  const made = pare([command, model, '-o', out, '--force', ...(data ? ['--data', data] : [])])
  if (!existsSync(out)) return { status: made.status, error: made.error }
  const timed = pare(['bench', out, '--vs', model, '--seconds', values.seconds, ...(data ? ['--data', data] : [])])
  const ratio = timed.report?.ratios?.latency?.median
  return {
    status: made.status,
    bytes: statSync(out).size / statSync(model).size,
    ...(ratio ? { latency: 1 / ratio } : { error: timed.error })
  }
}

function compressed(model, folder) {
  const out = join(folder, 'compress.onnx')
  const data = dataOf(model)
  const promise = data ? ['--data', data, '--max-drop', '1%'] : []
  const { status, report, error } = pare([
    ...['compress', model, '-o', out, '--force', '--max-time', values['max-time']],
    ...promise
  ])
  const best = report?.candidates.find((c) => c.chosen)
  return {
    ...{ status, chosen: best?.name, bytes: report?.ratios?.bytes, latency: report?.ratios?.latency?.median },
    ...(report?.drop ? { drop: Object.fromEntries(Object.entries(report.drop).map(([k, d]) => [k, d.value])) } : {}),
    ...(status === 0 ? {} : { error: error || report?.constraint })
  }
}

const commands = {
  inspect: (model) => inspected(model),
  'quantize-weights': (model, out) => passed(model, 'quantize-weights', out),
  'quantize-dynamic': (model, out) => passed(model, 'quantize-dynamic', out),
  'quantize-static': (model, out) => passed(model, 'quantize-static', out),
  compress: (model, out) => compressed(model, out)
}

const read = () =>
  existsSync(rowsFile)
    ? readFileSync(rowsFile, 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line))
    : []
const done = new Set(read().map((r) => `${r.model} ${r.command}`))
const models = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.onnx'))
  .sort((a, b) => statSync(join(folder, a)).size - statSync(join(folder, b)).size)
for (const model of models)
  for (const [command, run] of Object.entries(commands)) {
    if (done.has(`${model} ${command}`)) continue
    const out = mkdtempSync(join(tmpdir(), 'pare-sweep-'))
    const start = Date.now()
    const row = { model, command, ...run(join(folder, model), out), seconds: Math.round((Date.now() - start) / 1000) }
    rmSync(out, { recursive: true })
    appendFileSync(rowsFile, `${JSON.stringify(row)}\n`)
    console.log(JSON.stringify(row))
  }

const factor = (x) => (x === undefined ? '?' : x.toFixed(2))
const cells = (r) => {
  if (!r) return ''
  if (r.skipped) return r.skipped
  if (r.command === 'inspect')
    return `${(r.bytes / 1e6).toFixed(2)} MB, ${r.macs === '?' ? '?' : `${(r.macs / 1e6).toFixed(2)} M`} MACs`
  return `${factor(r.bytes)}, ${factor(r.latency)}${r.chosen ? `, ${r.chosen}` : ''}${r.status === 0 ? '' : `, status ${r.status}`}`
}
const rows = read()
console.log(`\nbytes and latency beside the model as it came (1.00: the same)\n`)
console.log(`| model | ${Object.keys(commands).join(' | ')} |\n|${' --- |'.repeat(1 + Object.keys(commands).length)}`)
for (const model of models) {
  const of = (command) => cells(rows.findLast((r) => r.model === model && r.command === command))
  console.log(`| ${join(basename(dirname(model)), basename(model))} | ${Object.keys(commands).map(of).join(' | ')} |`)
}
